//! The message that Twinlake sends to its own queues: a scope to reconcile later.

use serde::{Deserialize, Serialize};
use twinlake_core::{Scope, Timestamp};

/// A scope to reconcile, with the number of earlier attempts and the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryMessage {
    /// The scope to reconcile.
    pub scope: Scope,
    /// The number of earlier attempts.
    pub attempt: u32,
    /// After this time the scope is not retried, but left to the resync. A part of a resync run is made
    /// all the same.
    pub deadline: Timestamp,
    /// The part of a resync run that the message requests, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<ResyncPart>,
    /// How often permissions of the scope may still be read again because a listing of them may be old. `None` is
    /// [`MAX_LOOKS`]. It only falls from a message to those that follow it, so their number is bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks_left: Option<u8>,
    /// Whether it stands for a message that was delivered before, and whose permissions are read again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_redelivered: bool,
    /// Whether it stands for an event that was not attempted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_event: bool,
}

/// How often permissions are read again because a listing of them may be old.
pub const MAX_LOOKS: u8 = 2;

/// A part of a resync run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncPart {
    /// The ID of the run.
    pub run: String,
    /// The name of the part within the run.
    pub name: String,
}

impl ResyncPart {
    /// The first part of the run that starts at a time, under a policy.
    #[must_use]
    pub fn first(started: Timestamp, policy_digest: &str) -> Self {
        Self {
            run: format!("run-{}-{}", started.millis(), short(policy_digest)),
            name: "start".to_owned(),
        }
    }

    /// When the run started, as its ID says.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        let millis = self.run.split('-').nth(1)?;
        millis.parse().ok().map(Timestamp::from_millis)
    }

    /// Whether the run started under the policy of this digest, as its ID says.
    #[must_use]
    pub fn has_policy(&self, policy_digest: &str) -> bool {
        self.run.split('-').nth(2) == Some(short(policy_digest))
    }
}

/// The first characters of a digest: enough to tell two policies apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// A part of a resync run that is received later than this after it was sent counts as delivered before.
pub const PART_DEADLINE_SECS: i64 = 6 * 3600;

/// The delay in seconds of the first look at permissions that are read again.
const FIRST_LOOK_DELAY_SECS: u16 = 80;

/// The delay in seconds of the last look at permissions that are read again.
pub const LAST_LOOK_DELAY_SECS: u16 = 640;

/// The delay of a message after the first attempt.
pub const FIRST_DELAY_SECS: u16 = 5;

/// The longest delay of a message for something that takes access away.
pub const MAX_NARROWING_DELAY_SECS: u16 = 20;

/// The whole body: an event, which has other keys, is never parsed as a retry message.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    twinlake: RetryMessage,
}

impl RetryMessage {
    /// The first message about a scope.
    #[must_use]
    pub const fn new(scope: Scope, deadline: Timestamp) -> Self {
        Self {
            scope,
            attempt: 0,
            deadline,
            part: None,
            looks_left: None,
            is_redelivered: false,
            is_event: false,
        }
    }

    /// How often permissions of the scope may still be read again.
    #[must_use]
    pub fn looks_left(&self) -> u8 {
        self.looks_left.unwrap_or(MAX_LOOKS).min(MAX_LOOKS)
    }

    /// The message with which permissions are read again that its scope may have read too early, and its delay in
    /// seconds. `left` is how often they may still be read again, this time included.
    #[must_use]
    pub fn look(scope: Scope, deadline: Timestamp, left: u8) -> (Self, u16) {
        let delay = match left >= MAX_LOOKS {
            true => FIRST_LOOK_DELAY_SECS,
            false => LAST_LOOK_DELAY_SECS,
        };
        let message = Self {
            looks_left: Some(left.saturating_sub(1)),
            ..Self::new(scope, deadline)
        };
        (message, delay)
    }

    /// Parses a message body. Returns `None` if it is not a retry message.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Envelope>(body)
            .ok()
            .map(|envelope| envelope.twinlake)
    }

    /// Returns the message body as JSON.
    #[must_use]
    pub fn body(&self) -> String {
        let envelope = Envelope {
            twinlake: self.clone(),
        };
        serde_json::to_string(&envelope).unwrap_or_default()
    }

    /// If a part of a resync run was delivered before: the message that has it made once more, after
    /// [`LAST_LOOK_DELAY_SECS`]. A function that ended between a grant and its next read has left the grant, and a listing of
    /// the standby may be older than it. Other messages look again by themselves. What is received after
    /// its deadline counts as delivered before, whoever sent it back.
    #[must_use]
    pub fn after_redelivery(&self, is_redelivered: bool, now: Timestamp) -> Option<Self> {
        let is_past_deadline = self.deadline < now;
        let looks_again = self.part.is_some() && (is_redelivered || is_past_deadline);
        looks_again.then(|| Self {
            deadline: self.deadline.max(now.plus_secs(PART_DEADLINE_SECS)),
            ..self.clone()
        })
    }

    /// Returns the delay in seconds before the next attempt at something that takes access away: it backs off
    /// like others, up to [`MAX_NARROWING_DELAY_SECS`]. Between half of the delay and all of it, by the message,
    /// so that messages that lost against the same run do not meet again.
    #[must_use]
    pub fn narrowing_delay_secs(&self) -> u16 {
        let longest = self.delay_secs_after().min(MAX_NARROWING_DELAY_SECS);
        let digest = twinlake_core::catalog::digest(self);
        let number = digest.get(..8).map(|text| u32::from_str_radix(text, 16));
        let number = number.and_then(Result::ok).unwrap_or_default();
        let range = u32::from(longest / 2) + 1;
        longest - u16::try_from(number % range).unwrap_or_default()
    }

    /// Returns the delay in seconds after this attempt, before the message that follows it: exponential
    /// backoff up to the maximum delay of SQS.
    #[must_use]
    pub fn delay_secs_after(&self) -> u16 {
        const MAX_SECS: u16 = 900;
        let doublings = self.attempt.min(10);
        FIRST_DELAY_SECS
            .saturating_mul(1u16.checked_shl(doublings).unwrap_or(u16::MAX))
            .min(MAX_SECS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_message_round_trips_and_an_event_is_not_parsed_as_one() {
        let message = RetryMessage {
            attempt: 3,
            ..RetryMessage::new(Scope::catalog(), Timestamp::from_secs(10))
        };
        let changed = RetryMessage {
            looks_left: Some(0),
            is_redelivered: true,
            is_event: true,
            ..message.clone()
        };
        for message in [&message, &changed] {
            let parsed = RetryMessage::parse(message.body().as_bytes());
            assert_eq!(parsed.as_ref(), Some(message));
        }
        let body = message.body();
        assert!(
            !body.contains("looks_left") && !body.contains("is_"),
            "a version without these fields reads it: {body}"
        );
        assert_eq!(RetryMessage::parse(b"{\"source\":\"aws.glue\"}"), None);
        let mut event: serde_json::Value = serde_json::from_str(&message.body()).unwrap();
        event["source"] = "twinlake".into();
        assert_eq!(RetryMessage::parse(event.to_string().as_bytes()), None);
    }

    #[test]
    fn what_takes_access_away_is_delayed_for_seconds_and_not_with_others() {
        let delays = |attempt: u32| -> BTreeSet<u16> {
            let messages = (0..64).map(|deadline| RetryMessage {
                attempt,
                ..RetryMessage::new(Scope::catalog(), Timestamp::from_millis(deadline))
            });
            messages.map(|one| one.narrowing_delay_secs()).collect()
        };
        assert_eq!(delays(0), BTreeSet::from([3, 4, 5]));
        assert_eq!(delays(1), (5..=10).collect());
        for attempt in [2, 9, 600] {
            assert_eq!(delays(attempt), (10..=20).collect(), "{attempt}");
        }
    }

    #[test]
    fn a_part_of_a_resync_that_was_delivered_before_is_made_once_more() {
        let started = Timestamp::from_secs(100);
        let part = RetryMessage {
            part: Some(ResyncPart::first(started, "0123456789abcdef")),
            ..RetryMessage::new(Scope::catalog(), Timestamp::from_secs(1_000))
        };
        let now = Timestamp::from_secs(1_000);
        assert_eq!(part.after_redelivery(false, now), None);
        let again = part.after_redelivery(true, now).unwrap();
        assert_eq!((again.attempt, &again.part), (0, &part.part));
        let late = Timestamp::from_secs(1_001);
        let again = part.after_redelivery(false, late).unwrap();
        assert_eq!(
            again.after_redelivery(false, late.plus_secs(640)),
            None,
            "once only"
        );
        let event = RetryMessage { part: None, ..part };
        assert_eq!(event.after_redelivery(true, late), None);
    }

    #[test]
    fn the_delay_doubles_up_to_the_sqs_maximum() {
        let delay = |attempt| {
            let message = RetryMessage {
                attempt,
                ..RetryMessage::new(Scope::default(), Timestamp::from_millis(0))
            };
            message.delay_secs_after()
        };
        assert_eq!((delay(0), delay(1), delay(4), delay(40)), (5, 10, 80, 900));
    }
}
