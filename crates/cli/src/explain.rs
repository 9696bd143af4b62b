//! `explain`: what Twinlake makes of an event.

use crate::args::{Common, ExplainArgs};
use crate::store::{read_bytes, read_policy};
use crate::{CliError, Left, out};
use std::fmt::Write as _;
use twinlake_aws::SystemClock;
use twinlake_core::event::{
    Heard, Listener, Notified, Operation, parse, parse_operation, parse_replication,
    replication_alerts,
};
use twinlake_core::grant::Terms;
use twinlake_core::ledger::Epoch;
use twinlake_core::{Alert, OwnRoles, Scope, render};
use twinlake_engine::Clock as _;

pub(crate) fn explain(common: &Common, args: &ExplainArgs) -> Result<Left, CliError> {
    let bytes = read_bytes(&args.file)?;
    let now = SystemClock.now();
    // Without a policy the event is taken to come from the primary.
    let listener = match &common.policy {
        Some(file) => {
            let policy = read_policy(file)?;
            let primary = policy.primary(Epoch(0));
            Listener {
                region: primary.region.clone(),
                account: primary.account.clone(),
                ours: OwnRoles::new(common.own_roles.clone()),
                terms: Terms::of_primary(&policy, Epoch(0)),
                now,
            }
        }
        None => sender(&bytes, common),
    };
    let text = match parse(&bytes, &listener) {
        Ok(Heard::Look(scope)) if args.json => {
            render::escape_json(&serde_json::to_string_pretty(&scope).unwrap_or_default())
        }
        Ok(Heard::Look(scope)) => looked(&scope),
        Ok(Heard::Nothing(reason)) => match parse_operation(&bytes, &listener) {
            Ok(Operation::Tell(alert)) => told(&[*alert]),
            Ok(
                Operation::Over(..)
                | Operation::Nothing(_)
                | Operation::Hand(_)
                | Operation::Told(_),
            )
            | Err(_) => {
                format!("Nothing to do: {reason}.")
            }
        },
        Err(refused) => match parse_operation(&bytes, &listener) {
            Ok(operation) => operated(operation),
            Err(_) => match parse_replication(&bytes, now) {
                Ok(Notified::Objects(notices, _)) => {
                    let unmapped = notices.into_iter().map(|notice| (notice, None));
                    told(&replication_alerts(&unmapped.collect::<Vec<_>>()))
                }
                Ok(Notified::Test) => "Nothing to do: S3 tests the notification.".to_owned(),
                Err(_) => return Err(CliError::Usage(refused.to_string())),
            },
        },
    };
    out::print(&text);
    Ok(Left::Nothing)
}

fn sender(bytes: &[u8], common: &Common) -> Listener {
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| {
        let value = json.get(key).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    Listener {
        region: text("region"),
        account: text("account"),
        ours: OwnRoles::new(common.own_roles.clone()),
        terms: Terms::default(),
        now: SystemClock.now(),
    }
}

fn looked(scope: &Scope) -> String {
    let mut text = String::new();
    for (subject, look) in &scope.looks {
        let facets: Vec<String> = look
            .facets
            .iter()
            .map(|facet| format!("{facet:?}").to_lowercase())
            .collect();
        let named = match (look.deletion_named, look.partition_deletion_named) {
            (true, _) => ", whose deletion is named",
            (false, true) => ", of which deleted partitions are named",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "Look at {}{named}: {}",
            render::escape(&subject.to_string()),
            facets.join(", ")
        );
    }
    for atom in scope.suspects.keys() {
        let suspect = render::escape(&atom.to_string());
        let _ = writeln!(text, "Revoke, unless the primary holds it: {suspect}");
    }
    text
}

fn operated(operation: Operation) -> String {
    match operation {
        Operation::Tell(alert) => told(&[*alert]),
        Operation::Over(kind, subject, _) => {
            let subject = render::escape(&subject);
            format!("Tells that {subject} is over, if it was told as {kind}.")
        }
        Operation::Hand(hand) => looked(&hand.scope),
        Operation::Told(alert) => told(&[*alert]),
        Operation::Nothing(reason) => format!("Nothing to do: {reason}."),
    }
}

fn told(alerts: &[Alert]) -> String {
    let mut text = String::new();
    for alert in alerts {
        let _ = writeln!(text, "Alert: {}\n{}", alert.subject_line(), alert.text());
    }
    text
}
