//! Room for the headers that packets go within.

use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_MAC;
use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
    BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
};
use aya_ebpf::helpers::bpf_skb_adjust_room;
use canary_common::endpoint::Version;
use canary_common::reason::Reason;
use canary_common::wire::header_len;

/// Makes room for an IP header in front of the packet's own.
#[inline(always)]
pub(super) fn insert(context: *mut __sk_buff, version: Version) -> Result<(), Reason> {
    let flags = match version {
        Version::V4 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        Version::V6 => BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
    };
    adjust(context, length(version), flags)
}

/// Takes the IP header in front away.
#[inline(always)]
pub(super) fn remove(context: *mut __sk_buff, version: Version) -> Result<(), Reason> {
    let flags = match version {
        Version::V4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
        Version::V6 => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
    };
    adjust(context, length(version).wrapping_neg(), flags)
}

#[inline(always)]
fn length(version: Version) -> i32 {
    i32::try_from(header_len(version)).unwrap_or(0)
}

/// Segments keep their length.
#[expect(unsafe_code, reason = "calls a helper")]
#[inline(always)]
fn adjust(context: *mut __sk_buff, length: i32, flags: u32) -> Result<(), Reason> {
    let flags = u64::from(flags | BPF_F_ADJ_ROOM_FIXED_GSO);
    // SAFETY: the context is the kernel's own, and what was read of the packet is not used again.
    let result = unsafe { bpf_skb_adjust_room(context, length, BPF_ADJ_ROOM_MAC, flags) };
    if result == 0 { Ok(()) } else { Err(Reason::Truncated) }
}
