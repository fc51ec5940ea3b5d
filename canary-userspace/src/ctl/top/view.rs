//! The screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row as TableRow, Table};

use super::Key;
use super::rows::{COLUMNS, Row, Sample, Sort, rows};

/// What the screen shows, and how far it is scrolled.
#[derive(Debug)]
pub(super) struct View {
    sort: Sort,
    before: Sample,
    now: Sample,
    /// Rows above the screen.
    above: usize,
    /// Why the last look failed.
    failure: Option<String>,
}

impl View {
    pub(super) fn new(sort: Sort, first: Sample) -> Self {
        Self { sort, before: first.clone(), now: first, above: 0, failure: None }
    }

    /// Shows what happened up to this look.
    pub(super) fn show(&mut self, sample: Sample) {
        self.before = std::mem::replace(&mut self.now, sample);
        self.failure = None;
    }

    /// Says why there is nothing new.
    pub(super) fn fail(&mut self, text: String) {
        self.failure = Some(text);
    }

    /// Does what a key asks for; whether that is to end.
    pub(super) fn take(&mut self, key: Key) -> bool {
        match key {
            Key::Quit => return true,
            Key::Sort => self.sort = self.sort.next(),
            Key::Up => self.above = self.above.saturating_sub(1),
            Key::Down => self.above = self.above.saturating_add(1),
            Key::Other => {}
        }
        false
    }

    /// Draws head, splits and keys.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let parts = [Constraint::Length(1), Constraint::Min(2), Constraint::Length(1)];
        let [head, middle, foot] = Layout::vertical(parts).areas(frame.area());
        frame.render_widget(self.head(), head);
        let rows = rows(&self.before, &self.now, self.sort);
        let room = usize::from(middle.height).saturating_sub(1);
        self.above = self.above.min(rows.len().saturating_sub(room));
        frame.render_widget(table(&rows, self.above), middle);
        let below = rows.len().saturating_sub(self.above.saturating_add(room));
        frame.render_widget(Line::from(foot_of(self.above, below)).style(FAINT), foot);
    }

    fn head(&self) -> Line<'static> {
        let status = &self.now.status;
        if let Some(failure) = &self.failure {
            return Line::from(format!("‼ {failure}")).style(BAD);
        }
        let ready = if status.ready { "ready" } else { "not ready" };
        let (version, revision) = (&status.version, status.revision);
        let (count, sort) = (status.services.len(), self.sort.word());
        Line::from(format!(
            "canary {version} {ready}, revision {revision} · {count} services · by {sort}"
        ))
    }
}

const BAD: Style = Style::new().fg(Color::Red);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

fn foot_of(above: usize, below: usize) -> String {
    let keys = "q quit · s sort · ↑↓ scroll";
    match (above, below) {
        (0, 0) => keys.to_owned(),
        _ => format!("{keys} · {above} above, {below} below"),
    }
}

/// Columns as wide as their content, words left and numbers right.
fn table(rows: &[Row], above: usize) -> Table<'static> {
    let cells: Vec<[String; 11]> = rows.iter().map(Row::cells).collect();
    let mut widths = COLUMNS.map(|column| column.head().chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let aligned = |texts: [String; 11]| {
        let columns = COLUMNS.iter().zip(texts);
        columns.map(|(column, text)| {
            let line = Line::from(text);
            Cell::from(if column.is_right() { line.right_aligned() } else { line })
        })
    };
    let heads = COLUMNS.map(|column| column.head().to_owned());
    let head = TableRow::new(aligned(heads)).style(Style::new().add_modifier(Modifier::BOLD));
    let shown = rows.iter().zip(cells).skip(above).map(|(row, cells)| {
        let style = if row.is_unwell() { BAD } else { Style::new() };
        TableRow::new(aligned(cells)).style(style)
    });
    let lengths = widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)));
    Table::new(shown, lengths).header(head).column_spacing(2)
}
