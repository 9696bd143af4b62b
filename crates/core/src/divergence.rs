//! What a Region that returns after a failover has and the primary has not. The primary wins: a person
//! accepts that this is given up, by the digest of the report, before the Region becomes the standby.
//!
//! The report comes from the plan in the direction that is not applied: what would make the primary equal to
//! the former primary. Its creations, grants and updates are what is given up. Its deletions and revokes are
//! what only the primary has, and are not given up.
//!
//! The digest covers what is given up, under which epoch and policy, and what could not be read; nothing that writers in
//! the primary change. An update counts as a change of the former primary unless the ledger proves that only the primary
//! has changed since Twinlake last saw both equal. Of partitions, grants and attachments the ledger keeps no digest: what
//! differs in them counts as given up. What the plan does not decide, because it is withheld from the primary, counts
//! with all that the former primary has of it, as it is there ([`undecided_subjects`]).

mod objects;
mod undecided;

pub use objects::{
    DivergentKey, KeyDivergence, ListedVersion, LocationDivergence, LocationVersions,
    ObjectsPurpose, VersionsByKey,
};

pub use undecided::{UndecidedReasons, uncreated_subjects, undecided_subjects};

use crate::catalog::{Comparable as _, PrincipalPermissions, digest};
use crate::heartbeat;
use crate::ledger::LedgerRows;
use crate::name::Name;
use crate::plan::Plan;
use crate::policy::Policy;
use crate::render;
use crate::scope::Subject;
use crate::step::Step;
use crate::step_kind::ObjectKind;
use crate::timestamp::Timestamp;
use crate::topology::{Epoch, SiteId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What became of something in the former primary since Twinlake last saw both Regions equal in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormerChangeKind {
    /// The former primary has it, and the primary has not.
    OnlyThere,
    /// Both have it, and it differs; the primary has not changed it, as far as the ledger knows.
    ChangedThere,
    /// Both have it, and it differs; both may have changed it.
    ChangedInBoth,
    /// It was deleted in the former primary. The primary has it.
    DeletedThere,
    /// Both have it, and what the former primary has of it is withheld from the primary, so nobody knows whether it
    /// differs.
    NotComparable,
}

impl fmt::Display for FormerChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyThere => "only there",
            Self::ChangedThere => "changed there",
            Self::ChangedInBoth => "changed in both",
            Self::DeletedThere => "deleted there",
            Self::NotComparable => "not comparable",
        })
    }
}

/// Something in the former primary that is given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FormerChange {
    /// The object that it is or belongs to.
    pub subject: Subject,
    /// The kind of object.
    pub object: ObjectKind,
    /// What became of it.
    pub kind: FormerChangeKind,
    /// A description for the operator.
    pub text: String,
    /// The step that would make the primary have it, with the whole object as it would be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// A digest of what is given up.
    pub digest: String,
}

impl FormerChange {
    /// Whether it is about the default permissions for new tables of a database.
    #[must_use]
    pub fn is_table_default(&self) -> bool {
        let is_database = matches!(self.subject, Subject::Database(_));
        is_database && self.step.is_none() && self.kind == FormerChangeKind::ChangedInBoth
    }
}

/// What the two Regions hold, beside the plan.
#[derive(Clone, Debug, Default)]
pub struct ComparedRegions {
    /// The rows of the primary's ledger, which have the digests of what was last seen equal.
    pub rows: LedgerRows,
    /// The databases, tables and functions of the former primary, with the creation times.
    pub in_former: BTreeMap<Subject, Option<Timestamp>>,
    /// The databases, tables and functions of the primary, with a digest of what is compared.
    pub in_primary: BTreeMap<Subject, String>,
    /// The default permissions for new tables of the databases of the former primary, as they would be in
    /// the primary, where they differ.
    pub table_defaults: BTreeMap<Name, Vec<PrincipalPermissions>>,
}

/// Why something of the former primary is not known.
pub type UnreadReasons = BTreeSet<String>;

/// What the former primary has and the primary has not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DivergenceReport {
    /// The epoch: its standby is the former primary.
    pub epoch: Epoch,
    /// The digest of the policy.
    pub policy_digest: String,
    /// The Region that was the primary.
    pub former_region: String,
    /// The Region that is the primary.
    pub primary_region: String,
    /// Changes of objects in S3 are listed from this time on: until then, they had arrived.
    pub since: Timestamp,
    /// When it was read.
    pub read_at: Timestamp,
    /// What of the catalog and the permissions is given up.
    pub changes: Vec<FormerChange>,
    /// The number of differences only in what engines and crawlers record: counts, sizes and times.
    pub bookkeeping: usize,
    /// The objects in S3.
    pub locations: Vec<LocationDivergence>,
    /// What could not be compared. While there is any, the report is not accepted.
    pub unread: UnreadReasons,
    /// The steps that make the former primary equal to the primary, as they are now, for the operator.
    pub plan: Plan,
}

impl DivergenceReport {
    /// The digest by which a person accepts the report.
    #[must_use]
    pub fn digest(&self) -> String {
        let changes: BTreeSet<_> = self.changes.iter().map(accepted_part).collect();
        let locations = self.locations.iter();
        let locations = locations.map(|location| AcceptedLocation {
            former: &location.former,
            primary: &location.primary,
            unread: &location.unread,
            keys_digest: &location.keys_digest,
        });
        digest(&AcceptedParts {
            epoch: self.epoch,
            policy_digest: &self.policy_digest,
            changes,
            locations: locations.collect(),
            unread: &self.unread,
        })
    }

    /// Whether nothing is listed, keys that arrived late included, and everything could be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_equal = |location: &LocationDivergence| {
            location.counts.is_empty() && location.unread.is_empty()
        };
        self.changes.is_empty() && self.unread.is_empty() && self.locations.iter().all(is_equal)
    }
}

/// What the digest covers of a pair of locations.
#[derive(Serialize)]
struct AcceptedLocation<'a> {
    former: &'a str,
    primary: &'a str,
    unread: &'a BTreeMap<SiteId, String>,
    keys_digest: &'a str,
}

/// What the digest covers.
#[derive(Serialize)]
struct AcceptedParts<'a> {
    epoch: Epoch,
    policy_digest: &'a str,
    changes: BTreeSet<(&'a Subject, ObjectKind, bool, &'a str)>,
    locations: Vec<AcceptedLocation<'a>>,
    unread: &'a UnreadReasons,
}

/// What the digest covers of a change. Whether the primary changed it too does not matter.
fn accepted_part(change: &FormerChange) -> (&Subject, ObjectKind, bool, &str) {
    let is_deleted = change.kind == FormerChangeKind::DeletedThere;
    (&change.subject, change.object, is_deleted, &change.digest)
}

/// What of the catalog and the permissions is given up, from the plan that would make the primary equal to the
/// former primary; and the number of differences that are only records of engines and crawlers.
#[must_use]
pub fn former_changes(
    reverse: &Plan,
    policy: &Policy,
    regions: &ComparedRegions,
) -> (Vec<FormerChange>, usize) {
    let primary = reverse.epoch.standby();
    let mut bookkeeping = 0;
    let mut changes = Vec::new();
    for step in &reverse.steps {
        if is_heartbeat(&step.subject()) {
            continue;
        }
        if step.is_bookkeeping() {
            bookkeeping += 1;
            continue;
        }
        changes.extend(change_of(step, regions, primary));
    }
    for (name, defaults) in &regions.table_defaults {
        let text = serde_json::to_string(defaults).unwrap_or_default();
        changes.push(FormerChange {
            subject: Subject::Database(name.clone()),
            object: ObjectKind::Databases,
            kind: FormerChangeKind::ChangedInBoth,
            text: format!("default permissions for new tables in {name}: {text}"),
            step: None,
            digest: digest(defaults),
        });
    }
    changes.extend(deletions(policy, regions, primary.other()));
    changes.sort_by(|one, other| (&one.subject, one.kind).cmp(&(&other.subject, other.kind)));
    (changes, bookkeeping)
}

fn is_heartbeat(subject: &Subject) -> bool {
    let database = subject.database();
    database.is_some_and(|database| database.as_str() == heartbeat::DATABASE)
}

/// What a step of the reverse plan says about the former primary; `None` if it takes something away, or if only
/// the primary has changed.
fn change_of(step: &Step, regions: &ComparedRegions, primary: SiteId) -> Option<FormerChange> {
    let (kind, digest) = kind_and_digest(step, regions, primary)?;
    Some(FormerChange {
        subject: step.subject(),
        object: step.object_kind(),
        kind,
        text: render::step(step),
        step: Some(step.clone()),
        digest,
    })
}

/// What became of the object of a step in the former primary, and the digest of what is given up.
fn kind_and_digest(
    step: &Step,
    regions: &ComparedRegions,
    primary: SiteId,
) -> Option<(FormerChangeKind, String)> {
    let in_both = |content: String| Some((FormerChangeKind::ChangedInBoth, content));
    let updated = |comparable: String, content: String| {
        let kind = kind_of_update(&step.subject(), &comparable, regions, primary)?;
        Some((kind, content))
    };
    match step {
        Step::CreateDatabase { .. }
        | Step::CreateTable { .. }
        | Step::CreateFunction { .. }
        | Step::CreatePartition { .. }
        | Step::Grant { .. }
        | Step::PutAttachment {
            replaces: false, ..
        } => Some((FormerChangeKind::OnlyThere, digest(step))),
        Step::UpdateDatabase { database, .. } => updated(
            digest(&database.clone().into_comparable()),
            digest(database),
        ),
        Step::UpdateTable { table, .. } => {
            updated(digest(&table.clone().into_comparable()), digest(table))
        }
        Step::UpdateFunction { function, .. } => updated(digest(function), digest(function)),
        Step::UpdatePartition { partition, .. } => in_both(digest(partition)),
        Step::PutAttachment {
            replaces: true,
            attachment,
            ..
        } => in_both(digest(attachment)),
        Step::PutSettings {
            added_admins,
            added_read_only_admins,
            other_settings,
            ..
        } => {
            let adds = !added_admins.is_empty() || !added_read_only_admins.is_empty();
            let content = (added_admins, added_read_only_admins, other_settings);
            in_both(digest(&content)).filter(|_| adds || other_settings.is_some())
        }
        Step::DeleteFunction { .. }
        | Step::RemoveAttachment { .. }
        | Step::Revoke { .. }
        | Step::DeletePartition { .. }
        | Step::DeleteTable { .. }
        | Step::DeleteDatabase { .. } => None,
    }
}

/// Who has changed an object that differs; `None` if only the primary has. `comparable` is the digest of the object
/// of the former primary.
fn kind_of_update(
    subject: &Subject,
    comparable: &str,
    regions: &ComparedRegions,
    primary: SiteId,
) -> Option<FormerChangeKind> {
    let pairing = regions
        .rows
        .get(subject)
        .and_then(|row| row.pairing.as_ref());
    let equal = pairing.and_then(|pairing| pairing.digest.get(primary).as_deref());
    if equal == Some(comparable) {
        return None;
    }
    let in_primary = regions.in_primary.get(subject).map(String::as_str);
    Some(match equal.is_some() && equal == in_primary {
        true => FormerChangeKind::ChangedThere,
        false => FormerChangeKind::ChangedInBoth,
    })
}

/// What the ledger pairs and is missing in the former primary. What lies in a database that is
/// missing is not listed.
fn deletions<'a>(
    policy: &'a Policy,
    regions: &'a ComparedRegions,
    former: SiteId,
) -> impl Iterator<Item = FormerChange> {
    let is_missing = |subject: &Subject| !regions.in_former.contains_key(subject);
    let rows = regions.rows.values().filter(move |row| {
        let was_there = row
            .pairing
            .as_ref()
            .is_some_and(|pairing| !pairing.link && pairing.created_in(former).is_some());
        let parent = row
            .subject
            .database()
            .map(|name| Subject::Database(name.clone()));
        let is_in_missing = parent.is_some_and(|parent| {
            parent != row.subject && !regions.in_former.contains_key(&parent)
        });
        was_there
            && is_missing(&row.subject)
            && !is_in_missing
            && regions.in_primary.contains_key(&row.subject)
            && !is_heartbeat(&row.subject)
    });
    rows.filter_map(move |row| {
        let object = match &row.subject {
            Subject::Database(name) if policy.covers_database(name) => ObjectKind::Databases,
            Subject::Table(id) if policy.covers_table(id) => ObjectKind::Tables,
            Subject::Function(id) if policy.covers_database(&id.database) => ObjectKind::Functions,
            Subject::Database(_)
            | Subject::Table(_)
            | Subject::Function(_)
            | Subject::Catalog
            | Subject::LakeFormation(_) => return None,
        };
        Some(FormerChange {
            subject: row.subject.clone(),
            object,
            kind: FormerChangeKind::DeletedThere,
            text: row.subject.to_string(),
            step: None,
            digest: String::new(),
        })
    })
}
