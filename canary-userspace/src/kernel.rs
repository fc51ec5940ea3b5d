//! All that talks to BPF, bpffs and netlink.

pub mod doctor;
mod object;
pub mod pins;
