//! A terminal that is drawn again in place.

use std::fmt::Write;

/// Begins: an empty screen, without a cursor and without lines that wrap.
pub(super) const OPEN: &str = "\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
/// Ends: as it was, with the last frame left on it.
pub(super) const CLOSE: &str = "\x1b[?7h\x1b[?25h";

/// Lines of a terminal that does not say how many it has.
const LINES: usize = 24;

/// A frame over the one before it, cut to the lines that the terminal has.
pub(super) fn frame(text: &str) -> String {
    cut(text, height().unwrap_or(LINES))
}

/// Each line is cleared behind its end, so nothing flickers.
fn cut(text: &str, height: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let mut frame = String::from("\x1b[H");
    let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
    for line in lines.iter().take(shown) {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    let more = lines.len().saturating_sub(shown);
    if more > 0 {
        // Writing to a string cannot fail.
        _ = writeln!(frame, "… {more} more lines\x1b[K");
    }
    frame.push_str("\x1b[J");
    frame
}

/// Lines of the terminal that standard output is.
#[expect(unsafe_code, reason = "no library here asks a terminal for its size")]
fn height() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request writes one `winsize`, and `size` is one that outlives the call.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_row > 0).then(|| usize::from(size.ws_row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_clears_what_was_there_and_fits() {
        assert_eq!(cut("a\nb\n", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(cut("a\nb\nc\nd\n", 4), "\x1b[Ha\x1b[K\nb\x1b[K\n… 2 more lines\x1b[K\n\x1b[J");
    }
}
