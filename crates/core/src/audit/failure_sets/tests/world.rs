//! Random pairs of Regions, and the steps between them.

use super::random::Random;
use super::region::{
    Drift, EXPRESSION, READER, Region, database_object, every_database, every_resource,
    every_table, partition, table_object,
};
use crate::call_error::{CallError, CallErrorKind};
use crate::catalog::{Attachment, AttachmentKey, Database, Observed};
use crate::grant::{OwnRoles, PermissionGrant, Principal, Resource};
use crate::ledger::{LedgerRow, LedgerRows, Pairing, SubjectState};
use crate::plan::{Inputs, Plan};
use crate::policy::Policy;
use crate::scope::{LfSubject, ReadRequest, Scope, Subject};
use crate::snapshot::{Observation, Snapshot};
use crate::step::{RevokeCause, Step};
use crate::timestamp::Timestamp;
use crate::topology::{BySite, Epoch};
use std::collections::{BTreeMap, BTreeSet};

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

/// Everything that a plan is audited with.
pub(super) struct World {
    scope: Scope,
    policy: Policy,
    primary: Snapshot,
    standby: Snapshot,
    rows: LedgerRows,
    own_roles: OwnRoles,
    reader_role: Principal,
}

impl World {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            scope: &self.scope,
            epoch: Epoch::INITIAL,
            policy: &self.policy,
            primary: &self.primary,
            standby: &self.standby,
            rows: &self.rows,
            own_roles: &self.own_roles,
            reader_role: &self.reader_role,
            // Nothing is held. Of the plan, the audit names no other type than its inputs.
            excluded_steps: Box::leak(Box::default()),
        }
    }

    /// Returns the two Regions, and the steps that remove their differences.
    pub(super) fn between(primary: &Region, standby: &Region) -> (Self, Vec<Step>) {
        // No step is random where nothing is suspended or updated early.
        let steps = steps_between(primary, standby, 0, &mut Random(0));
        let steps = steps.into_iter().filter(|step| {
            let is_unchanged = matches!(
                step,
                Step::CreatePartition { .. } | Step::UpdateDatabase { .. }
            );
            !is_unchanged
        });
        (Self::new(primary, standby), steps.collect())
    }

    fn new(primary: &Region, standby: &Region) -> Self {
        let rows = rows();
        let mut scope = Scope::default();
        for subject in rows.keys() {
            scope.add(subject.clone(), ReadRequest::default());
        }
        let granted = primary.grants.keys().chain(standby.grants.keys());
        let policies: BTreeSet<Resource> = granted
            .map(|grant| grant.resource.clone())
            .chain(every_resource())
            .collect();
        Self {
            scope,
            policy: Policy::parse(POLICY).unwrap(),
            primary: primary.snapshot(&policies),
            standby: standby.snapshot(&policies),
            rows,
            own_roles: OwnRoles::new([READER.to_owned()]),
            reader_role: Principal(READER.to_owned()),
        }
    }

    pub(super) fn plan(&self, steps: Vec<Step>, requires: Vec<Vec<usize>>) -> Plan {
        Plan {
            epoch: Epoch::INITIAL,
            policy_digest: self.policy.digest().to_owned(),
            steps,
            requires,
            findings: BTreeSet::new(),
            subject_outcomes: BTreeMap::new(),
            needs_full_grant_read: 0,
            needs: BTreeMap::new(),
            waiting_subjects: BTreeSet::new(),
            new_pairings: 0,
            missing_rights: None,
        }
    }
}

/// Returns two Regions, and the steps that would remove their differences, with some that make no
/// sense.
pub(super) fn random_world(random: &mut Random) -> (World, Vec<Step>) {
    let drift = Drift::random(random);
    let first = Region::random(random, &drift);
    let mut second = first.clone();
    second.change(random, &drift);
    let mut steps = steps_between(&first, &second, 3, random);
    for _ in 0..2 {
        if random.percent(10) {
            let other = Region::random(random, &drift);
            let nonsense = steps_between(&other, &second, 3, random);
            if !nonsense.is_empty() {
                steps.push(random.of(&nonsense).clone());
            }
        }
    }
    // What is done twice, and what is undone.
    if random.percent(10) && !steps.is_empty() {
        let mut step = random.of(&steps).clone();
        if let Step::PutAttachment {
            subject,
            attachment,
            ..
        } = &step
            && random.percent(50)
        {
            step = Step::RemoveAttachment {
                subject: subject.clone(),
                key: attachment.key(),
            };
        }
        steps.push(step);
    }
    let mut world = World::new(&first, &second);
    forget_something(random, &mut world);
    (world, steps)
}

/// Makes some read fail, of what an audit decides with.
fn forget_something(random: &mut Random, world: &mut World) {
    if random.percent(90) {
        return;
    }
    let snapshot = match random.percent(50) {
        true => &mut world.primary,
        false => &mut world.standby,
    };
    let failed = CallError::new(CallErrorKind::Denied, "List", "us-east-1", "denied");
    match random.below(5) {
        0 => snapshot.is_administrator = false,
        1 => {
            let keys: Vec<_> = snapshot.attachments.keys().cloned().collect();
            let key = random.of(&keys).clone();
            snapshot
                .attachments
                .insert(key, Observation::Unknown(failed));
        }
        2 => {
            let keys: Vec<_> = snapshot.grants.keys().cloned().collect();
            let key = random.of(&keys).clone();
            snapshot.grants.insert(key, Observation::Unknown(failed));
        }
        3 => {
            let first = snapshot.table_names.keys().next().cloned().unwrap();
            snapshot.table_names.remove(&first);
        }
        _ => {
            let first = every_database()[0].clone();
            let open = Observed {
                object: Database::named(first.clone()),
                created: Some(Timestamp::from_secs(1)),
                updated: None,
                version: None,
            };
            snapshot.databases.insert(first, Observation::Present(open));
        }
    }
}

/// The ledger pairs everything.
fn rows() -> LedgerRows {
    let databases = every_database().map(Subject::Database);
    let tables = every_table().into_iter().map(Subject::Table);
    let paired = Some(Timestamp::from_secs(1));
    let mut rows = LedgerRows::new();
    for subject in databases.into_iter().chain(tables) {
        let row = LedgerRow {
            pairing: Some(Pairing {
                created: BySite {
                    a: paired,
                    b: paired,
                },
                digest: BySite { a: None, b: None },
                link: false,
            }),
            ..LedgerRow::new(
                subject.clone(),
                SubjectState::InSync,
                Timestamp::from_millis(0),
            )
        };
        rows.insert(subject, row);
    }
    let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
    let key = AttachmentKey::NamedExpression(EXPRESSION.to_owned());
    let mut row = LedgerRow::new(
        subject.clone(),
        SubjectState::InSync,
        Timestamp::from_millis(0),
    );
    row.managed_keys.insert(crate::catalog::digest(&key));
    rows.insert(subject, row);
    rows
}

/// Returns the steps that make the second Region equal to the first, and those that suspend so many
/// of 100 grants.
fn steps_between(
    first: &Region,
    second: &Region,
    suspended: usize,
    random: &mut Random,
) -> Vec<Step> {
    let mut steps = object_steps(first, second);
    for (chosen, grantable) in &first.grants {
        if second.grants.get(chosen) != Some(grantable) {
            if second.grants.contains_key(chosen) {
                steps.push(revoke(chosen, RevokeCause::Replace));
            }
            steps.push(Step::Grant {
                grant: chosen.clone(),
                grantable: *grantable,
            });
        } else if random.percent(suspended) {
            // A grant that is suspended while something else changes.
            steps.push(revoke(chosen, RevokeCause::Replace));
            steps.push(Step::Grant {
                grant: chosen.clone(),
                grantable: *grantable,
            });
        }
    }
    for chosen in second.grants.keys() {
        if !first.grants.contains_key(chosen) {
            steps.push(revoke(chosen, RevokeCause::NotInPrimary));
        }
    }
    let (wanted, existing) = (first.attachments(), second.attachments());
    for ((subject, facet), attachments) in &wanted {
        let others = existing.get(&(subject.clone(), *facet));
        let has = |attachment: &&Attachment| others.is_some_and(|all| all.contains(attachment));
        for attachment in attachments.iter().filter(|attachment| !has(attachment)) {
            steps.push(Step::PutAttachment {
                subject: subject.clone(),
                attachment: attachment.clone(),
                replaces: false,
                before_object_changes: random.percent(30),
            });
        }
    }
    for ((subject, facet), attachments) in &existing {
        let wanted: BTreeSet<AttachmentKey> = wanted
            .get(&(subject.clone(), *facet))
            .into_iter()
            .flatten()
            .map(Attachment::key)
            .collect();
        for attachment in attachments {
            if !wanted.contains(&attachment.key()) {
                steps.push(Step::RemoveAttachment {
                    subject: subject.clone(),
                    key: attachment.key(),
                });
            }
        }
    }
    steps
}

fn revoke(chosen: &PermissionGrant, cause: RevokeCause) -> Step {
    Step::Revoke {
        grant: chosen.clone(),
        grantable: false,
        cause,
    }
}

fn object_steps(first: &Region, second: &Region) -> Vec<Step> {
    let mut steps = Vec::new();
    for database in every_database() {
        match (
            first.databases.contains(&database),
            second.databases.contains(&database),
        ) {
            (true, false) => steps.push(Step::CreateDatabase {
                database: database_object(&database),
            }),
            (false, true) => steps.push(Step::DeleteDatabase {
                name: database.clone(),
            }),
            (true, true) => steps.push(Step::UpdateDatabase {
                database: database_object(&database),
                clears_default_permissions: true,
                changes: Vec::new(),
            }),
            (false, false) => {}
        }
    }
    for id in every_table() {
        match (first.tables.get(&id), second.tables.get(&id)) {
            (Some(columns), None) => {
                let table = table_object(&id, columns);
                steps.push(Step::CreateTable { id, table });
            }
            (Some(columns), Some(others)) if columns != others => {
                let table = table_object(&id, columns);
                let (version, changes) = (None, Vec::new());
                steps.push(Step::UpdateTable {
                    id,
                    table,
                    version,
                    changes,
                });
            }
            (Some(_), Some(_)) => steps.push(Step::CreatePartition {
                id,
                partition: partition(),
            }),
            (None, Some(_)) => steps.push(Step::DeleteTable { id }),
            (None, None) => {}
        }
    }
    steps
}
