//! The canary agent and its command line, as a library.
//!
//! Imports go one way, as `arrows.txt` beside the manifest lists them: from what is written and
//! registered, by what follows from it, to the edge. `kernel` alone talks to BPF.

pub mod agent;
pub mod api;
pub mod audit;
pub mod catalog;
pub mod compile;
pub mod content;
pub mod ctl;
pub mod daemon;
pub mod datapath;
pub mod document;
mod engine;
pub mod entry;
pub mod error;
pub mod filter;
pub mod foresee;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod health;
pub mod kernel;
pub mod metrics;
pub mod observe;
mod pem;
pub mod plan;
pub mod refusal;
pub mod seen;
pub mod settings;
pub mod sever;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod syntax;
