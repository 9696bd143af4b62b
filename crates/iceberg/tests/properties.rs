//! Properties of the rewriting of each kind of file, over generated files and arbitrary bytes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "the helpers of tests stand outside of them"
)]

mod support;

use proptest::prelude::*;
use support::{Entry, FileKind, ListEntry, ManifestFile, back, forth};
use twinlake_iceberg::table_log::symlink::read_symlink_manifest;
use twinlake_iceberg::table_log::{delta, hudi};
use twinlake_iceberg::{
    EntryStatus, FileLocations, PathMap, PositionDeleteFacts, RelocatedFile, RelocatedKind,
    Relocations, TableFindingKind, TableMetadata, read_and_relocate_manifest,
    read_deletion_vectors, read_manifest, read_manifest_list, read_position_deletes,
    relocate_deletion_vectors, relocate_manifest, relocate_manifest_list, relocate_metadata,
    relocate_position_deletes,
};

const CODECS: [&str; 4] = ["null", "deflate", "snappy", "zstandard"];

fn text() -> impl Strategy<Value = String> {
    // Values of user columns, some of which look like paths of the table.
    prop_oneof![
        "[a-zA-Z0-9 /:=._-]{0,12}",
        Just("s3://primary/wh/t/data/x.parquet".to_owned()),
        Just("s3://standby/lake/t".to_owned()),
        any::<String>(),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let path = prop_oneof![
        "s3://primary/wh/t/data/[a-z0-9=/]{1,20}",
        "s3a://primary/wh/[a-z]{1,8}/.{0,8}"
    ];
    let kind = prop_oneof![Just(FileKind::Data), Just(FileKind::EqualityDeletes)];
    (
        0..3_i64,
        any::<i64>(),
        any::<Option<i64>>(),
        path,
        kind,
        text(),
        proptest::collection::vec((0..9_i64, text()), 0..4),
        any::<bool>(),
        any::<[u8; 4]>(),
    )
        .prop_map(
            |(status, snapshot, sequence, path, kind, partition, bounds, sized_blocks, unknown)| {
                Entry {
                    status,
                    snapshot,
                    sequence,
                    path,
                    kind,
                    partition,
                    bounds,
                    sized_blocks,
                    unknown,
                    ..Entry::default()
                }
            },
        )
}

proptest! {
    /// There and back is the identity, so nothing but paths changes; and what is there has the paths of the
    /// standby, so they all change.
    #[test]
    fn relocation_is_exact_in_manifests(
        entries in proptest::collection::vec(entry(), 0..20),
        block in 1..6_usize,
        codec in proptest::sample::select(&CODECS[..]),
    ) {
        let manifest = ManifestFile { entries: entries.clone(), block, codec, ..ManifestFile::default() };
        let source = manifest.encode();
        let none = Relocations::default();
        let there = relocate_manifest("m", &source, &forth(), &none).unwrap();
        let parsed = read_manifest("m", &there).unwrap();
        for (before, after) in entries.iter().zip(&parsed.entries) {
            prop_assert_eq!(forth().map(&before.path), Some(after.path.clone()));
        }
        let again = relocate_manifest("m", &there, &back(), &none).unwrap();
        let before = read_manifest("m", &source).unwrap();
        let at_once = read_and_relocate_manifest("m", &source, &forth(), &none).unwrap();
        prop_assert_eq!((&at_once.manifest, at_once.bytes.as_ref()), (&before, Some(&there)));
        prop_assert_eq!(read_manifest("m", &again).unwrap(), before);
        if codec == "null" {
            prop_assert_eq!(again, source);
        }
    }

    #[test]
    fn relocation_is_exact_in_manifest_lists(
        entries in proptest::collection::vec(("[a-z]{1,20}", any::<u32>(), text(), any::<Option<i64>>()), 0..9),
        codec in proptest::sample::select(&CODECS[..]),
    ) {
        let (mut list, mut there, mut home) = (Vec::new(), Relocations::default(), Relocations::default());
        for (at, (name, length, summary, rows)) in entries.into_iter().enumerate() {
            let source = format!("s3://primary/wh/t/metadata/{at}{name}.avro");
            let target = format!("s3://standby/lake/t/_twinlake/p/{at}{name}.avro");
            let relocated = |path: &str, length| RelocatedFile {
                path: path.to_owned(),
                source_length: 0,
                length,
                kind: RelocatedKind::Manifest,
            };
            there.insert(source.clone(), relocated(&target, u64::from(length) + 17));
            home.insert(target, relocated(&source, u64::from(length)));
            list.push(ListEntry { path: source, length: i64::from(length), summary, rows });
        }
        let source = support::encode_list(&list, codec);
        let moved = relocate_manifest_list("l", &source, &there).unwrap();
        for (before, after) in list.iter().zip(read_manifest_list("l", &moved).unwrap()) {
            prop_assert_eq!(after.length, before.length + 17);
            prop_assert_eq!(Some(&after.path), there.get(&before.path).map(|file| &file.path));
        }
        let again = relocate_manifest_list("l", &moved, &home).unwrap();
        match codec {
            "null" => prop_assert_eq!(again, source),
            _ => prop_assert_eq!(read_manifest_list("l", &again).unwrap(), read_manifest_list("l", &source).unwrap()),
        }
    }

    #[test]
    fn relocation_is_exact_in_puffin_files(vectors in proptest::collection::btree_map("[a-z/]{1,9}", any::<[u8; 9]>(), 1..5)) {
        let vectors: Vec<(String, Vec<u8>)> = vectors
            .into_iter()
            .map(|(name, bitmap)| (format!("s3://primary/wh/t/{name}"), bitmap.to_vec()))
            .collect();
        let source = support::encode_puffin(&vectors);
        let there = relocate_deletion_vectors("p", &source, &forth()).unwrap();
        let before = read_deletion_vectors("p", &source).unwrap();
        for (before, after) in before.iter().zip(read_deletion_vectors("p", &there).unwrap()) {
            prop_assert_eq!(forth().map(&before.referenced_data_file), Some(after.referenced_data_file));
            prop_assert_eq!((before.offset, before.length, true), (after.offset, after.length, after.is_intact));
        }
        prop_assert_eq!(relocate_deletion_vectors("p", &there, &back()).unwrap(), source);
    }

    /// Rows stay, are mapped and are sorted, also where the map reverses the order of two directories.
    #[test]
    fn relocation_is_exact_in_position_deletes(
        rows in proptest::collection::btree_set((prop_oneof!["x1/[ab]", "x2/[ab]"], 0..50_i64), 1..40),
        group in 1..9_usize,
    ) {
        let rows: Vec<(String, i64)> = rows.into_iter().map(|(path, at)| (format!("s3://primary/{path}"), at)).collect();
        let source = support::encode_position_deletes(&rows, group, true);
        let map = PathMap::new([("s3://primary/x1", "s3://standby/z"), ("s3://primary/x2", "s3://standby/a")]).unwrap();
        let there = relocate_position_deletes("d", source.into(), &map).unwrap();
        let mut expected: Vec<(String, i64, Vec<i32>)> = rows
            .iter()
            .enumerate()
            .map(|(at, (path, position))| (map.map(path).unwrap(), *position, support::tags_of(at)))
            .collect();
        expected.sort();
        prop_assert_eq!(support::decode_position_deletes(&there.bytes), expected.clone());
        let read = read_position_deletes("d", there.bytes.into(), |path| path.starts_with("s3://standby/")).unwrap();
        prop_assert!(read.is_sorted && read.has_field_ids && read.rejected.is_none());
        prop_assert_eq!(&there.facts.lower_path, &read.lower_path);
        prop_assert_eq!(&there.facts.upper_path, &Some(expected.last().unwrap().0.clone()));
        prop_assert_eq!(there.facts.split_offsets.len(), rows.len().div_ceil(group));
    }

    /// Whatever is changed in a file, it is refused, or read without a panic.
    #[test]
    fn damaged_files_do_not_panic(at: prop::sample::Index, value: u8, cut: prop::sample::Index, kind in 0..4_usize) {
        let mut file = support::samples().swap_remove(kind);
        let index = at.index(file.len());
        file[index] = value;
        read_everything(&file);
        file.truncate(cut.index(file.len()));
        read_everything(&file);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read_everything(&bytes));
    }
}

/// Lets the panics of this thread go without a message.
fn without_messages(run: impl FnOnce()) {
    let thread = std::thread::current().id();
    let hook = std::sync::Arc::new(std::panic::take_hook());
    let others = std::sync::Arc::clone(&hook);
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().id() != thread {
            others(panic);
        }
    }));
    run();
    std::panic::set_hook(Box::new(move |panic| hook(panic)));
}

#[test]
fn a_panic_of_the_parquet_library_is_a_finding_that_names_the_file() {
    let rows: Vec<(String, i64)> = (0..9)
        .map(|row| (format!("s3://primary/wh/t/{}", row / 3), row))
        .collect();
    let file = support::encode_position_deletes(&rows, 4, true);
    let mut contained = 0;
    without_messages(|| {
        for at in 0..file.len() {
            for value in [0, 0x7f, file[at] ^ 1] {
                let mut damaged = file.clone();
                damaged[at] = value;
                let read = read_position_deletes("d.parquet", damaged.clone().into(), |_| true);
                let relocated = relocate_position_deletes("d.parquet", damaged.into(), &forth());
                for error in [read.err(), relocated.err()].into_iter().flatten() {
                    assert_eq!(error.file, "d.parquet");
                    contained += usize::from(error.detail.contains("pages are damaged"));
                }
            }
        }
    });
    assert!(contained > 0, "the library does not panic any more");
}

/// Reads bytes as each kind of file; returns whether all refuse them.
fn read_everything(bytes: &[u8]) -> bool {
    let none = Relocations::default();
    let map = forth();
    let results = [
        read_manifest("f", bytes).is_err() & relocate_manifest("f", bytes, &map, &none).is_err(),
        read_manifest_list("f", bytes).is_err()
            & relocate_manifest_list("f", bytes, &none).is_err(),
        TableMetadata::parse("f", bytes).is_err()
            & relocate_metadata("f", bytes, &map, &none).is_err(),
        read_deletion_vectors("f", bytes).is_err()
            & relocate_deletion_vectors("f", bytes, &map).is_err(),
        relocate_position_deletes("f", bytes.to_vec().into(), &map).is_err(),
    ];
    results.iter().all(|is_err| *is_err)
}

fn refusal(entry: Entry) -> TableFindingKind {
    let manifest = ManifestFile {
        entries: vec![Entry::sample(), entry],
        ..ManifestFile::default()
    };
    let refused =
        relocate_manifest("m", &manifest.encode(), &forth(), &Relocations::default()).unwrap_err();
    assert_eq!(
        (refused.file.as_str(), refused.entry.as_str()),
        ("m", "entry 1")
    );
    refused.kind
}

#[test]
fn unknown_is_refused() {
    let sample = Entry::sample;
    assert_eq!(
        refusal(Entry {
            status: 3,
            ..sample()
        }),
        TableFindingKind::UnknownFileType
    );
    assert_eq!(
        refusal(Entry {
            content: Some(4),
            ..sample()
        }),
        TableFindingKind::UnknownFileType
    );
    assert_eq!(
        refusal(Entry {
            format: "LANCE".to_owned(),
            ..sample()
        }),
        TableFindingKind::UnknownFileType
    );
    assert_eq!(
        refusal(Entry {
            format: "PUFFIN".to_owned(),
            ..sample()
        }),
        TableFindingKind::UnknownFileType
    );
    assert_eq!(
        refusal(Entry {
            path: "s3://other/x".to_owned(),
            ..sample()
        }),
        TableFindingKind::OutsidePairs
    );
    assert_eq!(
        refusal(Entry {
            path: "data/x".to_owned(),
            ..sample()
        }),
        TableFindingKind::OutsidePairs
    );
    assert_eq!(
        refusal(Entry {
            key_metadata: vec![1],
            ..sample()
        }),
        TableFindingKind::Encrypted
    );
    let deletes = Entry {
        kind: FileKind::PositionDeletes,
        ..sample()
    };
    assert_eq!(refusal(deletes), TableFindingKind::DeleteFileNotRelocated);
    let outside = Entry {
        referenced: Some("s3://other/x".to_owned()),
        ..sample()
    };
    assert_eq!(refusal(outside), TableFindingKind::OutsidePairs);
    for (codec, version, kind) in [
        ("bzip2", "2", TableFindingKind::UnsupportedCodec),
        ("null", "4", TableFindingKind::UnsupportedFormat),
        ("null", "two", TableFindingKind::UnsupportedFormat),
    ] {
        let manifest = ManifestFile {
            codec,
            version,
            ..ManifestFile::default()
        };
        let refused = relocate_manifest("m", &manifest.encode(), &forth(), &Relocations::default());
        assert_eq!(refused.unwrap_err().kind, kind, "{codec} {version}");
    }
}

#[test]
fn a_manifest_whose_deletes_were_not_relocated_is_read_and_not_rewritten() {
    let deletes = |status| Entry {
        status,
        kind: FileKind::PositionDeletes,
        ..Entry::sample()
    };
    // In the second block of three.
    let entries = |status| vec![Entry::sample(), deletes(status), Entry::sample()];
    let [live, removed] = [0, 2].map(|status| {
        let manifest = ManifestFile {
            entries: entries(status),
            block: 1,
            ..ManifestFile::default()
        };
        manifest.encode()
    });
    let none = Relocations::default();
    let at_once = |bytes: &[u8], relocations: &Relocations| {
        read_and_relocate_manifest("m", bytes, &forth(), relocations).unwrap()
    };
    let waits = at_once(&live, &none);
    assert_eq!(waits.manifest, read_manifest("m", &live).unwrap());
    assert_eq!(waits.bytes, None);
    let mut relocations = Relocations::default();
    let file = RelocatedFile {
        path: "s3://standby/lake/t/_twinlake/p/1-d.parquet".to_owned(),
        source_length: 1234,
        length: 4711,
        kind: RelocatedKind::PositionDeletes(PositionDeleteFacts::default()),
    };
    relocations.insert(deletes(0).path, file);
    let rewritten = relocate_manifest("m", &live, &forth(), &relocations).unwrap();
    assert_eq!(at_once(&live, &relocations).bytes, Some(rewritten));
    // Nobody reads a removed one: nothing is waited for.
    let rewritten = relocate_manifest("m", &removed, &forth(), &none).unwrap();
    assert_eq!(at_once(&removed, &none).bytes, Some(rewritten));
}

#[test]
fn a_removed_delete_file_keeps_its_size_and_moves_with_its_replica() {
    let entry = Entry {
        status: 2,
        kind: FileKind::PositionDeletes,
        path_bounds: Some((
            "s3://primary/wh/t/a".to_owned(),
            "s3://primary/wh/t/a".to_owned(),
        )),
        ..Entry::sample()
    };
    let manifest = ManifestFile {
        entries: vec![entry.clone()],
        ..ManifestFile::default()
    };
    let there =
        relocate_manifest("m", &manifest.encode(), &forth(), &Relocations::default()).unwrap();
    let after = read_manifest("m", &there).unwrap().entries.remove(0);
    assert_eq!(after.status, EntryStatus::Deleted);
    assert_eq!(
        (Some(after.path), after.size),
        (forth().map(&entry.path), 1234)
    );
    assert_eq!(
        after.path_bounds[0].as_deref(),
        Some(&b"s3://standby/lake/t/a"[..])
    );
    // What may be cut is left out: it cannot be mapped.
    let cut = Entry {
        path_bounds: Some(("s3://primary/w".to_owned(), "s3://primary/x".to_owned())),
        ..entry
    };
    let manifest = ManifestFile {
        entries: vec![cut],
        ..ManifestFile::default()
    };
    let there =
        relocate_manifest("m", &manifest.encode(), &forth(), &Relocations::default()).unwrap();
    assert_eq!(
        read_manifest("m", &there).unwrap().entries[0].path_bounds,
        [None, None]
    );
}

fn metadata(body: &str) -> String {
    format!(
        "{{\"format-version\": 2,\n \"location\":\"s3://primary/wh/t\", \"table-uuid\" : \"u\"{body}}}"
    )
}

fn relocated(name: &str, text: &str) -> Result<(String, Vec<String>), TableFindingKind> {
    let mut lists = Relocations::default();
    let list = RelocatedFile {
        path: "s3://standby/lake/t/_twinlake/p/l".to_owned(),
        source_length: 1,
        length: 2,
        kind: RelocatedKind::ManifestList,
    };
    lists.insert("s3://primary/wh/t/l".to_owned(), list);
    let done = relocate_metadata(name, text.as_bytes(), &forth(), &lists)
        .map_err(|finding| finding.kind)?;
    Ok((String::from_utf8(done.bytes).unwrap(), done.notes))
}

#[test]
fn metadata_keeps_what_is_no_path() {
    let body = ", \"x\": [1.50, 1e400, {\"location\":\"s3://primary/wh/t\"}], \"properties\" :{\"comment\":\"s3://primary/wh/t/c\",\
                \"write.data.path\":\"s3a:\\/\\/primary/wh/d\"}, \"snapshots\":[{\"snapshot-id\":1,\"manifest-list\":\"s3://primary/wh/t/l\",\
                \"summary\":{\"k\":\"s3://primary/wh/t\"}}], \"metadata-log\": [ {\"metadata-file\":\"s3://primary/wh/t/v1\" , \"timestamp-ms\":7} ]";
    let (text, notes) = relocated("v2.metadata.json", &metadata(body)).unwrap();
    let expected = metadata(body)
        .replacen("s3://primary/wh/t", "s3://standby/lake/t", 1)
        .replace("s3a:\\/\\/primary/wh/d", "s3a://standby/lake/d")
        .replace("s3://primary/wh/t/l", "s3://standby/lake/t/_twinlake/p/l")
        .replace("s3://primary/wh/t/v1", "s3://standby/lake/t/v1");
    assert_eq!(text, expected);
    assert_eq!(notes.len(), 1, "{notes:?}");
}

#[test]
fn lists_and_maps_may_be_null() {
    let body = ", \"snapshots\":null, \"properties\":null, \"statistics\":null, \"metadata-log\":null, \"refs\":null";
    let (text, notes) = relocated("v2.metadata.json", &metadata(body)).unwrap();
    assert_eq!(
        text,
        metadata(body).replace("s3://primary/wh", "s3://standby/lake")
    );
    assert!(notes.is_empty());
}

#[test]
fn metadata_that_is_not_known_is_refused() {
    let kind = |text: &str| relocated("v2.metadata.json", text).unwrap_err();
    assert_eq!(
        kind(&metadata("").replace(": 2", ": 4")),
        TableFindingKind::UnsupportedFormat
    );
    assert_eq!(
        kind(&metadata("").replace("primary", "other")),
        TableFindingKind::OutsidePairs
    );
    assert_eq!(
        kind(&metadata(", \"location\": \"s3://primary/wh/u\"")),
        TableFindingKind::Malformed
    );
    let encrypted = ",\"snapshots\":[{\"snapshot-id\":1,\"key-id\":\"k\",\"manifest-list\":\"s3://primary/wh/t/l\"}]";
    assert_eq!(kind(&metadata(encrypted)), TableFindingKind::Encrypted);
    let unknown_list =
        ",\"snapshots\":[{\"snapshot-id\":1,\"manifest-list\":\"s3://primary/wh/t/other\"}]";
    assert_eq!(
        kind(&metadata(unknown_list)),
        TableFindingKind::OutsidePairs
    );
    let compressed = relocated("v2.gz.metadata.json", &metadata("")).unwrap_err();
    assert_eq!(compressed, TableFindingKind::NameContradictsContent);
}

#[test]
fn a_location_is_no_prefix_of_a_name() {
    let locations = FileLocations::new(["s3://standby/lake"]).unwrap();
    assert!(!locations.covers("s3://standby/lakes/t"));
}

/// A text of JSON objects by lines, with members that the readers of logs know.
fn log_line() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        text(),
        "[a-z]{0,3}%?[0-9a-f]{0,2}.{0,25}",
        Just("\u{e9}".repeat(12))
    ];
    let action = prop_oneof![Just("add"), Just("remove"), Just("cdc"), Just("sidecar")];
    (action, path, any::<Option<i64>>(), text()).prop_map(|(action, path, size, storage)| {
        let vector = serde_json::json!({"storageType": storage.chars().take(1).collect::<String>(),
            "pathOrInlineDv": path, "offset": size, "sizeInBytes": size});
        let action = serde_json::json!({action: {"path": path, "size": size, "sizeInBytes": 1,
            "deletionVector": vector}});
        action.to_string()
    })
}

fn read_as_logs(names: &[String], bytes: &[u8]) {
    let mut log = delta::DeltaLog::default();
    names.iter().for_each(|name| log.add(name, 1));
    let _ = (
        log.checkpoint(),
        log.missing_versions(),
        log.newest_commits(2, 5),
        log.is_empty(),
    );
    let mut actions = delta::DeltaActions::default();
    let _ = actions.read_commit("c", bytes);
    let _ = actions.added_files();
    let _ = delta::read_last_checkpoint("l", bytes);
    let _ = delta::read_checkpoint_file("c.json", bytes.to_vec());
    let _ = delta::read_checkpoint_file("c.parquet", bytes.to_vec());
    let properties = hudi::read_hudi_properties("p", bytes).unwrap_or_default();
    let mut timeline = hudi::HudiTimeline::default();
    names
        .iter()
        .for_each(|name| timeline.add(name, 1, &properties));
    let _ = timeline.newest_instants(5);
    let _ = hudi::InstantEncoding::of(bytes);
    let mut files = hudi::HudiFiles::default();
    let _ = files.read_instant("i", bytes);
    let _ = read_symlink_manifest("m", bytes);
}

proptest! {
    /// Whatever a log is made of, it is read or refused.
    #[test]
    fn logs_of_any_bytes_do_not_panic(
        names in proptest::collection::vec(
            prop_oneof!["[0-9]{0,21}[._]?(json|checkpoint|commit)?[.0-9a-z]{0,40}", any::<String>()], 0..9),
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(log_line(), 0..5).prop_map(|lines| lines.join("\n").into_bytes()),
        ],
    ) {
        read_as_logs(&names, &bytes);
        let mut parquet = b"PAR1".to_vec();
        parquet.extend(&bytes);
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        parquet.extend(length.to_le_bytes());
        parquet.extend(b"PAR1");
        read_as_logs(&names, &parquet);
    }
}
