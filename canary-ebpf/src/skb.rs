//! Packets of the tcx hooks.

mod room;

use aya_ebpf::bindings::{__sk_buff, BPF_F_INGRESS, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR};
use aya_ebpf::helpers::{
    bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_peer, bpf_skb_change_head,
    bpf_skb_change_tail, bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_pull_data,
};
use aya_ebpf::programs::TcContext;
use canary_common::checksum::{Difference, fold};
use canary_common::endpoint::Version;
use canary_common::packet::{Covers, Packet};
use canary_common::reason::Reason;
use canary_common::tables::Tables;

use crate::maps::{self, Maps};
use crate::memory::{load, store, words};

/// Ethernet, the longest IPv4 header and the fixed TCP header: all that any step reads.
const HEADERS: u32 = 14 + 60 + 20;

/// An address changes that IPv6's pseudo-header covers (Linux 6.16): without it the kernel
/// spoils the sum of a packet whose checksum the interface has computed.
const BPF_F_IPV6: u64 = 1 << 7;

/// What a packet bears from its way in to its way out that is to be looked at once more there; one
/// that bears it by chance is looked at for nothing.
const DOUBT: u32 = 0xca7a;
/// Length of an Ethernet header.
const ETHERNET: u32 = 14;
/// `TC_ACT_SHOT`.
const DROP: i64 = 2;

/// Kinds of packets as the stack tells them (`PACKET_HOST`, `PACKET_OTHERHOST`).
const PACKET_HOST: u32 = 0;
const PACKET_OTHERHOST: u32 = 3;

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

    /// The buffer of a context whose headers are where programs can read them.
    #[inline(always)]
    pub(crate) const fn of(context: *mut __sk_buff) -> Self {
        Self { context }
    }

    /// Its context.
    #[inline(always)]
    pub(crate) const fn context(self) -> *mut __sk_buff {
        self.context
    }

    /// The buffer of a program that the agent runs, with all of it where programs can read it.
    #[inline(always)]
    pub(crate) fn whole(context: &TcContext) -> Self {
        let skb = Self { context: context.skb.skb };
        skb.pull(skb.length());
        skb
    }

    /// The tables as a packet on its way in sees them.
    #[inline(always)]
    pub(crate) fn tables_in(self) -> Maps {
        let interface = self.interface();
        Maps { context: self.context.cast(), interface, came_by: interface }
    }

    /// The tables as a packet on its way out sees them.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn tables_out(self) -> Maps {
        // SAFETY: the context is valid for the whole run.
        let came_by = unsafe { (*self.context).ingress_ifindex };
        Maps { context: self.context.cast(), interface: self.interface(), came_by }
    }

    /// Whether the frame is for this node, as far as its addresses and tags say: the stack's own
    /// word, or, on a port of a bridge, where frames to the bridge are "for another host", the
    /// bridge's hardware address. A tag that was taken off belongs to another interface.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn is_for_node(self, tables: &Maps) -> bool {
        // SAFETY: the context is valid for the whole run.
        let kind = unsafe { (*self.context).pkt_type };
        // SAFETY: as above.
        let is_tagged = unsafe { (*self.context).vlan_present } != 0;
        if is_tagged {
            return false;
        }
        kind == PACKET_HOST || kind == PACKET_OTHERHOST && self.is_to_bridge(tables)
    }

    #[inline(always)]
    fn is_to_bridge(self, tables: &Maps) -> bool {
        let Some(interface) = tables.interface() else { return false };
        let Ok(mac) = self.read::<6>(0) else { return false };
        interface.bridge.load() != 0 && interface.is_own(mac)
    }

    /// Whether it is one that we have sent back by this interface: no answer of a backend.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn is_sent_back(self, tables: &Maps) -> bool {
        if tables.came_by != tables.interface {
            return false;
        }
        // SAFETY: the context is valid for the whole run.
        let [word, ..] = unsafe { (*self.context).cb };
        tables.settings().is_some_and(|settings| settings.sent_back.load() == word)
    }

    /// Notes on the packet that it may be to a virtual address and nobody's.
    #[expect(unsafe_code, reason = "writes the context")]
    #[inline(always)]
    pub(crate) fn doubt(self) {
        // SAFETY: the context is valid for the whole run, and the hook may write this field.
        unsafe { (*self.context).tc_index = DOUBT };
    }

    /// Whether it is worth a look if a packet on its way out is to a virtual address and nobody's:
    /// the node made it, it goes out where it came in, or it was noted when it came in.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn is_doubted(self, tables: &Maps) -> bool {
        // SAFETY: the context is valid for the whole run.
        let noted = unsafe { (*self.context).tc_index };
        tables.came_by == 0 || tables.came_by == tables.interface || noted == DOUBT
    }

    /// Sends a packet on its way out in by the same interface; the verdict to return.
    #[expect(unsafe_code, reason = "calls a helper")]
    #[inline(always)]
    pub(crate) fn send_in(self) -> i64 {
        // SAFETY: the helper only notes the index for when the program returns.
        unsafe { bpf_redirect(self.interface(), u64::from(BPF_F_INGRESS)) }
    }

    /// Sends the packet back to the pod whose interface it came by: into its own end of the
    /// pair, so that no egress program takes it for an answer. The verdict to return.
    #[expect(unsafe_code, reason = "calls helpers")]
    #[inline(always)]
    pub(crate) fn send_to_pod(self) -> i64 {
        // SAFETY: the helper changes one field. It fails only for kinds that need no change.
        let _: i64 = unsafe { bpf_skb_change_type(self.context, PACKET_HOST) };
        // SAFETY: the helper only notes the index for when the program returns.
        unsafe { bpf_redirect_peer(self.interface(), 0) }
    }

    /// Sends the packet out of the interface it came in by, marked; the verdict to return.
    #[expect(unsafe_code, reason = "writes the context, calls a helper")]
    #[inline(always)]
    pub(crate) fn send_to_net(self) -> i64 {
        let word = self.tables_in().settings().map_or(0, |settings| settings.sent_back.load());
        // SAFETY: the context is valid for the whole run, and the hook may write this field.
        unsafe { (*self.context).cb[0] = word };
        // SAFETY: the helper only notes the index for when the program returns.
        unsafe { bpf_redirect(self.interface(), 0) }
    }

    /// Has the first `wanted` bytes, or all there are, where programs can read them.
    #[inline(always)]
    pub(crate) fn reach(self, wanted: u32) {
        let wanted = if self.length() < wanted { self.length() } else { wanted };
        let [data, end] = self.bounds();
        if end.wrapping_sub(data) < wide(wanted) {
            self.pull(wanted);
        }
    }

    /// Sends the packet on by the way that was found for it; the verdict to return.
    ///
    /// The neighbour is the kernel's to find, which takes an Ethernet header off.
    #[expect(unsafe_code, reason = "calls helpers")]
    #[inline(always)]
    pub(crate) fn send_away(self, l2: usize) -> i64 {
        let Some(scratch) = maps::scratch() else { return DROP };
        // SAFETY: the context is the kernel's own.
        if l2 == 0 && unsafe { bpf_skb_change_head(self.context, ETHERNET, 0) } != 0 {
            return DROP;
        }
        scratch.exit.redirect()
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

    /// Bytes from its IP header on, as they are sent: several segments in one are taken apart again.
    #[expect(unsafe_code, reason = "reads the context")]
    #[inline(always)]
    pub(crate) fn sent_length(self, l2: usize, payload: u32) -> u32 {
        let all = self.length().wrapping_sub(if l2 == 0 { 0 } else { ETHERNET });
        // SAFETY: the context is valid for the whole run.
        let each = unsafe { (*self.context).gso_size };
        if each == 0 || each > payload { all } else { all.wrapping_sub(payload).wrapping_add(each) }
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
    fn peek<const N: usize>(&self, offset: usize) -> Result<[u8; N], Reason> {
        let Ok(offset) = u32::try_from(offset) else { return Err(Reason::Truncated) };
        let mut bytes = [0; N];
        let (to, length) = (bytes.as_mut_ptr().cast(), u32::try_from(N).unwrap_or(0));
        // SAFETY: the helper writes `N` bytes. It reads payload that lies in pages of its own, too.
        let failed = unsafe { bpf_skb_load_bytes(self.context.cast(), offset, to, length) };
        if failed == 0 { Ok(bytes) } else { Err(Reason::Truncated) }
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

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), Reason> {
        let length = u32::try_from(len).map_err(|_| Reason::Truncated)?;
        // SAFETY: the context is the kernel's own.
        let result = unsafe { bpf_skb_change_tail(self.context, length, 0) };
        if result == 0 { Ok(()) } else { Err(Reason::Truncated) }
    }

    #[inline(always)]
    fn insert_header(&mut self, _offset: usize, version: Version) -> Result<(), Reason> {
        room::insert(self.context, version)
    }

    #[inline(always)]
    fn remove_header(&mut self, _offset: usize, version: Version) -> Result<(), Reason> {
        room::remove(self.context, version)
    }

    #[inline(always)]
    fn note_change(&mut self, change: Difference) {
        // SAFETY: the context is the kernel's own. It fails where the `skb` bears no sum.
        let _: i64 = unsafe { bpf_csum_update(self.context, change.0) };
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
                let known =
                    self.tables_in().settings().map(|settings| settings.ipv6_checksums.load());
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

    /// One call where it is enough. The kernel takes the change of an address off a sum that is
    /// whole, and adds it to one that is only the pseudo-header's: what stands there afterwards
    /// tells which of both it was. The port is ours to patch in the first, and not covered by the
    /// second. Where both come to the same, it is asked again.
    #[inline(always)]
    fn patch_tcp(
        &mut self,
        offset: usize,
        sum: [u8; 2],
        covers: Covers,
        [address, port]: [Difference; 2],
    ) -> Result<(), Reason> {
        self.patch_checksum(offset, false, covers, address)?;
        if port == Difference::default() {
            return Ok(());
        }
        if matches!(fold(address.0), 0 | 0xffff) {
            return self.patch_checksum(offset, false, Covers::Segment, port);
        }
        let whole = address.patch(sum);
        if self.read::<2>(offset)? == whole {
            return self.write(offset, port.patch(whole));
        }
        Ok(())
    }
}
