//! Offsets to lines and columns, in constant time.

use crate::error::Position;

/// Bytes between two entries of the index of characters.
const STRIDE: usize = 64;

/// An index over a text that tells line and column of any offset.
///
/// Columns count characters, so a line of any length needs an index of its own: walking back to
/// its start for every value would make a one-line file of a megabyte take minutes.
pub(super) struct Places<'t> {
    text: &'t str,
    /// Offset of the first byte of each line.
    lines: Vec<usize>,
    /// Characters that start before each multiple of [`STRIDE`].
    characters: Vec<usize>,
}

impl<'t> Places<'t> {
    /// Indexes `text`.
    pub(super) fn new(text: &'t str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(at, _)| at.saturating_add(1))).collect();
        let mut count = 0_usize;
        let mut characters = vec![0];
        for chunk in text.as_bytes().chunks(STRIDE) {
            count = count.saturating_add(starts(chunk));
            characters.push(count);
        }
        Self { text, lines, characters }
    }

    /// The place of the byte at `offset`; of the end for an offset beyond it.
    pub(super) fn at(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.before(offset).saturating_sub(self.before(start)).saturating_add(1);
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// The place behind the last character.
    pub(super) fn end(&self) -> Position {
        self.at(self.text.len())
    }

    /// Characters that start before `offset`.
    fn before(&self, offset: usize) -> usize {
        let chunk = offset.checked_div(STRIDE).unwrap_or_default();
        let whole = self.characters.get(chunk).copied().unwrap_or_default();
        let from = chunk.saturating_mul(STRIDE);
        let rest = self.text.as_bytes().get(from..offset).unwrap_or_default();
        whole.saturating_add(starts(rest))
    }
}

/// Characters that start in `bytes`: all but UTF-8's continuation bytes.
fn starts(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
