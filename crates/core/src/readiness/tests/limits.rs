//! Faults of quotas and of Identity Center.

use super::super::*;
use super::sound_pair::*;
use super::told;

const A: &str = "us-east-1";
const B: &str = "ap-south-1";

#[test]
fn a_quota_below_that_of_the_primary_is_found_with_the_request_that_raises_it() {
    for quota in CHECKED_QUOTAS {
        let with = |value: f64| {
            findings(|r| {
                r.standby.quotas.insert(quota, Reading::Read(Some(value)));
            })
        };
        let found = with(999.0);
        assert_eq!(
            told(&found),
            [(ReadinessCheck::Quotas, ReadinessSeverity::Warning, B)]
        );
        let (service, code) = (quota.service, quota.code);
        assert_eq!(
            found[0].remedy,
            format!(
                "aws service-quotas request-service-quota-increase --region ap-south-1 --service-code \
                 {service} --quota-code {code} --desired-value 1000"
            )
        );
        assert_eq!(with(1001.0), []);
    }
}

#[test]
fn quotas_that_are_not_known_are_one_line() {
    let quotas = ReadinessCheck::Quotas;
    let denied = findings(|r| {
        for reading in r.primary.quotas.values_mut() {
            *reading = Reading::Unread("AccessDenied".to_owned());
        }
    });
    assert_eq!(told(&denied), [(quotas, ReadinessSeverity::Unknown, A)]);
    let unlisted = findings(|r| {
        r.standby
            .quotas
            .insert(CHECKED_QUOTAS[0], Reading::Read(None));
    });
    assert_eq!(told(&unlisted), [(quotas, ReadinessSeverity::Unknown, B)]);
    assert!(unlisted[0].problem.contains(CHECKED_QUOTAS[0].name));
    assert!(!unlisted[0].problem.contains(CHECKED_QUOTAS[1].name));
    let unread = findings(|r| r.standby.quotas.clear());
    assert_eq!(told(&unread), [(quotas, ReadinessSeverity::Unknown, B)]);
}

#[test]
fn an_identity_center_that_the_standby_lacks_keeps_its_users_out() {
    use ReadinessSeverity::{Blocker, Note, Unknown, Warning};
    let instance = |id: &str| Reading::Read(Some(format!("arn:aws:sso:::instance/{id}")));
    let with = |primary, standby, users| {
        findings(|r| {
            r.primary.identity_center = primary;
            r.standby.identity_center = standby;
            if let Reading::Read(granted) = &mut r.access.principals {
                granted.identity_center = users;
            }
        })
    };
    let check = ReadinessCheck::IdentityCenter;
    let missing = with(instance("1"), Reading::Read(None), 2);
    assert_eq!(told(&missing), [(check, Blocker, B)]);
    assert!(
        missing[0]
            .remedy
            .contains("--region ap-south-1 --instance-arn arn:aws:sso:::instance/1")
    );
    let unused = with(instance("1"), Reading::Read(None), 0);
    assert_eq!(told(&unused), [(check, Warning, B)]);
    assert_eq!(
        told(&with(instance("1"), instance("2"), 2)),
        [(check, Warning, B)]
    );
    assert_eq!(
        told(&with(instance("1"), instance("1"), 2)),
        [(check, Note, B)]
    );
    let denied = || Reading::Unread("AccessDenied".to_owned());
    assert_eq!(
        told(&with(denied(), Reading::Read(None), 0)),
        [(check, Unknown, A)]
    );
    assert_eq!(
        told(&with(instance("1"), denied(), 0)),
        [(check, Unknown, B)]
    );
    assert_eq!(with(Reading::Read(None), instance("1"), 2), []);
}
