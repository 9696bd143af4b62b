//! Checks of the data lake settings and of the registered locations.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, Texts};
use crate::catalog::Registration;
use crate::grant::Principal;
use crate::location::{Location, Mapped};
use std::collections::BTreeSet;

/// The IAM path of the roles of Twinlake's functions.
pub(super) const TWINLAKE_PATH: &str = ":role/twinlake/";

pub(super) fn check(checked: &mut Checked<'_>) {
    check_settings(checked);
    check_registrations(checked);
}

fn check_settings(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    for (region, is_standby) in [(&readings.primary, false), (&readings.standby, true)] {
        let name = region.region.as_str();
        let settings = match &region.settings {
            Reading::Unread(error) => {
                checked.add_unread(Check::Administrators, name, "data lake settings", error);
                continue;
            }
            Reading::Read(settings) => settings,
        };
        check_administrators(checked, name, &settings.admins);
        let is_open = settings.database_defaults_open || settings.table_defaults_open;
        if is_standby && is_open {
            let texts = Texts {
                problem: "new databases or tables are open to IAM_ALLOWED_PRINCIPALS by default"
                    .to_owned(),
                effect: "Twinlake creates no database here that would be open and is closed in the \
                         primary.",
                remedy: bootstrap(&checked.readings.twinlake_roles),
            };
            let subject = "data lake settings";
            checked.add(
                Severity::Blocker,
                Check::DefaultPermissions,
                name,
                subject,
                texts,
            );
        }
    }
}

fn check_administrators(checked: &mut Checked<'_>, region: &str, admins: &BTreeSet<Principal>) {
    let readings = checked.readings;
    let reader = BTreeSet::from([readings.reader.clone()]);
    // Without a deployment the reader is the only one that has to see everything.
    let roles = match (&readings.deployment, readings.twinlake_roles.is_empty()) {
        (None, true) => &reader,
        (None | Some(_), _) => &readings.twinlake_roles,
    };
    let problem = if roles.is_empty() {
        if admins.iter().any(|admin| admin.0.contains(TWINLAKE_PATH)) {
            return;
        }
        "no role of Twinlake is a data lake administrator".to_owned()
    } else {
        let missing: Vec<&str> = roles
            .difference(admins)
            .map(|role| role.0.as_str())
            .collect();
        if missing.is_empty() {
            return;
        }
        format!("not a data lake administrator: {}", missing.join(", "))
    };
    let remedy = bootstrap(roles);
    let texts = Texts {
        problem,
        effect: "Lake Formation hides objects and permissions from Twinlake, which then holds what it \
                 cannot see.",
        remedy,
    };
    let subject = "data lake settings";
    checked.add(
        Severity::Blocker,
        Check::Administrators,
        region,
        subject,
        texts,
    );
}

fn bootstrap(roles: &BTreeSet<Principal>) -> String {
    let mut command = "twinlake bootstrap --policy FILE".to_owned();
    if roles.is_empty() {
        command.push_str(" --twinlake-role ARN # for each ARN in the output Roles of both stacks");
    }
    for role in roles {
        command.push_str(" --twinlake-role ");
        command.push_str(&role.0);
    }
    command
}

/// Reports locations that Lake Formation manages in the primary and not in the standby.
fn check_registrations(checked: &mut Checked<'_>) {
    let (readings, policy, epoch) = (checked.readings, checked.policy, checked.epoch);
    let (primary, standby) = (&readings.primary, &readings.standby);
    for region in [primary, standby] {
        if let Reading::Unread(error) = &region.registrations {
            let subject = "registered locations";
            checked.add_unread(Check::Registrations, &region.region, subject, error);
        }
    }
    let registrations = (primary.registrations.read(), standby.registrations.read());
    let (Some(of_primary), Some(of_standby)) = registrations else {
        return;
    };
    let is_registered = |location: &Location, registered: &[Registration]| {
        registered.iter().any(|registration| {
            Location::parse(&registration.arn).is_ok_and(|holder| holder.contains(location))
        })
    };
    let mut required: BTreeSet<String> = BTreeSet::new();
    for registration in of_primary {
        if let Ok(Mapped::To(arn)) = policy
            .locations
            .counterpart_from(epoch.primary(), &registration.arn)
        {
            required.insert(arn);
        }
    }
    for pair in policy.locations.pairs() {
        let location = pair.sites.get(epoch.primary());
        if is_registered(location, of_primary) {
            let partition = policy.standby(epoch).partition();
            required.insert(pair.sites.get(epoch.standby()).as_arn(partition));
        }
    }
    for arn in required {
        let Ok(location) = Location::parse(&arn) else {
            continue;
        };
        if is_registered(&location, of_standby) {
            continue;
        }
        let texts = Texts {
            problem: "not registered with Lake Formation; its counterpart in the primary is".to_owned(),
            effect: "Lake Formation hands out no credentials: users who rest on its permissions cannot \
                     read these tables.",
            remedy: "Run twinlake resync, or see in twinlake plan why the registration is held. A location \
                     above the pair is registered by hand."
                .to_owned(),
        };
        checked.add(
            Severity::Blocker,
            Check::Registrations,
            &standby.region,
            &arn,
            texts,
        );
    }
}
