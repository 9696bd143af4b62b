//! Checks that the written content equals the primary's, except for mapped locations.
//!
//! Compares the JSON of both objects field by field, with its own list of the fields whose value is
//! a location.

mod parameters;
mod validated_view;

use crate::catalog::{Column, Observed, Table, digest};
use crate::iceberg_replica::RelocatedCommit;
use crate::policy::{IcebergPolicy, Policy, UnmappedLocation};
use crate::topology::{Epoch, Site};
use parameters::Syntax;
use serde::Serialize;
use serde_json::Value;

/// Fields whose value is a location, outside parameters.
const LOCATION_FIELDS: [&str; 5] = [
    "ArtifactLocation",
    "Location",
    "LocationUri",
    "AdditionalLocations",
    "SkewedColumnValueLocationMaps",
];

/// The kind of the compared objects.
#[derive(Clone, Copy)]
struct Kind {
    is_table: bool,
    is_partition: bool,
    /// It is a Delta or Hudi table, or one with `spark.sql.sources.provider`.
    is_delta_hudi_or_spark: bool,
    /// Its locations are those of the primary: it is an Iceberg table whose pointer is copied.
    keeps_locations: bool,
}

/// Compares objects by the rules of the policy.
pub(super) struct ContentCheck<'a> {
    pub(super) policy: &'a Policy,
    /// The epoch, which says which site is primary.
    pub(super) epoch: Epoch,
}

impl ContentCheck<'_> {
    /// Checks an object that is sent to the standby against the primary's.
    ///
    /// # Errors
    /// The first field that differs and may not.
    pub(super) fn check<T: Serialize>(&self, primary: &T, sent: &T) -> Result<(), String> {
        let mut primary = serde_json::to_value(primary).map_err(|e| e.to_string())?;
        let mut sent = serde_json::to_value(sent).map_err(|e| e.to_string())?;
        for target in ["TargetDatabase", "TargetTable"] {
            if primary.get(target).is_some() || sent.get(target).is_some() {
                return self.check_link(&primary, &sent, target);
            }
        }
        if validated_view::has_derived_storage(&primary) {
            validated_view::reduce_read(&mut primary)?;
            validated_view::reduce_storage(&mut sent);
        }
        let parameters = primary.get("Parameters");
        let parameter = |key: &str| parameters.and_then(|p| p.get(key)).and_then(Value::as_str);
        // The parameters of other objects than tables have no such meaning.
        let is_table = primary.get("PartitionKeys").is_some();
        let is_iceberg = is_table
            && (parameter("metadata_location").is_some()
                || parameter("table_type")
                    .is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg")));
        let keeps_locations = match self.policy.iceberg {
            IcebergPolicy::Withhold if is_iceberg => {
                return Err("it is an Iceberg entry, and the policy withholds those".to_owned());
            }
            IcebergPolicy::Withhold | IcebergPolicy::Pointer => is_iceberg,
            // `check_table` checks the pointers, and the locations are mapped.
            IcebergPolicy::Relocate => false,
        };
        let mut path = Vec::new();
        let is_delta_hudi_or_spark = is_table
            && (parameter("spark.sql.sources.provider").is_some()
                || parameter("table_type").is_some_and(|kind| {
                    ["delta", "hudi"].contains(&kind.to_ascii_lowercase().as_str())
                }));
        let kind = Kind {
            is_table,
            is_partition: primary.get("Values").is_some(),
            is_delta_hudi_or_spark,
            keeps_locations,
        };
        self.compare(&mut path, Some(&primary), Some(&sent), kind)
    }

    /// Checks a table that is sent to the standby. The entry of an Iceberg table that is relocated must show
    /// `shown`, which must be the commit that the primary's shows, or one of that table with its columns.
    ///
    /// # Errors
    /// What differs and may not.
    pub(super) fn check_table(
        &self,
        primary: &Observed<Table>,
        sent: &Table,
        shown: Option<&RelocatedCommit>,
    ) -> Result<(), String> {
        let of_primary = primary.object.parameters.get("metadata_location");
        let is_relocated = self.policy.iceberg == IcebergPolicy::Relocate
            && primary.object.target_table.is_none()
            && (primary.object.is_iceberg() || sent.is_iceberg());
        if !is_relocated {
            return self.check(&primary.object, sent);
        }
        let shown = shown.ok_or("no commit of the Iceberg table was relocated")?;
        let columns: Vec<&Column> = primary.object.columns().collect();
        let is_same_table = shown.entry.created == primary.created;
        let is_same_commit = of_primary == Some(&shown.entry.source);
        if !is_same_table || !(is_same_commit || shown.entry.columns == digest(&columns)) {
            return Err(
                "the relocated commit is of another table, or has other columns".to_owned(),
            );
        }
        let pointer = &shown.metadata_location;
        let standby = self.epoch.standby();
        if !self.policy.locations.contains(standby, pointer) {
            return Err(format!("{pointer} lies in no location of the standby"));
        }
        let mut sent = sent.clone();
        let mut expected = primary.object.clone();
        for (key, value) in [
            ("metadata_location", Some(pointer)),
            (
                "previous_metadata_location",
                shown.previous_metadata_location.as_ref(),
            ),
        ] {
            expected.parameters.remove(key);
            if sent.parameters.remove(key).as_ref() != value {
                return Err(format!("{key} is not that of the relocated commit"));
            }
        }
        self.check(&expected, &sent)
    }

    fn compare<'v>(
        &self,
        path: &mut Vec<&'v str>,
        primary: Option<&'v Value>,
        sent: Option<&'v Value>,
        kind: Kind,
    ) -> Result<(), String> {
        let last = path.last().copied().unwrap_or_default();
        // The columns of a schema in the registry are compared instead of the reference to it.
        let may_be_omitted = last == "transient_lastDdlTime"
            || path.as_slice() == ["StorageDescriptor", "SchemaReference"];
        if may_be_omitted && sent.is_none() {
            return Ok(());
        }
        if path.len() == 1 && last == "CreateTableDefaultPermissions" {
            let closed = sent.and_then(Value::as_array).is_some_and(Vec::is_empty);
            return closed
                .then_some(())
                .ok_or_else(|| "the default for new tables is not closed".to_owned());
        }
        match (primary, sent) {
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
                for key in keys {
                    path.push(key);
                    self.compare(path, a.get(key), b.get(key), kind)?;
                    path.pop();
                }
                Ok(())
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    self.compare(path, Some(a), Some(b), kind)?;
                }
                Ok(())
            }
            (Some(Value::String(a)), Some(Value::String(b))) if is_location(path, kind) => self
                .check_location(a, b, kind.keeps_locations)
                .map_err(|reason| format!("{}: {reason}", path.join("."))),
            (Some(Value::String(a)), Some(Value::String(b)))
                if parameters::syntax(path, kind) == Some(Syntax::Patterns) =>
            {
                parameters::check_patterns(self, a, b, kind)
                    .map_err(|reason| format!("{}: {reason}", path.join(".")))
            }
            (Some(Value::String(a)), Some(Value::String(b))) if contains_arns(path) => {
                let is_equal = self.is_equal_with_mapped_arns(a, b);
                let differs = || format!("{} differs from the primary", path.join("."));
                is_equal.then_some(()).ok_or_else(differs)
            }
            (a, b) if a == b => Ok(()),
            _ => Err(format!("{} differs from the primary", path.join("."))),
        }
    }

    fn check_location(
        &self,
        primary: &str,
        sent: &str,
        keeps_locations: bool,
    ) -> Result<(), String> {
        let unchanged = primary == sent;
        // Only a location in S3 has a counterpart.
        if keeps_locations || !is_in_s3(primary) {
            return unchanged
                .then_some(())
                .ok_or_else(|| format!("{sent} differs from the primary"));
        }
        if self.is_counterpart(primary, sent) {
            return Ok(());
        }
        if unchanged && self.policy.unmapped_location == UnmappedLocation::Keep {
            return Ok(());
        }
        Err(format!("{sent} is not the counterpart of {primary}"))
    }
}

impl ContentCheck<'_> {
    /// Returns the primary's site and the standby's.
    fn sites(&self) -> (&Site, &Site) {
        (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        )
    }

    /// Checks a resource link: only its name and its target are sent.
    fn check_link(&self, primary: &Value, sent: &Value, target: &str) -> Result<(), String> {
        if primary.get("Name") != sent.get("Name") {
            return Err("the link has another name".to_owned());
        }
        for (key, value) in sent.as_object().into_iter().flatten() {
            let empty = match value {
                Value::Array(items) => items.is_empty(),
                Value::Number(number) => number.as_i64() == Some(0),
                Value::Null => true,
                Value::Object(_) | Value::String(_) | Value::Bool(_) => false,
            };
            if key != "Name" && key != target && !empty {
                return Err(format!("{key} belongs to the target of the link"));
            }
        }
        let (Some(primary_target), Some(sent_target)) = (primary.get(target), sent.get(target))
        else {
            return Err("one of the two is not a resource link".to_owned());
        };
        for field in ["CatalogId", "DatabaseName", "Name", "Region"] {
            let text = |value: &Value| value.get(field).and_then(Value::as_str).map(str::to_owned);
            if self.expected_in_target(field, text(primary_target).as_deref()) != text(sent_target)
            {
                return Err(format!("the target of the link has another {field}"));
            }
        }
        Ok(())
    }

    /// Returns the value that a field of a link's target must have in the standby.
    fn expected_in_target(&self, field: &str, in_primary: Option<&str>) -> Option<String> {
        let (from, to) = self.sites();
        let in_primary = in_primary?;
        let expected = match field {
            "Region" if in_primary == from.region => to.region.as_str(),
            "CatalogId" if in_primary == from.account => to.account.as_str(),
            "CatalogId" => {
                let mut pairs = self.policy.catalogs.iter();
                let pair = pairs.find(|pair| pair.get(self.epoch.primary()) == in_primary);
                pair.map_or(in_primary, |pair| pair.get(self.epoch.standby()))
            }
            _ => in_primary,
        };
        Some(expected.to_owned())
    }

    /// Whether two texts of a view are equal, if the Region and the account of the Glue ARNs in the
    /// primary's text are replaced by the standby's.
    fn is_equal_with_mapped_arns(&self, primary: &str, sent: &str) -> bool {
        let (from, to) = self.sites();
        let (primary, sent) = (primary.split("arn:"), sent.split("arn:"));
        if primary.clone().count() != sent.clone().count() {
            return false;
        }
        primary.zip(sent).all(|(a, b)| {
            let parts = |text: &str| text.splitn(5, ':').map(str::to_owned).collect::<Vec<_>>();
            let (mut a, b) = (parts(a), parts(b));
            if let [partition, service, region, account, _] = a.as_mut_slice()
                && partition.starts_with("aws")
                && service == "glue"
                && *region == from.region
                && *account == from.account
            {
                region.clone_from(&to.region);
                account.clone_from(&to.account);
            }
            a == b
        })
    }

    /// Whether the pair of locations with the longest matching prefix maps the primary's location
    /// to the one that is sent.
    fn is_counterpart(&self, primary: &str, sent: &str) -> bool {
        let (Some((scheme, primary)), Some((sent_scheme, sent))) =
            (split_scheme(primary), split_scheme(sent))
        else {
            return false;
        };
        let mut best: Option<(usize, bool)> = None;
        for pair in self.policy.locations.pairs() {
            let from = pair.sites.get(self.epoch.primary()).to_string();
            let to = pair.sites.get(self.epoch.standby()).to_string();
            let (Some((_, from)), Some((_, to))) = (split_scheme(&from), split_scheme(&to)) else {
                continue;
            };
            let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
            let Some(rest) = primary.strip_prefix(from) else {
                continue;
            };
            let at_boundary = rest.is_empty() || rest.starts_with('/');
            if at_boundary && best.is_none_or(|(length, _)| length < from.len()) {
                best = Some((from.len(), sent.strip_prefix(to) == Some(rest)));
            }
        }
        scheme == sent_scheme && best.is_some_and(|(_, is_equal)| is_equal)
    }
}

/// Splits a location into its scheme or ARN prefix and the rest.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let at = text.find("://").or_else(|| text.find(":::"))?;
    Some(text.split_at(at + 3))
}

/// Whether the text of a field names objects by their ARNs.
fn contains_arns(path: &[&str]) -> bool {
    let fields = ["SubObjects", "ViewExpandedText", "ValidationConnection"];
    let last = path.last().copied().unwrap_or_default();
    path.first() == Some(&"ViewDefinition") && fields.contains(&last)
}

/// Whether the value of a field is a location.
fn is_location(path: &[&str], kind: Kind) -> bool {
    let parent = path.len().checked_sub(2).and_then(|at| path.get(at));
    let last = path.last().copied().unwrap_or_default();
    if parent == Some(&"Parameters") {
        return parameters::syntax(path, kind) == Some(Syntax::Location);
    }
    let is_code_of_function = last == "Uri" && path.first() == Some(&"ResourceUris");
    is_code_of_function
        || LOCATION_FIELDS.contains(&last)
        || parent == Some(&"SkewedColumnValueLocationMaps")
}

/// Whether a text claims to be a location in S3, by its scheme or by the service of its ARN.
fn is_in_s3(text: &str) -> bool {
    let text = text.trim_start();
    let scheme = text.split(':').next().unwrap_or_default();
    let has_scheme =
        text.contains(':') && ["s3", "s3a", "s3n"].contains(&scheme.to_ascii_lowercase().as_str());
    has_scheme || (scheme == "arn" && text.split(':').nth(2) == Some("s3"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iceberg_replica::IcebergEntry;
    use crate::timestamp::Timestamp;
    use serde_json::json;

    fn policy(value: &str) -> Policy {
        let text = format!(
            "iceberg = \"{value}\"\n[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\na = \"s3://a\"\nb = \"s3://b/dr\"\ncopied-by = \"other\"\n"
        );
        Policy::parse(&text).unwrap()
    }

    fn table(pointer: &str, previous: Option<&str>, location: &str) -> Table {
        let mut parameters =
            json!({"table_type": "ICEBERG", "metadata_location": pointer, "x": "s3://a/x"});
        if let Some(previous) = previous {
            parameters["previous_metadata_location"] = previous.into();
        }
        serde_json::from_value(json!({"Name": "t", "PartitionKeys": [], "Parameters": parameters,
            "StorageDescriptor": {"Location": location, "Columns": [{"Name": "id", "Type": "int"}]}}))
        .unwrap()
    }

    /// Only the relocated commit of this table, or an older one of it with the same columns, passes.
    #[test]
    fn an_iceberg_entry_may_show_only_a_relocated_commit() {
        let primary = Observed {
            object: table("s3://a/t/m2", Some("s3://a/t/m1"), "s3://a/t"),
            created: Some(Timestamp::from_millis(1)),
            updated: None,
            version: None,
        };
        let shown = RelocatedCommit {
            entry: IcebergEntry::of(&primary).unwrap(),
            metadata_location: "s3://b/dr/t/_twinlake/u/m2".to_owned(),
            previous_metadata_location: Some("s3://b/dr/t/m1".to_owned()),
        };
        let relocate = policy("relocate");
        let check = |sent: &Table, shown: Option<&RelocatedCommit>| {
            let content = ContentCheck {
                policy: &relocate,
                epoch: Epoch::INITIAL,
            };
            content.check_table(&primary, sent, shown)
        };
        let good = table(
            &shown.metadata_location,
            Some("s3://b/dr/t/m1"),
            "s3://b/dr/t",
        );
        assert_eq!(check(&good, Some(&shown)), Ok(()));
        let mut other_commit = shown.clone();
        other_commit.entry.source = "s3://a/t/m1".to_owned();
        assert_eq!(check(&good, Some(&other_commit)), Ok(()), "an older one");
        let pointer = shown.metadata_location.as_str();
        for (what, sent) in [
            (
                "the primary's pointer",
                table("s3://a/t/m2", Some("s3://b/dr/t/m1"), "s3://b/dr/t"),
            ),
            (
                "the replica's pointer",
                table("s3://b/dr/t/m2", Some("s3://b/dr/t/m1"), "s3://b/dr/t"),
            ),
            (
                "the primary's location",
                table(pointer, Some("s3://b/dr/t/m1"), "s3://a/t"),
            ),
            (
                "the primary's previous",
                table(pointer, Some("s3://a/t/m1"), "s3://b/dr/t"),
            ),
            ("no previous", table(pointer, None, "s3://b/dr/t")),
        ] {
            assert!(check(&sent, Some(&shown)).is_err(), "{what}");
        }
        let mut renamed = good.clone();
        renamed
            .parameters
            .insert("x".to_owned(), "s3://b/dr/x".to_owned());
        assert!(check(&renamed, Some(&shown)).is_err(), "free text changed");
        let mut others = [shown.clone(), shown.clone(), shown.clone()];
        others[0].entry.created = Some(Timestamp::from_millis(2));
        others[1].entry.source = "s3://a/t/m1".to_owned();
        others[1].entry.columns = "other".to_owned();
        others[2].metadata_location = "s3://a/t/m2".to_owned();
        for other in &others {
            let sent = table(
                &other.metadata_location,
                Some("s3://b/dr/t/m1"),
                "s3://b/dr/t",
            );
            assert!(check(&sent, Some(other)).is_err(), "{other:?}");
        }
        assert!(check(&good, None).is_err(), "nothing was relocated");
        let withhold = policy("withhold");
        let content = ContentCheck {
            policy: &withhold,
            epoch: Epoch::INITIAL,
        };
        assert!(content.check_table(&primary, &good, Some(&shown)).is_err());
    }
}
