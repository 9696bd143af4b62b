//! Checks of the principals that hold grants: whether they exist, and whether IAM lets them read in the
//! standby what it lets them read in the primary.
//!
//! Policies often name a Region, in the ARN of a resource or by `aws:RequestedRegion`. A simulation knows
//! no service control policy with conditions, so the denial that it shows is probable, and so is what it
//! allows.

use super::ReadinessCheck as Check;
use super::ReadinessSeverity as Severity;
use super::lake_formation::TWINLAKE_PATH;
use super::{
    Checked, Decisions, GrantedPrincipal, GrantedPrincipals, Reading, SimulatedCall,
    SimulatedDecision, Texts, iam_remedy, shorten,
};
use crate::Policy;
use crate::arn::Arn;
use crate::grant::{GrantMapping, ListedPermission, ListedResource, Principal, PrincipalKind};
use crate::render::counted;
use crate::topology::{Epoch, Site};
use std::collections::{BTreeMap, BTreeSet};

/// Roles and users of which calls are simulated. Of more, some at equal distances are chosen.
const MAX_PRINCIPALS: usize = 50;
/// Roles of AWS services, whose policies nobody changes.
const SERVICE_LINKED: &str = ":role/aws-service-role/";

/// The principals of grants on what the policy replicates.
#[must_use]
pub fn granted_principals(
    grants: &[ListedPermission],
    twinlake_roles: &BTreeSet<Principal>,
    policy: &Policy,
    epoch: Epoch,
) -> GrantedPrincipals {
    let account = &policy.primary(epoch).account;
    let mapping = GrantMapping::of_primary(policy, epoch);
    let mut found: BTreeMap<&str, GrantedPrincipal> = BTreeMap::new();
    let mut identity_center = BTreeSet::new();
    let mut granted = GrantedPrincipals::default();
    for grant in grants {
        let text = grant.principal.0.as_str();
        let is_covered = grant
            .resource
            .database()
            .is_none_or(|database| policy.covers_database(database));
        let is_own = twinlake_roles.contains(&grant.principal)
            || text.contains(TWINLAKE_PATH)
            || text.contains(SERVICE_LINKED);
        let counterpart = mapping.principal_outside_grants(&grant.principal);
        if !is_covered || is_own || counterpart == Ok(None) {
            continue;
        }
        match grant.principal.kind() {
            None => {
                granted.deleted.insert(text.to_owned());
            }
            Some(PrincipalKind::IdentityCenter) => {
                identity_center.insert(text);
            }
            Some(PrincipalKind::Iam) => {
                let is_ours = Arn::parse(text).is_some_and(|arn| arn.account == account);
                // A principal that another one is mapped to is a finding of the plan.
                if let (true, Ok(Some(standby))) = (is_ours, counterpart) {
                    found.entry(text).or_insert_with(|| GrantedPrincipal {
                        primary: text.to_owned(),
                        standby: standby.0,
                        table: table_of(&grant.resource),
                    });
                }
            }
            Some(
                PrincipalKind::Saml
                | PrincipalKind::QuickSight
                | PrincipalKind::Account
                | PrincipalKind::Organization
                | PrincipalKind::IamAllowed
                | PrincipalKind::IamPrincipals,
            ) => {}
        }
    }
    let step = found.len().div_ceil(MAX_PRINCIPALS).max(1);
    let all = found.len();
    granted.chosen = found.into_values().step_by(step).collect();
    granted.unchecked = all - granted.chosen.len();
    granted.identity_center = identity_center.len();
    granted
}

/// The table, as in an ARN, whose read is simulated: the one of the grant, or one that stands for others.
fn table_of(resource: &ListedResource) -> String {
    match (resource.table(), resource.database()) {
        (Some(id), _) => format!("{}/{}", id.database.as_str(), id.table.as_str()),
        (None, Some(database)) => format!("{}/any", database.as_str()),
        (None, None) => "any/any".to_owned(),
    }
}

/// The calls of a query: of the catalog, of Lake Formation and of Athena.
#[must_use]
pub fn query_calls(principal: &str, table: &str, site: &Site) -> Vec<SimulatedCall> {
    let (partition, region, account) = (site.partition(), &site.region, &site.account);
    let call = |action: &str, resource: String| SimulatedCall {
        principal: principal.to_owned(),
        actions: BTreeSet::from([action.to_owned()]),
        resource,
        context: BTreeMap::from([("aws:RequestedRegion".to_owned(), region.clone())]),
    };
    vec![
        call(
            "glue:GetTable",
            format!("arn:{partition}:glue:{region}:{account}:table/{table}"),
        ),
        call("lakeformation:GetDataAccess", "*".to_owned()),
        call(
            "athena:StartQueryExecution",
            format!("arn:{partition}:athena:{region}:{account}:workgroup/primary"),
        ),
    ]
}

/// The calls that are to be simulated in the primary, because the standby's are denied: what both deny is
/// no difference.
#[must_use]
pub fn calls_to_compare(
    principal: &GrantedPrincipal,
    simulations: &BTreeMap<SimulatedCall, Reading<Option<Decisions>>>,
    policy: &Policy,
    epoch: Epoch,
) -> Vec<SimulatedCall> {
    let (standby, primary) = calls_of(principal, policy, epoch);
    let pairs = standby.into_iter().zip(primary);
    let is_denied = |call: &SimulatedCall| match simulations.get(call) {
        Some(Reading::Read(Some(decisions))) => decisions.values().any(is_denial),
        Some(Reading::Read(None) | Reading::Unread(_)) | None => false,
    };
    pairs
        .filter(|(standby, _)| is_denied(standby))
        .map(|(_, primary)| primary)
        .collect()
}

fn is_denial(decision: &SimulatedDecision) -> bool {
    *decision != SimulatedDecision::Allowed
}

/// The calls of a principal in the standby and in the primary, in one order.
fn calls_of(
    principal: &GrantedPrincipal,
    policy: &Policy,
    epoch: Epoch,
) -> (Vec<SimulatedCall>, Vec<SimulatedCall>) {
    let table = &principal.table;
    (
        query_calls(&principal.standby, table, policy.standby(epoch)),
        query_calls(&principal.primary, table, policy.primary(epoch)),
    )
}

/// Principals whose calls could not be simulated.
#[derive(Default)]
struct Unread {
    principals: BTreeSet<String>,
    error: Option<String>,
}

impl Unread {
    fn add(&mut self, principal: &str, error: &str) {
        self.principals.insert(principal.to_owned());
        self.error.get_or_insert_with(|| error.to_owned());
    }
}

pub(super) fn check(checked: &mut Checked<'_>) {
    let readings = checked.readings;
    let (primary, standby) = (&readings.primary.region, &readings.standby.region);
    let subject = "grants";
    let granted = match &readings.access.principals {
        Reading::Unread(error) => {
            return checked.add_unread(Check::UserAccess, primary, subject, error);
        }
        Reading::Read(granted) => granted,
    };
    if !granted.deleted.is_empty() {
        let names: Vec<String> = granted.deleted.iter().cloned().collect();
        add_deleted(checked, subject, &shorten(&names), &names);
    }
    let mut unread = Unread::default();
    for principal in &granted.chosen {
        check_principal(checked, principal, &mut unread);
    }
    if let Some(error) = unread.error {
        let names: Vec<String> = unread.principals.into_iter().collect();
        let error = format!(
            "{error} (of {}: {})",
            counted(names.len(), "principal"),
            shorten(&names)
        );
        checked.add_unread(Check::UserAccess, standby, subject, &error);
    }
    if granted.unchecked > 0 {
        let texts = Texts {
            problem: match granted.unchecked {
                1 => "1 further role or user with grants was not looked at".to_owned(),
                count => format!("{count} further roles and users with grants were not looked at"),
            },
            effect: "Their policies may deny reading in the standby.",
            remedy: "Search their policies for aws:RequestedRegion and for ARNs that name the primary's Region."
                .to_owned(),
        };
        checked.add(Severity::Note, Check::UserAccess, standby, subject, texts);
    }
}

fn check_principal(checked: &mut Checked<'_>, principal: &GrantedPrincipal, unread: &mut Unread) {
    let readings = checked.readings;
    let simulations = &readings.access.simulations;
    let (in_standby, in_primary) = calls_of(principal, checked.policy, checked.epoch);
    let name = principal.standby.as_str();
    let mut denied = BTreeSet::new();
    let mut is_explicit = false;
    for (call, compared) in in_standby.iter().zip(&in_primary) {
        let decisions = match simulations.get(call) {
            Some(Reading::Read(Some(decisions))) => decisions,
            Some(Reading::Read(None)) => return check_missing(checked, name, unread),
            Some(Reading::Unread(error)) => {
                unread.add(name, error);
                continue;
            }
            None => {
                unread.add(name, "the call was not simulated");
                continue;
            }
        };
        for (action, decision) in decisions.iter().filter(|(_, decision)| is_denial(decision)) {
            let before = match simulations.get(compared) {
                Some(Reading::Read(Some(decisions))) => decisions.get(action).copied(),
                Some(Reading::Read(None)) | None => None,
                Some(Reading::Unread(error)) => {
                    unread.add(name, error);
                    None
                }
            };
            if before == Some(SimulatedDecision::Allowed) {
                denied.insert((call.resource.clone(), action.clone()));
                is_explicit |= *decision == SimulatedDecision::ExplicitDeny;
            }
        }
    }
    if denied.is_empty() {
        return;
    }
    let listed: Vec<&str> = denied.iter().map(|(_, action)| action.as_str()).collect();
    let standby = &readings.standby.region;
    let texts = Texts {
        problem: format!(
            "by simulation, its policies allow this in {} and not in {standby}: {}",
            readings.primary.region,
            listed.join(", ")
        ),
        effect: "After a takeover this principal probably cannot read its tables.",
        remedy: match is_explicit {
            true => iam_remedy::denying_policies(name),
            false => iam_remedy::put_policy(name, "standby-access", &denied),
        },
    };
    checked.add(Severity::Blocker, Check::UserAccess, standby, name, texts);
}

/// Reports a principal that IAM does not know. A denied look-up is no proof.
fn check_missing(checked: &mut Checked<'_>, principal: &str, unread: &mut Unread) {
    let problem = match checked.readings.access.missing_principals.get(principal) {
        None => return unread.add(principal, "whether it exists was not read"),
        Some(Reading::Unread(error)) => return unread.add(principal, error),
        Some(Reading::Read(Some(other))) => {
            format!("the principal does not exist; {other} has its name")
        }
        Some(Reading::Read(None)) => "the principal does not exist".to_owned(),
    };
    add_deleted(checked, principal, &problem, &[principal.to_owned()]);
}

fn add_deleted(checked: &mut Checked<'_>, subject: &str, problem: &str, names: &[String]) {
    let region = &checked.readings.primary.region;
    let commands: Vec<String> = names
        .iter()
        .map(|name| {
            format!(
                "aws lakeformation list-permissions --region {region} --principal \
                 DataLakePrincipalIdentifier={name}"
            )
        })
        .collect();
    let texts = Texts {
        problem: format!("grants to a deleted principal: {problem}"),
        effect: "Lake Formation refuses these grants in the standby. Whoever creates a principal of the same \
                 name gets them in the primary.",
        remedy: format!(
            "{} # then aws lakeformation revoke-permissions for each; or map the principal with [[principal]]",
            commands.join("; ")
        ),
    };
    checked.add(
        Severity::Warning,
        Check::DeletedPrincipals,
        region,
        subject,
        texts,
    );
}
