//! Checks a plan of the domain before any of it is applied. It shares only data types and the table of the
//! kinds with the planner; what may differ between the Regions it finds out by itself.

mod connection;
mod external_schema;
mod foreign_text;
mod glue_tools;
mod narrowing;
mod statement;
#[cfg(test)]
mod tests;

pub use statement::{ApprovedStatement, StatementBounds, StatementRefusal, audit_statement};

use super::object::{Fields, ObjectKey, QueryObject};
use super::plan::{QueryInputs, QueryPlan, QueryStep};
use super::row::QueryCounts;
use super::rules::QueryKind;
use super::snapshot::QuerySnapshot;
use crate::audit::AuditRule;
use crate::snapshot::Observation;
use foreign_text::{PrimaryNames, masked};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A plan that passed the audit. Only [`audit_query`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct ApprovedQueryPlan {
    plan: QueryPlan,
}

impl ApprovedQueryPlan {
    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[QueryStep] {
        &self.plan.steps
    }
}

/// What the deletion limit compares a plan with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryDeletionBudget {
    /// The paired objects of each kind.
    pub paired: QueryCounts,
    /// The objects of each kind that were deleted in the last hour.
    pub deleted_last_hour: QueryCounts,
    /// Objects of the primary whose deletion a person has approved.
    pub approved: BTreeSet<ObjectKey>,
}

/// Why a step is rejected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct QueryRejection {
    /// The rule that it breaks.
    pub rule: AuditRule,
    /// The object of the primary; of the deletion limit one of those that exceed it.
    pub object: ObjectKey,
    /// What breaks the rule, and how.
    pub detail: String,
    /// Whether the step only takes away: then it is held as well as what else is planned for the object.
    #[serde(skip)]
    pub is_of_narrowing: bool,
}

impl fmt::Display for QueryRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.detail)
    }
}

/// Approves a plan, or returns a rejection for each step that breaks a rule.
///
/// # Errors
/// The rejections, at least one.
pub fn audit_query(
    inputs: &QueryInputs<'_>,
    plan: QueryPlan,
    budget: &QueryDeletionBudget,
) -> Result<ApprovedQueryPlan, Vec<QueryRejection>> {
    let auditor = Auditor {
        inputs,
        plan: &plan,
        names: PrimaryNames::new(inputs),
    };
    let mut rejections = auditor.check_order();
    // What is adopted may be changed and deleted later, so it is judged now.
    for (primary, standby) in &plan.adopted {
        if let Err((rule, detail)) = auditor.check_managed(primary, standby) {
            rejections.push(QueryRejection {
                rule,
                object: primary.clone(),
                detail,
                is_of_narrowing: false,
            });
        }
    }
    for step in &plan.steps {
        if let Err((rule, detail)) = auditor.check(step) {
            rejections.push(QueryRejection {
                rule,
                object: step.primary().clone(),
                detail,
                is_of_narrowing: step.is_narrowing(),
            });
        }
    }
    rejections.extend(auditor.check_deletion_limit(budget));
    match rejections.is_empty() {
        true => Ok(ApprovedQueryPlan { plan }),
        false => Err(rejections),
    }
}

type Check = Result<(), (AuditRule, String)>;

fn refuse(rule: AuditRule, detail: impl Into<String>) -> Check {
    Err((rule, detail.into()))
}

/// Whether an object is the workgroup `primary` without anything that a person can set.
fn is_as_aws_makes_it(object: &QueryObject) -> bool {
    let is_default = |(path, value): (&str, &Value)| {
        matches!(
            (path, value.as_str()),
            ("State", Some("ENABLED"))
                | (
                    "Configuration.EngineVersion.SelectedEngineVersion",
                    Some("AUTO")
                )
        )
    };
    object.key == ObjectKey::new(QueryKind::WorkGroup, "primary")
        && object.tags.iter().all(BTreeMap::is_empty)
        && leaves(&object.comparable())
            .iter()
            .all(|(path, value)| is_default((path, value)))
}

/// The values of fields that have no fields below them, by their dotted paths.
fn leaves(fields: &Fields) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Object(inner) => {
                let inner: Fields = inner.clone().into_iter().collect();
                let below = leaves(&inner).into_iter();
                found.extend(below.map(|(path, value)| (format!("{name}.{path}"), value)));
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                found.push((name.clone(), value.clone()));
            }
        }
    }
    found
}

struct Auditor<'a> {
    inputs: &'a QueryInputs<'a>,
    plan: &'a QueryPlan,
    names: PrimaryNames,
}

impl Auditor<'_> {
    fn check_order(&self) -> Vec<QueryRejection> {
        let is_other = self.plan.policy_digest != self.inputs.policy.digest()
            || self.plan.epoch != self.inputs.epoch;
        let first = self.plan.steps.first().filter(|_| is_other);
        let mut rejections: Vec<QueryRejection> = first
            .map(|step| QueryRejection {
                rule: AuditRule::OtherPolicyOrEpoch,
                object: step.primary().clone(),
                detail: "the plan was made for another policy or epoch".to_owned(),
                is_of_narrowing: step.is_narrowing(),
            })
            .into_iter()
            .collect();
        // What is created in a workgroup comes after it, and is deleted before it.
        for (at, step) in self.plan.steps.iter().enumerate() {
            let earlier = self.plan.steps.iter().take(at);
            let is_wrong = |earlier: &QueryStep| match (earlier, step) {
                (
                    QueryStep::Create { primary, .. },
                    QueryStep::Create {
                        primary: parent, ..
                    },
                )
                | (
                    QueryStep::Delete {
                        primary: parent, ..
                    },
                    QueryStep::Delete { primary, .. },
                ) => primary.parent_key().as_ref() == Some(parent),
                (
                    QueryStep::Create { .. }
                    | QueryStep::Update { .. }
                    | QueryStep::SetTags { .. }
                    | QueryStep::Narrow { .. }
                    | QueryStep::Sleep { .. }
                    | QueryStep::Delete { .. },
                    _,
                ) => false,
            };
            if earlier.into_iter().any(is_wrong) {
                rejections.push(QueryRejection {
                    rule: AuditRule::Order,
                    object: step.primary().clone(),
                    detail: "a workgroup is created before and deleted after what is in it"
                        .to_owned(),
                    is_of_narrowing: step.is_narrowing(),
                });
            }
            if self.is_widened_too_early(at, step) {
                rejections.push(QueryRejection {
                    rule: AuditRule::Order,
                    object: step.primary().clone(),
                    detail: "nothing is given before what takes away".to_owned(),
                    is_of_narrowing: step.is_narrowing(),
                });
            }
        }
        rejections
    }

    fn check(&self, step: &QueryStep) -> Check {
        match step {
            QueryStep::Create { primary, object } => {
                self.check_missing(primary, object)?;
                self.check_content(primary, object)?;
                self.check_asleep(primary, object)
            }
            QueryStep::Update {
                primary,
                current,
                object,
            } => {
                if current.key != object.key {
                    return refuse(AuditRule::NotManaged, "it would write another object");
                }
                if !object.key.kind.has_update() {
                    return refuse(AuditRule::Altered, "no call changes objects of this kind");
                }
                self.check_managed(primary, &object.key)?;
                self.check_epoch(primary, &object.key)?;
                self.check_content(primary, object)?;
                self.check_asleep(primary, object)
            }
            QueryStep::SetTags {
                primary,
                standby,
                set,
                remove,
            } => {
                self.check_managed(primary, standby)?;
                self.check_epoch(primary, standby)?;
                self.check_tags(primary, standby, (set, remove))
            }
            QueryStep::Narrow {
                primary,
                current,
                object,
            } => self.check_narrowing(primary, (current, object)),
            QueryStep::Sleep { primary, standby } => self.check_sleep(primary, standby),
            QueryStep::Delete { primary, current } => {
                let standby = &current.key;
                if self.inputs.standby.present(standby) != Some(current) {
                    return refuse(AuditRule::NotManaged, "it is not what was read");
                }
                self.check_paired(primary, standby)?;
                self.check_epoch(primary, standby)?;
                let is_service_made = match standby.kind {
                    QueryKind::WorkGroup => standby.id == "primary",
                    QueryKind::DataCatalog => standby.id == "AwsDataCatalog",
                    QueryKind::NamedQuery
                    | QueryKind::PreparedStatement
                    | QueryKind::Classifier
                    | QueryKind::SecurityConfiguration
                    | QueryKind::Connection
                    | QueryKind::Job
                    | QueryKind::Workflow
                    | QueryKind::Crawler
                    | QueryKind::Trigger
                    | QueryKind::ExternalSchema => false,
                };
                if is_service_made {
                    return refuse(
                        AuditRule::NotManaged,
                        "AWS makes it, and it is never deleted",
                    );
                }
                self.check_workflow_is_empty(standby)?;
                match self.inputs.primary.objects.get(primary) {
                    Some(Observation::Absent(proof)) if proof.is_complete() => Ok(()),
                    Some(
                        Observation::Absent(_) | Observation::Present(_) | Observation::Unknown(_),
                    )
                    | None => refuse(
                        AuditRule::Unproven,
                        "its absence from the primary is not proven",
                    ),
                }
            }
        }
    }

    /// What is created may not exist, by name or by the pairing.
    fn check_missing(&self, primary: &ObjectKey, object: &QueryObject) -> Check {
        let standby = self.inputs.standby;
        let is_complete = |key: &ObjectKey| {
            let listing = (key.kind, key.parent.clone());
            matches!(standby.listings.get(&listing), Some(Ok(())))
        };
        let parent_is_new = object
            .key
            .parent_key()
            .is_some_and(|parent| is_complete(&parent) && !standby.objects.contains_key(&parent));
        if !is_complete(&object.key) && !parent_is_new {
            return refuse(AuditRule::Unproven, "the standby was not listed completely");
        }
        if standby.present(&object.key).is_some() {
            return refuse(
                AuditRule::NotManaged,
                "the standby has an object of this name",
            );
        }
        let row = self.inputs.rows.get(primary);
        let counterpart = row.and_then(|row| row.key_in(self.inputs.epoch.standby()));
        match counterpart.and_then(|key| standby.present(key)) {
            Some(found) if row.is_some_and(|row| row.pairs(self.inputs.epoch.standby(), found)) => {
                refuse(
                    AuditRule::NotManaged,
                    "the standby has its counterpart already",
                )
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What is changed is paired, or becomes so by this plan because it is equal, untouched or our own.
    fn check_managed(&self, primary: &ObjectKey, standby: &ObjectKey) -> Check {
        if self.check_paired(primary, standby).is_ok() {
            return Ok(());
        }
        let row = self.inputs.rows.get(primary);
        let found = self.inputs.standby.present(standby);
        let is_own = row
            .zip(found)
            .is_some_and(|(row, found)| row.intends(found));
        let is_made_by_aws = primary == standby && found.is_some_and(is_as_aws_makes_it);
        let is_equal = found.is_some_and(|found| {
            let is_equal = self.check_content(primary, found).is_ok();
            is_equal && self.has_tags_of(primary, found) && !glue_tools::runs(found)
        });
        let adopts = self.plan.adopted.get(primary) == Some(standby);
        match adopts && (is_own || is_made_by_aws || is_equal) {
            true => Ok(()),
            false => refuse(
                AuditRule::NotManaged,
                "Twinlake does not manage the standby's object",
            ),
        }
    }

    fn check_paired(&self, primary: &ObjectKey, standby: &ObjectKey) -> Check {
        let row = self.inputs.rows.get(primary);
        let found = self.inputs.standby.present(standby);
        let is_paired = row
            .zip(found)
            .is_some_and(|(row, found)| row.pairs(self.inputs.epoch.standby(), found));
        match is_paired {
            true => Ok(()),
            false => refuse(AuditRule::NotManaged, "no row of the ledger pairs it"),
        }
    }

    /// What a site changed while it was the primary is neither overwritten nor deleted after a switch.
    fn check_epoch(&self, primary: &ObjectKey, standby: &ObjectKey) -> Check {
        let row = self.inputs.rows.get(primary);
        let found = self.inputs.standby.present(standby);
        match row.zip(found) {
            Some((row, found))
                if row.pairs(self.inputs.epoch.standby(), found)
                    && row.was_changed_since_earlier_epoch(self.inputs.epoch, found) =>
            {
                refuse(
                    AuditRule::NotManaged,
                    "it was changed in the standby while that Region was the primary",
                )
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Tags become those of the primary, by keys that change something.
    fn check_tags(
        &self,
        primary: &ObjectKey,
        standby: &ObjectKey,
        (set, remove): (&BTreeMap<String, String>, &BTreeSet<String>),
    ) -> Check {
        let tags_in = |snapshot: &QuerySnapshot, key| snapshot.present(key)?.tags.clone();
        let wanted = tags_in(self.inputs.primary, primary);
        let found = tags_in(self.inputs.standby, standby);
        let (Some(wanted), Some(mut tags)) = (wanted, found) else {
            return refuse(AuditRule::Unproven, "the tags of both were not read");
        };
        tags.extend(set.clone());
        tags.retain(|name, _| !remove.contains(name));
        match tags == wanted {
            true => Ok(()),
            false => refuse(
                AuditRule::Altered,
                "its tags would differ from those of the primary",
            ),
        }
    }

    /// Whether an object has the tags of the primary's, where both were read.
    fn has_tags_of(&self, primary: &ObjectKey, found: &QueryObject) -> bool {
        let original = self.inputs.primary.present(primary);
        let wanted = original.and_then(|original| original.tags.as_ref());
        match (wanted, &found.tags) {
            (Some(wanted), Some(found)) => wanted == found,
            (None, _) | (_, None) => true,
        }
    }

    /// What is written equals the primary's but for names of locations, keys, functions, roles and catalogs, and
    /// names nothing of the primary.
    fn check_content(&self, primary: &ObjectKey, object: &QueryObject) -> Check {
        let Some(original) = self.inputs.primary.present(primary) else {
            return refuse(AuditRule::Unproven, "the primary's object was not read");
        };
        if object.key.kind != primary.kind || object.key.parent != primary.parent {
            return refuse(
                AuditRule::Altered,
                "it is of another kind, or in another workgroup",
            );
        }
        if original.text("Type") == Some("FEDERATED") {
            return refuse(AuditRule::Altered, "a federated catalog is never created");
        }
        if masked(&original.comparable()) != masked(&object.comparable()) {
            return refuse(
                AuditRule::Altered,
                "it differs from the primary's in more than locations, keys, functions, roles and catalogs",
            );
        }
        self.check_external_schema(primary, object)?;
        self.check_connection(original, object)?;
        match self.names.find(&object.comparable()) {
            Some(found) => refuse(
                AuditRule::Altered,
                format!("it would name {found}, which belongs to the primary"),
            ),
            None => Ok(()),
        }
    }

    fn check_deletion_limit(&self, budget: &QueryDeletionBudget) -> Vec<QueryRejection> {
        let deletions = self.plan.steps.iter().filter(|step| step.is_deletion());
        let deletions = deletions.map(QueryStep::primary);
        let limited: Vec<&ObjectKey> = deletions
            .filter(|key| !budget.approved.contains(*key))
            .collect();
        let mut rejections = Vec::new();
        for kind in QueryKind::EVERY {
            let of_kind: Vec<&&ObjectKey> = limited.iter().filter(|key| key.kind == kind).collect();
            let (paired, deleted) = (budget.paired.of(kind), budget.deleted_last_hour.of(kind));
            let limit = self.inputs.policy.deletion_limit.allowed(paired);
            if of_kind.is_empty() || of_kind.len().saturating_add(deleted) <= limit {
                continue;
            }
            let detail = format!(
                "{} x {kind} to delete in this plan and {deleted} deleted in the last hour, of {paired}; \
                 the limit without approval is {limit}",
                of_kind.len()
            );
            rejections.extend(of_kind.into_iter().map(|key| QueryRejection {
                rule: AuditRule::DeletionLimit,
                object: (*key).clone(),
                detail: detail.clone(),
                is_of_narrowing: false,
            }));
        }
        rejections
    }
}
