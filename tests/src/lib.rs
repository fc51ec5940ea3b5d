//! Labs of network namespaces for the tests that need root, and the demo that runs in one.

pub mod bench;
pub mod binomial;
pub mod bpffs;
pub mod demo;
pub mod lab;
pub mod scenario;
pub mod workload;
