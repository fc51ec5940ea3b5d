//! `FLOWS` of either side, by one type.

use canary_common::{
    flows::{Bucket, Flows},
    memory::Memory,
    word::Word,
};
use canary_userspace::kernel::flows::FlowTable;

/// The table of a side.
#[derive(Clone, Copy)]
pub(crate) enum Side<'t> {
    Host(&'t Memory),
    Kernel(&'t FlowTable),
}

/// Does the same on whichever side it is.
macro_rules! on {
    ($side:ident, $tables:ident => $work:expr) => {
        match $side {
            Side::Host($tables) => $work,
            Side::Kernel($tables) => $work,
        }
    };
}

impl Flows for Side<'_> {
    fn flows(&self, bucket: u32) -> Option<&Bucket> {
        on!(self, tables => tables.flows(bucket))
    }

    fn load(&self, word: &Word<u64>) -> u64 {
        on!(self, tables => tables.load(word))
    }

    fn store(&self, word: &Word<u64>, value: u64) {
        on!(self, tables => tables.store(word, value));
    }

    fn store_high(&self, word: &Word<u64>, value: u32) {
        on!(self, tables => tables.store_high(word, value));
    }

    fn swap(&self, word: &Word<u64>, value: u64) -> u64 {
        on!(self, tables => tables.swap(word, value))
    }

    fn exchange(&self, word: &Word<u64>, old: u64, new: u64) -> bool {
        on!(self, tables => tables.exchange(word, old, new))
    }

    fn add(&self, word: &Word<u64>, by: u64) {
        on!(self, tables => tables.add(word, by));
    }

    fn pushed_out(&self, statistics: u16) {
        on!(self, tables => tables.pushed_out(statistics));
    }
}
