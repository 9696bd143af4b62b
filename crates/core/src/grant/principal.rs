//! Principals of grants.

use super::IAM_ALLOWED_PRINCIPALS;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// The principal of a grant, as Lake Formation spells it. IAM is global, so an IAM principal is
/// the same in both Regions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(pub String);

/// The kinds of principals (LF-21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrincipalKind {
    /// An IAM user or role, of this account or another.
    Iam,
    /// A user or group of a SAML provider.
    Saml,
    /// A user or group of IAM Identity Center.
    IdentityCenter,
    /// A QuickSight user or group. The Region in its ARN is that of the identity, so it does not
    /// change between Regions.
    QuickSight,
    /// An account.
    Account,
    /// An organization or an organizational unit.
    Organization,
    /// `IAM_ALLOWED_PRINCIPALS`.
    IamAllowed,
    /// `<account>:IAMPrincipals`: every IAM principal of an account.
    IamPrincipals,
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

impl Principal {
    /// The group `IAM_ALLOWED_PRINCIPALS`.
    #[must_use]
    pub fn iam_allowed() -> Self {
        Self(IAM_ALLOWED_PRINCIPALS.to_owned())
    }

    /// The kind of the principal. `None` if the text has no known form, such as the unique id that
    /// replaces the ARN of a deleted principal.
    #[must_use]
    pub fn kind(&self) -> Option<PrincipalKind> {
        if self.0 == IAM_ALLOWED_PRINCIPALS {
            return Some(PrincipalKind::IamAllowed);
        }
        if is_account(&self.0) {
            return Some(PrincipalKind::Account);
        }
        if let Some(account) = self.0.strip_suffix(":IAMPrincipals") {
            return is_account(account).then_some(PrincipalKind::IamPrincipals);
        }
        let parts: Vec<&str> = self.0.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, rest] = parts.as_slice() else {
            return None;
        };
        if !partition.starts_with("aws") {
            return None;
        }
        let starts_with =
            |prefixes: &[&str]| prefixes.iter().any(|prefix| rest.starts_with(prefix));
        match *service {
            "iam" if region.is_empty() && is_account(account) => {
                if starts_with(&["user/", "role/"]) {
                    Some(PrincipalKind::Iam)
                } else {
                    let saml = starts_with(&["saml-provider/"])
                        && (rest.contains(":user/") || rest.contains(":group/"));
                    saml.then_some(PrincipalKind::Saml)
                }
            }
            "identitystore" if starts_with(&["user/", "group/"]) => {
                Some(PrincipalKind::IdentityCenter)
            }
            "quicksight" if starts_with(&["user/", "group/"]) => Some(PrincipalKind::QuickSight),
            "organizations" if starts_with(&["organization/", "ou/"]) => {
                Some(PrincipalKind::Organization)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Principals, each named by its text, or by a prefix with `*` at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrincipalPatterns(Vec<String>);

impl PrincipalPatterns {
    /// Creates the list from principals and prefixes.
    #[must_use]
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self(texts.into_iter().collect())
    }

    /// The principals and prefixes, as given.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.0
    }

    /// Whether the list names a principal. `*` alone names none.
    #[must_use]
    pub fn contains(&self, principal: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => !prefix.is_empty() && principal.starts_with(prefix),
            None => principal == pattern,
        };
        self.0.iter().any(matches)
    }
}

/// Twinlake's own roles, in both Regions.
///
/// Their calls are ignored. None of their grants is compared: they hold permissions as
/// administrators and as the creators of objects (LF-06). Prefixes cover every role below a path,
/// so that a stack also recognizes the roles of the peer's stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRoles {
    patterns: PrincipalPatterns,
    writers: BTreeSet<Principal>,
}

impl OwnRoles {
    /// Creates the list from ARNs and prefixes.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self {
            patterns: PrincipalPatterns::new(patterns),
            writers: BTreeSet::new(),
        }
    }

    /// Sets the roles that write the standby's catalog. Each receives ALL on every database that
    /// Twinlake manages, and on its tables.
    #[must_use]
    pub fn with_writers(self, writers: impl IntoIterator<Item = String>) -> Self {
        Self {
            writers: writers.into_iter().map(Principal).collect(),
            ..self
        }
    }

    /// The roles that write the standby's catalog.
    #[must_use]
    pub fn writers(&self) -> &BTreeSet<Principal> {
        &self.writers
    }

    /// Whether an ARN is one of these roles.
    #[must_use]
    pub fn contains(&self, arn: &str) -> bool {
        self.patterns.contains(arn) || self.writers.iter().any(|writer| writer.0 == arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_principal_is_recognized_and_nothing_else() {
        use PrincipalKind::{
            Account, Iam, IamAllowed, IamPrincipals, IdentityCenter, Organization, QuickSight, Saml,
        };
        let known = [
            (IAM_ALLOWED_PRINCIPALS, IamAllowed),
            ("arn:aws:iam::111122223333:role/team/Analyst", Iam),
            ("arn:aws-us-gov:iam::444455556666:user/ann", Iam),
            ("arn:aws:iam::111122223333:saml-provider/P:user/N", Saml),
            ("arn:aws:iam::111122223333:saml-provider/P:group/N", Saml),
            (
                "arn:aws:quicksight:us-east-1:111122223333:user/default/N",
                QuickSight,
            ),
            ("arn:aws:identitystore:::group/0000-1", IdentityCenter),
            ("111122223333:IAMPrincipals", IamPrincipals),
            ("444455556666", Account),
            (
                "arn:aws:organizations::111122223333:organization/o-1",
                Organization,
            ),
            (
                "arn:aws:organizations::111122223333:ou/o-1/ou-2",
                Organization,
            ),
        ];
        for (text, kind) in known {
            assert_eq!(Principal(text.to_owned()).kind(), Some(kind), "{text}");
        }
        let unknown = [
            "",
            "AROAEXAMPLEID",
            "11112222333",
            "x:IAMPrincipals",
            "arn:aws:iam::111122223333:root",
            "arn:aws:iam::111122223333:saml-provider/P",
            "arn:aws:s3:::bucket",
            "arn:aws:iam:us-east-1:111122223333:role/R",
        ];
        for text in unknown {
            assert_eq!(Principal(text.to_owned()).kind(), None, "{text}");
        }
    }

    #[test]
    fn own_roles_match_by_arn_or_by_path() {
        let own_roles = OwnRoles::new([
            "arn:aws:iam::1:role/one".to_owned(),
            "arn:aws:iam::1:role/twinlake/*".to_owned(),
            "*".to_owned(),
        ]);
        assert!(own_roles.contains("arn:aws:iam::1:role/one"));
        assert!(own_roles.contains("arn:aws:iam::1:role/twinlake/resync"));
        assert!(!own_roles.contains("arn:aws:iam::1:role/one-more"));
        assert!(
            !own_roles.contains("arn:aws:iam::1:role/other"),
            "a bare star matches no role"
        );
    }
}
