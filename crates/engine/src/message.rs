//! What Twinlake sends to its own queues: a scope that has to wait.

use serde::{Deserialize, Serialize};
use twinlake_core::{Scope, Timestamp};

/// A scope with how often it was tried and until when it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Where to look.
    pub scope: Scope,
    /// How often it was tried before.
    pub attempt: u32,
    /// When to give up and leave it to the resync.
    pub deadline: Timestamp,
    /// The resync run that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of a resync run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The run.
    pub run: String,
    /// The part's name within the run.
    pub name: String,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    twinlake: Message,
}

impl Message {
    /// Reads a body, if it is one of ours.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Envelope>(body)
            .ok()
            .map(|envelope| envelope.twinlake)
    }

    /// The body as it is sent.
    #[must_use]
    pub fn body(&self) -> String {
        let envelope = Envelope {
            twinlake: self.clone(),
        };
        serde_json::to_string(&envelope).unwrap_or_default()
    }

    /// How long to wait before the next try: twice as long each time.
    #[must_use]
    pub fn delay_secs(&self) -> u16 {
        const FIRST: u16 = 5;
        const LONGEST: u16 = 900;
        let doublings = self.attempt.min(10);
        FIRST
            .saturating_mul(1u16.checked_shl(doublings).unwrap_or(u16::MAX))
            .min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_queue_and_is_told_from_an_event() {
        let message = Message {
            scope: Scope::catalog(),
            attempt: 3,
            deadline: Timestamp::from_secs(10),
            part: None,
        };
        assert_eq!(Message::parse(message.body().as_bytes()), Some(message));
        assert_eq!(Message::parse(b"{\"source\":\"aws.glue\"}"), None);
    }

    #[test]
    fn waiting_grows_up_to_what_sqs_allows() {
        let at = |attempt| {
            let message = Message {
                scope: Scope::default(),
                attempt,
                deadline: Timestamp(0),
                part: None,
            };
            message.delay_secs()
        };
        assert_eq!((at(0), at(1), at(4), at(40)), (5, 10, 80, 900));
    }
}
