//! What a failing test shows: the agent's view, its tables and its log.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

use super::Lab;

/// Lines of the agent's log that are shown.
const LOG_LINES: usize = 40;

impl Lab {
    /// Prints status, maps and the end of the agent's log to standard error.
    pub fn show(&self) {
        if !self.agent_log().exists() {
            return;
        }
        let mut text = format!("\n---- {} ----\n", self.name());
        // The reasons counters are part of the status.
        for args in [["status", "--json"].as_slice(), &["maps"]] {
            let _ = writeln!(text, "-- canaryctl {}", args.join(" "));
            match self.ctl(args) {
                Ok(output) => text.push_str(&output),
                Err(error) => {
                    let _ = writeln!(text, "{error:#}");
                }
            }
        }
        let _ = writeln!(text, "-- agent.log\n{}", tail(self.agent_log()));
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// The last lines of a file, or why it cannot be read.
pub(super) fn tail(path: impl AsRef<Path>) -> String {
    match fs::read_to_string(path) {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            let start = lines.len().saturating_sub(LOG_LINES);
            lines.get(start..).unwrap_or_default().join("\n")
        }
        Err(error) => error.to_string(),
    }
}
