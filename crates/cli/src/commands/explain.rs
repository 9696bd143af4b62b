//! `twinlake explain`: shows what an event leads to.

use crate::common_options::Common;
use crate::connect::requested_epoch;
use crate::files::{read_bytes, read_policy};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_aws::SystemClock;
use twinlake_core::event::{
    EventContext, OperationalEvent, Parsed, ParsedNotifications, parse, parse_operational_event,
    parse_replication, replication_alerts,
};
use twinlake_core::grant::PrincipalMapping;
use twinlake_core::{Alert, Facet, OwnRoles, Scope, render};
use twinlake_engine::Clock as _;

/// Arguments of `twinlake explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A file with the event: an EventBridge event, or an S3 event notification
    #[arg(value_name = "EVENT.json")]
    pub file: PathBuf,
    /// Print the objects to read as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(common: &Common, args: &ExplainArgs) -> Result<CommandOutcome, CliError> {
    let bytes = read_bytes(&args.file)?;
    let now = SystemClock.now();
    // Without a policy, the Region and the account of the event count as the primary's.
    let event_context = match &common.policy {
        Some(file) => {
            let policy = read_policy(file)?;
            let epoch = requested_epoch(common, &policy)?;
            let primary = policy.primary(epoch);
            EventContext {
                region: primary.region.clone(),
                account: primary.account.clone(),
                own_roles: OwnRoles::new(common.ignored_roles.clone()),
                principal_mapping: PrincipalMapping::of_primary(&policy, epoch),
                now,
            }
        }
        None => context_of_event(&bytes, common),
    };
    let text = match parse(&bytes, &event_context) {
        Ok(Parsed::Scope(scope)) if args.json => {
            render::escape_json(&serde_json::to_string_pretty(&scope).unwrap_or_default())
        }
        Ok(Parsed::Scope(scope)) => describe_scope(&scope),
        Ok(Parsed::Ignored(reason)) => match parse_operational_event(&bytes, &event_context) {
            Ok(OperationalEvent::Alert(alert)) => describe_alerts(&[*alert]),
            Ok(
                OperationalEvent::Resolved(..)
                | OperationalEvent::Ignored(_)
                | OperationalEvent::OutOfBandChange(_)
                | OperationalEvent::PeerAlert(_),
            )
            | Err(_) => {
                format!("The event is ignored: {reason}.")
            }
        },
        Err(error) => match parse_operational_event(&bytes, &event_context) {
            Ok(operation) => describe_operation(operation),
            Err(_) => match parse_replication(&bytes, now) {
                Ok(ParsedNotifications::Notices(notices, _)) => {
                    let unmapped = notices.into_iter().map(|notice| (notice, None));
                    describe_alerts(&replication_alerts(&unmapped.collect::<Vec<_>>()))
                }
                Ok(ParsedNotifications::TestEvent) => {
                    "The event is ignored: it is a test message of S3.".to_owned()
                }
                Err(_) => return Err(CliError::Usage(error.to_string())),
            },
        },
    };
    output::print(&text);
    Ok(CommandOutcome::Done)
}

/// A context for which the event comes from the primary.
fn context_of_event(bytes: &[u8], common: &Common) -> EventContext {
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| {
        let value = json.get(key).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    EventContext {
        region: text("region"),
        account: text("account"),
        own_roles: OwnRoles::new(common.ignored_roles.clone()),
        principal_mapping: PrincipalMapping::default(),
        now: SystemClock.now(),
    }
}

fn describe_scope(scope: &Scope) -> String {
    let mut text = String::new();
    for (subject, request) in &scope.read_requests {
        let facets: Vec<String> = request.facets.iter().map(facet_name).collect();
        let deletion = match (request.deletion_named, request.partition_deletion_named) {
            (true, _) => " (the event names its deletion)",
            (false, true) => " (the event names deleted partitions)",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "Reads {}{deletion}: {}",
            render::escape(&subject.to_string()),
            facets.join(", ")
        );
    }
    for grant in scope.named_revokes.keys() {
        let grant = render::escape(&grant.to_string());
        let _ = writeln!(text, "Revokes, unless the primary still grants it: {grant}");
    }
    text
}

/// The facet as in JSON.
fn facet_name(facet: &Facet) -> String {
    let name = serde_json::to_value(facet).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn describe_operation(operation: OperationalEvent) -> String {
    match operation {
        OperationalEvent::Alert(alert) => describe_alerts(&[*alert]),
        OperationalEvent::Resolved(kind, subject, _) => {
            let subject = render::escape(&subject);
            format!("Resolves the alert {kind} of {subject}, if it is open.")
        }
        OperationalEvent::OutOfBandChange(change) => describe_scope(&change.scope),
        OperationalEvent::PeerAlert(alert) => describe_alerts(&[*alert]),
        OperationalEvent::Ignored(reason) => format!("The event is ignored: {reason}."),
    }
}

fn describe_alerts(alerts: &[Alert]) -> String {
    let mut text = String::new();
    for alert in alerts {
        let _ = writeln!(text, "Alert: {}\n{}", alert.subject_line(), alert.text());
    }
    text
}
