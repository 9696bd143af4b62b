//! Faults of what the catalog points at.

use super::super::*;
use super::sound_pair::*;
use super::told;
use crate::catalog::{LinkTarget, Table};
use crate::grant::Principal;
use crate::name::{Name, TableId};
use std::collections::BTreeMap;

const A: &str = "us-east-1";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn id(database: &str, table: &str) -> TableId {
    TableId::new(name(database), name(table))
}

/// The findings of a catalog with the databases `sales` and `private`, of which the policy excludes the
/// latter, and the table `sales.orders`.
fn with(change: impl FnOnce(&mut CatalogReferences), reader: &str) -> Vec<ReadinessFinding> {
    let mut readings = sound();
    readings.deployment = None;
    readings.reader = Principal(reader.to_owned());
    let mut references = CatalogReferences::default();
    references
        .databases
        .extend([name("sales"), name("private")]);
    references.tables.insert(id("sales", "orders"));
    change(&mut references);
    readings.references = Reading::Read(references);
    let policy = format!("exclude = [\"private\"]\n{POLICY}");
    check(&readings, &Policy::parse(&policy).unwrap(), Epoch::INITIAL)
}

fn target(database: &str, table: Option<&str>) -> LinkTarget {
    LinkTarget {
        catalog_id: None,
        database_name: Some(database.to_owned()),
        name: table.map(str::to_owned),
        region: None,
    }
}

fn with_link(target: LinkTarget) -> Vec<ReadinessFinding> {
    with(
        |r| {
            r.links.insert("link".to_owned(), target);
        },
        ROLE,
    )
}

#[test]
fn a_link_that_leads_nowhere_in_the_standby_is_found() {
    let expected = [(ReadinessCheck::References, ReadinessSeverity::Warning, A)];
    for (target, problem) in [
        (target("gone", None), "gone, which does not exist"),
        (
            target("sales", Some("gone")),
            "sales.gone, which does not exist",
        ),
        (
            target("private", None),
            "private, which the policy does not replicate",
        ),
        (
            target("private", Some("pay")),
            "private.pay, which the policy does not replicate",
        ),
    ] {
        let found = with_link(target);
        assert_eq!(told(&found), expected, "{problem}");
        assert!(found[0].problem.ends_with(problem), "{found:#?}");
    }
    assert_eq!(with_link(target("sales", None)), []);
    assert_eq!(with_link(target("SALES", Some("Orders"))), []);
    let of_other_account = LinkTarget {
        catalog_id: Some("999988887777".to_owned()),
        ..target("gone", None)
    };
    assert_eq!(with_link(of_other_account), []);
    let in_other_region = LinkTarget {
        region: Some("eu-west-1".to_owned()),
        ..target("gone", None)
    };
    assert_eq!(with_link(in_other_region), []);
}

#[test]
fn what_lake_formation_may_hide_is_not_absent() {
    let found = with(
        |r| {
            r.links.insert("link".to_owned(), target("gone", None));
        },
        "arn:aws:iam::111122223333:role/other",
    );
    assert!(
        found.iter().all(|f| f.check != ReadinessCheck::References),
        "{found:#?}"
    );
}

#[test]
fn a_view_of_a_database_that_is_not_replicated_is_found() {
    let with_sql = |sql: &str| {
        let view = Table {
            view_original_text: Some(sql.to_owned()),
            table_type: Some("VIRTUAL_VIEW".to_owned()),
            ..Table::named(name("v"))
        };
        with(|r| r.add_table(&id("sales", "v"), &view), ROLE)
    };
    let found = with_sql("SELECT * FROM sales.orders JOIN private.pay ON true");
    assert_eq!(
        told(&found),
        [(ReadinessCheck::References, ReadinessSeverity::Warning, A)]
    );
    assert_eq!(found[0].subject, "sales.v");
    // {"originalSql":"SELECT * FROM private.pay"}
    let encoded = "/* Presto View: eyJvcmlnaW5hbFNxbCI6IlNFTEVDVCAqIEZST00gcHJpdmF0ZS5wYXkifQ== */";
    assert_eq!(with_sql(encoded).len(), 1);
    assert_eq!(with_sql("SELECT * FROM sales.orders"), []);
    assert_eq!(with_sql("SELECT private.pay FROM sales.private"), []);
}

#[test]
fn a_link_of_a_table_is_known_by_its_name() {
    let link = Table {
        target_table: Some(target("private", Some("pay"))),
        ..Table::named(name("l"))
    };
    let found = with(|r| r.add_table(&id("sales", "l"), &link), ROLE);
    assert_eq!(found[0].subject, "sales.l");
}

#[test]
fn files_of_functions_outside_the_pairs_are_found() {
    let with = |file: &str| {
        findings(|r| {
            let files = BTreeMap::from([("sales.f".to_owned(), vec![file.to_owned()])]);
            r.function_files = Reading::Read(files);
        })
    };
    let expected = [(ReadinessCheck::References, ReadinessSeverity::Warning, A)];
    assert_eq!(told(&with("s3://elsewhere/f.jar")), expected);
    assert_eq!(with("s3://lake-a/sales/f.jar"), []);
    assert_eq!(with("hdfs://nn/f.jar"), []);
    let denied = findings(|r| r.function_files = Reading::Unread("AccessDenied".to_owned()));
    assert_eq!(
        told(&denied),
        [(ReadinessCheck::References, ReadinessSeverity::Unknown, A)]
    );
}

#[test]
fn partitions_outside_the_pairs_are_found_and_those_not_looked_at_are_counted() {
    use ReadinessSeverity::{Blocker, Note, Unknown};
    let check = ReadinessCheck::PartitionLocations;
    let with = |sample| {
        findings(|r| {
            r.partitions.tables.insert(id("sales", "orders"), sample);
        })
    };
    let sampled = |outside: &[&str], has_more| {
        Reading::Read(SampledPartitions {
            looked_at: 9,
            has_more,
            outside: outside.iter().map(|&text| text.to_owned()).collect(),
        })
    };
    let found = with(sampled(&["s3://elsewhere/d=1"], false));
    assert_eq!(told(&found), [(check, Blocker, A)]);
    assert!(
        found[0]
            .problem
            .starts_with("1 of 9 partitions that were looked at")
    );
    assert_eq!(with(sampled(&[], false)), []);
    assert_eq!(told(&with(sampled(&[], true))), [(check, Note, A)]);
    let denied = with(Reading::Unread("AccessDenied".to_owned()));
    assert_eq!(told(&denied), [(check, Unknown, A)]);
    let more = findings(|r| r.partitions.unsampled_tables = 3);
    assert_eq!(told(&more), [(check, Note, A)]);
    assert!(more[0].problem.contains("of 3 partitioned tables"));
}
