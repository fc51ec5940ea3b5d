//! Memory of this thread over all NUMA nodes by turns.

use std::fs;

/// `MPOL_DEFAULT` and `MPOL_INTERLEAVE` of include/uapi/linux/mempolicy.h.
const DEFAULT: libc::c_long = 0;
const INTERLEAVE: libc::c_long = 3;
/// Bits of the mask of nodes that is given to the kernel: more nodes than that are left as they are.
const NODES: u32 = u64::BITS;

/// While it lives, what this thread allocates lies on all nodes by turns, the kernel's memory for
/// it too; nothing where there is one node, or the kernel refuses.
#[derive(Debug)]
pub(super) struct Interleaved {
    is_on: bool,
}

impl Interleaved {
    pub(super) fn begin() -> Self {
        let online = fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
        let nodes = mask(online.trim());
        Self { is_on: nodes.count_ones() > 1 && set(INTERLEAVE, nodes) }
    }
}

impl Drop for Interleaved {
    fn drop(&mut self) {
        if self.is_on {
            set(DEFAULT, 0);
        }
    }
}

#[expect(unsafe_code, reason = "no library sets a thread's memory policy")]
fn set(mode: libc::c_long, nodes: u64) -> bool {
    let pointer = if nodes == 0 { std::ptr::null() } else { &raw const nodes };
    let count = if nodes == 0 { 0 } else { libc::c_ulong::from(NODES).saturating_add(1) };
    // SAFETY: the kernel reads one word of nodes behind the pointer, or nothing where it is null.
    unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, count) == 0 }
}

/// The nodes of a list such as `0-3,8` as bits.
fn mask(list: &str) -> u64 {
    let mut mask = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
            for node in first..=last.min(NODES.saturating_sub(1)) {
                mask |= 1_u64.checked_shl(node).unwrap_or(0);
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_is_a_mask() {
        assert_eq!(mask("0"), 1);
        assert_eq!(mask("0-3,8"), 0x10f);
        assert_eq!(mask("0-4000"), u64::MAX);
        assert_eq!(mask(""), 0);
    }
}
