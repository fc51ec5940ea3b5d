//! The memory, one access at a time: what each did can be taken back.

use core::cell::{Cell, RefCell};
use core::fmt;

use crate::flows::{Flows, PLACES};
use crate::memory::Memory;
use crate::word::Word;

/// Words of a bucket.
pub(super) const WORDS: usize = 64;

/// One access of a word.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    Load,
    Store(u64),
    StoreHigh(u32),
    Swap(u64),
    Exchange(u64, u64),
    Add(u64),
    /// Only planted faults do.
    Or(u64),
    /// Waits until the word is 0.
    UntilZero,
    /// None: what a part of a program returned.
    Part,
}

/// An access that is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) word: usize,
    pub(super) access: Access,
}

/// An access that was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) word: usize,
    pub(super) access: Access,
    pub(super) result: u64,
    /// Of the log up to here.
    pub(super) digest: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bucket, word) = (self.word / WORDS, self.word % WORDS);
        let name = match word {
            0 => "own".to_owned(),
            1..=PLACES => format!("head {}", word - 1),
            _ => format!("body {} word {}", word / 8 - 1, word % 8),
        };
        write!(f, "bucket {bucket} {name}: {:x?} -> {:x}", self.access, self.result)
    }
}

/// Mixes a value into a digest.
pub(super) fn mix(digest: u64, value: u64) -> u64 {
    let mixed = (digest.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Who has touched a word, a bit a CPU. A store of what is there and an exchange that fails are
/// loads: as long as nothing else happens to the word, all its accesses commute.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    by: u8,
    changed_by: u8,
    /// Its accesses are interleaved: two touch it, and one changes it.
    shared: bool,
}

/// The rules watch it.
const WATCHED: u8 = 1 << 7;

/// The memory, what was done to it, and which of it is shared.
pub(super) struct Machine<'m> {
    pub(super) memory: &'m Memory,
    base: usize,
    journal: RefCell<Vec<(usize, u64)>>,
    digest: Cell<u64>,
    uses: RefCell<Vec<Uses>>,
    learned: Cell<bool>,
}

impl<'m> Machine<'m> {
    pub(super) fn new(memory: &'m Memory, watched: bool) -> Self {
        let mut uses = vec![Uses::default(); memory.flows.len() * WORDS];
        if watched {
            uses.iter_mut().enumerate().filter(|(word, _)| is_head(*word)).for_each(|(_, uses)| {
                uses.by = WATCHED;
            });
        }
        let base = memory.flows.as_ptr().addr();
        let (journal, uses) = (RefCell::default(), RefCell::new(uses));
        Self { memory, base, journal, digest: Cell::new(0), uses, learned: Cell::new(false) }
    }

    /// Whether a word was found to be shared since the last question.
    pub(super) fn has_learned(&self) -> bool {
        self.learned.take()
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.get()
    }

    pub(super) fn journal_len(&self) -> usize {
        self.journal.borrow().len()
    }

    pub(super) fn value(&self, index: usize) -> u64 {
        self.word(index).load()
    }

    /// Takes back what was done since the journal had this length.
    pub(super) fn undo(&self, len: usize) {
        let undone = self.journal.borrow_mut().split_off(len);
        for (index, old) in undone.into_iter().rev() {
            self.note(index, self.value(index), old);
            self.word(index).store(old);
        }
    }

    fn note(&self, index: usize, old: u64, new: u64) {
        let at = |value| mix(u64::try_from(index).unwrap_or(0), value);
        self.digest.set(self.digest.get() ^ at(old) ^ at(new));
    }

    pub(super) fn index(&self, word: &Word<u64>) -> usize {
        (core::ptr::from_ref(word).addr() - self.base) / size_of::<u64>()
    }

    fn word(&self, index: usize) -> &Word<u64> {
        let bucket = &self.memory.flows[index / WORDS];
        match index % WORDS {
            0 => &bucket.own,
            head @ 1..=PLACES => &bucket.heads[head - 1],
            word => &bucket.bodies[word / 8 - 1].words[word % 8],
        }
    }

    pub(super) fn is_shared(&self, index: usize) -> bool {
        self.uses.borrow()[index].shared
    }

    pub(super) fn apply(&self, number: usize, index: usize, access: Access) -> u64 {
        let (word, memory) = (self.word(index), self.memory);
        let old = word.load();
        let result = match access {
            Access::Load | Access::UntilZero | Access::Part => memory.load(word),
            Access::Store(value) => {
                memory.store(word, value);
                0
            }
            Access::StoreHigh(value) => {
                memory.store_high(word, value);
                0
            }
            Access::Swap(value) => memory.swap(word, value),
            Access::Exchange(old, new) => u64::from(memory.exchange(word, old, new)),
            Access::Add(by) => {
                memory.add(word, by);
                0
            }
            Access::Or(bits) => {
                word.store(old | bits);
                0
            }
        };
        let changes = word.load() != old;
        self.learn(number, index, changes);
        if changes {
            self.journal.borrow_mut().push((index, old));
            self.note(index, old, word.load());
        }
        result
    }

    fn learn(&self, number: usize, index: usize, changes: bool) {
        let uses = &mut self.uses.borrow_mut()[index];
        uses.by |= 1 << number;
        uses.changed_by |= u8::from(changes) << number;
        if !uses.shared && uses.changed_by != 0 && uses.by.count_ones() > 1 {
            uses.shared = true;
            self.learned.set(true);
        }
    }
}

pub(super) fn is_head(index: usize) -> bool {
    (1..=PLACES).contains(&(index % WORDS))
}

pub(super) fn is_own(index: usize) -> bool {
    index.is_multiple_of(WORDS)
}
