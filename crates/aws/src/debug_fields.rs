//! The fields of the SDK's types, for tests that fail when an upgrade adds one.

/// The field names of an SDK type, from its `Debug` text.
pub(crate) fn fields(debug: &str) -> Vec<String> {
    let lines = debug
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "));
    lines
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect()
}
