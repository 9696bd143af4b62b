use super::*;

/// A connection in which every field is set that Twinlake writes.
fn full() -> QueryObject {
    let content = json!({
        "Description": "orders",
        "ConnectionType": "JDBC",
        "MatchCriteria": ["orders"],
        "ConnectionProperties": {"JDBC_CONNECTION_URL": "jdbc:mysql://db.internal/orders",
            "SECRET_ID": "orders", "CUSTOM_JDBC_CERT_STRING": ""},
        "PhysicalConnectionRequirements": {"SubnetId": "subnet-1",
            "SecurityGroupIdList": ["sg-1", "sg-2"], "AvailabilityZone": "us-east-1a"},
    });
    object(QueryKind::Connection, content)
}

/// The object as it is read after it was written.
fn written(object: &QueryObject) -> QueryObject {
    let input = to_connection(object).unwrap();
    let found = glue::Connection::builder()
        .name(input.name)
        .set_description(input.description)
        .connection_type(input.connection_type)
        .set_match_criteria(input.match_criteria)
        .set_connection_properties(Some(input.connection_properties))
        .set_physical_connection_requirements(input.physical_connection_requirements)
        .build();
    from_connection(&found)
}

#[test]
fn every_field_of_connections_round_trips() {
    let full = full();
    assert_eq!(written(&full), full);
    let parts = without_each(&full);
    assert_eq!(parts.len(), 9);
    for (path, part) in parts {
        // An SDK type demands it.
        if path != "/ConnectionType" {
            assert_eq!(written(&part), part, "{path}");
        }
    }
}

#[test]
fn no_password_is_read_or_written() {
    let with = |properties: &[(&str, &str)]| {
        let mut found = glue::Connection::builder()
            .name("x")
            .connection_type("JDBC".into());
        for (name, value) in properties {
            found = found.connection_properties((*name).into(), *value);
        }
        from_connection(&found.build())
    };
    let secret = "hunter2";
    let cases = [
        (vec![("PASSWORD", secret)], Some("PASSWORD")),
        (
            vec![("ENCRYPTED_PASSWORD", secret)],
            Some("ENCRYPTED_PASSWORD"),
        ),
        (
            vec![("KAFKA_CLIENT_KEY_PASSWORD", secret)],
            Some("KAFKA_CLIENT_KEY_PASSWORD"),
        ),
        (
            vec![("JDBC_CONNECTION_URL", "jdbc:x?user=a&Password=hunter2")],
            Some("JDBC_CONNECTION_URL"),
        ),
        // The password is hidden.
        (vec![("USERNAME", "admin")], Some("USERNAME")),
        (vec![("USERNAME", "admin"), ("SECRET_ID", "orders")], None),
        (vec![("SECRET_ID", "orders")], None),
    ];
    for (properties, expected) in cases {
        let found = with(&properties);
        assert_eq!(found.text("Passwords"), expected, "{properties:?}");
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains(secret), "{text}");
        assert_eq!(
            to_connection(&found).is_err(),
            expected.is_some(),
            "{properties:?}"
        );
    }
    let authentication = glue::AuthenticationConfiguration::builder().build();
    let found = glue::Connection::builder()
        .name("x")
        .connection_type("SALESFORCE".into())
        .authentication_configuration(authentication)
        .spark_properties("a", "b")
        .build();
    let found = from_connection(&found);
    assert_eq!(
        found.text("NotCarried"),
        Some("AuthenticationConfiguration, SparkProperties")
    );
    assert!(to_connection(&found).is_err());
}

#[test]
fn every_field_of_connections_is_known() {
    let input = glue::ConnectionInput::builder()
        .name("x")
        .connection_type("JDBC".into())
        .connection_properties("HOST".into(), "h");
    assert_known(&[
        (
            debug(&glue::Connection::builder().build()),
            "name description connection_type match_criteria connection_properties spark_properties athena_properties python_properties physical_connection_requirements creation_time last_updated_time last_updated_by status status_reason last_connection_validation_time authentication_configuration connection_schema_version compatible_compute_environments",
        ),
        (
            debug(&input.build().unwrap()),
            "name description connection_type match_criteria connection_properties spark_properties athena_properties python_properties physical_connection_requirements authentication_configuration validate_credentials validate_for_compute_environments",
        ),
        (
            debug(&glue::PhysicalConnectionRequirements::builder().build()),
            "subnet_id security_group_id_list availability_zone",
        ),
    ]);
}
