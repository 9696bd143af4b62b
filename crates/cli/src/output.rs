//! Terminal output, and the confirmation prompt.

use crate::CliError;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::sync::OnceLock;
use twinlake_core::render::{escape, escape_json};

/// The first error of a write to standard output, such as that of a full disk.
static WRITE_ERROR: OnceLock<std::io::Error> = OnceLock::new();

/// Prints text to standard output, with a newline at its end. [`finish`] returns an error of it.
pub fn print(text: &str) {
    let end = match text.ends_with('\n') {
        true => "",
        false => "\n",
    };
    write(&format!("{text}{end}"));
}

fn write(text: &str) {
    record(write_to(&mut std::io::stdout().lock(), text));
}

fn write_to(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())
}

fn record(written: std::io::Result<()>) {
    if let Err(error) = written {
        // Only the first is kept.
        let _ = WRITE_ERROR.set(error);
    }
}

/// Writes what is buffered.
///
/// # Errors
/// Something was not written. Whoever closes the pipe does not want the rest, so that is no error.
pub fn finish() -> Result<(), CliError> {
    record(std::io::stdout().lock().flush());
    match WRITE_ERROR.get() {
        Some(error) => failure_of(error),
        None => Ok(()),
    }
}

fn failure_of(error: &std::io::Error) -> Result<(), CliError> {
    match error.kind() == ErrorKind::BrokenPipe {
        true => Ok(()),
        false => Err(CliError::File {
            path: "standard output".to_owned(),
            problem: format!("{error}. What the command has done stays done"),
        }),
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
        write("\u{1b}[2J\u{1b}[H");
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
pub fn is_stderr_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Asks a question on standard error. Returns true if the answer is `yes`.
pub(crate) fn confirm(question: &str) -> Result<bool, CliError> {
    note(&format!("{question} Type `yes` to confirm."));
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|e| CliError::Usage(e.to_string()))?;
    Ok(line.trim() == "yes")
}
