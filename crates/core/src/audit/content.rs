//! Whether what is written is what the primary holds, but for the places.
//!
//! Works on the JSON of both objects, field by field, with a list of its own of
//! the fields that hold a place.

use crate::policy::{Iceberg, Policy, Unmapped};
use serde::Serialize;
use serde_json::Value;

/// Fields whose value is a place wherever they stand outside parameters.
const PLACE_FIELDS: [&str; 4] = [
    "Location",
    "LocationUri",
    "AdditionalLocations",
    "SkewedColumnValueLocationMaps",
];

/// What is compared.
#[derive(Clone, Copy)]
struct Kind {
    is_table: bool,
    /// An Iceberg entry: its places are not mapped.
    pointer: bool,
}

/// What may differ: the places, by the rules of the policy.
pub(super) struct Content<'a> {
    pub(super) policy: &'a Policy,
    /// The secondary is the policy's second side.
    pub(super) to_second: bool,
}

impl Content<'_> {
    /// Compares an object of the primary with one for the secondary.
    ///
    /// # Errors
    /// The first field that may not differ and does.
    pub(super) fn check<T: Serialize>(&self, primary: &T, sent: &T) -> Result<(), String> {
        let primary = serde_json::to_value(primary).map_err(|e| e.to_string())?;
        let sent = serde_json::to_value(sent).map_err(|e| e.to_string())?;
        let parameters = primary.get("Parameters");
        let says = |key: &str| parameters.and_then(|p| p.get(key)).and_then(Value::as_str);
        // Only tables are ever pointers; the others may name their parameters as they like.
        let is_table = primary.get("PartitionKeys").is_some();
        let pointer = is_table
            && (says("metadata_location").is_some()
                || says("table_type").is_some_and(|kind| kind.eq_ignore_ascii_case("iceberg")));
        if pointer && self.policy.iceberg == Iceberg::Withhold {
            return Err("it is an Iceberg entry, and the policy withholds those".to_owned());
        }
        let mut path = Vec::new();
        let kind = Kind { is_table, pointer };
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
            (Some(Value::String(a)), Some(Value::String(b)))
                if is_place(path, a, kind.is_table) =>
            {
                self.place(a, b, kind.pointer)
                    .map_err(|why| format!("{}: {why}", path.join(".")))
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
        if unchanged && self.policy.unmapped_location == Unmapped::Keep {
            return Ok(());
        }
        Err(format!("{sent} is not the counterpart of {primary}"))
    }
}

impl Content<'_> {
    /// Whether one pair, the longest that fits, turns the primary's place into the
    /// one that is sent, with the same rest behind it.
    fn is_counterpart(&self, primary: &str, sent: &str) -> bool {
        let (Some((scheme, here)), Some((sent_scheme, there))) = (bare(primary), bare(sent)) else {
            return false;
        };
        let mut best: Option<(usize, bool)> = None;
        for pair in self.policy.locations.pairs() {
            let (mut from, mut to) = (pair.first.to_string(), pair.second.to_string());
            if !self.to_second {
                std::mem::swap(&mut from, &mut to);
            }
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

fn is_place(path: &[&str], value: &str, is_table: bool) -> bool {
    let parent = path.len().checked_sub(2).and_then(|at| path.get(at));
    let last = path.last().copied().unwrap_or_default();
    let in_parameters = parent == Some(&"Parameters");
    let in_serde = path.contains(&"SerdeInfo");
    if in_parameters && in_serde {
        return last == "path" && value.contains("://");
    }
    if in_parameters {
        let at_top = path.len() == 2 && is_table;
        let names = [
            "metadata_location",
            "previous_metadata_location",
            "storage.location.template",
        ];
        return at_top && names.contains(&last);
    }
    PLACE_FIELDS.contains(&last) || parent == Some(&"SkewedColumnValueLocationMaps")
}
