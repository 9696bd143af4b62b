//! What in the fields of an object names a location, a key, a function or a Region of the primary, found by
//! plain search over every text.

use crate::location::Location;
use crate::policy::UnmappedLocation;
use crate::query::object::Fields;
use crate::query::plan::QueryInputs;
use crate::query::rules::{ARGUMENT_FIELDS, LOCATION_ARGUMENTS};
use serde_json::Value;
use std::collections::BTreeSet;

/// The names that belong to the primary.
pub(super) struct PrimaryNames {
    region: String,
    /// Region and account of the standby.
    standby: (String, String),
    locations: Vec<Location>,
    standby_locations: Vec<Location>,
    keys: BTreeSet<String>,
    standby_keys: BTreeSet<String>,
    keeps_unmapped: bool,
}

impl PrimaryNames {
    pub(super) fn new(inputs: &QueryInputs<'_>) -> Self {
        let (primary, standby) = (inputs.epoch.primary(), inputs.epoch.standby());
        let of_results = inputs.query.result_locations.pairs();
        let pairs = inputs.policy.locations.pairs().iter().chain(of_results);
        let (locations, standby_locations) = pairs
            .map(|pair| {
                (
                    pair.sites.get(primary).clone(),
                    pair.sites.get(standby).clone(),
                )
            })
            .unzip();
        let keys = inputs.query.kms_keys.iter();
        let (keys, standby_keys) = keys
            .map(|pair| (pair.get(primary).clone(), pair.get(standby).clone()))
            .unzip();
        Self {
            region: inputs.policy.primary(inputs.epoch).region.clone(),
            standby: {
                let site = inputs.policy.standby(inputs.epoch);
                (site.region.clone(), site.account.clone())
            },
            locations,
            standby_locations,
            keys,
            standby_keys,
            keeps_unmapped: inputs.policy.unmapped_location == UnmappedLocation::Keep,
        }
    }

    /// The first text that names something of the primary.
    pub(super) fn find(&self, fields: &Fields) -> Option<String> {
        let fields = fields.iter().filter(|(name, _)| !is_prose(name));
        fields
            .flat_map(|(name, value)| texts(name, value))
            .find_map(|(path, text)| self.find_in(&path, &text))
    }

    fn find_in(&self, path: &str, text: &str) -> Option<String> {
        if KEY_FIELDS.iter().any(|field| path.ends_with(field)) {
            let is_of_standby = self.standby_keys.contains(text) || self.is_standby_key_arn(text);
            let is_same_in_both = is_of_standby && self.keys.contains(text);
            if !is_of_standby || is_same_in_both {
                return (!is_of_standby).then(|| text.to_owned());
            }
        }
        if text.starts_with("arn:") && text.split(':').nth(3) == Some(self.region.as_str()) {
            return Some(text.to_owned());
        }
        if argument_of(path).is_some() && without_locations(text).contains(&self.region) {
            return Some(text.to_owned());
        }
        let is_query = matches!(path, "QueryString" | "QueryStatement");
        let text = match is_query {
            true => without_comments(text),
            false => text.to_owned(),
        };
        locations_in(&text)
            .into_iter()
            .find(|location| self.is_foreign(location))
    }

    /// Whether a text is the ARN of a key of the standby of which a pair names the alias or the id alone.
    fn is_standby_key_arn(&self, text: &str) -> bool {
        let (region, account) = &self.standby;
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", _, "kms", in_region, of_account, resource] = parts.as_slice() else {
            return false;
        };
        let name = resource.strip_prefix("key/").unwrap_or(resource);
        in_region == region && of_account == account && self.standby_keys.contains(name)
    }

    fn is_foreign(&self, location: &str) -> bool {
        let Ok(location) = Location::parse(location) else {
            return true;
        };
        let is_in =
            |locations: &[Location]| locations.iter().any(|known| known.contains(&location));
        if is_in(&self.standby_locations) {
            return false;
        }
        is_in(&self.locations) || !self.keeps_unmapped
    }
}

/// The fields that name a KMS key.
const KEY_FIELDS: [&str; 2] = ["KmsKey", "KmsKeyArn"];

/// Text for people, which nothing evaluates.
fn is_prose(name: &str) -> bool {
    matches!(name, "Description" | "Name")
}

/// The texts below a field, each with its dotted path.
fn texts(path: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::String(text) => vec![(path.to_owned(), text.clone())],
        Value::Array(items) => items.iter().flat_map(|item| texts(path, item)).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| texts(&format!("{path}.{name}"), value))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// The fields with one word in place of each text that may differ between the Regions.
pub(super) fn masked(fields: &Fields) -> Fields {
    fields
        .iter()
        .map(|(name, value)| (name.clone(), masked_value(name, value)))
        .collect()
}

fn masked_value(path: &str, value: &Value) -> Value {
    const MAPPED: [&str; 15] = [
        "Command.ScriptLocation",
        "KmsKey",
        "KmsKeyArn",
        "ResultConfiguration.OutputLocation",
        "S3LoggingConfiguration.LogLocation",
        "ExecutionRole",
        "Parameters.catalog-id",
        "Parameters.function",
        "Parameters.metadata-function",
        "Parameters.record-function",
        "Targets.S3Targets.Path",
        "Targets.DeltaTargets.DeltaTables",
        "Targets.IcebergTargets.Paths",
        "Targets.HudiTargets.Paths",
        "LakeFormationConfiguration.AccountId",
    ];
    // Roles and the Region of an external schema are compared by themselves.
    const MAPPED_WHOLE: [&str; 6] = [
        "Role",
        "CatalogId",
        "Region",
        "IamRole",
        "CatalogRole",
        "LogUri",
    ];
    match value {
        Value::String(_)
            if path.starts_with("PhysicalConnectionRequirements.")
                || super::connection::SECRET_PROPERTIES.contains(&path) =>
        {
            Value::String("mapped".to_owned())
        }
        Value::String(_)
            if MAPPED.iter().any(|mapped| path.ends_with(mapped))
                || MAPPED_WHOLE.contains(&path) =>
        {
            Value::String("mapped".to_owned())
        }
        Value::String(text)
            if matches!(path, "QueryString" | "QueryStatement")
                || argument_of(path).is_some_and(|name| LOCATION_ARGUMENTS.contains(&name)) =>
        {
            Value::String(without_locations(text))
        }
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| (name.clone(), masked_value(&format!("{path}.{name}"), value)))
                .collect(),
        ),
        Value::Array(items) => {
            let items = items.iter();
            Value::Array(items.map(|item| masked_value(path, item)).collect())
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The name of the argument of a path; `None` if it is of another field.
fn argument_of(path: &str) -> Option<&str> {
    let mut fields = ARGUMENT_FIELDS.iter();
    fields.find_map(|field| path.strip_prefix(field)?.strip_prefix('.'))
}

/// A text with one word in place of each location in S3.
fn without_locations(text: &str) -> String {
    let mut masked = text.to_owned();
    for location in locations_in(text) {
        masked = masked.replacen(&location, "s3:", 1);
    }
    masked
}

/// Every location in S3 that a text names, up to a quotation mark, a blank or a separator.
fn locations_in(text: &str) -> Vec<String> {
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(rest) = lower.get(from..) {
        let starts = ["s3://", "s3a://", "s3n://", "arn:aws"];
        let start = starts.iter().filter_map(|start| rest.find(start)).min();
        let Some(start) = start else {
            break;
        };
        let at = from + start;
        let tail = text.get(at..).unwrap_or_default();
        let end = tail
            .find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`' | ',' | ';' | ')'));
        let location = tail.get(..end.unwrap_or(tail.len())).unwrap_or_default();
        let is_other_arn = location.starts_with("arn:") && !location.contains(":s3:::");
        if !is_other_arn {
            found.push(location.to_owned());
        }
        from = at + location.len().max(1);
    }
    found
}

/// A query without its comments. Quotation marks hide the marks of comments.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut quote = None;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match (quote, c, next) {
            (Some(mark), _, _) => {
                kept.push(c);
                if c == mark {
                    quote = None;
                }
            }
            (None, '-', Some('-')) => {
                for skipped in chars.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
                kept.push('\n');
            }
            (None, '/', Some('*')) => {
                let _star = chars.next();
                let mut last = ' ';
                for skipped in chars.by_ref() {
                    if last == '*' && skipped == '/' {
                        break;
                    }
                    last = skipped;
                }
                kept.push(' ');
            }
            (None, _, _) => {
                if matches!(c, '\'' | '"' | '`') {
                    quote = Some(c);
                }
                kept.push(c);
            }
        }
    }
    kept
}
