//! Filters of `ListPermissions` and changes of the data lake settings.

use std::collections::BTreeSet;
use twinlake_core::catalog::DataLakeSettings;
use twinlake_core::{CallError, CallErrorKind, LfSubject, Name, Principal, Subject, TableId};

/// Which grants `ListPermissions` returns. Grants on columns come with their table (LF-03); a
/// listing never filters by principal (LF-04).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantFilter {
    /// Grants on a database.
    Database(Name),
    /// Grants on all tables of a database.
    AllTables(Name),
    /// Grants on a table, its columns and its data cells filters (`IncludeRelated`).
    Table(TableId),
    /// Grants on every resource of one type.
    Type(PermissionResourceType),
    /// Grants on every table, its columns and its data cells filters: of the type `TABLE`, with `IncludeRelated`. That is
    /// documented for one table only: the service may ignore it, refuse it or list nothing (D-5).
    TablesWithRelated,
}

/// The `DataLakeResourceType` of a listing by type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PermissionResourceType {
    /// `CATALOG`.
    Catalog,
    /// `DATABASE`.
    Database,
    /// `TABLE`, with columns and data cells filters.
    Table,
    /// `DATA_LOCATION`.
    DataLocation,
    /// `LF_TAG`.
    LfTag,
    /// `LF_TAG_POLICY`.
    LfTagPolicy,
    /// `LF_TAG_POLICY_DATABASE`.
    LfTagPolicyDatabase,
    /// `LF_TAG_POLICY_TABLE`.
    LfTagPolicyTable,
    /// `LF_NAMED_TAG_EXPRESSION`.
    LfNamedTagExpression,
}

impl PermissionResourceType {
    /// Every type. Which types a listing without a filter covers is not documented.
    pub const ALL: [Self; 9] = [
        Self::Catalog,
        Self::Database,
        Self::Table,
        Self::DataLocation,
        Self::LfTag,
        Self::LfTagPolicy,
        Self::LfTagPolicyDatabase,
        Self::LfTagPolicyTable,
        Self::LfNamedTagExpression,
    ];

    /// The types that list every grant on databases, on tables and on what is in them.
    pub const OBJECT_TYPES: [Self; 2] = [Self::Database, Self::Table];

    /// The types that list grants by LF-Tag policies.
    pub const LF_TAG_POLICY_TYPES: [Self; 3] = [
        Self::LfTagPolicy,
        Self::LfTagPolicyDatabase,
        Self::LfTagPolicyTable,
    ];

    /// The types that list the grants of a Lake Formation subject.
    #[must_use]
    pub fn for_subject(subject: LfSubject) -> &'static [Self] {
        match subject {
            LfSubject::LfTags => &[Self::LfTag],
            LfSubject::LfTagExpressions => &[Self::LfNamedTagExpression],
            LfSubject::DataLocations => &[Self::DataLocation],
            LfSubject::Permissions => &[
                Self::Catalog,
                Self::LfTagPolicy,
                Self::LfTagPolicyDatabase,
                Self::LfTagPolicyTable,
            ],
            LfSubject::Settings => &[],
        }
    }

    /// The types that list the grants on a subject.
    #[must_use]
    pub fn of_grants_on(subject: &Subject) -> &'static [Self] {
        match subject {
            Subject::Database(_) => &Self::OBJECT_TYPES,
            Subject::Table(_) => &[Self::Table],
            Subject::LakeFormation(lf_subject) => Self::for_subject(*lf_subject),
            Subject::Catalog | Subject::Function(_) => &[],
        }
    }

    /// The type as AWS spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "CATALOG",
            Self::Database => "DATABASE",
            Self::Table => "TABLE",
            Self::DataLocation => "DATA_LOCATION",
            Self::LfTag => "LF_TAG",
            Self::LfTagPolicy => "LF_TAG_POLICY",
            Self::LfTagPolicyDatabase => "LF_TAG_POLICY_DATABASE",
            Self::LfTagPolicyTable => "LF_TAG_POLICY_TABLE",
            Self::LfNamedTagExpression => "LF_NAMED_TAG_EXPRESSION",
        }
    }
}

/// How to change the default permissions for new databases and tables. A default is either
/// empty (closed) or `ALL` for `IAM_ALLOWED_PRINCIPALS` (open); AWS allows no other value
/// (`change-settings`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultPermissionsChange {
    /// Leaves both defaults as they are.
    #[default]
    Keep,
    /// Makes both defaults empty.
    Clear,
    /// Sets the selected defaults to `ALL` for `IAM_ALLOWED_PRINCIPALS`.
    Restore {
        /// The default for new databases.
        databases: bool,
        /// The default for new tables.
        tables: bool,
    },
}

impl DefaultPermissionsChange {
    /// Whether the defaults for new databases and for new tables are open after the change;
    /// `open` is their state before it.
    #[must_use]
    pub fn applied_to(self, open: (bool, bool)) -> (bool, bool) {
        match self {
            Self::Keep => open,
            Self::Clear => (false, false),
            Self::Restore { databases, tables } => (open.0 || databases, open.1 || tables),
        }
    }
}

/// A change of the data lake settings, applied to the settings read just before the write.
#[derive(Clone, Debug, Default)]
pub struct SettingsChange {
    /// Principals to add as administrators.
    pub added_admins: BTreeSet<Principal>,
    /// Principals to add as read-only administrators.
    pub added_read_only_admins: BTreeSet<Principal>,
    /// Principals to remove from the administrators.
    pub removed_admins: BTreeSet<Principal>,
    /// Principals to remove from the read-only administrators.
    pub removed_read_only_admins: BTreeSet<Principal>,
    /// How to change the default permissions for new databases and tables.
    pub default_permissions: DefaultPermissionsChange,
    /// The settings other than administrators and defaults, if they are to change.
    pub other_settings: Option<DataLakeSettings>,
    /// The administrators that the settings had when the change was decided, without the removed ones. The write
    /// replaces all administrators, so it is not made from settings that lack one of them.
    pub kept_admins: BTreeSet<Principal>,
    /// The same of the read-only administrators.
    pub kept_read_only_admins: BTreeSet<Principal>,
}

impl SettingsChange {
    /// Returns the principal that the settings, as they are read just before the write, lack, although they had it
    /// when the change was decided: somebody removed it in between, or the read is incomplete.
    #[must_use]
    pub fn missing_administrator<'a>(
        &'a self,
        current: &'a DataLakeSettings,
    ) -> Option<&'a Principal> {
        let mut missing = self.kept_admins.difference(&current.admins);
        let kept_read_only = &self.kept_read_only_admins;
        let mut missing_read_only = kept_read_only.difference(&current.read_only_admins);
        missing.next().or_else(|| missing_read_only.next())
    }

    /// Returns the error of a write that would be made from settings that lack an administrator.
    ///
    /// # Errors
    /// The settings lack an administrator that they had when the change was decided.
    pub fn check_current(&self, current: &DataLakeSettings, region: &str) -> Result<(), CallError> {
        let Some(principal) = self.missing_administrator(current) else {
            return Ok(());
        };
        let message = format!(
            "nothing was written: the settings read just before the write lack the administrator {principal}, which \
             they had before"
        );
        let kind = CallErrorKind::Contended;
        Err(CallError::new(kind, "GetDataLakeSettings", region, message))
    }

    /// Returns the settings after this change. The lists of administrators and of read-only
    /// administrators change independently, and each keeps who is not removed from it.
    #[must_use]
    pub fn applied_to(&self, current: &DataLakeSettings) -> DataLakeSettings {
        let updated = |current: &BTreeSet<Principal>,
                       added: &BTreeSet<Principal>,
                       removed: &BTreeSet<Principal>|
         -> BTreeSet<Principal> {
            let kept = current.difference(removed);
            kept.chain(added).cloned().collect()
        };
        let open = (current.database_defaults_open, current.table_defaults_open);
        let (databases, tables) = self.default_permissions.applied_to(open);
        DataLakeSettings {
            admins: updated(&current.admins, &self.added_admins, &self.removed_admins),
            read_only_admins: updated(
                &current.read_only_admins,
                &self.added_read_only_admins,
                &self.removed_read_only_admins,
            ),
            database_defaults_open: databases,
            table_defaults_open: tables,
            ..self
                .other_settings
                .clone()
                .unwrap_or_else(|| current.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_lists_of_administrators_change_independently() {
        let set = |names: &[&str]| -> BTreeSet<Principal> {
            names
                .iter()
                .map(|&name| Principal(name.to_owned()))
                .collect()
        };
        let current = DataLakeSettings {
            admins: set(&["a", "b"]),
            read_only_admins: set(&["a", "c"]),
            ..DataLakeSettings::default()
        };
        let change = SettingsChange {
            removed_admins: set(&["a"]),
            added_admins: set(&["c"]),
            removed_read_only_admins: set(&["c"]),
            ..SettingsChange::default()
        };
        let changed = change.applied_to(&current);
        assert_eq!(changed.admins, set(&["b", "c"]));
        assert_eq!(changed.read_only_admins, set(&["a"]));
    }
}
