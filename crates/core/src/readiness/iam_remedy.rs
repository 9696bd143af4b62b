//! The commands that give a role or user what it may not do.

use super::batch_job::shell_quoted;
use std::collections::{BTreeMap, BTreeSet};

/// The prefix of the roles that Identity Center makes of permission sets, which only it can change.
const PERMISSION_SET_ROLE: &str = "AWSReservedSSO_";

/// `role` or `user`, and the name, of an ARN.
fn kind_and_name(arn: &str) -> (&'static str, &str) {
    let kind = match arn.contains(":user/") {
        true => "user",
        false => "role",
    };
    (kind, arn.rsplit('/').next().unwrap_or(arn))
}

/// The command that allows actions on resources, by a policy of the role or user alone.
pub(super) fn put_policy(arn: &str, policy: &str, denied: &BTreeSet<(String, String)>) -> String {
    let mut by_resource: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (resource, action) in denied {
        by_resource.entry(resource).or_default().push(action);
    }
    let statements: Vec<serde_json::Value> = by_resource
        .into_iter()
        .map(|(resource, actions)| {
            let resource = resources_for(resource);
            serde_json::json!({"Effect": "Allow", "Action": actions, "Resource": resource})
        })
        .collect();
    let document = serde_json::json!({"Version": "2012-10-17", "Statement": statements});
    let document = shell_quoted(&document.to_string());
    let (kind, name) = kind_and_name(arn);
    if let Some(set) = name.strip_prefix(PERMISSION_SET_ROLE) {
        return format!(
            "IAM Identity Center makes this role: allow it in the permission set, whose name begins {set}, with \
             aws sso-admin put-inline-policy-to-permission-set --inline-policy {document}"
        );
    }
    format!(
        "aws iam put-{kind}-policy --{kind}-name {name} --policy-name twinlake-{policy} --policy-document {document}"
    )
}

/// The resources that a simulated one stands for: the location of an S3 object, every table of a database
/// with what its read needs, every workgroup.
fn resources_for(simulated: &str) -> Vec<String> {
    if let Some((glue, table)) = simulated.split_once(":table/") {
        let database = match table.split_once('/') {
            None | Some(("any", _)) => "*",
            Some((database, _)) => database,
        };
        return vec![
            format!("{glue}:catalog"),
            format!("{glue}:database/{database}"),
            format!("{glue}:table/{database}/*"),
        ];
    }
    let resource = match (
        simulated.strip_suffix("/object"),
        simulated.split_once(":workgroup/"),
    ) {
        (Some(location), _) => format!("{location}/*"),
        (None, Some((athena, _))) => format!("{athena}:workgroup/*"),
        (None, None) => simulated.to_owned(),
    };
    vec![resource]
}

/// The commands that show the policies of which a statement denies.
pub(super) fn denying_policies(arn: &str) -> String {
    let (kind, name) = kind_and_name(arn);
    format!(
        "aws iam list-{kind}-policies --{kind}-name {name}; aws iam list-attached-{kind}-policies \
         --{kind}-name {name}; aws iam get-{kind} --{kind}-name {name} # remove the Deny, or widen the \
         boundary"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(arn: &str) -> String {
        let denied = [
            ("arn:aws:s3:::lake/raw/object", "s3:GetObject"),
            ("*", "a:B"),
        ];
        let denied = denied.map(|(resource, action)| (resource.to_owned(), action.to_owned()));
        put_policy(arn, "access", &BTreeSet::from(denied))
    }

    #[test]
    fn the_command_names_the_kind_and_the_whole_location() {
        let user = remedy("arn:aws:iam::111122223333:user/team/u");
        assert!(
            user.starts_with(
                "aws iam put-user-policy --user-name u --policy-name twinlake-access "
            )
        );
        assert!(
            user.contains("\"arn:aws:s3:::lake/raw/*\"") && user.contains("\"*\""),
            "{user}"
        );
        assert!(
            denying_policies("arn:aws:iam::1:user/u").contains("list-user-policies --user-name u")
        );
    }

    #[test]
    fn a_table_and_a_workgroup_stand_for_those_of_the_region() {
        assert_eq!(
            resources_for("arn:aws:glue:r:1:table/sales/object"),
            [
                "arn:aws:glue:r:1:catalog",
                "arn:aws:glue:r:1:database/sales",
                "arn:aws:glue:r:1:table/sales/*",
            ]
        );
        assert_eq!(
            resources_for("arn:aws:glue:r:1:table/any/any")
                .last()
                .map(String::as_str),
            Some("arn:aws:glue:r:1:table/*/*")
        );
        let workgroup = resources_for("arn:aws:athena:r:1:workgroup/primary");
        assert_eq!(workgroup, ["arn:aws:athena:r:1:workgroup/*"]);
    }

    #[test]
    fn a_role_of_a_permission_set_is_changed_there() {
        let role = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Analyst_0123";
        assert!(remedy(role).contains("put-inline-policy-to-permission-set"));
    }
}
