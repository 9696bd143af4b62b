use crate::audit::AuditRule;
use crate::policy::Policy;
use crate::query::audit::{QueryDeletionBudget, audit_query};
use crate::query::plan::{HeldObjects, QueryInputs, QueryPlan, QueryStep, plan_query};
use crate::query::row::{QueryRow, QueryRows};
use crate::query::rules::QueryKind;
use crate::query::snapshot::QuerySnapshot;
use crate::query::{ObjectKey, QueryObject};
use crate::snapshot::Observation;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde_json::json;

const POLICY: &str = r#"
[[region]]
id = "a"
region = "us-east-1"
account = "111122223333"
[[region]]
id = "b"
region = "ap-south-1"
account = "111122223333"
[[principal]]
a = "arn:aws:iam::111122223333:role/us"
b = "arn:aws:iam::111122223333:role/in"
[query]
[[query.warehouse]]
name = "w"
a = { workgroup = "w", database = "dev" }
b = { workgroup = "w", database = "dev" }
"#;

/// The rule that a plan breaks that creates a schema, once its object was changed.
fn broken(change: impl FnOnce(&mut QueryObject)) -> Option<AuditRule> {
    let policy = Policy::parse(POLICY).unwrap();
    let listing = (QueryKind::ExternalSchema, Some("w".to_owned()));
    let mut primary = QuerySnapshot::default();
    primary.listings.insert(listing.clone(), Ok(()));
    let mut standby = QuerySnapshot::default();
    standby.listings.insert(listing, Ok(()));
    let key = ObjectKey::within(QueryKind::ExternalSchema, "w", "s");
    let fields = json!({"Kind": "Data Catalog", "Database": "sales", "Region": "us-east-1", "Owner": "etl",
        "IamRole": "arn:aws:iam::111122223333:role/us,arn:aws:iam::111122223333:role/x",
        "Grants": [{"Type": "user", "Grantee": "anna"}]});
    let fields = serde_json::from_value(fields).unwrap();
    let object = QueryObject::normalized(key.clone(), fields);
    primary.objects.insert(key, Observation::Present(object));
    let (rows, held) = (QueryRows::new(), HeldObjects::new());
    let inputs = QueryInputs {
        primary: &primary,
        standby: &standby,
        rows: &rows,
        policy: &policy,
        query: policy.query.as_ref().unwrap(),
        epoch: Epoch::INITIAL,
        held: &held,
        run: (Timestamp::default(), 1),
    };
    let mut plan = plan_query(&inputs);
    let [QueryStep::Create { object, .. }] = plan.steps.as_mut_slice() else {
        panic!("{plan:#?}");
    };
    assert_eq!(object.text("Region"), Some("ap-south-1"));
    change(object);
    let audited = audit_query(&inputs, plan, &QueryDeletionBudget::default());
    audited.err().map(|rejections| rejections[0].rule)
}

#[test]
fn a_schema_of_another_region_role_owner_or_grant_is_refused() {
    assert_eq!(broken(|_| {}), None);
    for (field, value) in [
        ("Region", json!("us-east-1")),
        ("Region", json!("eu-west-1")),
        ("Database", json!("hr")),
        ("Owner", json!("anna")),
        ("Grants", json!([{"Type": "public"}])),
        (
            "Unread",
            json!({"Owner": "its owner has no name in pg_user"}),
        ),
        ("OtherOptions", json!(["URI"])),
        ("IamRole", json!("arn:aws:iam::111122223333:role/in")),
        (
            "IamRole",
            json!("arn:aws:iam::111122223333:role/us,arn:aws:iam::111122223333:role/x"),
        ),
        ("CatalogRole", json!("arn:aws:iam::111122223333:role/x")),
    ] {
        let rule = broken(|object| {
            object.fields.insert(field.to_owned(), value.clone());
        });
        assert_eq!(rule, Some(AuditRule::Altered), "{field}: {value}");
    }
}

/// The rules that the plan for a paired schema breaks after a change; the standby's gives more than the primary's.
fn narrowing_breaks(change: impl FnOnce(&mut QueryPlan)) -> Vec<AuditRule> {
    let policy = Policy::parse(POLICY).unwrap();
    let key = ObjectKey::within(QueryKind::ExternalSchema, "w", "s");
    let schema = |region: &str, role: &str, owner: &str, grantees: &[&str]| {
        let grants = grantees
            .iter()
            .map(|name| json!({"Type": "user", "Grantee": name}));
        let grants: Vec<_> = grants.collect();
        let fields = json!({"Kind": "Data Catalog", "Database": "sales", "Region": region, "Owner": owner,
            "IamRole": format!("arn:aws:iam::111122223333:role/{role}"), "Grants": grants});
        let fields = serde_json::from_value(fields).unwrap();
        let mut object = QueryObject::normalized(key.clone(), fields);
        object.created = Some(Timestamp::from_secs(7));
        object
    };
    let there = schema("us-east-1", "us", "etl", &["anna", "zoe"]);
    let found = schema("ap-south-1", "old", "ben", &["anna", "carl"]);
    let listing = (QueryKind::ExternalSchema, Some("w".to_owned()));
    let [mut primary, mut standby] = [QuerySnapshot::default(), QuerySnapshot::default()];
    for (snapshot, object) in [(&mut primary, &there), (&mut standby, &found)] {
        snapshot.listings.insert(listing.clone(), Ok(()));
        let observation = Observation::Present(object.clone());
        snapshot.objects.insert(key.clone(), observation);
    }
    let mut row = QueryRow::new(Epoch::INITIAL, &key, "", Timestamp::default());
    row.pair(Epoch::INITIAL, &there, &found);
    let (rows, held) = (QueryRows::from([(key, row)]), HeldObjects::new());
    let inputs = QueryInputs {
        primary: &primary,
        standby: &standby,
        rows: &rows,
        policy: &policy,
        query: policy.query.as_ref().unwrap(),
        epoch: Epoch::INITIAL,
        held: &held,
        run: (Timestamp::default(), 1),
    };
    let mut plan = plan_query(&inputs);
    assert!(
        matches!(
            plan.steps.as_slice(),
            [QueryStep::Narrow { .. }, QueryStep::Update { .. }]
        ),
        "{plan:#?}"
    );
    change(&mut plan);
    let audited = audit_query(&inputs, plan, &QueryDeletionBudget::default());
    let rejections = audited.err().unwrap_or_default();
    rejections.into_iter().map(|one| one.rule).collect()
}

#[test]
fn what_narrows_takes_away_and_does_nothing_else_and_comes_first() {
    type Change = (&'static str, serde_json::Value);
    let with = |(field, value): Change| {
        narrowing_breaks(|plan| {
            if let QueryStep::Narrow { object, .. } = &mut plan.steps[0] {
                object.fields.insert(field.to_owned(), value);
            }
        })
    };
    assert!(narrowing_breaks(|_| {}).is_empty());
    let grant = |name: &str| json!({"Type": "user", "Grantee": name});
    for mutant in [
        ("Grants", json!([grant("anna"), grant("zoe")])),
        ("Grants", json!([])),
        ("Owner", json!("etl")),
        ("IamRole", json!("arn:aws:iam::111122223333:role/in")),
        ("Database", json!("hr")),
    ] {
        assert_eq!(with(mutant.clone()), [AuditRule::Altered], "{mutant:?}");
    }
    let without = narrowing_breaks(|plan| drop(plan.steps.remove(0)));
    assert_eq!(without, [AuditRule::Order]);
    let last = narrowing_breaks(|plan| plan.steps.reverse());
    assert_eq!(last, [AuditRule::Order]);
    let another = narrowing_breaks(|plan| {
        if let QueryStep::Narrow { current, .. } = &mut plan.steps[0] {
            current.created = Some(Timestamp::from_secs(8));
        }
    });
    assert_eq!(another, [AuditRule::NotManaged]);
}
