//! Decides which columns of a table are visible: to Twinlake's role in the primary, and in each
//! Region after a plan.
//!
//! Lake Formation hides the columns on which a role has no SELECT. A schema that was read without
//! SELECT on the whole table would be replicated with columns missing.

use super::columns::column_paths;
use super::{Inputs, PlanBuilder};
use crate::grant::{IAM_ALLOWED_PRINCIPALS, Permission, PermissionGrant, Resource};
use crate::name::TableId;
use crate::scope::Subject;
use crate::snapshot::{Observation, Snapshot};
use crate::step::Step;
use std::collections::{BTreeMap, BTreeSet};

/// The reason why a table waits whose columns may not all be visible.
pub(super) const REASON: &str = "Twinlake's role in the primary has no SELECT on the whole table, so \
                                 columns may be hidden from it; run `twinlake bootstrap --policy \
                                 FILE --twinlake-role ARN`, which grants it";

/// Whether all columns of a table are visible: Twinlake's role has SELECT on the table or on all
/// tables of its database, or `IAM_ALLOWED_PRINCIPALS` has all permissions there.
pub(super) fn are_all_columns_visible(inputs: Inputs<'_>, id: &TableId) -> bool {
    let primary = inputs.primary;
    let subjects = [
        Subject::Table(id.clone()),
        Subject::Database(id.database.clone()),
    ];
    let mut grants = subjects
        .iter()
        .filter_map(|subject| primary.grants.get(subject))
        .chain(primary.all_tables_grants.get(&id.database))
        .filter_map(Observation::present)
        .flatten();
    grants.any(|(grant, _)| covers_table(grant, id) && gives_visibility(grant, inputs))
}

fn covers_table(grant: &PermissionGrant, id: &TableId) -> bool {
    let is_on_all_columns = match &grant.resource {
        Resource::Table(table) => table == id,
        Resource::AllTables(database) => *database == id.database,
        Resource::Database(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagPolicy { .. }
        | Resource::LfTagExpression(_) => false,
    };
    is_on_all_columns && grant.condition.is_none()
}

fn gives_visibility(grant: &PermissionGrant, inputs: Inputs<'_>) -> bool {
    match grant.permission {
        Permission::Select => grant.principal == *inputs.reader_role,
        Permission::All => grant.principal.0 == IAM_ALLOWED_PRINCIPALS,
        Permission::Alter
        | Permission::Associate
        | Permission::CreateCatalog
        | Permission::CreateDatabase
        | Permission::CreateLfTag
        | Permission::CreateLfTagExpression
        | Permission::CreateTable
        | Permission::DataLocationAccess
        | Permission::Delete
        | Permission::Describe
        | Permission::Drop
        | Permission::Execute
        | Permission::GrantWithLfTagExpression
        | Permission::Insert => false,
    }
}

/// The tables that the steps of a plan write and delete.
pub(super) struct PlannedTables {
    /// Columns and nested fields of the written tables, in lower case.
    written: BTreeMap<TableId, BTreeSet<String>>,
    pub(super) deleted: BTreeSet<TableId>,
}

/// The columns and nested fields of a table in both Regions once a plan is applied, in lower case.
pub(super) struct TableColumns {
    pub(super) in_primary: BTreeSet<String>,
    pub(super) in_standby: BTreeSet<String>,
}

impl PlannedTables {
    pub(super) fn of(builder: &PlanBuilder<'_>) -> Self {
        let mut planned = Self {
            written: BTreeMap::new(),
            deleted: BTreeSet::new(),
        };
        for step in &builder.steps {
            if let Step::CreateTable { id, table } | Step::UpdateTable { id, table, .. } = step {
                let columns = column_paths(table);
                planned.written.insert(id.clone(), columns);
            }
            if let Step::DeleteTable { id } = step {
                planned.deleted.insert(id.clone());
            }
        }
        planned
    }

    /// Returns `None` if the table was not read in one of the Regions. A table that does not exist
    /// has no columns.
    pub(super) fn columns(&self, builder: &PlanBuilder<'_>, id: &TableId) -> Option<TableColumns> {
        let read = |snapshot: &Snapshot| match snapshot.tables.get(id)? {
            Observation::Present(observed) => Some(column_paths(&observed.object)),
            Observation::Absent(_) => Some(BTreeSet::new()),
            Observation::Unknown(_) => None,
        };
        let in_primary = read(builder.inputs.primary)?;
        let in_standby = match (self.written.get(id), self.deleted.contains(id)) {
            (Some(written), _) => written.clone(),
            (None, true) => BTreeSet::new(),
            (None, false) => read(builder.inputs.standby)?,
        };
        Some(TableColumns {
            in_primary,
            in_standby,
        })
    }
}

impl TableColumns {
    /// Returns a column that only the standby has.
    pub(super) fn only_in_standby(&self) -> Option<&String> {
        self.in_standby.difference(&self.in_primary).next()
    }
}
