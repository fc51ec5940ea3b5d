//! The line that an error is about, with a caret under the place.

use super::paint::Paint;
use crate::error::{ConfigError, Position};

/// Characters of a line that are shown at most: a document may be one line.
const WIDTH: usize = 100;
/// Characters before the place that are shown at least, where there are some.
const BEFORE: usize = 60;

/// The error as `FILE:LINE:COL: TEXT`, and below it the line of `source` that it is about.
#[must_use]
pub fn with_line(error: &ConfigError, source: &[u8], paint: Paint) -> String {
    match error.position.and_then(|position| lines(source, position, paint)) {
        Some(lines) => format!("{error}\n{lines}"),
        None => error.to_string(),
    }
}

/// The line at `position` and the caret; `None` where the text has no such line.
fn lines(source: &[u8], position: Position, paint: Paint) -> Option<String> {
    let Position { line: number, column } = position;
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    let before = usize::try_from(column).ok()?.checked_sub(1)?;
    let line = source.split(|byte| *byte == b'\n').nth(index)?;
    let line: Vec<char> = String::from_utf8_lossy(line).trim_end().chars().collect();
    // A place past the end is that of something that is missing.
    let before = before.min(line.len());
    let start = if line.len() > WIDTH { before.saturating_sub(BEFORE) } else { 0 };
    let cut = line.len().saturating_sub(start) > WIDTH;
    let shown: String =
        line.iter().skip(start).take(WIDTH).map(|letter| visible(*letter)).collect();
    let indent: String = (line.iter().take(before).skip(start))
        .map(|letter| if *letter == '\t' { '\t' } else { ' ' })
        .collect();
    let [left, right] = [start > 0, cut].map(|cut| if cut { "…" } else { "" });
    let gutter = number.to_string();
    let blank = " ".repeat(gutter.len());
    let shift = if start > 0 { " " } else { "" };
    Some(format!(
        "  {} {left}{shown}{right}\n  {} {shift}{indent}{}",
        paint.faint(format_args!("{gutter} |")),
        paint.faint(format_args!("{blank} |")),
        paint.red("^"),
    ))
}

/// A letter that cannot move the cursor.
fn visible(letter: char) -> char {
    if letter.is_control() && letter != '\t' { char::REPLACEMENT_CHARACTER } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str, line: u32, column: u32) -> String {
        let error = ConfigError::at(Position { line, column }, "wrong").in_file("a.hcl");
        with_line(&error, source.as_bytes(), Paint::default())
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(
            shown("kind = \"x\"\n\tname = p\r\n", 2, 9),
            "a.hcl:2:9: wrong\n  2 | \tname = p\n    | \t       ^"
        );
    }

    #[test]
    fn letters_count_and_not_bytes() {
        assert_eq!(shown("grün = ß", 1, 8), "a.hcl:1:8: wrong\n  1 | grün = ß\n    |        ^");
    }

    #[test]
    fn a_document_of_one_long_line_is_shown_in_part() {
        let source = format!("{}X{}", "a".repeat(500), "b".repeat(500));

        let text = shown(&source, 1, 501);

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], format!("  1 | …{}X{}…", "a".repeat(60), "b".repeat(39)));
        assert_eq!(lines[2], format!("    |  {}^", " ".repeat(60)));
    }

    #[test]
    fn a_place_outside_of_the_text_shows_what_there_is() {
        assert_eq!(shown("a", 7, 1), "a.hcl:7:1: wrong");
        assert_eq!(shown("ab", 1, 9), "a.hcl:1:9: wrong\n  1 | ab\n    |   ^");
        assert_eq!(with_line(&ConfigError::new("x"), b"y", Paint::default()), "x");
    }

    #[test]
    fn what_is_in_a_file_cannot_steer_the_terminal() {
        assert!(!shown("a\x1b[2Jb", 1, 1).contains('\x1b'));
    }
}
