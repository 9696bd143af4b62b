//! Trust policies and key policies: whom they name. Conditions are not evaluated.
//!
//! Source: IAM user guide, `reference_policies_grammar`; KMS developer guide,
//! `key-policy-default`, "Allows access to the AWS account and enables IAM policies".

use crate::arn::Arn;
use serde_json::Value;

/// A policy that is attached to a resource: the trust policy of a role, or the policy of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDocument {
    statements: Vec<Value>,
}

/// How a key policy decides about a principal of the key's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyAccess {
    /// A statement names the principal, or everybody.
    Named,
    /// It lets the policies of IAM decide.
    Delegated,
    /// No statement allows it.
    NotAllowed,
    /// A statement without a condition denies it.
    Denied,
}

impl PolicyDocument {
    /// Parses the JSON text of a policy.
    ///
    /// # Errors
    /// The text is no JSON object with statements.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(text)
            .map_err(|error| format!("the policy is no JSON: {error}"))?;
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.clone(),
            Some(statement @ Value::Object(_)) => vec![statement.clone()],
            Some(_) | None => return Err("the policy has no statements".to_owned()),
        };
        Ok(Self { statements })
    }

    /// Whether a statement lets a service assume the role, and none denies it.
    #[must_use]
    pub fn lets_assume(&self, service: &str) -> bool {
        let of = |effect| {
            self.statements.iter().any(|statement| {
                let names = principals(statement, "Service").any(|named| named == service);
                has_effect(statement, effect)
                    && (names || is_for_everybody(statement))
                    && concerns(statement, "sts:AssumeRole")
            })
        };
        of("Allow") && !of("Deny")
    }

    /// How the policy of a key decides whether a role or user of `account` may make a call.
    pub(super) fn key_access(&self, principal: &str, account: &str, action: &str) -> KeyAccess {
        let names = |statement: &Value| {
            is_for_everybody(statement)
                || principals(statement, "AWS").any(|named| named == principal)
        };
        let is_account = |named: &str| {
            let is_root = |arn: Arn<'_>| arn.account == account && arn.resource == "root";
            named == account || Arn::parse(named).is_some_and(is_root)
        };
        let delegates = |statement: &Value| principals(statement, "AWS").any(is_account);
        let concerned = || {
            let statements = self.statements.iter();
            statements.filter(|statement| concerns(statement, action))
        };
        let is_denied = |statement: &Value| {
            has_effect(statement, "Deny")
                && statement.get("Condition").is_none()
                && (names(statement) || delegates(statement))
        };
        let allowed = || concerned().filter(|statement| has_effect(statement, "Allow"));
        if concerned().any(is_denied) {
            KeyAccess::Denied
        } else if allowed().any(names) {
            KeyAccess::Named
        } else if allowed().any(delegates) {
            KeyAccess::Delegated
        } else {
            KeyAccess::NotAllowed
        }
    }
}

fn has_effect(statement: &Value, effect: &str) -> bool {
    statement.get("Effect").and_then(Value::as_str) == Some(effect)
}

/// The texts of a field that holds one text or a list.
fn texts(field: Option<&Value>) -> impl Iterator<Item = &str> {
    let one = field.and_then(Value::as_str);
    let many = field.and_then(Value::as_array);
    let many = many.into_iter().flatten().filter_map(Value::as_str);
    one.into_iter().chain(many)
}

fn principals<'a>(statement: &'a Value, kind: &str) -> impl Iterator<Item = &'a str> {
    let principal = statement.get("Principal");
    texts(principal.and_then(|principal| principal.get(kind)))
}

/// Whether a statement is for everybody: `"Principal": "*"`, `{"AWS": "*"}`, or a `NotPrincipal`, which is
/// for everybody but some.
fn is_for_everybody(statement: &Value) -> bool {
    let is_star = statement.get("Principal").and_then(Value::as_str) == Some("*");
    is_star
        || principals(statement, "AWS").any(|named| named == "*")
        || statement.get("NotPrincipal").is_some()
}

/// Whether a statement is about a call, by `Action` or `NotAction`.
fn concerns(statement: &Value, action: &str) -> bool {
    let matches = |pattern: &str| matches_action(pattern, action);
    match statement.get("NotAction") {
        Some(excluded) => !texts(Some(excluded)).any(matches),
        None => texts(statement.get("Action")).any(matches),
    }
}

/// Whether a pattern of an action, in which `*` and `?` stand for any text and any character, matches. IAM
/// ignores the case.
fn matches_action(pattern: &str, action: &str) -> bool {
    let pattern = globset::GlobBuilder::new(pattern)
        .case_insensitive(true)
        .build();
    pattern.is_ok_and(|glob| glob.compile_matcher().is_match(action))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ROLE: &str = "arn:aws:iam::111122223333:role/replication";
    const ACCOUNT: &str = "111122223333";

    fn document(statements: Value) -> PolicyDocument {
        PolicyDocument::parse(&json!({ "Statement": statements }).to_string()).unwrap()
    }

    fn access(statements: Value) -> KeyAccess {
        document(statements).key_access(ROLE, ACCOUNT, "kms:Decrypt")
    }

    #[test]
    fn a_key_policy_names_delegates_or_denies() {
        let allow = |principal: Value, action: Value| json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"});
        let root = json!({"AWS": "arn:aws:iam::111122223333:root"});
        assert_eq!(
            access(json!([allow(root.clone(), json!("kms:*"))])),
            KeyAccess::Delegated
        );
        assert_eq!(
            access(json!([allow(json!({"AWS": [ACCOUNT]}), json!("kms:*"))])),
            KeyAccess::Delegated
        );
        assert_eq!(
            access(json!([allow(root.clone(), json!(["kms:Describe*"]))])),
            KeyAccess::NotAllowed
        );
        let other = json!({"AWS": "arn:aws:iam::999988887777:root"});
        assert_eq!(
            access(json!([allow(other, json!("kms:*"))])),
            KeyAccess::NotAllowed
        );
        let role = json!({"AWS": [ROLE]});
        assert_eq!(
            access(json!([allow(role.clone(), json!(["KMS:De*"]))])),
            KeyAccess::Named
        );
        assert_eq!(
            access(json!(allow(json!("*"), json!("kms:decrypt")))),
            KeyAccess::Named
        );
        let service = json!({"Service": "s3.amazonaws.com"});
        assert_eq!(
            access(json!([allow(service, json!("kms:*"))])),
            KeyAccess::NotAllowed
        );
        let mut deny = allow(role, json!("kms:*"));
        deny["Effect"] = json!("Deny");
        assert_eq!(
            access(json!([allow(root.clone(), json!("kms:*")), deny.clone()])),
            KeyAccess::Denied
        );
        deny["Condition"] = json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}});
        assert_eq!(
            access(json!([allow(root, json!("kms:*")), deny])),
            KeyAccess::Delegated
        );
        let but =
            json!({"Effect": "Allow", "Principal": {"AWS": ROLE}, "NotAction": "kms:Decrypt"});
        assert_eq!(access(json!([but])), KeyAccess::NotAllowed);
    }

    #[test]
    fn a_trust_policy_lets_a_service_assume_the_role() {
        let trust = |service: &str, action: &str| {
            document(
                json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": action}),
            )
        };
        assert!(trust("s3.amazonaws.com", "sts:AssumeRole").lets_assume("s3.amazonaws.com"));
        assert!(!trust("ec2.amazonaws.com", "sts:AssumeRole").lets_assume("s3.amazonaws.com"));
        assert!(!trust("s3.amazonaws.com", "sts:TagSession").lets_assume("s3.amazonaws.com"));
        let denied = document(json!([
            {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sts:*"},
            {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole"},
        ]));
        assert!(!denied.lets_assume("s3.amazonaws.com"));
    }

    #[test]
    fn a_text_that_is_no_policy_is_an_error() {
        assert!(PolicyDocument::parse("").is_err());
        assert!(PolicyDocument::parse("{}").is_err());
        assert!(PolicyDocument::parse("{\"Statement\": []}").is_ok());
    }
}
