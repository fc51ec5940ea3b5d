//! Packets of the XDP hook.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use canary_common::endpoint::Version;
use canary_common::packet::Packet;
use canary_common::reason::Reason;
use canary_common::tables::Tables as _;
use canary_common::wire::ethernet;

use crate::maps::Maps;
use crate::memory::{load, store, words};
use crate::skb::wide;

/// Length of an IPv6 header.
const IPV6: u32 = 40;

/// A frame in the driver's memory; its first part, if it has several.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    context: *mut xdp_md,
}

impl Frame {
    /// The frame of a program's context.
    #[inline(always)]
    pub(crate) const fn new(context: &XdpContext) -> Self {
        Self { context: context.ctx }
    }

    /// The frame of a context.
    #[inline(always)]
    pub(crate) const fn of(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// Its context.
    #[inline(always)]
    pub(crate) const fn context(self) -> *mut xdp_md {
        self.context
    }

    /// The tables as this packet sees them.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn tables(self) -> Maps {
        // SAFETY: the context is valid for the whole run.
        let interface = unsafe { (*self.context).ingress_ifindex };
        Maps { context: self.context.cast(), interface, came_by: interface }
    }

    /// Whether the frame is for this node: the driver's stack has not looked yet.
    #[inline(always)]
    pub(crate) fn is_for_node(self, tables: &Maps) -> bool {
        let Some(interface) = tables.interface() else { return false };
        self.read::<6>(0).is_ok_and(|mac| interface.is_own(mac))
    }

    /// Bytes from its IP header on, as that says: a frame may have several parts.
    #[inline(always)]
    pub(crate) fn sent_length(self, version: Version) -> u32 {
        let Ok([_, _, high, low, a, b]) = self.read::<6>(ethernet::LEN) else { return 0 };
        match version {
            Version::V4 => u32::from(u16::from_be_bytes([high, low])),
            Version::V6 => u32::from(u16::from_be_bytes([a, b])).wrapping_add(IPV6),
        }
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

    /// The address of `N` bytes at `offset`.
    #[inline(always)]
    fn at<const N: usize>(self, offset: usize) -> Result<usize, Reason> {
        self.within(offset, N)
    }

    /// The address of `room` bytes at `offset`.
    #[inline(always)]
    fn within(self, offset: usize, room: usize) -> Result<usize, Reason> {
        let [data, end] = self.bounds();
        // Verifier: one addition, then the check against the very same register.
        let at = data.wrapping_add(offset);
        if at.wrapping_add(room) > end { Err(Reason::Truncated) } else { Ok(at) }
    }
}

#[expect(unsafe_code, clippy::as_conversions, reason = "packet memory is reached by address")]
impl Packet for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` has just checked the bounds.
        Ok(unsafe { load(at as *const u8) })
    }

    #[inline(always)]
    fn words<const W: usize>(&self, offset: usize, room: usize) -> Result<[u64; 8], Reason> {
        let at = self.within(offset, room)?;
        // SAFETY: `within` has just checked the bounds.
        Ok(unsafe { words::<W>(at as *const u8) })
    }

    #[inline(always)]
    fn write<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> Result<(), Reason> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` has just checked the bounds.
        unsafe { store(at as *mut u8, bytes) };
        Ok(())
    }

    /// A frame that has no room behind it grows in front, where its Ethernet header moves to;
    /// what follows is then anything.
    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Reason> {
        let wanted = i32::try_from(len).map_err(|_| Reason::Truncated)?;
        let is = i32::try_from(self.len()).map_err(|_| Reason::Truncated)?;
        let growth = wanted.wrapping_sub(is);
        // SAFETY: the context is the kernel's own.
        if unsafe { bpf_xdp_adjust_tail(self.context, growth) } == 0 {
            return Ok(());
        }
        if growth <= 0 {
            return Err(Reason::Truncated);
        }
        let header = self.read::<{ ethernet::LEN }>(0)?;
        // SAFETY: the context is the kernel's own.
        if unsafe { bpf_xdp_adjust_head(self.context, growth.wrapping_neg()) } != 0 {
            return Err(Reason::Truncated);
        }
        self.write(0, header)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        let [data, end] = self.bounds();
        end.wrapping_sub(data)
    }
}
