//! Checks that users and groups of IAM Identity Center can use their grants in the standby.
//!
//! The configuration of Lake Formation is of one Region and catalog. An instance of Identity Center can be
//! used in further Regions only if it was replicated there: an instance of an organization, with an external
//! identity provider and a multi-Region key (Identity Center user guide, `multi-region-iam-identity-center`).

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{Checked, Reading, Texts};

const SUBJECT: &str = "Identity Center configuration";

pub(super) fn check(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    let (primary, standby) = (&readings.primary, &readings.standby);
    let principals = readings.access.principals.read();
    let principals = principals.map_or(0, |granted| granted.identity_center);
    let of_primary = match &primary.identity_center {
        Reading::Unread(error) => {
            return checked.add_unread(Check::IdentityCenter, &primary.region, SUBJECT, error);
        }
        // Without a configuration nobody of Identity Center can use a grant.
        Reading::Read(None) => return,
        Reading::Read(Some(instance)) => instance,
    };
    let region = &standby.region;
    let (severity, problem, effect, remedy) = match &standby.identity_center {
        Reading::Unread(error) => {
            return checked.add_unread(Check::IdentityCenter, region, SUBJECT, error);
        }
        Reading::Read(None) => (
            match principals {
                0 => Severity::Warning,
                _ => Severity::Blocker,
            },
            format!(
                "Lake Formation has none here, and one in the primary, for {of_primary}; users and groups \
                 with grants: {principals}"
            ),
            "Users and groups of Identity Center cannot use their grants.",
            format!(
                "aws lakeformation create-lake-formation-identity-center-configuration --region {region} \
                 --instance-arn {of_primary} # first replicate the instance to {region}: it must be of an \
                 organization, with an external identity provider and a multi-Region key"
            ),
        ),
        Reading::Read(Some(instance)) if instance != of_primary => (
            Severity::Warning,
            format!("it names {instance}, and that of the primary {of_primary}"),
            "Users and groups of one instance are strangers to the other.",
            format!(
                "Compare aws lakeformation describe-lake-formation-identity-center-configuration --region {region} with that of {}.",
                primary.region
            ),
        ),
        Reading::Read(Some(_)) => (
            Severity::Note,
            format!("users and groups with grants: {principals}"),
            "Whether the instance was replicated to this Region, and they can sign in while its home Region \
             is impaired, is not checked.",
            "aws sso-admin list-regions --instance-arn INSTANCE shows the Regions of the instance."
                .to_owned(),
        ),
    };
    let texts = Texts {
        problem,
        effect,
        remedy,
    };
    checked.add(severity, Check::IdentityCenter, region, SUBJECT, texts);
}
