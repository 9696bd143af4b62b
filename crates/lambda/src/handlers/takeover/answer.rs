//! What the takeover function answers. The state machine decides by `outcome` alone.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use twinlake_core::failover::{
    EpochRecord, FailoverJournal, FailoverRefusal, FailoverStep, RecoveryPoint, SwitchOperation,
    UndoRefusal,
};
use twinlake_core::render::{and_more, counted, one_or_many};

/// The most lines about what is left to do. A state machine passes on 256 KB; the journal has everything.
const MAX_ATTENTION_LINES: usize = 20;

/// The end of one invocation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TakeoverAnswer {
    /// The gates are open; nothing was changed.
    Validated {
        /// What would be done.
        steps: Vec<FailoverStep>,
        /// How far the Region is behind.
        recovery_point: Box<RecoveryPoint>,
    },
    /// The time of the invocation was over before this step.
    Continue(FailoverStep),
    /// The Region is the primary: by this invocation, or it was before.
    Primary {
        /// Whether this invocation has run steps.
        is_new: bool,
        /// What is left to do.
        attention: Vec<String>,
    },
    /// What had begun is undone.
    Undone {
        /// What is left to do.
        attention: Vec<String>,
    },
    /// A gate is closed. Nothing was changed, but for what the action says.
    Refused(TakeoverRefusal),
    /// It ended for another reason, and does not get further by itself.
    Failed(String),
}

/// A refusal, in the words of the gates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakeoverRefusal {
    pub(crate) gate: String,
    pub(crate) limit: String,
    pub(crate) measured: String,
    pub(crate) action: String,
}

impl From<FailoverRefusal> for TakeoverRefusal {
    fn from(refusal: FailoverRefusal) -> Self {
        Self {
            gate: refusal.gate.to_string(),
            limit: refusal.limit,
            measured: refusal.measured,
            action: refusal.action,
        }
    }
}

impl From<UndoRefusal> for TakeoverRefusal {
    fn from(refusal: UndoRefusal) -> Self {
        let action = match &refusal {
            UndoRefusal::NothingToUndo => "there is nothing to do",
            UndoRefusal::OtherOperation(_) => "name that operation",
            UndoRefusal::GrantsChange(_) => "undo it after that time",
            UndoRefusal::EpochWritten(..) => {
                "complete it with the same operation, and go back with `twinlake failback`"
            }
        };
        Self {
            gate: "undo".to_owned(),
            limit: "an operation is under way that has not written its epoch".to_owned(),
            measured: refusal.to_string(),
            action: action.to_owned(),
        }
    }
}

impl TakeoverAnswer {
    /// The outcome, by which the state machine decides.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Validated { .. } => "validated",
            Self::Continue(_) => "continue",
            Self::Primary { is_new: true, .. } => "completed",
            Self::Primary { is_new: false, .. } => "already-primary",
            Self::Undone { .. } => "undone",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the Region is the primary, and nothing is left of the takeover but what `attention` says.
    pub(crate) fn is_primary(&self) -> bool {
        match self {
            Self::Primary { .. } => true,
            Self::Validated { .. }
            | Self::Continue(_)
            | Self::Undone { .. }
            | Self::Refused(_)
            | Self::Failed(_) => false,
        }
    }

    /// What happened, as a sentence.
    pub(crate) fn message(&self, operation: SwitchOperation, region: &str) -> String {
        let operation = operation.as_str();
        match self {
            Self::Validated { .. } => {
                format!("The gates of a {operation} to {region} are open. Nothing was changed.")
            }
            Self::Continue(step) => format!(
                "The {operation} to {region} goes on with the step \"{}\".",
                step.description()
            ),
            Self::Primary { attention, .. } | Self::Undone { attention } => {
                let done = match self.is_primary() {
                    true => format!("{region} is the primary"),
                    false => format!("The {operation} to {region} is undone"),
                };
                match attention.first() {
                    None => format!("{done}."),
                    Some(first) => format!("{done}; {first}{}.", and_more(attention.len() - 1)),
                }
            }
            Self::Refused(refusal) => format!(
                "The gate {} is closed: {}, and {}; {}.",
                refusal.gate, refusal.limit, refusal.measured, refusal.action
            ),
            Self::Failed(reason) => format!("The {operation} to {region} has ended: {reason}."),
        }
    }

    /// The answer as JSON. `record` is that of the ledger at the end, if it could be read.
    pub(crate) fn json(
        &self,
        operation: SwitchOperation,
        region: &str,
        record: Option<&EpochRecord>,
    ) -> Value {
        let mut fields = Map::new();
        let mut set = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
        set("outcome", json!(self.outcome()));
        set("operation", json!(operation.as_str()));
        set("region", json!(region));
        set("message", json!(self.message(operation, region)));
        if let Some(record) = record {
            set("epoch", json!(record.epoch.number()));
            let journal = record.failover.as_ref();
            set("journal", journal.map_or(Value::Null, journal_summary));
        }
        match self {
            Self::Validated {
                steps,
                recovery_point,
            } => {
                let steps = steps.iter().map(|step| step.description());
                set("steps", json!(steps.collect::<Vec<_>>()));
                set("recovery_point", point_summary(recovery_point));
            }
            Self::Primary { attention, .. } | Self::Undone { attention } => {
                set("attention", json!(attention));
            }
            Self::Refused(refusal) => set(
                "refusal",
                json!({"gate": refusal.gate, "limit": refusal.limit, "measured": refusal.measured,
                       "action": refusal.action}),
            ),
            Self::Continue(_) | Self::Failed(_) => {}
        }
        Value::Object(fields)
    }
}

/// What is left to do after a takeover, in lines.
pub(crate) fn attention(journal: &FailoverJournal) -> Vec<String> {
    let mut lines = Vec::new();
    let mut unrestored = journal.unrestored.iter();
    for (database, reason) in unrestored.by_ref().take(MAX_ATTENTION_LINES) {
        lines.push(format!(
            "the default permissions for new tables of {database} could not be restored: {reason}"
        ));
    }
    let more = unrestored.count();
    if more > 0 {
        lines.push(format!(
            "nor those of {}",
            counted(more, "further database")
        ));
    }
    let left = journal.left_frozen.count;
    if left > 0 {
        lines.push(format!(
            "{} to write could not be granted again, and {} recorded",
            counted(left, "grant"),
            one_or_many(left, "stays", "stay")
        ));
    }
    if let Some(reason) = &journal.not_handed_over {
        lines.push(format!("the former primary is not the standby: {reason}"));
    }
    lines
}

/// The stage of the journal, and when each was reached. The whole journal may be larger than what a state machine passes
/// on.
fn journal_summary(journal: &FailoverJournal) -> Value {
    let reached: BTreeMap<String, String> = journal
        .reached
        .iter()
        .map(|(stage, at)| (stage.to_string(), at.to_string()))
        .collect();
    json!({"operation": journal.operation.as_str(), "to": journal.to.number(), "stage": journal.stage.to_string(),
           "reached": reached, "restored": journal.restored})
}

/// How far the Region is behind, by count.
fn point_summary(point: &RecoveryPoint) -> Value {
    let arrived: BTreeMap<String, String> = point
        .heartbeats
        .iter()
        .map(|(channel, at)| (channel.to_string(), at.to_string()))
        .collect();
    let not_in_sync: BTreeMap<String, usize> = point
        .not_in_sync
        .iter()
        .map(|(state, count)| (state.to_string(), *count))
        .collect();
    json!({"read_at": point.read_at.to_string(), "arrived_until": arrived,
           "verified_at": point.verified_at.map(|at| at.to_string()), "not_in_sync": not_in_sync,
           "tables_with_pending_objects": point.pending_tables, "unknown": point.unread})
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::failover::{FailoverRequest, decide};
    use twinlake_core::topology::{Epoch, SiteId};

    fn refused() -> TakeoverAnswer {
        let refusal = decide(
            &EpochRecord::default(),
            SiteId::B,
            &FailoverRequest::default(),
            &RecoveryPoint::default(),
        );
        TakeoverAnswer::Refused(refusal.unwrap_err().into())
    }

    #[test]
    fn a_refusal_has_its_gate_limit_and_measured_value_as_fields() {
        let json = refused().json(SwitchOperation::Failover, "ap-south-1", None);
        assert_eq!(json["outcome"], "refused");
        assert_eq!(json["refusal"]["gate"], "replicated-databases");
        let text = |name: &str| json["refusal"][name].as_str().unwrap().to_owned();
        assert!(text("limit").contains("at least 1 database"), "{json}");
        assert!(text("measured").contains("it pairs 0"), "{json}");
        assert!(
            text("action").contains("--force replicated-databases"),
            "{json}"
        );
        let message = json["message"].as_str().unwrap();
        assert!(
            message.contains("The gate replicated-databases is closed"),
            "{message}"
        );
    }

    #[test]
    fn an_undo_after_the_epoch_names_failback() {
        let refusal = UndoRefusal::EpochWritten(Epoch::new(1, SiteId::B), "failover");
        let answer = TakeoverAnswer::Refused(refusal.into());
        let message = answer.message(SwitchOperation::Failover, "ap-south-1");
        assert!(message.contains("has written epoch 1"), "{message}");
        assert!(message.contains("`twinlake failback`"), "{message}");
    }

    #[test]
    fn what_is_left_to_do_is_named_and_counted() {
        let databases = (0..25).map(|n| format!("\"db{n:02}\": \"denied\""));
        let databases = databases.collect::<Vec<_>>().join(",");
        let stored = format!(
            r#"{{"from":{{"epoch":0,"primary":"a"}},"to":{{"epoch":1,"primary":"b"}},"stage":"completed","reached":{{}},
            "unrestored":{{{databases}}},"recovery_point":{{"read_at":0,"databases":0,"heartbeats":{{}},"verified_at":null,
            "not_in_sync":{{}},"behind":[],"pending_tables":0,"pending":[],"unread":[]}}}}"#
        );
        let journal: FailoverJournal = serde_json::from_str(&stored).unwrap();
        let lines = attention(&journal);
        assert_eq!(lines.len(), MAX_ATTENTION_LINES + 1);
        assert_eq!(lines.last().unwrap(), "nor those of 5 further databases");
        let answer = TakeoverAnswer::Primary {
            is_new: true,
            attention: lines,
        };
        let message = answer.message(SwitchOperation::Failover, "ap-south-1");
        assert!(
            message.starts_with("ap-south-1 is the primary; the default permissions"),
            "{message}"
        );
        assert!(message.contains("and 20 more"), "{message}");
    }
}
