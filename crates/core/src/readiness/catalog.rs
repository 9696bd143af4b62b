//! What the catalog of the primary holds that the standby does not get.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, Texts, count_tables, shorten};
use crate::policy::IcebergPolicy;

pub(super) fn check(checked: &mut Checked<'_>) {
    check_iceberg(checked);
    check_settings(checked);
    let readings = checked.readings;
    for region in [&readings.primary, &readings.standby] {
        for (kind, error) in &region.unread_inventory {
            checked.add_unread(Check::NotReplicated, &region.region, kind, error);
        }
    }
    for (kind, count) in &readings.primary.not_replicated {
        if *count == 0 {
            continue;
        }
        let texts = Texts {
            problem: format!("{count} in the primary"),
            effect: "Twinlake does not replicate this kind.",
            remedy: "Create in the standby what its users need.".to_owned(),
        };
        let region = &readings.standby.region;
        checked.add(Severity::Note, Check::NotReplicated, region, kind, texts);
    }
}

fn check_iceberg(checked: &mut Checked<'_>) {
    // Tables that could not be read are a finding of their own.
    let Reading::Read(tables) = &checked.readings.tables else {
        return;
    };
    let iceberg = tables.iter().filter(|table| table.is_iceberg);
    let names: Vec<String> = iceberg.map(|table| table.table.to_string()).collect();
    if names.is_empty() {
        return;
    }
    let (effect, remedy) = match checked.policy.iceberg {
        IcebergPolicy::Withhold => (
            "They do not exist in the standby: their metadata names the files of the primary by full path.",
            "Set iceberg = \"relocate\" in the policy, with the rights of docs/iceberg.md, or register tables from \
             metadata that names the standby's files.",
        ),
        // What is not relocated yet is not in sync, which is a finding of its own.
        IcebergPolicy::Relocate => return,
        IcebergPolicy::Pointer => (
            "Their entries in the standby read the primary's files, and fail with it.",
            "Set iceberg = \"relocate\" in the policy, with the rights of docs/iceberg.md.",
        ),
    };
    let texts = Texts {
        problem: format!("{}: {}", count_tables(names.len()), shorten(&names)),
        effect,
        remedy: remedy.to_owned(),
    };
    let region = &checked.readings.standby.region;
    checked.add(
        Severity::Blocker,
        Check::IcebergTables,
        region,
        "Iceberg tables",
        texts,
    );
}

fn check_settings(checked: &mut Checked<'_>) {
    let (primary, standby) = (&checked.readings.primary, &checked.readings.standby);
    for (name, of_primary) in &primary.catalog_settings {
        let Some(of_standby) = standby.catalog_settings.get(name) else {
            continue;
        };
        if of_primary == of_standby {
            continue;
        }
        let texts = Texts {
            problem: "the two Regions differ".to_owned(),
            effect: "Twinlake compares this setting and does not write it.",
            remedy: format!("Compare both Regions, and change {name} where it is wrong."),
        };
        checked.add(
            Severity::Warning,
            Check::CatalogSettings,
            &standby.region,
            name,
            texts,
        );
    }
}
