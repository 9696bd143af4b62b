//! The query tools: what their states and a confirmation promise, and what is never taken from somebody else.

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use twinlake_core::CallErrorKind;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_engine::Clock as _;
use twinlake_engine::query::{QueryToolsOutcome, preview_query};
use twinlake_sim::SimQueryTools;
use twinlake_tests::query_lab::{
    Lab, findings, object, policy_with, saved_query, statement, workgroup,
};

/// Changes the text of the saved query `daily`.
fn rewrite(lab: &Lab, athena: &SimQueryTools, text: &str) -> ObjectKey {
    let key = lab.key_of(athena, "daily");
    let mut changed = saved_query("etl", "daily", text);
    changed.key = key.clone();
    athena.put(changed);
    key
}

#[test]
fn only_what_was_compared_becomes_in_sync() {
    let lab = Lab::replicated();
    assert_eq!(lab.problems(), Vec::<String>::new());
    let key = rewrite(&lab, &lab.primary, "select 2");
    lab.standby
        .fail("UpdateNamedQuery", CallErrorKind::Denied, 1);
    let _failed = lab.resync();
    let failed = lab.row_of(&key);
    assert_eq!(failed.state, SubjectState::OutOfSync);
    assert!(failed.reason.clone().unwrap().contains("injected"));
    // Runs that do not read it leave its state, its time and the reason.
    for call in ["ListWorkGroup", "ListNamedQuery"] {
        lab.primary.fail(call, CallErrorKind::Denied, 99);
        let outcome = lab.resync();
        lab.primary.fail(call, CallErrorKind::Denied, 0);
        assert_eq!(lab.row_of(&key), failed, "{call}: {outcome:#?}");
        assert!(!lab.problems().is_empty(), "{call}");
    }
    let excluding = Lab {
        policy: policy_with("", "exclude-workgroups = [\"etl\"]\n"),
        ..lab
    };
    assert!(excluding.resync().is_done());
    assert_eq!(
        excluding.row_of(&key),
        failed,
        "it is not compared any more"
    );
    assert_eq!(excluding.problems(), Vec::<String>::new(), "nor counted");
    let lab = Lab {
        policy: policy_with("", ""),
        ..excluding
    };
    let now = lab.clock.now();
    let _cut = lab.resync_with(|context| context.stop_at = Some(now));
    assert_eq!(lab.state_of(&key), SubjectState::OutOfSync);
    assert!(!lab.problems().is_empty());
    assert!(lab.resync().is_done());
    assert_eq!(lab.state_of(&key), SubjectState::InSync);
    assert_eq!(lab.problems(), Vec::<String>::new());
}

#[test]
fn what_a_run_had_no_time_for_is_not_in_sync() {
    let lab = Lab::replicated();
    let key = rewrite(&lab, &lab.primary, "select 2");
    let gone = lab.key_of(&lab.primary, "by_id");
    lab.primary.remove(&gone);
    let now = lab.clock.now();
    let _cut = lab.resync_with(|context| context.stop_at = Some(now));
    for key in [&key, &gone] {
        let row = lab.row_of(key);
        assert_eq!(row.state, SubjectState::OutOfSync, "{key}");
        assert!(row.reason.unwrap().contains("the run ended before"));
    }
    assert!(lab.resync().is_done());
    assert!(!lab.stored().0.contains_key(&gone));
}

#[test]
fn the_status_needs_a_recent_run_that_left_all_in_order() {
    let lab = Lab::replicated();
    lab.clock.0.set(lab.clock.0.get() + 46_800);
    assert_eq!(lab.problems(), Vec::<String>::new());
    lab.clock.0.set(lab.clock.0.get() + 1);
    assert!(lab.problems()[0].starts_with("the last run that ended is of"));
    lab.clock.0.set(lab.clock.0.get() - 60_000);
    assert!(
        !lab.problems().is_empty(),
        "a run of the future says nothing"
    );
    let never = Lab::new(policy_with("", ""));
    assert!(never.problems()[0].starts_with("no resync"));
}

fn tagged(object: QueryObject, tags: &[(&str, &str)]) -> QueryObject {
    let tags = tags.iter();
    let tags = tags.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    QueryObject {
        tags: Some(tags.collect()),
        ..object
    }
}

fn plain_workgroup(name: &str, configuration: Value) -> QueryObject {
    let fields = json!({"State": "ENABLED", "Configuration": configuration});
    object(ObjectKey::new(QueryKind::WorkGroup, name), fields)
}

#[test]
fn tags_are_part_of_what_makes_an_object_somebody_elses() {
    for (ours, theirs, is_adopted) in [
        (vec![], vec![("restricted", "true")], false),
        (vec![("team", "a")], vec![("team", "b")], false),
        (vec![("team", "a")], vec![], false),
        (vec![("team", "a")], vec![("team", "a")], true),
    ] {
        let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
        let same = || plain_workgroup("finance", json!({"BytesScannedCutoffPerQuery": 10_000_000}));
        lab.primary.put(tagged(same(), &ours));
        lab.standby.put(tagged(same(), &theirs));
        let outcome = lab.resync();
        assert_eq!(outcome.is_done(), is_adopted, "{theirs:?}: {outcome:#?}");
        let foreign = findings(&outcome, FindingKind::Unmanaged);
        assert_eq!(foreign.is_empty(), is_adopted, "{theirs:?}: {foreign:?}");
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    }
    // What Twinlake itself created is recognised with its tags, although the answer was lost.
    let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
    let made = plain_workgroup("finance", json!({}));
    lab.primary.put(tagged(made.clone(), &[("team", "a")]));
    lab.standby.lose_answers("CreateWorkGroup", 1);
    let _lost = lab.resync();
    lab.primary.put(tagged(made, &[("team", "b")]));
    assert!(lab.resync().is_done());
    let tags = BTreeMap::from([("team".to_owned(), "b".to_owned())]);
    assert_eq!(lab.in_standby("finance").tags, Some(tags));
}

#[test]
fn the_workgroup_primary_is_taken_over_only_as_aws_makes_it() {
    let untouched = [
        json!({}),
        json!({"EngineVersion": {"SelectedEngineVersion": "AUTO",
            "EffectiveEngineVersion": "Athena engine version 3"}}),
    ];
    let configured = [
        json!({"EnforceWorkGroupConfiguration": true}),
        json!({"PublishCloudWatchMetricsEnabled": true}),
        json!({"RequesterPaysEnabled": true}),
        json!({"BytesScannedCutoffPerQuery": 10_000_000}),
        json!({"EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"}}),
        json!({"ExecutionRole": "arn:aws:iam::111122223333:role/x"}),
        json!({"SomethingNew": "x"}),
    ];
    let take_over = |standby: QueryObject| {
        let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
        let cutoff = json!({"BytesScannedCutoffPerQuery": 20_000_000});
        lab.primary.put(plain_workgroup("primary", cutoff));
        lab.standby.put(standby);
        let outcome = lab.resync();
        (
            findings(&outcome, FindingKind::Unmanaged).len(),
            lab.standby.take_writes().len(),
        )
    };
    for configuration in untouched {
        let standby = plain_workgroup("primary", configuration);
        assert_eq!(take_over(standby.clone()), (0, 1), "{standby:?}");
        let tagged = tagged(standby.clone(), &[("restricted", "true")]);
        assert_eq!(take_over(tagged), (1, 0), "{standby:?}");
        let mut disabled = standby;
        disabled
            .fields
            .insert("State".to_owned(), "DISABLED".into());
        assert_eq!(take_over(disabled), (1, 0));
    }
    for configuration in configured {
        let standby = plain_workgroup("primary", configuration);
        assert_eq!(take_over(standby.clone()), (1, 0), "{standby:?}");
    }
}

/// Applies what a preview shows, after `change` happened.
fn confirm_and_apply(lab: Lab, change: impl FnOnce(&Lab)) -> (Lab, QueryToolsOutcome) {
    let (plan, _) = preview_query(&lab.context())
        .now_or_never()
        .unwrap()
        .unwrap();
    change(&lab);
    let lab = Lab {
        confirmed: Some(plan.steps),
        ..lab
    };
    let outcome = lab.resync();
    (lab, outcome)
}

#[test]
fn nothing_is_applied_that_was_not_confirmed() {
    let rename = |lab: &Lab| {
        lab.primary
            .remove(&ObjectKey::new(QueryKind::WorkGroup, "etl"));
        lab.primary
            .put(workgroup("etl2", "s3://results-primary/etl/"));
    };
    // The preview shows nothing.
    let (lab, outcome) = confirm_and_apply(Lab::replicated(), rename);
    assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    assert!(
        !outcome.is_done() && outcome.unconfirmed.len() > 1,
        "{outcome:#?}"
    );
    let etl = ObjectKey::new(QueryKind::WorkGroup, "etl");
    assert_eq!(lab.state_of(&etl), SubjectState::OutOfSync);
    // It shows one step; that is applied, and no other.
    let lab = Lab::replicated();
    lab.primary.put(statement("etl", "new", "select 1"));
    let key = lab.key_of(&lab.primary, "daily");
    let (lab, outcome) = confirm_and_apply(lab, |lab| {
        rewrite(lab, &lab.primary, "select 3");
    });
    assert_eq!(
        lab.standby.take_writes(),
        ["CreatePreparedStatement prepared statement new of workgroup etl"]
    );
    assert_eq!(outcome.unconfirmed.len(), 1, "{outcome:#?}");
    assert_eq!(lab.state_of(&key), SubjectState::OutOfSync);
    assert!(!lab.problems().is_empty());
    // Equal objects are paired without a step.
    let lab = Lab::new(policy_with("", ""));
    let same = lab.primary.put(saved_query("primary", "q", "select 1"));
    lab.standby.put(saved_query("primary", "q", "select 1"));
    let (lab, outcome) = confirm_and_apply(lab, |_| {});
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(lab.state_of(&same), SubjectState::InSync);
}

#[test]
fn a_disabled_workgroup_is_never_left_enabled() {
    let disabled = |lab: &Lab| {
        let mut disabled = workgroup("etl", "s3://results-primary/etl/");
        disabled
            .fields
            .insert("State".to_owned(), "DISABLED".into());
        lab.primary.put(disabled)
    };
    let state = |lab: &Lab| lab.in_standby("etl").text("State").unwrap().to_owned();
    // It is disabled by the step that creates it, before anything else happens.
    let lab = Lab::new(policy_with("", ""));
    let key = disabled(&lab);
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.standby.take_writes(),
        [
            "CreateWorkGroup workgroup etl",
            "UpdateWorkGroup workgroup etl"
        ]
    );
    assert_eq!(
        (state(&lab).as_str(), outcome.applied.len()),
        ("DISABLED", 1)
    );
    // If that fails, there is none; if that fails, too, the row says so.
    let lab = Lab::new(policy_with("", ""));
    disabled(&lab);
    lab.standby
        .fail("UpdateWorkGroup", CallErrorKind::Denied, 1);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert!(!lab.standby.objects().contains_key(&key));
    // Each round of the run tries again to disable it.
    lab.standby
        .fail("UpdateWorkGroup", CallErrorKind::Denied, 9);
    lab.standby
        .fail("DeleteWorkGroup", CallErrorKind::Denied, 1);
    let _failed = lab.resync();
    lab.standby
        .fail("UpdateWorkGroup", CallErrorKind::Denied, 0);
    let row = lab.row_of(&key);
    assert_eq!(
        (state(&lab).as_str(), row.state),
        ("ENABLED", SubjectState::OutOfSync)
    );
    let reason = row.reason.unwrap();
    assert!(reason.contains("UpdateWorkGroup"), "{reason}");
    // A killed run leaves the same: no query has a place for its results there.
    let left = lab.in_standby("etl");
    let setting = |name: &str| left.field(&format!("Configuration.{name}")).cloned();
    assert_eq!(setting("ResultConfiguration"), None);
    assert_eq!(setting("EnforceWorkGroupConfiguration"), Some(true.into()));
    let lowest = Some(10_000_000.into());
    assert_eq!(setting("BytesScannedCutoffPerQuery"), lowest);
    assert!(lab.resync().is_done());
    assert_eq!(state(&lab), "DISABLED");
    let place = "Configuration.ResultConfiguration.OutputLocation";
    assert_eq!(
        lab.in_standby("etl").text(place),
        Some("s3://results-standby/etl/")
    );
    // One whose creation was not answered is recognised, and disabled.
    let lab = Lab::new(policy_with("", ""));
    disabled(&lab);
    lab.standby.lose_answers("CreateWorkGroup", 1);
    let _lost = lab.resync();
    assert_eq!(lab.state_of(&key), SubjectState::OutOfSync);
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(state(&lab), "DISABLED");
}

#[test]
fn tags_that_the_standby_changed_while_it_was_the_primary_are_not_overwritten() {
    let lab = Lab::new(policy_with("", "tags = \"copy\"\n"));
    let group = || plain_workgroup("finance", json!({}));
    lab.primary.put(tagged(group(), &[("team", "a")]));
    assert!(lab.resync().is_done());
    let _created = lab.standby.take_writes();
    let changed = [("team", "a"), ("restricted", "true")];
    lab.standby.put(tagged(lab.in_standby("finance"), &changed));
    let epoch = lab.context().epoch.switched().switched();
    for _ in 0..2 {
        let outcome = lab.resync_with(|context| context.epoch = epoch);
        assert_eq!(
            findings(&outcome, FindingKind::Unmanaged).len(),
            1,
            "{outcome:#?}"
        );
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
    }
    lab.primary.put(tagged(group(), &changed));
    assert!(lab.resync_with(|context| context.epoch = epoch).is_done());
}

#[test]
fn what_the_standby_changed_while_it_was_the_primary_is_not_overwritten() {
    let switched_twice = |lab: &Lab| {
        let epoch = lab.context().epoch.switched().switched();
        lab.resync_with(|context| context.epoch = epoch)
    };
    let lab = Lab::replicated();
    let key = rewrite(&lab, &lab.standby, "select 2");
    let daily = lab.key_of(&lab.primary, "daily");
    for _ in 0..2 {
        let outcome = switched_twice(&lab);
        let unmanaged = findings(&outcome, FindingKind::Unmanaged);
        assert_eq!(unmanaged.len(), 1, "{outcome:#?}");
        assert!(unmanaged[0].contains("while that Region was the primary"));
        assert_eq!(lab.standby.take_writes(), Vec::<String>::new());
        assert_eq!(lab.state_of(&daily), SubjectState::Blocked);
    }
    // Once they are equal, the primary leads again.
    rewrite(&lab, &lab.primary, "select 2");
    assert!(switched_twice(&lab).is_done());
    rewrite(&lab, &lab.primary, "select 3");
    assert!(switched_twice(&lab).is_done());
    assert_eq!(
        lab.standby.objects()[&key].text("QueryString"),
        Some("select 3")
    );
    // What nobody changed there follows at once, and within one epoch the primary always leads.
    let lab = Lab::replicated();
    rewrite(&lab, &lab.primary, "select 4");
    assert!(switched_twice(&lab).is_done());
    rewrite(&lab, &lab.standby, "select 5");
    assert!(switched_twice(&lab).is_done());
    assert_eq!(
        lab.in_standby("daily").text("QueryString"),
        Some("select 4")
    );
    // Nor is it deleted.
    let lab = Lab::replicated();
    let key = rewrite(&lab, &lab.standby, "select 2");
    lab.primary.remove(&lab.key_of(&lab.primary, "daily"));
    let outcome = switched_twice(&lab);
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        1,
        "{outcome:#?}"
    );
    assert!(lab.standby.objects().contains_key(&key));
}
