//! Files of arbitrary bytes of each kind: see `support/any_file.rs`. `make fuzz` looks for such files for longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::pedantic,
    clippy::wildcard_enum_match_arm,
    dead_code,
    unreachable_pub,
    reason = "the helpers of tests stand outside of them, and other tests share them"
)]

#[path = "support/any_file.rs"]
mod any_file;
mod support;

use any_file::{CheckpointRow, file_of};
use proptest::prelude::*;

/// Bytes, or edits of a sound file.
fn input() -> impl Strategy<Value = Vec<u8>> {
    let edits = proptest::collection::vec(any::<[u8; 4]>(), 0..6);
    prop_oneof![
        3 => (any::<u8>(), edits).prop_map(|(choice, edits)| {
            let mut input = vec![choice];
            input.extend(edits.concat());
            input
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}=[0-9]/[a-z0-9%]{1,9}",
        "(s3|s3a|file)://[a-z]{1,9}/[a-z0-9]{1,9}",
        "/[a-z]{1,9}",
    ]
}

fn checkpoint_row() -> impl Strategy<Value = CheckpointRow> {
    let vector = prop_oneof![
        path().prop_map(|path| ("p".to_owned(), path)),
        Just(("u".to_owned(), "ab^-aqEH.-t@S}K{vb[*k^".to_owned())),
        Just((
            "i".to_owned(),
            "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L".to_owned()
        )),
    ];
    prop_oneof![
        (path(), proptest::option::of(vector))
            .prop_map(|(path, vector)| CheckpointRow::Add(path, vector)),
        path().prop_map(CheckpointRow::Remove),
        (path(), 0..99_i64).prop_map(|(path, size)| CheckpointRow::Sidecar(path, size)),
    ]
}

proptest! {
    #[test]
    fn whatever_is_in_metadata(input in input()) {
        any_file::check_metadata(&file_of(&input, &any_file::sound_metadata()));
    }

    #[test]
    fn whatever_is_in_a_manifest(input in input()) {
        any_file::check_manifest(&file_of(&input, &any_file::sound_manifests()));
    }

    #[test]
    fn whatever_is_in_a_puffin_file(input in input()) {
        any_file::check_puffin(&file_of(&input, &any_file::sound_puffin_files()));
    }

    #[test]
    fn whatever_is_in_a_delta_log(input in input()) {
        any_file::check_delta_log(&file_of(&input, &any_file::sound_logs()));
    }

    #[test]
    fn whatever_is_in_a_hudi_timeline(input in input()) {
        any_file::check_hudi_timeline(&file_of(&input, &any_file::sound_timelines()));
    }

    /// Each absolute path of a checkpoint is found, in whatever row, group and column it stands.
    #[test]
    fn each_absolute_path_of_a_checkpoint_is_found(
        rows in proptest::collection::vec(checkpoint_row(), 1..40),
        group in 1..9_usize,
    ) {
        let content = any_file::check_delta_checkpoint(&any_file::encode_checkpoint(&rows, group)).unwrap();
        let is_absolute = |path: &str| path.starts_with('/') || path.contains("://");
        let (mut absolute, mut sidecars) = (0, 0);
        for row in &rows {
            match row {
                CheckpointRow::Add(path, vector) => {
                    absolute += usize::from(is_absolute(path));
                    absolute += usize::from(vector.as_ref().is_some_and(|(storage, _)| storage == "p"));
                }
                CheckpointRow::Remove(path) => absolute += usize::from(is_absolute(path)),
                // One that lies elsewhere than the sidecars leads out, too.
                CheckpointRow::Sidecar(path, _) if path.contains('/') => absolute += 1,
                CheckpointRow::Sidecar(..) => sidecars += 1,
            }
        }
        prop_assert_eq!((content.absolute.count, content.sidecars.len()), (absolute, sidecars));
    }
}

/// Panics of the Parquet library are contained, and print nothing here.
#[test]
fn whatever_is_in_a_parquet_file() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut runner = proptest::test_runner::TestRunner::default();
    let result = runner.run(&input(), |input| {
        any_file::check_position_deletes(&file_of(&input, &any_file::sound_position_deletes()));
        any_file::check_delta_checkpoint(&file_of(&input, &any_file::sound_checkpoints()));
        Ok(())
    });
    std::panic::set_hook(hook);
    result.unwrap();
}

/// The sound files are read and relocated: the tests above are not about files that are all refused.
#[test]
fn sound_files_are_relocated() {
    assert!(
        any_file::sound_metadata()
            .iter()
            .all(|file| any_file::check_metadata(file))
    );
    assert!(
        any_file::sound_manifests()
            .iter()
            .all(|file| any_file::check_manifest(file))
    );
    assert!(
        any_file::sound_puffin_files()
            .iter()
            .all(|file| any_file::check_puffin(file))
    );
    let deletes = any_file::sound_position_deletes();
    assert!(
        deletes
            .iter()
            .all(|file| any_file::check_position_deletes(file))
    );
    let checkpoints = any_file::sound_checkpoints();
    let counts = checkpoints.iter().map(|file| {
        any_file::check_delta_checkpoint(file)
            .unwrap()
            .absolute
            .count
    });
    assert_eq!(counts.collect::<Vec<_>>(), [3, 3]);
    assert!(any_file::check_delta_log(&any_file::sound_logs()[0]));
    assert!(any_file::check_hudi_timeline(
        &any_file::sound_timelines()[1]
    ));
}
