//! Crawlers and triggers that a takeover wakes, and those that it leaves asleep.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::CallErrorKind;
use twinlake_core::failover::WakeRecord;
use twinlake_core::plan::FindingKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_engine::failover::{kinds_to_wake, wake};
use twinlake_engine::ports::DocumentStore as _;
use twinlake_engine::query::{
    QueryToolsContext, QueryToolsOutcome, preview_query, read_query_ledger, reconcile_query,
};
use twinlake_sim::SimQueryTools;
use twinlake_tests::query_lab::{Lab, findings, object, policy_with};
use twinlake_tests::takeover::pair::{Pair, PairRegion};
use twinlake_tests::takeover::ready;

const CRON: &str = "cron(0 1 * * ? *)";

fn key(kind: QueryKind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, name)
}

fn crawler(name: &str) -> ObjectKey {
    key(QueryKind::Crawler, name)
}

fn trigger(name: &str) -> ObjectKey {
    key(QueryKind::Trigger, name)
}

fn put_crawler(lab: &Lab, name: &str, more: &[(&str, Value)]) {
    let content = json!({"Role": "crawl", "DatabaseName": "sales",
        "Targets": {"S3Targets": [{"Path": format!("s3://lake-primary/{name}/")}]},
        "Schedule": {"ScheduleExpression": CRON, "State": "SCHEDULED"}});
    let mut object = object(crawler(name), content);
    for (field, value) in more {
        object.fields.insert((*field).to_owned(), value.clone());
    }
    lab.primary.put(object);
}

fn put_trigger(lab: &Lab, name: &str, kind: &str, actions: Value) {
    let state = if kind == "ON_DEMAND" {
        "CREATED"
    } else {
        "ACTIVATED"
    };
    let mut content = json!({"Type": kind, "State": state, "Actions": actions});
    if kind == "SCHEDULED" {
        content["Schedule"] = CRON.into();
    } else if kind == "CONDITIONAL" {
        content["Predicate"] = json!({"Logical": "ANY", "Conditions": [
            {"LogicalOperator": "EQUALS", "CrawlerName": "orders", "CrawlState": "SUCCEEDED"}]});
    }
    lab.primary.put(object(trigger(name), content));
}

/// Both Regions, and the tools in both of them, before a takeover. Jobs are in the standby, too.
pub(super) fn before() -> (Lab, Pair) {
    let lab = Lab::new(policy_with("", "glue-tools = \"copy\"\n"));
    put_crawler(&lab, "orders", &[]);
    put_crawler(&lab, "items", &[]);
    // Nobody let it run in the primary.
    let asleep = json!({"ScheduleExpression": CRON, "State": "NOT_SCHEDULED"});
    put_crawler(&lab, "idle", &[("Schedule", asleep)]);
    put_trigger(
        &lab,
        "crawls",
        "SCHEDULED",
        json!([{"CrawlerName": "orders"}]),
    );
    put_trigger(
        &lab,
        "follows",
        "CONDITIONAL",
        json!([{"CrawlerName": "items"}]),
    );
    put_trigger(
        &lab,
        "by_hand",
        "ON_DEMAND",
        json!([{"CrawlerName": "items"}]),
    );
    for tools in [&lab.primary, &lab.standby] {
        tools.put_job("plain", None);
        tools.put_job("kept", Some("job-bookmark-enable"));
        tools.put_job("paused", Some("job-bookmark-pause"));
        tools.put_job("disabled", Some("job-bookmark-disable"));
    }
    let job = |name: &str| json!([{"CrawlerName": "orders"}, {"JobName": name}]);
    put_trigger(&lab, "plain_job", "SCHEDULED", job("plain"));
    put_trigger(&lab, "disabled_job", "SCHEDULED", job("disabled"));
    put_trigger(&lab, "kept_job", "SCHEDULED", job("kept"));
    put_trigger(&lab, "paused_job", "SCHEDULED", job("paused"));
    let arguments = |option: &str| json!({"--job-bookmark-option": option});
    let with = |job: &str, option: &str| json!([{"JobName": job, "Arguments": arguments(option)}]);
    put_trigger(
        &lab,
        "enabling",
        "SCHEDULED",
        with("plain", "job-bookmark-enable"),
    );
    put_trigger(
        &lab,
        "disabling",
        "SCHEDULED",
        with("kept", "job-bookmark-disable"),
    );
    let outcome = lab.resync();
    assert!(outcome.is_done(), "{outcome:#?}");
    let _ = lab.standby.take_writes();
    let pair = Pair::in_sync();
    for (id, (row, _)) in ready(lab.ledger.documents("query_rows")).unwrap() {
        let ledger = &pair.india.ledger;
        let stored = ledger.put_document("query_rows", &id, Some(&row), None);
        assert!(ready(stored).unwrap());
    }
    (lab, pair)
}

pub(super) fn both() -> BTreeSet<QueryKind> {
    [QueryKind::Crawler, QueryKind::Trigger].into()
}

pub(super) fn woken(
    lab: &Lab,
    pair: &Pair,
    wanted: &BTreeSet<QueryKind>,
) -> BTreeMap<QueryKind, WakeRecord> {
    let site = pair.harness.policy.sites.find(pair.india.name).unwrap();
    let at = (&*pair.india.ledger, &pair.harness.sim);
    ready(wake(&lab.standby, at, site, wanted, &())).unwrap()
}

pub(super) fn awake(lab: &Lab) -> BTreeSet<String> {
    let objects = lab.standby.objects();
    let awake = objects.values().filter(|object| object.is_awake());
    awake.map(|object| object.key.id.clone()).collect()
}

const WOKEN: [&str; 7] = [
    "crawls",
    "disabled_job",
    "disabling",
    "follows",
    "items",
    "orders",
    "plain_job",
];

#[test]
fn what_ran_in_the_former_primary_is_woken_and_never_a_job_with_bookmarks() {
    let (lab, pair) = before();
    assert!(awake(&lab).is_empty());
    pair.fail_over();
    let known = woken(&lab, &pair, &both());
    assert_eq!(awake(&lab), WOKEN.map(str::to_owned).into());
    let (crawlers, triggers) = (&known[&QueryKind::Crawler], &known[&QueryKind::Trigger]);
    assert_eq!((crawlers.awake, crawlers.not_awake), (2, 0));
    assert_eq!((triggers.awake, triggers.not_awake), (5, 3));
    for (name, reason) in [
        (
            "kept_job",
            "the job kept, which uses bookmarks (job-bookmark-enable)",
        ),
        (
            "paused_job",
            "the job paused, which uses bookmarks (job-bookmark-pause)",
        ),
        (
            "enabling",
            "the job plain, which uses bookmarks (job-bookmark-enable)",
        ),
    ] {
        let why = &triggers.named[name];
        assert!(why.reason.contains(reason), "{name}: {why}");
        assert!(!why.is_tried_again, "{name}");
    }
    let orders = lab.in_standby("orders");
    assert_eq!(orders.cron(), Some(CRON));
    // The journal has it, one kind after the other, and nothing is left to do.
    let journal = pair.record(&pair.india).failover.unwrap();
    assert_eq!(journal.woken, known);
    let writes = lab.standby.take_writes();
    let first_trigger = writes.iter().position(|call| call.contains("StartTrigger"));
    let last_crawler = writes
        .iter()
        .rposition(|call| call.contains("StartCrawler"));
    assert!(last_crawler < first_trigger, "{writes:?}");
    assert_eq!(writes.len(), WOKEN.len());
    assert_eq!(woken(&lab, &pair, &both()), known);
    assert!(lab.standby.take_writes().is_empty());
}

#[test]
fn nothing_is_woken_unless_it_is_named_nor_before_the_takeover_is_complete() {
    let (lab, pair) = before();
    let record = pair.record(&pair.india);
    let site = pair.harness.policy.sites.find(pair.india.name).unwrap();
    assert!(
        kinds_to_wake(&record, site, &both()).is_empty(),
        "the standby"
    );
    assert!(woken(&lab, &pair, &both()).is_empty());
    pair.fail_over();
    assert!(woken(&lab, &pair, &BTreeSet::new()).is_empty());
    assert!(awake(&lab).is_empty());
    woken(&lab, &pair, &[QueryKind::Crawler].into());
    assert_eq!(awake(&lab), ["items", "orders"].map(str::to_owned).into());
    // The other kind, later.
    woken(&lab, &pair, &both());
    assert_eq!(awake(&lab).len(), WOKEN.len());
}

#[test]
fn what_failed_or_is_unknown_is_told_and_tried_again_and_what_somebody_stopped_is_not() {
    for (call, kind, text) in [
        ("StartCrawlerSchedule", CallErrorKind::Denied, "not woken"),
        (
            "StartCrawlerSchedule",
            CallErrorKind::Unavailable,
            "unknown whether",
        ),
        ("ListCrawler", CallErrorKind::Denied, "unknown whether"),
        ("GetCrawler", CallErrorKind::Denied, "unknown whether"),
    ] {
        let at = format!("{call} {kind:?}");
        let (lab, pair) = before();
        pair.fail_over();
        lab.standby.fail(call, kind, usize::MAX);
        let record = woken(&lab, &pair, &both())[&QueryKind::Crawler].clone();
        assert_eq!((record.awake, record.not_awake), (0, 2), "{at}");
        let why = &record.named["orders"];
        assert!(
            why.is_tried_again && why.reason.contains(text),
            "{at}: {why}"
        );
        lab.standby.fail(call, kind, 0);
        // Somebody has stopped a trigger that was woken: it stays asleep.
        let mut stopped = lab.in_standby("crawls");
        stopped
            .fields
            .insert("State".to_owned(), json!("DEACTIVATED"));
        lab.standby.put(stopped);
        let record = woken(&lab, &pair, &both())[&QueryKind::Crawler].clone();
        assert_eq!((record.awake, record.not_awake), (2, 0), "{at}");
        assert!(!lab.in_standby("crawls").is_awake(), "{at}");
    }
}

#[test]
fn a_start_that_has_no_effect_or_whose_answer_is_lost_is_proved_by_reading() {
    let (lab, pair) = before();
    pair.fail_over();
    lab.standby.keep_asleep(&trigger("crawls"));
    // That of the first one, which has no effect, and that of the second one, which has.
    lab.standby.lose_answers("StartTrigger", 2);
    let triggers = woken(&lab, &pair, &both())[&QueryKind::Trigger].clone();
    let unknown = triggers.named.values().filter(|one| one.is_tried_again);
    assert_eq!(unknown.count(), 1, "{triggers:?}");
    let again = woken(&lab, &pair, &both())[&QueryKind::Trigger].clone();
    let why = &again.named["crawls"];
    assert!(why.reason.contains("not shown as started"), "{why}");
    assert!(lab.in_standby("follows").is_awake());
    assert!(!again.is_final());
}

#[test]
fn what_somebody_replaced_or_removed_and_jobs_that_are_not_known_stay_asleep() {
    let (lab, pair) = before();
    pair.fail_over();
    let orders = lab.in_standby("orders");
    lab.standby.remove(&orders.key);
    lab.standby.put(QueryObject {
        created: None,
        ..orders
    });
    lab.standby.remove(&crawler("items"));
    lab.standby
        .fail("GetJob", CallErrorKind::Denied, usize::MAX);
    let known = woken(&lab, &pair, &both());
    let named = |kind: QueryKind, name: &str| known[&kind].named[name].reason.clone();
    assert!(named(QueryKind::Crawler, "orders").contains("changed or replaced"));
    assert!(named(QueryKind::Crawler, "items").contains("not there any more"));
    assert!(named(QueryKind::Trigger, "plain_job").contains("could not be read"));
    // An argument of the job that no trigger overrides may be one for bookmarks.
    assert!(named(QueryKind::Trigger, "disabling").contains("could not be read"));
    assert_eq!(awake(&lab), ["crawls", "follows"].map(str::to_owned).into());
}

#[test]
fn what_was_woken_sleeps_again_in_the_region_that_becomes_the_standby() {
    let (lab, pair) = before();
    pair.fail_over();
    woken(&lab, &pair, &both());
    pair.accept(&pair.compare()).unwrap().unwrap();
    let epoch = pair.record(&pair.india).epoch;
    let follow = |primary, standby, ledger, epoch| {
        lab.clock.0.set(lab.clock.0.get() + 7200);
        let context = QueryToolsContext {
            primary,
            standby,
            ledger,
            epoch,
            ..lab.context()
        };
        ready(reconcile_query(&context)).unwrap();
    };
    follow(&lab.standby, &lab.primary, &*pair.us.ledger, epoch);
    let all = lab.primary.objects();
    assert!(
        !all.values().any(QueryObject::is_awake),
        "the former primary sleeps"
    );
    assert_eq!(awake(&lab).len(), WOKEN.len(), "the new one stays awake");
    // Back: what was woken there sleeps again with the first resync.
    pair.settle(&pair.india, &pair.us, epoch);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(&pair.us);
    let request = pair.request(&pair.india);
    let back = pair.switch_with((&pair.us, &pair.india), &request, &());
    assert_eq!(back.unwrap().unwrap().unwrap().not_handed_over, None);
    let epoch = pair.record(&pair.us).epoch;
    follow(&lab.primary, &lab.standby, &*pair.india.ledger, epoch);
    assert!(awake(&lab).is_empty(), "{:?}", awake(&lab));
}

/// Reconciles the query tools two hours later, as the standby's resync does.
fn follow(
    lab: &Lab,
    (primary, standby): (&SimQueryTools, &SimQueryTools),
    (from, to): (&PairRegion, &PairRegion),
    pair: &Pair,
) -> QueryToolsOutcome {
    lab.clock.0.set(lab.clock.0.get() + 7200);
    let context = QueryToolsContext {
        primary,
        standby,
        ledger: &*to.ledger,
        epoch: pair.record(from).epoch,
        ..lab.context()
    };
    ready(reconcile_query(&context)).unwrap()
}

/// Switches from one Region to the other.
fn switch(pair: &Pair, from: &PairRegion, to: &PairRegion) {
    pair.settle(from, to, pair.record(from).epoch);
    pair.harness.sim.state().advance_secs(600);
    pair.beat(to);
    let request = pair.request(from);
    let done = pair.switch_with((to, from), &request, &());
    assert_eq!(done.unwrap().unwrap().unwrap().not_handed_over, None);
}

/// Two Regions after a takeover: the former primary follows the new one.
fn taken_over() -> (Lab, Pair) {
    let (lab, pair) = before();
    pair.fail_over();
    pair.accept(&pair.compare()).unwrap().unwrap();
    follow(
        &lab,
        (&lab.standby, &lab.primary),
        (&pair.india, &pair.us),
        &pair,
    );
    (lab, pair)
}

fn set(tools: &SimQueryTools, key: &ObjectKey, fields: &[(&str, Value)]) {
    let mut object = tools.objects()[key].clone();
    for (name, value) in fields {
        object.fields.insert((*name).to_owned(), value.clone());
    }
    tools.put(object);
}

fn is_awake(tools: &SimQueryTools, key: &ObjectKey) -> bool {
    tools.objects()[key].is_awake()
}

#[test]
fn what_was_edited_and_woken_in_a_region_sleeps_when_that_is_the_standby_again() {
    let (lab, pair) = taken_over();
    let Pair { us, india, .. } = &pair;
    switch(&pair, india, us);
    // A person wakes it there, and edits it; the other Region gets the change.
    let crawls = trigger("crawls");
    let later = ("Schedule", json!("cron(0 2 * * ? *)"));
    set(
        &lab.primary,
        &crawls,
        &[("State", json!("ACTIVATED")), later],
    );
    let outcome = follow(&lab, (&lab.primary, &lab.standby), (us, india), &pair);
    assert!(outcome.is_done(), "{outcome:#?}");
    assert_eq!(
        lab.in_standby("crawls").text("Schedule"),
        Some("cron(0 2 * * ? *)")
    );
    switch(&pair, us, india);
    assert!(is_awake(&lab.primary, &crawls));
    // The new primary goes on changing it.
    set(&lab.standby, &crawls, &[("Description", json!("new"))]);
    let outcome = follow(&lab, (&lab.standby, &lab.primary), (india, us), &pair);
    assert!(!is_awake(&lab.primary, &crawls), "{outcome:#?}");
    assert!(outcome.is_done(), "{outcome:#?}");
    let now = lab.primary.objects()[&crawls].clone();
    assert_eq!(now.text("Description"), Some("new"));
}

#[test]
fn what_did_not_run_in_the_former_primary_stays_asleep() {
    let orders = crawler("orders");
    let paused = json!({"ScheduleExpression": CRON, "State": "NOT_SCHEDULED"});
    for retires in [true, false] {
        let (lab, pair) = taken_over();
        let Pair { us, india, .. } = &pair;
        if retires {
            // It was woken in the new primary, and a person ended its schedule there.
            woken(&lab, &pair, &both());
            let after = || follow(&lab, (&lab.standby, &lab.primary), (india, us), &pair);
            let _ = after();
            set(&lab.standby, &orders, &[("Schedule", paused.clone())]);
            let _ = after();
        }
        switch(&pair, india, us);
        let outcome = follow(&lab, (&lab.primary, &lab.standby), (us, india), &pair);
        assert!(awake(&lab).is_empty(), "{outcome:#?}");
        // While that one was the primary, nobody has woken it there.
        switch(&pair, us, india);
        woken(&lab, &pair, &both());
        assert!(
            !awake(&lab).contains("orders"),
            "{retires}: {:?}",
            awake(&lab)
        );
    }
}

#[test]
fn what_ran_one_switch_earlier_is_named_and_not_woken_by_the_command() {
    let (lab, pair) = taken_over();
    let Pair { us, india, .. } = &pair;
    // Nothing was woken in the new primary.
    switch(&pair, india, us);
    let site = pair.harness.policy.sites.find(us.name).unwrap();
    let at = (&*us.ledger, &pair.harness.sim);
    let known = ready(wake(&lab.primary, at, site, &both(), &())).unwrap();
    assert!(!is_awake(&lab.primary, &crawler("orders")));
    let why = &known[&QueryKind::Crawler].named["orders"];
    assert!(
        why.reason
            .contains("not seen to run by itself in the former primary"),
        "{why}"
    );
    assert!(!why.is_tried_again);
}

#[test]
fn a_crawler_that_was_changed_in_the_former_primary_sleeps_as_well() {
    let (lab, pair) = before();
    pair.fail_over();
    set(
        &lab.primary,
        &crawler("orders"),
        &[("TablePrefix", json!("t_"))],
    );
    pair.accept(&pair.compare()).unwrap().unwrap();
    let (us, india) = (&pair.us, &pair.india);
    let outcome = follow(&lab, (&lab.standby, &lab.primary), (india, us), &pair);
    assert!(!is_awake(&lab.primary, &crawler("orders")), "{outcome:#?}");
    // What was changed there stays, and is told.
    let told = findings(&outcome, FindingKind::Unmanaged);
    assert!(
        told.iter().any(|one| one.contains("crawler orders")),
        "{told:?}"
    );
    assert_eq!(
        lab.primary.objects()[&crawler("orders")].text("TablePrefix"),
        Some("t_")
    );
}

#[test]
fn what_was_never_replicated_and_runs_on_in_the_former_primary_is_told() {
    let (lab, pair) = before();
    let targets = |path: &str| json!({"S3Targets": [{"Path": path}]});
    let jdbc = json!({"JdbcTargets": [{"ConnectionName": "db", "Path": "a/%"}]});
    put_crawler(&lab, "jdbc", &[("Targets", jdbc.clone())]);
    put_crawler(&lab, "unmapped", &[("Targets", targets("s3://elsewhere/"))]);
    let event = json!([{"CrawlerName": "orders"}]);
    put_trigger(&lab, "event", "EVENT", event);
    // One of somebody in the standby is a note before any takeover.
    let mut theirs = object(crawler("theirs"), json!({"Targets": jdbc, "Role": "crawl"}));
    let schedule = json!({"ScheduleExpression": CRON, "State": "SCHEDULED"});
    theirs.fields.insert("Schedule".to_owned(), schedule);
    lab.standby.put(theirs);
    let outcome = lab.resync();
    let told = [FindingKind::Note, FindingKind::Unmanaged].map(|kind| findings(&outcome, kind));
    let told = told.concat().join("\n");
    assert!(told.contains("crawler theirs: it runs by itself"), "{told}");
    pair.fail_over();
    pair.accept(&pair.compare()).unwrap().unwrap();
    let (us, india) = (&pair.us, &pair.india);
    let outcome = follow(&lab, (&lab.standby, &lab.primary), (india, us), &pair);
    let told = findings(&outcome, FindingKind::Unmanaged);
    for name in ["crawler jdbc", "crawler unmapped", "trigger event"] {
        let is_it = |one: &String| one.starts_with(name) && one.contains("runs by itself");
        assert!(told.iter().any(is_it), "{name}: {told:#?}");
    }
    // So nothing is woken that writes beside them.
    let context = QueryToolsContext {
        primary: &lab.standby,
        standby: &lab.primary,
        ledger: &*us.ledger,
        epoch: pair.record(india).epoch,
        ..lab.context()
    };
    let (plan, _) = ready(preview_query(&context)).unwrap();
    let names: Vec<&str> = plan.awake.iter().map(|key| key.id.as_str()).collect();
    assert_eq!(names, ["jdbc", "unmapped", "event"]);
}

#[test]
fn a_tool_that_the_new_primary_deleted_is_not_forgotten_while_it_runs() {
    let (lab, pair) = before();
    pair.fail_over();
    lab.standby.remove(&crawler("items"));
    lab.standby.remove(&trigger("follows"));
    pair.accept(&pair.compare()).unwrap().unwrap();
    let (us, india) = (&pair.us, &pair.india);
    let after = || follow(&lab, (&lab.standby, &lab.primary), (india, us), &pair);
    for call in ["StopCrawlerSchedule", "StopTrigger"] {
        lab.primary.fail(call, CallErrorKind::Contended, usize::MAX);
    }
    for _ in 0..2 {
        let outcome = after();
        let failed = outcome.failed.iter().map(|(step, _)| step.primary());
        let failed: BTreeSet<&ObjectKey> = failed.collect();
        assert!(failed.contains(&crawler("items")), "{outcome:#?}");
        assert!(failed.contains(&trigger("follows")), "{outcome:#?}");
        assert!(is_awake(&lab.primary, &crawler("items")));
    }
    for call in ["StopCrawlerSchedule", "StopTrigger"] {
        lab.primary.fail(call, CallErrorKind::Contended, 0);
    }
    let _ = after();
    for key in [crawler("items"), trigger("follows")] {
        assert!(!is_awake(&lab.primary, &key), "{key}");
    }
    let site = pair.harness.policy.sites.find(india.name).unwrap();
    let (rows, _) = ready(read_query_ledger(&*us.ledger, site)).unwrap();
    assert!(
        !rows.contains_key(&crawler("items")),
        "asleep, it is forgotten"
    );
}
