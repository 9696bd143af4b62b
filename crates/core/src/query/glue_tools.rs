//! What of the tools of Glue cannot be carried, and what they name that must exist in the standby first.

use super::object::{ObjectKey, QueryObject};
use super::rules::QueryKind;
use crate::name::{Name, TableId};
use crate::policy::Policy;
use serde_json::Value;
use std::collections::BTreeSet;

/// Why an object is not replicated, whatever the policy says: each names the part.
pub(super) fn unsupported(object: &QueryObject, policy: &Policy) -> Vec<String> {
    match object.key.kind {
        QueryKind::Crawler => unsupported_crawler(object, policy),
        QueryKind::Trigger => unsupported_trigger(object),
        QueryKind::Job => unsupported_job(object),
        QueryKind::Connection => unsupported_connection(object),
        QueryKind::WorkGroup
        | QueryKind::DataCatalog
        | QueryKind::NamedQuery
        | QueryKind::PreparedStatement
        | QueryKind::Classifier
        | QueryKind::SecurityConfiguration
        | QueryKind::Workflow
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
            if let Some(reason) = reason {
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

/// A connection with a password, or with what this version does not carry.
fn unsupported_connection(object: &QueryObject) -> Vec<String> {
    let mut reasons = Vec::new();
    if let Some(names) = object.text("Passwords") {
        reasons.push(format!(
            "it holds a password ({names}), which Twinlake never reads: put user and password in a secret of Secrets \
             Manager, replicate that to the standby, and name it by SECRET_ID; or create the connection there yourself"
        ));
    }
    if let Some(names) = object.text("NotCarried") {
        reasons.push(format!(
            "it has {names}, which Twinlake does not carry: create it in the standby yourself"
        ));
    }
    reasons
}

/// A visual job is made of nodes, of which Glue Studio writes the script: they name what the script names.
fn unsupported_job(object: &QueryObject) -> Vec<String> {
    let nodes = object.field("CodeGenConfigurationNodes");
    let reason = "it has visual nodes (CodeGenConfigurationNodes), which name locations and tables of the primary, and \
                  Twinlake does not map them: make a script job of it, or create it in the standby yourself";
    nodes.map(|_| reason.to_owned()).into_iter().collect()
}

/// What a reader should know of an object although it is replicated.
pub(super) fn notes(object: &QueryObject) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(option) = object.kept_bookmarks() {
        notes.push(format!(
            "it keeps bookmarks ({option}), which no call carries: its first run in the standby reads everything \
             again, so a takeover wakes no trigger that starts it"
        ));
    }
    if object.field("SourceControlDetails").is_some() {
        notes.push("its source control is not carried".to_owned());
    }
    if let Some(profile) = object.text("ProfileName") {
        notes.push(format!("its usage profile {profile} is not carried"));
    }
    notes
}

fn unsupported_trigger(object: &QueryObject) -> Vec<String> {
    let mut reasons = Vec::new();
    if object.text("Type") == Some("EVENT") {
        let reason = "it is an EVENT trigger: AWS does not say that one that was never started stays inactive, so \
                      none is made before a takeover";
        reasons.push(reason.to_owned());
    }
    reasons
}

impl QueryObject {
    /// The argument of a job that says whether it keeps bookmarks.
    pub const BOOKMARK_ARGUMENT: &str = "--job-bookmark-option";

    /// The value of that argument with which a job keeps no bookmarks; also the default.
    pub const NO_BOOKMARKS: &str = "job-bookmark-disable";

    /// The option for bookmarks that a job has, if any: one that a run cannot override, else the default.
    #[must_use]
    pub fn bookmark_option(&self) -> Option<&str> {
        self.argument("NonOverridableArguments")
            .or_else(|| self.argument("DefaultArguments"))
    }

    /// The option for bookmarks of a job that no trigger overrides.
    #[must_use]
    pub fn fixed_bookmark_option(&self) -> Option<&str> {
        self.argument("NonOverridableArguments")
    }

    /// The option with which a job keeps bookmarks, if it does.
    #[must_use]
    pub fn kept_bookmarks(&self) -> Option<&str> {
        self.bookmark_option()
            .filter(|option| *option != Self::NO_BOOKMARKS)
    }

    fn argument(&self, field: &str) -> Option<&str> {
        self.field(field)?.get(Self::BOOKMARK_ARGUMENT)?.as_str()
    }

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
                let targets = object.field("Targets").and_then(Value::as_object);
                let targets = targets.into_iter().flatten();
                let entries = targets
                    .filter_map(|(_, entries)| entries.as_array())
                    .flatten();
                for entry in entries {
                    found.add_connection(text_of(entry, "ConnectionName"));
                }
            }
            QueryKind::Job => {
                found.add_security(object.text("SecurityConfiguration"));
                let connections = object.field("Connections.Connections");
                let connections = connections.and_then(Value::as_array).into_iter().flatten();
                for name in connections {
                    found.add_connection(name.as_str());
                }
            }
            QueryKind::Trigger => {
                let workflow = object.text("WorkflowName");
                let workflow = workflow.map(|name| ObjectKey::new(QueryKind::Workflow, name));
                found.tools.extend(workflow);
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
            | QueryKind::Connection
            | QueryKind::Workflow
            | QueryKind::ExternalSchema => {}
        }
        found
    }

    fn add_trigger_entry(&mut self, entry: &Value) {
        let crawler = text_of(entry, "CrawlerName");
        self.tools
            .extend(crawler.map(|name| ObjectKey::new(QueryKind::Crawler, name)));
        let job = text_of(entry, "JobName");
        self.tools
            .extend(job.map(|name| ObjectKey::new(QueryKind::Job, name)));
        self.add_security(text_of(entry, "SecurityConfiguration"));
    }

    fn add_connection(&mut self, name: Option<&str>) {
        let key = |name| ObjectKey::new(QueryKind::Connection, name);
        self.tools.extend(name.map(key));
    }

    fn add_security(&mut self, name: Option<&str>) {
        let key = |name| ObjectKey::new(QueryKind::SecurityConfiguration, name);
        self.tools.extend(name.map(key));
    }
}
