//! Checks that Twinlake manages what a step changes.

use super::{Check, PlanReplay, present, reject};
use crate::LedgerRow;
use crate::audit::AuditRule;
use crate::catalog::{self, Database, Table};
use crate::grant::{Permission, PermissionGrant, Principal, Resource};
use crate::name::{Name, TableId};
use crate::scope::Subject;
use crate::snapshot::Observation;
use crate::step::Step;
use std::collections::BTreeSet;

impl<'a> PlanReplay<'a> {
    /// Whether a grant of the standby is no access that Twinlake answers for: it belongs to one of
    /// Twinlake's own roles or to an administrator of the standby, who can grant it to itself.
    pub(super) fn is_ignored(&self, grant: &PermissionGrant) -> bool {
        let settings = present(self.inputs.standby.settings.as_ref());
        let is_administrator = settings.is_some_and(|settings| {
            let admins = &settings.data_lake_settings.admins;
            admins.contains(&grant.principal) && !self.removed_admins.contains(&grant.principal)
        });
        is_administrator || self.is_unchangeable(grant)
    }

    /// Whether a grant of the standby is not to be written: it belongs to one of Twinlake's own
    /// roles, or the principal may have it as an administrator of the standby (LF-06).
    pub(super) fn is_unchangeable(&self, grant: &PermissionGrant) -> bool {
        let settings = present(self.inputs.standby.settings.as_ref());
        self.inputs.own_roles.contains(&grant.principal.0)
            || settings.is_some_and(|settings| {
                let settings = &settings.data_lake_settings;
                (settings.admins.contains(&grant.principal) && is_implicit_for_admin(grant))
                    || (settings.read_only_admins.contains(&grant.principal)
                        && is_implicit_for_read_only_admin(grant))
            })
    }

    /// Whether the primary may list a grant only because its principal is an administrator there.
    pub(super) fn may_be_implicit_in_primary(&self, grant: &PermissionGrant) -> bool {
        let Some(settings) = present(self.inputs.primary.settings.as_ref()) else {
            return false;
        };
        let contains = |principals: &BTreeSet<Principal>| {
            let mut principals = principals.iter();
            principals
                .any(|principal| self.counterpart(principal).as_ref() == Some(&grant.principal))
        };
        let settings = &settings.data_lake_settings;
        (is_implicit_for_admin(grant) && contains(&settings.admins))
            || (is_implicit_for_read_only_admin(grant) && contains(&settings.read_only_admins))
    }

    /// The standby's principal that a principal of the primary's settings corresponds to. `None` if
    /// a pair of the policy names it as the counterpart of another principal.
    pub(super) fn counterpart(&self, principal: &Principal) -> Option<Principal> {
        let epoch = self.inputs.epoch;
        let pairs = &self.inputs.policy.principals;
        let mut of_primary = pairs.iter().map(|pair| pair.get(epoch.primary()));
        if let Some(pair) = of_primary.position(|one| *one == principal.0) {
            let pair = pairs.get(pair)?;
            return Some(Principal(pair.get(epoch.standby()).clone()));
        }
        let is_taken = pairs
            .iter()
            .any(|pair| *pair.get(epoch.standby()) == principal.0);
        (!is_taken).then(|| principal.clone())
    }

    /// Whether the standby's database is a resource link.
    pub(super) fn is_database_link(&self, name: &Name) -> bool {
        present(self.inputs.standby.databases.get(name))
            .is_some_and(|in_standby| in_standby.object.target_database.is_some())
    }

    /// Whether the standby's object is a resource link.
    pub(super) fn is_link(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
            Subject::Database(name) => self.is_database_link(name),
            Subject::Table(id) => present(self.inputs.standby.tables.get(id))
                .is_some_and(|in_standby| in_standby.object.target_table.is_some()),
        }
    }

    /// Requires of a deleted resource link that Twinlake made it, and that the primary provably has
    /// no link under the name, or has another object.
    pub(super) fn check_link_deletion(&self, subject: &Subject) -> Check {
        let proven = match subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
            Subject::Database(name) => match self.inputs.primary.databases.get(name) {
                Some(Observation::Absent(proof)) => proof.is_complete(),
                Some(Observation::Present(_)) => !self.is_link_equal_to_primary(subject),
                Some(Observation::Unknown(_)) | None => false,
            },
            Subject::Table(id) => match self.inputs.primary.tables.get(id) {
                Some(Observation::Absent(proof)) => proof.is_complete(),
                Some(Observation::Present(_)) => !self.is_link_equal_to_primary(subject),
                Some(Observation::Unknown(_)) | None => false,
            },
        };
        if self.is_paired_link(subject) && proven {
            return Ok(());
        }
        reject(
            AuditRule::NotManaged,
            format!("deleting the resource link {subject}"),
        )
    }

    fn is_paired_link(&self, subject: &Subject) -> bool {
        let Some(row) = self.inputs.rows.get(subject) else {
            return false;
        };
        let current = match subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => None,
            Subject::Database(name) => present(self.inputs.standby.databases.get(name))
                .map(|in_standby| catalog::digest(&in_standby.object)),
            Subject::Table(id) => present(self.inputs.standby.tables.get(id))
                .map(|in_standby| catalog::digest(&in_standby.object)),
        };
        let paired = row.pairing.as_ref().filter(|pairing| pairing.link);
        let standby = self.inputs.epoch.standby();
        let paired = paired.and_then(|pairing| pairing.digest.get(standby).as_ref());
        current.is_some_and(|current| Some(&current) == paired || row.intends(&current))
    }

    fn is_link_equal_to_primary(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => false,
            Subject::Database(name) => present(self.inputs.standby.databases.get(name))
                .is_some_and(|in_standby| {
                    let primary = self.primary_database(name);
                    primary.is_ok_and(|p| self.content.check(&p.object, &in_standby.object).is_ok())
                }),
            Subject::Table(id) => {
                present(self.inputs.standby.tables.get(id)).is_some_and(|in_standby| {
                    let primary = self.primary_table(id);
                    primary.is_ok_and(|p| self.content.check(&p.object, &in_standby.object).is_ok())
                })
            }
        }
    }

    /// Requires that Twinlake manages grants on the subject. On a resource link it manages only the
    /// grants on the link itself; what is below it belongs to the link's target.
    pub(super) fn require_grants_managed(
        &self,
        subject: &Subject,
        grant: &PermissionGrant,
    ) -> Check {
        if !self.is_link(subject) {
            return self.require_managed(subject);
        }
        let is_on_link_itself = match grant.resource {
            Resource::Database(_) | Resource::Table(_) => true,
            Resource::AllTables(_)
            | Resource::Column(..)
            | Resource::ColumnsExcept(..)
            | Resource::DataCellsFilter(..)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => false,
        };
        if is_on_link_itself
            && (self.is_paired_link(subject) || self.is_link_equal_to_primary(subject))
        {
            return Ok(());
        }
        reject(
            AuditRule::NotManaged,
            format!("{grant} is on a resource link"),
        )
    }

    /// Whether the ledger pairs the subject with the object that exists in the standby.
    pub(super) fn is_paired(&self, subject: &Subject) -> bool {
        let row = self.inputs.rows.get(subject);
        let Some(pairing) = row.and_then(|row| row.pairing.as_ref()) else {
            return false;
        };
        let created = match subject {
            Subject::Catalog | Subject::LakeFormation(_) => return false,
            Subject::Database(name) => present(self.inputs.standby.databases.get(name))
                .map(|in_standby| in_standby.created),
            Subject::Table(id) => {
                present(self.inputs.standby.tables.get(id)).map(|in_standby| in_standby.created)
            }
            Subject::Function(id) => {
                present(self.inputs.standby.functions.get(id)).map(|in_standby| in_standby.created)
            }
        };
        let paired_at = pairing.created_in(self.inputs.epoch.standby());
        created
            .flatten()
            .zip(paired_at)
            .is_some_and(|(created, paired_at)| created == paired_at)
    }

    /// Requires that the standby's object is the counterpart of the primary's: it is created by
    /// this plan, paired, recorded as an intent, or equal to the primary's.
    pub(super) fn require_managed(&self, subject: &Subject) -> Check {
        if self.created.contains(subject) {
            return Ok(());
        }
        let row = self.inputs.rows.get(subject);
        let is_managed = match subject {
            Subject::Catalog | Subject::Function(_) => false,
            // The policy pairs the two catalogs.
            Subject::LakeFormation(_) => true,
            Subject::Database(name) if !self.inputs.standby.databases.contains_key(name) => {
                let pairing = row.and_then(|row| row.pairing.as_ref());
                pairing.is_some_and(|pairing| !pairing.link)
            }
            Subject::Database(name) => {
                let in_standby = present(self.inputs.standby.databases.get(name));
                // A grant to revoke may remain on a database that is about to be created.
                let is_about_to_be_created = in_standby.is_none() && self.creates_database(name);
                is_about_to_be_created
                    || in_standby.is_some_and(|in_standby| {
                        in_standby.object.target_database.is_none()
                            && (self.is_paired(subject)
                                || matches_intent(&in_standby.object, row)
                                || self.is_database_equal_to_primary(name, &in_standby.object))
                    })
            }
            Subject::Table(id) => {
                let in_standby = present(self.inputs.standby.tables.get(id));
                // A grant to revoke may remain on a table that is about to be created.
                let is_about_to_be_created = in_standby.is_none() && self.creates_table(id);
                is_about_to_be_created
                    || in_standby.is_some_and(|in_standby| {
                        in_standby.object.target_table.is_none()
                            && !self.is_database_link(&id.database)
                            && (self.is_paired(subject)
                                || matches_intent(&in_standby.object, row)
                                || self.is_table_equal_to_primary(id, &in_standby.object))
                    })
            }
        };
        if is_managed {
            return Ok(());
        }
        reject(
            AuditRule::NotManaged,
            format!("Twinlake does not manage {subject} in the standby"),
        )
    }

    /// Whether the primary's table was recreated since the ledger paired it.
    pub(super) fn is_recreated_in_primary(&self, id: &TableId) -> bool {
        let row = self.inputs.rows.get(&Subject::Table(id.clone()));
        let paired = row
            .and_then(|row| row.pairing.as_ref())
            .and_then(|pairing| pairing.created_in(self.inputs.epoch.primary()));
        let current =
            present(self.inputs.primary.tables.get(id)).and_then(|observed| observed.created);
        matches!((paired, current), (Some(paired), Some(current)) if paired != current)
    }

    fn creates_database(&self, name: &Name) -> bool {
        let is_creation = |step: &Step| matches!(step, Step::CreateDatabase { database } if database.name == *name);
        self.steps.iter().any(is_creation)
    }

    pub(super) fn creates_table(&self, id: &TableId) -> bool {
        let is_creation =
            |step: &Step| matches!(step, Step::CreateTable { id: created, .. } if created == id);
        self.steps.iter().any(is_creation)
    }

    pub(super) fn is_database_equal_to_primary(&self, name: &Name, in_standby: &Database) -> bool {
        let mut without_defaults = in_standby.clone();
        without_defaults.create_table_default_permissions = Some(Vec::new());
        without_defaults.parameters.remove("transient_lastDdlTime");
        self.primary_database(name).is_ok_and(|primary| {
            self.content
                .check(&primary.object, &without_defaults)
                .is_ok()
        })
    }

    pub(super) fn is_table_equal_to_primary(&self, id: &TableId, in_standby: &Table) -> bool {
        let in_standby = without_uncompared_fields(in_standby);
        self.primary_table(id)
            .is_ok_and(|primary| self.content.check(&primary.object, &in_standby).is_ok())
    }
}

/// Whether every administrator may have the permission: all of them see all metadata.
fn is_implicit_for_read_only_admin(grant: &PermissionGrant) -> bool {
    grant.permission == Permission::Describe
}

/// Whether an administrator that is not read-only may have the permission: on LF-Tags, locations
/// and the catalog itself it may have each, and on what holds data it may only see.
fn is_implicit_for_admin(grant: &PermissionGrant) -> bool {
    match grant.resource {
        Resource::Catalog
        | Resource::DataLocation(_)
        | Resource::LfTag { .. }
        | Resource::LfTagExpression(_) => true,
        Resource::Database(_)
        | Resource::AllTables(_)
        | Resource::Table(_)
        | Resource::Column(..)
        | Resource::ColumnsExcept(..)
        | Resource::DataCellsFilter(..)
        | Resource::LfTagPolicy { .. } => is_implicit_for_read_only_admin(grant),
    }
}

/// Whether the object has the recorded intent digest. That digest does not cover parameters that
/// AWS changes itself.
fn matches_intent(object: &impl StableDigest, row: Option<&LedgerRow>) -> bool {
    row.is_some_and(|row| row.intends(&object.stable_digest()))
}

trait StableDigest {
    fn stable_digest(&self) -> String;
}

impl StableDigest for Database {
    fn stable_digest(&self) -> String {
        let mut stable = self.clone();
        stable.parameters.remove("transient_lastDdlTime");
        catalog::digest(&stable)
    }
}

impl StableDigest for Table {
    fn stable_digest(&self) -> String {
        catalog::digest(&without_uncompared_fields(self))
    }
}

/// Returns a table without the time of the last statement, and without the reference to a schema
/// whose columns the table lists.
fn without_uncompared_fields(table: &Table) -> Table {
    let mut table = table.clone();
    table.parameters.remove("transient_lastDdlTime");
    if let Some(descriptor) = &mut table.storage_descriptor {
        descriptor.unsupported_fields.remove("SchemaReference");
    }
    table
}
