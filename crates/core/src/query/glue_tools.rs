//! What of the tools of Glue cannot be carried, and what they name that must exist in the standby first.

use super::object::{ObjectKey, QueryObject};
use super::rules::QueryKind;
use crate::name::{Name, TableId};
use crate::policy::Policy;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Objects of Glue that are counted and not replicated; crawlers and triggers may name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnreplicatedKind {
    /// A job.
    Job,
    /// A workflow.
    Workflow,
    /// A connection.
    Connection,
}

impl UnreplicatedKind {
    /// Every kind.
    pub const EVERY: [Self; 3] = [Self::Job, Self::Workflow, Self::Connection];

    /// The kind in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Workflow => "workflow",
            Self::Connection => "connection",
        }
    }
}

impl fmt::Display for UnreplicatedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an object is not replicated, whatever the policy says: each names the part.
pub(super) fn unsupported(object: &QueryObject, policy: &Policy) -> Vec<String> {
    match object.key.kind {
        QueryKind::Crawler => unsupported_crawler(object, policy),
        QueryKind::Trigger => unsupported_trigger(object),
        QueryKind::WorkGroup
        | QueryKind::DataCatalog
        | QueryKind::NamedQuery
        | QueryKind::PreparedStatement
        | QueryKind::Classifier
        | QueryKind::SecurityConfiguration
        | QueryKind::ExternalSchema => Vec::new(),
    }
}

fn unsupported_crawler(object: &QueryObject, policy: &Policy) -> Vec<String> {
    let mut reasons = Vec::new();
    let covers = |text: &str| Name::new(text).is_ok_and(|name| policy.covers_database(&name));
    if let Some(database) = object.text("DatabaseName").filter(|name| !covers(name)) {
        reasons.push(format!(
            "it writes to the database {database}, which the policy does not replicate"
        ));
    }
    let targets = object.field("Targets").and_then(Value::as_object);
    for (kind, entries) in targets.into_iter().flatten() {
        for entry in entries.as_array().into_iter().flatten() {
            let reason = match kind.as_str() {
                "S3Targets" | "DeltaTargets" | "IcebergTargets" | "HudiTargets" => None,
                "CatalogTargets" => catalog_target(entry, policy),
                other => Some(format!("a target of {other}")),
            };
            let connection = entry.get("ConnectionName").and_then(Value::as_str);
            let connection = connection.map(|name| format!("the connection {name}"));
            if let Some(reason) = reason.or(connection) {
                let location = text_of(entry, "Path").map(|path| format!(" ({path})"));
                reasons.push(format!(
                    "it crawls {reason}{}, which is not replicated",
                    location.unwrap_or_default()
                ));
            }
        }
    }
    reasons
}

/// What of a catalog target the policy does not replicate.
fn catalog_target(entry: &Value, policy: &Policy) -> Option<String> {
    let database = text_of(entry, "DatabaseName").unwrap_or_default();
    let tables = entry.get("Tables").and_then(Value::as_array);
    let mut tables = tables.into_iter().flatten().filter_map(Value::as_str);
    let is_covered = |table: &str| {
        let names = Name::new(database).and_then(|one| Ok((one, Name::new(table)?)));
        names.is_ok_and(|(database, table)| policy.covers_table(&TableId::new(database, table)))
    };
    let other = tables.find(|table| !is_covered(table))?;
    Some(format!("the table {database}.{other}"))
}

fn unsupported_trigger(object: &QueryObject) -> Vec<String> {
    let mut reasons = Vec::new();
    if object.text("Type") == Some("EVENT") {
        let reason = "it is an EVENT trigger: AWS does not say that one that was never started stays inactive, so \
                      none is made before a takeover";
        reasons.push(reason.to_owned());
    }
    if let Some(workflow) = object.text("WorkflowName") {
        reasons.push(format!(
            "it is part of the workflow {workflow}, and workflows are not replicated"
        ));
    }
    reasons
}

impl QueryObject {
    /// The argument of a job that says whether it keeps bookmarks.
    pub const BOOKMARK_ARGUMENT: &str = "--job-bookmark-option";

    /// The jobs that a trigger starts, each with the option for bookmarks that the trigger gives it, if any.
    #[must_use]
    pub fn started_jobs(&self) -> Vec<(String, Option<String>)> {
        let actions = self.field("Actions").and_then(Value::as_array);
        let actions = actions.into_iter().flatten();
        let jobs = actions.filter_map(|action| {
            let job = text_of(action, "JobName")?;
            let arguments = action.get("Arguments");
            let option = arguments.and_then(|all| text_of(all, Self::BOOKMARK_ARGUMENT));
            Some((job.to_owned(), option.map(str::to_owned)))
        });
        jobs.collect()
    }
}

fn text_of<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// What an object names that must exist in the standby before it does.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Objects of this domain.
    pub(super) tools: BTreeSet<ObjectKey>,
    /// Objects that are not replicated, by their names.
    pub(super) others: BTreeMap<UnreplicatedKind, BTreeSet<String>>,
}

impl References {
    pub(super) fn of(object: &QueryObject) -> Self {
        let mut found = Self::default();
        match object.key.kind {
            QueryKind::Crawler => {
                let classifiers = object.field("Classifiers").and_then(Value::as_array);
                let classifiers = classifiers.into_iter().flatten().filter_map(Value::as_str);
                found
                    .tools
                    .extend(classifiers.map(|name| ObjectKey::new(QueryKind::Classifier, name)));
                found.add_security(object.text("CrawlerSecurityConfiguration"));
            }
            QueryKind::Trigger => {
                for path in ["Actions", "Predicate.Conditions"] {
                    let entries = object.field(path).and_then(Value::as_array);
                    for entry in entries.into_iter().flatten() {
                        found.add_trigger_entry(entry);
                    }
                }
            }
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::ExternalSchema => {}
        }
        found
    }

    fn add_trigger_entry(&mut self, entry: &Value) {
        let crawler = text_of(entry, "CrawlerName");
        self.tools
            .extend(crawler.map(|name| ObjectKey::new(QueryKind::Crawler, name)));
        self.add_other(UnreplicatedKind::Job, text_of(entry, "JobName"));
        self.add_security(text_of(entry, "SecurityConfiguration"));
    }

    fn add_security(&mut self, name: Option<&str>) {
        let key = |name| ObjectKey::new(QueryKind::SecurityConfiguration, name);
        self.tools.extend(name.map(key));
    }

    fn add_other(&mut self, kind: UnreplicatedKind, name: Option<&str>) {
        if let Some(name) = name {
            self.others.entry(kind).or_default().insert(name.to_owned());
        }
    }
}
