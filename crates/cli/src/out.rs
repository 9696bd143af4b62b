//! Where the words go.

use std::io::{IsTerminal as _, Write as _};
use twinlake_core::render::{escape, escape_json};

/// Prints lines to standard output. A reader that went away is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// Prints a value as JSON.
pub fn json<T: serde::Serialize>(value: &T) {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    print(&escape_json(&text));
}

/// Clears the screen of a person who watches.
pub fn clear() {
    if std::io::stdout().is_terminal() {
        print("\u{1b}[2J\u{1b}[H");
    }
}

/// Says something beside the result, on standard error.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Says what went wrong. The text may quote untrusted words.
pub fn error(text: &str) {
    let lines: Vec<String> = text.lines().map(escape).collect();
    note(&format!("twinlake: {}", lines.join("\n  ")));
}

/// Whether a person is watching.
#[must_use]
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}
