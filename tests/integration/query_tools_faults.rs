//! The query tools when rights are lost, calls fail, runs die, or much is deleted.

use futures_util::FutureExt as _;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use twinlake_core::audit::AuditRule;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind};
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind};
use twinlake_engine::Clock as _;
use twinlake_engine::alerts::CheckedSubjects;
use twinlake_engine::ports::AlertTopic;
use twinlake_engine::query::{
    QUERY_SUBJECT, QueryToolsContext, ScheduledQueryToolsRun, query_checked, query_unfinished,
    reconcile_query, resync_query_tools,
};
use twinlake_tests::query_lab::{Lab, findings, policy_with, saved_query, statement, workgroup};

#[test]
fn lost_rights_delete_nothing_and_absence_needs_proof() {
    let lab = Lab::replicated();
    let before = lab.standby.objects();
    let all = || lab.primary.objects();
    // Listings fail; then the primary shows less, and reads by name are denied.
    for call in [
        "ListWorkGroup",
        "ListNamedQuery",
        "ListPreparedStatement",
        "ListDataCatalog",
        "GetWorkGroup",
    ] {
        lab.primary.fail(call, CallErrorKind::Denied, 99);
        let outcome = lab.resync();
        assert!(!outcome.is_done(), "{call}");
        assert!(
            !findings(&outcome, FindingKind::Denied).is_empty(),
            "{call}: {outcome:#?}"
        );
        lab.primary.fail(call, CallErrorKind::Denied, 0);
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new(), "{call}");
    }
    for key in all().into_keys() {
        if key.id == "etl" || key.parent.as_deref() == Some("etl") {
            lab.primary.hide(&key);
        }
    }
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable);
    assert!(
        unread.iter().any(|one| one.contains("does not prove")),
        "{outcome:#?}"
    );
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    // Everything is gone, the control objects as well: the primary does not show itself.
    for key in all().into_keys() {
        lab.primary.remove(&key);
    }
    let outcome = lab.resync();
    assert!(!outcome.is_done());
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    assert_eq!(lab.standby.objects(), before);
    // Lost rights in the standby create nothing twice.
    let lab = Lab::replicated();
    for call in ["ListNamedQuery", "GetNamedQuery", "ListWorkGroup"] {
        lab.standby.fail(call, CallErrorKind::Denied, 99);
        let outcome = lab.resync();
        assert!(!outcome.is_done(), "{call}");
        lab.standby.fail(call, CallErrorKind::Denied, 0);
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new(), "{call}");
    }
    assert!(lab.resync().is_done());
}

#[test]
fn deletions_over_the_limit_are_held_and_the_rest_is_applied() {
    let lab = Lab::new(policy_with(
        "deletion-limit = { fraction = 0.1, minimum = 2 }\n",
        "",
    ));
    for number in 0..6 {
        lab.primary
            .put(saved_query("primary", &format!("q{number}"), "select 1"));
    }
    assert!(lab.resync().is_done());
    for number in 0..3 {
        lab.primary
            .remove(&lab.key_of(&lab.primary, &format!("q{number}")));
    }
    lab.primary.put(saved_query("primary", "new", "select 2"));
    let _ = lab.standby.take_writes();
    let outcome = lab.resync();
    assert_eq!(outcome.rejections.len(), 3, "{outcome:#?}");
    assert!(
        outcome
            .rejections
            .iter()
            .all(|one| one.rule == AuditRule::DeletionLimit)
    );
    assert_eq!(
        lab.standby.take_writes().len(),
        1,
        "the new one was created"
    );
    assert!(!outcome.is_done());
    // Two of three are within the limit, and the third not within the same hour.
    let approved: BTreeSet<ObjectKey> = outcome
        .rejections
        .iter()
        .map(|one| one.object.clone())
        .collect();
    let lab = Lab { approved, ..lab };
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(lab.standby.take_writes().len(), 3);
    let lab = Lab {
        approved: BTreeSet::new(),
        ..lab
    };
    lab.primary.remove(&lab.key_of(&lab.primary, "q3"));
    // The clock has moved by two hours: the budget is free again.
    assert!(lab.resync().is_done());
}

#[test]
fn the_deletions_of_one_hour_count_together() {
    let lab = Lab::new(policy_with(
        "deletion-limit = { fraction = 0.1, minimum = 2 }\n",
        "",
    ));
    for number in 0..4 {
        lab.primary
            .put(saved_query("primary", &format!("q{number}"), "select 1"));
    }
    assert!(lab.resync().is_done());
    for number in 0..2 {
        lab.primary
            .remove(&lab.key_of(&lab.primary, &format!("q{number}")));
    }
    assert!(lab.resync().is_done());
    lab.primary.remove(&lab.key_of(&lab.primary, "q2"));
    lab.clock.0.set(lab.clock.0.get() - 7100);
    let outcome = lab.resync();
    assert_eq!(outcome.rejections.len(), 1, "{outcome:#?}");
}

#[test]
fn deletions_are_kept_if_the_policy_retains_them() {
    let lab = Lab::replicated();
    let lab = Lab {
        policy: policy_with("deletions = \"retain\"\n", ""),
        ..lab
    };
    lab.primary.remove(&lab.key_of(&lab.primary, "daily"));
    let outcome = lab.resync();
    assert!(
        findings(&outcome, FindingKind::OnHold)[0].contains("retain"),
        "{outcome:#?}"
    );
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
}

#[test]
fn a_lost_answer_or_a_killed_run_makes_no_second_saved_query() {
    for lost in ["CreateNamedQuery", "CreateWorkGroup", "UpdateNamedQuery"] {
        let lab = Lab::new(policy_with("", ""));
        lab.primary
            .put(workgroup("etl", "s3://results-primary/etl/"));
        let key = lab.primary.put(saved_query("etl", "daily", "select 1"));
        lab.standby.lose_answers(lost, 1);
        let _first = lab.resync();
        // It changed in the primary meanwhile: what was made is recognised by the recorded intent.
        let mut changed = saved_query("etl", "daily", "select 2");
        changed.key = key;
        lab.primary.put(changed);
        for _ in 0..2 {
            let _later = lab.resync();
        }
        let outcome = lab.resync();
        assert!(
            outcome.is_done() && outcome.applied.is_empty(),
            "{lost}: {outcome:#?}"
        );
        assert_eq!(
            lab.in_standby("daily").text("QueryString"),
            Some("select 2"),
            "{lost}"
        );
    }
}

#[test]
fn another_run_that_may_be_creating_an_object_is_waited_for() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary.put(saved_query("primary", "daily", "select 1"));
    // The first run is killed before the answer: only its intent is left.
    lab.standby
        .fail("CreateNamedQuery", CallErrorKind::Unavailable, 1);
    let _first = lab.resync();
    lab.clock.0.set(lab.clock.0.get() - 7200);
    let outcome = lab.resync();
    assert!(outcome.applied.is_empty(), "{outcome:#?}");
    assert!(findings(&outcome, FindingKind::OnHold)[0].contains("another run"));
    assert!(lab.resync().is_done());
}

#[test]
fn a_run_that_did_not_try_every_step_resolves_nothing() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary.put(saved_query("primary", "daily", "select 1"));
    let started = lab.clock.now();
    let context = QueryToolsContext {
        stop_at: Some(started),
        ..lab.context()
    };
    let outcome = reconcile_query(&context).now_or_never().unwrap().unwrap();
    assert!(outcome.applied.is_empty() && !outcome.is_complete);
    assert_eq!(
        query_checked(&outcome, started),
        CheckedSubjects::default(),
        "its incidents stay open"
    );
    let outcome = lab.resync();
    assert!(outcome.is_complete && outcome.is_done(), "{outcome:#?}");
    let healthy = CheckedSubjects::default().with_healthy(QUERY_SUBJECT, started);
    assert_eq!(query_checked(&outcome, started), healthy);
}

#[test]
fn a_run_that_did_not_end_is_an_alert_with_the_reason() {
    let lab = Lab::new(policy_with("", ""));
    let alert = query_unfinished("the ledger is out of reach", "eu-west-1", lab.clock.now());
    assert_eq!(alert.kind, AlertKind::ReadFailed);
    assert_eq!(alert.subject, QUERY_SUBJECT);
    assert!(alert.summary.contains("the ledger is out of reach"));
}

/// A topic whose first message does not come through.
#[derive(Default)]
struct FlakyTopic {
    /// It never answers; otherwise it refuses.
    hangs: bool,
    fails: Cell<bool>,
    sent: RefCell<Vec<Alert>>,
}

impl AlertTopic for FlakyTopic {
    async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
        if self.fails.replace(false) {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let problem = "the topic is gone".to_owned();
            let kind = CallErrorKind::Unavailable;
            return Err(CallError::new(kind, "Publish", "here", problem));
        }
        self.sent.borrow_mut().push(alert.clone());
        Ok(())
    }
}

impl FlakyTopic {
    fn take(&self) -> Vec<(AlertKind, String)> {
        let sent = self.sent.take().into_iter();
        sent.map(|alert| (alert.kind, alert.state.as_str().to_owned()))
            .collect()
    }
}

#[test]
fn a_scheduled_run_tells_what_it_found_and_resolves_it_later() {
    let lab = Lab::new(policy_with("", ""));
    let topic = FlakyTopic::default();
    let run = || {
        let running = resync_query_tools(&lab.context(), &topic).now_or_never();
        match running.unwrap() {
            ScheduledQueryToolsRun::Ended { outcome, told } => {
                told.unwrap();
                *outcome
            }
            ScheduledQueryToolsRun::Unfinished { reason, .. } => panic!("{reason}"),
        }
    };
    lab.primary
        .fail("ListNamedQuery", CallErrorKind::Denied, 99);
    assert!(!run().findings.is_empty());
    let denied = |state: &str| (AlertKind::TwinlakeAccessDenied, state.to_owned());
    assert_eq!(topic.take(), [denied("new")]);
    lab.primary.fail("ListNamedQuery", CallErrorKind::Denied, 0);
    lab.clock.0.set(lab.clock.0.get() + 7200);
    assert!(run().findings.is_empty());
    assert_eq!(topic.take(), [denied("resolved")]);
}

#[test]
fn a_run_whose_alerts_are_not_published_has_ended_and_the_next_run_tells_them() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .fail("ListNamedQuery", CallErrorKind::Denied, 99);
    let topic = FlakyTopic::default();
    topic.fails.set(true);
    let run = || resync_query_tools(&lab.context(), &topic).now_or_never();
    let ScheduledQueryToolsRun::Ended { outcome, told } = run().unwrap() else {
        panic!("it did not end");
    };
    assert!(!outcome.findings.is_empty());
    assert!(told.unwrap_err().message.contains("the topic is gone"));
    assert_eq!(topic.take(), []);
    assert!(run().is_some());
    let denied = (AlertKind::TwinlakeAccessDenied, "new".to_owned());
    assert_eq!(topic.take(), [denied]);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_run_whose_time_runs_out_is_an_alert() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary.hang_listings(QueryKind::NamedQuery);
    let topic = FlakyTopic::default();
    let context = QueryToolsContext {
        stop_at: Some(lab.clock.now().plus_secs(120)),
        ..lab.context()
    };
    let run = resync_query_tools(&context, &topic).await;
    let ScheduledQueryToolsRun::Unfinished { reason, told } = run else {
        panic!("it ended");
    };
    assert!(reason.contains("time of the function ran out"), "{reason}");
    assert_eq!(told, Ok(()));
    assert_eq!(topic.take(), [(AlertKind::ReadFailed, "new".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_never_answers_ends_with_the_time_of_the_function() {
    let lab = Lab::new(policy_with("", ""));
    lab.primary
        .fail("ListNamedQuery", CallErrorKind::Denied, 99);
    let topic = FlakyTopic {
        hangs: true,
        ..FlakyTopic::default()
    };
    topic.fails.set(true);
    let context = QueryToolsContext {
        stop_at: Some(lab.clock.now().plus_secs(120)),
        ..lab.context()
    };
    let run = resync_query_tools(&context, &topic).await;
    let ScheduledQueryToolsRun::Ended { told, .. } = run else {
        panic!("it did not end");
    };
    let error = told.unwrap_err();
    assert!(error.message.contains("time of the function ran out"));
}

#[test]
fn a_step_that_fails_holds_back_only_what_rests_on_it() {
    let lab = Lab::new(policy_with("", ""));
    for name in ["etl", "bi"] {
        lab.primary.put(workgroup(name, "s3://results-primary/x/"));
        lab.primary
            .put(saved_query(name, &format!("q of {name}"), "select 1"));
    }
    // The first one that is created is `bi`.
    lab.standby
        .fail("CreateWorkGroup", CallErrorKind::Denied, 1);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(outcome.failed[0].0.primary().id, "bi");
    assert_eq!(outcome.applied.len(), 2, "{outcome:#?}");
    assert!(!outcome.is_settled);
    assert!(lab.resync().is_done());
}

#[test]
fn a_workgroup_that_somebody_made_again_is_not_ours() {
    let lab = Lab::replicated();
    let key = ObjectKey::new(QueryKind::WorkGroup, "etl");
    lab.standby.remove(&key);
    lab.standby
        .put(workgroup("etl", "s3://results-standby/mine/"));
    let outcome = lab.resync();
    assert!(
        findings(&outcome, FindingKind::Unmanaged)[0].starts_with("workgroup etl"),
        "{outcome:#?}"
    );
    // One that is simply gone is made again.
    let lab = Lab::replicated();
    lab.standby.remove(&key);
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(outcome.applied.len(), 3, "the workgroup with its contents");
}

#[test]
fn only_the_error_that_says_so_proves_that_an_object_is_gone() {
    let lab = Lab::replicated();
    let daily = lab.key_of(&lab.primary, "daily");
    lab.primary.hide(&daily);
    for kind in [
        CallErrorKind::Invalid,
        CallErrorKind::Unavailable,
        CallErrorKind::Contended,
        CallErrorKind::Unsupported,
    ] {
        lab.primary.fail("GetNamedQuery", kind, 99);
        let outcome = lab.resync();
        assert!(!outcome.is_done(), "{kind}: {outcome:#?}");
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new(), "{kind}");
    }
    lab.primary
        .fail("GetNamedQuery", CallErrorKind::NotFound, 99);
    lab.resync();
    assert_eq!(lab.standby.take_writes().len(), 1);
}

/// A statement whose change was made, and whose answer was lost, is not taken for that of somebody else.
#[test]
fn what_a_run_changed_without_knowing_it_is_still_managed() {
    for is_dropped in [false, true] {
        let lab = Lab::replicated();
        let key = ObjectKey::within(QueryKind::PreparedStatement, "etl", "by_id");
        lab.primary.put(statement("etl", "by_id", "select 1"));
        lab.standby.lose_answers("UpdatePreparedStatement", 1);
        assert!(!lab.resync().is_done());
        match is_dropped {
            true => lab.primary.remove(&key),
            false => drop(lab.primary.put(statement("etl", "by_id", "select 2"))),
        }
        let outcome = lab.resync();
        assert!(outcome.is_done(), "{outcome:#?}");
        let found = lab.standby.objects().get(&key).cloned();
        let text = found
            .as_ref()
            .and_then(|found| found.text("QueryStatement"));
        assert_eq!(text, (!is_dropped).then_some("select 2"));
    }
}
