//! The steps of a plan: each is one change in the secondary.

use crate::catalog::{Change, Database, Function, LakeSettings, Part, PartKey, Partition, Table};
use crate::grant::{Atom, Principal, Resource};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{Lake, Subject, subject_of};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The order of a plan. What takes access away comes before whatever could meet
/// it, and what gives access comes after what it is given on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Defaults for new objects are closed.
    Defaults,
    /// Grants are taken away.
    Narrow,
    /// Data cells filters are changed to what the primary's say.
    Tighten,
    /// Databases, tables and partitions are made and changed, parents first; then
    /// filters, assigned LF-Tags, opt-ins.
    Objects,
    /// Grants are given.
    Grants,
    /// Objects are deleted, children first.
    Deletions,
    /// Grants on all tables of a database, and by LF-Tag policies, are given, when
    /// nothing is left there that the primary lacks.
    Wildcards,
}

/// Why a grant is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeCause {
    /// The secondary shows it and the primary does not.
    Extra,
    /// An event named it, and the primary does not hold it.
    Suspect,
    /// It is given again later in the plan, in another form.
    Replace,
    /// The object that it is on is about to be deleted.
    Deletion,
}

/// One change in the secondary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// `CreateDatabase`.
    CreateDatabase {
        /// The whole input.
        database: Database,
    },
    /// `UpdateDatabase`; it replaces the whole input.
    UpdateDatabase {
        /// The whole input.
        database: Database,
        /// It closes the default for new tables, and so goes first.
        closes: bool,
        /// What differs, for a person to read.
        changes: Vec<Change>,
    },
    /// `CreateTable`.
    CreateTable {
        /// Where.
        id: TableId,
        /// The whole input.
        table: Table,
    },
    /// `UpdateTable`; it replaces the whole input.
    UpdateTable {
        /// Which.
        id: TableId,
        /// The whole input.
        table: Table,
        /// The version that was read, as an optimistic lock.
        version: Option<String>,
        /// What differs, for a person to read.
        changes: Vec<Change>,
    },
    /// One entry of `BatchCreatePartition`.
    CreatePartition {
        /// The table.
        id: TableId,
        /// The whole input.
        partition: Partition,
    },
    /// One entry of `BatchUpdatePartition`.
    UpdatePartition {
        /// The table.
        id: TableId,
        /// The whole input.
        partition: Partition,
        /// What differs, for a person to read.
        changes: Vec<Change>,
    },
    /// `CreateUserDefinedFunction`.
    CreateFunction {
        /// Which.
        id: FunctionId,
        /// The whole input.
        function: Function,
    },
    /// `UpdateUserDefinedFunction`; it replaces the whole input.
    UpdateFunction {
        /// Which.
        id: FunctionId,
        /// The whole input.
        function: Function,
        /// What differs, for a person to read.
        changes: Vec<Change>,
    },
    /// `DeleteUserDefinedFunction`.
    DeleteFunction {
        /// Which.
        id: FunctionId,
    },
    /// Makes or replaces a part, as `CreatePartitionIndex`, one entry of
    /// `UpdateColumnStatisticsForTable`, one tag of `AddLFTagsToResource`.
    PutPart {
        /// The owner.
        subject: Subject,
        /// The part.
        part: Part,
        /// It replaces a data cells filter, and goes before anything is shown anew.
        tightens: bool,
    },
    /// Takes a part away, as `DeletePartitionIndex`, `DeleteColumnStatisticsForTable`,
    /// one key of `UntagResource`.
    RemovePart {
        /// The owner.
        subject: Subject,
        /// Which.
        key: PartKey,
    },
    /// One atom of `BatchGrantPermissions`.
    Grant {
        /// What is given.
        atom: Atom,
        /// With the grant option.
        grantable: bool,
    },
    /// One atom of `BatchRevokePermissions`.
    Revoke {
        /// What is taken away, grant option included.
        atom: Atom,
        /// Its holder may grant it on, so the grant option is named too.
        grantable: bool,
        /// Why.
        cause: RevokeCause,
    },
    /// One entry of `BatchDeletePartition`.
    DeletePartition {
        /// The table.
        id: TableId,
        /// Which partition.
        values: Vec<String>,
    },
    /// `DeleteTable`.
    DeleteTable {
        /// Which.
        id: TableId,
    },
    /// `PutDataLakeSettings`, made from what is there when it is written.
    PutSettings {
        /// Who is added to the administrators, read-only ones apart.
        add: BTreeSet<Principal>,
        /// Who is added to the read-only administrators.
        add_readers: BTreeSet<Principal>,
        /// Administrators, of either kind, that the primary made no longer ones.
        drop: BTreeSet<Principal>,
        /// All but administrators and defaults.
        rest: LakeSettings,
    },
    /// `DeleteDatabase`, of a database that is empty by then.
    DeleteDatabase {
        /// Which.
        name: Name,
    },
}

impl Step {
    /// Where the step stands in a plan.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::UpdateDatabase { closes: true, .. } => Phase::Defaults,
            Self::Revoke { .. } => Phase::Narrow,
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase { closes: false, .. }
            | Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::CreatePartition { .. }
            | Self::UpdatePartition { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. } => Phase::Objects,
            Self::PutPart { tightens: true, .. } => Phase::Tighten,
            Self::PutPart {
                tightens: false, ..
            }
            | Self::RemovePart {
                key: PartKey::Assigned { .. },
                ..
            } => Phase::Objects,
            Self::PutSettings { .. } => Phase::Defaults,
            Self::Grant { atom, .. } => match atom.resource {
                Resource::AllTables(_) | Resource::TagPolicy { .. } => Phase::Wildcards,
                Resource::Database(_)
                | Resource::Table(_)
                | Resource::Column(..)
                | Resource::ColumnsExcept(..)
                | Resource::Filter(..)
                | Resource::Catalog
                | Resource::Location(_)
                | Resource::Tag { .. }
                | Resource::Expression(_) => Phase::Grants,
            },
            Self::DeletePartition { .. }
            | Self::RemovePart { .. }
            | Self::DeleteTable { .. }
            | Self::DeleteFunction { .. }
            | Self::DeleteDatabase { .. } => Phase::Deletions,
        }
    }

    /// Where the step stands in a plan, to the last: steps of one place may be made in
    /// any order, or side by side.
    #[must_use]
    pub fn place(&self) -> (Phase, u8) {
        (self.phase(), self.rank())
    }

    /// The place within the phase: parents before children when making, children
    /// before parents when deleting, and grants in their turn.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase { .. }
            | Self::Revoke { .. }
            | Self::PutSettings { .. }
            | Self::DeletePartition { .. } => 0,
            Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::DeleteTable { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. }
            | Self::DeleteFunction { .. } => 1,
            Self::DeleteDatabase { .. } => 2,
            Self::PutPart { subject, part, .. } => put_rank(subject, &part.key()),
            Self::RemovePart { subject, key } => removal_rank(subject, key),
            Self::CreatePartition { .. } | Self::UpdatePartition { .. } => 3,
            Self::Grant { atom, .. } => atom.turn(),
        }
    }

    /// The subject that the step changes.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::CreateDatabase { database } | Self::UpdateDatabase { database, .. } => {
                Subject::Database(database.name.clone())
            }
            Self::DeleteDatabase { name } => Subject::Database(name.clone()),
            Self::CreateTable { id, .. }
            | Self::UpdateTable { id, .. }
            | Self::CreatePartition { id, .. }
            | Self::UpdatePartition { id, .. }
            | Self::DeletePartition { id, .. }
            | Self::DeleteTable { id } => Subject::Table(id.clone()),
            Self::CreateFunction { id, .. }
            | Self::UpdateFunction { id, .. }
            | Self::DeleteFunction { id } => Subject::Function(id.clone()),
            Self::PutPart { subject, .. } | Self::RemovePart { subject, .. } => subject.clone(),
            Self::PutSettings { .. } => Subject::Lake(Lake::Settings),
            Self::Grant { atom, .. } | Self::Revoke { atom, .. } => subject_of(atom),
        }
    }
}

/// The place of a part that is made. LF-Tags come before the expressions that name
/// them, filters after the columns that they name, and opt-ins last. Assigned LF-Tags
/// are put from the inside out: what overrides stands before what it overrides changes.
fn put_rank(subject: &Subject, key: &PartKey) -> u8 {
    match key {
        PartKey::TagValue { .. } | PartKey::Registration(_) => 0,
        PartKey::Index(_) | PartKey::Statistics(_) | PartKey::Tag(_) | PartKey::Expression(_) => 2,
        PartKey::Filter(_) => 4,
        PartKey::Assigned {
            column: Some(_), ..
        } => 5,
        PartKey::Assigned { column: None, .. } => match subject {
            Subject::Table(_) => 6,
            Subject::Catalog | Subject::Database(_) | Subject::Function(_) | Subject::Lake(_) => 8,
        },
        PartKey::OptIn(_) => 11,
    }
}

/// The place of a part that goes. Assigned LF-Tags go from the outside in, and LF-Tags
/// themselves when nothing names them any longer.
fn removal_rank(subject: &Subject, key: &PartKey) -> u8 {
    match key {
        PartKey::Index(_)
        | PartKey::Statistics(_)
        | PartKey::Tag(_)
        | PartKey::Filter(_)
        | PartKey::OptIn(_) => 0,
        PartKey::Assigned { column: None, .. } => match subject {
            Subject::Table(_) => 9,
            Subject::Catalog | Subject::Database(_) | Subject::Function(_) | Subject::Lake(_) => 7,
        },
        PartKey::Assigned {
            column: Some(_), ..
        } => 10,
        PartKey::Expression(_) => 3,
        PartKey::TagValue { .. } | PartKey::Registration(_) => 4,
    }
}
