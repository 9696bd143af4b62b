//! Calls that grant and revoke permissions: what they name, what CloudTrail leaves out, and entries of batches.

use super::*;

#[test]
fn a_revoke_whose_columns_cannot_be_read_names_no_other_columns() {
    let revoke = |columns: &Value| {
        let mut table = json!({"databaseName": "sales", "name": "orders"});
        for (key, value) in columns.as_object().unwrap() {
            table[key] = value.clone();
        }
        let request = json!({
            "principal": {"dataLakePrincipalIdentifier": "arn:aws:iam::111122223333:role/Analyst"},
            "resource": {"tableWithColumns": table}, "permissions": ["SELECT"],
        });
        describe_event(&cloudtrail(
            "RevokePermissions",
            "aws.lakeformation",
            &request,
        ))
    };
    for columns in [
        json!({"columnNames": [""]}),
        json!({"columnNames": ["id", {}]}),
        json!({"columnNames": []}),
        json!({}),
        json!({"columnWildcard": {"excludedColumnNames": [null]}}),
    ] {
        let text = revoke(&columns);
        assert!(text.starts_with("not recognized"), "{columns}: {text}");
    }
    let text = revoke(&json!({"columnNames": ["id"]}));
    assert!(text.contains("revoke of SELECT on column id"), "{text}");
}

/// The scope of the example of a batch revoke, after a change of its detail.
fn batch_revoke(change: impl FnOnce(&mut Value)) -> Scope {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../events/ct-lakeformation-BatchRevokePermissions.json");
    let mut event: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut event["detail"]);
    let parsed = parse(event.to_string().as_bytes(), &event_context(&event));
    let Ok(Parsed::Scope(scope)) = parsed else {
        panic!("{parsed:?}");
    };
    scope
}

#[test]
fn what_cloudtrail_left_out_of_a_call_on_permissions_is_looked_for_everywhere() {
    let omitted = json!({"omitted": true, "originalSize": 150_000});
    let nameless = json!({
        "id": "2", "permissions": ["SELECT"],
        "resource": {"tableWithColumns": {"databaseName": "sales", "name": "orders", "columnNames": [""]}},
    });
    let changes: [(&str, Value); 5] = [
        ("/entries", omitted.clone()),
        ("/entries", json!("none")),
        ("/entries/0/resource", omitted.clone()),
        ("/entries/0/resource/database", omitted.clone()),
        ("/entries/1", nameless),
    ];
    for (place, value) in changes {
        let scope = batch_revoke(|detail| {
            let request = &mut detail["requestParameters"];
            match place {
                "/entries/1" => request["entries"]
                    .as_array_mut()
                    .unwrap()
                    .push(value.clone()),
                _ => *request.pointer_mut(place).unwrap() = value.clone(),
            }
        });
        let catalog = Scope::catalog();
        let is_read = |(subject, _): (&_, _)| scope.read_requests.contains_key(subject);
        assert!(
            catalog.read_requests.iter().all(is_read),
            "{place}: {scope:?}"
        );
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    for call in [
        "RevokePermissions",
        "AddLFTagsToResource",
        "CreateLakeFormationOptIn",
    ] {
        for resource in [Value::Null, omitted.clone()] {
            let file = folder.join(format!("ct-lakeformation-{call}.json"));
            let mut event: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            event["detail"]["requestParameters"]["resource"] = resource;
            let parsed = parse(event.to_string().as_bytes(), &event_context(&event));
            assert_eq!(parsed, Ok(Parsed::Scope(Scope::catalog())), "{call}");
        }
    }
}

#[test]
fn an_entry_of_a_batch_that_is_not_known_to_be_done_is_read_and_names_no_revoke() {
    let failed = |entry: &Value| json!({"requestEntry": entry, "error": {"errorCode": "X"}});
    let (first, second) = (json!({"id": "1"}), json!({"id": "2"}));
    let both = json!({"failures": [failed(&first), failed(&second)]});
    for (response, named, calls) in [
        (json!({"failures": []}), 2, 1),
        (json!({"failures": [failed(&second)]}), 1, 1),
        (json!({"failures": [failed(&first)]}), 1, 0),
        (both, 0, 0),
        // Another entry, or one that the record does not tell.
        (json!({"failures": [failed(&json!({"id": "3"}))]}), 0, 0),
        (json!({"failures": [failed(&first), {}]}), 0, 0),
        (json!({"failures": "none"}), 0, 0),
        (Value::Null, 0, 0),
    ] {
        let scope = batch_revoke(|detail| {
            let entries = &mut detail["requestParameters"]["entries"];
            let mut other = entries[0].clone();
            entries[0]["resource"] = json!({"catalog": {}});
            entries[0]["permissions"] = json!(["CREATE_DATABASE"]);
            other["id"] = json!("2");
            entries.as_array_mut().unwrap().push(other);
            detail["responseElements"] = response.clone();
        });
        assert_eq!(scope.named_revokes.len(), named, "{response}: {scope:?}");
        assert_eq!(scope.grant_calls.len(), calls, "{response}: {scope:?}");
        assert_eq!(scope.read_requests.len(), 2, "{response}: {scope:?}");
    }
    // Two entries have one id, and one of them failed: which one is not known.
    let scope = batch_revoke(|detail| {
        let entries = &mut detail["requestParameters"]["entries"];
        *entries = json!([entries[0], entries[0]]);
        detail["responseElements"] = json!({"failures": [failed(&first)]});
    });
    assert_eq!(scope.named_revokes.len(), 0, "{scope:?}");
}

#[test]
fn a_permission_is_revoked_unless_a_call_names_only_its_grant_option() {
    for (permissions, with_grant_option, is_revoked) in [
        (json!(["CREATE_DATABASE"]), json!([]), true),
        (json!(["CREATE_DATABASE"]), json!(["CREATE_DATABASE"]), true),
        (json!([]), json!(["CREATE_DATABASE"]), false),
    ] {
        let scope = batch_revoke(|detail| {
            let entry = &mut detail["requestParameters"]["entries"][0];
            entry["resource"] = json!({"catalog": {}});
            entry["permissions"] = permissions.clone();
            entry["permissionsWithGrantOption"] = with_grant_option.clone();
        });
        let mut calls = scope.grant_calls.values();
        assert_eq!(
            calls.any(|times| times.revoked_at.is_some()),
            is_revoked,
            "{permissions} {with_grant_option}"
        );
    }
}
