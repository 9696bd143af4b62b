//! Runs every script `tests/scenarios/*.txt`, once with each site as primary, and compares the
//! transcript with the `.out` file of the same name. With site `b` as primary the Regions and the
//! buckets of the script are swapped, and swapped back in the transcript.
//!
//! `UPDATE=1 make test` rewrites the `.out` files; review the difference before you commit it.

use std::path::Path;
use twinlake_cli::scenario::run_script;
use twinlake_core::topology::SiteId;

/// Swaps the Regions, and the buckets, of the two sites.
fn swap_sites(text: &str) -> String {
    let pairs = [("us-east-1", "ap-south-1"), ("lake-us", "lake-in")];
    pairs.iter().fold(text.to_owned(), |text, (a, b)| {
        text.replace(a, "\u{1}").replace(b, a).replace('\u{1}', b)
    })
}

fn run_scenario(path: &Path) -> datatest_stable::Result<()> {
    let script = std::fs::read_to_string(path)?;
    let transcript = run_script(&script, SiteId::A)?;
    let expected_path = path.with_extension("out");
    if option_env!("UPDATE").is_some() {
        std::fs::write(&expected_path, &transcript)?;
    }
    let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
    compare(
        "with site a as primary",
        &expected_path,
        &transcript,
        &expected,
    )?;
    let mirrored_transcript = swap_sites(&run_script(&swap_sites(&script), SiteId::B)?);
    let (mirrored_transcript, expected) = (
        with_sorted_lists(&mirrored_transcript),
        with_sorted_lists(&expected),
    );
    compare(
        "with site b as primary",
        &expected_path,
        &mirrored_transcript,
        &expected,
    )
}

/// Returns the transcript with the lines of `calls` and `alerts` sorted: their order depends on the
/// names of the Regions, which are swapped.
fn with_sorted_lists(transcript: &str) -> String {
    let blocks = transcript.split_inclusive("\n> ").map(|block| {
        let is_list = block.starts_with("calls\n") || block.starts_with("alerts\n");
        let mut lines: Vec<&str> = block.lines().collect();
        let end = lines.len() - usize::from(block.ends_with("\n> "));
        if let Some(list) = lines.get_mut(1..end).filter(|_| is_list) {
            list.sort_unstable();
        }
        lines.join("\n")
    });
    blocks.collect()
}

fn compare(
    case: &str,
    expected_path: &Path,
    found: &str,
    expected: &str,
) -> datatest_stable::Result<()> {
    if found == expected {
        return Ok(());
    }
    let first_difference = found
        .lines()
        .zip(expected.lines())
        .position(|(a, b)| a != b);
    let index = first_difference.unwrap_or(found.lines().count().min(expected.lines().count()));
    Err(format!(
        "{case}, line {} of {} differs:\n  got      {:?}\n  expected {:?}",
        index + 1,
        expected_path.display(),
        found.lines().nth(index),
        expected.lines().nth(index)
    )
    .into())
}

datatest_stable::harness! {
    { test = run_scenario, root = "scenarios", pattern = r"\.txt$" },
}
