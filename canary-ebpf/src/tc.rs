//! Packets of the tcx hooks.

use aya_ebpf::bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{
    bpf_l4_csum_replace, bpf_redirect, bpf_skb_change_tail, bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use canary_common::checksum::Difference;
use canary_common::packet::{Covers, Packet};
use canary_common::reason::Reason;
use canary_common::tables::Tables;

use crate::maps::Maps;
use crate::memory::{load, store};

/// Ethernet, the longest IPv4 header and the fixed TCP header: all that any step reads.
const HEADERS: u32 = 14 + 60 + 20;

/// An address changes that IPv6's pseudo-header covers (Linux 6.16): without it the kernel
/// spoils the sum of a packet whose checksum the interface has computed.
const BPF_F_IPV6: u64 = 1 << 7;

/// A socket buffer.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    context: *mut __sk_buff,
}

impl Skb {
    /// The buffer of a program's context, with its headers where programs can read them: a
    /// valid packet may arrive with nothing but its Ethernet header there.
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        let skb = Self { context: context.skb.skb };
        let wanted = if skb.length() < HEADERS { skb.length() } else { HEADERS };
        let [data, end] = skb.bounds();
        if end.wrapping_sub(data) < wide(wanted) {
            skb.pull(wanted);
        }
        skb
    }

    /// The tables as this packet sees them.
    #[inline(always)]
    pub(crate) fn tables(self) -> Maps {
        Maps { interface: self.interface() }
    }

    /// Sends the packet out of the interface it came in by; the verdict to return.
    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    pub(crate) fn send_back(self) -> i64 {
        // SAFETY: the helper only notes the index for when the program returns.
        unsafe { bpf_redirect(self.interface(), 0) }
    }

    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    fn pull(self, length: u32) {
        // SAFETY: the context is the kernel's own. A failure shows as a read that misses.
        let _: i64 = unsafe { bpf_skb_pull_data(self.context, length) };
    }

    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    fn bounds(self) -> [usize; 2] {
        // SAFETY: the context is valid for the whole run.
        let data = unsafe { (*self.context).data };
        // SAFETY: as above.
        let end = unsafe { (*self.context).data_end };
        [wide(data), wide(end)]
    }

    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    fn length(self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.context).len }
    }

    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    fn interface(self) -> u32 {
        // SAFETY: the context is valid for the whole run.
        unsafe { (*self.context).ifindex }
    }

    /// The address of `N` bytes at `offset`.
    #[inline(always)]
    fn at<const N: usize>(self, offset: usize) -> Result<usize, Reason> {
        let [data, end] = self.bounds();
        // Verifier: one addition, then the check against the very same register.
        let at = data.wrapping_add(offset);
        if at.wrapping_add(N) > end { Err(Reason::Truncated) } else { Ok(at) }
    }
}

#[expect(clippy::as_conversions, reason = "a usize is 64 bits wide in BPF; From does not know")]
#[inline(always)]
pub(crate) const fn wide(word: u32) -> usize {
    word as usize
}

#[expect(unsafe_code, clippy::as_conversions, reason = "packet memory is reached by address")]
impl Packet for Skb {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` has just checked the bounds.
        Ok(unsafe { load(at as *const u8) })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` has just checked the bounds.
        unsafe { store(at as *mut u8, bytes) };
        Ok(())
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Reason> {
        let length = u32::try_from(len).map_err(|_| Reason::Truncated)?;
        // SAFETY: the context is the kernel's own.
        let result = unsafe { bpf_skb_change_tail(self.context, length, 0) };
        if result == 0 { Ok(()) } else { Err(Reason::Truncated) }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        wide(self.length())
    }

    #[inline(always)]
    fn patch_checksum(
        &mut self,
        offset: usize,
        udp: bool,
        covers: Covers,
        change: Difference,
    ) -> Result<(), Reason> {
        let mut flags = match covers {
            Covers::Ipv4Address => u64::from(BPF_F_PSEUDO_HDR),
            Covers::Ipv6Address => {
                let known = self.tables().settings().map(|settings| settings.ipv6_checksums.load());
                u64::from(BPF_F_PSEUDO_HDR) | if known == Some(1) { BPF_F_IPV6 } else { 0 }
            }
            Covers::Segment => 0,
        };
        if udp {
            flags |= u64::from(BPF_F_MARK_MANGLED_0);
        }
        let offset = u32::try_from(offset).map_err(|_| Reason::Truncated)?;
        // SAFETY: the context is the kernel's own; the helper checks the offset.
        let result =
            unsafe { bpf_l4_csum_replace(self.context, offset, 0, u64::from(change.0), flags) };
        if result == 0 { Ok(()) } else { Err(Reason::Truncated) }
    }

    /// Two calls: the sum of a pseudo-header, which a partial checksum is, covers no port.
    #[inline(always)]
    fn patch_checksum_of_both(
        &mut self,
        offset: usize,
        udp: bool,
        covers: Covers,
        [address, port]: [Difference; 2],
    ) -> Result<(), Reason> {
        self.patch_checksum(offset, udp, covers, address)?;
        self.patch_checksum(offset, udp, Covers::Segment, port)
    }
}
