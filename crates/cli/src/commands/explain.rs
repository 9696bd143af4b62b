//! `twinlake explain`: shows what an event leads to.

use crate::connect::requested_epoch;
use crate::files::{read_bytes, read_policy};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_aws::SystemClock;
use twinlake_core::event::{
    EventContext, OperationalEvent, OutOfBandChange, Parsed, ParsedNotifications,
    UnrecognizedEvent, parse, parse_operational_event, parse_replication, replication_alerts,
};
use twinlake_core::grant::GrantMapping;
use twinlake_core::scope::ReadRequest;
use twinlake_core::topology::{Epoch, Site};
use twinlake_core::{Alert, AlertKind, Facet, OwnRoles, Policy, Scope, Timestamp, render};
use twinlake_engine::Clock as _;

/// Arguments of `twinlake explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A file with the event: an EventBridge event, or an S3 event notification
    #[arg(value_name = "EVENT.json")]
    pub file: PathBuf,
    /// Print the objects to read as JSON, if the event is a change in the primary
    #[arg(long)]
    pub json: bool,
    /// The policy file [default: none; the event counts as one of the primary]
    ///
    /// The policy names the two Regions and the account, and maps the principals of a revoke.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The Region that is primary [default: the policy's region "a"]
    #[arg(long, value_name = "REGION", requires = "policy")]
    pub primary: Option<String>,
    /// A role of Twinlake, whose calls are ignored, as an ARN or a prefix that ends in `*`; repeatable
    #[arg(long = "ignore-role", value_name = "ARN")]
    pub ignored_roles: Vec<String>,
}

pub(crate) fn run(args: &ExplainArgs) -> Result<CommandOutcome, CliError> {
    let bytes = read_bytes(&args.file)?;
    let contexts = match &args.policy {
        Some(file) => {
            let policy = read_policy(file)?;
            let epoch = requested_epoch(args.primary.as_deref(), &policy)?;
            Contexts::of_policy(&bytes, &policy, epoch, args)
        }
        None => Contexts::of_event(&bytes, args),
    };
    let effect = effect(&bytes, &contexts).map_err(|e| CliError::Usage(e.to_string()))?;
    output::print(&match &effect {
        Effect::Reads(scope) if args.json => {
            render::escape_json(&serde_json::to_string_pretty(scope).unwrap_or_default())
        }
        Effect::Reads(_)
        | Effect::OutOfBandChange(_)
        | Effect::Alerts(_)
        | Effect::PeerAlert(_)
        | Effect::Resolves(..)
        | Effect::Nothing(_) => describe(&effect),
    });
    Ok(CommandOutcome::Done)
}

/// What an event is checked against by the functions that may receive it.
struct Contexts {
    /// For the functions of the standby, which receive the catalog events of the primary.
    primary: EventContext,
    /// For the operations-event function, which receives the events of its own Region. `None` if
    /// the event is from no Region in which Twinlake is deployed.
    local: Option<EventContext>,
}

impl Contexts {
    fn of_policy(bytes: &[u8], policy: &Policy, epoch: Epoch, args: &ExplainArgs) -> Self {
        let (region, account) = region_and_account(bytes);
        let context = |site: &Site, grant_mapping| EventContext {
            region: site.region.clone(),
            account: site.account.clone(),
            own_roles: OwnRoles::new(args.ignored_roles.clone()),
            grant_mapping,
            now: SystemClock.now(),
        };
        let local = policy.sites.find(&region).map(|id| policy.sites.get(id));
        let local = local.filter(|site| site.account == account);
        let mapping = GrantMapping::of_primary(policy, epoch);
        Self {
            primary: context(policy.primary(epoch), mapping),
            local: local.map(|site| context(site, GrantMapping::default())),
        }
    }

    /// Without a policy, the Region and the account of the event count as the primary's.
    fn of_event(bytes: &[u8], args: &ExplainArgs) -> Self {
        let (region, account) = region_and_account(bytes);
        let primary = EventContext {
            region,
            account,
            own_roles: OwnRoles::new(args.ignored_roles.clone()),
            grant_mapping: GrantMapping::default(),
            now: SystemClock.now(),
        };
        let local = Some(primary.clone());
        Self { primary, local }
    }
}

/// The Region and the account that an event states; empty texts if it states none.
fn region_and_account(bytes: &[u8]) -> (String, String) {
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |key: &str| {
        let value = json.get(key).and_then(serde_json::Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    (text("region"), text("account"))
}

/// What an event leads to.
enum Effect {
    /// The standby's functions read these objects.
    Reads(Scope),
    /// The change was made in the standby, and not by Twinlake.
    OutOfBandChange(OutOfBandChange),
    /// Alerts are sent.
    Alerts(Vec<Alert>),
    /// The status of the other Region lists an alert of this one.
    PeerAlert(Box<Alert>),
    /// The open alert of this kind and subject is resolved.
    Resolves(AlertKind, String),
    /// Every function ignores the event, for this reason.
    Nothing(String),
}

/// Asks the parser of each function that may receive the event.
fn effect(bytes: &[u8], contexts: &Contexts) -> Result<Effect, UnrecognizedEvent> {
    let unhandled = match parse(bytes, &contexts.primary) {
        Ok(Parsed::Scope(scope)) => return Ok(Effect::Reads(scope)),
        Ok(Parsed::Ignored(reason)) => Ok(Effect::Nothing(reason)),
        Err(error) => Err(error),
    };
    operational_effect(bytes, contexts)
        .or_else(|| notification_effect(bytes, contexts.primary.now))
        .map_or(unhandled, Ok)
}

/// What the operations-event function does with an event of its Region; `None` if it does not
/// receive the event.
fn operational_effect(bytes: &[u8], contexts: &Contexts) -> Option<Effect> {
    let local = contexts.local.as_ref()?;
    match parse_operational_event(bytes, local).ok()? {
        OperationalEvent::Alert(alert) => Some(Effect::Alerts(vec![*alert])),
        OperationalEvent::PeerAlert(alert) => Some(Effect::PeerAlert(alert)),
        OperationalEvent::Resolved(kind, subject, _) => Some(Effect::Resolves(kind, subject)),
        // Changes in the primary are what the standby's functions replicate.
        OperationalEvent::OutOfBandChange(_) if local.region == contexts.primary.region => None,
        OperationalEvent::OutOfBandChange(change) => Some(Effect::OutOfBandChange(change)),
        OperationalEvent::Ignored(reason) => Some(Effect::Nothing(reason)),
    }
}

/// What the replication-event function does with an S3 event notification, whose Region and account
/// are not checked; `None` if it is none.
fn notification_effect(bytes: &[u8], now: Timestamp) -> Option<Effect> {
    match parse_replication(bytes, now).ok()? {
        ParsedNotifications::Notices(notices, _) => {
            let unmapped = notices.into_iter().map(|notice| (notice, None));
            let alerts = replication_alerts(&unmapped.collect::<Vec<_>>());
            Some(Effect::Alerts(alerts))
        }
        ParsedNotifications::TestEvent => {
            Some(Effect::Nothing("it is a test message of S3".to_owned()))
        }
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::Reads(scope) => describe_scope(scope),
        Effect::OutOfBandChange(change) => format!(
            "{} changed the standby by {}. Of what follows, Twinlake reads the objects that it \
             replicates, makes them equal to the primary again, and sends an alert of kind drift:\n{}",
            render::escape(&change.caller),
            render::escape(&change.action),
            describe_scope(&change.scope)
        ),
        Effect::Alerts(alerts) => alerts.iter().map(describe_alert).collect(),
        Effect::PeerAlert(alert) => format!(
            "The status of the other Region lists an alert of {}:\n{}",
            render::escape(&alert.region),
            describe_alert(alert)
        ),
        Effect::Resolves(kind, subject) => {
            let subject = render::escape(subject);
            format!("Resolves the alert {kind} of {subject}, if it is open.")
        }
        Effect::Nothing(reason) => {
            format!("The event is ignored: {}.", render::escape(reason))
        }
    }
}

fn describe_scope(scope: &Scope) -> String {
    let mut text = String::new();
    for (subject, request) in &scope.read_requests {
        let facets: Vec<String> = request.facets.iter().map(facet_name).collect();
        let is_named = request.deletion_named || !request.deleted_items.is_empty();
        let deletion = match (is_named, request.unnamed_partitions_deleted) {
            (true, _) if !request.deleted_items.is_empty() => {
                " (the event says that items of it were deleted)"
            }
            (true, _) => " (the event names its deletion)",
            (false, true) => " (the event says that partitions of it were deleted, and not which)",
            (false, false) => "",
        };
        let _ = writeln!(
            text,
            "Reads {}{deletion}: {}",
            render::escape(&subject.to_string()),
            facets.join(", ")
        );
        describe_partitions(&mut text, request);
    }
    for grant in scope.named_revokes.keys() {
        let grant = render::escape(&grant.to_string());
        let _ = writeln!(text, "Revokes, unless the primary still grants it: {grant}");
    }
    for channel in scope.heartbeats.keys() {
        let _ = writeln!(
            text,
            "Records a heartbeat, from which the lag of the {channel} channel is measured"
        );
    }
    text
}

/// The most partitions that are listed.
const MAX_LISTED_PARTITIONS: usize = 20;

/// Adds the partitions that are read by their values, and says of which of them the event names the deletion.
fn describe_partitions(text: &mut String, request: &ReadRequest) {
    for values in request.partition_values.iter().take(MAX_LISTED_PARTITIONS) {
        let deletion = match request.deletable_partitions.contains(values) {
            true => " (the event names its deletion)",
            false => "",
        };
        let values = render::escape(&values.join(", "));
        let _ = writeln!(text, "  its partition ({values}){deletion}");
    }
    let more = request.partition_values.len();
    let more = more.saturating_sub(MAX_LISTED_PARTITIONS);
    if more > 0 {
        let _ = writeln!(
            text,
            "  and {} more; `--json` lists all",
            render::counted(more, "partition")
        );
    }
}

/// The facet as in JSON.
fn facet_name(facet: &Facet) -> String {
    let name = serde_json::to_value(facet).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

fn describe_alert(alert: &Alert) -> String {
    format!("Alert: {}\n{}\n", alert.subject_line(), alert.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const POLICY: &str = r#"
        [[region]]
        id = "a"
        region = "us-east-1"
        account = "111122223333"
        [[region]]
        id = "b"
        region = "ap-south-1"
        account = "111122223333"
    "#;

    fn event(name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events");
        std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()
    }

    /// The description of an event for the policy above, with the first site as primary.
    fn described(event: &str) -> String {
        let args = ExplainArgs {
            file: PathBuf::new(),
            json: false,
            policy: None,
            primary: None,
            ignored_roles: Vec::new(),
        };
        let policy = Policy::parse(POLICY).unwrap();
        let contexts = Contexts::of_policy(event.as_bytes(), &policy, Epoch::INITIAL, &args);
        describe(&effect(event.as_bytes(), &contexts).unwrap())
    }

    #[test]
    fn an_event_that_another_function_handles_is_not_shown_as_ignored() {
        let in_standby = |name: &str| event(name).replace("us-east-1", "ap-south-1");
        let succeeded = described(&in_standby("glue-crawler-Succeeded"));
        assert!(
            succeeded.contains("Resolves the alert job-failed"),
            "{succeeded}"
        );
        let failed = described(&in_standby("glue-job-FAILED"));
        assert!(failed.contains("job-failed"), "{failed}");
        assert!(
            failed.contains("(ap-south-1)"),
            "the Region of the event: {failed}"
        );
        let changed = described(&in_standby("ct-glue-DeleteTable"));
        assert!(
            changed.contains("changed the standby by DeleteTable"),
            "{changed}"
        );
        assert!(
            !changed.contains("names its deletion"),
            "it proves nothing about the primary: {changed}"
        );
        let notification = described(&event("s3-Replication-OperationFailedReplication-kms"));
        assert!(
            notification.contains("replication-failed"),
            "{notification}"
        );
        let peer_alert = described(&event("twinlake-alert"));
        assert!(
            peer_alert.contains("lists an alert of us-east-1"),
            "{peer_alert}"
        );
    }

    #[test]
    fn partitions_that_an_event_names_are_shown_and_their_deletion_with_them() {
        let deleted = described(&event("ct-glue-BatchDeletePartition"));
        assert!(deleted.contains("  its partition ("), "{deleted}");
        assert!(
            deleted.contains(") (the event names its deletion)"),
            "{deleted}"
        );
        let created = described(&event("ct-glue-BatchCreatePartition"));
        assert!(created.contains("  its partition ("), "{created}");
        assert!(!created.contains("deletion"), "{created}");
        let unnamed = described(&event("glue-native-table-BatchDeletePartition"));
        assert!(
            unnamed.contains("partitions of it were deleted, and not which"),
            "{unnamed}"
        );
        assert!(!unnamed.contains("its partition ("), "{unnamed}");
        let mut many =
            ReadRequest::for_partitions((0..21).map(|n| vec![format!("{n:02}")]).collect(), true);
        many.deletable_partitions.clear();
        let mut text = String::new();
        describe_partitions(&mut text, &many);
        assert!(
            text.ends_with("  its partition (19)\n  and 1 partition more; `--json` lists all\n"),
            "{text}"
        );
    }

    #[test]
    fn a_heartbeat_is_shown_as_one() {
        let catalog = described(&event("glue-native-table-UpdateTable-heartbeat"));
        assert!(catalog.contains("lag of the catalog channel"), "{catalog}");
        let permissions = described(&event("ct-lakeformation-UpdateDataCellsFilter-heartbeat"));
        assert!(
            permissions.contains("lag of the permissions channel"),
            "{permissions}"
        );
    }

    #[test]
    fn what_no_function_handles_is_ignored_with_the_reason() {
        let elsewhere = described(&event("glue-job-FAILED").replace("us-east-1", "eu-west-1"));
        assert!(
            elsewhere.starts_with("The event is ignored: it is from Region"),
            "{elsewhere}"
        );
        let read_only = described(&event("ct-lakeformation-GetDataAccess-athena"));
        assert_eq!(read_only, "The event is ignored: the call is read-only.");
        let test_message = described(&event("s3-TestEvent-docs"));
        assert!(
            test_message.contains("test message of S3"),
            "{test_message}"
        );
    }
}
