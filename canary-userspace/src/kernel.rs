//! All that talks to BPF, bpffs and netlink.

pub mod doctor;
mod pinned;
pub mod pins;
