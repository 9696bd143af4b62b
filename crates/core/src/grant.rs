//! Lake Formation grants in one normal form: atoms.
//!
//! The service lists one grant in several shapes (LF-01, LF-02, LF-17) and gives
//! it no identity (LF-09). So what is listed is taken apart into atoms (one
//! principal, one resource, one permission, one condition), and only atoms are
//! compared:
//!
//! | listed | atoms |
//! |---|---|
//! | SELECT on `TableWithColumns` + `ColumnWildcard` without exclusions | SELECT on the table |
//! | the same with the table name `ALL_TABLES`, or `TableWildcard` | on all tables of the database |
//! | a list of n column names | n atoms, one for each column |
//! | `ColumnWildcard` with exclusions | one atom: all columns except that set |
//! | an LF-Tag with n values | n atoms, one for each value |
//! | an entry with n permissions | n atoms, each with its own grant option |
//! | a data location as `s3://b/p/` or `arn:aws:s3:::b/p` | `arn:aws:s3:::b/p` (LF-27) |

mod entry;
mod permission;
mod principal;
mod resource;
mod terms;

pub use entry::{Entry, EntryResource, ListedColumns, entries, named, normalize};
pub use permission::Permission;
pub use principal::{OwnRoles, Principal, PrincipalKind};
pub use resource::{Resource, TagExpression, TagRule, TagTarget};
pub use terms::Terms;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The group that stands for "whatever IAM allows".
pub const IAM_ALLOWED_PRINCIPALS: &str = "IAM_ALLOWED_PRINCIPALS";

/// How Lake Formation names a table wildcard when it lists it (LF-02).
pub const ALL_TABLES: &str = "ALL_TABLES";

/// One principal's one permission on one resource: the unit of comparison.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Atom {
    /// Who.
    pub principal: Principal,
    /// On what.
    pub resource: Resource,
    /// What.
    pub permission: Permission,
    /// A Cedar condition; part of the identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

impl Atom {
    /// Which turn the grant has among others: columns first, then all that is whole
    /// (beside which a column grant is refused, LF-16), and the group that stands
    /// for IAM last (beside which a column grant covers every column, LF-14).
    #[must_use]
    pub fn turn(&self) -> u8 {
        match (
            self.principal.0 == IAM_ALLOWED_PRINCIPALS,
            self.is_by_column(),
        ) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        }
    }

    /// Whether it is on some columns of a table, not on all.
    #[must_use]
    pub fn is_by_column(&self) -> bool {
        match self.resource {
            Resource::Column(..) | Resource::ColumnsExcept(..) | Resource::Filter(..) => true,
            Resource::Database(_)
            | Resource::AllTables(_)
            | Resource::Table(_)
            | Resource::Catalog
            | Resource::Location(_)
            | Resource::Tag { .. }
            | Resource::TagPolicy { .. }
            | Resource::Expression(_) => false,
        }
    }
}

impl fmt::Display for Atom {
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

/// Atoms, each with whether its holder may grant it on.
pub type Grants = BTreeMap<Atom, bool>;

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

    fn entry(resource: EntryResource, permissions: &[&str], grantable: &[&str]) -> Entry {
        Entry {
            principal: Principal(format!("arn:aws:iam::{ACCOUNT}:role/Analyst")),
            resource,
            permissions: permissions.iter().map(|&p| p.to_owned()).collect(),
            grantable: grantable.iter().map(|&p| p.to_owned()).collect(),
            condition: None,
        }
    }

    #[test]
    fn a_grant_that_is_listed_apart_is_one_set_of_atoms() {
        let whole = [entry(
            EntryResource::Table(orders()),
            &["INSERT", "SELECT"],
            &["SELECT"],
        )];
        let apart = [
            entry(EntryResource::Table(orders()), &["INSERT"], &[]),
            entry(
                EntryResource::ColumnWildcard(orders(), BTreeSet::new()),
                &["SELECT"],
                &["SELECT"],
            ),
        ];
        assert_eq!(
            normalize(&whole, &Terms::default()),
            normalize(&apart, &Terms::default())
        );
    }

    #[test]
    fn all_tables_is_a_wildcard_and_a_table_of_that_name_is_a_table() {
        let all = || Some(ListedColumns::AllBut(BTreeSet::new()));
        let wildcard = Some(EntryResource::TableWildcard(name("sales")));
        assert_eq!(named(name("sales"), "ALL_TABLES", None), wildcard);
        assert_eq!(named(name("sales"), "ALL_TABLES", all()), wildcard);
        let real = TableId::new(name("sales"), name("all_tables"));
        assert_eq!(
            named(name("sales"), "all_tables", None),
            Some(EntryResource::Table(real.clone()))
        );
        assert_eq!(
            named(name("sales"), "all_tables", all()),
            Some(EntryResource::ColumnWildcard(real, BTreeSet::new()))
        );
    }

    #[test]
    fn excluding_nothing_differs_from_excluding_something() {
        let some = EntryResource::ColumnWildcard(orders(), BTreeSet::from([name("ssn")]));
        let none = EntryResource::ColumnWildcard(orders(), BTreeSet::new());
        assert_ne!(
            normalize(&[entry(some, &["SELECT"], &[])], &Terms::default()),
            normalize(&[entry(none, &["SELECT"], &[])], &Terms::default())
        );
    }

    #[test]
    fn what_has_no_atom_is_counted_by_name() {
        let mut deleted = entry(EntryResource::Table(orders()), &["SELECT"], &[]);
        deleted.principal = Principal("AROAEXAMPLEID".to_owned());
        let listed = [
            deleted,
            entry(EntryResource::Other("RLSPolicy".to_owned()), &["ALL"], &[]),
            entry(EntryResource::Table(orders()), &["SUPER_USER"], &[]),
            entry(
                EntryResource::Location("s3://elsewhere".to_owned()),
                &["DATA_LOCATION_ACCESS"],
                &[],
            ),
        ];
        let (grants, unsupported) = normalize(&listed, &Terms::default());
        assert!(grants.is_empty());
        let kinds: Vec<&String> = unsupported.keys().collect();
        assert_eq!(
            kinds,
            [
                "grant on RLSPolicy",
                "grant on a data location that no [[location]] pair holds",
                "grant to a principal that was deleted or is of no known kind; revoke it",
                "permission SUPER_USER"
            ]
        );
    }

    #[test]
    fn every_kind_of_resource_comes_apart_and_together_again() {
        let (policy, terms) = (policy(), Terms::default());
        let values = |all: &[&str]| -> BTreeSet<String> {
            all.iter().map(|&value| value.to_owned()).collect()
        };
        let rule = TagExpression::from([("team".to_owned(), values(&["a", "b"]))]);
        let listed = [
            entry(EntryResource::Catalog, &["CREATE_DATABASE"], &[]),
            entry(
                EntryResource::Filter(orders(), "Eu".to_owned()),
                &["SELECT"],
                &[],
            ),
            entry(
                EntryResource::Tag("team".to_owned(), values(&["a", "b"])),
                &["ASSOCIATE", "DESCRIBE"],
                &["DESCRIBE"],
            ),
            entry(
                EntryResource::TagPolicy(TagTarget::Table, TagRule::Inline(rule)),
                &["SELECT"],
                &["SELECT"],
            ),
            entry(
                EntryResource::TagPolicy(TagTarget::Database, TagRule::Saved("e".to_owned())),
                &["DESCRIBE"],
                &[],
            ),
            entry(
                EntryResource::Expression("e".to_owned()),
                &["DESCRIBE"],
                &[],
            ),
        ];
        let (grants, unsupported) = normalize(&listed, &terms);
        assert!(unsupported.is_empty(), "{unsupported:?}");
        assert_eq!(grants.len(), 9, "a value of a tag is an atom");
        let sent: Vec<Entry> = entries(&grants).into_iter().map(|(e, _)| e).collect();
        assert_eq!(sent.len(), 7, "values go together by permission and option");
        assert_eq!(normalize(&sent, &terms).0, grants);
        // Places are told in the secondary's terms, whatever their spelling.
        let place = |text: &str| {
            let resource = EntryResource::Location(text.to_owned());
            [entry(resource, &["DATA_LOCATION_ACCESS"], &[])]
        };
        let (here, there) = (
            Terms::of_primary(&policy, crate::ledger::Epoch(0)),
            Terms::of_secondary(&policy, crate::ledger::Epoch(0)),
        );
        let told = normalize(&place("s3://a/t/"), &here).0;
        assert_eq!(told, normalize(&place("arn:aws:s3:::b/dr/t"), &there).0);
        assert!(
            normalize(&place("s3://a/t"), &there).0.is_empty(),
            "not ours there"
        );
    }

    fn policy() -> crate::Policy {
        let text = "ignore = [\"arn:aws:iam::111122223333:role/local/*\"]\n\
             [first]\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [second]\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[location]]\nfirst = \"s3://a\"\nsecond = \"s3://b/dr\"\n\
             [[principal]]\nfirst = \"arn:aws:iam::111122223333:role/A\"\n\
             second = \"arn:aws:iam::111122223333:role/B\"\n";
        crate::Policy::parse(text).unwrap()
    }

    #[test]
    fn principals_are_mapped_ignored_or_told_to_clash() {
        let of = |principal: &str| {
            let mut one = entry(EntryResource::Table(orders()), &["SELECT"], &[]);
            one.principal = Principal(format!("arn:aws:iam::{ACCOUNT}:role/{principal}"));
            [one]
        };
        let (policy, epoch) = (policy(), crate::ledger::Epoch(0));
        let here = Terms::of_primary(&policy, epoch);
        let there = Terms::of_secondary(&policy, epoch);
        let (told, _) = normalize(&of("A"), &here);
        assert_eq!(told, normalize(&of("B"), &there).0);
        let (none, clash) = normalize(&of("B"), &here);
        assert!(
            none.is_empty() && clash.len() == 1,
            "A and B would be mixed"
        );
        for terms in [&here, &there] {
            let (none, counted) = normalize(&of("local/x"), terms);
            assert!(none.is_empty() && counted.is_empty(), "left alone");
        }
    }

    #[test]
    fn atoms_go_together_into_entries_and_come_apart_equal() {
        let columns = BTreeSet::from([name("a"), name("b")]);
        let listed = [
            entry(
                EntryResource::Table(orders()),
                &["INSERT", "SELECT"],
                &["INSERT"],
            ),
            entry(EntryResource::Columns(orders(), columns), &["SELECT"], &[]),
        ];
        let (grants, _) = normalize(&listed, &Terms::default());
        let sent: Vec<Entry> = entries(&grants).into_iter().map(|(e, _)| e).collect();
        assert_eq!(sent.len(), 2);
        assert_eq!(normalize(&sent, &Terms::default()).0, grants);
    }
}
