//! The only room that talks to the kernel: BPF objects, tables and interfaces.

pub mod interfaces;
pub mod netlink;
pub mod object;
