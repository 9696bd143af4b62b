//! The query tools: two simulated Athenas, kept equal.

use futures_util::FutureExt as _;
use serde_json::json;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject, QueryStep};
use twinlake_engine::query::preview_query;
use twinlake_tests::harness::{PRIMARY, STANDBY};
use twinlake_tests::query_lab::{
    Lab, catalog, findings, kms, policy_with, saved_query, statement, workgroup,
};

#[test]
fn every_kind_round_trips_with_mapped_places_and_keys() {
    let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
    let mut group = workgroup("etl", "s3://results-primary/etl/");
    group.tags = Some([("team".to_owned(), "bi".to_owned())].into());
    lab.primary.put(group);
    lab.primary.put(saved_query("etl", "daily", "select 1"));
    lab.primary.put(saved_query("etl", "daily", "select 1"));
    let ddl = "create external table t (a int)\nlocation 's3://lake-primary/t/'";
    lab.primary.put(statement("etl", "make", ddl));
    let function = |region: &str| format!("arn:aws:lambda:{region}:111122223333:function:f");
    lab.primary.put(catalog(
        "ext",
        "LAMBDA",
        json!({"function": function(PRIMARY)}),
    ));
    lab.primary.put(catalog(
        "glue2",
        "GLUE",
        json!({"catalog-id": "111122223333"}),
    ));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let etl = lab.in_standby("etl");
    let place = "Configuration.ResultConfiguration";
    assert_eq!(
        etl.text(&format!("{place}.OutputLocation")),
        Some("s3://results-standby/etl/")
    );
    let key = format!("{place}.EncryptionConfiguration.KmsKey");
    assert_eq!(etl.text(&key), Some(kms(STANDBY).as_str()));
    assert_eq!(
        etl.field("Configuration.BytesScannedCutoffPerQuery"),
        Some(&json!(10_000_000))
    );
    assert_eq!(etl.tags.unwrap()["team"], "bi");
    let make = lab.in_standby("make");
    assert_eq!(
        make.text("QueryStatement"),
        Some(ddl.replace("primary", "standby").as_str())
    );
    assert_eq!(
        lab.in_standby("ext").text("Parameters.function"),
        Some(function(STANDBY).as_str())
    );
    let is_daily = |object: &&QueryObject| object.text("Name") == Some("daily");
    assert_eq!(
        lab.standby.objects().values().filter(is_daily).count(),
        2,
        "names are not unique"
    );
    let _ = lab.standby.take_writes();
    let again = lab.resync();
    assert!(again.is_done() && again.applied.is_empty(), "{again:#?}");
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
}

#[test]
fn an_unchanged_resync_writes_nothing_and_reads_each_thing_once() {
    let lab = Lab::replicated();
    let before = lab.ledger.contents().documents["query_rows"].clone();
    let _ = (lab.primary.take_reads(), lab.standby.take_reads());
    let outcome = lab.resync();
    assert!(outcome.is_done());
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    assert_eq!(lab.primary.take_writes(), Vec::<String>::new());
    assert_eq!(lab.ledger.contents().documents["query_rows"], before);
    // Two listings of the Region, two of each of two workgroups, six objects; reservations of the primary.
    assert_eq!(
        (lab.primary.take_reads(), lab.standby.take_reads()),
        (13, 12)
    );
}

#[test]
fn changes_and_deletions_follow_and_the_ids_of_saved_queries_stay() {
    let lab = Lab::replicated();
    let id = lab.key_of(&lab.standby, "daily");
    let mut daily = saved_query("etl", "daily", "select count(*) from sales.orders");
    daily.key = lab.key_of(&lab.primary, "daily");
    lab.primary.put(daily);
    let mut etl = workgroup("etl", "s3://results-primary/etl/");
    etl.fields.insert("State".to_owned(), json!("DISABLED"));
    lab.primary.put(etl);
    lab.primary.remove(&lab.key_of(&lab.primary, "by_id"));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let changed = lab.in_standby("daily");
    assert_eq!(changed.key, id);
    assert_eq!(
        changed.text("QueryString"),
        Some("select count(*) from sales.orders")
    );
    assert_eq!(lab.in_standby("etl").text("State"), Some("DISABLED"));
    assert!(
        lab.standby
            .objects()
            .keys()
            .all(|key| key.kind != QueryKind::PreparedStatement)
    );
    // The workgroup with the rest of its contents.
    lab.primary
        .remove(&ObjectKey::new(QueryKind::WorkGroup, "etl"));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert!(
        lab.standby
            .objects()
            .keys()
            .all(|key| key.id != "etl" && key.parent.is_none())
    );
}

#[test]
fn keeps_its_hands_off_other_objects_and_adopts_equal_ones() {
    let lab = Lab::new(policy_with("", "exclude-workgroups = [\"tmp_*\"]\n"));
    lab.primary
        .put(workgroup("etl", "s3://results-primary/etl/"));
    lab.primary.put(saved_query("etl", "daily", "select 1"));
    lab.primary.put(workgroup("bi", "s3://results-primary/bi/"));
    lab.primary
        .put(workgroup("tmp_1", "s3://results-primary/tmp/"));
    // An equal one, a different one, and others that the primary does not know.
    let mut equal = workgroup("etl", "s3://results-standby/etl/");
    let configuration = serde_json::to_string(&equal.fields)
        .unwrap()
        .replace(&kms(PRIMARY), &kms(STANDBY));
    equal.fields = serde_json::from_str(&configuration).unwrap();
    lab.standby.put(equal);
    let adopted = lab.standby.put(saved_query("etl", "daily", "select 1"));
    let foreign = [
        lab.standby
            .put(workgroup("bi", "s3://results-standby/elsewhere/")),
        lab.standby
            .put(workgroup("own", "s3://results-standby/own/")),
        lab.standby.put(saved_query("etl", "mine", "select 2")),
        lab.standby.put(statement("own", "p", "select 3")),
        lab.standby.put(catalog(
            "mine",
            "GLUE",
            json!({"catalog-id": "111122223333"}),
        )),
    ];
    let before = lab.standby.objects();
    for _ in 0..2 {
        let outcome = lab.resync();
        let unmanaged = findings(&outcome, FindingKind::Unmanaged);
        assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
        assert!(unmanaged[0].starts_with("workgroup bi: "));
    }
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    assert_eq!(lab.standby.objects(), before);
    assert_eq!(lab.state_of(&foreign[0]), SubjectState::Blocked);
    // What is adopted follows from now on, also into deletion; a workgroup with others' queries stays.
    lab.primary
        .remove(&ObjectKey::new(QueryKind::WorkGroup, "etl"));
    let outcome = lab.resync();
    assert_eq!(
        lab.standby.take_writes(),
        [format!("DeleteNamedQuery {adopted}")]
    );
    assert!(
        findings(&outcome, FindingKind::Unmanaged)
            .iter()
            .any(|one| one.starts_with("workgroup etl: "))
    );
    let left = lab.standby.objects();
    assert!(foreign.iter().all(|key| left.contains_key(key)));
    assert!(left.contains_key(&ObjectKey::new(QueryKind::WorkGroup, "etl")));
}

#[test]
fn the_workgroup_primary_is_updated_and_never_deleted() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .put(workgroup("primary", "s3://results-primary/p/"));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let place = "Configuration.ResultConfiguration.OutputLocation";
    assert_eq!(
        lab.in_standby("primary").text(place),
        Some("s3://results-standby/p/")
    );
    // Configured by somebody else, it is left alone.
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .put(workgroup("primary", "s3://results-primary/p/"));
    lab.standby
        .put(workgroup("primary", "s3://results-standby/other/"));
    let outcome = lab.resync();
    assert_eq!(findings(&outcome, FindingKind::Unmanaged).len(), 1);
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
}

#[test]
fn one_bad_entry_is_one_finding() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .put(workgroup("etl", "s3://results-primary/etl/"));
    let bad = [
        lab.primary.put(workgroup("lost", "s3://elsewhere/")),
        lab.primary.put(saved_query(
            "etl",
            "path",
            "select 1\nfrom t where \"$path\" = 's3://lake-primary/x'",
        )),
        lab.primary.put(catalog(
            "fed",
            "FEDERATED",
            json!({"connection-type": "MYSQL"}),
        )),
        lab.primary.put(catalog(
            "far",
            "LAMBDA",
            json!({"function": "arn:aws:lambda:eu-west-1:1:function:f"}),
        )),
    ];
    let mut other_key = workgroup("key", "s3://results-primary/key/");
    let text = serde_json::to_string(&other_key.fields)
        .unwrap()
        .replace(&kms(PRIMARY), "alias/other");
    other_key.fields = serde_json::from_str(&text).unwrap();
    lab.primary.put(other_key);
    lab.primary.put(saved_query(
        "etl",
        "good",
        "select 1 -- from s3://lake-primary/x",
    ));
    let outcome = lab.resync();
    let held = findings(&outcome, FindingKind::OnHold);
    assert_eq!(held.len(), 5, "{held:#?}");
    assert!(
        held.iter()
            .any(|one| one.contains("saved query \"path\"") && one.contains("line 2 ")),
        "{held:#?}"
    );
    assert!(
        held.iter()
            .any(|one| one.contains("[[query.kms-key]]") && one.contains("alias/other"))
    );
    assert_eq!(outcome.applied.len(), 2, "{outcome:#?}");
    assert!(outcome.rejections.is_empty());
    for key in &bad {
        assert_eq!(lab.state_of(key), SubjectState::OnHold, "{key}");
    }
    assert_eq!(lab.in_standby("good").text("Database"), Some("sales"));
    assert!(!outcome.is_done());
}

#[test]
fn a_region_in_a_text_is_noted_and_capacity_reservations_are_counted() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary.set_reservations(2);
    let text = format!("select *\nfrom trail where awsregion = '{PRIMARY}'");
    lab.primary.put(saved_query("primary", "by region", &text));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.in_standby("by region").text("QueryString"),
        Some(text.as_str())
    );
    assert!(findings(&outcome, FindingKind::Note)[0].contains("line 2 names the Region"));
    assert!(findings(&outcome, FindingKind::Unsupported)[0].contains("2 x capacity reservation"));
}

#[test]
fn the_authentication_of_a_workgroup_is_fixed() {
    let lab = Lab::replicated();
    let mut etl = workgroup("etl", "s3://results-primary/other/");
    let configuration = etl
        .fields
        .get_mut("Configuration")
        .unwrap()
        .as_object_mut()
        .unwrap();
    configuration.insert(
        "IdentityCenterConfiguration".to_owned(),
        json!({"EnableIdentityCenter": true}),
    );
    lab.primary.put(etl);
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert!(
        unmanaged[0].contains("IdentityCenterConfiguration differs"),
        "{outcome:#?}"
    );
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
}

#[test]
fn a_preview_shows_the_steps_and_writes_nothing() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .put(workgroup("etl", "s3://results-primary/etl/"));
    let (plan, rejections) = preview_query(&lab.context())
        .now_or_never()
        .unwrap()
        .unwrap();
    assert!(matches!(plan.steps[..], [QueryStep::Create { .. }]) && rejections.is_empty());
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    assert_eq!(lab.ledger.contents().documents.len(), 0);
}

/// Athena tells neither a prepared statement nor a data catalog from a later one of the same name.
#[test]
fn what_somebody_else_made_under_a_paired_name_is_a_conflict_and_stays() {
    let lab = Lab::replicated();
    let keys = [
        ObjectKey::within(QueryKind::PreparedStatement, "etl", "by_id"),
        ObjectKey::new(QueryKind::DataCatalog, "other"),
    ];
    // What the primary changes follows.
    let function = |region: &str| {
        let arn = format!("arn:aws:lambda:{region}:111122223333:function:f");
        json!({"function": arn})
    };
    lab.primary.put(statement("etl", "by_id", "select 1"));
    let mut noted = catalog("other", "GLUE", json!({"catalog-id": "111122223333"}));
    noted.fields.insert("Description".to_owned(), "new".into());
    lab.primary.put(noted);
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(lab.standby.take_writes().len(), 2, "{outcome:#?}");
    for key in &keys {
        lab.standby.remove(key);
    }
    lab.standby.put(statement("etl", "by_id", "select 'mine'"));
    lab.standby
        .put(catalog("other", "LAMBDA", function(STANDBY)));
    let others = lab.standby.objects();
    for _ in 0..2 {
        let outcome = lab.resync();
        let unmanaged = findings(&outcome, FindingKind::Unmanaged);
        assert_eq!(unmanaged.len(), 2, "{outcome:#?}");
    }
    lab.primary.put(statement("etl", "by_id", "select 2"));
    let outcome = lab.resync();
    assert_eq!(findings(&outcome, FindingKind::Unmanaged).len(), 2);
    for key in &keys {
        lab.primary.remove(key);
    }
    lab.resync();
    lab.primary
        .remove(&ObjectKey::new(QueryKind::WorkGroup, "etl"));
    let outcome = lab.resync();
    let writes = lab.standby.take_writes();
    assert!(
        writes.iter().all(|write| write.contains("NamedQuery")),
        "{outcome:#?}"
    );
    for key in &keys {
        assert_eq!(lab.standby.objects()[key], others[key]);
    }
}
