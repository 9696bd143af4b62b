//! Decides the steps that make the secondary equal to the primary.
//!
//! One pure function of what was read. What cannot be decided becomes a
//! [`Finding`], and the subject's [`Standing`] says how it is left.

mod assigned;
mod database;
mod function;
mod grants;
mod lake;
mod link;
mod part;
mod partitions;
mod reader;
mod table;
mod tags;
mod wildcards;

use crate::catalog::{Linkable, PrincipalPermissions, Seen, digest};
use crate::grant::{Atom, OwnRoles, Principal};
use crate::ledger::{Epoch, Pairing, Rows, State};
use crate::policy::Policy;
use crate::reading::Reading;
use crate::scope::{Facet, Scope, Subject};
use crate::step::{RevokeCause, Step};
use crate::translate::Translator;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// All that a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What was looked at, and why.
    pub scope: &'a Scope,
    /// Which side is primary.
    pub epoch: Epoch,
    /// The policy.
    pub policy: &'a Policy,
    /// What the primary showed.
    pub primary: &'a Reading,
    /// What the secondary showed.
    pub secondary: &'a Reading,
    /// What the ledger holds on the subjects.
    pub rows: &'a Rows,
    /// Our own roles: creator of what we make, so their grants are not compared
    /// (LF-06).
    pub ours: &'a OwnRoles,
    /// Our role in the primary, whose SELECT decides what it is shown there.
    pub reader: &'a Principal,
}

/// What to change in the secondary, in order, and what else was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The epoch that the plan was made in.
    pub epoch: Epoch,
    /// The digest of the policy that it was made under.
    pub policy_digest: String,
    /// The changes, in the order in which they are made.
    pub steps: Vec<Step>,
    /// What a person should know.
    pub findings: BTreeSet<Finding>,
    /// How each subject stands before the steps.
    #[serde(with = "crate::scope::pairs")]
    pub standings: BTreeMap<Subject, Standing>,
    /// Revokes that no event names and that wait for a reading of all grants.
    #[serde(default)]
    pub unproven: usize,
    /// Subjects that rest on what is still under way elsewhere: to be looked at again.
    #[serde(default)]
    pub waits: BTreeSet<Subject>,
}

impl Plan {
    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Something that is not replicated as it is, or not at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What kind of finding.
    pub kind: FindingKind,
    /// Whom it is about.
    pub subject: Subject,
    /// What was found, in words.
    pub detail: String,
}

/// The kinds of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Our role lacks a right, or may no longer see everything.
    Denied,
    /// It could not be read.
    Unreadable,
    /// The secondary holds something else under the name.
    Foreign,
    /// Creating it would open it, since the secondary's defaults are open.
    DefaultsOpen,
    /// The policy holds it back.
    Held,
    /// This version does not replicate it.
    Unsupported,
    /// It is copied, with a reservation.
    Note,
}

/// How a subject is left by a plan, once its steps are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// Why, unless it is current.
    pub reason: Option<String>,
    /// What was looked at and is the reason; the object itself if it is nothing else.
    pub by: Facet,
    /// The pairing, as far as this reading shows it.
    pub pairing: Option<Pairing>,
    /// The primary's default for new tables, of a database.
    pub table_default: Option<Vec<PrincipalPermissions>>,
    /// How many partitions the secondary showed, if they were read.
    pub partitions: Option<usize>,
    /// What is paired of a subject of the lake, by its marks, if it was read.
    pub owned: Option<BTreeSet<String>>,
    /// It is gone on both sides, so the ledger forgets it.
    pub gone: bool,
}

impl Standing {
    fn new(state: State, reason: Option<String>) -> Self {
        Self {
            state,
            reason,
            by: Facet::Definition,
            pairing: None,
            table_default: None,
            partitions: None,
            owned: None,
            gone: false,
        }
    }

    fn gone() -> Self {
        Self {
            gone: true,
            ..Self::new(State::Current, None)
        }
    }
}

/// Plans the difference between two readings.
#[must_use]
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let mut draft = Draft {
        inputs: *inputs,
        translator: Translator::new(inputs.policy, inputs.epoch),
        steps: Vec::new(),
        findings: BTreeSet::new(),
        standings: BTreeMap::new(),
        afterwards: BTreeMap::new(),
        wildcards: Vec::new(),
        unproven: 0,
        waits: BTreeSet::new(),
    };
    for (subject, look) in subjects(inputs) {
        match &subject {
            Subject::Catalog => {}
            Subject::Lake(lake) => lake::plan(&mut draft, *lake, &look),
            Subject::Database(name) => database::plan(&mut draft, name, &look),
            Subject::Table(id) => table::plan(&mut draft, id, &look),
            Subject::Function(id) => function::plan(&mut draft, id),
        }
    }
    database::plan_deletions(&mut draft);
    wildcards::plan(&mut draft);
    assigned::plan(&mut draft);
    for (subject, standing) in std::mem::take(&mut draft.afterwards) {
        let settled = draft.is_settled(&subject);
        if settled {
            draft.standings.insert(subject, standing);
        }
    }
    draft.steps.sort_by_key(|step| (step.phase(), step.rank()));
    once(&mut draft.steps);
    Plan {
        epoch: inputs.epoch,
        policy_digest: inputs.policy.digest().to_owned(),
        steps: draft.steps,
        findings: draft.findings,
        standings: draft.standings,
        unproven: draft.unproven,
        waits: draft.waits,
    }
}

/// A grant that several things want gone is revoked once: for good, if one of them says so.
fn once(steps: &mut Vec<Step>) {
    let mut causes: BTreeMap<Atom, RevokeCause> = BTreeMap::new();
    for step in steps.iter() {
        if let Step::Revoke { atom, cause, .. } = step {
            let known = causes.entry(atom.clone()).or_insert(*cause);
            if *known == RevokeCause::Replace {
                *known = *cause;
            }
        }
    }
    let mut met = BTreeSet::new();
    steps.retain(|step| {
        let Step::Revoke { atom, cause, .. } = step else {
            return true;
        };
        causes.get(atom) == Some(cause) && met.insert(atom.clone())
    });
}

/// The facets of a subject that the scope covers, parents before children.
type Facets = BTreeSet<Facet>;

/// The subjects of the scope with what lies in them, as far as it was read.
fn subjects(inputs: &Inputs<'_>) -> BTreeMap<Subject, Facets> {
    let mut found: BTreeMap<Subject, Facets> = BTreeMap::new();
    let readings = [inputs.primary, inputs.secondary];
    let mut whole: BTreeSet<&crate::Name> = BTreeSet::new();
    for (subject, look) in &inputs.scope.looks {
        match subject {
            Subject::Catalog => {
                whole.extend(readings.iter().flat_map(|r| r.databases.keys()));
            }
            Subject::Database(name) if look.facets.contains(&Facet::Contents) => {
                whole.insert(name);
            }
            Subject::Lake(_) | Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
                found
                    .entry(subject.clone())
                    .or_default()
                    .extend(&look.facets);
            }
        }
    }
    for name in whole {
        found
            .entry(Subject::Database(name.clone()))
            .or_default()
            .extend(&crate::scope::WHOLE_DATABASE);
        let tables = readings.iter().flat_map(|r| r.tables.keys());
        let functions = readings.iter().flat_map(|r| r.functions.keys());
        for id in functions.filter(|id| id.database == *name) {
            found.entry(Subject::Function(id.clone())).or_default();
        }
        for id in tables.filter(|id| id.database == *name) {
            found
                .entry(Subject::Table(id.clone()))
                .or_default()
                .extend(&crate::scope::WHOLE_TABLE);
        }
    }
    found
}

/// The kind of finding that a failed read is.
fn unreadable(fault: &crate::Fault) -> FindingKind {
    match fault.kind {
        crate::FaultKind::Denied => FindingKind::Denied,
        crate::FaultKind::Absent
        | crate::FaultKind::AlreadyDone
        | crate::FaultKind::Busy
        | crate::FaultKind::NotYet
        | crate::FaultKind::Invalid
        | crate::FaultKind::Unsupported
        | crate::FaultKind::Unavailable => FindingKind::Unreadable,
    }
}

/// The pairing of two objects that are there now.
fn pairing<T: Linkable + Serialize>(wanted: &Seen<T>, there: &Seen<T>, now: &T) -> Pairing {
    Pairing {
        primary_created: wanted.created,
        secondary_created: there.created,
        digest: digest(now),
        link: there.is_link(),
    }
}

struct Draft<'a> {
    inputs: Inputs<'a>,
    translator: Translator<'a>,
    steps: Vec<Step>,
    findings: BTreeSet<Finding>,
    standings: BTreeMap<Subject, Standing>,
    /// Standings that databases have for the sake of their parts alone.
    afterwards: BTreeMap<Subject, Standing>,
    /// Missing grants on all tables of a database.
    wildcards: Vec<(crate::Name, crate::Atom, bool)>,
    /// Revokes that wait for a reading of all grants.
    unproven: usize,
    /// Subjects that may be settled by a later look.
    waits: BTreeSet<Subject>,
}

impl Draft<'_> {
    fn find(&mut self, kind: FindingKind, subject: &Subject, detail: impl Into<String>) {
        self.findings.insert(Finding {
            kind,
            subject: subject.clone(),
            detail: detail.into(),
        });
    }

    /// Gone on both sides. What is paired is forgotten only where the primary's
    /// absence is as good as proven: a lost right looks like this on both sides.
    fn forget(&self, subject: &Subject, proof: &crate::Proof) -> Standing {
        let row = self.inputs.rows.get(subject);
        let paired = row.is_some_and(|row| row.pairing.is_some());
        let sees = proof.unlisted && (proof.control_seen || proof.deletion_named);
        if paired && !(sees || proof.deletion_named) {
            let reason = "neither Region shows it, and nothing else was seen beside it";
            return self.keep(subject, State::Behind, Some(reason.to_owned()));
        }
        Standing::gone()
    }

    /// A standing that keeps the pairing that the ledger holds.
    fn keep(&self, subject: &Subject, state: State, reason: Option<String>) -> Standing {
        let row = self.inputs.rows.get(subject);
        Standing {
            pairing: row.and_then(|row| row.pairing.clone()),
            ..Standing::new(state, reason)
        }
    }

    /// Leaves a subject in a state that needs eyes, with the finding that says why.
    fn leave(&mut self, subject: &Subject, state: State, kind: FindingKind, reason: String) {
        self.find(kind, subject, reason.clone());
        let mut standing = self.keep(subject, state, Some(reason));
        if let Some(known) = self.standings.get(subject) {
            standing.pairing = known.pairing.clone().or(standing.pairing);
            standing.table_default.clone_from(&known.table_default);
        }
        self.standings.insert(subject.clone(), standing);
    }

    /// Leaves a subject that could not be read as it was, but for the reason.
    fn leave_unread(&mut self, subject: &Subject, fault: &crate::Fault) {
        let kind = unreadable(fault);
        self.leave(subject, State::Behind, kind, fault.to_string());
    }

    /// Notes which facet left a subject as it is, if it is not current.
    fn blame(&mut self, subject: &Subject, facet: Facet) {
        if let Some(standing) = self.standings.get_mut(subject)
            && standing.state != State::Current
        {
            standing.by = facet;
        }
    }

    fn is_settled(&self, subject: &Subject) -> bool {
        self.standings
            .get(subject)
            .is_some_and(|standing| standing.state == State::Current && !standing.gone)
    }
}
