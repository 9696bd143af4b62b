//! Plays every script in `tests/scenarios` and compares with the text beside it.
//!
//! `UPDATE=1 make test` writes the texts anew; read the difference before you
//! commit it.

use std::path::Path;

fn play(path: &Path) -> datatest_stable::Result<()> {
    let played = twinlake_cli::scenario::play(&std::fs::read_to_string(path)?)?;
    let beside = path.with_extension("out");
    if option_env!("UPDATE").is_some() {
        std::fs::write(&beside, &played)?;
    }
    let expected = std::fs::read_to_string(&beside).unwrap_or_default();
    if played == expected {
        return Ok(());
    }
    let differs = played
        .lines()
        .zip(expected.lines())
        .position(|(a, b)| a != b);
    let at = differs.unwrap_or(played.lines().count().min(expected.lines().count()));
    Err(format!(
        "line {} of {} differs:\n  got      {:?}\n  expected {:?}",
        at + 1,
        beside.display(),
        played.lines().nth(at),
        expected.lines().nth(at)
    )
    .into())
}

datatest_stable::harness! {
    { test = play, root = "scenarios", pattern = r"\.txt$" },
}
