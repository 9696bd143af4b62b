//! Checks of what the catalog of the primary points at: targets of resource links, databases of views,
//! files of functions, and locations of partitions.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::sql_names::databases_of;
use super::{CatalogReferences, Checked, Reading, Texts, shorten};
use crate::catalog::LinkTarget;
use crate::location::{Location, Mapped};
use crate::name::{Name, TableId};
use crate::render::{counted, one_or_many};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(checked: &mut Checked<'_>) {
    // A catalog that could not be listed is a finding of the tables.
    if let Reading::Read(references) = &checked.readings.references {
        for (link, target) in &references.links {
            check_link(checked, references, link, target);
        }
        check_views(checked, references);
    }
    check_functions(checked);
    check_partitions(checked);
}

fn check_link(
    checked: &mut Checked<'_>,
    references: &CatalogReferences,
    link: &str,
    target: &LinkTarget,
) {
    let policy = checked.policy;
    let primary = policy.primary(checked.epoch);
    let is_foreign = target
        .catalog_id
        .as_ref()
        .is_some_and(|id| *id != primary.account)
        || target
            .region
            .as_ref()
            .is_some_and(|region| *region != primary.region);
    let name = |text: &Option<String>| text.as_deref().and_then(|text| Name::new(text).ok());
    let Some(database) = name(&target.database_name).filter(|_| !is_foreign) else {
        return;
    };
    let table = name(&target.name).map(|table| TableId::new(database.clone(), table));
    let target = table
        .as_ref()
        .map_or_else(|| database.to_string(), ToString::to_string);
    let is_replicated = match &table {
        Some(id) => policy.covers_table(id),
        None => policy.covers_database(&database),
    };
    let exists = match &table {
        Some(id) => references.tables.contains(id) || !policy.covers_database(&database),
        None => true,
    };
    let (problem, remedy) = if !references.databases.contains(&database) || !exists {
        // What Lake Formation hides from the reader is a finding of the tables.
        if super::tables::is_reader_limited(checked) {
            return;
        }
        (
            format!("the resource link points at {target}, which does not exist"),
            "Delete the link in the primary, or create its target.".to_owned(),
        )
    } else if is_replicated {
        return;
    } else {
        (
            format!("the resource link points at {target}, which the policy does not replicate"),
            format!("Add {target} to include in the policy, or exclude the link."),
        )
    };
    let texts = Texts {
        problem,
        effect: "The link leads nowhere in the standby.",
        remedy,
    };
    let region = &checked.readings.primary.region;
    checked.add(Severity::Warning, Check::References, region, link, texts);
}

fn check_views(checked: &mut Checked<'_>, references: &CatalogReferences) {
    let policy = checked.policy;
    let databases = references.databases.iter();
    let outside: BTreeSet<String> = databases
        .filter(|database| !policy.covers_database(database))
        .map(|database| database.as_str().to_lowercase())
        .collect();
    if outside.is_empty() {
        return;
    }
    for (view, texts) in &references.views {
        let named: BTreeSet<String> = texts.iter().flat_map(|text| databases_of(text)).collect();
        let named: Vec<String> = named.intersection(&outside).cloned().collect();
        if named.is_empty() {
            continue;
        }
        let named = shorten(&named);
        let texts = Texts {
            problem: format!(
                "the view reads databases that the policy does not replicate: {named}"
            ),
            effect: "Queries of the view fail in the standby.",
            remedy: format!("Add {named} to include in the policy, or exclude the view."),
        };
        let region = &checked.readings.primary.region;
        checked.add(
            Severity::Warning,
            Check::References,
            region,
            &view.to_string(),
            texts,
        );
    }
}

fn check_functions(checked: &mut Checked<'_>) {
    let region = &checked.readings.primary.region;
    let functions = match &checked.readings.function_files {
        Reading::Unread(error) => {
            return checked.add_unread(Check::References, region, "functions", error);
        }
        Reading::Read(functions) => functions,
    };
    for (function, files) in functions {
        let outside: Vec<String> = files
            .iter()
            .filter(|file| is_outside(checked, file))
            .cloned()
            .collect();
        if outside.is_empty() {
            continue;
        }
        let texts = Texts {
            problem: format!("the function loads files outside every [[location]] pair: {}", shorten(&outside)),
            effect: "Twinlake does not replicate the function, or it reads the primary's bucket.",
            remedy: "Copy the files into a location pair and change the function, or add a pair that holds them."
                .to_owned(),
        };
        checked.add(
            Severity::Warning,
            Check::References,
            region,
            function,
            texts,
        );
    }
}

/// Whether a text is a location in S3 that no pair holds.
fn is_outside(checked: &Checked<'_>, text: &str) -> bool {
    is_location_outside(checked.policy, checked.epoch, text)
}

/// Whether a text is a location in S3 of the primary that no pair of the policy holds.
#[must_use]
pub fn is_location_outside(
    policy: &crate::Policy,
    epoch: crate::topology::Epoch,
    text: &str,
) -> bool {
    Location::is_s3(text)
        && match policy.locations.counterpart_from(epoch.primary(), text) {
            Ok(Mapped::To(_)) => false,
            Ok(Mapped::Unmapped) | Err(_) => true,
        }
}

fn check_partitions(checked: &mut Checked<'_>) {
    let region = &checked.readings.primary.region;
    let samples = &checked.readings.partitions;
    let mut has_more = samples.unsampled_tables;
    let mut unread: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (table, sample) in &samples.tables {
        let name = table.to_string();
        let sample = match sample {
            Reading::Unread(error) => {
                unread.entry(error).or_default().push(name);
                continue;
            }
            Reading::Read(sample) => sample,
        };
        has_more += usize::from(sample.has_more);
        if sample.outside.is_empty() {
            continue;
        }
        let texts = Texts {
            problem: format!(
                "{} of {} that {} looked at {} outside every [[location]] pair: {}",
                sample.outside.len(),
                counted(sample.looked_at, "partition"),
                one_or_many(sample.looked_at, "was", "were"),
                one_or_many(sample.outside.len(), "lies", "lie"),
                shorten(&sample.outside)
            ),
            effect: "Twinlake does not replicate these partitions: queries in the standby miss their rows.",
            remedy: "Replicate the bucket, and add a [[location]] pair to the policy; or move the partitions."
                .to_owned(),
        };
        checked.add(
            Severity::Blocker,
            Check::PartitionLocations,
            region,
            &name,
            texts,
        );
    }
    for (error, tables) in unread {
        let subject = shorten(&tables);
        checked.add_unread(Check::PartitionLocations, region, &subject, error);
    }
    if has_more > 0 {
        let texts = Texts {
            problem: format!(
                "of {} no or not all partitions were looked at",
                counted(has_more, "partitioned table")
            ),
            effect: "Partitions outside the location pairs may be missing in the standby.",
            remedy: "twinlake plan lists each partition that is not replicated.".to_owned(),
        };
        checked.add(
            Severity::Note,
            Check::PartitionLocations,
            region,
            "partitions",
            texts,
        );
    }
}
