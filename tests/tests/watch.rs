//! The heartbeat over both channels, the lag that is told from it, other people's hands, and
//! objects that S3 gave up: in the laboratory, by its clock.

use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeSet;
use twinlake_core::event::{
    Notified, Operation, parse_operation, parse_replication, replication_alerts,
};
use twinlake_core::heartbeat::{Beat, Channel, DATABASE};
use twinlake_core::ledger::{Replica, Role};
use twinlake_core::{
    Alert, AlertKind, AlertState, Fault, FaultKind, Lake, State, Subject, Timestamp,
};
use twinlake_engine::alerts::{self, conclude};
use twinlake_engine::ports::Replicas;
use twinlake_engine::replication::Awaited;
use twinlake_engine::watch::{Watch, Watched, channels, of_no_standby};
use twinlake_engine::{Clock as _, Journal as _, hands, heartbeat, replication};
use twinlake_sim::run_until_killed;
use twinlake_tests::history::table_input;
use twinlake_tests::lab::{Lab, PRIMARY, ROLE, SECONDARY, policy};

const INTERVAL: i64 = 60;

/// The primary's heartbeat, and the events of it.
fn beat(lab: &Lab) -> Vec<Vec<u8>> {
    let region = lab.sim.region(PRIMARY, ROLE);
    let now = lab.sim.now();
    run_until_killed(&lab.sim, heartbeat::beat(&region, now))
        .unwrap()
        .unwrap();
    lab.take_events()
}

fn is_of(event: &[u8], channel: Channel) -> bool {
    let trail = String::from_utf8_lossy(event).contains("AWS API Call via CloudTrail");
    trail == (channel == Channel::Permissions)
}

fn look(lab: &Lab) -> Watched {
    let watch = Watch {
        region: SECONDARY,
        interval: INTERVAL,
        objectives: lab.policy.lag,
    };
    let now = lab.sim.now();
    let watched = run_until_killed(&lab.sim, channels(&lab.ledger, &watch, now));
    let watched = watched.unwrap().unwrap();
    let told = conclude(
        &lab.topic,
        &lab.ledger,
        (&watched.found, &watched.looked),
        now,
    );
    run_until_killed(&lab.sim, told).unwrap().unwrap();
    watched
}

fn told(lab: &Lab) -> Vec<(AlertKind, AlertState, String)> {
    let all = lab.topic.take().into_iter();
    all.map(|alert| (alert.kind, alert.state, alert.subject))
        .collect()
}

/// One minute: a heartbeat, of which these channels tell so many seconds later, and a look.
fn minute(lab: &Lab, open: &[Channel], late: i64) -> Watched {
    let start = lab.sim.now();
    let mut events = beat(lab);
    events.retain(|event| open.iter().any(|channel| is_of(event, *channel)));
    lab.sim.world().pass_secs(late);
    let _ = lab.deliver(&events);
    let rest = start.plus_secs(INTERVAL).secs() - lab.sim.now().secs();
    // The look comes some time between two heartbeats.
    lab.sim.world().pass_secs((rest / 2).max(0));
    let watched = look(lab);
    let rest = start.plus_secs(INTERVAL).secs() - lab.sim.now().secs();
    lab.sim.world().pass_secs(rest.max(0));
    watched
}

#[test]
fn each_channel_is_credited_by_its_own_events_alone() {
    let lab = Lab::new(policy(""));
    let events = beat(&lab);
    for event in events.iter().filter(|event| is_of(event, Channel::Catalog)) {
        let _ = lab.deliver(std::slice::from_ref(event));
    }
    let pulses = |lab: &Lab| lab.ledger.book().pulses;
    // The table was made just now: there is an update of it from the next beat on.
    for event in beat(&lab)
        .iter()
        .filter(|event| is_of(event, Channel::Catalog))
    {
        let _ = lab.deliver(std::slice::from_ref(event));
    }
    assert_eq!(
        pulses(&lab).keys().copied().collect::<Vec<_>>(),
        [Channel::Catalog]
    );
    for event in beat(&lab).iter().filter(|e| is_of(e, Channel::Permissions)) {
        let _ = lab.deliver(std::slice::from_ref(event));
    }
    assert!(pulses(&lab).contains_key(&Channel::Permissions));
    // Nothing is told of a heartbeat that changed nothing else, and it is replicated.
    let world = lab.sim.world();
    let there = world.raw_databases(SECONDARY);
    assert!(there.keys().any(|name| name.as_str() == DATABASE));
}

#[test]
fn a_beat_counts_only_once_the_secondary_is_equal() {
    let lab = Lab::new(policy(""));
    for _ in 0..2 {
        let _ = lab.deliver(&beat(&lab));
    }
    let before = lab.ledger.book().pulses[&Channel::Catalog];
    lab.sim.world().take_rights(SECONDARY, ROLE);
    let _ = lab.deliver(&beat(&lab));
    assert_eq!(
        lab.ledger.book().pulses[&Channel::Catalog].last,
        before.last
    );
}

#[test]
fn a_closed_channel_lags_before_its_third_heartbeat_is_due_and_alone() {
    let lab = Lab::new(policy(""));
    for channel in Channel::EVERY {
        for _ in 0..5 {
            let watched = minute(&lab, &Channel::EVERY, 2);
            assert!(watched.found.is_empty(), "{:?}", watched.found);
        }
        let _ = told(&lab);
        let others: Vec<Channel> = Channel::EVERY
            .into_iter()
            .filter(|other| *other != channel)
            .collect();
        let objective = lab.policy.lag.of(channel);
        let mut missed = 0;
        let first = loop {
            missed += 1;
            minute(&lab, &others, 2);
            if let Some(first) = lab.topic.take().into_iter().next() {
                break first;
            }
            assert!(missed < 60, "{channel} is never told");
        };
        assert_eq!(first.kind, AlertKind::Lagging);
        assert_eq!(first.subject, format!("channel {channel}"));
        // Two of the catalog's; of the permissions' as many as the objective lets pass.
        assert_eq!(missed, objective / INTERVAL + 1, "{channel}");
        let well = minute(&lab, &Channel::EVERY, 2);
        assert!(well.found.is_empty());
        let over = (AlertKind::Lagging, AlertState::Resolved, first.subject);
        assert_eq!(told(&lab), [over]);
    }
}

#[test]
fn the_lag_is_the_delay_that_was_put_in() {
    let lab = Lab::new(policy(""));
    for delay in [0, 7, 25, 50] {
        let mut watched = Watched::default();
        for _ in 0..3 {
            watched = minute(&lab, &Channel::EVERY, delay);
        }
        for channel in Channel::EVERY {
            let lag = watched.lags[&channel];
            // The laboratory's clock moves a second with each write.
            let noted = lab
                .ledger
                .book()
                .samples
                .last()
                .map(|last| last.of(channel));
            assert_eq!(
                noted,
                Some(lag),
                "it is noted for the status and the report"
            );
            assert!(
                (delay..delay + 10).contains(&lag),
                "{channel}: {lag} of {delay}"
            );
        }
    }
}

#[test]
fn silence_is_told_beside_lag_and_both_are_over_with_a_beat() {
    let lab = Lab::new(policy(""));
    minute(&lab, &Channel::EVERY, 1);
    minute(&lab, &Channel::EVERY, 1);
    let _ = told(&lab);
    lab.sim.world().pass_secs(4 * 900 + 120);
    look(&lab);
    let keys = |lab: &Lab| {
        let all = lab.topic.take().into_iter();
        all.map(|alert| (alert.state, alert.key(), alert.subject))
            .collect::<BTreeSet<_>>()
    };
    let first = keys(&lab);
    assert_eq!(first.len(), 4, "each channel by its own key: {first:?}");
    minute(&lab, &[Channel::Catalog], 1);
    minute(&lab, &[Channel::Catalog], 1);
    let of = |state: AlertState, channel: &str| {
        let some = first
            .iter()
            .filter(|(_, _, subject)| subject.ends_with(channel));
        some.map(|(_, key, subject)| (state, key.clone(), subject.clone()))
            .collect::<BTreeSet<_>>()
    };
    let over = |lab: &Lab| {
        let mut told = keys(lab);
        told.retain(|(state, ..)| *state == AlertState::Resolved);
        told
    };
    assert_eq!(over(&lab), of(AlertState::Resolved, "catalog"));
    minute(&lab, &Channel::EVERY, 1);
    minute(&lab, &Channel::EVERY, 1);
    assert_eq!(over(&lab), of(AlertState::Resolved, "permissions"));
}

/// Hears beats that were sent so many seconds from now and came 5 s later, and looks each
/// minute from a second of it on. Answers when people were first told, if they were.
fn first_told(sent: &[i64], phase: i64) -> Option<i64> {
    let lab = Lab::new(policy(""));
    let start = lab.sim.now();
    let mut beats = sent.iter().map(|secs| start.plus_secs(*secs)).peekable();
    for second in 0..400 {
        let now = start.plus_secs(second);
        while let Some(sent) = beats.next_if(|sent| sent.plus_secs(5) <= now) {
            for channel in Channel::EVERY {
                let heard = lab.ledger.hear(channel, Beat { sent, done: now });
                run_until_killed(&lab.sim, heard).unwrap().unwrap();
            }
        }
        let elapsed = lab.sim.now().secs() - start.secs();
        lab.sim.world().pass_secs((second - elapsed).max(0));
        if second % INTERVAL == phase && !look(&lab).found.is_empty() {
            return Some(second);
        }
    }
    None
}

#[test]
fn one_heartbeat_that_is_lost_is_not_told_and_two_are_in_time_whenever_one_looks() {
    for phase in [0, 5, 14, 16, 30, 45, 59] {
        assert_eq!(first_told(&[0, 60, 180, 240, 360], phase), None, "{phase}");
        let told = first_told(&[0, 60], phase).expect("nothing came any more");
        // The second one was due at 180.
        assert!((180..=180 + 75).contains(&told), "{phase}: {told}");
    }
}

#[test]
fn a_lag_that_is_near_its_objective_is_not_told_to_be_over() {
    let lab = Lab::new(policy("lag = { catalog = 100, permissions = 9000 }"));
    let at = |lag: i64| {
        let beat = Beat {
            sent: lab.sim.now().plus_secs(-lag),
            done: lab.sim.now(),
        };
        let heard = lab.ledger.hear(Channel::Catalog, beat);
        run_until_killed(&lab.sim, heard).unwrap().unwrap();
        look(&lab);
        let states = told(&lab).into_iter().map(|(_, state, _)| state);
        let states: Vec<AlertState> = states.collect();
        lab.sim.world().pass_secs(60);
        states
    };
    let over = [AlertState::Resolved];
    assert_eq!(at(110), [AlertState::New]);
    assert_eq!(at(80), [], "it may be over the objective again at once");
    assert_eq!(at(75), over);
}

fn with_table(name: &str) -> Lab {
    let lab = Lab::new(policy(""));
    let input = json!({"DatabaseInput": {"Name": "sales", "CreateTableDefaultPermissions": []}});
    lab.call(PRIMARY, "CreateDatabase", &input).unwrap();
    for name in [name, "other"] {
        let input =
            json!({"DatabaseName": "sales", "TableInput": table_input("sales", name, &["id"])});
        lab.call(PRIMARY, "CreateTable", &input).unwrap();
    }
    lab.resync();
    let _ = (lab.sim.world().take_events(), lab.topic.take());
    lab
}

#[test]
fn a_hand_on_what_is_ours_is_told_and_on_anything_else_is_not() {
    let lab = with_table("orders");
    let mut listener = lab.listener();
    listener.region = SECONDARY.to_owned();
    let mine = json!({"DatabaseName": "sales", "TableInput": {"Name": "mine"}});
    lab.call(SECONDARY, "CreateTable", &mine).unwrap();
    let changed =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    lab.call(SECONDARY, "UpdateTable", &changed).unwrap();
    let events = lab.sim.world().take_events();
    let mut found = Vec::new();
    for emitted in events {
        let body = emitted.event.to_string().into_bytes();
        if let Ok(Operation::Hand(hand)) = parse_operation(&body, &listener) {
            let told = hands::of_hand(&lab.ledger, &hand, SECONDARY, &lab.policy);
            found.extend(run_until_killed(&lab.sim, told).unwrap().unwrap());
        }
    }
    let subjects: Vec<&str> = found
        .iter()
        .map(|(alert, _)| alert.subject.as_str())
        .collect();
    assert_eq!(subjects, ["table sales.orders"]);
    let outcome = lab.reconcile(&found[0].1).unwrap();
    assert_eq!(outcome.counts.total(), 1, "it is put back");
}

#[test]
fn our_own_changes_in_the_standby_are_nobodys_hand() {
    let lab = with_table("orders");
    let mut listener = lab.listener();
    listener.region = SECONDARY.to_owned();
    let _ = lab.deliver(&beat(&lab));
    lab.resync();
    for emitted in lab.sim.world().take_events() {
        let body = emitted.event.to_string().into_bytes();
        let heard = parse_operation(&body, &listener);
        assert!(!matches!(heard, Ok(Operation::Hand(_))), "{heard:?}");
    }
}

/// Buckets that hold what they are given; some cannot be asked.
#[derive(Default)]
struct Buckets(RefCell<BTreeSet<String>>, bool);

impl Replicas for Buckets {
    async fn has_arrived(&self, replica: &Replica) -> Result<bool, Fault> {
        if self.1 {
            let message = "you may not".to_owned();
            return Err(Fault::new(
                FaultKind::Denied,
                "HeadObject",
                SECONDARY,
                message,
            ));
        }
        Ok(self.0.borrow().contains(&replica.key))
    }
}

/// The hourly look; answers what is still missing.
fn look_again(lab: &Lab, buckets: &Buckets) -> BTreeSet<String> {
    let done = async {
        let late = lab.sim.now().plus_secs(60);
        let done = replication::look_again(&lab.ledger, buckets, &lab.sim, late).await?;
        assert_eq!(done.faults.is_empty(), !buckets.1);
        alerts::heal(&lab.topic, &lab.ledger, &done.looked, lab.sim.now()).await?;
        Ok::<_, Fault>(Awaited::of(&lab.ledger.pendings().await?).reasons)
    };
    run_until_killed(&lab.sim, done).unwrap().unwrap()
}

fn notice(name: &str, key: &str) -> serde_json::Value {
    failed(name, key, "DstBucketNotFound")
}

fn failed(name: &str, key: &str, reason: &str) -> serde_json::Value {
    json!({"eventName": format!("Replication:{name}"), "awsRegion": PRIMARY,
           "s3": {"bucket": {"name": "lake-us"}, "object": {"key": key, "versionId": "v1"}},
           "replicationEventData": {"replicationRuleId": "crr",
               "destinationBucket": "arn:aws:s3:::lake-in", "failureReason": reason}})
}

/// What S3 tells, mapped and noted as the standby's function does.
fn hear(lab: &Lab, records: &[serde_json::Value]) -> Vec<Alert> {
    let body = json!({ "Records": records }).to_string().into_bytes();
    let Ok(Notified::Objects(notices, _)) = parse_replication(&body, lab.sim.now()) else {
        panic!("it is a notification");
    };
    let done = async {
        let mapped = replication::map_to_tables(&lab.ledger, notices).await?;
        let looked = replication::note(&lab.ledger, &mapped, lab.sim.now()).await?;
        let found = replication_alerts(&mapped);
        conclude(&lab.topic, &lab.ledger, (&found, &looked), lab.sim.now()).await?;
        Ok::<_, Fault>(())
    };
    run_until_killed(&lab.sim, done).unwrap().unwrap();
    lab.topic.take()
}

#[test]
fn objects_belong_to_the_table_around_them_until_the_samples_are_there() {
    let lab = with_table("orders");
    let place = lab
        .ledger
        .book()
        .rows
        .into_iter()
        .find_map(|(subject, row)| {
            let id = matches!(&subject, Subject::Table(id) if id.table.as_str() == "orders");
            id.then_some(row.place).flatten()
        });
    let place = place.unwrap();
    let inside = place
        .strip_prefix("s3://lake-us/")
        .unwrap()
        .trim_end_matches('/');
    let first = hear(
        &lab,
        &[
            notice("OperationFailedReplication", &format!("{inside}/dt%3D1/a")),
            notice("OperationFailedReplication", &format!("{inside}/dt%3D1/b")),
            notice("OperationFailedReplication", &format!("{inside}2/c")),
        ],
    );
    // A name that only begins alike lies elsewhere.
    let told: Vec<_> = first
        .iter()
        .map(|a| (a.subject.as_str(), a.count))
        .collect();
    let subjects = [
        "bucket lake-us rule crr: DstBucketNotFound",
        "table sales.orders: DstBucketNotFound",
    ];
    assert_eq!(told, [(subjects[0], 1), (subjects[1], 2)]);
    let pending = run_until_killed(&lab.sim, lab.ledger.pendings())
        .unwrap()
        .unwrap();
    let (id, (pending, _)) = pending.into_iter().next().unwrap();
    assert_eq!(
        (id.to_string().as_str(), pending.count()),
        ("sales.orders", 2)
    );

    let buckets = Buckets::default();
    let again = |buckets: &Buckets| look_again(&lab, buckets).len();
    assert_eq!(again(&buckets), 1);
    let shut = Buckets(RefCell::default(), true);
    assert_eq!(again(&shut), 1, "what cannot be asked for is still missing");
    buckets.0.borrow_mut().insert(format!("{inside}/dt=1/a"));
    assert_eq!(again(&buckets), 1, "one is still missing");
    assert!(lab.topic.take().is_empty());
    buckets.0.borrow_mut().insert(format!("{inside}/dt=1/b"));
    assert_eq!(again(&buckets), 0);
    let over = lab.topic.take();
    assert_eq!(over.len(), 1);
    assert_eq!(
        (over[0].state, over[0].subject.as_str()),
        (
            AlertState::Resolved,
            "table sales.orders: DstBucketNotFound"
        )
    );
}

#[test]
fn what_was_late_is_over_when_s3_says_that_it_came() {
    let lab = with_table("orders");
    let rows = lab.ledger.book().rows;
    let place = rows.values().find_map(|row| row.place.clone()).unwrap();
    let key = place.replace("s3://lake-us/", "") + "x";
    let late = hear(&lab, &[notice("OperationMissedThreshold", &key)]);
    assert_eq!(late[0].kind, AlertKind::ReplicationLate);
    let came = hear(&lab, &[notice("OperationReplicatedAfterThreshold", &key)]);
    let states: Vec<AlertState> = came.iter().map(|alert| alert.state).collect();
    assert!(states.contains(&AlertState::Resolved), "{came:?}");
    assert!(lab.ledger.book().pendings.is_empty());
}

#[test]
fn a_row_remembers_how_it_came_to_stand() {
    let lab = with_table("orders");
    let gone = json!({"DatabaseName": "sales", "Name": "orders"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    let theirs =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    lab.call(SECONDARY, "CreateTable", &theirs).unwrap();
    lab.resync();
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    lab.resync();
    let rows = lab.ledger.book().rows;
    let row = rows
        .values()
        .find(|row| row.subject.to_string() == "table sales.orders");
    let past: Vec<State> = row
        .unwrap()
        .past
        .iter()
        .map(|change| change.state)
        .collect();
    assert_eq!(past, [State::Current, State::Blocked, State::Current]);
}

#[test]
fn what_was_in_the_way_in_the_lake_is_current_again_when_it_is_gone() {
    let lab = Lab::new(policy(""));
    for (region, value) in [(PRIMARY, "ours"), (SECONDARY, "theirs")] {
        let tag = json!({"TagKey": "team", "TagValues": ["ours", "theirs"]});
        lab.call(region, "CreateLFTag", &tag).unwrap();
        let body = json!([{"TagKey": "team", "TagValues": [value]}]);
        let expression = json!({"Name": "mine", "Expression": body});
        lab.call(region, "CreateLFTagExpression", &expression)
            .unwrap();
    }
    let state = || {
        lab.resync();
        lab.ledger.book().rows[&Subject::Lake(Lake::Expressions)].state
    };
    assert_eq!(state(), State::Blocked);
    let gone = json!({"Name": "mine"});
    lab.call(SECONDARY, "DeleteLFTagExpression", &gone).unwrap();
    assert_eq!(state(), State::Current);
}

const FAILED: &str = "OperationFailedReplication";

/// The keys that lie in a table of the laboratory.
fn inside(lab: &Lab) -> String {
    let rows = lab.ledger.book().rows;
    let place = rows.values().find_map(|row| row.place.clone()).unwrap();
    place.replace("s3://lake-us/", "")
}

#[test]
fn each_reason_is_over_by_its_own_objects_alone() {
    let lab = with_table("orders");
    let keys = inside(&lab);
    let one = |n: usize| failed(FAILED, &format!("{keys}{n}"), "DstPutObjectNotPermitted");
    let first: Vec<_> = (0..25).map(one).collect();
    hear(&lab, &first);
    hear(
        &lab,
        &[failed(
            FAILED,
            &format!("{keys}late"),
            "DstKmsKeyInvalidState",
        )],
    );
    let buckets = Buckets::default();
    let arrived = (0..20).map(|n| format!("{keys}{n}"));
    buckets.0.borrow_mut().extend(arrived);
    let left = look_again(&lab, &buckets);
    assert_eq!(left.len(), 1);
    assert!(
        left.iter()
            .all(|reason| reason.ends_with("DstKmsKeyInvalidState")),
        "{left:?}"
    );
    let over: Vec<String> = lab
        .topic
        .take()
        .into_iter()
        .map(|alert| alert.subject)
        .collect();
    assert_eq!(over.len(), 1);
    assert!(over[0].ends_with("DstPutObjectNotPermitted"), "{over:?}");
}

#[test]
fn what_can_never_arrive_is_told_and_not_waited_for() {
    let lab = with_table("orders");
    let keys = inside(&lab);
    let mut deletion = failed(FAILED, &format!("{keys}b"), "DstDelObjNotPermitted");
    deletion["replicationEventData"]["s3Operation"] = json!("OBJECT_DELETE_MARKER");
    let told = hear(
        &lab,
        &[
            failed(FAILED, &format!("{keys}a"), "SrcObjectNotFound"),
            deletion,
        ],
    );
    assert_eq!(told.iter().map(|alert| alert.count).sum::<usize>(), 2);
    assert!(lab.ledger.book().pendings.is_empty());
    // Nobody can find it to be over, so it is when it does not come again.
    let fade = |lab: &Lab| {
        let now = lab.sim.now();
        let done = alerts::fade(&lab.topic, &lab.ledger, 3600, now);
        run_until_killed(&lab.sim, done).unwrap().unwrap();
        let told = lab.topic.take().into_iter();
        told.map(|alert| alert.count).sum::<usize>()
    };
    assert_eq!(fade(&lab), 0);
    lab.sim.world().pass_secs(3601);
    assert_eq!(fade(&lab), 2);
    // What is missing does not fade.
    hear(
        &lab,
        &[notice("OperationMissedThreshold", &format!("{keys}c"))],
    );
    lab.sim.world().pass_secs(3601);
    assert_eq!(fade(&lab), 0);
}

/// What people do in the standby, as hands.
fn hands_of(lab: &Lab) -> Vec<twinlake_core::event::Hand> {
    let mut listener = lab.listener();
    listener.region = SECONDARY.to_owned();
    let events = lab.sim.world().take_events().into_iter();
    let bodies = events.map(|emitted| emitted.event.to_string().into_bytes());
    let heard = bodies.filter_map(|body| match parse_operation(&body, &listener) {
        Ok(Operation::Hand(hand)) => Some(hand),
        _ => None,
    });
    heard.collect()
}

#[test]
fn what_somebody_deletes_in_the_standby_proves_nothing_of_the_primary() {
    let lab = with_table("orders");
    let gone = json!({"DatabaseName": "sales", "Name": "orders"});
    lab.call(SECONDARY, "DeleteTable", &gone).unwrap();
    let gone = json!({"DatabaseName": "sales", "TableName": "other", "PartitionsToDelete": []});
    let _ = lab.call(SECONDARY, "BatchDeletePartition", &gone);
    let revoke = json!({"Principal": {"DataLakePrincipalIdentifier": ROLE},
        "Resource": {"Database": {"Name": "sales"}}, "Permissions": ["DESCRIBE"]});
    let _ = lab.call(SECONDARY, "RevokePermissions", &revoke);
    let hands = hands_of(&lab);
    assert!(!hands.is_empty());
    for hand in hands {
        assert!(hand.scope.suspects.is_empty());
        for look in hand.scope.looks.values() {
            assert!(!look.deletion_named && !look.partition_deletion_named);
            assert!(look.deletable.is_empty());
        }
    }
}

#[test]
fn what_is_held_or_only_compared_is_no_hand_of_others() {
    let lab = with_table("orders");
    let changed =
        json!({"DatabaseName": "sales", "TableInput": {"Name": "orders", "Description": "x"}});
    lab.call(SECONDARY, "UpdateTable", &changed).unwrap();
    let settings = json!({"DataLakeSettings": {"DataLakeAdmins": [
        {"DataLakePrincipalIdentifier": ROLE}], "Parameters": {"x": "y"}}});
    let _ = lab.call(SECONDARY, "PutDataLakeSettings", &settings);
    let hands = hands_of(&lab);
    let about_settings = |hand: &twinlake_core::event::Hand| {
        hand.scope
            .looks
            .contains_key(&Subject::Lake(Lake::Settings))
    };
    assert_eq!(hands.iter().filter(|hand| about_settings(hand)).count(), 1);
    let mut book = lab.ledger.book();
    for row in book.rows.values_mut() {
        row.state = State::Held;
        row.owned.insert("mark".to_owned());
    }
    let held = twinlake_engine::MemoryLedger::new(book);
    for hand in &hands {
        let told = hands::of_hand(&held, hand, SECONDARY, &lab.policy);
        assert_eq!(run_until_killed(&lab.sim, told).unwrap().unwrap(), None);
    }
}

fn job(state: AlertState, at: Timestamp) -> Alert {
    let words = ["a", "b", "c"].map(str::to_owned);
    Alert {
        state,
        ..Alert::new(AlertKind::JobFailed, PRIMARY, "job nightly", words, at)
    }
}

#[test]
fn what_the_peer_told_is_shown_and_ends_by_the_peer_or_by_its_silence() {
    let lab = Lab::new(policy(""));
    let open = |lab: &Lab| lab.ledger.book().alerts.len();
    let learn = |lab: &Lab, state| {
        let alert = job(state, lab.sim.now());
        let done = async { alerts::learn(&lab.ledger, &alert).await };
        run_until_killed(&lab.sim, done).unwrap().unwrap();
    };
    let fade = |lab: &Lab| {
        let done = alerts::fade(&lab.topic, &lab.ledger, 1, lab.sim.now());
        run_until_killed(&lab.sim, done).unwrap().unwrap();
    };
    learn(&lab, AlertState::New);
    assert_eq!(open(&lab), 1);
    // Our own looks know nothing of it.
    let looked =
        alerts::Looked::default().and_over(AlertKind::JobFailed, "job nightly", lab.sim.now());
    let heal = alerts::heal(&lab.topic, &lab.ledger, &looked, lab.sim.now());
    run_until_killed(&lab.sim, heal).unwrap().unwrap();
    fade(&lab);
    assert_eq!(open(&lab), 1);
    learn(&lab, AlertState::Resolved);
    assert_eq!(open(&lab), 0);
    learn(&lab, AlertState::New);
    lab.sim.world().pass_secs(27 * 3600);
    fade(&lab);
    assert_eq!(open(&lab), 0);
    assert!(lab.topic.take().is_empty(), "nobody is told of it here");
}

#[test]
fn of_a_batch_only_the_newest_of_each_subject_counts() {
    let at = Timestamp::from_secs;
    let over = |secs| vec![(AlertKind::JobFailed, "job nightly".to_owned(), at(secs))];
    let mut told = vec![job(AlertState::New, at(10))];
    let _ = alerts::newest(&mut told, over(20));
    assert!(told.is_empty(), "it went well since");
    let mut told = vec![job(AlertState::New, at(30))];
    let _ = alerts::newest(&mut told, over(20));
    assert_eq!(told.len(), 1, "it failed again since");
}

#[test]
fn an_older_success_does_not_end_a_newer_failure() {
    let lab = Lab::new(policy(""));
    let now = lab.sim.now();
    let failed = [job(AlertState::New, now)];
    let sent = alerts::publish(&lab.topic, &lab.ledger, &failed, now);
    run_until_killed(&lab.sim, sent).unwrap().unwrap();
    let _ = lab.topic.take();
    let succeeded = |at: Timestamp| {
        let subject = "job nightly".to_owned();
        let looked = alerts::newest(&mut Vec::new(), vec![(AlertKind::JobFailed, subject, at)]);
        let heal = alerts::heal(&lab.topic, &lab.ledger, &looked, lab.sim.now());
        run_until_killed(&lab.sim, heal).unwrap().unwrap();
        lab.topic.take().len()
    };
    assert_eq!(succeeded(now.plus_secs(-60)), 0, "delivered late");
    assert_eq!(succeeded(now.plus_secs(60)), 1);
}

#[test]
fn nobody_waits_for_changes_where_there_is_no_standby_and_age_counts_from_the_watch() {
    let lab = Lab::new(policy(""));
    look(&lab);
    lab.sim.world().pass_secs(4000);
    let watched = look(&lab);
    assert_eq!(watched.verified_age, Some(4000), "it was never verified");
    assert!(!lab.topic.take().is_empty());
    let open_as = |role: Option<Role>| {
        let looked = of_no_standby(role, lab.sim.now());
        let heal = alerts::heal(&lab.topic, &lab.ledger, &looked, lab.sim.now());
        run_until_killed(&lab.sim, heal).unwrap().unwrap();
        lab.ledger.book().alerts.len()
    };
    assert_ne!(open_as(None), 0, "who it is is not known");
    assert_ne!(open_as(Some(Role::Standby)), 0);
    assert_eq!(open_as(Some(Role::Primary)), 0);
}

#[test]
fn what_s3_does_not_say_of_the_destination_the_policy_does() {
    let lab = with_table("orders");
    let mut record = notice("OperationNotTracked", &format!("{}x", inside(&lab)));
    record["replicationEventData"] = json!({});
    let body = json!({ "Records": [record] }).to_string().into_bytes();
    let Ok(Notified::Objects(notices, _)) = parse_replication(&body, lab.sim.now()) else {
        panic!("it is a notification");
    };
    assert_eq!(notices[0].replica(), None);
    let first = twinlake_core::ledger::Epoch(0);
    let placed = replication::placed(notices[0].clone(), &lab.policy, first);
    assert_eq!(placed.replica().unwrap().bucket, "lake-in");
}

/// A notice of one version of an object, made and told of at these seconds.
fn of_version(name: &str, key: &str, version: &str, at: i64) -> serde_json::Value {
    let mut record = notice(name, key);
    record["s3"]["object"]["versionId"] = json!(version);
    record["eventTime"] = json!(Timestamp::from_secs(at).to_string());
    record
}

#[test]
fn only_the_version_that_came_is_there() {
    let lab = with_table("orders");
    let key = inside(&lab) + "x";
    let missed = |version, at| of_version("OperationMissedThreshold", &key, version, at);
    let came = |version, at| of_version("OperationReplicatedAfterThreshold", &key, version, at);
    hear(&lab, &[missed("v1", 100), missed("v2", 110)]);
    let first = hear(&lab, &[came("v1", 200)]);
    let is_over = |told: &[Alert]| told.iter().any(|alert| alert.state == AlertState::Resolved);
    assert!(!is_over(&first), "the other version is missing: {first:?}");
    let pendings = lab.ledger.book().pendings;
    assert_eq!(pendings.values().map(|(p, _)| p.count()).sum::<usize>(), 1);
    assert!(is_over(&hear(&lab, &[came("v2", 300)])));
}

#[test]
fn a_storm_of_late_objects_is_over_when_as_many_came_as_were_missed() {
    let lab = with_table("orders");
    let keys = inside(&lab);
    let all = |name: &str, from: usize, to: usize| -> Vec<_> {
        let key = |n: usize| format!("{keys}{n}");
        (from..to).map(|n| notice(name, &key(n))).collect()
    };
    hear(&lab, &all("OperationMissedThreshold", 0, 50));
    // The first ones missed, which are the samples, mostly come first.
    let came = hear(&lab, &all("OperationReplicatedAfterThreshold", 0, 49));
    assert!(
        came.iter().all(|alert| alert.state != AlertState::Resolved),
        "{came:?}"
    );
    let came = hear(&lab, &all("OperationReplicatedAfterThreshold", 49, 50));
    assert!(
        came.iter().any(|alert| alert.state == AlertState::Resolved),
        "{came:?}"
    );
}
