//! The only room that talks to the kernel: BPF objects, tables and interfaces.

pub mod doctor;
pub mod object;
mod pinned;
pub mod pins;
