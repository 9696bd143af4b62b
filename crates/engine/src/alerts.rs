//! Alerts: derives them from the outcomes of reconciliations and resyncs, publishes them, and
//! resolves their incidents.

mod checked_subjects;
mod delivery;
mod resolution;

pub use checked_subjects::CheckedSubjects;
pub use delivery::publish;
pub use resolution::{
    CANARY_BUCKET_PREFIX, REPLICA_BUCKET_PREFIX, alerts_of_unreadable_incidents, expire_incidents,
    keep_newest, mirror_peer_alert, publish_and_resolve, renotify_open_incidents,
    resolve_incidents,
};

use crate::reconcile::ReconcileOutcome;
use crate::resync::ResyncReport;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::alert::{database_in, listed_subjects};
use twinlake_core::audit::AuditRule;
use twinlake_core::document::DocumentError;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::render::{self, counted, one_or_many};
use twinlake_core::{Alert, AlertKind, CallError, CallErrorKind, Step, Subject, Timestamp};

/// The subject of an alert that nothing can be applied. It is resolved as soon as changes can be
/// applied again.
pub const POLICY_SUBJECT: &str = "the policy";

/// The subject of an alert about an operation document that cannot be parsed.
pub const OPERATION_SUBJECT: &str = "the operation document";

/// The alert for an operation document that cannot be parsed.
#[must_use]
pub fn invalid_operation(error: &DocumentError, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("The operation document in the ledger of {region} is not valid: {error}."),
        "The default thresholds and prices hold. Functions that start now send calls without a limit."
            .to_owned(),
        format!(
            "Correct the document and run `twinlake policy push --operation FILE --region {region}`."
        ),
    ];
    Alert::new(
        AlertKind::ReadFailed,
        region,
        OPERATION_SUBJECT,
        sentences,
        now,
    )
}

/// The subject of an alert about a rejection that names no part of a plan.
pub(crate) const WHOLE_PLAN: &str = "a plan";

/// The subject of an alert about an event that cannot be parsed.
pub(crate) const EVENT_SUBJECT: &str = "an event";

/// The maximum number of samples in an alert.
const MAX_SAMPLES: usize = 5;
/// The maximum number of samples in an alert that is collected for the daily digest.
const MAX_DIGEST_SAMPLES: usize = 100;

/// Returns the alerts for an outcome: at most one of each kind for each database.
#[must_use]
pub fn from_outcome(outcome: &ReconcileOutcome, region: &str, now: Timestamp) -> Vec<Alert> {
    from_problems(outcome, region, now, |_, _| true)
}

/// Returns the alerts for those problems of an outcome that are told of, by their kind and subject.
pub(crate) fn from_problems(
    outcome: &ReconcileOutcome,
    region: &str,
    now: Timestamp,
    is_told: impl Fn(AlertKind, &str) -> bool,
) -> Vec<Alert> {
    let mut groups: BTreeMap<(AlertKind, String), Vec<(String, String)>> = BTreeMap::new();
    let problems = problems(outcome).into_iter();
    for (kind, subject, detail) in problems.filter(|(kind, subject, _)| is_told(*kind, subject)) {
        let group = groups.entry((kind, group_of(&subject))).or_default();
        group.push((subject, detail));
    }
    groups
        .into_iter()
        .map(|((kind, _), entries)| build_alert(kind, &entries, region, now))
        .collect()
}

/// Returns the problems of an outcome: the kind of their alert, the subject and a description.
fn problems(outcome: &ReconcileOutcome) -> Vec<(AlertKind, String, String)> {
    let mut problems = Vec::new();
    for rejection in &outcome.rejections {
        let kind = kind_of_rule(rejection.rule);
        let subjects = rejection.targets.iter();
        let mut subjects: BTreeSet<String> = subjects
            .map(|target| target.subject().to_string())
            .collect();
        if subjects.is_empty() {
            subjects.insert(WHOLE_PLAN.to_owned());
        }
        let of_subject = |subject| (kind, subject, rejection.to_string());
        problems.extend(subjects.into_iter().map(of_subject));
    }
    for (step, error) in &outcome.failed {
        let detail = format!("{}: {error}", render::step(step));
        problems.push((
            kind_of_failure(step, error),
            step.subject().to_string(),
            detail,
        ));
    }
    for finding in &outcome.findings {
        // The digest reads this reason from the ledger row of the subject.
        let is_in_digest = kind_of_finding(finding) == Some(AlertKind::NotReplicated);
        if is_in_digest && outcome.reasons.get(&finding.subject) == Some(&finding.detail) {
            continue;
        }
        if let Some(kind) = kind_of_finding(finding) {
            let detail = format!("{}: {}", finding.subject, finding.detail);
            problems.push((kind, finding.subject.to_string(), detail));
        }
    }
    problems
}

/// Returns the alert for revokes that have not succeeded and are still retried: their principals
/// have more access than in the primary.
#[must_use]
pub fn from_unrevoked(outcome: &ReconcileOutcome, region: &str, now: Timestamp) -> Option<Alert> {
    let unrevoked: Vec<(String, String)> = outcome
        .unrevoked
        .iter()
        .map(|(step, error)| {
            let detail = format!("{}: {error}", render::step(step));
            (step.subject().to_string(), detail)
        })
        .collect();
    (!unrevoked.is_empty()).then(|| build_alert(AlertKind::ExcessAccess, &unrevoked, region, now))
}

/// Returns the alert for a message that cannot be parsed. Delivering it again cannot help.
#[must_use]
pub fn from_unrecognized_event(reason: &str, region: &str, now: Timestamp) -> Alert {
    let sentences = [
        format!("An event could not be understood: {reason}."),
        format!(
            "If it was about the catalog or its permissions, `twinlake resync --full --region {region}` \
             finds the change. So does the next scheduled resync or, for partitions, indexes, \
             statistics and filters that nobody is granted, one within the interval of \
             `partition-scan` or `attachment-scan`."
        ),
        "If this happens again, check which events the rules of the event buses and the queue \
         policies let through."
            .to_owned(),
    ];
    Alert::new(AlertKind::ReadFailed, region, EVENT_SUBJECT, sentences, now)
}

/// Returns the alerts for subjects that are not retried before the next resync: one for each
/// database.
#[must_use]
pub fn from_abandoned_subjects<'a>(
    subjects: impl IntoIterator<Item = &'a Subject>,
    reason: &str,
    region: &str,
    now: Timestamp,
) -> Vec<Alert> {
    let mut groups: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for subject in subjects {
        let subject = subject.to_string();
        let group = groups.entry(group_of(&subject)).or_default();
        group.push((subject.clone(), format!("{subject}: {reason}")));
    }
    let groups = groups.into_values();
    groups
        .map(|entries| build_alert(AlertKind::Conflict, &entries, region, now))
        .collect()
}

/// Returns the alert for differences that a resync corrected and that no event had reported.
#[must_use]
pub fn from_drift(applied: &[Step], region: &str, now: Timestamp) -> Option<Alert> {
    let entries: Vec<(String, String)> = applied
        .iter()
        .map(|step| (step.subject().to_string(), render::step(step)))
        .collect();
    (!entries.is_empty()).then(|| build_alert(AlertKind::Drift, &entries, region, now))
}

/// Returns the alerts for a resync, or for a part of one.
#[must_use]
pub fn from_resync_report(report: &ResyncReport, region: &str, now: Timestamp) -> Vec<Alert> {
    let outcome = &report.outcome;
    let mut alerts = from_outcome(outcome, region, now);
    if let Some((scope, reason)) = &outcome.waiting {
        alerts.extend(from_unrevoked(outcome, region, now));
        let subjects = scope.read_requests.keys();
        alerts.extend(from_abandoned_subjects(subjects, reason, region, now));
    }
    if !report.is_initial_sync {
        alerts.extend(from_drift(&outcome.applied, region, now));
    }
    alerts
}

/// The kind of the alert about a rejection by a rule.
pub(crate) fn kind_of_rule(rule: AuditRule) -> AlertKind {
    match rule {
        AuditRule::DeletionLimit => AlertKind::DeletionsHeld,
        AuditRule::WiderAccess
        | AuditRule::Unproven
        | AuditRule::NotManaged
        | AuditRule::Altered
        | AuditRule::OtherPolicyOrEpoch
        | AuditRule::Order => AlertKind::PlanRejected,
    }
}

fn kind_of_failure(step: &Step, error: &CallError) -> AlertKind {
    match matches!(step, Step::Revoke { .. }) {
        true => AlertKind::ExcessAccess,
        false => kind_of_error(error.kind),
    }
}

/// The kind of the alert about a step that failed with an error and opens no access.
pub(crate) fn kind_of_error(kind: CallErrorKind) -> AlertKind {
    match kind {
        CallErrorKind::Denied => AlertKind::TwinlakeAccessDenied,
        CallErrorKind::NotFound
        | CallErrorKind::AlreadyInState
        | CallErrorKind::Contended
        | CallErrorKind::NotPropagated
        | CallErrorKind::Invalid
        | CallErrorKind::Unsupported
        | CallErrorKind::Unavailable => AlertKind::Conflict,
    }
}

fn kind_of_finding(finding: &Finding) -> Option<AlertKind> {
    kind_of_finding_kind(finding.kind)
}

/// The kind of the alert about a finding, if it needs one.
pub(crate) fn kind_of_finding_kind(kind: FindingKind) -> Option<AlertKind> {
    match kind {
        FindingKind::Denied => Some(AlertKind::TwinlakeAccessDenied),
        FindingKind::HiddenColumns | FindingKind::Unreadable => Some(AlertKind::ReadFailed),
        FindingKind::Unmanaged | FindingKind::DefaultsOpen | FindingKind::ChangeRequired => {
            Some(AlertKind::Conflict)
        }
        FindingKind::OnHold | FindingKind::Unsupported => Some(AlertKind::NotReplicated),
        FindingKind::DataOverdue => Some(AlertKind::DataPending),
        FindingKind::DataLost => Some(AlertKind::DataLost),
        // The state of the table says it, and most commits wait for seconds only.
        FindingKind::DataPending => None,
        // A consequence of the policy. It is shown in the plan and needs no alert.
        FindingKind::Note => None,
    }
}

/// Returns the group of a subject: its database, or the subject itself if it is in none. Repeated
/// alerts are grouped by it.
fn group_of(subject: &str) -> String {
    let database = database_in(subject);
    database.map_or_else(|| subject.to_owned(), |name| name.as_str().to_owned())
}

fn build_alert(
    kind: AlertKind,
    entries: &[(String, String)],
    region: &str,
    now: Timestamp,
) -> Alert {
    let subjects: BTreeSet<&str> = entries
        .iter()
        .map(|(subject, _)| subject.as_str())
        .collect();
    let first = subjects.first().copied().unwrap_or("catalog");
    let subject = match subjects.len() {
        0 | 1 => first.to_owned(),
        count => format!("{first} and {} more", count - 1),
    };
    let (summary, current_state, action) = alert_text(kind, entries.len(), region);
    let sentences = [summary, current_state.to_owned(), action];
    // One cause often has one text for many subjects.
    let mut samples: Vec<String> = Vec::new();
    for (_, detail) in entries {
        if samples.len() < max_samples(kind) && !samples.contains(detail) {
            samples.push(detail.clone());
        }
    }
    Alert {
        databases: databases_of(&subjects),
        group: group_of(first),
        affected: listed_subjects(subjects.iter().copied()),
        count: entries.len(),
        samples,
        ..Alert::new(kind, region, &subject, sentences, now)
    }
}

/// Returns the maximum number of samples of an alert. The digest lists samples by kind, so alerts
/// that it collects keep more of them.
pub(crate) fn max_samples(kind: AlertKind) -> usize {
    match kind == AlertKind::NotReplicated {
        true => MAX_DIGEST_SAMPLES,
        false => MAX_SAMPLES,
    }
}

/// Returns the databases that subjects are or belong to.
fn databases_of(subjects: &BTreeSet<&str>) -> BTreeSet<twinlake_core::Name> {
    subjects
        .iter()
        .filter_map(|subject| database_in(subject))
        .collect()
}

/// Returns what happened, the state of the standby, and what to do. The commands in it find the
/// ledger from either Region, so `region` is the one that the alert is published in.
fn alert_text(kind: AlertKind, count: usize, region: &str) -> (String, &'static str, String) {
    let were = one_or_many(count, "was", "were");
    match kind {
        AlertKind::ExcessAccess => excess_access_text(count, region),
        AlertKind::PlanRejected => (
            "Steps of a plan were rejected. They, and the steps that require them, were not \
             applied."
                .to_owned(),
            "The rejected changes are not in the standby.",
            format!(
                "Run `twinlake plan --region {region}`, which shows what the audit rejects. Keep the logs of \
                 the functions resync, catalog-event and permission-event, and open an issue in Twinlake's \
                 repository. At most ten of the reasons are listed below."
            ),
        ),
        AlertKind::PolicyUnusable => (
            format!("Twinlake's functions in {region} apply no changes."),
            "If the Region is the standby, it stays unchanged.",
            format!(
                "Store one valid policy in both Regions with `twinlake policy push FILE`, then run `twinlake \
                 redrive --region {region}`."
            ),
        ),
        AlertKind::DeletionsHeld => deletions_held_text(region),
        AlertKind::TwinlakeAccessDenied => access_denied_text(count, region),
        AlertKind::Conflict => (
            format!("{} could not be corrected.", counted(count, "difference")),
            "The objects concerned differ from the primary.",
            format!(
                "Correct what the reasons name. At most ten of them are listed below; `twinlake \
                 status --region {region}` lists all objects that are not in sync, and `twinlake \
                 plan --region {region}` the remaining steps."
            ),
        ),
        AlertKind::ReadFailed => (
            format!("{} could not be read.", counted(count, "object")),
            "These objects stay as they were when they were last read.",
            format!(
                "If this continues, check the function's log for the failing call. At most ten \
                 objects are listed below; `twinlake status --region {region}` lists all that are \
                 not in sync."
            ),
        ),
        AlertKind::Drift => (
            format!("A resync made {} that no event had reported.", counted(count, "change")),
            "These differences are corrected.",
            "If this happens often, check that the trail is logging and that the EventBridge rules \
             forward events."
                .to_owned(),
        ),
        AlertKind::NotReplicated => (
            format!(
                "{count} {} not replicated.",
                one_or_many(count, "object or setting is", "objects or settings are")
            ),
            "The standby does not have them.",
            "Read the reasons below. Where one names a policy key, a change of that key replicates \
             the object. Any other names what prevents the replication, or a kind that is not \
             supported."
                .to_owned(),
        ),
        AlertKind::DataPending => data_pending_text(count, region),
        AlertKind::DataLost => data_lost_text(count, region),
        AlertKind::ReplicationFailed
        | AlertKind::ReplicationLate
        | AlertKind::JobFailed
        | AlertKind::UserAccessDenied
        | AlertKind::DeadLetters
        | AlertKind::Alarm
        | AlertKind::Lagging
        | AlertKind::ChannelStalled
        | AlertKind::CallCeilingReached
        | AlertKind::ReadinessLost
        | AlertKind::ReadinessUnknown
        | AlertKind::Digest => (
            format!("{} {were} reported.", counted(count, "failure")),
            "See below.",
            "See below.".to_owned(),
        ),
    }
}

fn deletions_held_text(region: &str) -> (String, &'static str, String) {
    (
        "Deletions exceed the deletion limit and are held. All other changes were applied."
            .to_owned(),
        "The standby keeps what the primary deleted.",
        format!(
            "If this plan alone exceeds a limit below, its deletions wait for you. Otherwise they are applied \
             when the hour is over. If they are intended, run `twinlake \
             approve-deletions --region {region}`, which shows the plan with them and asks. If not, set \
             `deletions = \"retain\"` in the policy and run `twinlake policy push FILE` within the hour; then \
             restore the objects in the primary."
        ),
    )
}

fn data_pending_text(count: usize, region: &str) -> (String, &'static str, String) {
    (
        match count {
            1 => "Files of a commit of 1 table have not arrived, or could not be looked for."
                .to_owned(),
            count => format!(
                "Files of commits of {count} tables have not arrived, or could not be looked for."
            ),
        },
        "Entries of Iceberg tables show the last commit whose files are all in the standby, or do not exist yet. \
         Queries of Delta and Hudi tables fail on the missing files.",
        format!(
            "The reasons below say which. Where files have not arrived, look at the replication of the buckets; where \
             an older file was never replicated, run S3 Batch Replication. At most ten reasons are listed below; `twinlake \
             status --region {region}` lists all tables."
        ),
    )
}

fn data_lost_text(count: usize, region: &str) -> (String, &'static str, String) {
    (
        format!(
            "In the standby, files of the commit that {} {} were deleted or replaced. The primary's current \
             commit is not affected.",
            counted(count, "Iceberg table"),
            one_or_many(count, "shows", "show")
        ),
        "Queries of these tables fail in the standby until a newer commit is complete.",
        format!(
            "List the versions of the files that are named below: `aws s3api list-object-versions --region \
             {region} --bucket BUCKET --prefix KEY`. Where the newest is a delete marker, or a version of another \
             size than the commit says, `aws s3api delete-object --region {region} --bucket BUCKET --key KEY \
             --version-id VERSION` removes it, and the version before it shows again. Let files live longer in \
             the primary than S3 needs to replicate a commit; see data-lost in the runbook."
        ),
    )
}

fn excess_access_text(count: usize, region: &str) -> (String, &'static str, String) {
    (
        format!(
            "{} that {} access away in the standby {} not made: revokes, or changes of LF-Tags.",
            counted(count, "change"),
            one_or_many(count, "takes", "take"),
            one_or_many(count, "was", "were")
        ),
        "The standby allows more access than the primary.",
        format!(
            "If a reason says that another run has reserved the change, wait: it is tried again. Else revoke the \
             grants in the standby yourself, then run `twinlake resync --region {region}`. At most ten are \
             listed below. `twinlake plan --region {region}` shows \
             the revokes that are left, and `twinlake access PRINCIPAL DATABASE.TABLE --region \
             {region}` the permissions of one principal in both Regions."
        ),
    )
}

fn access_denied_text(count: usize, region: &str) -> (String, &'static str, String) {
    (
        format!(
            "Twinlake's role lacks a permission, or cannot read everything any more ({}).",
            counted(count, "case")
        ),
        "The objects concerned are unchanged. Nothing was deleted or revoked because of this.",
        format!(
            "Restore the permissions of the role, then run `twinlake resync --region {region}`. \
             The role must be a data lake administrator in both Regions; `twinlake bootstrap \
             --policy FILE --twinlake-role ARN` makes it one, where ARN is each in the output `Roles` of \
             both stacks. If a reason says that a deletion is not proven, and the object is gone from the \
             primary, run `twinlake approve-deletions OBJECT --region {region}` instead. At most ten cases \
             are listed below; `twinlake status --region {region}` lists all objects that are not in sync."
        ),
    )
}
