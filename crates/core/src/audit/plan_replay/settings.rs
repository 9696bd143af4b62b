//! Checks writes of the data lake settings.

use super::{Check, PlanReplay, present, reject};
use crate::audit::AuditRule;
use crate::catalog::DataLakeSettings;
use crate::grant::Principal;
use crate::policy::DataLakeSettingsPolicy;
use crate::scope::{LfSubject, Subject};
use std::collections::BTreeSet;

impl PlanReplay<'_> {
    /// Checks a write of the data lake settings. The added and the removed principals are those of
    /// the administrators, then those of the read-only administrators.
    pub(super) fn put_settings(
        &mut self,
        added: [&BTreeSet<Principal>; 2],
        removed: [&BTreeSet<Principal>; 2],
        other_settings: Option<&DataLakeSettings>,
        only_narrows: bool,
    ) -> Check {
        if self.inputs.policy.data_lake_settings != DataLakeSettingsPolicy::Merge {
            return reject(
                AuditRule::NotManaged,
                "the policy does not allow changes of the data lake settings",
            );
        }
        let Some(in_primary) = present(self.inputs.primary.settings.as_ref()) else {
            return reject(AuditRule::Altered, "the primary's settings were not read");
        };
        let in_primary = self.as_of_standby(&in_primary.data_lake_settings);
        let allowed = [&in_primary.admins, &in_primary.read_only_admins];
        for (added, allowed) in added.into_iter().zip(allowed) {
            if only_narrows && !added.is_empty() {
                let detail = "a step that only narrows the settings would add administrators";
                return reject(AuditRule::WiderAccess, detail);
            }
            if let Some(principal) = added.difference(allowed).next() {
                let detail = format!("{principal} is no such administrator in the primary");
                return reject(AuditRule::WiderAccess, detail);
            }
        }
        let [removed_admins, removed_read_only_admins] = removed;
        self.check_removed(removed_admins, &in_primary.admins, "")?;
        let allowed = &in_primary.read_only_admins;
        self.check_removed(removed_read_only_admins, allowed, "read-only ")?;
        if let Some(other_settings) = other_settings {
            self.check_other_settings(other_settings, &in_primary, only_narrows)?;
        }
        self.removed_admins.extend(removed_admins.iter().cloned());
        Ok(())
    }

    /// The primary's settings with the principals of the standby, without those that have no
    /// counterpart or that the policy ignores.
    fn as_of_standby(&self, in_primary: &DataLakeSettings) -> DataLakeSettings {
        let mapped = |principals: &BTreeSet<Principal>| -> BTreeSet<Principal> {
            let replicated = principals
                .iter()
                .filter(|one| !self.inputs.policy.ignored_principals.contains(&one.0));
            replicated
                .filter_map(|principal| self.counterpart(principal))
                .collect()
        };
        DataLakeSettings {
            admins: mapped(&in_primary.admins),
            read_only_admins: mapped(&in_primary.read_only_admins),
            external_allow_list: mapped(&in_primary.external_allow_list),
            ..in_primary.clone()
        }
    }

    /// Requires that the removed administrators came from the primary, which no longer has them.
    fn check_removed(
        &self,
        removed: &BTreeSet<Principal>,
        in_primary: &BTreeSet<Principal>,
        key_prefix: &str,
    ) -> Check {
        let subject = Subject::LakeFormation(LfSubject::Settings);
        let row = self.inputs.rows.get(&subject);
        for principal in removed {
            let key = format!("{key_prefix}{}", principal.0);
            let came_from_primary = row.is_some_and(|row| row.managed_keys.contains(&key));
            let is_own = self.inputs.own_roles.contains(&principal.0);
            if is_own || in_primary.contains(principal) || !came_from_primary {
                return reject(
                    AuditRule::NotManaged,
                    format!("administrator {principal} would be removed"),
                );
            }
            if !self.inputs.primary.is_administrator {
                return reject(
                    AuditRule::Unproven,
                    format!("removing administrator {principal}"),
                );
            }
        }
        Ok(())
    }

    /// Requires that the other settings allow nothing that the primary's do not, and, of a step
    /// that only narrows them, nothing that the standby's did not before.
    fn check_other_settings(
        &self,
        written: &DataLakeSettings,
        in_primary: &DataLakeSettings,
        only_narrows: bool,
    ) -> Check {
        if written.database_defaults_open || written.table_defaults_open {
            return reject(
                AuditRule::WiderAccess,
                "new objects would get default permissions",
            );
        }
        let in_standby = present(self.inputs.standby.settings.as_ref());
        let in_standby = in_standby.map(|settings| &settings.data_lake_settings);
        let keeps_parameters =
            in_standby.is_some_and(|settings| settings.parameters == written.parameters);
        if !keeps_parameters && (only_narrows || written.parameters != in_primary.parameters) {
            return reject(AuditRule::Altered, "the parameters of the settings");
        }
        let widens_standby =
            only_narrows && !in_standby.is_some_and(|settings| allows_no_more(written, settings));
        if widens_standby || !allows_no_more(written, in_primary) {
            return reject(
                AuditRule::WiderAccess,
                "the data lake settings would allow more",
            );
        }
        Ok(())
    }
}

/// Whether settings, apart from administrators and parameters, allow nothing that others do not.
fn allows_no_more(settings: &DataLakeSettings, others: &DataLakeSettings) -> bool {
    settings
        .trusted_resource_owners
        .is_subset(&others.trusted_resource_owners)
        && (others.external_data_filtering || !settings.external_data_filtering)
        && (others.full_table_external_access || !settings.full_table_external_access)
        && settings
            .external_allow_list
            .is_subset(&others.external_allow_list)
        && settings
            .session_tag_values
            .is_subset(&others.session_tag_values)
}
