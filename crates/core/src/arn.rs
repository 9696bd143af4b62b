//! Amazon Resource Names.

use crate::topology::{AwsPartition, Site};
use std::fmt;

/// The parts of an ARN: `arn:partition:service:region:account:resource`.
///
/// Region and account are empty where the service has none, as in
/// `arn:aws:s3:::bucket/key`. The resource may contain colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// The partition.
    pub partition: AwsPartition,
    /// The service, as in `iam`.
    pub service: &'a str,
    /// The Region, or nothing.
    pub region: &'a str,
    /// The account, or nothing.
    pub account: &'a str,
    /// The resource.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses a text that is an ARN of a known partition.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.splitn(6, ':');
        let mut next = || fields.next();
        let (Some("arn"), Some(partition)) = (next(), next()) else {
            return None;
        };
        Some(Self {
            partition: AwsPartition::named(partition)?,
            service: next()?,
            region: next()?,
            account: next()?,
            resource: next()?,
        })
    }

    /// Whether it is the ARN of a role of an account that has this name, with its path.
    #[must_use]
    pub fn is_role(&self, account: &str, name: &str) -> bool {
        let is_of_account = self.service == "iam" && self.account == account;
        is_of_account && self.resource.strip_prefix("role/") == Some(name)
    }

    /// The role of an assumed-role session, as IAM names it: without the session. The
    /// path of the role is not part of a session's ARN and stays missing. Any other ARN
    /// stays as it is.
    #[must_use]
    pub fn without_session(self) -> String {
        let Some(session) = self.resource.strip_prefix("assumed-role/") else {
            return self.to_string();
        };
        let role = session.split('/').next().unwrap_or(session);
        let resource = format!("role/{role}");
        let resource = resource.as_str();
        let service = "iam";
        Arn {
            service,
            resource,
            ..self
        }
        .to_string()
    }
}

impl fmt::Display for Arn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            service,
            region,
            account,
            resource,
        } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

/// Replaces the Region and account of every Glue ARN of one site by those of the other.
/// All other text stays as it is, byte for byte.
///
/// The SQL text of a view may contain such ARNs.
#[must_use]
pub fn rewrite_glue_arns(text: &str, from: &Site, to: &Site) -> String {
    let source = format!(":glue:{}:{}:", from.region, from.account);
    let mut rewritten = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(&source) {
        let (head, tail) = rest.split_at(at);
        let tail = tail.get(source.len()..).unwrap_or_default();
        rewritten.push_str(head);
        match ends_with_partition(head) {
            true => rewritten.push_str(&format!(":glue:{}:{}:", to.region, to.account)),
            false => rewritten.push_str(&source),
        }
        rest = tail;
    }
    rewritten.push_str(rest);
    rewritten
}

/// Whether a text ends as an ARN begins: `arn:aws`, `arn:aws-cn`.
fn ends_with_partition(head: &str) -> bool {
    let Some(at) = head.rfind("arn:") else {
        return false;
    };
    let partition = head.get(at + "arn:".len()..).unwrap_or_default();
    AwsPartition::named(partition).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_is_parsed_and_printed_unchanged() {
        let texts = [
            "arn:aws:iam::111122223333:role/team/Analyst",
            "arn:aws-us-gov:iam::444455556666:user/ann",
            "arn:aws-cn:s3:::bucket/a:b",
            "arn:aws:glue:us-east-1:111122223333:table/a/b",
        ];
        for text in texts {
            assert_eq!(Arn::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "arn", "arn:aws:iam", "arn:azure:iam::1:role/r", "x"] {
            assert_eq!(Arn::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_session_becomes_its_role() {
        let role = |text| Arn::parse(text).unwrap().without_session();
        assert_eq!(
            role("arn:aws-cn:sts::111122223333:assumed-role/Ops/ann"),
            "arn:aws-cn:iam::111122223333:role/Ops"
        );
        let user = "arn:aws:iam::111122223333:user/ann";
        assert_eq!(role(user), user);
    }

    #[test]
    fn only_whole_glue_arns_of_the_source_site_are_rewritten() {
        let site = |region: &str| Site {
            region: region.to_owned(),
            account: "111122223333".to_owned(),
            role: None,
        };
        let (from, to) = (site("us-east-1"), site("ap-south-1"));
        let rewritten = |text: &str| rewrite_glue_arns(text, &from, &to);
        assert_eq!(
            rewritten("select * from arn:aws:glue:us-east-1:111122223333:table/a/b, x"),
            "select * from arn:aws:glue:ap-south-1:111122223333:table/a/b, x"
        );
        let unchanged = [
            "arn:aws:glue:us-east-1:999999999999:table/a/b",
            "arn:aws:glue:eu-west-1:111122223333:table/a/b",
            "x:glue:us-east-1:111122223333:y",
            "us-east-1",
        ];
        for text in unchanged {
            assert_eq!(rewritten(text), text);
        }
        let two = "arn:aws-cn:glue:us-east-1:111122223333:table/a/b";
        assert_eq!(
            rewritten(&format!("{two},{two}")),
            format!("{0},{0}", two.replace("us-east-1", "ap-south-1"))
        );
    }
}
