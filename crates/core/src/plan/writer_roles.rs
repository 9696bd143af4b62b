//! Plans the grants to Twinlake's own writer roles. Its functions run as different roles, and a data
//! lake administrator may grant, but not alter or drop, an object that another role created (F-14).

use super::{PlanBuilder, link};
use crate::grant::{Permission, PermissionGrant, Resource};
use crate::name::Name;
use crate::scope::Subject;
use crate::snapshot::Observation;
use crate::step::Step;

/// Plans what the writer roles lack on a managed database: ALL on it and on all of its tables. On a
/// resource link it is DROP, which can be granted there and is needed to delete it (LF-24).
pub(super) fn plan(builder: &mut PlanBuilder<'_>, name: &Name) {
    let subject = Subject::Database(name.clone());
    let creates =
        |step: &Step| matches!(step, Step::CreateDatabase { database } if database.name == *name);
    let is_created = builder.steps.iter().any(creates);
    let existing = builder.inputs.standby.grants.get(&subject);
    let existing = existing.and_then(Observation::present);
    if existing.is_none() && !is_created {
        return;
    }
    let is_link = link::is_link_on_either_side(builder, &subject);
    let writers = builder.inputs.own_roles.writers().iter();
    let wanted = writers.flat_map(|writer| {
        let on_database = Resource::Database(name.clone());
        let resources = match is_link {
            true => vec![(on_database, Permission::Drop)],
            false => vec![
                (on_database, Permission::All),
                (Resource::AllTables(name.clone()), Permission::All),
            ],
        };
        resources
            .into_iter()
            .map(|(resource, permission)| PermissionGrant {
                principal: writer.clone(),
                resource,
                permission,
                condition: None,
            })
    });
    let is_missing =
        |grant: &PermissionGrant| existing.is_none_or(|existing| !existing.contains_key(grant));
    let missing: Vec<Step> = wanted
        .filter(is_missing)
        .map(|grant| Step::Grant {
            grant,
            grantable: false,
        })
        .collect();
    builder.steps.extend(missing);
}
