//! The inputs of the real plan and audit that no model changes: the policy, the roles, and one
//! database with one table in it.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::RwLock;
use twinlake_core::audit::{DeletionBudget, audit};
use twinlake_core::catalog::{Observed, digest};
use twinlake_core::grant::{Grants, OwnRoles, Permission, PermissionGrant, Principal, Resource};
use twinlake_core::ledger::{LedgerRows, Pairing};
use twinlake_core::plan::{ExcludedSteps, Inputs, plan};
use twinlake_core::scope::{Facet, ReadRequest};
use twinlake_core::snapshot::{
    AbsenceProof, LfTagPolicyGrants, Observation, ObservedSettings, Snapshot,
};
use twinlake_core::step::StepTarget;
use twinlake_core::topology::{BySite, Epoch, Site};
use twinlake_core::{
    ApprovedPlan, Database, LedgerRow, LfSubject, Name, Policy, Scope, Subject, SubjectState,
    Table, TableId, Timestamp,
};

/// What one plan is made from, besides what no model changes.
pub struct Reads<'a> {
    pub scope: &'a Scope,
    pub primary: &'a Snapshot,
    pub standby: &'a Snapshot,
    /// The row of the table.
    pub row: Option<LedgerRow>,
    /// The steps that are not planned, since they failed for good.
    pub held: Vec<StepTarget>,
}

/// The inputs that no model changes.
pub struct CommonInputs {
    pub epoch: Epoch,
    pub table: TableId,
    policy: Policy,
    database: Name,
    rows: LedgerRows,
    reader_role: Principal,
    own_roles: OwnRoles,
}

/// When the database and, where a model does not create it, the table were created.
pub const CREATED: Timestamp = Timestamp::from_millis(1);

impl CommonInputs {
    /// Creates the inputs for the primary of an epoch. The policy is the same for each.
    pub fn new(epoch: Epoch) -> Self {
        let text = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                    [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n";
        let policy = Policy::parse(text).expect("the policy is valid");
        let name = |text: &str| Name::new(text).expect("the name is valid");
        let database = name("d");
        let subject = Subject::Database(database.clone());
        let row = LedgerRow {
            pairing: Some(pairing_of_unchanged(digest(&database_named("d")))),
            ..LedgerRow::new(subject.clone(), SubjectState::InSync, CREATED)
        };
        let mut inputs = Self {
            epoch,
            table: TableId::new(database.clone(), name("t")),
            policy,
            database,
            rows: LedgerRows::from([(subject, row)]),
            reader_role: Principal(String::new()),
            own_roles: OwnRoles::default(),
        };
        inputs.reader_role = inputs.role("twinlake");
        inputs
    }

    /// The site that is primary, as the policy defines it.
    pub fn primary(&self) -> &Site {
        self.policy.sites.get(self.epoch.primary())
    }

    /// An IAM role in the primary's account.
    pub fn role(&self, name: &str) -> Principal {
        let (partition, account) = (self.primary().partition(), &self.primary().account);
        Principal(format!("arn:{partition}:iam::{account}:role/{name}"))
    }

    /// The table as the subject of plans.
    pub fn subject(&self) -> Subject {
        Subject::Table(self.table.clone())
    }

    /// A scope of the table with these facets.
    pub fn scope(&self, facets: &[Facet]) -> Scope {
        let mut scope = Scope::default();
        scope.add(self.subject(), ReadRequest::for_facets(facets));
        scope
    }

    /// A snapshot of everything but the table: nothing else gives access to it, and Twinlake's role
    /// sees all its columns.
    pub fn snapshot(&self, is_primary: bool) -> Snapshot {
        let database = Observed {
            object: database_named("d"),
            created: Some(CREATED),
            updated: None,
            version: None,
        };
        let reader = PermissionGrant {
            principal: self.reader_role.clone(),
            resource: Resource::AllTables(self.database.clone()),
            permission: Permission::Select,
            condition: None,
        };
        let on_all_tables = match is_primary {
            true => Grants::from([(reader, false)]),
            false => Grants::new(),
        };
        Snapshot {
            is_administrator: true,
            settings: Some(Observation::Present(ObservedSettings::default())),
            databases: [(self.database.clone(), Observation::Present(database))].into(),
            all_tables_grants: [(self.database.clone(), Observation::Present(on_all_tables))]
                .into(),
            lf_tag_policy_grants: Some(Observation::Present(LfTagPolicyGrants::default())),
            opt_ins: Some(Observation::Present(Default::default())),
            ..Snapshot::default()
        }
    }

    /// Adds the table and its grants to a snapshot. The absence of a table is proven.
    pub fn add_table(
        &self,
        snapshot: &mut Snapshot,
        table: Option<(Table, Timestamp)>,
        grants: Grants,
    ) {
        let observation = match table {
            Some((object, created)) => Observation::Present(Observed {
                object,
                created: Some(created),
                updated: None,
                version: None,
            }),
            None => Observation::Absent(AbsenceProof {
                not_returned: true,
                unlisted: true,
                is_administrator: true,
                sibling_seen: true,
                deletion_named: false,
                read_error: None,
            }),
        };
        snapshot.tables.insert(self.table.clone(), observation);
        let grants = Observation::Present(grants);
        snapshot.grants.insert(self.subject(), grants);
    }

    /// Adds the grants on the catalog to a snapshot, and the LF-Tags and expressions, of which there are none.
    pub fn add_permissions(&self, snapshot: &mut Snapshot, grants: Grants) {
        let permissions = Subject::LakeFormation(LfSubject::Permissions);
        snapshot
            .grants
            .insert(permissions, Observation::Present(grants));
        for lf_subject in [LfSubject::LfTags, LfSubject::LfTagExpressions] {
            let items = (Subject::LakeFormation(lf_subject), Facet::Items);
            let none = Observation::Present(Default::default());
            snapshot.attachments.insert(items, none);
        }
    }

    /// The row of a table that exists in both Regions and was not recreated.
    pub fn paired_row(&self, digest: String) -> LedgerRow {
        LedgerRow {
            pairing: Some(pairing_of_unchanged(digest)),
            ..LedgerRow::new(self.subject(), SubjectState::InSync, CREATED)
        }
    }

    /// Marks the grants of the table as read by a listing of all grants, which showed some grant.
    pub fn mark_full_grant_read(&self, snapshot: &mut Snapshot) {
        snapshot.full_grant_reads.insert(self.subject());
        snapshot.nonempty_full_grant_reads.insert(self.subject());
    }

    /// Plans and audits as the reconcile loop does: what the audit rejects is held, and the rest is
    /// planned again. `None` if it rejects a plan although no step failed before.
    pub fn plan_and_audit(&self, reads: Reads<'_>) -> Option<ApprovedPlan> {
        let mut rows = self.rows.clone();
        rows.extend(reads.row.map(|row| (row.subject.clone(), row)));
        let has_held = !reads.held.is_empty();
        let mut excluded_steps = ExcludedSteps::default();
        let hold = |excluded_steps: &mut ExcludedSteps, target| {
            let reason = "it failed, or was rejected".to_owned();
            excluded_steps.targets.insert(target, reason).is_none()
        };
        for target in reads.held {
            hold(&mut excluded_steps, target);
        }
        loop {
            let inputs = Inputs {
                scope: reads.scope,
                epoch: self.epoch,
                policy: &self.policy,
                primary: reads.primary,
                standby: reads.standby,
                rows: &rows,
                own_roles: &self.own_roles,
                reader_role: &self.reader_role,
                excluded_steps: &excluded_steps,
            };
            let plan = plan(&inputs);
            assert!(plan.needs.is_empty(), "not read: {:?}", plan.needs);
            let rejections = match audit(&inputs, plan, &DeletionBudget::default()) {
                Ok(approved) => return Some(approved),
                Err(rejections) => rejections,
            };
            let mut is_new = false;
            for target in rejections.iter().flat_map(|rejection| &rejection.targets) {
                is_new |= hold(&mut excluded_steps, target.clone());
            }
            if !has_held || !is_new {
                println!("  rejected: {rejections:?}");
                return None;
            }
        }
    }
}

/// A database whose new tables are open to nobody.
fn database_named(name: &str) -> Database {
    let database = serde_json::json!({"Name": name, "CreateTableDefaultPermissions": []});
    serde_json::from_value(database).expect("a database is JSON")
}

fn pairing_of_unchanged(digest: String) -> Pairing {
    let created = Some(CREATED);
    Pairing {
        created: BySite {
            a: created,
            b: created,
        },
        digest: BySite {
            a: Some(digest.clone()),
            b: Some(digest),
        },
        link: false,
    }
}

/// Remembers the answers to questions, since the plan and the audit are pure.
pub struct Memo<Q, A>(RwLock<BTreeMap<Q, A>>);

impl<Q, A> Default for Memo<Q, A> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<Q: Ord + Clone + Hash, A: Clone> Memo<Q, A> {
    /// Returns the answer, which `compute` finds the first time.
    pub fn answer(&self, question: &Q, compute: impl FnOnce(&Q) -> A) -> A {
        let known = self
            .0
            .read()
            .expect("no thread failed")
            .get(question)
            .cloned();
        known.unwrap_or_else(|| {
            let answer = compute(question);
            let mut answers = self.0.write().expect("no thread failed");
            answers.insert(question.clone(), answer.clone());
            answer
        })
    }
}
