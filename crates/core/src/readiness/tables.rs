//! Checks that the data of each managed table lies in a location pair.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, Texts, count_tables, shorten};
use crate::location::{Location, Mapped};
use std::collections::BTreeMap;

pub(super) fn check(checked: &mut Checked<'_>) {
    let region = checked.readings.primary.region.as_str();
    let tables = match &checked.readings.tables {
        Reading::Unread(error) => {
            return checked.add_unread(Check::TableLocations, region, "tables", error);
        }
        Reading::Read(tables) => tables,
    };
    if is_reader_limited(checked) {
        let texts = Texts {
            problem: format!(
                "{} is no data lake administrator here: Lake Formation may hide databases and tables from it",
                checked.readings.reader
            ),
            effect: "Which tables lie outside the location pairs is not known.",
            remedy: format!(
                "twinlake bootstrap --policy FILE --twinlake-role {} # if it is your own role, and has a path: \
                 run the command with --caller-arn instead",
                checked.readings.reader
            ),
        };
        checked.add(
            Severity::Unknown,
            Check::TableLocations,
            region,
            "tables",
            texts,
        );
    }
    let mut outside: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in tables {
        let locations = &checked.policy.locations;
        match locations.counterpart_from(checked.epoch.primary(), &table.location) {
            Ok(Mapped::To(_)) => {}
            Ok(Mapped::Unmapped) | Err(_) => {
                let bucket = Location::parse(&table.location).map_or_else(
                    |_| table.location.clone(),
                    |location| format!("s3://{}", location.bucket()),
                );
                outside
                    .entry(bucket)
                    .or_default()
                    .push(table.table.to_string());
            }
        }
    }
    for (bucket, names) in outside {
        let texts = Texts {
            problem: format!(
                "{} outside every [[location]] pair: {}",
                count_tables(names.len()),
                shorten(&names)
            ),
            effect: "Twinlake does not replicate these tables, or with unmapped-location = \"keep\" they \
                     read the primary's bucket.",
            remedy:
                "Replicate the bucket, and add a [[location]] pair to the policy; or exclude the \
                     tables."
                    .to_owned(),
        };
        checked.add(
            Severity::Blocker,
            Check::TableLocations,
            region,
            &bucket,
            texts,
        );
    }
}

/// Whether the principal that reads is known to be no data lake administrator of the primary.
pub(super) fn is_reader_limited(checked: &Checked<'_>) -> bool {
    let settings = checked.readings.primary.settings.read();
    settings.is_some_and(|settings| !settings.administrators().contains(&checked.readings.reader))
}
