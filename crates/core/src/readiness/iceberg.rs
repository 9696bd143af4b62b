//! Checks of what deletes or rewrites files of Iceberg tables: the optimizers of Glue, and the age at which
//! snapshots expire.
//!
//! Deletions in the primary reach the standby as delete markers, before or after the entry that no longer
//! needs the files. Source: Glue developer guide, `table-optimizers`; Iceberg, table properties
//! `history.expire.max-snapshot-age-ms` (default: 5 days).

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::catalog_readings::EXPIRY;
use super::{Checked, OptimizerKind, Reading, TableOptimizer, Texts, count_tables, shorten};
use crate::name::TableId;
use crate::render::counted;

/// The shortest age of snapshots that leaves time to notice that replication stands still.
const MIN_SNAPSHOT_AGE_MS: i64 = 24 * 3600 * 1000;

pub(super) fn check(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    let account = account_of(checked);
    let (primary, standby) = (&readings.primary, &readings.standby);
    for region in [primary, standby] {
        if let Reading::Unread(error) = &region.optimizers {
            checked.add_unread(
                Check::IcebergMaintenance,
                &region.region,
                "table optimizers",
                error,
            );
        }
    }
    let optimizers = |reading: &Reading<Vec<TableOptimizer>>| -> Vec<TableOptimizer> {
        reading.read().cloned().unwrap_or_default()
    };
    let in_standby = optimizers(&standby.optimizers);
    for kind in [
        OptimizerKind::Compaction,
        OptimizerKind::Retention,
        OptimizerKind::OrphanFileDeletion,
    ] {
        let of_kind = in_standby.iter().filter(|optimizer| optimizer.kind == kind);
        let tables: Vec<&TableId> = of_kind.map(|optimizer| &optimizer.table).collect();
        add(
            checked,
            Severity::Blocker,
            &standby.region,
            kind.as_str(),
            (&tables, "runs in the standby"),
            effect_in_standby(kind),
            |table| disable(account, &standby.region, table, kind),
        );
    }
    let in_primary = optimizers(&primary.optimizers);
    let orphans = in_primary
        .iter()
        .filter(|optimizer| optimizer.kind == OptimizerKind::OrphanFileDeletion);
    let orphans: Vec<&TableId> = orphans.map(|optimizer| &optimizer.table).collect();
    let kind = OptimizerKind::OrphanFileDeletion;
    let effect = "If an S3 rule also replicates from the standby to the primary, this optimizer takes files that \
                  only the standby's table uses for orphans. It deletes them in the primary, and the delete \
                  markers delete them in the standby.";
    add(
        checked,
        Severity::Warning,
        &primary.region,
        kind.as_str(),
        (&orphans, "runs in the primary"),
        effect,
        |table| disable(account, &primary.region, table, kind),
    );
    check_retention(checked, &in_primary);
    if readings.unsampled_iceberg_tables > 0 {
        let texts = Texts {
            problem: format!(
                "the optimizers of {} were not looked at, in both Regions",
                counted(readings.unsampled_iceberg_tables, "further Iceberg table")
            ),
            effect: "They may delete files that the standby needs.",
            remedy: format!(
                "For each table, type (compaction, retention, orphan_file_deletion) and Region: aws glue \
                 get-table-optimizer --region {} --catalog-id {account} --database-name DATABASE --table-name \
                 TABLE --type TYPE",
                primary.region
            ),
        };
        checked.add(
            Severity::Note,
            Check::IcebergMaintenance,
            &primary.region,
            "table optimizers",
            texts,
        );
    }
}

/// What an optimizer of the standby does to a takeover.
fn effect_in_standby(kind: OptimizerKind) -> &'static str {
    match kind {
        OptimizerKind::Compaction => {
            "It commits to tables that Twinlake keeps equal to the primary, so they differ."
        }
        OptimizerKind::Retention | OptimizerKind::OrphanFileDeletion => {
            "It deletes files that a later state of the table needs. If an S3 rule also replicates from the \
             standby to the primary, they are deleted in the primary, too."
        }
    }
}

fn check_retention(checked: &mut Checked<'_>, optimizers: &[TableOptimizer]) {
    let readings = checked.readings;
    let account = account_of(checked);
    let region = &readings.primary.region;
    let effect = "Replication that stands still for longer leaves entries in the standby whose files are \
                  deleted: these tables cannot be read there.";
    let short = optimizers.iter().filter(|optimizer| {
        optimizer.kind == OptimizerKind::Retention
            && optimizer.retention_days.is_some_and(|days| days < 1)
    });
    let short: Vec<&TableId> = short.map(|optimizer| &optimizer.table).collect();
    let problem = "keeps snapshots for less than a day";
    add(
        checked,
        Severity::Warning,
        region,
        "retention",
        (&short, problem),
        effect,
        |table| {
            format!(
                "aws glue update-table-optimizer --region {region} --catalog-id {account} --database-name {} \
             --table-name {} --type retention --table-optimizer-configuration file://retention.json # \
             retention.json: `TableOptimizer.configuration` as `aws glue get-table-optimizer` prints it, with \
             snapshotRetentionPeriodInDays of 1 or more",
                table.database.as_str(),
                table.table.as_str()
            )
        },
    );
    let tables = readings.iceberg_tables.iter();
    let short = tables.filter(|(_, table)| {
        table
            .snapshot_age_ms
            .is_some_and(|age| age < MIN_SNAPSHOT_AGE_MS)
    });
    let short: Vec<&TableId> = short.map(|(id, _)| id).collect();
    add(
        checked,
        Severity::Warning,
        region,
        EXPIRY,
        (&short, "is less than a day"),
        effect,
        |table| {
            format!("In Spark: ALTER TABLE {table} SET TBLPROPERTIES ('{EXPIRY}' = '432000000')")
        },
    );
}

fn account_of<'a>(checked: &Checked<'a>) -> &'a str {
    &checked.policy.primary(checked.epoch).account
}

/// Reports tables with one problem, with the remedy of the first one.
fn add(
    checked: &mut Checked<'_>,
    severity: Severity,
    region: &str,
    subject: &str,
    (tables, problem): (&[&TableId], &str),
    effect: &'static str,
    remedy: impl Fn(&TableId) -> String,
) {
    let Some(first) = tables.first() else {
        return;
    };
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let more = match tables.len() {
        1 => "",
        _ => " # and so for each table",
    };
    let texts = Texts {
        problem: format!(
            "{problem} on {}: {}",
            count_tables(names.len()),
            shorten(&names)
        ),
        effect,
        remedy: format!("{}{more}", remedy(first)),
    };
    checked.add(severity, Check::IcebergMaintenance, region, subject, texts);
}

fn disable(account: &str, region: &str, table: &TableId, kind: OptimizerKind) -> String {
    format!(
        "aws glue delete-table-optimizer --region {region} --catalog-id {account} --database-name {} \
         --table-name {} --type {}",
        table.database.as_str(),
        table.table.as_str(),
        kind.as_str()
    )
}
