//! The HTTP API: Consul's paths and our own.

pub mod document;
