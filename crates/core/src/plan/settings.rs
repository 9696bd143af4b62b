//! Plans the data lake settings.
//!
//! A change is split in two steps: one that only takes away, and one with the rest. What holds back
//! the second does not hold back the first.

use super::{FindingKind, PlanBuilder, finding_kind};
use crate::catalog::DataLakeSettings;
use crate::grant::{GrantMapping, Principal};
use crate::ledger::{SubjectState, admin_key, read_only_admin_key};
use crate::policy::DataLakeSettingsPolicy;
use crate::scope::{LfSubject, Subject};
use crate::snapshot::{Observation, Snapshot};
use crate::step::Step;
use std::collections::BTreeSet;

/// The maximum number of administrators, and of read-only administrators, of a Region (F-15).
const MAX_ADMINISTRATORS: usize = 30;

/// Plans the data lake settings: reports differences, and writes them if the policy says so.
pub(super) fn plan(builder: &mut PlanBuilder<'_>, subject: &Subject) {
    let read = |snapshot: &Snapshot| snapshot.settings.clone();
    let (Some(in_primary), Some(in_standby)) =
        (read(builder.inputs.primary), read(builder.inputs.standby))
    else {
        return;
    };
    let (in_primary, in_standby) = match (in_primary, in_standby) {
        (Observation::Present(in_primary), Observation::Present(in_standby)) => {
            (in_primary.data_lake_settings, in_standby.data_lake_settings)
        }
        (Observation::Unknown(error), _) | (_, Observation::Unknown(error)) => {
            let kind = finding_kind(&error);
            return builder.mark_not_in_sync(
                subject,
                SubjectState::OutOfSync,
                kind,
                error.to_string(),
            );
        }
        (Observation::Absent(_), _) | (_, Observation::Absent(_)) => return,
    };
    let merge = SettingsMerge::new(builder, &in_primary, &in_standby);
    for note in &merge.notes {
        builder.add_finding(FindingKind::Note, subject, note.clone());
    }
    if let Some(outcome) = builder.subject_outcomes.get_mut(subject) {
        outcome.managed_keys = Some(merge.managed_keys.clone());
    }
    let differs = merge.differences(&in_standby);
    if differs.is_empty() {
        return;
    }
    match builder.inputs.policy.data_lake_settings {
        DataLakeSettingsPolicy::Report => {
            let detail = format!(
                "the data lake settings differ in {}; they are not written \
                 (`data-lake-settings = \"merge\"` would)",
                differs.join(", ")
            );
            builder.add_finding(FindingKind::Note, subject, detail);
        }
        DataLakeSettingsPolicy::Merge => {
            builder.steps.extend(merge.narrowing_step(&in_standby));
            if merge.exceeds_administrator_limit(&in_standby) {
                let reason =
                    "with the primary's administrators, the standby would have more than 30";
                builder.mark_not_in_sync(
                    subject,
                    SubjectState::Blocked,
                    FindingKind::OnHold,
                    reason.to_owned(),
                );
            } else {
                builder.steps.extend(merge.widening_step(&in_standby));
            }
        }
    }
}

/// Returns the standby's administrators that are not read-only and that the settings, if they are
/// planned and written, no longer contain.
pub(super) fn admins_to_remove(builder: &PlanBuilder<'_>) -> BTreeSet<Principal> {
    let inputs = builder.inputs;
    match inputs.policy.data_lake_settings {
        DataLakeSettingsPolicy::Report => return BTreeSet::new(),
        DataLakeSettingsPolicy::Merge => {}
    }
    let [in_primary, in_standby] = [inputs.primary, inputs.standby].map(|snapshot| {
        let present = snapshot.settings.as_ref().and_then(Observation::present);
        present.map(|settings| &settings.data_lake_settings)
    });
    match (in_primary, in_standby) {
        (Some(in_primary), Some(in_standby)) => {
            SettingsMerge::new(builder, in_primary, in_standby).removed_admins
        }
        (None, _) | (_, None) => BTreeSet::new(),
    }
}

/// The principals that a change leaves.
fn kept(present: &BTreeSet<Principal>, removed: &BTreeSet<Principal>) -> BTreeSet<Principal> {
    present.difference(removed).cloned().collect()
}

/// The changes of the standby's data lake settings.
struct SettingsMerge {
    added_admins: BTreeSet<Principal>,
    added_read_only_admins: BTreeSet<Principal>,
    removed_admins: BTreeSet<Principal>,
    removed_read_only_admins: BTreeSet<Principal>,
    /// The primary's settings, without administrators and defaults.
    other_settings: DataLakeSettings,
    managed_keys: BTreeSet<String>,
    notes: Vec<String>,
}

impl SettingsMerge {
    fn new(
        builder: &PlanBuilder<'_>,
        in_primary: &DataLakeSettings,
        in_standby: &DataLakeSettings,
    ) -> Self {
        let inputs = builder.inputs;
        let mut notes = Vec::new();
        let mut mapped = |all: &BTreeSet<Principal>| wanted_principals(builder, all, &mut notes);
        let admins = mapped(&in_primary.admins);
        let read_only_admins = mapped(&in_primary.read_only_admins);
        let external_allow_list = mapped(&in_primary.external_allow_list);
        let extra_admins = extra_principals(builder, &in_standby.admins, &admins, admin_key);
        let extra_read_only_admins = extra_principals(
            builder,
            &in_standby.read_only_admins,
            &read_only_admins,
            read_only_admin_key,
        );
        for principal in in_standby.admins.difference(&admins) {
            if read_only_admins.contains(principal) && !extra_admins.contains(principal) {
                notes.push(format!(
                    "{principal} is an administrator of the standby and a read-only one of the \
                     primary; Twinlake did not add it and does not remove it"
                ));
            }
        }
        // What is not removed in this round stays managed in the next one.
        let managed_admins = admins.union(&extra_admins).map(admin_key);
        let managed_read_only_admins = read_only_admins.union(&extra_read_only_admins);
        let managed_keys = managed_admins
            .chain(managed_read_only_admins.map(read_only_admin_key))
            .collect();
        let if_proven = |extra: BTreeSet<Principal>| match inputs.primary.is_administrator {
            true => extra,
            false => BTreeSet::new(),
        };
        Self {
            managed_keys,
            added_admins: admins.difference(&in_standby.admins).cloned().collect(),
            added_read_only_admins: read_only_admins
                .difference(&in_standby.read_only_admins)
                .cloned()
                .collect(),
            removed_admins: if_proven(extra_admins),
            removed_read_only_admins: if_proven(extra_read_only_admins),
            other_settings: DataLakeSettings {
                external_allow_list,
                ..other_settings(in_primary)
            },
            notes,
        }
    }

    /// Returns the step that only takes away: administrators, default permissions, and what the
    /// other settings allow in the standby and not in the primary.
    fn narrowing_step(&self, in_standby: &DataLakeSettings) -> Option<Step> {
        let narrowed = self.narrowed_settings(in_standby);
        let changes_others = narrowed != other_settings(in_standby);
        let is_needed = changes_others
            || !self.removed_admins.is_empty()
            || !self.removed_read_only_admins.is_empty()
            || in_standby.database_defaults_open
            || in_standby.table_defaults_open;
        is_needed.then(|| Step::PutSettings {
            added_admins: BTreeSet::new(),
            added_read_only_admins: BTreeSet::new(),
            removed_admins: self.removed_admins.clone(),
            removed_read_only_admins: self.removed_read_only_admins.clone(),
            other_settings: changes_others.then_some(narrowed),
            kept_admins: kept(&in_standby.admins, &self.removed_admins),
            kept_read_only_admins: kept(
                &in_standby.read_only_admins,
                &self.removed_read_only_admins,
            ),
            only_narrows: true,
        })
    }

    /// Returns the step with what the narrowing step leaves.
    fn widening_step(&self, in_standby: &DataLakeSettings) -> Option<Step> {
        let changes_others = self.other_settings != self.narrowed_settings(in_standby);
        let is_needed = changes_others
            || !self.added_admins.is_empty()
            || !self.added_read_only_admins.is_empty();
        is_needed.then(|| Step::PutSettings {
            added_admins: self.added_admins.clone(),
            added_read_only_admins: self.added_read_only_admins.clone(),
            removed_admins: BTreeSet::new(),
            removed_read_only_admins: BTreeSet::new(),
            other_settings: changes_others.then(|| self.other_settings.clone()),
            kept_admins: kept(&in_standby.admins, &self.removed_admins),
            kept_read_only_admins: kept(
                &in_standby.read_only_admins,
                &self.removed_read_only_admins,
            ),
            only_narrows: false,
        })
    }

    /// The standby's settings, without what they allow and the primary's do not.
    fn narrowed_settings(&self, in_standby: &DataLakeSettings) -> DataLakeSettings {
        let wanted = &self.other_settings;
        DataLakeSettings {
            trusted_resource_owners: wanted
                .trusted_resource_owners
                .intersection(&in_standby.trusted_resource_owners)
                .cloned()
                .collect(),
            external_data_filtering: wanted.external_data_filtering
                && in_standby.external_data_filtering,
            full_table_external_access: wanted.full_table_external_access
                && in_standby.full_table_external_access,
            external_allow_list: wanted
                .external_allow_list
                .intersection(&in_standby.external_allow_list)
                .cloned()
                .collect(),
            session_tag_values: wanted
                .session_tag_values
                .intersection(&in_standby.session_tag_values)
                .cloned()
                .collect(),
            ..other_settings(in_standby)
        }
    }

    /// Returns the names of the fields of `DataLakeSettings` that differ.
    fn differences(&self, in_standby: &DataLakeSettings) -> Vec<&'static str> {
        let other_settings = &self.other_settings;
        let all = [
            (
                "DataLakeAdmins",
                !(self.added_admins.is_empty() && self.removed_admins.is_empty()),
            ),
            (
                "ReadOnlyAdmins",
                !(self.added_read_only_admins.is_empty()
                    && self.removed_read_only_admins.is_empty()),
            ),
            (
                "CreateDatabaseDefaultPermissions",
                in_standby.database_defaults_open,
            ),
            (
                "CreateTableDefaultPermissions",
                in_standby.table_defaults_open,
            ),
            (
                "Parameters",
                other_settings.parameters != in_standby.parameters,
            ),
            (
                "TrustedResourceOwners",
                other_settings.trusted_resource_owners != in_standby.trusted_resource_owners,
            ),
            (
                "AllowExternalDataFiltering",
                other_settings.external_data_filtering != in_standby.external_data_filtering,
            ),
            (
                "AllowFullTableExternalDataAccess",
                other_settings.full_table_external_access != in_standby.full_table_external_access,
            ),
            (
                "ExternalDataFilteringAllowList",
                other_settings.external_allow_list != in_standby.external_allow_list,
            ),
            (
                "AuthorizedSessionTagValueList",
                other_settings.session_tag_values != in_standby.session_tag_values,
            ),
        ];
        let differing = all.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(name, _)| name).collect()
    }

    fn exceeds_administrator_limit(&self, in_standby: &DataLakeSettings) -> bool {
        let is_too_many = |current: &BTreeSet<Principal>,
                           removed: &BTreeSet<Principal>,
                           added: &BTreeSet<Principal>| {
            let kept = current.difference(removed).count();
            !added.is_empty() && kept + added.len() > MAX_ADMINISTRATORS
        };
        is_too_many(&in_standby.admins, &self.removed_admins, &self.added_admins)
            || is_too_many(
                &in_standby.read_only_admins,
                &self.removed_read_only_admins,
                &self.added_read_only_admins,
            )
    }
}

/// Returns the standby's principals that the primary's correspond to. Adds a note on each that
/// corresponds to none.
fn wanted_principals(
    builder: &PlanBuilder<'_>,
    all: &BTreeSet<Principal>,
    notes: &mut Vec<String>,
) -> BTreeSet<Principal> {
    let inputs = builder.inputs;
    let mapping = GrantMapping::of_primary(inputs.policy, inputs.epoch);
    let mut wanted = BTreeSet::new();
    for principal in all {
        if inputs.own_roles.contains(&principal.0) {
            continue;
        }
        match mapping.principal_outside_grants(principal) {
            Ok(mapped) => wanted.extend(mapped),
            Err(reason) => notes.push(format!(
                "{principal} in the primary's data lake settings is not replicated: {reason}"
            )),
        }
    }
    wanted
}

/// Returns the standby's administrators of a kind that came from the primary, which has them no
/// longer.
fn extra_principals(
    builder: &PlanBuilder<'_>,
    in_standby: &BTreeSet<Principal>,
    wanted: &BTreeSet<Principal>,
    key: fn(&Principal) -> String,
) -> BTreeSet<Principal> {
    let subject = Subject::LakeFormation(LfSubject::Settings);
    let row = builder.inputs.rows.get(&subject);
    let extra = in_standby.difference(wanted).filter(|principal| {
        !builder.inputs.own_roles.contains(&principal.0)
            && row.is_some_and(|row| row.managed_keys.contains(&key(principal)))
    });
    extra.cloned().collect()
}

/// Returns the settings without administrators and default permissions.
fn other_settings(settings: &DataLakeSettings) -> DataLakeSettings {
    DataLakeSettings {
        admins: BTreeSet::new(),
        read_only_admins: BTreeSet::new(),
        database_defaults_open: false,
        table_defaults_open: false,
        ..settings.clone()
    }
}
