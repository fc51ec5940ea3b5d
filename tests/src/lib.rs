//! Labs of network namespaces for the tests that need root, and the demo that runs in one.

pub mod lab;
pub mod workload;
