//! What others name: security configurations, connections, jobs and workflows.

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

fn job(name: &str, bucket: &str, more: Value) -> QueryObject {
    let mut content = json!({"Role": "load", "Command": {"Name": "glueetl",
        "ScriptLocation": format!("s3://{bucket}/load.py")},
        "DefaultArguments": {"--extra-jars": format!("s3://{bucket}/a.jar,s3://{bucket}/b.jar"),
            "--day": "1"}});
    let more = more.as_object().unwrap().clone();
    content.as_object_mut().unwrap().extend(more);
    object(ObjectKey::new(QueryKind::Job, name), content)
}

#[test]
fn the_audit_rejects_jobs_that_name_the_primary_or_differ() {
    let world = world(
        vec![
            job("new", "lake-us", json!({})),
            job("old", "lake-us", json!({})),
        ],
        vec![job("old", "lake-in", json!({"Description": "of old"}))],
    );
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 2, "{plan:#?}");
    assert_eq!(world.rules(plan), BTreeSet::new());
    let jars = |jars: &str| json!({"--extra-jars": jars, "--day": "1"});
    let command = |location: &str| json!({"Name": "glueetl", "ScriptLocation": location});
    let mutants = [
        ("Role", json!("administrator")),
        ("Command", command("s3://lake-us/load.py")),
        ("Command", command("s3://elsewhere/load.py")),
        (
            "Command",
            json!({"Name": "pythonshell", "ScriptLocation": "s3://lake-in/load.py"}),
        ),
        (
            "DefaultArguments",
            jars("s3://lake-in/a.jar,s3://lake-us/b.jar"),
        ),
        ("DefaultArguments", jars("s3://lake-in/a.jar")),
        (
            "DefaultArguments",
            jars("s3://lake-in/a.jar,s3://lake-in/b.jar,us-east-1"),
        ),
        (
            "DefaultArguments",
            json!({"--extra-jars": "s3://lake-in/a.jar,s3://lake-in/b.jar", "--day": "2"}),
        ),
        ("NonOverridableArguments", json!({"--day": "3"})),
        ("LogUri", json!("s3://lake-us/logs/")),
        ("SecurityConfiguration", json!("other")),
    ];
    for (field, value) in mutants {
        let mut plan = world.plan();
        for step in &mut plan.steps {
            if let QueryStep::Create { object, .. } | QueryStep::Update { object, .. } = step {
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
fn the_audit_rejects_arguments_that_name_the_primarys_region() {
    // The planner holds it; the audit would not let it pass.
    let of_region = json!({"DefaultArguments": {"--endpoint": "us-east-1"}});
    let world = world(vec![job("new", "lake-us", of_region.clone())], vec![]);
    let mut plan = world.plan();
    assert_eq!(plan.steps, [], "{plan:#?}");
    plan.steps.push(QueryStep::Create {
        primary: ObjectKey::new(QueryKind::Job, "new"),
        object: Box::new(job("new", "lake-in", of_region)),
    });
    assert_eq!(world.rules(plan), [AuditRule::Altered].into());
}

#[test]
fn the_audit_keeps_a_workflow_as_long_as_a_trigger_of_it_is_left() {
    let workflow = |name: &str| {
        let key = ObjectKey::new(QueryKind::Workflow, name);
        object(key, json!({"Description": "each night"}))
    };
    let trigger = |name: &str| {
        let key = ObjectKey::new(QueryKind::Trigger, name);
        object(key, json!({"Type": "ON_DEMAND", "WorkflowName": "flow"}))
    };
    let gone = [workflow("flow"), trigger("start")];
    let left = vec![workflow("other"), trigger("other")];
    let mut world = world(left, gone.to_vec());
    for found in &gone {
        let missing = crate::call_error::CallError::new(
            crate::call_error::CallErrorKind::NotFound,
            "Get",
            "us-east-1",
            "not found",
        );
        let known = (&world.rows, Epoch::INITIAL.primary());
        world.primary.record_read(&found.key, Err(missing), known);
    }
    let is_deletion = |step: &QueryStep| matches!(step, QueryStep::Delete { .. });
    let mut plan = world.plan();
    plan.steps.retain(is_deletion);
    // The trigger first.
    assert_eq!(plan.steps.len(), 2, "{plan:#?}");
    assert_eq!(world.rules(plan.clone()), BTreeSet::new());
    let mut reversed = plan.clone();
    reversed.steps.reverse();
    assert_eq!(world.rules(reversed), [AuditRule::Order].into());
    plan.steps.remove(0);
    assert_eq!(world.rules(plan), [AuditRule::Order].into());
}

#[test]
fn the_audit_accepts_replicas_of_secrets_and_paired_networks_alone() {
    let connection = |region: &str, subnet: &str, more: Value| {
        let secret = format!("arn:aws:secretsmanager:{region}:111122223333:secret:orders-AbCdEf");
        let mut properties = json!({"SECRET_ID": secret, "JDBC_ENFORCE_SSL": "true"});
        let more = more.as_object().unwrap().clone();
        properties.as_object_mut().unwrap().extend(more);
        let content = json!({"ConnectionType": "JDBC", "ConnectionProperties": properties,
            "PhysicalConnectionRequirements": {"SubnetId": subnet}});
        object(ObjectKey::new(QueryKind::Connection, "orders"), content)
    };
    let mut world = world(
        vec![connection("us-east-1", "subnet-us", json!({}))],
        vec![],
    );
    let pair = "\n[[query.network]]\na = \"subnet-us\"\nb = \"subnet-in\"\n";
    let text = format!("{}{pair}", world.policy.text());
    world.policy = Policy::parse(&text).unwrap();
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1, "{plan:#?}");
    assert_eq!(world.rules(plan), BTreeSet::new());
    let mutants = [
        connection("us-east-1", "subnet-in", json!({})),
        connection("eu-west-1", "subnet-in", json!({})),
        connection("ap-south-1", "subnet-us", json!({})),
        connection("ap-south-1", "subnet-other", json!({})),
        connection("ap-south-1", "subnet-in", json!({"SECRET_ID": "other"})),
        connection(
            "ap-south-1",
            "subnet-in",
            json!({"JDBC_ENFORCE_SSL": "false"}),
        ),
        connection(
            "ap-south-1",
            "subnet-in",
            json!({"HOST": "db.us-east-1.internal"}),
        ),
    ];
    for mutant in mutants {
        let plan = changed(&world, |object| object.clone_from(&mutant));
        let rules = world.rules(plan);
        assert_eq!(rules, [AuditRule::Altered].into(), "{mutant:?}");
    }
    let mut with_password = connection("ap-south-1", "subnet-in", json!({}));
    with_password
        .fields
        .insert("Passwords".to_owned(), json!("PASSWORD"));
    let plan = changed(&world, |object| object.clone_from(&with_password));
    assert_eq!(world.rules(plan), [AuditRule::Altered].into());
}
