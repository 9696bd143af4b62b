//! What is asked of Lake Formation, and how its settings change.

use std::collections::BTreeSet;
use twinlake_core::catalog::LakeSettings;
use twinlake_core::{Lake, Name, Principal, TableId};

/// Which grants a listing asks for. Columns come with their table (LF-03), and a
/// listing never names a principal (LF-04).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantFilter {
    /// Those on a database.
    Database(Name),
    /// Those on all tables of a database.
    AllTables(Name),
    /// Those on a table, its columns and its data cells filters (`IncludeRelated`).
    Table(TableId),
    /// Those on one type of resource, wherever.
    Type(GrantType),
}

/// `DataLakeResourceType`: what a listing by type asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantType {
    /// `CATALOG`.
    Catalog,
    /// `DATABASE`.
    Database,
    /// `TABLE`, with columns and data cells filters.
    Table,
    /// `DATA_LOCATION`.
    DataLocation,
    /// `LF_TAG`.
    Tag,
    /// `LF_TAG_POLICY`.
    TagPolicy,
    /// `LF_TAG_POLICY_DATABASE`.
    TagPolicyDatabase,
    /// `LF_TAG_POLICY_TABLE`.
    TagPolicyTable,
    /// `LF_NAMED_TAG_EXPRESSION`.
    TagExpression,
}

impl GrantType {
    /// Every type: which of them a listing without a filter covers is not known.
    pub const EVERY: [Self; 9] = [
        Self::Catalog,
        Self::Database,
        Self::Table,
        Self::DataLocation,
        Self::Tag,
        Self::TagPolicy,
        Self::TagPolicyDatabase,
        Self::TagPolicyTable,
        Self::TagExpression,
    ];

    /// Those that list grants by LF-Tag policies.
    pub const BY_TAGS: [Self; 3] = [
        Self::TagPolicy,
        Self::TagPolicyDatabase,
        Self::TagPolicyTable,
    ];

    /// Those that list the grants of a subject of the lake.
    #[must_use]
    pub fn of(lake: Lake) -> &'static [Self] {
        match lake {
            Lake::Tags => &[Self::Tag],
            Lake::Expressions => &[Self::TagExpression],
            Lake::Locations => &[Self::DataLocation],
            Lake::Permissions => &[
                Self::Catalog,
                Self::TagPolicy,
                Self::TagPolicyDatabase,
                Self::TagPolicyTable,
            ],
            Lake::Settings => &[],
        }
    }

    /// AWS's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "CATALOG",
            Self::Database => "DATABASE",
            Self::Table => "TABLE",
            Self::DataLocation => "DATA_LOCATION",
            Self::Tag => "LF_TAG",
            Self::TagPolicy => "LF_TAG_POLICY",
            Self::TagPolicyDatabase => "LF_TAG_POLICY_DATABASE",
            Self::TagPolicyTable => "LF_TAG_POLICY_TABLE",
            Self::TagExpression => "LF_NAMED_TAG_EXPRESSION",
        }
    }
}

/// What becomes of the defaults for new databases and tables. The only value that they
/// can have but none is ALL for `IAM_ALLOWED_PRINCIPALS` (`change-settings`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultsChange {
    /// They stay.
    #[default]
    Keep,
    /// They are closed.
    Close,
    /// They are opened again, where they were closed before.
    Reopen {
        /// For new databases.
        databases: bool,
        /// For new tables.
        tables: bool,
    },
}

impl DefaultsChange {
    /// Whether the defaults for new databases, and those for new tables, are open after
    /// the change, if they were so before.
    #[must_use]
    pub fn applied_to(self, open: (bool, bool)) -> (bool, bool) {
        match self {
            Self::Keep => open,
            Self::Close => (false, false),
            Self::Reopen { databases, tables } => (open.0 || databases, open.1 || tables),
        }
    }
}

/// A change of the data lake settings, made from what is there when it is written.
#[derive(Clone, Debug, Default)]
pub struct SettingsChange {
    /// Who becomes an administrator.
    pub add: BTreeSet<Principal>,
    /// Who becomes a read-only administrator.
    pub add_readers: BTreeSet<Principal>,
    /// Who is no longer an administrator, of either kind.
    pub drop: BTreeSet<Principal>,
    /// What becomes of the defaults for new databases and tables.
    pub defaults: DefaultsChange,
    /// All but administrators and defaults, if it is to change.
    pub rest: Option<LakeSettings>,
}

impl SettingsChange {
    /// The settings that a change makes of others. Whoever is an administrator and is not
    /// to be dropped stays one.
    #[must_use]
    pub fn applied_to(&self, now: &LakeSettings) -> LakeSettings {
        let of = |now: &BTreeSet<Principal>, add: &BTreeSet<Principal>| -> BTreeSet<Principal> {
            let all = now.union(add);
            all.filter(|one| !self.drop.contains(*one) || add.contains(*one))
                .cloned()
                .collect()
        };
        let open = (now.database_defaults_open, now.table_defaults_open);
        let (databases, tables) = self.defaults.applied_to(open);
        LakeSettings {
            admins: of(&now.admins, &self.add),
            read_only_admins: of(&now.read_only_admins, &self.add_readers),
            database_defaults_open: databases,
            table_defaults_open: tables,
            ..self.rest.clone().unwrap_or_else(|| now.clone())
        }
    }
}
