//! Faults of IAM: each is found by its own line, and what cannot be read is unknown.

use super::super::*;
use super::sound_access::*;
use super::sound_pair::*;
use super::told;
use crate::grant::{ListedPermission, ListedResource, Principal};
use crate::name::{Name, TableId};
use std::collections::BTreeSet;

/// Changes the result of the simulated calls that a function chooses.
fn answer(
    readings: &mut ReadinessReadings,
    is_chosen: impl Fn(&SimulatedCall) -> bool,
    result: impl Fn(&SimulatedCall) -> Reading<Option<Decisions>>,
) {
    for (call, reading) in &mut readings.access.simulations {
        if is_chosen(call) {
            *reading = result(call);
        }
    }
}

const DENY: SimulatedDecision = SimulatedDecision::ImplicitDeny;

const A: &str = "us-east-1";
const B: &str = "ap-south-1";

#[test]
fn a_role_that_is_gone_or_that_s3_may_not_assume_stops_both_directions() {
    use ReadinessCheck::ReplicationRole as Role;
    use ReadinessSeverity::{Blocker, Unknown, Warning};
    let of_role = |reading| {
        findings(|r| {
            r.access.roles.insert(REPLICATION_ROLE.to_owned(), reading);
        })
    };
    let gone = of_role(Reading::Read(None));
    assert_eq!(told(&gone), [(Role, Blocker, A), (Role, Warning, B)]);
    assert!(
        gone[0]
            .remedy
            .starts_with("aws iam create-role --role-name replication ")
    );
    let untrusted = of_role(Reading::Read(Some(delegating_policy())));
    assert_eq!(told(&untrusted), [(Role, Blocker, A), (Role, Warning, B)]);
    assert!(
        untrusted[0]
            .remedy
            .starts_with("aws iam update-assume-role-policy")
    );
    let denied = of_role(Reading::Unread("AccessDenied".to_owned()));
    assert_eq!(told(&denied), [(Role, Unknown, B), (Role, Unknown, A)]);
    let unread = findings(|r| r.access.roles.clear());
    assert_eq!(told(&unread), [(Role, Unknown, B), (Role, Unknown, A)]);
}

#[test]
fn an_action_that_the_role_may_not_do_is_named_with_the_policy_that_allows_it() {
    let found = findings(|r| {
        let is_delete = |call: &SimulatedCall| {
            call.actions.contains("s3:ReplicateDelete") && call.resource.contains("lake-b")
        };
        answer(r, is_delete, |call| {
            let mut decisions: Decisions = call
                .actions
                .iter()
                .map(|a| (a.clone(), SimulatedDecision::Allowed))
                .collect();
            decisions.insert("s3:ReplicateDelete".to_owned(), DENY);
            Reading::Read(Some(decisions))
        });
    });
    assert_eq!(
        told(&found),
        [(
            ReadinessCheck::ReplicationRole,
            ReadinessSeverity::Blocker,
            A
        )]
    );
    assert_eq!(
        found[0].problem,
        "by simulation, its policies do not allow: s3:ReplicateDelete on arn:aws:s3:::lake-b/sales/object"
    );
    assert_eq!(
        found[0].remedy,
        "aws iam put-role-policy --role-name replication --policy-name twinlake-s3-replication \
         --policy-document '{\"Statement\":[{\"Action\":[\"s3:ReplicateDelete\"],\"Effect\":\"Allow\",\
         \"Resource\":[\"arn:aws:s3:::lake-b/sales/*\"]}],\"Version\":\"2012-10-17\"}'"
    );
}

#[test]
fn each_action_of_the_role_is_needed_in_each_direction() {
    let mut expected = BTreeSet::new();
    for (source, destination, key, replica_key) in [
        ("lake-a", "lake-b", KEY_A, KEY_B),
        ("lake-b", "lake-a", KEY_B, KEY_A),
    ] {
        let bucket = format!("arn:aws:s3:::{source}");
        let object = format!("{bucket}/sales/object");
        let replica = format!("arn:aws:s3:::{destination}/sales/object");
        for (action, resource) in [
            ("s3:GetReplicationConfiguration", bucket.as_str()),
            ("s3:ListBucket", &bucket),
            ("s3:GetObjectVersionForReplication", &object),
            ("s3:GetObjectVersionAcl", &object),
            ("s3:GetObjectVersionTagging", &object),
            ("s3:ReplicateObject", &replica),
            ("s3:ReplicateDelete", &replica),
            ("s3:ReplicateTags", &replica),
            ("kms:Decrypt", key),
            ("kms:Encrypt", replica_key),
        ] {
            expected.insert((action.to_owned(), resource.to_owned()));
        }
    }
    let calls = replication_calls(&sound(), &Policy::parse(POLICY).unwrap(), Epoch::INITIAL);
    let asked = calls.iter().flat_map(|call| {
        let actions = call.actions.iter();
        actions.map(|action| (action.clone(), call.resource.clone()))
    });
    assert_eq!(asked.collect::<BTreeSet<_>>(), expected);
    let via: BTreeSet<_> = calls
        .iter()
        .filter_map(|call| {
            Some((
                call.resource.as_str(),
                call.context.get("kms:ViaService")?.as_str(),
            ))
        })
        .collect();
    let via_s3 = [
        (KEY_B, "s3.ap-south-1.amazonaws.com"),
        (KEY_A, "s3.us-east-1.amazonaws.com"),
    ];
    assert_eq!(via, BTreeSet::from(via_s3));
}

#[test]
fn without_delete_markers_the_role_need_not_delete() {
    let mut readings = sound();
    first_rule(&mut readings.primary).replicates_delete_markers = false;
    let policy = Policy::parse(POLICY).unwrap();
    let calls = replication_calls(&readings, &policy, Epoch::INITIAL);
    let deletes = calls
        .iter()
        .filter(|call| call.actions.contains("s3:ReplicateDelete"));
    assert_eq!(deletes.count(), 1);
}

#[test]
fn a_key_is_denied_only_if_no_encryption_context_is_allowed() {
    let with_context = |context: &'static str| {
        move |call: &SimulatedCall| {
            let named = call.context.get("kms:EncryptionContext:aws:s3:arn");
            call.resource == KEY_B && named.is_some_and(|named| named == context)
        }
    };
    let bucket = "arn:aws:s3:::lake-b";
    assert_eq!(findings(|r| answer(r, with_context(bucket), all(DENY))), []);
    let found = findings(|r| {
        answer(r, |call| call.resource == KEY_B, all(DENY));
    });
    use ReadinessCheck::ReplicationRole as Role;
    assert_eq!(
        told(&found),
        [
            (Role, ReadinessSeverity::Blocker, A),
            (Role, ReadinessSeverity::Warning, B)
        ]
    );
    assert!(
        found[0]
            .problem
            .ends_with(&format!("kms:Encrypt on {KEY_B}")),
        "{found:#?}"
    );
    assert!(
        found[1]
            .problem
            .ends_with(&format!("kms:Decrypt on {KEY_B}")),
        "{found:#?}"
    );
    // Only one context is known: whether the other one is allowed is unknown.
    let unknown = findings(|r| {
        answer(r, |call| call.resource == KEY_B, all(DENY));
        answer(r, with_context(bucket), |_| {
            Reading::Unread("Throttling".to_owned())
        });
    });
    assert_eq!(
        told(&unknown),
        [
            (Role, ReadinessSeverity::Unknown, B),
            (Role, ReadinessSeverity::Unknown, A)
        ]
    );
}

#[test]
fn the_policy_of_a_key_decides_before_those_of_iam() {
    use ReadinessCheck::{KeyPolicy, ReplicationRole};
    use ReadinessSeverity::{Blocker, Unknown, Warning};
    let with_policy = |policy: Reading<PolicyDocument>, decision| {
        findings(|r| {
            if let Some(Reading::Read(key)) = r.standby.keys.get_mut(KEY_B) {
                key.policy = policy;
            }
            answer(r, |call| call.resource == KEY_B, all(decision));
        })
    };
    let named = document(&format!(
        r#"{{"Statement": {{"Effect": "Allow", "Principal": {{"AWS": "{REPLICATION_ROLE}"}}, "Action": "kms:*"}}}}"#
    ));
    assert_eq!(with_policy(Reading::Read(named.clone()), DENY), []);
    let explicit = with_policy(Reading::Read(named), SimulatedDecision::ExplicitDeny);
    assert_eq!(
        told(&explicit),
        [(ReplicationRole, Blocker, A), (ReplicationRole, Warning, B)]
    );
    assert!(
        explicit[0]
            .remedy
            .contains("list-role-policies --role-name replication")
    );
    let other = document(
        r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:role/x"}, "Action": "kms:*"}]}"#,
    );
    let found = with_policy(Reading::Read(other), SimulatedDecision::Allowed);
    assert_eq!(
        told(&found),
        [(KeyPolicy, Blocker, B), (KeyPolicy, Warning, B)]
    );
    assert!(
        found[0]
            .remedy
            .contains(&format!("put-key-policy --region {B} --key-id {KEY_B}"))
    );
    let denied = with_policy(
        Reading::Unread("AccessDenied".to_owned()),
        SimulatedDecision::Allowed,
    );
    assert_eq!(told(&denied), [(KeyPolicy, Unknown, B)]);
}

#[test]
fn simulations_that_were_denied_or_not_made_are_told() {
    use ReadinessSeverity::{Note, Unknown};
    let of_s3 = |call: &SimulatedCall| call.resource.ends_with("lake-a/sales/object");
    let denied = findings(|r| answer(r, of_s3, |_| Reading::Unread("AccessDenied".to_owned())));
    let role = ReadinessCheck::ReplicationRole;
    assert_eq!(told(&denied), [(role, Unknown, B), (role, Unknown, A)]);
    let unmade = findings(|r| r.access.simulations.retain(|call, _| !of_s3(call)));
    assert_eq!(told(&unmade), [(role, Note, B), (role, Note, A)]);
}

/// Whether a call is the analyst's, with this action, in a Region.
fn of_analyst<'a>(action: &'a str, region: &'a str) -> impl Fn(&SimulatedCall) -> bool + 'a {
    move |call| {
        call.principal == ANALYST
            && call.actions.contains(action)
            && call
                .context
                .get("aws:RequestedRegion")
                .is_some_and(|named| named == region)
    }
}

#[test]
fn a_principal_that_may_read_in_the_primary_alone_is_found() {
    for action in [
        "glue:GetTable",
        "lakeformation:GetDataAccess",
        "athena:StartQueryExecution",
    ] {
        let found = findings(|r| answer(r, of_analyst(action, B), all(DENY)));
        assert_eq!(
            told(&found),
            [(ReadinessCheck::UserAccess, ReadinessSeverity::Blocker, B)]
        );
        assert_eq!(found[0].subject, ANALYST);
        assert!(found[0].problem.ends_with(action), "{found:#?}");
        assert!(
            found[0]
                .remedy
                .starts_with("aws iam put-role-policy --role-name analyst ")
        );
        // What both Regions deny is no difference.
        let both = findings(|r| {
            answer(r, of_analyst(action, B), all(DENY));
            answer(r, of_analyst(action, A), all(DENY));
        });
        assert_eq!(both, []);
    }
    let explicit = findings(|r| {
        answer(
            r,
            of_analyst("glue:GetTable", B),
            all(SimulatedDecision::ExplicitDeny),
        );
    });
    assert!(
        explicit[0].remedy.contains("remove the Deny"),
        "{explicit:#?}"
    );
}

#[test]
fn what_is_not_known_of_principals_is_one_line() {
    use ReadinessSeverity::{Note, Unknown};
    let user = ReadinessCheck::UserAccess;
    let denied = || Reading::Unread("AccessDenied".to_owned());
    let found = findings(|r| answer(r, |call| call.principal == ANALYST, |_| denied()));
    assert_eq!(told(&found), [(user, Unknown, B)]);
    assert!(
        found[0].problem.contains("1 principal: arn:aws:iam"),
        "{found:#?}"
    );
    let compared = findings(|r| {
        answer(r, of_analyst("glue:GetTable", B), all(DENY));
        answer(r, of_analyst("glue:GetTable", A), |_| denied());
    });
    assert_eq!(told(&compared), [(user, Unknown, B)]);
    let unmade = findings(|r| {
        r.access
            .simulations
            .retain(|call, _| call.principal != ANALYST);
    });
    assert_eq!(told(&unmade), [(user, Unknown, B)]);
    let grants = findings(|r| r.access.principals = Reading::Unread("AccessDenied".to_owned()));
    assert_eq!(told(&grants), [(user, Unknown, A)]);
    let many = findings(|r| granted(r).unchecked = 7);
    assert_eq!(told(&many), [(user, Note, B)]);
}

fn granted(readings: &mut ReadinessReadings) -> &mut GrantedPrincipals {
    match &mut readings.access.principals {
        Reading::Read(granted) => granted,
        Reading::Unread(_) => panic!("the grants are read"),
    }
}

#[test]
fn a_grant_to_nobody_is_found_and_a_denied_look_up_is_no_proof() {
    use ReadinessSeverity::{Unknown, Warning};
    let missing = |looked_up: Option<Reading<Option<String>>>| {
        findings(|r| {
            answer(r, |call| call.principal == ANALYST, |_| Reading::Read(None));
            let looked_up = looked_up.map(|reading| (ANALYST.to_owned(), reading));
            r.access.missing_principals.extend(looked_up);
        })
    };
    let gone = missing(Some(Reading::Read(None)));
    assert_eq!(
        told(&gone),
        [(ReadinessCheck::DeletedPrincipals, Warning, A)]
    );
    let other = "arn:aws:iam::111122223333:role/team/analyst";
    let moved = missing(Some(Reading::Read(Some(other.to_owned()))));
    assert_eq!(
        told(&moved),
        [(ReadinessCheck::DeletedPrincipals, Warning, A)]
    );
    assert!(moved[0].problem.contains(other));
    let user = [(ReadinessCheck::UserAccess, Unknown, B)];
    assert_eq!(
        told(&missing(Some(Reading::Unread("AccessDenied".to_owned())))),
        user
    );
    assert_eq!(told(&missing(None)), user);
    let by_id = findings(|r| {
        granted(r).deleted.insert("AROAEXAMPLE".to_owned());
    });
    assert_eq!(
        told(&by_id),
        [(ReadinessCheck::DeletedPrincipals, Warning, A)]
    );
    assert!(by_id[0].problem.contains("AROAEXAMPLE"));
}

fn grant(principal: &str, resource: ListedResource) -> ListedPermission {
    ListedPermission {
        principal: Principal(principal.to_owned()),
        resource,
        permissions: BTreeSet::from(["SELECT".to_owned()]),
        grantable: BTreeSet::new(),
        condition: None,
    }
}

#[test]
fn the_principals_of_grants_are_chosen_by_kind_and_in_a_limited_number() {
    let name = |text: &str| Name::new(text).unwrap();
    let orders = || ListedResource::Table(TableId::new(name("sales"), name("orders")));
    let policy = format!(
        "ignored-principals = [\"arn:aws:iam::111122223333:role/ignored\"]\nexclude = [\"private\"]\n{POLICY}\
         [[principal]]\na = \"{ANALYST}\"\nb = \"{ANALYST}-b\"\n"
    );
    let policy = Policy::parse(&policy).unwrap();
    let own = BTreeSet::from([Principal(ROLE.to_owned())]);
    let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
    let mut grants = vec![
        grant(ANALYST, orders()),
        grant(ANALYST, ListedResource::Database(name("sales"))),
        grant(&role("catalog"), ListedResource::Catalog),
        grant(&role("private"), ListedResource::Database(name("private"))),
        grant(&role("ignored"), orders()),
        grant(
            &role("aws-service-role/lakeformation.amazonaws.com/x"),
            orders(),
        ),
        grant(ROLE, orders()),
        grant("arn:aws:iam::999988887777:role/foreign", orders()),
        grant("arn:aws:identitystore:::group/1", orders()),
        grant("arn:aws:identitystore:::group/1", ListedResource::Catalog),
        grant("IAM_ALLOWED_PRINCIPALS", orders()),
        grant("AROAEXAMPLE", orders()),
    ];
    let found = granted_principals(&grants, &own, &policy, Epoch::INITIAL);
    let principal = |primary: &str, standby: &str, table: &str| GrantedPrincipal {
        primary: primary.to_owned(),
        standby: standby.to_owned(),
        table: table.to_owned(),
    };
    let chosen = [
        principal(ANALYST, &format!("{ANALYST}-b"), "sales/orders"),
        principal(&role("catalog"), &role("catalog"), "any/any"),
    ];
    assert_eq!(found.chosen, chosen);
    assert_eq!(found.unchecked, 0);
    assert_eq!(found.deleted, BTreeSet::from(["AROAEXAMPLE".to_owned()]));
    assert_eq!(found.identity_center, 1);

    grants.extend((0..1000).map(|number| grant(&role(&format!("r{number:04}")), orders())));
    let found = granted_principals(&grants, &own, &policy, Epoch::INITIAL);
    assert!(
        found.chosen.len() <= 50 && found.chosen.len() > 40,
        "{}",
        found.chosen.len()
    );
    assert_eq!(found.chosen.len() + found.unchecked, 1002);
}

#[test]
fn calls_of_the_primary_are_simulated_only_to_compare() {
    let mut readings = sound();
    let policy = Policy::parse(POLICY).unwrap();
    answer(&mut readings, of_analyst("glue:GetTable", B), all(DENY));
    let analyst = granted(&mut readings).chosen[0].clone();
    let compared = calls_to_compare(
        &analyst,
        &readings.access.simulations,
        &policy,
        Epoch::INITIAL,
    );
    let resources: Vec<&str> = compared.iter().map(|call| call.resource.as_str()).collect();
    assert_eq!(
        resources,
        ["arn:aws:glue:us-east-1:111122223333:table/sales/orders"]
    );
}
