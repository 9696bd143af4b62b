//! The result of one round of reads of one Region.

use crate::call_error::CallError;
use crate::catalog::{
    Attachment, AttachmentKey, DataLakeSettings, Database, Function, Observed, ObservedAttachment,
    OptIn, Partition, Table,
};
use crate::grant::{
    Grants, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, PermissionGrant, Principal,
};
use crate::name::{FunctionId, Name, TableId};
use crate::scope::{Facet, LfSubject, Subject};
use std::collections::{BTreeMap, BTreeSet};

/// The result of reading one object.
///
/// A failed read is `Unknown`, so a denied or throttled read is never mistaken for a deletion.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation<T> {
    /// The object exists.
    Present(T),
    /// A read by name did not return it; with the evidence for the absence.
    Absent(AbsenceProof),
    /// The read failed.
    Unknown(CallError),
}

impl<T> Observation<T> {
    /// Returns the object, if it exists.
    pub fn present(&self) -> Option<&T> {
        match self {
            Self::Present(object) => Some(object),
            Self::Absent(_) | Self::Unknown(_) => None,
        }
    }
}

/// The evidence that an object does not exist. AWS may return "not found" for an object that the
/// caller lost the permission to see, so that response alone proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbsenceProof {
    /// A read by name did not return it.
    pub not_returned: bool,
    /// The error, if the read by name was answered with another one than "not found": AWS documents
    /// neither which error a missing object leads to nor that others exclude it.
    pub read_error: Option<CallError>,
    /// A complete listing of the parent does not contain the name.
    pub unlisted: bool,
    /// Twinlake's role is an administrator in the Region.
    pub is_administrator: bool,
    /// The listing contains another object of the parent, so it is not empty for lack of
    /// permissions.
    pub sibling_seen: bool,
    /// An event reports the deletion of this object.
    pub deletion_named: bool,
}

impl AbsenceProof {
    /// Whether the absence is proven: the object is not found and not listed, and reads of the same
    /// round show that Twinlake still sees every object of the parent. Where the read by name was
    /// refused, an event or a person has to name the deletion too.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_returned
            && self.unlisted
            && self.is_administrator
            && (self.deletion_named || (self.sibling_seen && self.read_error.is_none()))
    }
}

/// The data lake settings of a Region as read, with the values that decide which steps are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedSettings {
    /// Data lake administrators and read-only administrators.
    pub administrators: BTreeSet<Principal>,
    /// Whether `CreateDatabaseDefaultPermissions` is not empty, so that a new database is open to
    /// `IAM_ALLOWED_PRINCIPALS`.
    pub database_defaults_open: bool,
    /// All settings.
    pub data_lake_settings: DataLakeSettings,
}

impl ObservedSettings {
    /// Creates them from all settings.
    #[must_use]
    pub fn new(data_lake_settings: DataLakeSettings) -> Self {
        Self {
            administrators: data_lake_settings.administrators(),
            database_defaults_open: data_lake_settings.database_defaults_open,
            data_lake_settings,
        }
    }
}

/// The LF-Tags of one resource: a value for each key.
pub type LfTags = BTreeMap<String, String>;

/// A result of `SearchDatabasesByLFTags` or `SearchTablesByLFTags`: a database, or a table with its
/// columns, and the LF-Tags on each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LfTaggedResource {
    /// `Database` or `Table.DatabaseName`.
    pub database: String,
    /// `Table.Name`, of a table.
    pub table: Option<String>,
    /// `LFTagOnDatabase`.
    pub on_database: LfTags,
    /// `LFTagsOnTable`.
    pub on_table: LfTags,
    /// `LFTagsOnColumns`.
    pub on_columns: BTreeMap<String, LfTags>,
}

/// A search by LF-Tags: the kind of resources, and the LF-Tag expression.
pub type LfTagSearch = (LfTagPolicyTarget, LfTagPolicy);

/// Grants on LF-Tag policies, and the named LF-Tag expressions that they refer to. They give access
/// to every resource that is created or tagged later and matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LfTagPolicyGrants {
    /// The grants.
    pub grants: Grants,
    /// The named LF-Tag expressions that the grants refer to, by name.
    pub expressions: BTreeMap<String, LfTagExpression>,
    /// Whether the grants come from a full read of all grants that returned some grant.
    pub from_full_read: bool,
}

/// The result of reading a table's partitions.
#[derive(Clone, Debug, PartialEq)]
pub struct Partitions {
    /// The partitions to compare, by their values. After a read of all partitions, only those that may
    /// differ between the Regions; the others are equal.
    pub to_compare: BTreeMap<Vec<String>, Partition>,
    /// Only for the standby, after a read of all partitions: the partitions that the primary lacks.
    /// A read of each of them by its values in the primary returned nothing.
    pub extra: BTreeSet<Vec<String>>,
    /// Which partitions were read.
    pub extent: PartitionExtent,
    /// Number of partitions that are replicated with a note, and the first note.
    pub notes: Option<(usize, String)>,
    /// Partitions of which it is not known whether they exist, with the error of the read. They are
    /// in none of the other fields.
    pub unread: BTreeMap<Vec<String>, CallError>,
}

/// Which partitions of a table were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionExtent {
    /// All partitions.
    Complete {
        /// Their number.
        total: usize,
    },
    /// The partitions with these values.
    Named(BTreeSet<Vec<String>>),
}

impl Partitions {
    /// Returns no partitions, for a table that does not exist yet.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            to_compare: BTreeMap::new(),
            extra: BTreeSet::new(),
            extent: PartitionExtent::Complete { total: 0 },
            notes: None,
            unread: BTreeMap::new(),
        }
    }

    /// Creates the result of reading the partitions with the requested values.
    #[must_use]
    pub fn named(requested: &BTreeSet<Vec<String>>, found: Vec<Partition>) -> Self {
        let partitions = found.into_iter().map(|p| (p.values.clone(), p));
        Self {
            to_compare: partitions.collect(),
            extra: BTreeSet::new(),
            extent: PartitionExtent::Named(requested.clone()),
            notes: None,
            unread: BTreeMap::new(),
        }
    }

    /// Leaves out the partitions that were not read in one of the Regions: in neither are they
    /// present or absent.
    #[must_use]
    pub fn without_unread(mut self, unread: &BTreeMap<Vec<String>, CallError>) -> Self {
        for values in unread.keys() {
            self.to_compare.remove(values);
            self.extra.remove(values);
            if let PartitionExtent::Named(requested) = &mut self.extent {
                requested.remove(values);
            }
        }
        self.unread
            .extend(unread.iter().map(|(v, e)| (v.clone(), e.clone())));
        self
    }

    /// Returns the number of partitions, if all were read.
    #[must_use]
    pub fn total(&self) -> Option<usize> {
        match self.extent {
            PartitionExtent::Complete { total } => Some(total),
            PartitionExtent::Named(_) => None,
        }
    }
}

/// The attachments of one owner, by their keys.
pub type Attachments = BTreeMap<AttachmentKey, ObservedAttachment>;

/// Indexes attachments by their keys.
#[must_use]
pub fn by_key(attachments: Vec<ObservedAttachment>) -> Attachments {
    let keyed = attachments
        .into_iter()
        .map(|observed| (Attachment::key(&observed.attachment), observed));
    keyed.collect()
}

/// The subject of a grant listing: a database, including the grants on all its tables, or a table,
/// including the grants on its columns.
pub type GrantListing = Subject;

/// An opt-in of the primary without a counterpart in the standby.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnmappedOptIn {
    /// What it may decide on.
    pub subject: Subject,
    /// The principal in the standby; `None` if it may be any.
    pub principal: Option<Principal>,
    /// Its principal as the primary lists it, and why it has no counterpart.
    pub description: String,
}

/// The state of one Region, as far as a scope requested it.
///
/// An object that is not in a map was not requested, which is not the same as absent.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Databases by name.
    pub databases: BTreeMap<Name, Observation<Observed<Database>>>,
    /// Tables by identifier.
    pub tables: BTreeMap<TableId, Observation<Observed<Table>>>,
    /// Partitions of the tables that exist.
    pub partitions: BTreeMap<TableId, Observation<Partitions>>,
    /// Functions by identifier.
    pub functions: BTreeMap<FunctionId, Observation<Observed<Function>>>,
    /// Databases whose functions were listed: completely, or with an error.
    pub function_listings: BTreeMap<Name, Result<(), CallError>>,
    /// Attachments by owner and facet.
    pub attachments: BTreeMap<(Subject, Facet), Observation<Attachments>>,
    /// Lake Formation subjects whose items the Region answered not to support, with the error: it counts as having none,
    /// unless Twinlake made some there.
    pub unsupported_items: BTreeMap<LfSubject, CallError>,
    /// Grants by subject.
    pub grants: BTreeMap<GrantListing, Observation<Grants>>,
    /// Grants on all tables of a database, where a plan may create a table in it or change what
    /// readers see of one, and the database's own grants were not requested.
    pub all_tables_grants: BTreeMap<Name, Observation<Grants>>,
    /// The names of all tables of a database, where they were listed completely.
    pub table_names: BTreeMap<Name, BTreeSet<Name>>,
    /// Grants on LF-Tag policies, where a plan may create a resource, tag one, or change what readers
    /// see of one.
    pub lf_tag_policy_grants: Option<Observation<LfTagPolicyGrants>>,
    /// The resources that match the LF-Tag policies on which the plan may grant.
    pub lf_tagged_resources: BTreeMap<LfTagSearch, Observation<Vec<LfTaggedResource>>>,
    /// Subjects whose grants come from a full read, which lists all grants twice.
    pub full_grant_reads: BTreeSet<GrantListing>,
    /// Subjects whose grants come from a full read that proves absences: it returned some grant, so that an empty
    /// result for the subject is not caused by a lost permission, and the Region refused no part of it.
    pub nonempty_full_grant_reads: BTreeSet<GrantListing>,
    /// The data lake settings, where they were requested.
    pub settings: Option<Observation<ObservedSettings>>,
    /// Whether Twinlake's role is an administrator according to these settings.
    pub is_administrator: bool,
    /// All opt-ins, where they were listed, also those of principals that the policy ignores. Without those in
    /// `unmapped_opt_ins`.
    pub opt_ins: Option<Observation<BTreeSet<OptIn>>>,
    /// Of the primary: the opt-ins that cannot be made in the standby, because their principal or their resource
    /// has no counterpart. They limit access in the primary all the same.
    pub unmapped_opt_ins: BTreeSet<UnmappedOptIn>,
    /// Of the standby, where all grants of both Regions were listed: the grants to
    /// `IAM_ALLOWED_PRINCIPALS` that the primary lacks.
    pub extra_iam_grants: Option<BTreeSet<PermissionGrant>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call_error::CallErrorKind;

    #[test]
    fn the_proof_needs_every_part() {
        let complete = AbsenceProof {
            not_returned: true,
            unlisted: true,
            is_administrator: true,
            sibling_seen: true,
            deletion_named: false,
            read_error: None,
        };
        assert!(complete.is_complete());
        let refused = AbsenceProof {
            read_error: Some(CallError::new(CallErrorKind::Denied, "GetTable", "a", "no")),
            ..complete.clone()
        };
        assert!(!refused.is_complete());
        let refused_and_named = AbsenceProof {
            deletion_named: true,
            ..refused
        };
        assert!(refused_and_named.is_complete());
        let remove_evidence: [fn(&mut AbsenceProof); 4] = [
            |p| p.not_returned = false,
            |p| p.unlisted = false,
            |p| p.is_administrator = false,
            |p| p.sibling_seen = false,
        ];
        for remove in remove_evidence {
            let mut proof = complete.clone();
            remove(&mut proof);
            assert!(!proof.is_complete(), "{proof:?}");
        }
        let with_event = AbsenceProof {
            sibling_seen: false,
            deletion_named: true,
            ..complete
        };
        assert!(with_event.is_complete());
    }
}
