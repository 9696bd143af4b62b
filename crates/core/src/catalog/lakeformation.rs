//! Lake Formation objects other than grants: data cells filters, opt-ins, named LF-Tag expressions,
//! registered locations, data lake settings.

use crate::grant::{LfTagExpression, ListedResource, Principal};
use crate::name::Name;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// `DataCellsFilter`: a subset of a table's columns and rows. Its `VersionId` is omitted because it
/// is specific to a Region (LF-26).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataCellsFilter {
    /// `Name`.
    pub name: String,
    /// `RowFilter.FilterExpression`; `None` selects all rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<String>,
    /// `ColumnNames`, or `ColumnWildcard`.
    pub columns: FilterColumns,
}

/// The columns of a data cells filter, with the spelling of the service. A name may be a nested
/// column: `"address"."zip"` (F-6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilterColumns {
    /// Only the named columns.
    Only(BTreeSet<Name>),
    /// All columns except the named ones.
    AllBut(BTreeSet<Name>),
}

/// `LakeFormationOptInsInfo`: Lake Formation permissions, and not IAM permissions alone, apply to
/// this principal on this resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OptIn {
    /// `Principal`.
    pub principal: Principal,
    /// `Resource`.
    pub resource: ListedResource,
    /// `Condition`, in Cedar. It is part of the opt-in's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// `LFTagExpression`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NamedLfTagExpression {
    /// `Name`.
    pub name: String,
    /// `Description`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `Expression`.
    pub expression: LfTagExpression,
}

/// `ResourceInfo`: a registered S3 location, for which Lake Formation vends credentials.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Registration {
    /// `ResourceArn`, without a trailing slash.
    pub arn: String,
    /// `RoleArn`; `None` is the service-linked role.
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

/// `DataLakeSettings`, complete: a write clears the fields that it omits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DataLakeSettings {
    /// `DataLakeAdmins`.
    pub admins: BTreeSet<Principal>,
    /// `ReadOnlyAdmins`.
    pub read_only_admins: BTreeSet<Principal>,
    /// Whether `CreateDatabaseDefaultPermissions` is not empty.
    pub database_defaults_open: bool,
    /// Whether `CreateTableDefaultPermissions` is not empty.
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

impl DataLakeSettings {
    /// Returns the data lake administrators and the read-only administrators: all of them see
    /// everything.
    #[must_use]
    pub fn administrators(&self) -> BTreeSet<Principal> {
        self.admins.union(&self.read_only_admins).cloned().collect()
    }
}
