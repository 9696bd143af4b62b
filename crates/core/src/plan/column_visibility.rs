//! Decides whether Twinlake's role in the primary can see every column of a table.
//!
//! Lake Formation hides the columns on which a role has no SELECT. A schema that was read without
//! SELECT on the whole table would be replicated with columns missing.

use super::Inputs;
use crate::grant::{IAM_ALLOWED_PRINCIPALS, Permission, PermissionGrant, Resource};
use crate::name::TableId;
use crate::scope::Subject;
use crate::snapshot::Observation;

/// The reason why a table waits whose columns may not all be visible.
pub(super) const REASON: &str = "Twinlake's role in the primary has no SELECT on the whole table, so \
                                 columns may be hidden from it; run `twinlake bootstrap`, which \
                                 grants it";

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
