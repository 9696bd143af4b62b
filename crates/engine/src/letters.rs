//! What a message that could not be handled was about.

use crate::message::Message;
use twinlake_core::event::{Heard, Listener, Notified, Operation, parse, parse_operation};
use twinlake_core::event::{parse_replication, replication_subject};
use twinlake_core::grant::Terms;
use twinlake_core::{OwnRoles, Timestamp, render};

/// So much of a name is shown.
const SHOWN: usize = 200;

/// Names what a message is about, in words that are safe to show.
#[must_use]
pub fn name(body: &[u8]) -> String {
    let named = of_ours(body)
        .or_else(|| of_notification(body))
        .or_else(|| of_event(body))
        .unwrap_or_else(|| "no event that Twinlake understands".to_owned());
    let safe = render::escape(&named);
    safe.chars().take(SHOWN).collect()
}

fn of_ours(body: &[u8]) -> Option<String> {
    let message = Message::parse(body)?;
    let what = match message.part {
        Some(part) => format!("a part of the resync {}", part.run),
        None => "a later look".to_owned(),
    };
    Some(format!("{}: {what}", message.scope))
}

fn of_notification(body: &[u8]) -> Option<String> {
    let Ok(Notified::Objects(notices, _)) = parse_replication(body, Timestamp::default()) else {
        return None;
    };
    let first = notices.first()?;
    let subject = replication_subject(first, None);
    Some(format!("{} objects of {subject}", notices.len()))
}

fn of_event(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    if json.get("requestPayload").is_some() {
        return Some("a scheduled run that failed".to_owned());
    }
    let text = |key: &str| {
        let text = json.get(key).and_then(serde_json::Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let listener = Listener {
        region: text("region"),
        account: text("account"),
        ours: OwnRoles::default(),
        terms: Terms::default(),
        now: Timestamp::default(),
    };
    let kind = text("detail-type");
    if let Ok(Heard::Look(scope)) = parse(body, &listener) {
        return Some(format!("{scope}: {kind}"));
    }
    match parse_operation(body, &listener).ok()? {
        Operation::Tell(alert) | Operation::Told(alert) => {
            Some(format!("{}: {kind}", alert.subject))
        }
        Operation::Over(_, subject, _) => Some(format!("{subject}: {kind}")),
        Operation::Hand(hand) => Some(format!("{}: {kind}", hand.scope)),
        Operation::Nothing(_) => Some(kind),
    }
}
