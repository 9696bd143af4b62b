//! Terminal output, and the confirmation prompt.

use crate::CliError;
use std::io::{IsTerminal as _, Write as _};
use twinlake_core::render::{escape, escape_json};

/// Prints text to standard output, with a newline at its end. Ignores a closed pipe.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// Prints a value as JSON to standard output.
pub fn json<T: serde::Serialize>(value: &T) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&escape_json(&text));
}

/// Clears the screen, if standard output is a terminal.
pub fn clear() {
    if std::io::stdout().is_terminal() {
        print("\u{1b}[2J\u{1b}[H");
    }
}

/// Prints a note to standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints an error to standard error. The text may contain untrusted input: it is escaped.
pub fn error(text: &str) {
    let lines: Vec<String> = text.lines().map(escape).collect();
    note(&format!("twinlake: {}", lines.join("\n  ")));
}

/// A number of seconds in the largest unit that leaves at least two, for people.
pub(crate) fn duration(secs: i64) -> String {
    match secs {
        ..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// Whether standard error is a terminal.
#[must_use]
pub fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Asks a question on standard error. Returns true if the answer is exactly `yes`.
pub(crate) fn confirm(question: &str) -> Result<bool, CliError> {
    note(&format!("{question} Type `yes` to confirm."));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|e| CliError::Usage(e.to_string()))?;
    Ok(line.trim() == "yes")
}
