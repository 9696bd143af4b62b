//! The objects of the domain, with their AWS fields.

use super::rules::QueryKind;
use crate::policy::{GlueToolsPolicy, QueryPolicy};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// The lowest limit of scanned bytes of a query that Athena takes.
const MIN_BYTES_SCANNED_CUTOFF: u64 = 10_000_000;

/// What identifies an object in its Region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// The kind.
    pub kind: QueryKind,
    /// The workgroup that the object is in, or the pair of warehouses, if its kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The name; of a saved query the id that Athena gave it, which differs between the Regions.
    pub id: String,
}

impl ObjectKey {
    /// The key of an object that has no parent.
    #[must_use]
    pub fn new(kind: QueryKind, id: &str) -> Self {
        Self {
            kind,
            parent: None,
            id: id.to_owned(),
        }
    }

    /// The key of an object in a workgroup or in a pair of warehouses.
    #[must_use]
    pub fn within(kind: QueryKind, parent: &str, id: &str) -> Self {
        Self {
            parent: Some(parent.to_owned()),
            ..Self::new(kind, id)
        }
    }

    /// Whether the policy includes the object: by its workgroup or warehouse, or with all tools of Glue.
    #[must_use]
    pub fn is_covered(&self, query: &QueryPolicy) -> bool {
        match (self.kind, &self.parent) {
            (QueryKind::WorkGroup, _) => query.covers_workgroup(&self.id),
            (QueryKind::NamedQuery | QueryKind::PreparedStatement, Some(parent)) => {
                query.covers_workgroup(parent)
            }
            (QueryKind::NamedQuery | QueryKind::PreparedStatement, None) => false,
            // AWS makes it in each Region.
            (QueryKind::DataCatalog, _) => self.id != "AwsDataCatalog",
            (
                QueryKind::Classifier
                | QueryKind::SecurityConfiguration
                | QueryKind::Connection
                | QueryKind::Job
                | QueryKind::Workflow
                | QueryKind::Crawler
                | QueryKind::Trigger,
                _,
            ) => query.glue_tools == GlueToolsPolicy::Copy,
            (QueryKind::ExternalSchema, Some(parent)) => query.warehouse(parent).is_some(),
            (QueryKind::ExternalSchema, None) => false,
        }
    }

    /// The key of the workgroup that the object is in.
    #[must_use]
    pub fn parent_key(&self) -> Option<Self> {
        let parent = self.parent.as_deref()?;
        match self.kind {
            QueryKind::ExternalSchema => None,
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::Crawler
            | QueryKind::Trigger => Some(Self::new(QueryKind::WorkGroup, parent)),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.id)?;
        match &self.parent {
            Some(parent) => write!(f, " of {} {parent}", self.kind.parent_noun()),
            None => Ok(()),
        }
    }
}

/// Fields of an object by their AWS names.
pub type Fields = BTreeMap<String, Value>;

/// An object, as read or to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueryObject {
    /// What identifies it.
    pub key: ObjectKey,
    /// Its fields without name, parent, times and what [`Fields`] of a read have in excess of a write, in
    /// normal form ([`QueryObject::normalized`]).
    pub fields: Fields,
    /// When it was created, if the service says so; of an external schema its object id, which a later one of the
    /// same name does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Its tags; `None` if they are not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
}

impl QueryObject {
    /// An object with fields in normal form: what is null, empty or `false` is left out, since services answer
    /// a field that was never set in any of these ways.
    #[must_use]
    pub fn normalized(key: ObjectKey, fields: Fields) -> Self {
        let fields = fields.into_iter();
        Self {
            key,
            fields: fields
                .filter_map(|(name, value)| {
                    let value = normal_field(&name, value)?;
                    Some((name, value))
                })
                .collect(),
            created: None,
            tags: None,
        }
    }

    /// A field by its dotted path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&Value> {
        let mut names = path.split('.');
        let mut value = self.fields.get(names.next()?)?;
        for name in names {
            value = value.get(name)?;
        }
        Some(value)
    }

    /// A text field by its dotted path.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.field(path).and_then(Value::as_str)
    }

    /// The fields that are compared and written.
    #[must_use]
    pub fn comparable(&self) -> Fields {
        let rules = self.key.kind.rules();
        let mut fields = self.fields.clone();
        for path in rules.reported_fields().chain(rules.asleep_fields()) {
            remove(&mut fields, path);
        }
        fields
    }

    /// The digest of the fields that are compared.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::catalog::digest(&self.comparable())
    }

    /// The digest of the fields and the tags that are compared, by which an intent names an object.
    #[must_use]
    pub fn digest_with_tags(&self) -> String {
        match self.tags.as_ref().filter(|tags| !tags.is_empty()) {
            Some(tags) => crate::catalog::digest(&(self.comparable(), tags)),
            None => self.digest(),
        }
    }

    /// Whether the fields are equal, and the tags where those of both were read.
    #[must_use]
    pub fn is_equal_to(&self, other: &Self) -> bool {
        let tags = self.tags.as_ref().zip(other.tags.as_ref());
        self.comparable() == other.comparable() && tags.is_none_or(|(one, other)| one == other)
    }

    /// Whether the service tells it from a later one of the same name, by its id or the time of its creation. Any other
    /// is the one that a row pairs only as long as its content is.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.key.kind.rules().id_by_service || self.created.is_some()
    }

    /// Whether it is still the object that was read before as `earlier`, and none of the same name that was made since.
    #[must_use]
    pub fn is_still(&self, earlier: &Self) -> bool {
        let is_same = match (earlier.created, self.created) {
            (Some(then), Some(now)) => then == now,
            (None, _) | (_, None) => {
                self.key.kind.rules().id_by_service || self.comparable() == earlier.comparable()
            }
        };
        self.key == earlier.key && is_same
    }

    /// Whether it is a workgroup that has to be disabled after its creation.
    #[must_use]
    pub fn is_disabled_workgroup(&self) -> bool {
        self.key.kind == QueryKind::WorkGroup && self.text("State") == Some("DISABLED")
    }

    /// The object as the call that creates it makes it. `CreateWorkGroup` has no state, and enables: so a
    /// workgroup that has to be disabled is made without a location for results, with settings that override those
    /// of a query, and with the lowest limit of scanned data. The call that disables it sets what it should have.
    /// An external schema is made without its grants and its owner: it gets them once it is recorded as Twinlake's.
    #[must_use]
    pub fn as_created(&self) -> Self {
        let mut created = self.clone();
        if self.key.kind == QueryKind::ExternalSchema {
            // It belongs to whoever creates it, and nobody else may use it.
            created.fields.remove("Owner");
            created.fields.remove("Grants");
            return created;
        }
        if !self.is_disabled_workgroup() {
            return created;
        }
        created.fields.insert("State".to_owned(), "ENABLED".into());
        let configuration = created.fields.remove("Configuration");
        let mut configuration = match configuration {
            Some(Value::Object(configuration)) => configuration,
            Some(_) | None => serde_json::Map::new(),
        };
        // Those of Spark and of IAM Identity Center have other rules for these settings.
        let has_other_rules = ["ExecutionRole", "IdentityCenterConfiguration"];
        if has_other_rules
            .iter()
            .any(|name| configuration.contains_key(*name))
        {
            created
                .fields
                .insert("Configuration".to_owned(), Value::Object(configuration));
            return created;
        }
        for opened in [
            "ResultConfiguration",
            "ManagedQueryResultsConfiguration",
            "EnableMinimumEncryptionConfiguration",
        ] {
            configuration.remove(opened);
        }
        configuration.insert("EnforceWorkGroupConfiguration".to_owned(), true.into());
        let lowest = MIN_BYTES_SCANNED_CUTOFF.into();
        configuration.insert("BytesScannedCutoffPerQuery".to_owned(), lowest);
        let configuration = Value::Object(configuration);
        created
            .fields
            .insert("Configuration".to_owned(), configuration);
        created
    }

    /// Whether it runs by itself: a crawler by its schedule, a trigger while it is activated.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        match self.key.kind {
            QueryKind::Crawler => {
                let state = self.text("Schedule.State");
                state.is_some_and(|state| state != "NOT_SCHEDULED")
            }
            QueryKind::Trigger => {
                matches!(self.text("State"), Some("ACTIVATED" | "ACTIVATING"))
            }
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => false,
        }
    }

    /// When it runs, if it has a schedule.
    #[must_use]
    pub fn cron(&self) -> Option<&str> {
        match self.key.kind {
            QueryKind::Crawler => self.text("Schedule.ScheduleExpression"),
            QueryKind::Trigger => self.text("Schedule"),
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => None,
        }
    }

    /// The object as a person knows it: with the name of a saved query.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.key.kind, self.text("Name"), &self.key.parent) {
            (QueryKind::NamedQuery, Some(name), Some(parent)) => {
                format!(
                    "saved query \"{name}\" ({}) of workgroup {parent}",
                    self.key.id
                )
            }
            (
                QueryKind::NamedQuery
                | QueryKind::WorkGroup
                | QueryKind::DataCatalog
                | QueryKind::PreparedStatement
                | QueryKind::Classifier
                | QueryKind::SecurityConfiguration
                | QueryKind::Connection
                | QueryKind::Job
                | QueryKind::Workflow
                | QueryKind::Crawler
                | QueryKind::Trigger
                | QueryKind::ExternalSchema,
                _,
                _,
            ) => self.key.to_string(),
        }
    }
}

/// Removes the field of a dotted path, and what is empty then.
fn remove(fields: &mut Fields, path: &str) {
    let Some((name, rest)) = path.split_once('.') else {
        fields.remove(path);
        return;
    };
    let Some(Value::Object(inner)) = fields.get(name) else {
        return;
    };
    let mut inner: Fields = inner.clone().into_iter().collect();
    remove(&mut inner, rest);
    match inner.is_empty() {
        true => fields.remove(name),
        false => fields.insert(name.to_owned(), Value::Object(inner.into_iter().collect())),
    };
}

/// Maps of texts in which an empty text is not an absent one: an argument of a job may have no value.
const TEXT_MAPS: [&str; 5] = [
    "ConnectionProperties",
    "DefaultArguments",
    "NonOverridableArguments",
    "Arguments",
    "DefaultRunProperties",
];

/// The value of a field without what equals an absent one; `None` if it does itself.
fn normal_field(name: &str, value: Value) -> Option<Value> {
    match value {
        Value::Object(texts) if TEXT_MAPS.contains(&name) => {
            (!texts.is_empty()).then_some(Value::Object(texts))
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => normal_value(value),
    }
}

/// A value without what equals an absent one; `None` if it does itself.
fn normal_value(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) | Value::Number(_) => Some(value),
        Value::String(ref text) => (!text.is_empty()).then_some(value),
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(normal_value).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(fields) => {
            let fields: serde_json::Map<String, Value> = fields
                .into_iter()
                .filter_map(|(name, value)| {
                    let value = normal_field(&name, value)?;
                    Some((name, value))
                })
                .collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_equals_an_unset_field_is_left_out() {
        let key = ObjectKey::new(QueryKind::WorkGroup, "w");
        let read = QueryObject::normalized(
            key.clone(),
            fields(
                json!({"Description": "", "State": "ENABLED", "Configuration": {
                "RequesterPaysEnabled": false, "ResultConfiguration": {"OutputLocation": null},
                "EngineVersion": {"SelectedEngineVersion": "AUTO", "EffectiveEngineVersion": "v3"}}}),
            ),
        );
        let made = QueryObject::normalized(
            key,
            fields(json!({"State": "ENABLED",
                "Configuration": {"EngineVersion": {"SelectedEngineVersion": "AUTO"}}})),
        );
        assert_eq!(read.comparable(), made.comparable());
        assert_eq!(read.digest(), made.digest());
        assert_ne!(read, made, "the effective version stays for reports");
    }
}
