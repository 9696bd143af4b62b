//! How a statement ends that does not simply run.

use serde_json::Value;

/// A status of a statement before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnendedStatus {
    /// It waits to be picked.
    Submitted,
    /// A warehouse has it.
    Picked,
    /// It runs.
    Started,
}

impl UnendedStatus {
    /// The status as the Data API names it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::Picked => "PICKED",
            Self::Started => "STARTED",
        }
    }
}

/// How a statement ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatementFate {
    /// It has a status for ever unless it is cancelled, and takes effect or not.
    Stuck {
        /// The status.
        status: UnendedStatus,
        /// Whether it takes effect.
        takes_effect: bool,
    },
    /// It is `STARTED` for ever, cannot be cancelled, and takes effect when the late statements do.
    Late,
    /// It is `ABORTED`, and took effect or not.
    Aborted {
        /// Whether it took effect.
        took_effect: bool,
    },
    /// It is `FAILED` with an error text, and took effect or not.
    Failed {
        /// The text.
        text: String,
        /// Whether it took effect.
        took_effect: bool,
    },
    /// It is `FINISHED`, and changed nothing.
    Ineffective,
    /// It runs, and has each status in turn, also for who waits for its end.
    Slow,
    /// It runs, and as many answers to its submission are lost.
    AnswerLost {
        /// The number of answers.
        times: usize,
    },
}

impl StatementFate {
    /// The fate that a request to the sandbox describes.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let took_effect = json.get("takes_effect").and_then(Value::as_bool);
        let took_effect = took_effect.unwrap_or_default();
        let stuck = |status| Self::Stuck {
            status,
            takes_effect: took_effect,
        };
        Some(match json.get("fate").and_then(Value::as_str)? {
            "SUBMITTED" => stuck(UnendedStatus::Submitted),
            "PICKED" => stuck(UnendedStatus::Picked),
            "STARTED" => stuck(UnendedStatus::Started),
            "LATE" => Self::Late,
            "ABORTED" => Self::Aborted { took_effect },
            "FAILED" => Self::Failed {
                text: json.get("error").and_then(Value::as_str)?.to_owned(),
                took_effect,
            },
            "INEFFECTIVE" => Self::Ineffective,
            "SLOW" => Self::Slow,
            "ANSWER_LOST" => {
                let times = json.get("times").and_then(Value::as_u64).unwrap_or(1);
                Self::AnswerLost {
                    times: usize::try_from(times).ok()?,
                }
            }
            _ => return None,
        })
    }

    /// Whether the statement takes effect before anybody can look.
    pub(super) const fn takes_effect(&self) -> bool {
        match self {
            Self::Stuck { takes_effect, .. } => *takes_effect,
            Self::Aborted { took_effect } | Self::Failed { took_effect, .. } => *took_effect,
            Self::Late | Self::Ineffective => false,
            Self::Slow | Self::AnswerLost { .. } => true,
        }
    }
}
