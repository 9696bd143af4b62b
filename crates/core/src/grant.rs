//! Lake Formation grants in one normal form: [`PermissionGrant`].
//!
//! Lake Formation lists one grant in several shapes (LF-01, LF-02, LF-17), and grants have no
//! id (LF-09). So listed permissions are split into grants of one permission on one resource to
//! one principal under one condition, and only these are compared:
//!
//! | listed permission | grants |
//! |---|---|
//! | SELECT on `TableWithColumns` + `ColumnWildcard` without exclusions | SELECT on the table |
//! | the same with the table name `ALL_TABLES`, or `TableWildcard` | on all tables of the database |
//! | a list of n column names | n grants, one for each column |
//! | `ColumnWildcard` with exclusions | one grant: all columns except that set |
//! | an LF-Tag with n values | n grants, one for each value |
//! | an entry with n permissions | n grants, each with its own grant option |
//! | a data location as `s3://b/p/` or `arn:aws:s3:::b/p` | `arn:aws:s3:::b/p` (LF-27) |

mod entry;
mod grant_mapping;
mod permission;
mod principal;
mod resource;

pub use entry::{
    ListedColumns, ListedPermission, ListedResource, listed_table_resource, normalize,
    to_batch_entries,
};
pub use grant_mapping::GrantMapping;
pub use permission::Permission;
pub use principal::{OwnRoles, Principal, PrincipalKind, PrincipalPatterns};
pub use resource::{LfTagExpression, LfTagPolicy, LfTagPolicyTarget, Resource};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The group of all principals that IAM policies allow access.
pub const IAM_ALLOWED_PRINCIPALS: &str = "IAM_ALLOWED_PRINCIPALS";

/// The table name under which Lake Formation lists a table wildcard (LF-02).
pub const ALL_TABLES: &str = "ALL_TABLES";

/// One permission of one principal on one resource: the unit in which grants are compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PermissionGrant {
    /// The principal that holds the permission.
    pub principal: Principal,
    /// The resource that the permission is on.
    pub resource: Resource,
    /// The permission.
    pub permission: Permission,
    /// A Cedar condition. Grants that differ only in it are different grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

impl PermissionGrant {
    /// The order in which grants are created: first grants on columns, then grants on whole
    /// resources (Lake Formation rejects a column grant beside a table grant, LF-16), and grants
    /// to `IAM_ALLOWED_PRINCIPALS` last (beside them a column grant covers every column, LF-14).
    #[must_use]
    pub fn grant_order(&self) -> u8 {
        match (
            self.principal.0 == IAM_ALLOWED_PRINCIPALS,
            self.is_on_part_of_table(),
        ) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        }
    }

    /// Whether the grant is on some columns or rows of a table, not on the whole table.
    #[must_use]
    pub fn is_on_part_of_table(&self) -> bool {
        match self.resource {
            Resource::Column(..) | Resource::ColumnsExcept(..) | Resource::DataCellsFilter(..) => {
                true
            }
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => false,
        }
    }
}

impl fmt::Display for PermissionGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} on {} to {}",
            self.permission, self.resource, self.principal
        )?;
        match &self.condition {
            Some(condition) => write!(f, " when {condition}"),
            None => Ok(()),
        }
    }
}

/// Grants, each with whether it has the grant option.
pub type Grants = BTreeMap<PermissionGrant, bool>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Name, TableId};
    use std::collections::BTreeSet;

    const ACCOUNT: &str = "111122223333";

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn orders() -> TableId {
        TableId::new(name("sales"), name("orders"))
    }

    fn entry(
        resource: ListedResource,
        permissions: &[&str],
        grantable: &[&str],
    ) -> ListedPermission {
        ListedPermission {
            principal: Principal(format!("arn:aws:iam::{ACCOUNT}:role/Analyst")),
            resource,
            permissions: permissions.iter().map(|&p| p.to_owned()).collect(),
            grantable: grantable.iter().map(|&p| p.to_owned()).collect(),
            condition: None,
        }
    }

    #[test]
    fn the_listed_shape_of_a_grant_does_not_change_its_normal_form() {
        let whole = [entry(
            ListedResource::Table(orders()),
            &["INSERT", "SELECT"],
            &["SELECT"],
        )];
        let split = [
            entry(ListedResource::Table(orders()), &["INSERT"], &[]),
            entry(
                ListedResource::ColumnWildcard(orders(), BTreeSet::new()),
                &["SELECT"],
                &["SELECT"],
            ),
        ];
        assert_eq!(
            normalize(&whole, &GrantMapping::default()),
            normalize(&split, &GrantMapping::default())
        );
    }

    #[test]
    fn all_tables_is_a_wildcard_and_a_table_of_that_name_in_lower_case_is_a_table() {
        let all = || Some(ListedColumns::AllBut(BTreeSet::new()));
        let wildcard = ListedResource::TableWildcard(name("sales"));
        assert_eq!(
            listed_table_resource(name("sales"), "ALL_TABLES", None),
            wildcard
        );
        assert_eq!(
            listed_table_resource(name("sales"), "ALL_TABLES", all()),
            wildcard
        );
        let lower_case = TableId::new(name("sales"), name("all_tables"));
        assert_eq!(
            listed_table_resource(name("sales"), "all_tables", None),
            ListedResource::Table(lower_case.clone())
        );
        assert_eq!(
            listed_table_resource(name("sales"), "all_tables", all()),
            ListedResource::ColumnWildcard(lower_case, BTreeSet::new())
        );
    }

    #[test]
    fn a_column_wildcard_with_exclusions_differs_from_one_without() {
        let with_exclusion =
            ListedResource::ColumnWildcard(orders(), BTreeSet::from([name("ssn")]));
        let without_exclusion = ListedResource::ColumnWildcard(orders(), BTreeSet::new());
        assert_ne!(
            normalize(
                &[entry(with_exclusion, &["SELECT"], &[])],
                &GrantMapping::default()
            ),
            normalize(
                &[entry(without_exclusion, &["SELECT"], &[])],
                &GrantMapping::default()
            )
        );
    }

    #[test]
    fn unsupported_permissions_are_counted_by_kind() {
        let mut deleted = entry(ListedResource::Table(orders()), &["SELECT"], &[]);
        deleted.principal = Principal("AROAEXAMPLEID".to_owned());
        let listed = [
            deleted,
            entry(ListedResource::Other("RLSPolicy".to_owned()), &["ALL"], &[]),
            entry(ListedResource::Table(orders()), &["SUPER_USER"], &[]),
            entry(
                ListedResource::DataLocation("s3://elsewhere".to_owned()),
                &["DATA_LOCATION_ACCESS"],
                &[],
            ),
        ];
        let (grants, unsupported) = normalize(&listed, &GrantMapping::default());
        assert!(grants.is_empty());
        let kinds: Vec<&String> = unsupported.keys().collect();
        assert_eq!(
            kinds,
            [
                "grant on RLSPolicy",
                "grant on a data location that no [[location]] pair holds",
                "grant to a deleted principal, or to one of an unknown kind; revoke it",
                "permission SUPER_USER"
            ]
        );
    }

    #[test]
    fn every_kind_of_resource_survives_a_round_trip_through_batch_entries() {
        let (policy, mapping) = (policy(), GrantMapping::default());
        let values = |all: &[&str]| -> BTreeSet<String> {
            all.iter().map(|&value| value.to_owned()).collect()
        };
        let expression = LfTagExpression::from([("team".to_owned(), values(&["a", "b"]))]);
        let listed = [
            entry(ListedResource::Catalog, &["CREATE_DATABASE"], &[]),
            entry(
                ListedResource::DataCellsFilter(orders(), "Eu".to_owned()),
                &["SELECT"],
                &[],
            ),
            entry(
                ListedResource::LfTag("team".to_owned(), values(&["a", "b"])),
                &["ASSOCIATE", "DESCRIBE"],
                &["DESCRIBE"],
            ),
            entry(
                ListedResource::LfTagPolicy(
                    LfTagPolicyTarget::Table,
                    LfTagPolicy::Expression(expression),
                ),
                &["SELECT"],
                &["SELECT"],
            ),
            entry(
                ListedResource::LfTagPolicy(
                    LfTagPolicyTarget::Database,
                    LfTagPolicy::NamedExpression("e".to_owned()),
                ),
                &["DESCRIBE"],
                &[],
            ),
            entry(
                ListedResource::LfTagExpression("e".to_owned()),
                &["DESCRIBE"],
                &[],
            ),
        ];
        let (grants, unsupported) = normalize(&listed, &mapping);
        assert!(unsupported.is_empty(), "{unsupported:?}");
        assert_eq!(grants.len(), 9, "one grant for each value of a tag");
        let batched: Vec<ListedPermission> = to_batch_entries(&grants)
            .into_iter()
            .map(|(e, _)| e)
            .collect();
        assert_eq!(
            batched.len(),
            7,
            "values are grouped by permission and grant option"
        );
        assert_eq!(normalize(&batched, &mapping).0, grants);
        // Data locations are mapped to the standby's, whatever their spelling.
        let location = |text: &str| {
            let resource = ListedResource::DataLocation(text.to_owned());
            [entry(resource, &["DATA_LOCATION_ACCESS"], &[])]
        };
        let (primary_mapping, standby_mapping) = (
            GrantMapping::of_primary(&policy, crate::topology::Epoch::INITIAL),
            GrantMapping::of_standby(&policy, crate::topology::Epoch::INITIAL),
        );
        let mapped = normalize(&location("s3://a/t/"), &primary_mapping).0;
        assert_eq!(
            mapped,
            normalize(&location("arn:aws:s3:::b/dr/t"), &standby_mapping).0
        );
        assert!(
            normalize(&location("s3://a/t"), &standby_mapping)
                .0
                .is_empty(),
            "the standby has no pair for a location of the primary"
        );
    }

    fn policy() -> crate::Policy {
        let text = "ignored-principals = [\"arn:aws:iam::111122223333:role/local/*\"]\n\
             [[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\na = \"s3://a\"\nb = \"s3://b/dr\"\n\
             [[principal]]\na = \"arn:aws:iam::111122223333:role/A\"\n\
             b = \"arn:aws:iam::111122223333:role/B\"\n";
        crate::Policy::parse(text).unwrap()
    }

    #[test]
    fn principals_are_mapped_ignored_or_reported_as_ambiguous() {
        let listed = |role: &str| {
            let mut entry = entry(ListedResource::Table(orders()), &["SELECT"], &[]);
            entry.principal = Principal(format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
            [entry]
        };
        let (policy, epoch) = (policy(), crate::topology::Epoch::INITIAL);
        let primary_mapping = GrantMapping::of_primary(&policy, epoch);
        let standby_mapping = GrantMapping::of_standby(&policy, epoch);
        let (mapped, _) = normalize(&listed("A"), &primary_mapping);
        assert_eq!(mapped, normalize(&listed("B"), &standby_mapping).0);
        let (grants, unsupported) = normalize(&listed("B"), &primary_mapping);
        assert!(
            grants.is_empty() && unsupported.len() == 1,
            "the grants of A and B would be mixed"
        );
        for mapping in [&primary_mapping, &standby_mapping] {
            let (grants, unsupported) = normalize(&listed("local/x"), mapping);
            assert!(grants.is_empty() && unsupported.is_empty(), "ignored");
        }
    }

    #[test]
    fn administrators_are_mapped_like_the_principals_of_grants() {
        let mapping = GrantMapping::of_primary(&policy(), crate::topology::Epoch::INITIAL);
        let principal = |role: &str| Principal(format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
        let mapped = |role: &str| mapping.principal_outside_grants(&principal(role));
        assert_eq!(mapped("A"), Ok(Some(principal("B"))));
        assert_eq!(mapped("Other"), Ok(Some(principal("Other"))));
        assert_eq!(mapped("local/x"), Ok(None));
        assert!(mapped("B").is_err());
        assert!(
            mapping
                .principal_outside_grants(&Principal("AROAEXAMPLE".to_owned()))
                .is_err()
        );
    }

    #[test]
    fn grants_survive_a_round_trip_through_batch_entries() {
        let columns = BTreeSet::from([name("a"), name("b")]);
        let listed = [
            entry(
                ListedResource::Table(orders()),
                &["INSERT", "SELECT"],
                &["INSERT"],
            ),
            entry(ListedResource::Columns(orders(), columns), &["SELECT"], &[]),
        ];
        let (grants, _) = normalize(&listed, &GrantMapping::default());
        let batched: Vec<ListedPermission> = to_batch_entries(&grants)
            .into_iter()
            .map(|(e, _)| e)
            .collect();
        assert_eq!(batched.len(), 2);
        assert_eq!(normalize(&batched, &GrantMapping::default()).0, grants);
    }
}
