//! The doctor's check of the address for clients: the parameters of both Regions.

use twinlake_aws::{Clients, SsmParameters};
use twinlake_core::Policy;
use twinlake_core::client_address::{
    ADDRESS_PARAMETER, AddressDecision, ClientAddress, TakeoverConfig, decide,
};
use twinlake_core::readiness::{ReadinessCheck, ReadinessFinding, ReadinessSeverity};
use twinlake_core::topology::Epoch;
use twinlake_engine::ports::AddressParameter as _;

/// Reads the parameters of both Regions, and compares them with what the monitors write there.
pub(crate) async fn findings(
    takeover: &TakeoverConfig,
    policy: &Policy,
    epoch: Epoch,
) -> Vec<ReadinessFinding> {
    let wanted = ClientAddress::new(takeover, epoch, policy);
    let mut findings = Vec::new();
    for (_, site) in policy.sites.iter() {
        let parameters = SsmParameters::new(&Clients::connect(&site.region).await);
        let found = match parameters.read(ADDRESS_PARAMETER).await {
            Ok(stored) => parameter_problem(stored.as_deref(), &wanted).map(|problem| {
                let remedy =
                    "The monitor writes it each minute. If it stays, read the alerts of the Region";
                (ReadinessSeverity::Warning, problem, remedy)
            }),
            Err(error) => Some((
                ReadinessSeverity::Unknown,
                format!("it could not be read: {error}"),
                "Allow yourself ssm:GetParameter",
            )),
        };
        findings.extend(found.map(|(severity, problem, remedy)| {
            finding(severity, &site.region, problem, remedy.to_owned())
        }));
        findings.extend(missing_values(takeover, &site.region));
    }
    findings
}

/// What is wrong with the value of a parameter.
fn parameter_problem(stored: Option<&str>, wanted: &ClientAddress) -> Option<String> {
    match (stored, decide(stored, wanted)) {
        (_, AddressDecision::Keep) => None,
        (None, _) => Some("the parameter does not exist".to_owned()),
        (Some(_), AddressDecision::Write) => Some(format!(
            "the parameter holds another address than that of {}, the primary of epoch {}",
            wanted.primary, wanted.epoch
        )),
        (Some(_), AddressDecision::Refuse(reason)) => Some(reason),
    }
}

/// The values that the operation document gives for another Region only.
fn missing_values(takeover: &TakeoverConfig, region: &str) -> Option<ReadinessFinding> {
    let mut missing = Vec::new();
    if !takeover.results.is_empty() && !takeover.results.contains_key(region) {
        missing.push("a location for results".to_owned());
    }
    let links = takeover.links.iter();
    let links = links.filter(|(_, by_region)| !by_region.contains_key(region));
    missing.extend(links.map(|(name, _)| format!("the link {name}")));
    if missing.is_empty() {
        return None;
    }
    let problem = format!(
        "[takeover] of the operation document does not have {} for this Region",
        missing.join(", ")
    );
    let remedy = "Add it, and run `twinlake policy push`".to_owned();
    Some(finding(ReadinessSeverity::Warning, region, problem, remedy))
}

fn finding(
    severity: ReadinessSeverity,
    region: &str,
    problem: String,
    remedy: String,
) -> ReadinessFinding {
    ReadinessFinding {
        severity,
        check: ReadinessCheck::ClientAddress,
        region: region.to_owned(),
        subject: ADDRESS_PARAMETER.to_owned(),
        problem,
        effect: "Clients that read the address there do not find the lake after a takeover."
            .to_owned(),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takeover() -> TakeoverConfig {
        TakeoverConfig {
            results: [("us-east-1".to_owned(), "s3://results/".to_owned())].into(),
            ..TakeoverConfig::default()
        }
    }

    #[test]
    fn a_region_without_its_own_values_is_named() {
        assert!(missing_values(&takeover(), "us-east-1").is_none());
        let found = missing_values(&takeover(), "ap-south-1").unwrap();
        assert!(
            found.problem.contains("a location for results"),
            "{}",
            found.problem
        );
        assert!(missing_values(&TakeoverConfig::default(), "ap-south-1").is_none());
    }

    #[test]
    fn a_parameter_that_is_missing_stale_or_foreign_is_a_problem() {
        let address = |epoch| ClientAddress::in_region(&takeover(), epoch, "us-east-1");
        let problem = |stored: Option<&str>| parameter_problem(stored, &address(1));
        assert_eq!(problem(Some(&address(1).to_json())), None);
        assert!(problem(None).unwrap().contains("does not exist"));
        assert!(
            problem(Some(&address(0).to_json()))
                .unwrap()
                .contains("another address")
        );
        assert!(problem(Some("theirs")).unwrap().contains("something else"));
    }
}
