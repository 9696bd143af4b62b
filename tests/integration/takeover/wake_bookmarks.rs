//! What decides whether a trigger starts a job that keeps bookmarks.

use super::wake::{awake, before, both, woken};
use serde_json::json;
use twinlake_core::query::{ObjectKey, QueryKind};
use twinlake_tests::query_lab::object;

#[test]
fn a_job_that_the_ledger_marks_stays_asleep_whatever_the_new_primarys_says() {
    let (lab, pair) = before();
    // Somebody takes the option from the standby's after it was replicated.
    lab.standby.put_job("kept", None);
    pair.fail_over();
    let known = woken(&lab, &pair, &both());
    let why = &known[&QueryKind::Trigger].named["kept_job"];
    let reason = "the job kept, which uses bookmarks (job-bookmark-enable)";
    assert!(why.reason.contains(reason), "{why}");
    assert!(!awake(&lab).contains("kept_job"));
    // A trigger that starts it without them is woken all the same.
    assert!(awake(&lab).contains("disabling"));
}

#[test]
fn an_argument_that_no_run_overrides_decides_before_the_triggers() {
    let (lab, pair) = before();
    let fixed = json!({"--job-bookmark-option": "job-bookmark-enable"});
    let content = json!({"Role": "load", "Command": {"Name": "glueetl"},
        "NonOverridableArguments": fixed});
    lab.standby
        .put(object(ObjectKey::new(QueryKind::Job, "kept"), content));
    pair.fail_over();
    let known = woken(&lab, &pair, &both());
    let why = &known[&QueryKind::Trigger].named["disabling"];
    let reason = "the job kept, which uses bookmarks (job-bookmark-enable)";
    assert!(why.reason.contains(reason), "{why}");
    assert!(!awake(&lab).contains("disabling"));
}
