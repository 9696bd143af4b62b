//! Whether our role in the primary is shown every column.
//!
//! Lake Formation hides columns from whoever may not select them: a schema that was read
//! without SELECT on all of it would be copied with columns missing.

use super::Inputs;
use crate::grant::{Atom, IAM_ALLOWED_PRINCIPALS, Permission, Resource};
use crate::name::TableId;
use crate::reading::Observation;
use crate::scope::Subject;

/// Why a table waits whose columns may not all be shown.
pub(super) const REASON: &str = "our role has no SELECT on all of it in the primary, so columns \
                                 may be hidden from us; `twinlake bootstrap` grants it";

/// Whether a table is shown whole: our role holds SELECT on it or on all tables of its
/// database, or IAM alone decides there.
pub(super) fn sees(inputs: Inputs<'_>, id: &TableId) -> bool {
    let primary = inputs.primary;
    let subjects = [
        Subject::Table(id.clone()),
        Subject::Database(id.database.clone()),
    ];
    let mut read = subjects
        .iter()
        .filter_map(|subject| primary.grants.get(subject))
        .chain(primary.wildcards.get(&id.database))
        .filter_map(Observation::present)
        .flatten();
    read.any(|(atom, _)| proves(atom, id) && holds(atom, inputs))
}

fn proves(atom: &Atom, id: &TableId) -> bool {
    let on_all = match &atom.resource {
        Resource::Table(of) => of == id,
        Resource::AllTables(database) => *database == id.database,
        Resource::Database(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::Filter(..)
        | Resource::Catalog
        | Resource::Location(_)
        | Resource::Tag { .. }
        | Resource::TagPolicy { .. }
        | Resource::Expression(_) => false,
    };
    on_all && atom.condition.is_none()
}

fn holds(atom: &Atom, inputs: Inputs<'_>) -> bool {
    match atom.permission {
        Permission::Select => atom.principal == *inputs.reader,
        Permission::All => atom.principal.0 == IAM_ALLOWED_PRINCIPALS,
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
