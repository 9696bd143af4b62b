//! What Lake Formation keeps beside grants: data cells filters, opt-ins, saved LF-Tag
//! expressions, registered locations, settings.

use crate::grant::{EntryResource, Principal, TagExpression};
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `DataCellsFilter`: some columns and some rows of a table. Its `VersionId` is
/// regional and left out (LF-26).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CellsFilter {
    /// `Name`.
    pub name: String,
    /// `RowFilter.FilterExpression`; none is every row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// `ColumnNames`, or `ColumnWildcard`.
    pub columns: FilterColumns,
}

/// The columns of a data cells filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterColumns {
    /// These.
    Only(BTreeSet<Name>),
    /// All but these.
    AllBut(BTreeSet<Name>),
}

/// `LakeFormationOptInsInfo`: Lake Formation's grants, and not IAM alone, decide for
/// this principal there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OptIn {
    /// Who.
    pub principal: Principal,
    /// On what.
    pub resource: EntryResource,
    /// A Cedar condition; part of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// `LFTagExpression`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SavedExpression {
    /// `Name`.
    pub name: String,
    /// `Description`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Expression`.
    pub expression: TagExpression,
}

/// `ResourceInfo`: a place in S3 for which Lake Formation hands out credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Registration {
    /// `ResourceArn`, without a slash at the end.
    pub arn: String,
    /// `RoleArn`; none is the service-linked role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// `WithFederation`.
    #[serde(default)]
    pub with_federation: bool,
    /// `HybridAccessEnabled`.
    #[serde(default)]
    pub hybrid_access: bool,
    /// `WithPrivilegedAccess`.
    #[serde(default)]
    pub privileged_access: bool,
    /// `ExpectedResourceOwnerAccount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// `DataLakeSettings`, whole: what is left out of a write is cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LakeSettings {
    /// `DataLakeAdmins`.
    pub admins: BTreeSet<Principal>,
    /// `ReadOnlyAdmins`.
    pub read_only_admins: BTreeSet<Principal>,
    /// `CreateDatabaseDefaultPermissions` is not empty.
    pub database_defaults_open: bool,
    /// `CreateTableDefaultPermissions` is not empty.
    pub table_defaults_open: bool,
    /// `Parameters`.
    pub parameters: BTreeMap<String, String>,
    /// `TrustedResourceOwners`.
    pub trusted_resource_owners: BTreeSet<String>,
    /// `AllowExternalDataFiltering`.
    pub external_data_filtering: bool,
    /// `AllowFullTableExternalDataAccess`.
    pub full_table_external_access: bool,
    /// `ExternalDataFilteringAllowList`.
    pub external_allow_list: BTreeSet<Principal>,
    /// `AuthorizedSessionTagValueList`.
    pub session_tag_values: BTreeSet<String>,
}

impl LakeSettings {
    /// Data lake administrators and read-only administrators: their implicit rights
    /// look like grants (LF-06).
    #[must_use]
    pub fn administrators(&self) -> BTreeSet<Principal> {
        self.admins.union(&self.read_only_admins).cloned().collect()
    }
}
