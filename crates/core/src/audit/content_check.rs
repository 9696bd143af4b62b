//! Whether what is written is what the primary holds, but for the places.
//!
//! Works on the JSON of both objects, field by field, with a list of its own of
//! the fields that hold a place.

use crate::policy::{IcebergPolicy, Policy, UnmappedLocation};
use crate::topology::{Epoch, Site};
use serde::Serialize;
use serde_json::Value;

/// Fields whose value is a place wherever they stand outside parameters.
const PLACE_FIELDS: [&str; 5] = [
    "ArtifactLocation",
    "Location",
    "LocationUri",
    "AdditionalLocations",
    "SkewedColumnValueLocationMaps",
];

/// What is compared.
#[derive(Clone, Copy)]
struct Kind {
    is_table: bool,
    /// A table of a table format, or of Spark.
    has_format: bool,
    /// An Iceberg entry: its places are not mapped.
    pointer: bool,
}

/// What may differ: the places, by the rules of the policy.
pub(super) struct Content<'a> {
    pub(super) policy: &'a Policy,
    /// Who leads.
    pub(super) epoch: Epoch,
}

impl Content<'_> {
    /// Compares an object of the primary with one for the standby.
    ///
    /// # Errors
    /// The first field that may not differ and does.
    pub(super) fn check<T: Serialize>(&self, primary: &T, sent: &T) -> Result<(), String> {
        let primary = serde_json::to_value(primary).map_err(|e| e.to_string())?;
        let sent = serde_json::to_value(sent).map_err(|e| e.to_string())?;
        for target in ["TargetDatabase", "TargetTable"] {
            if primary.get(target).is_some() || sent.get(target).is_some() {
                return self.link(&primary, &sent, target);
            }
        }
        let parameters = primary.get("Parameters");
        let says = |key: &str| parameters.and_then(|p| p.get(key)).and_then(Value::as_str);
        // Only tables are ever pointers; the others may name their parameters as they like.
        let is_table = primary.get("PartitionKeys").is_some();
        let pointer = is_table
            && (says("metadata_location").is_some()
                || says("table_type").is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg")));
        if pointer && self.policy.iceberg == IcebergPolicy::Withhold {
            return Err("it is an Iceberg entry, and the policy withholds those".to_owned());
        }
        let mut path = Vec::new();
        let has_format = is_table
            && (says("spark.sql.sources.provider").is_some()
                || says("table_type").is_some_and(|kind| {
                    ["delta", "hudi"].contains(&kind.to_ascii_lowercase().as_str())
                }));
        let kind = Kind {
            is_table,
            has_format,
            pointer,
        };
        self.walk(&mut path, Some(&primary), Some(&sent), kind)
    }

    fn walk<'v>(
        &self,
        path: &mut Vec<&'v str>,
        primary: Option<&'v Value>,
        sent: Option<&'v Value>,
        kind: Kind,
    ) -> Result<(), String> {
        let last = path.last().copied().unwrap_or_default();
        if last == "transient_lastDdlTime" && sent.is_none() {
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
                    self.walk(path, a.get(key), b.get(key), kind)?;
                    path.pop();
                }
                Ok(())
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
                for (a, b) in a.iter().zip(b) {
                    self.walk(path, Some(a), Some(b), kind)?;
                }
                Ok(())
            }
            (Some(Value::String(a)), Some(Value::String(b))) if is_place(path, a, kind) => self
                .place(a, b, kind.pointer)
                .map_err(|why| format!("{}: {why}", path.join("."))),
            (Some(Value::String(a)), Some(Value::String(b))) if names_objects(path) => {
                let alike = self.names_alike(a, b);
                let differs = || format!("{} differs from the primary", path.join("."));
                alike.then_some(()).ok_or_else(differs)
            }
            (a, b) if a == b => Ok(()),
            _ => Err(format!("{} differs from the primary", path.join("."))),
        }
    }

    fn place(&self, primary: &str, sent: &str, pointer: bool) -> Result<(), String> {
        let unchanged = primary == sent;
        if pointer || primary.is_empty() {
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

impl Content<'_> {
    /// The site of the primary, and that of the standby.
    fn sites(&self) -> (&Site, &Site) {
        (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        )
    }

    /// A resource link is its name and where it points, and nothing else is sent.
    fn link(&self, primary: &Value, sent: &Value, target: &str) -> Result<(), String> {
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
        let (Some(here), Some(there)) = (primary.get(target), sent.get(target)) else {
            return Err("one of both is no resource link".to_owned());
        };
        for part in ["CatalogId", "DatabaseName", "Name", "Region"] {
            let text = |value: &Value| value.get(part).and_then(Value::as_str).map(str::to_owned);
            if self.pointed(part, text(here).as_deref()) != text(there) {
                return Err(format!("the link points at another {part}"));
            }
        }
        Ok(())
    }

    /// What a part of a link's target has to be in the standby.
    fn pointed(&self, part: &str, here: Option<&str>) -> Option<String> {
        let (from, to) = self.sites();
        let here = here?;
        let there = match part {
            "Region" if here == from.region => to.region.as_str(),
            "CatalogId" if here == from.account => to.account.as_str(),
            "CatalogId" => {
                let mut pairs = self.policy.catalogs.iter();
                let pair = pairs.find(|pair| pair.get(self.epoch.primary()) == here);
                pair.map_or(here, |pair| pair.get(self.epoch.standby()))
            }
            _ => here,
        };
        Some(there.to_owned())
    }

    /// A text of a view: piece by piece between its ARNs, of which only the Region
    /// and the account may differ, and then as the sides do.
    fn names_alike(&self, primary: &str, sent: &str) -> bool {
        let (from, to) = self.sites();
        let (here, there) = (primary.split("arn:"), sent.split("arn:"));
        if here.clone().count() != there.clone().count() {
            return false;
        }
        here.zip(there).all(|(a, b)| {
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

    /// Whether one pair, the longest that fits, turns the primary's place into the
    /// one that is sent, with the same rest behind it.
    fn is_counterpart(&self, primary: &str, sent: &str) -> bool {
        let (Some((scheme, here)), Some((sent_scheme, there))) = (bare(primary), bare(sent)) else {
            return false;
        };
        let mut best: Option<(usize, bool)> = None;
        for pair in self.policy.locations.pairs() {
            let from = pair.sites.get(self.epoch.primary()).to_string();
            let to = pair.sites.get(self.epoch.standby()).to_string();
            let (Some((_, from)), Some((_, to))) = (bare(&from), bare(&to)) else {
                continue;
            };
            let (from, to) = (from.trim_end_matches('/'), to.trim_end_matches('/'));
            let Some(rest) = here.strip_prefix(from) else {
                continue;
            };
            let at_boundary = rest.is_empty() || rest.starts_with('/');
            if at_boundary && best.is_none_or(|(length, _)| length < from.len()) {
                best = Some((from.len(), there.strip_prefix(to) == Some(rest)));
            }
        }
        scheme == sent_scheme && best.is_some_and(|(_, fits)| fits)
    }
}

/// A place without its scheme or ARN prefix, and that prefix.
fn bare(text: &str) -> Option<(&str, &str)> {
    let at = text.find("://").or_else(|| text.find(":::"))?;
    Some(text.split_at(at + 3))
}

/// Fields of a view whose text names objects by their ARNs.
fn names_objects(path: &[&str]) -> bool {
    let names = ["SubObjects", "ViewExpandedText", "ValidationConnection"];
    let last = path.last().copied().unwrap_or_default();
    path.first() == Some(&"ViewDefinition") && names.contains(&last)
}

fn is_place(path: &[&str], value: &str, kind: Kind) -> bool {
    let parent = path.len().checked_sub(2).and_then(|at| path.get(at));
    let last = path.last().copied().unwrap_or_default();
    let in_parameters = parent == Some(&"Parameters");
    let in_serde = path.contains(&"SerdeInfo");
    if in_parameters && in_serde {
        return last == "path" && value.contains("://");
    }
    if in_parameters {
        let at_top = path.len() == 2 && kind.is_table;
        if at_top && kind.has_format && ["location", "path"].contains(&last) {
            return value.contains("://");
        }
        let names = [
            "metadata_location",
            "previous_metadata_location",
            "storage.location.template",
        ];
        return at_top && names.contains(&last);
    }
    // Code of a function may come from elsewhere, and is a place only in S3.
    let scheme = value
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    let in_s3 = scheme.is_some_and(|scheme| ["s3", "s3a", "s3n"].contains(&scheme.as_str()))
        || (value.starts_with("arn:") && value.contains(":s3:::"));
    if last == "Uri" && path.first() == Some(&"ResourceUris") {
        return in_s3;
    }
    PLACE_FIELDS.contains(&last) || parent == Some(&"SkewedColumnValueLocationMaps")
}
