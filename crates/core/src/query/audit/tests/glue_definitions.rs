//! What others name: security configurations.

use super::*;

/// A security configuration and its encryption key.
fn security(name: &str, key: &str) -> QueryObject {
    let content = json!({"EncryptionConfiguration": {
        "S3Encryption": [{"S3EncryptionMode": "SSE-KMS", "KmsKeyArn": key}]}});
    object(
        ObjectKey::new(QueryKind::SecurityConfiguration, name),
        content,
    )
}

fn world(primary: Vec<QueryObject>, standby: Vec<QueryObject>) -> World {
    let mut rows = QueryRows::new();
    for found in &standby {
        let mut row = QueryRow::new(Epoch::INITIAL, &found.key, "", Timestamp::default());
        row.pair(Epoch::INITIAL, found, found);
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

/// The plan with what it creates changed.
fn changed(world: &World, change: impl Fn(&mut QueryObject)) -> QueryPlan {
    let mut plan = world.plan();
    for step in &mut plan.steps {
        if let QueryStep::Create { object, .. } = step {
            change(object);
        }
    }
    plan
}

#[test]
fn the_audit_accepts_the_keys_of_pairs_alone() {
    let world = world(vec![security("sse", "key-us")], vec![]);
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1, "{plan:#?}");
    assert_eq!(world.rules(plan), BTreeSet::new());
    let of_others = [
        "key-us",
        "key-other",
        "arn:aws:kms:us-east-1:111122223333:key/key-in",
        "arn:aws:kms:ap-south-1:444455556666:key/key-in",
        "arn:aws:kms:ap-south-1:111122223333:alias/key-in",
        "arn:aws:kms:ap-south-1:111122223333:key/key-us",
    ];
    for key in of_others {
        let plan = changed(&world, |object| *object = security("sse", key));
        assert_eq!(world.rules(plan), [AuditRule::Altered].into(), "{key}");
    }
    // A key that a pair names by its id may be named by its ARN.
    let arn = "arn:aws:kms:ap-south-1:111122223333:key/key-in";
    let plan = changed(&world, |object| *object = security("sse", arn));
    assert_eq!(world.rules(plan), BTreeSet::new());
    // Another mode is no mapping.
    let plan = changed(&world, |object| {
        let content = json!({"S3Encryption": [{"KmsKeyArn": "key-in"}]});
        object
            .fields
            .insert("EncryptionConfiguration".to_owned(), content);
    });
    assert_eq!(world.rules(plan), [AuditRule::Altered].into());
}

#[test]
fn the_audit_rejects_an_update_of_what_no_call_changes() {
    let (wanted, found) = (security("sse", "key-us"), security("sse", "key-other"));
    let world = world(vec![wanted], vec![found.clone()]);
    let mut plan = world.plan();
    assert_eq!(plan.steps, [], "a difference is a finding");
    assert_eq!(plan.findings.len(), 1, "{plan:#?}");
    plan.steps.push(QueryStep::Update {
        primary: found.key.clone(),
        object: Box::new(security("sse", "key-in")),
        current: Box::new(found),
    });
    assert_eq!(world.rules(plan), [AuditRule::Altered].into());
}
