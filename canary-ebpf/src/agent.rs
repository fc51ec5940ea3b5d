//! What the agent has done by running a program itself: its own stores could be interrupted while
//! they hold a bucket's lock.

use aya_ebpf::programs::TcContext;
use canary_common::flows::{Key, Kind, Limit, NO_PARTNER, Request, Values};
use canary_common::packet::Packet;
use canary_common::wire::ethernet;

use crate::calls;
use crate::maps;
use crate::skb::Skb;

/// The packet describes no entry: no number of what is stored.
const MALFORMED: u32 = 0xffff_00ff;

/// Stores the entry that a packet describes, in words of 64 bits behind its Ethernet header: the
/// key's five, the values' four, kind, state, limit and second. What became of it, as
/// `Stored::to_number` says it.
#[inline(always)]
pub(crate) fn put(context: &TcContext) -> i32 {
    let code = match read(&Skb::whole(context)) {
        None => MALFORMED,
        Some(request) => calls::put_entry(&request).to_number(),
    };
    code.cast_signed()
}

#[inline(always)]
fn read(skb: &Skb) -> Option<Request> {
    let word = |index: usize| {
        let at = ethernet::LEN.wrapping_add(index << 3);
        skb.read::<8>(at).ok().map(u64::from_ne_bytes)
    };
    let key = Key([word(0)?, word(1)?, word(2)?, word(3)?, word(4)?]);
    let values = Values::of([word(5)?, word(6)?, word(7)?, word(8)?]);
    let kind = match word(9)? {
        2 => Kind::Forward,
        3 => Kind::Foreign,
        4 => Kind::Return,
        5 => Kind::Straight,
        _ => return None,
    };
    let limit = Limit::of_number(word(11)?)?;
    Some(Request {
        key,
        values,
        kind,
        state: word(10)?,
        limit,
        spare: NO_PARTNER,
        now: maps::low(word(12)?),
    })
}
