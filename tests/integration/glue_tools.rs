//! The tools of Glue: classifiers, crawlers and triggers are replicated, and sleep in the standby.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlake_core::audit::AuditRule;
use twinlake_core::ledger::SubjectState;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallErrorKind, Policy};
use twinlake_engine::ports::{DocumentStore as _, ReadQueryRegion as _, WriteQueryRegion as _};
use twinlake_engine::query::{QueryToolsContext, QueryToolsOutcome, reconcile_query};
use twinlake_tests::harness::{PRIMARY, epoch_led_by, leader};
use twinlake_tests::query_lab::{Lab, findings, object, policy_with};
use twinlake_tests::takeover::pair::Pair;
use twinlake_tests::takeover::ready;

const CRON: &str = "cron(0 1 * * ? *)";

pub(crate) fn policy(more: &str) -> Policy {
    policy_with(more, "glue-tools = \"copy\"\n")
}

pub(crate) fn key(kind: QueryKind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, name)
}

fn classifier(name: &str, delimiter: &str) -> QueryObject {
    let content = json!({"Type": "CSV", "Delimiter": delimiter});
    object(key(QueryKind::Classifier, name), content)
}

/// A scheduled crawler of a place, with more fields.
pub(crate) fn crawler(name: &str, place: &str, more: Value) -> QueryObject {
    let content = json!({"Role": "crawl", "DatabaseName": "sales", "Classifiers": ["csv"],
        "Targets": {"S3Targets": [{"Path": place}]},
        "Schedule": {"ScheduleExpression": CRON, "State": "SCHEDULED"}});
    let mut content: serde_json::Map<String, Value> = serde_json::from_value(content).unwrap();
    content.extend(more.as_object().unwrap().clone());
    object(key(QueryKind::Crawler, name), Value::Object(content))
}

/// An activated trigger that starts the crawler `orders`, with more fields.
fn trigger(name: &str, more: Value) -> QueryObject {
    let content = json!({"Type": "SCHEDULED", "Schedule": CRON, "State": "ACTIVATED",
        "Actions": [{"CrawlerName": "orders"}]});
    let mut content: serde_json::Map<String, Value> = serde_json::from_value(content).unwrap();
    content.extend(more.as_object().unwrap().clone());
    object(key(QueryKind::Trigger, name), Value::Object(content))
}

/// The primary with two tools of each kind, and nothing in the standby.
pub(crate) fn filled(policy: Policy) -> Lab {
    let lab = Lab::new(policy);
    lab.primary.put(classifier("csv", ";"));
    lab.primary.put(classifier("tsv", "\t"));
    lab.primary
        .put(crawler("orders", "s3://lake-primary/orders/", json!({})));
    lab.primary
        .put(crawler("items", "s3://lake-primary/items/", json!({})));
    lab.primary.put(trigger("nightly", json!({})));
    lab.primary.put(trigger("hourly", json!({})));
    lab
}

pub(crate) fn replicated() -> Lab {
    filled(policy("")).in_sync(6)
}

/// No tool of the standby runs by itself.
pub(crate) fn assert_asleep(lab: &Lab) {
    let objects = lab.standby.objects();
    assert!(!objects.values().any(QueryObject::is_awake), "{objects:#?}");
}

pub(crate) fn nothing_written(lab: &Lab) -> bool {
    lab.standby.take_writes().is_empty()
}

/// A listing that a Region refuses, or that hides an object, deletes nothing, and a creation whose answer is lost is not
/// repeated. `kind` is what the names of the calls end in; the labs have two objects of the kind in the primary.
pub(crate) fn assert_lost_answers_harm_nothing(
    replicated: &Lab,
    filled: &Lab,
    kind: &str,
    hidden: &ObjectKey,
) {
    let listing = format!("List{kind}");
    for sim in [&replicated.primary, &replicated.standby] {
        sim.fail(&listing, CallErrorKind::Denied, 99);
        let outcome = replicated.resync();
        assert!(!findings(&outcome, FindingKind::Denied).is_empty());
        sim.fail(&listing, CallErrorKind::Denied, 0);
        assert!(nothing_written(replicated));
    }
    replicated.primary.hide(hidden);
    assert!(!replicated.resync().is_done());
    assert!(nothing_written(replicated));
    // The creation takes effect, and nobody hears of it.
    let creation = format!("Create{kind}");
    filled.standby.lose_answers(&creation, 1);
    let first = filled.resync();
    assert_eq!(first.failed.len(), 1, "{first:#?}");
    let outcome = filled.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let creations = filled.standby.take_writes();
    let creations = creations.iter().filter(|call| call.starts_with(&creation));
    assert_eq!(creations.count(), 2);
}

/// The primary deletes three objects, which is more than the limit.
pub(crate) fn assert_deletions_are_held(lab: &Lab, gone: &BTreeSet<ObjectKey>) {
    for key in gone {
        lab.primary.remove(key);
    }
    let outcome = lab.resync();
    assert_eq!(outcome.rejections.len(), 3, "{outcome:#?}");
    let mut rejections = outcome.rejections.iter();
    assert!(rejections.all(|one| one.rule == AuditRule::DeletionLimit));
    assert!(nothing_written(lab));
}

pub(crate) fn set(lab: &Lab, name: &str, field: &str, value: Value) {
    let mut found = lab.primary.objects()[&lab.key_of(&lab.primary, name)].clone();
    found.fields.insert(field.to_owned(), value);
    lab.primary.put(found);
}

/// Makes a tool of the standby run by itself, as a person does.
pub(crate) fn wake(lab: &Lab, name: &str) {
    let mut found = lab.in_standby(name);
    let (field, value) = match found.key.kind == QueryKind::Crawler {
        true => {
            let schedule = json!({"ScheduleExpression": CRON, "State": "SCHEDULED"});
            ("Schedule", schedule)
        }
        false => ("State", json!("ACTIVATED")),
    };
    found.fields.insert(field.to_owned(), value);
    lab.standby.put(found);
}

#[test]
fn every_kind_is_replicated_asleep_and_its_cron_rests_in_the_ledger() {
    let pair = match leader() {
        twinlake_core::topology::SiteId::A => ("crawl", "crawl-b"),
        twinlake_core::topology::SiteId::B => ("crawl-b", "crawl"),
    };
    let principal = format!(
        "[[principal]]\na = \"arn:aws:iam::111122223333:role/{}\"\nb = \"arn:aws:iam::111122223333:role/{}\"\n",
        pair.0, pair.1
    );
    let text = format!("{}\n{principal}", policy("").text());
    let lab = filled(Policy::parse(&text).unwrap());
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let orders = lab.in_standby("orders");
    assert_eq!(
        orders.field("Targets.S3Targets"),
        Some(&json!([{"Path": "s3://lake-standby/orders/"}]))
    );
    assert_eq!(orders.text("Role"), Some("crawl-b"));
    assert_eq!(orders.field("Schedule"), None);
    let nightly = lab.in_standby("nightly");
    assert_eq!(nightly.text("State"), Some("CREATED"));
    assert_eq!(nightly.text("Schedule"), Some(CRON));
    assert_eq!(lab.in_standby("tsv").text("Delimiter"), Some("\t"));
    assert_asleep(&lab);
    for tool in [
        key(QueryKind::Crawler, "orders"),
        key(QueryKind::Trigger, "nightly"),
    ] {
        let schedule = lab.row_of(&tool).schedule.unwrap();
        assert_eq!(schedule.cron.as_deref(), Some(CRON));
    }
    // A person pauses the schedule in the primary: the ledger forgets it, and nothing is written.
    let _ = lab.standby.take_writes();
    let paused = json!({"ScheduleExpression": CRON, "State": "NOT_SCHEDULED"});
    set(&lab, "orders", "Schedule", paused);
    assert!(lab.resync().is_done() && nothing_written(&lab));
    assert_eq!(
        lab.row_of(&key(QueryKind::Crawler, "orders")).schedule,
        None
    );
}

#[test]
fn an_unchanged_resync_writes_nothing_and_changes_follow() {
    let lab = replicated();
    let rows = lab.ledger.contents().documents["query_rows"].clone();
    let outcome = lab.resync();
    assert!(outcome.is_done() && outcome.applied.is_empty() && nothing_written(&lab));
    assert_eq!(lab.ledger.contents().documents["query_rows"], rows);
    set(&lab, "csv", "Delimiter", json!("|"));
    set(&lab, "orders", "TablePrefix", json!("t_"));
    set(&lab, "nightly", "Schedule", json!("cron(0 2 * * ? *)"));
    let outcome = lab.resync();
    assert!(
        outcome.is_done() && outcome.applied.len() == 3,
        "{outcome:#?}"
    );
    assert_eq!(lab.in_standby("csv").text("Delimiter"), Some("|"));
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), Some("t_"));
    assert_eq!(
        lab.in_standby("nightly").text("Schedule"),
        Some("cron(0 2 * * ? *)")
    );
    assert_asleep(&lab);
    // Those that name others go first.
    let _ = lab.standby.take_writes();
    for tool in [
        key(QueryKind::Trigger, "nightly"),
        key(QueryKind::Crawler, "items"),
        key(QueryKind::Classifier, "tsv"),
    ] {
        lab.primary.remove(&tool);
    }
    assert!(lab.resync().is_done());
    assert_eq!(
        lab.standby.take_writes(),
        [
            "DeleteTrigger trigger nightly",
            "DeleteCrawler crawler items",
            "DeleteClassifier classifier tsv"
        ]
    );
}

#[test]
fn without_the_key_of_the_policy_nothing_of_glue_is_read_or_written() {
    let lab = filled(policy_with("", ""));
    let _ = (lab.primary.take_reads(), lab.standby.take_reads());
    assert!(lab.resync().is_done() && nothing_written(&lab));
    // Two listings and what they name, two of the one workgroup; capacity reservations.
    assert_eq!((lab.primary.take_reads(), lab.standby.take_reads()), (7, 6));
    assert_ne!(lab.policy.digest(), policy("").digest());
}

#[test]
fn one_bad_entry_is_one_finding() {
    let lab = filled(policy("exclude = [\"private\"]\n"));
    let queue = format!("arn:aws:sqs:{PRIMARY}:111122223333:q");
    let place = "s3://lake-primary/x/";
    let target = |more: Value| json!({"Targets": {"S3Targets": [more]}});
    let held = [
        crawler(
            "vpc",
            place,
            target(json!({"Path": place, "ConnectionName": "net"})),
        ),
        crawler("unmapped", "s3://elsewhere/", json!({})),
        crawler(
            "queue",
            place,
            target(json!({"Path": place, "EventQueueArn": queue})),
        ),
        crawler("classes", place, json!({"Classifiers": ["csv", "none"]})),
        crawler(
            "encrypted",
            place,
            json!({"CrawlerSecurityConfiguration": "sse"}),
        ),
        trigger("job", json!({"Actions": [{"JobName": "load"}]})),
        trigger("gone", json!({"Actions": [{"CrawlerName": "unmapped"}]})),
        trigger("flow", json!({"WorkflowName": "w"})),
        trigger(
            "arguments",
            json!({"Actions": [
            {"CrawlerName": "orders", "Arguments": {"--in": "s3://lake-primary/x"}}]}),
        ),
    ];
    let jdbc = json!({"Targets": {"JdbcTargets": [{"ConnectionName": "db", "Path": "a/%"}]}});
    let unsupported = [
        crawler("jdbc", place, jdbc),
        crawler(
            "dynamo",
            place,
            json!({"Targets": {"DynamoDBTargets": [{"Path": "t"}]}}),
        ),
        crawler(
            "tables",
            place,
            json!({"Targets": {"CatalogTargets": [
            {"DatabaseName": "private", "Tables": ["t"]}]}}),
        ),
        crawler("private", place, json!({"DatabaseName": "private"})),
        trigger("event", json!({"Type": "EVENT"})),
    ];
    for object in held.iter().chain(&unsupported) {
        lab.primary.put(object.clone());
    }
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 6, "{outcome:#?}");
    assert!(outcome.rejections.is_empty() && outcome.failed.is_empty());
    for (objects, kind) in [
        (&held[..], FindingKind::OnHold),
        (&unsupported[..], FindingKind::Unsupported),
    ] {
        let found = findings(&outcome, kind);
        assert_eq!(found.len(), objects.len(), "{found:#?}");
        for object in objects {
            let start = format!("{}: ", object.key);
            assert!(
                found.iter().any(|one| one.starts_with(&start)),
                "{start} {found:#?}"
            );
        }
    }
    let text = findings(&outcome, FindingKind::Unsupported).join("\n");
    assert!(text.contains("JdbcTargets (a/%)"), "{text}");
    assert!(text.contains("private.t"), "{text}");
    assert_asleep(&lab);
    // What they name appears in the standby.
    lab.standby.put_job("load", None);
    let sse = json!({"EncryptionConfiguration": {}});
    lab.standby
        .put(object(key(QueryKind::SecurityConfiguration, "sse"), sse));
    let outcome = lab.resync();
    assert_eq!(outcome.applied.len(), 2, "{outcome:#?}");
    assert_asleep(&lab);
}

#[test]
fn what_others_made_stays_and_what_is_equal_and_asleep_is_adopted() {
    let lab = filled(policy(""));
    let mut equal = crawler("orders", "s3://lake-standby/orders/", json!({}));
    equal.fields.remove("Schedule");
    lab.standby.put(equal);
    // Equal, but it serves somebody there; another content; one that the primary does not know.
    lab.standby
        .put(crawler("items", "s3://lake-standby/items/", json!({})));
    lab.standby.put(trigger(
        "nightly",
        json!({"State": "CREATED", "Schedule": "cron(0 5 * * ? *)"}),
    ));
    lab.standby.put(classifier("mine", "#"));
    let before = lab.standby.objects();
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert_eq!(unmanaged.len(), 2, "{outcome:#?}");
    assert!(unmanaged[0].starts_with("crawler items: "));
    assert!(unmanaged[0].ends_with("it runs by itself in the standby"));
    let after = lab.standby.objects();
    for (key, object) in before {
        assert_eq!(after[&key], object);
    }
    assert_eq!(
        lab.state_of(&key(QueryKind::Crawler, "orders")),
        SubjectState::InSync
    );
    // A paired name that somebody else deleted and made again.
    let lab = replicated();
    for (kind, name) in [
        (QueryKind::Trigger, "nightly"),
        (QueryKind::Crawler, "items"),
    ] {
        lab.standby.remove(&key(kind, name));
    }
    lab.standby
        .put(crawler("items", "s3://lake-standby/other/", json!({})));
    lab.standby
        .put(trigger("nightly", json!({"Description": "mine"})));
    let outcome = lab.resync();
    assert_eq!(
        findings(&outcome, FindingKind::Unmanaged).len(),
        2,
        "{outcome:#?}"
    );
    assert!(nothing_written(&lab));
}

#[test]
fn what_is_twinlakes_and_wakes_in_the_standby_is_put_to_sleep_first() {
    let lab = replicated();
    wake(&lab, "orders");
    wake(&lab, "nightly");
    set(&lab, "orders", "TablePrefix", json!("t_"));
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.standby.take_writes(),
        [
            "StopCrawlerSchedule crawler orders",
            "StopTrigger trigger nightly",
            "UpdateCrawler crawler orders"
        ]
    );
    assert_asleep(&lab);
    let notes = findings(&outcome, FindingKind::Note);
    assert!(
        notes.len() == 2 && notes[0].contains("put to sleep"),
        "{notes:?}"
    );
    // It also sleeps if the primary's is held.
    wake(&lab, "items");
    let elsewhere = json!({"S3Targets": [{"Path": "s3://elsewhere/"}]});
    set(&lab, "items", "Targets", elsewhere);
    wake(&lab, "orders");
    set(&lab, "orders", "TablePrefix", json!("u_"));
    let _ = lab.resync();
    assert_asleep(&lab);
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), Some("u_"));
}

#[test]
fn a_crawler_that_cannot_be_put_to_sleep_or_that_runs_is_not_updated() {
    let lab = replicated();
    let orders = key(QueryKind::Crawler, "orders");
    lab.standby.set_running(&orders, true);
    set(&lab, "orders", "TablePrefix", json!("t_"));
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(outcome.failed[0].1.kind, CallErrorKind::Contended);
    assert_eq!(lab.state_of(&orders), SubjectState::OutOfSync);
    lab.standby.set_running(&orders, false);
    assert!(lab.resync().is_done());
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), Some("t_"));
    // Awake, and it cannot be put to sleep.
    wake(&lab, "orders");
    set(&lab, "orders", "TablePrefix", json!("u_"));
    lab.standby
        .fail("StopCrawlerSchedule", CallErrorKind::Unavailable, 1);
    let outcome = lab.resync();
    assert_eq!(outcome.failed.len(), 1, "{outcome:#?}");
    assert_eq!(lab.in_standby("orders").text("TablePrefix"), Some("t_"));
    assert!(lab.resync().is_done());
    assert_asleep(&lab);
}

#[test]
fn lost_rights_delete_nothing_and_an_absence_needs_proof() {
    let lab = replicated();
    let before = lab.standby.objects();
    for call in [
        "ListClassifier",
        "ListCrawler",
        "ListTrigger",
        "ListJob",
        "ListWorkflow",
        "ListConnection",
    ] {
        lab.primary.fail(call, CallErrorKind::Denied, 99);
        let outcome = lab.resync();
        assert!(
            !findings(&outcome, FindingKind::Denied).is_empty(),
            "{call}: {outcome:#?}"
        );
        lab.primary.fail(call, CallErrorKind::Denied, 0);
        assert!(nothing_written(&lab), "{call}");
    }
    for call in ["ListClassifier", "ListCrawler", "ListTrigger"] {
        lab.standby.fail(call, CallErrorKind::Denied, 99);
        assert!(!lab.resync().is_done(), "{call}");
        lab.standby.fail(call, CallErrorKind::Denied, 0);
        assert!(nothing_written(&lab), "{call}");
    }
    // Listed no more, and a read by name is denied.
    let orders = key(QueryKind::Crawler, "orders");
    lab.primary.hide(&orders);
    assert!(!lab.resync().is_done());
    assert!(nothing_written(&lab));
    // All of a kind are gone: nothing shows that the listing shows everything.
    let lab = replicated();
    for name in ["nightly", "hourly"] {
        lab.primary.remove(&key(QueryKind::Trigger, name));
    }
    let outcome = lab.resync();
    let unread = findings(&outcome, FindingKind::Unreadable);
    assert!(
        unread.len() == 2 && unread[0].contains("no other trigger is listed"),
        "{unread:?}"
    );
    assert!(nothing_written(&lab));
    assert_eq!(lab.standby.objects(), before);
    // Once a person has deleted those of the standby, nothing is left to say.
    for name in ["nightly", "hourly"] {
        lab.standby.remove(&key(QueryKind::Trigger, name));
    }
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    assert!(
        !lab.stored()
            .0
            .contains_key(&key(QueryKind::Trigger, "nightly"))
    );
}

#[test]
fn deletions_over_the_limit_are_held() {
    let limit = "deletion-limit = { fraction = 0.1, minimum = 1 }\n";
    let lab = filled(policy(limit));
    for number in 0..4 {
        lab.primary.put(classifier(&format!("c{number}"), ";"));
    }
    assert!(lab.resync().is_done());
    let _ = lab.standby.take_writes();
    let gone: BTreeSet<ObjectKey> = (0..3)
        .map(|number| key(QueryKind::Classifier, &format!("c{number}")))
        .collect();
    for key in &gone {
        lab.primary.remove(key);
    }
    let outcome = lab.resync();
    assert_eq!(outcome.rejections.len(), 3, "{outcome:#?}");
    let mut rejections = outcome.rejections.iter();
    assert!(rejections.all(|one| one.rule == AuditRule::DeletionLimit));
    assert!(nothing_written(&lab));
    let lab = Lab {
        approved: gone,
        ..lab
    };
    assert!(lab.resync().is_done());
    assert_eq!(lab.standby.take_writes().len(), 3);
}

#[test]
fn what_glue_never_unsets_is_reported() {
    let lab = replicated();
    let mut csv = classifier("csv", ";");
    csv.fields.remove("Delimiter");
    lab.primary.put(csv);
    let outcome = lab.resync();
    let unmanaged = findings(&outcome, FindingKind::Unmanaged);
    assert!(
        unmanaged[0].contains("Delimiter is not set"),
        "{outcome:#?}"
    );
    assert!(nothing_written(&lab));
}

/// Reconciles in the direction after a takeover: the lab's standby is the primary now.
fn reconcile_after_takeover(lab: &Lab, pair: &Pair) -> QueryToolsOutcome {
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
fn a_takeover_wakes_nothing_and_the_former_primary_is_put_to_sleep() {
    let lab = replicated();
    let pair = Pair::in_sync();
    for (id, (row, _)) in ready(lab.ledger.documents("query_rows")).unwrap() {
        let stored = pair
            .india
            .ledger
            .put_document("query_rows", &id, Some(&row), None);
        assert!(ready(stored).unwrap());
    }
    pair.fail_over();
    pair.accept(&pair.compare()).unwrap().unwrap();
    let outcome = reconcile_after_takeover(&lab, &pair);
    // What was the primary's ran by itself, and sleeps now; nothing of the new primary was woken.
    assert_asleep(&lab);
    let former = lab.primary.objects();
    assert!(!former.values().any(QueryObject::is_awake), "{outcome:#?}");
    assert_eq!(
        findings(&outcome, FindingKind::Note).len(),
        4,
        "{outcome:#?}"
    );
    assert!(lab.standby.take_writes().is_empty());
    // The cron is kept for whoever wakes it, until it runs in the new primary.
    let epoch = pair.record(&pair.india).epoch;
    let rows = |pair: &Pair| {
        let stored = twinlake_engine::query::read_query_ledger(&*pair.us.ledger, epoch.primary());
        ready(stored).unwrap().0
    };
    let orders = key(QueryKind::Crawler, "orders");
    let asleep = rows(&pair)[&orders].asleep_since_switch(epoch).cloned();
    assert_eq!(asleep.unwrap().cron.as_deref(), Some(CRON));
    assert_ne!(epoch, epoch_led_by(leader()));
    wake(&lab, "orders");
    let _ = reconcile_after_takeover(&lab, &pair);
    assert_eq!(rows(&pair)[&orders].asleep_since_switch(epoch), None);
    assert!(lab.in_standby("orders").is_awake(), "it is the primary's");
}

#[test]
fn the_simulator_keeps_the_schedule_that_an_update_does_not_name() {
    let lab = replicated();
    let orders = key(QueryKind::Crawler, "orders");
    wake(&lab, "orders");
    let current = ready(lab.standby.read(&orders)).unwrap();
    let mut desired = current.clone();
    desired.fields.remove("Schedule");
    ready(lab.standby.update(&current, &desired)).unwrap();
    assert!(ready(lab.standby.read(&orders)).unwrap().is_awake());
}
