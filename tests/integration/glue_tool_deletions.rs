//! The tools of Glue: what is held or deleted keeps nothing awake, and nothing of somebody else is deleted.

use crate::glue_tools::{assert_asleep, crawler, filled, key, policy, replicated, set, wake};
use serde_json::json;
use twinlake_core::CallErrorKind;
use twinlake_core::query::{QueryKind, QueryStep};
use twinlake_engine::query::preview_query;
use twinlake_tests::query_lab::Lab;
use twinlake_tests::takeover::ready;

#[test]
fn held_deletions_and_unconfirmed_changes_keep_nothing_awake() {
    let limit = "deletion-limit = { fraction = 0.1, minimum = 1 }\n";
    let lab = filled(policy(limit));
    for number in 0..3 {
        let place = "s3://lake-primary/x/";
        lab.primary
            .put(crawler(&format!("c{number}"), place, json!({})));
    }
    assert!(lab.resync().is_done());
    for number in 0..3 {
        wake(&lab, &format!("c{number}"));
        lab.primary
            .remove(&key(QueryKind::Crawler, &format!("c{number}")));
    }
    let (plan, rejections) = ready(preview_query(&lab.context())).unwrap();
    assert_eq!(rejections.len(), 3);
    let sleeps = plan.steps.iter();
    let sleeps = sleeps.filter(|step| matches!(step, QueryStep::Sleep { .. }));
    assert_eq!(sleeps.count(), 3, "{plan:#?}");
    let outcome = lab.resync();
    assert_eq!(outcome.rejections.len(), 3, "{outcome:#?}");
    assert_asleep(&lab);

    // Only the sleep was confirmed, and the tool has another change.
    let lab = replicated();
    wake(&lab, "orders");
    set(&lab, "orders", "TablePrefix", json!("t_"));
    let (plan, _) = ready(preview_query(&lab.context())).unwrap();
    let sleeps = plan.steps.into_iter();
    let sleeps = sleeps.filter(|step| matches!(step, QueryStep::Sleep { .. }));
    let lab = Lab {
        confirmed: Some(sleeps.collect()),
        ..lab
    };
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 1, "{outcome:#?}");
    assert_asleep(&lab);
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), None);
}

#[test]
fn what_somebody_made_between_the_plan_and_the_deletion_is_not_deleted() {
    let lab = replicated();
    for (kind, name) in [
        (QueryKind::Trigger, "nightly"),
        (QueryKind::Crawler, "items"),
    ] {
        lab.primary.remove(&key(kind, name));
    }
    let theirs = crawler("items", "s3://lake-standby/theirs/", json!({}));
    lab.standby.replace_on("DeleteTrigger", theirs);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(outcome.failed[0].1.kind, CallErrorKind::Contended);
    assert_eq!(
        lab.in_standby("items").field("Targets.S3Targets"),
        Some(&json!([{"Path": "s3://lake-standby/theirs/"}]))
    );
    assert_eq!(lab.standby.take_writes(), ["DeleteTrigger trigger nightly"]);
}
