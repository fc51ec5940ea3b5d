//! The canary agent and its command line, as a library of rooms.
//!
//! Arrows point one way: `syntax` and `filter` know nothing, `entry` and `catalog` use them,
//! `compile` and `plan` are pure, `kernel` alone talks to BPF, `agent` and `api` are the edge.

pub mod agent;
pub mod api;
pub mod audit;
pub mod catalog;
pub mod compile;
pub mod ctl;
pub mod datapath;
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
pub mod seen;
pub mod settings;
pub mod sever;
pub mod source;
pub mod store;
pub mod syntax;
