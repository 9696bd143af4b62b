//! Nobody can have the files of another table copied: what is read and written for a table lies within the
//! location of its entry.

use super::lake_table::{LakeTable, SOURCE, TARGET, replica};
use super::{Lake, id};
use twinlake_core::iceberg_replica::RelocationObstacle;
use twinlake_core::{Subject, SubjectState};

/// Points `sales.orders` at a metadata.json that is that of `payroll` after a replacement of texts, and returns
/// why it is refused. Nothing is written, and no file of `payroll` is read but by its size.
fn refusal(location: &str, replacements: &[(&str, &str)]) -> String {
    let lake = Lake::new();
    let files = &lake.harness.table_files;
    let mut payroll = LakeTable::new(files, "payroll");
    payroll.append();
    let metadata = payroll.delete_rows();
    payroll.arrive_all();
    let text = files.files().get(&metadata).cloned().unwrap();
    let mut text = String::from_utf8(text).unwrap();
    for (from, to) in replacements {
        assert!(text.contains(from), "{text}");
        text = text.replacen(from, to, 1);
    }
    let path = format!("{location}/metadata/00009-x.metadata.json");
    (files.files())
        .extend([path.clone(), replica(&path)].map(|path| (path, text.clone().into_bytes())));
    let _ = files.take_log();
    lake.point_at("CreateTable", &path, &["id"]);
    lake.run_queue();
    let foreign = format!("get {TARGET}/sales/payroll/");
    for call in files.take_log() {
        assert!(
            !call.starts_with("create") && !call.starts_with(&foreign),
            "{call}"
        );
    }
    let row = lake.row();
    assert_eq!(
        (row.subject, row.state),
        (Subject::Table(id()), SubjectState::Blocked)
    );
    match row.iceberg.unwrap().waiting.unwrap().obstacle {
        RelocationObstacle::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_manifest_list_of_another_table_is_not_read() {
    let location = format!("\"location\":\"{SOURCE}/sales/payroll\"");
    let own = location.replace("payroll", "orders");
    let reason = refusal(&format!("{SOURCE}/sales/orders"), &[(&location, &own)]);
    assert!(
        reason.contains("outside the location of the table's entry"),
        "{reason}"
    );
    assert!(reason.contains("sales/payroll/metadata/snap-"), "{reason}");
}

#[test]
fn nothing_is_written_to_the_location_of_another_table() {
    let reason = refusal(&format!("{SOURCE}/sales/orders"), &[]);
    assert!(
        reason.contains("sales/payroll, and that of the"),
        "{reason}"
    );
}

#[test]
fn metadata_of_another_table_is_not_read() {
    let reason = refusal(&format!("{SOURCE}/sales/payroll"), &[]);
    assert!(
        reason.contains("outside the location of the table's entry"),
        "{reason}"
    );
}

#[test]
fn a_name_that_begins_like_the_location_lies_outside_it() {
    let reason = refusal(&format!("{SOURCE}/sales/orders2"), &[]);
    assert!(
        reason.contains("outside the location of the table's entry"),
        "{reason}"
    );
}
