//! Who needs which bit of `ADDRESSES`.

use std::collections::BTreeMap;

use canary_common::addresses::{BACKEND, BITS, FRONTEND, Place, place};
use canary_common::endpoint::Address;

use super::Write;
use super::kept::Kept;

/// How many rows of `FRONTENDS` and `BACKENDS` need each bit: those in use, and those that a flow
/// may still name.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    /// By the bit's row, and the bit where it is in that.
    needed: Kept<(u32, u64), u32>,
}

impl Bits {
    /// From here on changes can be taken back.
    pub(super) fn record(&mut self) {
        self.needed.record();
    }

    /// What was changed since [`Self::record`] stays, or with `back` is taken back.
    pub(super) fn end(&mut self, back: bool) {
        self.needed.end(back);
    }

    /// One more row at `address` needs `bit`.
    pub(super) fn need(&mut self, address: Address, bit: u64, writes: &mut Vec<Write>) {
        let (row, set) = at(address, bit);
        let count = self.needed.get(&(row, set)).map_or(1, |count| count.saturating_add(1));
        self.needed.insert((row, set), count);
        if count == 1 {
            writes.push(Write::Addresses { row, set, clear: 0 });
        }
    }

    /// One row fewer does.
    pub(super) fn release(&mut self, address: Address, bit: u64, writes: &mut Vec<Write>) {
        let (row, clear) = at(address, bit);
        let left = self.needed.get(&(row, clear)).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            self.needed.insert((row, clear), left);
        } else if self.needed.remove(&(row, clear)).is_some() {
            writes.push(Write::Addresses { row, set: 0, clear });
        }
    }

    /// The stores that make tables which were found say what is needed, of the bits that are ours.
    pub(super) fn settle(&self, found: &[u64], writes: &mut Vec<Write>) {
        let mut needed: BTreeMap<u32, u64> = BTreeMap::new();
        for (row, bit) in self.needed.all().keys() {
            *needed.entry(*row).or_default() |= bit;
        }
        for (row, is) in (0..).zip(found) {
            let should = needed.get(&row).copied().unwrap_or_default();
            let (set, clear) = (should & !is, is & ours() & !should);
            if (set, clear) != (0, 0) {
                writes.push(Write::Addresses { row, set, clear });
            }
        }
    }
}

fn at(address: Address, bit: u64) -> (u32, u64) {
    let Place { row, shift } = place(address);
    (row, bit << shift)
}

/// The bits of a row that the agent keeps: not those of the programs.
fn ours() -> u64 {
    let shifts = (0..u64::BITS / BITS).map(|place| place * BITS);
    shifts.fold(0, |ours, shift| ours | (FRONTEND | BACKEND) << shift)
}

#[cfg(test)]
mod tests {
    use canary_common::addresses::TRANSLATED;

    use super::*;

    #[test]
    fn a_bit_is_set_once_and_cleared_with_the_last_that_needs_it() {
        let address = Address::v4([10, 0, 0, 1]);
        let Place { row, shift } = place(address);
        let (mut bits, mut writes) = (Bits::default(), Vec::new());

        for bit in [FRONTEND, FRONTEND, BACKEND] {
            bits.need(address, bit, &mut writes);
        }
        let sets =
            [FRONTEND, BACKEND].map(|bit| Write::Addresses { row, set: bit << shift, clear: 0 });
        assert_eq!(writes, sets);

        writes.clear();
        bits.release(address, FRONTEND, &mut writes);
        assert_eq!(writes, []);
        bits.release(address, FRONTEND, &mut writes);
        bits.release(address, FRONTEND, &mut writes);
        assert_eq!(writes, [Write::Addresses { row, set: 0, clear: FRONTEND << shift }]);
    }

    #[test]
    fn found_tables_lose_what_nobody_needs_but_for_the_bits_of_the_programs() {
        let address = Address::v4([10, 0, 0, 1]);
        let Place { row, shift } = place(address);
        let (mut bits, mut writes) = (Bits::default(), Vec::new());
        bits.need(address, BACKEND, &mut Vec::new());
        let mut found = vec![0; 1 << 14];
        found[usize::try_from(row).unwrap()] = (FRONTEND | TRANSLATED) << shift;
        let other = if row == 7 { 8 } else { 7 };
        found[other] = TRANSLATED | FRONTEND << 60;

        bits.settle(&found, &mut writes);

        let mut expected = vec![
            Write::Addresses { row, set: BACKEND << shift, clear: FRONTEND << shift },
            Write::Addresses { row: u32::try_from(other).unwrap(), set: 0, clear: FRONTEND << 60 },
        ];
        expected.sort_by_key(|write| match write {
            Write::Addresses { row, .. } => *row,
            _ => 0,
        });
        assert_eq!(writes, expected);
    }
}
