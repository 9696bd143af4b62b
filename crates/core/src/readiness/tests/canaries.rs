//! What the canaries of a sound pair say after single faults.

use super::*;
use crate::canary::{CanaryProblem, CanaryState, ReceivedCanary, UnprovenReplication};
use crate::heartbeat::{ChannelHealth, Heartbeat};
use ReadinessSeverity::{Blocker, Note, Unknown, Warning};

type Change = fn(&mut CanaryState);

/// The findings after a change of the canaries that one Region receives.
fn told(change: Change, is_forward: bool) -> Vec<(ReadinessCheck, ReadinessSeverity, String)> {
    let found = findings(|readings| {
        let deployment = deployment(readings);
        let state = match is_forward {
            true => &mut deployment.standby_canaries,
            false => &mut deployment.primary_canaries,
        };
        let Reading::Read(Some(state)) = state else {
            panic!("the pair has canaries");
        };
        change(state);
    });
    let told = found.into_iter();
    told.map(|finding| (finding.check, finding.severity, finding.region))
        .collect()
}

fn first(state: &mut CanaryState) -> &mut ReceivedCanary {
    state.received.canaries.first_mut().unwrap()
}

/// The newest canary arrived at once, and was written this long ago.
fn written(state: &mut CanaryState, secs: i64) {
    let sent = READ_AT.plus_secs(-secs);
    first(state).health.last = Some(Heartbeat { sent, done: sent });
}

fn never_arrived(state: &mut CanaryState, secs: i64) {
    first(state).health = ChannelHealth {
        since: READ_AT.plus_secs(-secs),
        last: None,
    };
    first(state).problem = Some(CanaryProblem::Absent);
}

#[test]
fn each_fault_is_found_in_both_directions() {
    let cases: [(&str, Change, [ReadinessSeverity; 2]); 8] = [
        (
            "never arrived",
            |s| never_arrived(s, 7200),
            [Blocker, Warning],
        ),
        ("not arrived yet", |s| never_arrived(s, 60), [Unknown; 2]),
        ("late", |s| written(s, 2100), [Blocker, Warning]),
        (
            "another key",
            |s| first(s).problem = Some(CanaryProblem::OtherKey(None)),
            [Blocker, Warning],
        ),
        (
            "not looked for lately",
            |s| s.received.at = READ_AT.plus_secs(-1201),
            [Unknown; 2],
        ),
        (
            "the list is denied",
            |s| s.received.unread_list = Some("AccessDenied".to_owned()),
            [Unknown; 2],
        ),
        (
            "unproven",
            |s| {
                s.received.unproven.push(UnprovenReplication {
                    bucket: "lake".to_owned(),
                    rule: None,
                    reason: "it has a tag filter".to_owned(),
                });
            },
            [Note; 2],
        ),
        ("sound until the threshold", |s| written(s, 2099), [Note; 2]),
    ];
    for (fault, change, severities) in cases {
        for (is_forward, severity) in [true, false].into_iter().zip(severities) {
            let found = told(change, is_forward);
            if fault.starts_with("sound") {
                assert_eq!(found, [], "{fault}");
                continue;
            }
            // A function that runs in one Region is named by that Region, a rule by that of its bucket.
            let is_of_source = [
                "never arrived",
                "not arrived yet",
                "late",
                "another key",
                "unproven",
            ];
            let region = match is_of_source.contains(&fault) == is_forward {
                true => "us-east-1",
                false => "ap-south-1",
            };
            let expected = (ReadinessCheck::Canary, severity, region.to_owned());
            assert_eq!(found, [expected], "{fault}, forward: {is_forward}");
        }
    }
}

#[test]
fn a_function_that_has_not_run_and_a_denied_read_are_unknown() {
    for state in [
        Reading::Read(None),
        Reading::Unread("AccessDenied".to_owned()),
    ] {
        let found = findings(|r| deployment(r).standby_canaries = state.clone());
        let [finding] = found.as_slice() else {
            panic!("{found:#?}");
        };
        let told = (finding.check, finding.severity, finding.region.as_str());
        assert_eq!(told, (ReadinessCheck::Canary, Unknown, "ap-south-1"));
    }
}

#[test]
fn the_remedy_names_the_object_in_the_source_bucket() {
    let found = findings(|readings| {
        let Reading::Read(Some(state)) = &mut deployment(readings).standby_canaries else {
            panic!("the pair has canaries");
        };
        never_arrived(state, 7200);
    });
    let remedy = &found[0].remedy;
    assert!(remedy.contains("--region us-east-1 --bucket lake-a --key 'sales/_twinlake_canary/_"));
}
