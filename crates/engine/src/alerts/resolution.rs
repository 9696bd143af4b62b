//! The resolution of incidents: by a check that finds the subject in sync, by an event, or because
//! the failure has not occurred again for a while.

use super::EVENT_SUBJECT;
use super::checked_subjects::CheckedSubjects;
use super::delivery::{claim_notification, publish, send};
use crate::ports::{AlertTopic, Ledger, StatsStore};
use crate::s3_replication::AwaitedObjects;
use crate::versioned_item::{self, IncidentItem, ItemUpdate};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::Severity;
use twinlake_core::{Alert, AlertKind, CallError, Incident, Timestamp};

/// Resolves the incidents whose subjects the check found in order, and publishes a `resolved`
/// message for each incident that has no open subject left.
///
/// # Errors
/// The ledger or the topic is out of reach. A later check resolves the incidents.
pub async fn resolve_incidents<A: AlertTopic, L: Ledger>(
    topic: &A,
    ledger: &L,
    checked: &CheckedSubjects,
    now: Timestamp,
) -> Result<(), CallError> {
    if checked.is_empty() {
        return Ok(());
    }
    let mut messages = Vec::new();
    let incidents = ledger.incidents().await?;
    for (key, stored) in &incidents {
        let incident = &stored.0;
        if incident.from_peer {
            continue;
        }
        let kind = incident.alert.kind;
        let affected = incident.alert.affected.iter();
        let resolved: BTreeSet<String> = affected
            .filter(|subject| checked.is_resolved(kind, subject, incident.last_found(subject)))
            .cloned()
            .collect();
        let alert = &incident.alert;
        let all = checked.is_all_resolved(alert)
            || (incident.overflowed
                && checked.is_all_resolved_by_run(alert, last_reported(alert, &incidents)));
        if resolved.is_empty() && !all {
            continue;
        }
        let resolve = |incident: Incident| incident.resolve(&resolved, all, now);
        messages.extend(claim_notification(ledger, key, stored.clone(), resolve).await?);
    }
    send(topic, ledger, messages, now).await.map(drop)
}

/// When an alert of the same kind about one of the same databases was last recorded, in this incident
/// or in another one: what an alert about several databases is grouped by may differ each time.
fn last_reported(alert: &Alert, incidents: &BTreeMap<String, (Incident, u64)>) -> Timestamp {
    let others = incidents.values().filter(|(incident, _)| {
        let other = &incident.alert;
        let is_same = other.kind == alert.kind && !other.databases.is_disjoint(&alert.databases);
        is_same && !incident.from_peer
    });
    let reported_at = others.map(|(incident, _)| incident.alert.detected_at);
    reported_at.fold(alert.detected_at, Timestamp::max)
}

/// Keeps only the newest event of each subject of a batch, whatever the order of delivery: a
/// failure stays in `alerts`, a success removes it and is returned.
#[must_use]
pub fn keep_newest(
    alerts: &mut Vec<Alert>,
    resolved: Vec<(AlertKind, String, Timestamp)>,
) -> CheckedSubjects {
    let mut checked = CheckedSubjects::default();
    for (kind, subject, at) in resolved {
        let same = |alert: &Alert| alert.kind == kind && alert.subject == subject;
        // The order of events within one second is unknown. A superfluous alert is better than a
        // missing one.
        if !alerts
            .iter()
            .any(|alert| same(alert) && alert.detected_at >= at)
        {
            alerts.retain(|alert| !same(alert));
            checked = checked.with_resolved(kind, &subject, at);
        }
    }
    checked
}

/// The prefix of the subject of an alert about a bucket that is checked for missing objects.
pub const REPLICA_BUCKET_PREFIX: &str = "replica bucket ";

/// The prefix of the subject of an alert about a bucket in which canaries are denied.
pub const CANARY_BUCKET_PREFIX: &str = "canaries in the bucket ";

/// Whether an alert counts as resolved when it has not occurred again for a while, because no check
/// can verify it as resolved (such as refused access). Alerts for missing objects cannot expire
/// while Twinlake checks for the objects.
fn can_expire(alert: &Alert, missing: &AwaitedObjects) -> bool {
    match alert.kind {
        AlertKind::UserAccessDenied => true,
        AlertKind::ReplicationFailed | AlertKind::ReplicationLate => {
            alert.affected.is_disjoint(&missing.alert_subjects)
        }
        AlertKind::ReadFailed => alert.subject == EVENT_SUBJECT,
        // A bucket that is no longer checked for missing objects, or holds no canaries any more.
        AlertKind::TwinlakeAccessDenied => {
            if alert.subject.starts_with(CANARY_BUCKET_PREFIX) {
                return true;
            }
            let bucket = alert.subject.strip_prefix(REPLICA_BUCKET_PREFIX);
            bucket.is_some_and(|bucket| !missing.buckets.contains(bucket))
        }
        AlertKind::DataPending
        | AlertKind::DataLost
        | AlertKind::ExcessAccess
        | AlertKind::PlanRejected
        | AlertKind::PolicyUnusable
        | AlertKind::DeletionsHeld
        | AlertKind::Conflict
        | AlertKind::Drift
        | AlertKind::JobFailed
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::ChannelStalled
        | AlertKind::CallCeilingReached
        | AlertKind::ReadinessLost
        | AlertKind::ReadinessUnknown
        | AlertKind::NotReplicated
        | AlertKind::Digest => false,
    }
}

/// A mirrored alert counts as resolved in the peer Region when it was not mirrored again for this
/// long.
const PEER_ALERT_TTL_SECS: i64 = 26 * 3600;

/// An incident that was not detected again for this long is abandoned: it may be about a job that
/// no longer exists.
const ABANDON_SECS: i64 = 14 * 86_400;

/// Resolves incidents that no check can verify as resolved and that have not occurred again for
/// `quiet_secs` seconds. Abandons incidents that were not detected again for two weeks.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn expire_incidents<A: AlertTopic, L: Ledger + StatsStore>(
    topic: &A,
    ledger: &L,
    quiet_secs: i64,
    now: Timestamp,
) -> Result<(), CallError> {
    let mut messages = Vec::new();
    let missing = AwaitedObjects::of(&ledger.all_pending_objects().await?);
    for (key, (incident, version)) in ledger.incidents().await? {
        let last = incident
            .alert
            .detected_at
            .max(incident.last_sent.unwrap_or_default());
        if incident.from_peer {
            // The peer repeats an open alert at least daily, but its `resolved` message may be
            // lost.
            if now >= last.plus_secs(PEER_ALERT_TTL_SECS) {
                // A newer alert of the peer, which changes the version, stays.
                ledger.put_incident(&key, None, Some(version)).await?;
            }
            continue;
        }
        let (kind, detected_at) = (incident.alert.kind, incident.alert.detected_at);
        let can_expire = can_expire(&incident.alert, &missing);
        let quiet_at = match can_expire {
            true => last.plus_secs(quiet_secs),
            false => detected_at.plus_secs(ABANDON_SECS),
        };
        // Missing objects stay an open incident without being detected again.
        let is_digest_only = kind.severity() == Severity::Digest;
        let awaits_objects = matches!(
            kind,
            AlertKind::ReplicationFailed | AlertKind::ReplicationLate
        );
        if now < quiet_at || is_digest_only || (awaits_objects && !can_expire) {
            continue;
        }
        let resolve = |incident: Incident| incident.resolve(&BTreeSet::new(), true, now);
        let message = claim_notification(ledger, &key, (incident, version), resolve).await?;
        messages.extend(message.map(|message| match can_expire {
            true => Alert {
                current_state: format!("It has not occurred again since {last}."),
                ..message
            },
            false => Alert {
                summary: format!("The incident open since {} is abandoned.", message.since),
                current_state: format!(
                    "It was not detected again since {detected_at}, and not verified as resolved."
                ),
                ..message
            },
        }));
    }
    send(topic, ledger, messages, now).await.map(drop)
}

/// Repeats the alerts of open incidents when their interval has passed, and sends those that were
/// detected since the last message: they may not be detected again.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn renotify_open_incidents<A: AlertTopic, L: Ledger + StatsStore>(
    topic: &A,
    ledger: &L,
    now: Timestamp,
) -> Result<(), CallError> {
    let mut due = Vec::new();
    let missing = AwaitedObjects::of(&ledger.all_pending_objects().await?);
    for (key, stored) in ledger.incidents().await? {
        let alert = &stored.0.alert;
        // Drift is corrected when it is detected, though no check has verified that yet.
        let is_persistent = !can_expire(alert, &missing) && alert.kind != AlertKind::Drift;
        if !stored.0.from_peer {
            let renotify = |incident: Incident| incident.renotify(is_persistent, now);
            due.extend(claim_notification(ledger, &key, stored, renotify).await?);
        }
    }
    send(topic, ledger, due, now).await.map(drop)
}

/// The alerts about incidents in the ledger that cannot be parsed: nobody is told of these again, and no check
/// resolves them.
///
/// # Errors
/// The ledger is out of reach.
pub async fn alerts_of_unreadable_incidents<L: Ledger>(
    ledger: &L,
    region: &str,
    now: Timestamp,
) -> Result<Vec<Alert>, CallError> {
    let unreadable = ledger.unreadable_incidents().await?;
    let alerts = unreadable.into_iter().map(|(key, removal)| {
        let sentences = [
            format!(
                "The item `incidents`, `{key}` of the ledger cannot be read: something other than Twinlake changed \
                 it."
            ),
            "The incident that it recorded is neither listed nor repeated nor resolved. A new alert about the \
             same problem replaces it."
                .to_owned(),
            format!("Run `{removal}`. Then run `twinlake resync --region {region}`, which reports again what is still wrong."),
        ];
        let subject = format!("ledger item incidents/{key}");
        Alert::new(AlertKind::ReadFailed, region, &subject, sentences, now)
    });
    Ok(alerts.collect())
}

/// Records an alert that the peer Region has published. It is listed in this Region's status and
/// not published again. A message that is older than what is recorded changes nothing: SNS and SQS deliver messages
/// in any order, and more than once. So the copy of a resolved incident stays until it expires.
///
/// # Errors
/// The ledger is out of reach.
pub async fn mirror_peer_alert<L: Ledger>(ledger: &L, alert: &Alert) -> Result<(), CallError> {
    let key = &alert.key();
    versioned_item::update(&IncidentItem { ledger, key }, None, |stored| match stored {
        Some(incident) if !incident.from_peer || incident.supersedes(alert) => ItemUpdate::Keep(()),
        Some(_) | None => ItemUpdate::Put(Incident::mirror_peer(alert.clone()), ()),
    })
    .await
}

/// Publishes the alerts of a check, and resolves the incidents whose subjects it found in order.
///
/// # Errors
/// The same as [`publish`] and [`resolve_incidents`].
pub async fn publish_and_resolve<A: AlertTopic, L: Ledger>(
    topic: &A,
    ledger: &L,
    (alerts, checked): (&[Alert], &CheckedSubjects),
    now: Timestamp,
) -> Result<(), CallError> {
    publish(topic, ledger, alerts, now).await?;
    resolve_incidents(topic, ledger, checked, now).await
}
