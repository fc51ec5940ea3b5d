//! Tables for people: upper-case heads, two blanks between columns.

use std::fmt;

/// Blanks between two columns.
const GUTTER: &str = "  ";

/// A column's head and the side its cells stand on.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    head: &'static str,
    right: bool,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub const fn left(head: &'static str) -> Self {
        Self { head, right: false }
    }

    /// Its head.
    #[must_use]
    pub const fn head(&self) -> &'static str {
        self.head
    }

    /// Whether its cells stand on the right.
    #[must_use]
    pub const fn is_right(&self) -> bool {
        self.right
    }

    /// A column of numbers.
    #[must_use]
    pub const fn right(head: &'static str) -> Self {
        Self { head, right: true }
    }
}

/// A table of `N` columns.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// An empty table.
    #[must_use]
    pub fn new(columns: [Column; N]) -> Self {
        let heads = columns.map(|column| column.head.to_owned());
        Self { columns, rows: vec![heads] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: [&str; N]) {
        self.rows.push(cells.map(str::to_owned));
    }

    /// Its lines, head first, without blanks at their ends.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String; N], widths: &[usize; N]) -> String {
        let cells = row.iter().zip(widths).zip(&self.columns).map(|((cell, &width), column)| {
            if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join(GUTTER);
        line.trim_end().to_owned()
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().into_iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A size with its unit, to two digits.
#[must_use]
pub fn bytes(count: u64) -> String {
    scaled(count, 1024, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

/// A time with its unit, to two digits.
#[must_use]
pub fn micros(count: u64) -> String {
    scaled(count, 1000, &["us", "ms", "s"])
}

/// `count` in the largest unit that leaves at least 1, with one decimal below 100 but for the
/// smallest unit, which is counted and not rounded.
fn scaled(count: u64, step: u64, units: &[&str]) -> String {
    let mut tenths = u128::from(count) * 10;
    let mut units = units.iter().peekable();
    let mut exact = true;
    while let Some(unit) = units.next() {
        let last = units.peek().is_none();
        let limit = u128::from(step) * 10;
        if tenths < limit || last {
            let whole = tenths / 10;
            let plain = exact || whole >= 100;
            return if plain {
                format!("{whole}{unit}")
            } else {
                format!("{whole}.{}{unit}", tenths % 10)
            };
        }
        tenths /= u128::from(step);
        exact = false;
    }
    count.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table = Table::new([Column::left("SUBSET"), Column::right("N"), Column::left("X")]);
        table.row(["blue", "1234", "a"]);
        table.row(["grün", "1", ""]);

        assert_eq!(table.to_string(), "SUBSET     N  X\nblue    1234  a\ngrün       1\n");
    }

    #[test]
    fn sizes_and_times_pick_their_unit() {
        assert_eq!(
            [0, 1023, 1024, 1536, 100 << 10, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [0, 999, 1000, 2150, 300_000, 5_000_000, 7_860_000_000].map(micros),
            ["0us", "999us", "1.0ms", "2.1ms", "300ms", "5.0s", "7860s"]
        );
    }
}
