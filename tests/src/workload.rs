//! The tutorial's services as small servers of our own, and the clients that try them.
//!
//! Servers run in a program of their own, one a pod, so that they can be killed as a pod can;
//! it ends when its lab's end of the control pipe closes. Clients are threads inside a
//! namespace.

pub mod client;
pub mod control;
pub mod crowd;
pub mod download;
pub mod echo;
pub mod get;
pub mod hold;
pub mod http;
pub mod script;
pub mod server;
pub mod syn;
pub mod tutorial;

pub use client::{Answers, Protocol, connect_many, connect_while};
pub use control::Report;
pub use crowd::{Crowd, Ports};
pub use script::Script;
pub use server::{Server, ServerOptions};
