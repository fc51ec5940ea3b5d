//! Arrays of BPF memory that the agent writes without system calls.

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

use anyhow::{Context, Result, bail, ensure};
use aya::Ebpf;
use aya::maps::{Map, MapData};
use memmap2::{MmapOptions, MmapRaw};

/// An mmapable array with rows of type `R`.
///
/// Nothing here hands out references: the kernel reads and writes the same memory. Words that
/// it may read at any time are stored whole; anything else is written only while no row that
/// the kernel may reach names it, and a fence stands before whatever makes it reachable.
#[derive(Debug)]
pub struct Mapped<R> {
    memory: MmapRaw,
    rows: u32,
    /// Bytes from one row to the next: the kernel rounds rows up to 8.
    stride: usize,
    _row: PhantomData<fn() -> R>,
}

impl<R> Mapped<R> {
    /// Maps the array.
    ///
    /// # Errors
    ///
    /// If its rows are not as large as `R`, or the kernel refuses.
    pub fn new(name: &str, map: &MapData) -> Result<Self> {
        let info = map.info().with_context(|| format!("read {name}"))?;
        let size = usize::try_from(info.value_size())?;
        ensure!(size == size_of::<R>(), "{name} has rows of {size} bytes, not {}", size_of::<R>());
        let stride = size.next_multiple_of(8);
        let length = stride.saturating_mul(usize::try_from(info.max_entries())?);
        let memory = MmapOptions::new()
            .len(length)
            .map_raw(&map.fd().as_fd())
            .with_context(|| format!("map {name} into memory"))?;
        Ok(Self { memory, rows: info.max_entries(), stride, _row: PhantomData })
    }

    /// Maps the array of that name.
    ///
    /// # Errors
    ///
    /// If the object has no such array, and as [`Mapped::new`].
    pub fn from_ebpf(ebpf: &Ebpf, name: &str) -> Result<Self> {
        match ebpf.map(name) {
            Some(Map::Array(map)) => Self::new(name, map),
            _ => bail!("the BPF object has no array {name}"),
        }
    }

    /// All rows as they are. Only for tables that no program writes, while the agent does not.
    ///
    /// # Errors
    ///
    /// If rows do not follow one another without a gap.
    #[expect(unsafe_code, reason = "shared memory of a known shape")]
    pub fn rows_as_they_are(&self) -> Result<&[R]> {
        ensure!(self.stride == size_of::<R>(), "rows are {} apart", self.stride);
        let rows = usize::try_from(self.rows)?;
        // SAFETY: the mapping is page-aligned and `rows * stride` long, and every bit pattern
        // is a row. Programs only read these tables, and the agent adopts before it writes.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<R>(), rows) })
    }

    /// A row that consists of words alone, each of which either side may change at any time.
    ///
    /// # Safety
    ///
    /// `R` must consist of [`Word`](canary_common::word::Word)s alone, and whoever gets the row
    /// must touch these by atomic instructions only.
    #[expect(unsafe_code, reason = "shared memory of a known shape")]
    pub(super) unsafe fn words(&self, row: u32) -> Option<&R> {
        let at = self.at(row, 0, size_of::<R>()).ok()?.cast::<R>();
        // SAFETY: within the mapping and aligned: a mapping begins with a page, and rows of whole
        // words are a multiple of 8 apart. The caller vouches for what is in it.
        Some(unsafe { &*at })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// The address of `size` bytes at `offset` in a row.
    fn at(&self, row: u32, offset: usize, size: usize) -> Result<*mut u8> {
        ensure!(row < self.rows, "row {row} of {}", self.rows);
        ensure!(
            offset.saturating_add(size) <= self.stride,
            "offset {offset} in a row of {}",
            self.stride
        );
        let start = self.stride.saturating_mul(usize::try_from(row)?).saturating_add(offset);
        Ok(self.memory.as_mut_ptr().wrapping_add(start))
    }

    /// Stores a word, after everything that was written before it.
    ///
    /// # Errors
    ///
    /// If there is no such row or word.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "shared memory; the offset is checked"
    )]
    pub fn store(&self, row: u32, offset: usize, value: u32) -> Result<()> {
        ensure!(offset.is_multiple_of(4), "a word at {offset}");
        let at = self.at(row, offset, 4)?.cast::<u32>();
        // SAFETY: within the mapping, aligned (rows start at multiples of 8), and atomics are
        // how both sides agree to touch it.
        unsafe { AtomicU32::from_ptr(at) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads a word.
    ///
    /// # Errors
    ///
    /// If there is no such row or word.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "shared memory; the offset is checked"
    )]
    pub fn load(&self, row: u32, offset: usize) -> Result<u32> {
        ensure!(offset.is_multiple_of(4), "a word at {offset}");
        let at = self.at(row, offset, 4)?.cast::<u32>();
        // SAFETY: as in `store`.
        Ok(unsafe { AtomicU32::from_ptr(at) }.load(Ordering::Acquire))
    }

    /// Stores a word of 64 bits, after everything that was written before it.
    ///
    /// # Errors
    ///
    /// If there is no such row or word.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "shared memory; the offset is checked"
    )]
    pub fn store_wide(&self, row: u32, offset: usize, value: u64) -> Result<()> {
        ensure!(offset.is_multiple_of(8), "a word of 64 bits at {offset}");
        let at = self.at(row, offset, 8)?.cast::<u64>();
        // SAFETY: as in `store`.
        unsafe { AtomicU64::from_ptr(at) }.store(value, Ordering::Release);
        Ok(())
    }

    /// Loads a word of 64 bits.
    ///
    /// # Errors
    ///
    /// If there is no such row or word.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "shared memory; the offset is checked"
    )]
    pub fn load_wide(&self, row: u32, offset: usize) -> Result<u64> {
        ensure!(offset.is_multiple_of(8), "a word of 64 bits at {offset}");
        let at = self.at(row, offset, 8)?.cast::<u64>();
        // SAFETY: as in `store`.
        Ok(unsafe { AtomicU64::from_ptr(at) }.load(Ordering::Acquire))
    }

    /// Sets bits of a word of 64 bits, then clears others: the kernel may change further ones at
    /// the same time.
    ///
    /// # Errors
    ///
    /// If there is no such row or word.
    #[expect(
        unsafe_code,
        clippy::cast_ptr_alignment,
        reason = "shared memory; the offset is checked"
    )]
    pub fn change(&self, row: u32, offset: usize, set: u64, clear: u64) -> Result<()> {
        ensure!(offset.is_multiple_of(8), "a word of 64 bits at {offset}");
        let at = self.at(row, offset, 8)?.cast::<u64>();
        // SAFETY: as in `store`.
        let word = unsafe { AtomicU64::from_ptr(at) };
        if set != 0 {
            word.fetch_or(set, Ordering::AcqRel);
        }
        if clear != 0 {
            word.fetch_and(!clear, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Writes bytes that no packet reads yet.
    ///
    /// # Errors
    ///
    /// If they do not fit into the row.
    #[expect(unsafe_code, reason = "shared memory; the bounds are checked")]
    pub fn write(&self, row: u32, offset: usize, bytes: &[u8]) -> Result<()> {
        let at = self.at(row, offset, bytes.len())?;
        for (place, byte) in bytes.iter().enumerate() {
            // SAFETY: within the mapping. Nothing reachable names this row; a thread that looks up
            // a name meanwhile goes by single bytes, as this does.
            unsafe { AtomicU8::from_ptr(at.wrapping_add(place)) }.store(*byte, Ordering::Relaxed);
        }
        fence(Ordering::Release);
        Ok(())
    }

    /// Copies bytes out of a row. To a thread that does not write them they may be those of the
    /// row's last use and its next one mixed.
    ///
    /// # Errors
    ///
    /// If there are not so many.
    #[expect(unsafe_code, reason = "shared memory; the bounds are checked")]
    pub fn read<const N: usize>(&self, row: u32, offset: usize) -> Result<[u8; N]> {
        let at = self.at(row, offset, N)?;
        let mut bytes = [0; N];
        fence(Ordering::Acquire);
        for (place, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: within the mapping, and as in `write`.
            *byte = unsafe { AtomicU8::from_ptr(at.wrapping_add(place)) }.load(Ordering::Relaxed);
        }
        Ok(bytes)
    }
}
