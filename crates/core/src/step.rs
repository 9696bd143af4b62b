//! The steps of a plan: each is one change in the standby.

use crate::catalog::{
    Attachment, AttachmentKey, Change, DataLakeSettings, Database, Function, Partition, Table,
};
use crate::grant::{PermissionGrant, Principal, Resource};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{Facet, LfSubject, Subject, subject_of_grant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The phases of a plan, in order. Steps that take access away come before the changes that extra
/// access could apply to; steps that give access come after the changes of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Updates databases whose default permissions for new tables must be cleared, and writes the data lake
    /// settings.
    Defaults,
    /// Revokes grants.
    Revokes,
    /// Updates existing data cells filters to the primary's.
    FilterUpdates,
    /// Creates and updates databases, tables, functions and partitions, and puts attachments: LF-Tag
    /// values and registrations first; indexes, statistics, Glue tags and LF-Tag expressions before
    /// partitions; after these filters, then LF-Tag assignments, then opt-ins. Removes LF-Tag
    /// assignments, too.
    Objects,
    /// Creates grants.
    Grants,
    /// Deletes objects, children first, and removes attachments that are not LF-Tag assignments.
    Deletions,
    /// Creates grants on all tables of a database and grants by LF-Tag policies, once the objects
    /// that the primary lacks are deleted.
    BroadGrants,
}

/// Why a grant is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeCause {
    /// The primary does not have it; the standby lists it, or Twinlake granted it in this session.
    NotInPrimary,
    /// An event named the revoke, and neither Region lists the grant.
    NamedByEvent,
    /// It is granted again later in the plan, or only loses its grant option.
    Replace,
    /// The plan deletes the object that it is on.
    Deletion,
    /// It uses a named LF-Tag expression. After the plan changes the expression, the grant would give
    /// access that it does not give in the primary.
    ExpressionChanged,
    /// It is on a column that the primary dropped. On a column that does not exist, Lake Formation
    /// refuses the revoke, and the grant would apply to a later column of that name.
    ColumnDropped,
}

/// One change in the standby.
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
        /// The update clears the default permissions for new tables, so it comes first.
        clears_default_permissions: bool,
        /// The differing fields, for the operator.
        changes: Vec<Change>,
    },
    /// `CreateTable`.
    CreateTable {
        /// The table.
        id: TableId,
        /// The whole input.
        table: Table,
    },
    /// `UpdateTable`; it replaces the whole input.
    UpdateTable {
        /// The table.
        id: TableId,
        /// The whole input.
        table: Table,
        /// The version that was read, as an optimistic lock.
        version: Option<String>,
        /// The differing fields, for the operator.
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
        /// The differing fields, for the operator.
        changes: Vec<Change>,
    },
    /// `CreateUserDefinedFunction`.
    CreateFunction {
        /// The function.
        id: FunctionId,
        /// The whole input.
        function: Function,
    },
    /// `UpdateUserDefinedFunction`; it replaces the whole input.
    UpdateFunction {
        /// The function.
        id: FunctionId,
        /// The whole input.
        function: Function,
        /// The differing fields, for the operator.
        changes: Vec<Change>,
    },
    /// `DeleteUserDefinedFunction`.
    DeleteFunction {
        /// The function.
        id: FunctionId,
    },
    /// Creates or replaces an attachment, for example by `CreatePartitionIndex`, as one entry of
    /// `UpdateColumnStatisticsForTable`, or as one LF-Tag of `AddLFTagsToResource`.
    PutAttachment {
        /// The owner.
        subject: Subject,
        /// The attachment.
        attachment: Attachment,
        /// The standby has an attachment with this key, which the step replaces.
        #[serde(default)]
        replaces: bool,
        /// The step updates an existing data cells filter before the objects change (phase
        /// [`Phase::FilterUpdates`]).
        before_object_changes: bool,
    },
    /// Removes an attachment, for example by `DeletePartitionIndex` or
    /// `DeleteColumnStatisticsForTable`, or as one key of `UntagResource`.
    RemoveAttachment {
        /// The owner.
        subject: Subject,
        /// The key of the attachment.
        key: AttachmentKey,
    },
    /// One grant of `BatchGrantPermissions`.
    Grant {
        /// The grant to create.
        grant: PermissionGrant,
        /// Whether it has the grant option.
        grantable: bool,
    },
    /// One grant of `BatchRevokePermissions`.
    Revoke {
        /// The grant to revoke, grant option included.
        grant: PermissionGrant,
        /// The grant has the grant option, so the call names the grant option too.
        grantable: bool,
        /// The reason for the revoke.
        cause: RevokeCause,
    },
    /// One entry of `BatchDeletePartition`.
    DeletePartition {
        /// The table.
        id: TableId,
        /// The values of the partition.
        values: Vec<String>,
    },
    /// `DeleteTable`.
    DeleteTable {
        /// The table.
        id: TableId,
    },
    /// `PutDataLakeSettings`, merged with the standby's settings at the time of the write.
    PutSettings {
        /// Principals to add to the administrators that are not read-only.
        added_admins: BTreeSet<Principal>,
        /// Principals to add to the read-only administrators.
        added_read_only_admins: BTreeSet<Principal>,
        /// Principals to remove from the administrators that are not read-only: the primary no
        /// longer has them there.
        removed_admins: BTreeSet<Principal>,
        /// Principals to remove from the read-only administrators.
        removed_read_only_admins: BTreeSet<Principal>,
        /// All other settings, without the default permissions, if they change.
        other_settings: Option<DataLakeSettings>,
        /// The administrators that the standby has, without those that the plan removes: the write replaces all of
        /// them, and is not made from settings that lack one.
        kept_admins: BTreeSet<Principal>,
        /// The same of the read-only administrators.
        kept_read_only_admins: BTreeSet<Principal>,
        /// Whether the step adds nothing to what the standby's settings allow.
        only_narrows: bool,
    },
    /// `DeleteDatabase`. The database is empty at that point of the plan.
    DeleteDatabase {
        /// The database.
        name: Name,
    },
}

/// What a step writes. Steps with the same target write the same thing, also if one creates it and another
/// deletes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepTarget {
    /// The definition of a database, table or function.
    Object(Subject),
    /// A database whose default permissions for new tables are cleared, with whatever else of it changes.
    TableDefaults(Name),
    /// The deletion of a database, table or function.
    Deletion(Subject),
    /// A partition, by its values.
    Partition(TableId, Vec<String>),
    /// An attachment.
    Attachment(Subject, AttachmentKey),
    /// A grant to create.
    Grant(PermissionGrant),
    /// A grant to revoke.
    Revoke(PermissionGrant),
    /// The data lake settings, by a step that may widen them.
    Settings,
    /// The data lake settings, by a step that only narrows them.
    NarrowedSettings,
}

impl StepTarget {
    /// Returns the subject that it belongs to.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Object(subject) | Self::Deletion(subject) | Self::Attachment(subject, _) => {
                subject.clone()
            }
            Self::TableDefaults(name) => Subject::Database(name.clone()),
            Self::Partition(id, _) => Subject::Table(id.clone()),
            Self::Grant(grant) | Self::Revoke(grant) => subject_of_grant(grant),
            Self::Settings | Self::NarrowedSettings => Subject::LakeFormation(LfSubject::Settings),
        }
    }

    /// Returns the facets of the subject whose reads show whether the change was made.
    #[must_use]
    pub fn facets(&self) -> BTreeSet<Facet> {
        BTreeSet::from([match self {
            Self::Object(_) | Self::TableDefaults(_) | Self::Deletion(_) => Facet::Definition,
            Self::Partition(..) => Facet::Partitions,
            Self::Attachment(_, key) => key.facet(),
            Self::Grant(_) | Self::Revoke(_) => Facet::Grants,
            Self::Settings | Self::NarrowedSettings => Facet::Items,
        }])
    }
}

impl Step {
    /// Returns what the step writes.
    #[must_use]
    pub fn target(&self) -> StepTarget {
        match self {
            Self::UpdateDatabase {
                database,
                clears_default_permissions: true,
                ..
            } => StepTarget::TableDefaults(database.name.clone()),
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase { .. }
            | Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. } => StepTarget::Object(self.subject()),
            Self::DeleteTable { .. }
            | Self::DeleteFunction { .. }
            | Self::DeleteDatabase { .. } => StepTarget::Deletion(self.subject()),
            Self::CreatePartition { id, partition }
            | Self::UpdatePartition { id, partition, .. } => {
                StepTarget::Partition(id.clone(), partition.values.clone())
            }
            Self::DeletePartition { id, values } => {
                StepTarget::Partition(id.clone(), values.clone())
            }
            Self::PutAttachment {
                subject,
                attachment,
                ..
            } => StepTarget::Attachment(subject.clone(), attachment.key()),
            Self::RemoveAttachment { subject, key } => {
                StepTarget::Attachment(subject.clone(), key.clone())
            }
            Self::Grant { grant, .. } => StepTarget::Grant(grant.clone()),
            Self::Revoke { grant, .. } => StepTarget::Revoke(grant.clone()),
            Self::PutSettings {
                only_narrows: true, ..
            } => StepTarget::NarrowedSettings,
            Self::PutSettings {
                only_narrows: false,
                ..
            } => StepTarget::Settings,
        }
    }

    /// Whether the step can only take access away. False if it may open access, even if it may also
    /// close some. An update that clears default permissions counts as closing, whatever other fields
    /// of the database it changes.
    #[must_use]
    pub fn only_narrows(&self) -> bool {
        match self {
            Self::PutSettings { only_narrows, .. } => *only_narrows,
            Self::Revoke { .. }
            | Self::DeletePartition { .. }
            | Self::DeleteTable { .. }
            | Self::DeleteFunction { .. }
            | Self::DeleteDatabase { .. } => true,
            Self::UpdateDatabase {
                clears_default_permissions,
                ..
            } => *clears_default_permissions,
            Self::PutAttachment { attachment, .. } => matches!(attachment, Attachment::OptIn(_)),
            Self::RemoveAttachment { key, .. } => matches!(key, AttachmentKey::DataCellsFilter(_)),
            Self::CreateDatabase { .. }
            | Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::CreatePartition { .. }
            | Self::UpdatePartition { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. }
            | Self::Grant { .. } => false,
        }
    }

    /// Returns the phase of the plan that the step belongs to.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::UpdateDatabase {
                clears_default_permissions: true,
                ..
            } => Phase::Defaults,
            Self::Revoke { .. } => Phase::Revokes,
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase {
                clears_default_permissions: false,
                ..
            }
            | Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::CreatePartition { .. }
            | Self::UpdatePartition { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. } => Phase::Objects,
            Self::PutAttachment {
                before_object_changes: true,
                ..
            } => Phase::FilterUpdates,
            Self::PutAttachment {
                before_object_changes: false,
                ..
            }
            | Self::RemoveAttachment {
                key: AttachmentKey::LfTagAssignment { .. },
                ..
            } => Phase::Objects,
            Self::PutSettings { .. } => Phase::Defaults,
            Self::Grant { grant, .. } => match grant.resource {
                Resource::AllTables(_) | Resource::LfTagPolicy { .. } => Phase::BroadGrants,
                Resource::Database(_)
                | Resource::Table(_)
                | Resource::Column(..)
                | Resource::ColumnsExcept(..)
                | Resource::DataCellsFilter(..)
                | Resource::Catalog
                | Resource::DataLocation(_)
                | Resource::LfTag { .. }
                | Resource::LfTagExpression(_) => Phase::Grants,
            },
            Self::DeletePartition { .. }
            | Self::RemoveAttachment { .. }
            | Self::DeleteTable { .. }
            | Self::DeleteFunction { .. }
            | Self::DeleteDatabase { .. } => Phase::Deletions,
        }
    }

    /// Returns the sort key of the step in a plan. Steps with equal keys may be applied in any
    /// order, or concurrently.
    #[must_use]
    pub fn order(&self) -> (Phase, u8) {
        (self.phase(), self.rank())
    }

    /// Returns the rank of the step within its phase: parents before children when creating,
    /// children before parents when deleting, and grants by [`PermissionGrant::grant_order`].
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::CreateDatabase { .. }
            | Self::UpdateDatabase { .. }
            | Self::Revoke { .. }
            | Self::PutSettings {
                only_narrows: true, ..
            }
            | Self::DeletePartition { .. } => 0,
            Self::PutSettings {
                only_narrows: false,
                ..
            }
            | Self::CreateTable { .. }
            | Self::UpdateTable { .. }
            | Self::DeleteTable { .. }
            | Self::CreateFunction { .. }
            | Self::UpdateFunction { .. }
            | Self::DeleteFunction { .. } => 1,
            Self::DeleteDatabase { .. } => 2,
            Self::PutAttachment {
                subject,
                attachment,
                ..
            } => put_rank(subject, &attachment.key()),
            Self::RemoveAttachment { subject, key } => removal_rank(subject, key),
            Self::CreatePartition { .. } | Self::UpdatePartition { .. } => 3,
            Self::Grant { grant, .. } => grant.grant_order(),
        }
    }

    /// Returns the subject that the step changes.
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
            Self::PutAttachment { subject, .. } | Self::RemoveAttachment { subject, .. } => {
                subject.clone()
            }
            Self::PutSettings { .. } => Subject::LakeFormation(LfSubject::Settings),
            Self::Grant { grant, .. } | Self::Revoke { grant, .. } => subject_of_grant(grant),
        }
    }
}

/// Returns the rank of an attachment that is created or replaced. LF-Tags come before the
/// expressions that name them, filters after the columns that they name, and opt-ins last. LF-Tags
/// are assigned to columns first, then to tables, then to databases: an LF-Tag that overrides an
/// inherited one is assigned before the inherited one changes.
fn put_rank(subject: &Subject, key: &AttachmentKey) -> u8 {
    match key {
        AttachmentKey::LfTagValue { .. } | AttachmentKey::Registration(_) => 0,
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::NamedExpression(_) => 2,
        AttachmentKey::DataCellsFilter(_) => 4,
        AttachmentKey::LfTagAssignment {
            column: Some(_), ..
        } => 5,
        AttachmentKey::LfTagAssignment { column: None, .. } => match subject {
            Subject::Table(_) => 6,
            Subject::Catalog
            | Subject::Database(_)
            | Subject::Function(_)
            | Subject::LakeFormation(_) => 8,
        },
        AttachmentKey::OptIn(_) => 11,
    }
}

/// Returns the rank of an attachment that is removed. LF-Tags are removed from databases first,
/// then from tables, then from columns. An LF-Tag value itself is deleted once nothing names it.
fn removal_rank(subject: &Subject, key: &AttachmentKey) -> u8 {
    match key {
        AttachmentKey::Index(_)
        | AttachmentKey::Statistics(_)
        | AttachmentKey::GlueTag(_)
        | AttachmentKey::DataCellsFilter(_) => 0,
        // While a table that the primary deleted is there, an opt-in may keep its principal out.
        AttachmentKey::OptIn(_) => 3,
        AttachmentKey::LfTagAssignment { column: None, .. } => match subject {
            Subject::Table(_) => 9,
            Subject::Catalog
            | Subject::Database(_)
            | Subject::Function(_)
            | Subject::LakeFormation(_) => 7,
        },
        AttachmentKey::LfTagAssignment {
            column: Some(_), ..
        } => 10,
        AttachmentKey::NamedExpression(_) => 3,
        AttachmentKey::LfTagValue { .. } | AttachmentKey::Registration(_) => 4,
    }
}
