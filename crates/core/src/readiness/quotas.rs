//! Checks that the quotas of the standby are not below those of the primary, which its load comes from.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::{CHECKED_QUOTAS, Checked, QuotaReadings, Reading, ServiceQuota, Texts};

pub(super) fn check(checked: &mut Checked<'_>) {
    let (primary, standby) = (&checked.readings.primary, &checked.readings.standby);
    for region in [primary, standby] {
        add_unread(checked, &region.region, &region.quotas);
    }
    for quota in CHECKED_QUOTAS {
        let value = |quotas: &QuotaReadings| {
            quotas
                .get(&quota)
                .and_then(Reading::read)
                .copied()
                .flatten()
        };
        let values = (value(&primary.quotas), value(&standby.quotas));
        let (Some(of_primary), Some(of_standby)) = values else {
            continue;
        };
        if of_standby >= of_primary {
            continue;
        }
        let (
            region,
            ServiceQuota {
                service,
                code,
                name,
            },
        ) = (&standby.region, quota);
        let texts = Texts {
            problem: format!(
                "{name}: {of_standby}, and {of_primary} in {}",
                primary.region
            ),
            effect: "The load of the primary may be throttled or refused here.",
            remedy: format!(
                "aws service-quotas request-service-quota-increase --region {region} --service-code {service} \
                 --quota-code {code} --desired-value {of_primary}"
            ),
        };
        let subject = format!("{service} {code}");
        checked.add(Severity::Warning, Check::Quotas, region, &subject, texts);
    }
}

/// Reports the quotas that are not known, in one line.
fn add_unread(checked: &mut Checked<'_>, region: &str, quotas: &QuotaReadings) {
    let unknown: Vec<(&str, String)> = CHECKED_QUOTAS
        .iter()
        .filter_map(|quota| match quotas.get(quota) {
            Some(Reading::Read(Some(_))) => None,
            Some(Reading::Read(None)) => Some((
                quota.name,
                "Service Quotas does not list it here".to_owned(),
            )),
            Some(Reading::Unread(error)) => Some((quota.name, error.clone())),
            None => Some((quota.name, "it was not read".to_owned())),
        })
        .collect();
    if let Some((_, error)) = unknown.first() {
        let names: Vec<&str> = unknown.iter().map(|(name, _)| *name).collect();
        let error = format!("{error} ({})", names.join(", "));
        checked.add_unread(Check::Quotas, region, "quotas", &error);
    }
}
