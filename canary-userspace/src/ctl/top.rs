//! `top`: services and their splits, as they go.

mod rows;
mod view;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::sleep;

pub use self::rows::Sort;
use self::rows::{Row, Sample, rows};
use self::view::View;
use super::args;
use super::client::Client;
use super::console::Console;
use super::ends::ended;
use super::failure::Failure;
use super::status;
use super::table::Table;

/// Time between two looks whether a key was pressed.
const KEYS: Duration = Duration::from_millis(100);

/// Shows services until somebody has seen enough, or once where there is no terminal.
///
/// # Errors
///
/// [`Failure`] of the first look; later ones are shown and waited out.
pub async fn run(
    options: &args::Top,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let first = look(client).await?;
    let has_terminal = console.screen && io::stdin().is_terminal();
    if options.once || options.json || !has_terminal {
        sleep(options.interval).await;
        let rows = rows(&first, &look(client).await?, options.sort);
        return if options.json { console.json(&rows) } else { console.raw(&text(&rows)) };
    }
    let mut terminal = ratatui::try_init()?;
    let shown = tokio::select! {
        () = ended() => Ok(()),
        shown = show(options, client, first, &mut terminal) => shown,
    };
    ratatui::try_restore()?;
    shown
}

async fn look(client: &Client) -> Result<Sample, Failure> {
    let status = client.get(status::PATH).await?.ok()?.json()?;
    Ok(Sample { at: Instant::now(), status })
}

async fn show(
    options: &args::Top,
    client: &Client,
    first: Sample,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let mut keys = keys()?;
    let mut view = View::new(options.sort, first);
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        tokio::select! {
            key = keys.recv() => match key {
                Some(key) if !view.take(key) => {}
                _ => return Ok(()),
            },
            found = later(options.interval, client) => match found {
                Ok(sample) => view.show(sample),
                Err(failure) => view.fail(failure.to_string()),
            },
        }
    }
}

async fn later(interval: Duration, client: &Client) -> Result<Sample, Failure> {
    sleep(interval).await;
    look(client).await
}

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Quit,
    Sort,
    Up,
    Down,
    /// Nothing; or the terminal has another size.
    Other,
}

/// Keys as they are pressed. The thread ends when nobody listens.
fn keys() -> io::Result<mpsc::UnboundedReceiver<Key>> {
    let (pressed, keys) = mpsc::unbounded_channel();
    thread::Builder::new().name("keys".to_owned()).spawn(move || {
        while !pressed.is_closed() {
            let read =
                event::poll(KEYS).and_then(|is_there| is_there.then(event::read).transpose());
            match read {
                Ok(None) => {}
                Ok(Some(event)) => _ = pressed.send(meaning(&event)),
                Err(_) => return,
            }
        }
    })?;
    Ok(keys)
}

fn meaning(event: &Event) -> Key {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return Key::Other;
    };
    match code {
        // A terminal in raw mode sends no signal.
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Key::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char('s') => Key::Sort,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        _ => Key::Other,
    }
}

fn text(rows: &[Row]) -> String {
    let mut table = Table::new(rows::COLUMNS);
    for row in rows {
        table.row(row.cells().each_ref().map(String::as_str));
    }
    table.to_string()
}

#[cfg(test)]
mod tests;
