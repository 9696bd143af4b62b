//! The query tools of a former primary: it takes up what was paired before the switch, and nothing else.

use serde_json::json;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::QueryObject;
use twinlake_engine::ports::DocumentStore as _;
use twinlake_engine::query::{QueryToolsContext, QueryToolsOutcome, reconcile_query};
use twinlake_sim::SimQueryTools;
use twinlake_tests::query_lab::{Lab, findings, policy_with, workgroup};
use twinlake_tests::takeover::pair::Pair;
use twinlake_tests::takeover::ready;

fn change(lab: &Lab, athena: &SimQueryTools, name: &str, field: &str, text: &str) {
    let mut object = found(lab, athena, name);
    object.fields.insert(field.to_owned(), json!(text));
    athena.put(object);
}

/// The one object of this name.
fn found(lab: &Lab, athena: &SimQueryTools, name: &str) -> QueryObject {
    athena.objects()[&lab.key_of(athena, name)].clone()
}

/// A pair that failed over, with the rows of a lab in the ledger of the new primary.
fn failed_over_with_rows_of(lab: &Lab) -> Pair {
    let pair = Pair::in_sync();
    for (id, (row, _)) in ready(lab.ledger.documents("query_rows")).unwrap() {
        let stored = pair
            .india
            .ledger
            .put_document("query_rows", &id, Some(&row), None);
        assert!(ready(stored).unwrap());
    }
    pair.fail_over();
    pair
}

/// Accepts the former primary, and reconciles its query tools with those of the new one two hours later.
fn accept_and_reconcile(lab: &Lab, pair: &Pair) -> QueryToolsOutcome {
    pair.accept(&pair.compare()).unwrap().unwrap();
    lab.clock.0.set(lab.clock.0.get() + 7200);
    let context = QueryToolsContext {
        primary: &lab.standby,
        standby: &lab.primary,
        ledger: &*pair.us.ledger,
        epoch: pair.record(&pair.india).epoch,
        ..lab.context()
    };
    ready(reconcile_query(&context)).unwrap()
}

#[test]
fn tags_are_part_of_what_they_were() {
    let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
    let mut group = workgroup("etl", "s3://results-us/etl/");
    group.fields.remove("Configuration");
    group.tags = Some([("team".to_owned(), "b".to_owned())].into());
    lab.primary.put(group);
    assert!(lab.resync().is_done());
    let pair = failed_over_with_rows_of(&lab);
    let (primary, former) = (&lab.standby, &lab.primary);
    change(&lab, primary, "etl", "Description", "of the new primary");
    let outcome = accept_and_reconcile(&lab, &pair);
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        0,
        "{outcome:#?}"
    );
    let description = found(&lab, former, "etl");
    assert_eq!(description.text("Description"), Some("of the new primary"));
}

#[test]
fn they_are_paired_again_by_what_they_were_and_what_was_changed_there_is_left_alone() {
    let lab = Lab::replicated();
    let pair = failed_over_with_rows_of(&lab);
    let (primary, former) = (&lab.standby, &lab.primary);
    change(&lab, primary, "daily", "QueryString", "select 1");
    change(&lab, primary, "etl", "Description", "of the new primary");
    change(&lab, primary, "by_id", "QueryStatement", "select 3");
    change(&lab, former, "by_id", "QueryStatement", "select 2");
    let outcome = accept_and_reconcile(&lab, &pair);
    assert_eq!(
        found(&lab, former, "daily").text("QueryString"),
        Some("select 1")
    );
    assert_eq!(
        found(&lab, former, "etl").text("Description"),
        Some("of the new primary")
    );
    assert_eq!(
        found(&lab, former, "by_id").text("QueryStatement"),
        Some("select 2")
    );
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
    assert!(unmanaged[0].contains("by_id"), "{unmanaged:?}");
    assert_eq!(former.objects().len(), primary.objects().len());
}
