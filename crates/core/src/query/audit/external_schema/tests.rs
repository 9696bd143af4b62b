use crate::audit::AuditRule;
use crate::policy::Policy;
use crate::query::audit::{QueryDeletionBudget, audit_query};
use crate::query::plan::{QueryInputs, QueryStep, plan_query};
use crate::query::row::QueryRows;
use crate::query::rules::QueryKind;
use crate::query::snapshot::QuerySnapshot;
use crate::query::{ObjectKey, QueryObject};
use crate::snapshot::Observation;
use crate::timestamp::Timestamp;
use crate::topology::Epoch;
use serde_json::json;
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
    let (rows, held) = (QueryRows::new(), BTreeMap::new());
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
