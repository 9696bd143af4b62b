/// Glue's definitions that others name.
mod glue_definitions;

use super::*;
use crate::policy::Policy;
use crate::query::object::Fields;
use crate::query::plan::{HeldObjects, plan_query};
use crate::query::row::{QueryRow, QueryRows};
use crate::query::snapshot::QuerySnapshot;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const POLICY: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
[[location]]
a = "s3://lake-us/"
b = "s3://lake-in/"
[query]
[[query.result-location]]
a = "s3://results-us/"
b = "s3://results-in/"
[[query.kms-key]]
a = "key-us"
b = "key-in"
"#;

struct World {
    policy: Policy,
    primary: QuerySnapshot,
    standby: QuerySnapshot,
    rows: QueryRows,
    held: HeldObjects,
}

fn object(key: ObjectKey, fields: Value) -> QueryObject {
    let fields: Fields = serde_json::from_value(fields).unwrap();
    QueryObject::normalized(key, fields)
}

fn workgroup(name: &str, location: &str, key: &str) -> QueryObject {
    let result = json!({"OutputLocation": location,
        "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": key}});
    let fields = json!({"State": "ENABLED", "Configuration": {"ResultConfiguration": result,
        "EnforceWorkGroupConfiguration": true}});
    object(ObjectKey::new(QueryKind::WorkGroup, name), fields)
}

fn saved_query(id: &str, text: &str) -> QueryObject {
    let key = ObjectKey::within(QueryKind::NamedQuery, "etl", id);
    object(
        key,
        json!({"Name": "q", "Database": "sales", "QueryString": text}),
    )
}

fn snapshot(objects: Vec<QueryObject>) -> QuerySnapshot {
    let mut snapshot = QuerySnapshot::default();
    for kind in [QueryKind::WorkGroup, QueryKind::DataCatalog] {
        snapshot.listings.insert((kind, None), Ok(()));
    }
    let service_made = [
        object(
            ObjectKey::new(QueryKind::WorkGroup, "primary"),
            json!({"State": "ENABLED"}),
        ),
        object(
            ObjectKey::new(QueryKind::DataCatalog, "AwsDataCatalog"),
            json!({"Type": "GLUE"}),
        ),
    ];
    for object in objects.into_iter().chain(service_made) {
        if object.key.kind == QueryKind::WorkGroup {
            for kind in [QueryKind::NamedQuery, QueryKind::PreparedStatement] {
                snapshot
                    .listings
                    .insert((kind, Some(object.key.id.clone())), Ok(()));
            }
        }
        snapshot
            .objects
            .insert(object.key.clone(), Observation::Present(object));
    }
    snapshot
}

impl World {
    /// A workgroup to update, a saved query to create and one to delete.
    fn new() -> Self {
        let epoch = Epoch::INITIAL;
        let text = "create table t\nlocation 's3://lake-us/t/' -- s3://lake-us";
        let created = |object: QueryObject| QueryObject {
            created: Some(Timestamp::from_millis(1)),
            ..object
        };
        let primary_group = created(workgroup("etl", "s3://results-us/new/", "key-us"));
        let standby_group = created(workgroup("etl", "s3://results-in/old/", "key-in"));
        let (gone, left) = (
            saved_query("p-2", "select 2"),
            saved_query("s-2", "select 2"),
        );
        let mut rows = QueryRows::new();
        for (primary, standby) in [(&primary_group, &standby_group), (&gone, &left)] {
            let mut row = QueryRow::new(epoch, &primary.key, "", Timestamp::default());
            row.pair(epoch, primary, standby);
            rows.insert(primary.key.clone(), row);
        }
        let mut primary = snapshot(vec![primary_group, saved_query("p-1", text)]);
        let missing = crate::call_error::CallError::new(
            crate::call_error::CallErrorKind::NotFound,
            "GetNamedQuery",
            "us-east-1",
            "not found",
        );
        primary.record_read(&gone.key, Err(missing), (&rows, epoch.primary()));
        Self {
            policy: Policy::parse(POLICY).unwrap(),
            primary,
            standby: snapshot(vec![standby_group, left]),
            rows,
            held: HeldObjects::new(),
        }
    }

    fn inputs(&self) -> QueryInputs<'_> {
        QueryInputs {
            primary: &self.primary,
            standby: &self.standby,
            rows: &self.rows,
            policy: &self.policy,
            query: self.policy.query.as_ref().unwrap(),
            epoch: Epoch::INITIAL,
            held: &self.held,
            run: (Timestamp::default(), 1),
        }
    }

    fn plan(&self) -> QueryPlan {
        plan_query(&self.inputs())
    }

    fn rules(&self, plan: QueryPlan) -> BTreeSet<AuditRule> {
        let budget = QueryDeletionBudget::default();
        match audit_query(&self.inputs(), plan, &budget) {
            Ok(_) => BTreeSet::new(),
            Err(rejections) => rejections.into_iter().map(|one| one.rule).collect(),
        }
    }
}

/// Changes the text field of the step that writes an object of a kind.
fn rewrite(plan: &mut QueryPlan, kind: QueryKind, pointer: &str, value: Value) {
    for step in &mut plan.steps {
        let object = match step {
            QueryStep::Create { object, .. } | QueryStep::Update { object, .. } => object,
            QueryStep::SetTags { .. }
            | QueryStep::Narrow { .. }
            | QueryStep::Sleep { .. }
            | QueryStep::Delete { .. } => {
                continue;
            }
        };
        if object.key.kind == kind {
            let mut fields = serde_json::to_value(&object.fields).unwrap();
            *fields.pointer_mut(pointer).unwrap() = value.clone();
            object.fields = serde_json::from_value(fields).unwrap();
        }
    }
}

#[test]
fn the_audit_accepts_what_the_planner_plans() {
    let world = World::new();
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 3, "{plan:#?}");
    assert_eq!(plan.needs, BTreeSet::new());
    assert_eq!(world.rules(plan), BTreeSet::new());
}

#[test]
fn the_audit_rejects_content_that_names_the_primary_or_differs() {
    let world = World::new();
    let group = QueryKind::WorkGroup;
    let query = QueryKind::NamedQuery;
    let result = "/Configuration/ResultConfiguration";
    let mutants = [
        (
            group,
            format!("{result}/OutputLocation"),
            json!("s3://results-us/new/"),
        ),
        (
            group,
            format!("{result}/OutputLocation"),
            json!("s3://elsewhere/"),
        ),
        (
            group,
            format!("{result}/EncryptionConfiguration/KmsKey"),
            json!("key-us"),
        ),
        (
            group,
            format!("{result}/EncryptionConfiguration/KmsKey"),
            json!("key-of-others"),
        ),
        (
            group,
            format!("{result}/EncryptionConfiguration/EncryptionOption"),
            json!("SSE_S3"),
        ),
        (
            group,
            "/Configuration/EnforceWorkGroupConfiguration".to_owned(),
            json!(false),
        ),
        (group, "/State".to_owned(), json!("DISABLED")),
        (
            query,
            "/QueryString".to_owned(),
            json!("create table t\nlocation 's3://lake-us/t/' -- s3://lake-us"),
        ),
        (
            query,
            "/QueryString".to_owned(),
            json!("create table t\nlocation 'S3://lake-us/t/' -- s3://lake-us"),
        ),
        (
            query,
            "/QueryString".to_owned(),
            json!("create table u\nlocation 's3://lake-in/t/' -- s3://lake-us"),
        ),
        (
            query,
            "/QueryString".to_owned(),
            json!("create table t\nlocation 's3a://other/t/' -- s3://lake-us"),
        ),
        (query, "/Database".to_owned(), json!("other")),
        (query, "/Name".to_owned(), json!("other")),
    ];
    for (kind, pointer, value) in mutants {
        let mut plan = world.plan();
        rewrite(&mut plan, kind, &pointer, value.clone());
        assert_eq!(
            world.rules(plan),
            [AuditRule::Altered].into(),
            "{pointer} {value}"
        );
    }
}

#[test]
fn the_audit_rejects_what_is_not_managed_or_not_proven() {
    let world = World::new();
    // No row pairs the workgroup: it would change somebody else's.
    let mut unpaired = World::new();
    unpaired
        .rows
        .remove(&ObjectKey::new(QueryKind::WorkGroup, "etl"));
    assert_eq!(unpaired.rules(world.plan()), [AuditRule::NotManaged].into());
    // The deleted query is there after all, or could not be read, or its proof has a gap.
    let gone = ObjectKey::within(QueryKind::NamedQuery, "etl", "p-2");
    let mut present = World::new();
    let there = Observation::Present(saved_query("p-2", "select 2"));
    present.primary.objects.insert(gone.clone(), there);
    assert_eq!(present.rules(world.plan()), [AuditRule::Unproven].into());
    let mut unread = World::new();
    unread.primary.objects.remove(&gone);
    assert_eq!(unread.rules(world.plan()), [AuditRule::Unproven].into());
    // What would be created exists, or the standby was not listed.
    let mut unlisted = World::new();
    unlisted
        .standby
        .listings
        .remove(&(QueryKind::NamedQuery, Some("etl".to_owned())));
    assert_eq!(unlisted.rules(world.plan()), [AuditRule::Unproven].into());
    let mut exists = World::new();
    let same = saved_query("p-1", "select 1");
    exists
        .standby
        .objects
        .insert(same.key.clone(), Observation::Present(same));
    assert_eq!(exists.rules(world.plan()), [AuditRule::NotManaged].into());
    // Another policy.
    let mut other = World::new();
    other.policy = Policy::parse(&format!("deletions = \"retain\"\n{POLICY}")).unwrap();
    assert!(
        other
            .rules(world.plan())
            .contains(&AuditRule::OtherPolicyOrEpoch)
    );
}

#[test]
fn the_audit_never_lets_what_aws_makes_be_deleted() {
    let mut world = World::new();
    for key in [
        ObjectKey::new(QueryKind::WorkGroup, "primary"),
        ObjectKey::new(QueryKind::DataCatalog, "AwsDataCatalog"),
    ] {
        let found = world.standby.present(&key).unwrap().clone();
        let mut row = QueryRow::new(Epoch::INITIAL, &key, "", Timestamp::default());
        row.pair(Epoch::INITIAL, &found, &found);
        world.rows.insert(key.clone(), row);
        let mut plan = world.plan();
        plan.steps = vec![QueryStep::Delete {
            primary: key,
            current: Box::new(found),
        }];
        assert_eq!(world.rules(plan), [AuditRule::NotManaged].into());
    }
}

#[test]
fn the_audit_counts_deletions_against_the_limit_by_kind() {
    let text = format!("deletion-limit = {{ fraction = 0.0, minimum = 0 }}\n{POLICY}");
    let world = World {
        policy: Policy::parse(&text).unwrap(),
        ..World::new()
    };
    assert_eq!(world.rules(world.plan()), [AuditRule::DeletionLimit].into());
    let gone = ObjectKey::within(QueryKind::NamedQuery, "etl", "p-2");
    let budget = QueryDeletionBudget {
        approved: [gone].into(),
        ..QueryDeletionBudget::default()
    };
    assert!(audit_query(&world.inputs(), world.plan(), &budget).is_ok());
}

#[test]
fn the_audit_rejects_contents_before_their_workgroup() {
    let mut world = World::new();
    world.rows.clear();
    world.standby = snapshot(Vec::new());
    let mut plan = world.plan();
    assert_eq!(plan.steps.len(), 2, "{plan:#?}");
    assert_eq!(world.rules(plan.clone()), BTreeSet::new());
    plan.steps.reverse();
    assert_eq!(world.rules(plan), [AuditRule::Order].into());
}

/// Changes an object of a snapshot.
fn change(snapshot: &mut QuerySnapshot, key: &ObjectKey, change: impl FnOnce(&mut QueryObject)) {
    let Some(Observation::Present(object)) = snapshot.objects.get_mut(key) else {
        panic!("{key}");
    };
    change(object);
}

fn tags(tags: &[(&str, &str)]) -> Option<BTreeMap<String, String>> {
    let tags = tags.iter();
    Some(
        tags.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    )
}

#[test]
fn the_audit_lets_tags_become_only_those_of_the_primary() {
    let mut world = World::new();
    let etl = ObjectKey::new(QueryKind::WorkGroup, "etl");
    change(&mut world.primary, &etl, |object| {
        object.tags = tags(&[("team", "a")]);
    });
    change(&mut world.standby, &etl, |object| {
        object.tags = tags(&[("team", "b"), ("restricted", "true")]);
    });
    assert_eq!(world.rules(world.plan()), BTreeSet::new());
    type Mutant = fn(&mut BTreeMap<String, String>, &mut BTreeSet<String>);
    let mutants: [Mutant; 4] = [
        |set, _| set.clear(),
        |_, remove| remove.clear(),
        |set, _| {
            set.insert("more".to_owned(), "x".to_owned());
        },
        |_, remove| {
            remove.insert("team".to_owned());
        },
    ];
    for mutant in mutants {
        let mut plan = world.plan();
        for step in &mut plan.steps {
            if let QueryStep::SetTags { set, remove, .. } = step {
                mutant(set, remove);
            }
        }
        assert_eq!(world.rules(plan), [AuditRule::Altered].into());
    }
}

#[test]
fn the_audit_rejects_the_adoption_of_what_somebody_configured() {
    let key = ObjectKey::new(QueryKind::WorkGroup, "primary");
    let enforced = json!({"EnforceWorkGroupConfiguration": true});
    for (theirs, tagged, rules) in [
        (json!({}), false, BTreeSet::new()),
        (json!({}), true, BTreeSet::from([AuditRule::NotManaged])),
        (enforced, false, BTreeSet::from([AuditRule::NotManaged])),
    ] {
        let mut world = World::new();
        change(&mut world.primary, &key, |object| {
            let paid = json!({"RequesterPaysEnabled": true});
            object.fields.insert("Configuration".to_owned(), paid);
            object.tags = tags(&[]);
        });
        change(&mut world.standby, &key, |object| {
            object.fields.insert("Configuration".to_owned(), theirs);
            *object = QueryObject::normalized(key.clone(), object.fields.clone());
            object.tags = tags(match tagged {
                true => &[("restricted", "true")],
                false => &[],
            });
        });
        let mut plan = world.plan();
        assert_eq!(plan.adopted.contains_key(&key), rules.is_empty());
        plan.adopted.insert(key.clone(), key.clone());
        assert_eq!(world.rules(plan), rules);
    }
}

#[test]
fn the_audit_keeps_what_the_standby_changed_while_it_was_the_primary() {
    let etl = ObjectKey::new(QueryKind::WorkGroup, "etl");
    let mut world = World::new();
    let plan = world.plan();
    for row in world.rows.values_mut() {
        row.paired_in = Epoch::INITIAL.switched();
    }
    assert_eq!(
        world.rules(plan.clone()),
        BTreeSet::new(),
        "nothing changed"
    );
    let description = || ("Description".to_owned(), json!("changed since"));
    change(&mut world.standby, &etl, |object| {
        object.fields.extend([description()]);
    });
    assert_eq!(world.rules(plan.clone()), [AuditRule::NotManaged].into());
    let gone = saved_query("s-2", "select 2").key;
    let mut world = World::new();
    change(&mut world.standby, &gone, |object| {
        object.fields.extend([description()]);
    });
    for row in world.rows.values_mut() {
        row.paired_in = Epoch::INITIAL.switched();
    }
    assert_eq!(world.rules(plan), [AuditRule::NotManaged].into());
}

/// A crawler and a trigger to update, and of each one to create; the crawler of the standby runs by itself.
fn glue_world() -> World {
    let epoch = Epoch::INITIAL;
    let crawler = |name: &str, location: &str, more: Value| {
        let mut content = json!({"Role": "crawl", "DatabaseName": "sales",
            "Targets": {"S3Targets": [{"Path": location}]}});
        content
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        object(ObjectKey::new(QueryKind::Crawler, name), content)
    };
    let trigger = |name: &str, cron: &str, state: &str| {
        let content = json!({"Type": "SCHEDULED", "Schedule": cron, "State": state,
            "Actions": [{"CrawlerName": "old"}]});
        object(ObjectKey::new(QueryKind::Trigger, name), content)
    };
    let runs = json!({"Schedule": {"ScheduleExpression": "cron(1)", "State": "SCHEDULED"}});
    let primary = vec![
        crawler("old", "s3://lake-us/old/", runs.clone()),
        crawler("new", "s3://lake-us/new/", runs.clone()),
        trigger("old", "cron(2)", "ACTIVATED"),
        trigger("new", "cron(1)", "ACTIVATED"),
    ];
    let standby = vec![
        crawler("old", "s3://lake-in/other/", runs),
        trigger("old", "cron(1)", "CREATED"),
    ];
    let mut rows = QueryRows::new();
    for found in &standby {
        let mut row = QueryRow::new(epoch, &found.key, "", Timestamp::default());
        row.pair(epoch, found, found);
        rows.insert(found.key.clone(), row);
    }
    let [mut primary, mut standby] = [primary, standby].map(snapshot);
    for snapshot in [&mut primary, &mut standby] {
        for kind in QueryKind::GLUE_TOOLS {
            snapshot.listings.insert((kind, None), Ok(()));
        }
    }
    World {
        policy: Policy::parse(&POLICY.replace("[query]", "[query]\nglue-tools = \"copy\""))
            .unwrap(),
        primary,
        standby,
        rows,
        held: HeldObjects::new(),
    }
}

#[test]
fn the_audit_rejects_what_would_run_by_itself_or_belongs_to_the_primary() {
    let world = glue_world();
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 5, "{plan:#?}");
    assert_eq!(world.rules(plan), BTreeSet::new());
    let (crawler, trigger) = (QueryKind::Crawler, QueryKind::Trigger);
    let mutants = [
        (crawler, "Schedule", json!("cron(1)")),
        (
            crawler,
            "Schedule",
            json!({"ScheduleExpression": "cron(1)"}),
        ),
        (trigger, "State", json!("ACTIVATED")),
        (trigger, "StartOnCreation", json!(true)),
        (trigger, "Type", json!("EVENT")),
        (crawler, "Role", json!("administrator")),
        (crawler, "DatabaseName", json!("other")),
        (
            crawler,
            "Targets",
            json!({"S3Targets": [{"Path": "s3://lake-us/old/"}]}),
        ),
        (
            crawler,
            "Targets",
            json!({"S3Targets": [{"Path": "s3://elsewhere/"}]}),
        ),
        (
            crawler,
            "Targets",
            json!({"S3Targets": [{"Path": "s3://lake-in/old/",
            "EventQueueArn": "arn:aws:sqs:us-east-1:111122223333:q"}]}),
        ),
        (trigger, "Actions", json!([{"CrawlerName": "other"}])),
    ];
    for (kind, field, value) in mutants {
        let mut plan = world.plan();
        for step in &mut plan.steps {
            let object = match step {
                QueryStep::Create { object, .. } | QueryStep::Update { object, .. } => object,
                QueryStep::SetTags { .. }
                | QueryStep::Narrow { .. }
                | QueryStep::Sleep { .. }
                | QueryStep::Delete { .. } => {
                    continue;
                }
            };
            if object.key.kind == kind {
                object.fields.insert(field.to_owned(), value.clone());
            }
        }
        assert_eq!(
            world.rules(plan),
            [AuditRule::Altered].into(),
            "{field} {value}"
        );
    }
}

#[test]
fn the_audit_lets_only_what_is_paired_and_awake_be_put_to_sleep() {
    let plan = glue_world().plan();
    assert!(
        matches!(plan.steps[0], QueryStep::Sleep { .. }),
        "{plan:#?}"
    );
    let old = ObjectKey::new(QueryKind::Crawler, "old");
    let mut unpaired = glue_world();
    unpaired.rows.remove(&old);
    assert_eq!(unpaired.rules(plan.clone()), [AuditRule::NotManaged].into());
    let mut asleep = glue_world();
    if let Some(Observation::Present(found)) = asleep.standby.objects.get_mut(&old) {
        found.fields.remove("Schedule");
    }
    assert_eq!(asleep.rules(plan), [AuditRule::Altered].into());
    // One that runs by itself, and equals what is wanted, is not adopted.
    let mut foreign = glue_world();
    foreign.rows.remove(&old);
    let mut wanted = foreign.primary.present(&old).unwrap().clone();
    let text = serde_json::to_string(&wanted.fields).unwrap();
    wanted.fields = serde_json::from_str(&text.replace("lake-us", "lake-in")).unwrap();
    foreign
        .standby
        .objects
        .insert(old.clone(), Observation::Present(wanted));
    let mut plan = foreign.plan();
    assert!(!plan.adopted.contains_key(&old));
    plan.adopted.insert(old.clone(), old);
    assert_eq!(foreign.rules(plan), [AuditRule::NotManaged].into());
}
