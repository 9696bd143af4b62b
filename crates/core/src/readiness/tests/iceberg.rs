//! Faults of the maintenance of Iceberg tables.

use super::super::*;
use super::sound_pair::*;
use super::told;
use crate::name::{Name, TableId};
use std::collections::BTreeMap;

const A: &str = "us-east-1";
const B: &str = "ap-south-1";

fn orders() -> TableId {
    TableId::new(Name::new("sales").unwrap(), Name::new("orders").unwrap())
}

fn optimizer(kind: OptimizerKind, retention_days: Option<i32>) -> Reading<Vec<TableOptimizer>> {
    let table = orders();
    Reading::Read(vec![TableOptimizer {
        table,
        kind,
        retention_days,
    }])
}

#[test]
fn an_optimizer_that_deletes_files_that_the_standby_needs_is_found() {
    use OptimizerKind::{Compaction, OrphanFileDeletion, Retention};
    use ReadinessSeverity::{Blocker, Warning};
    let check = ReadinessCheck::IcebergMaintenance;
    for kind in [Compaction, Retention, OrphanFileDeletion] {
        let found = findings(|r| r.standby.optimizers = optimizer(kind, Some(5)));
        assert_eq!(told(&found), [(check, Blocker, B)]);
        assert_eq!(
            found[0].remedy,
            format!(
                "aws glue delete-table-optimizer --region ap-south-1 --catalog-id 111122223333 --database-name \
                 sales --table-name orders --type {}",
                kind.as_str()
            )
        );
    }
    let primary = |kind, days| findings(|r| r.primary.optimizers = optimizer(kind, days));
    assert_eq!(
        told(&primary(OrphanFileDeletion, None)),
        [(check, Warning, A)]
    );
    assert_eq!(told(&primary(Retention, Some(0))), [(check, Warning, A)]);
    assert_eq!(primary(Retention, Some(1)), []);
    assert_eq!(primary(Retention, None), []);
    assert_eq!(primary(Compaction, None), []);
}

#[test]
fn snapshots_that_expire_within_a_day_are_found() {
    let with = |age: &str| {
        let property = (
            "history.expire.max-snapshot-age-ms".to_owned(),
            age.to_owned(),
        );
        let table = IcebergTable::from_parameters(&BTreeMap::from([property]));
        findings(|r| {
            r.iceberg_tables.insert(orders(), table);
        })
    };
    let found = with("86399999");
    assert_eq!(
        told(&found),
        [(
            ReadinessCheck::IcebergMaintenance,
            ReadinessSeverity::Warning,
            A
        )]
    );
    assert!(
        found[0].remedy.contains("ALTER TABLE sales.orders"),
        "{found:#?}"
    );
    assert_eq!(with("86400000"), []);
    assert_eq!(with("soon"), []);
}

#[test]
fn optimizers_that_were_not_read_are_told() {
    let check = ReadinessCheck::IcebergMaintenance;
    let denied = || Reading::Unread("AccessDenied".to_owned());
    let found = findings(|r| r.primary.optimizers = denied());
    assert_eq!(told(&found), [(check, ReadinessSeverity::Unknown, A)]);
    let found = findings(|r| r.standby.optimizers = denied());
    assert_eq!(told(&found), [(check, ReadinessSeverity::Unknown, B)]);
    let more = findings(|r| r.unsampled_iceberg_tables = 2);
    assert_eq!(told(&more), [(check, ReadinessSeverity::Note, A)]);
}
