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
//! | an entry with n permissions | n atoms, each with its own grant option |

mod entry;

pub use entry::{Entry, EntryResource, ListedColumns, entries, named, normalize};

use crate::name::{Name, TableId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The group that stands for "whatever IAM allows".
pub const IAM_ALLOWED_PRINCIPALS: &str = "IAM_ALLOWED_PRINCIPALS";

/// How Lake Formation names a table wildcard when it lists it (LF-02).
pub const ALL_TABLES: &str = "ALL_TABLES";

/// Who holds a grant, as Lake Formation spells it. IAM is global, so an IAM
/// principal is the same in both Regions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(pub String);

impl Principal {
    /// The group that stands for "whatever IAM allows".
    #[must_use]
    pub fn iam_allowed() -> Self {
        Self(IAM_ALLOWED_PRINCIPALS.to_owned())
    }

    /// Whether grants of this principal are replicated: IAM users and roles of
    /// the account, and `IAM_ALLOWED_PRINCIPALS`.
    #[must_use]
    pub fn is_replicated(&self, account: &str) -> bool {
        if self.0 == IAM_ALLOWED_PRINCIPALS {
            return true;
        }
        let mut parts = self.0.splitn(6, ':');
        let arn = parts.next() == Some("arn");
        let partition = parts.next().is_some_and(|p| p.starts_with("aws"));
        let iam = parts.next() == Some("iam");
        let regionless = parts.next() == Some("");
        let own = parts.next() == Some(account);
        let kind = parts
            .next()
            .is_some_and(|rest| rest.starts_with("user/") || rest.starts_with("role/"));
        arn && partition && iam && regionless && own && kind
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Twinlake's own roles, in both Regions.
///
/// What they do is no news, and the rights that they hold as creators of what they
/// made are not compared (LF-06). A pattern that ends in `*` stands for every role
/// below a path, so that a stack knows its peer's roles too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRoles(Vec<String>);

impl OwnRoles {
    /// Roles by ARN or pattern.
    #[must_use]
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether an ARN is one of ours.
    #[must_use]
    pub fn contains(&self, arn: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => !prefix.is_empty() && arn.starts_with(prefix),
                None => arn == pattern,
            })
    }
}

/// The permissions on databases, tables and columns. Any other word is reported
/// as unsupported and never guessed (LF-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// `ALL`, shown as "Super". Compared literally: it stands beside the others
    /// and does not expand into them.
    All,
    /// `ALTER`.
    Alter,
    /// `CREATE_TABLE`, on databases.
    CreateTable,
    /// `DELETE`.
    Delete,
    /// `DESCRIBE`.
    Describe,
    /// `DROP`.
    Drop,
    /// `INSERT`.
    Insert,
    /// `SELECT`.
    Select,
}

impl Permission {
    /// Every permission, in AWS's alphabetical order.
    pub const EVERY: [Self; 8] = [
        Self::All,
        Self::Alter,
        Self::CreateTable,
        Self::Delete,
        Self::Describe,
        Self::Drop,
        Self::Insert,
        Self::Select,
    ];

    /// AWS's spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Alter => "ALTER",
            Self::CreateTable => "CREATE_TABLE",
            Self::Delete => "DELETE",
            Self::Describe => "DESCRIBE",
            Self::Drop => "DROP",
            Self::Insert => "INSERT",
            Self::Select => "SELECT",
        }
    }

    /// Reads AWS's spelling.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|p| p.as_str() == text)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a grant is on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A database.
    Database(Name),
    /// Every table of a database, present and to come.
    AllTables(Name),
    /// A table with all its columns.
    Table(TableId),
    /// One column of a table.
    Column(TableId, Name),
    /// All columns of a table but these. Never empty: without exclusions it is
    /// the table.
    ColumnsExcept(TableId, BTreeSet<Name>),
}

impl Resource {
    /// The database that the resource lies in.
    #[must_use]
    pub fn database(&self) -> &Name {
        match self {
            Self::Database(name) | Self::AllTables(name) => name,
            Self::Table(id) | Self::Column(id, _) | Self::ColumnsExcept(id, _) => &id.database,
        }
    }

    /// The table that the resource is or lies in.
    #[must_use]
    pub fn table(&self) -> Option<&TableId> {
        match self {
            Self::Database(_) | Self::AllTables(_) => None,
            Self::Table(id) | Self::Column(id, _) | Self::ColumnsExcept(id, _) => Some(id),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(name) => write!(f, "database {name}"),
            Self::AllTables(name) => write!(f, "all tables of {name}"),
            Self::Table(id) => write!(f, "table {id}"),
            Self::Column(id, column) => write!(f, "column {column} of {id}"),
            Self::ColumnsExcept(id, excluded) => {
                let names: Vec<&str> = excluded.iter().map(Name::as_str).collect();
                write!(f, "all columns but {} of {id}", names.join(", "))
            }
        }
    }
}

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
            Resource::Column(..) | Resource::ColumnsExcept(..) => true,
            Resource::Database(_) | Resource::AllTables(_) | Resource::Table(_) => false,
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
        assert_eq!(normalize(&whole, ACCOUNT), normalize(&apart, ACCOUNT));
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
            normalize(&[entry(some, &["SELECT"], &[])], ACCOUNT),
            normalize(&[entry(none, &["SELECT"], &[])], ACCOUNT)
        );
    }

    #[test]
    fn what_has_no_atom_is_counted_by_name() {
        let mut stranger = entry(EntryResource::Table(orders()), &["SELECT"], &[]);
        stranger.principal = Principal("444455556666".to_owned());
        let listed = [
            stranger,
            entry(
                EntryResource::Other("LFTagPolicy".to_owned()),
                &["ALL"],
                &[],
            ),
            entry(EntryResource::Table(orders()), &["SUPER_USER"], &[]),
        ];
        let (grants, unsupported) = normalize(&listed, ACCOUNT);
        assert!(grants.is_empty());
        let kinds: Vec<&String> = unsupported.keys().collect();
        assert_eq!(
            kinds,
            [
                "grant on LFTagPolicy",
                "grant to a principal that is no IAM user or role of the account",
                "permission SUPER_USER"
            ]
        );
    }

    #[test]
    fn only_iam_principals_of_the_account_are_replicated() {
        let yes = [
            IAM_ALLOWED_PRINCIPALS,
            "arn:aws:iam::111122223333:role/team/Analyst",
            "arn:aws-us-gov:iam::111122223333:user/ann",
        ];
        let no = [
            "arn:aws:iam::444455556666:role/Analyst",
            "arn:aws:iam::111122223333:saml-provider/P:user/N",
            "arn:aws:quicksight:us-east-1:111122223333:user/default/N",
            "111122223333:IAMPrincipals",
            "111122223333",
        ];
        for text in yes {
            assert!(Principal(text.to_owned()).is_replicated(ACCOUNT), "{text}");
        }
        for text in no {
            assert!(!Principal(text.to_owned()).is_replicated(ACCOUNT), "{text}");
        }
    }

    #[test]
    fn own_roles_are_known_by_arn_or_by_path() {
        let ours = OwnRoles::new([
            "arn:aws:iam::1:role/one".to_owned(),
            "arn:aws:iam::1:role/twinlake/*".to_owned(),
            "*".to_owned(),
        ]);
        assert!(ours.contains("arn:aws:iam::1:role/one"));
        assert!(ours.contains("arn:aws:iam::1:role/twinlake/resync"));
        assert!(!ours.contains("arn:aws:iam::1:role/one-more"));
        assert!(
            !ours.contains("arn:aws:iam::1:role/other"),
            "a bare star is nobody"
        );
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
        let (grants, _) = normalize(&listed, ACCOUNT);
        let sent: Vec<Entry> = entries(&grants).into_iter().map(|(e, _)| e).collect();
        assert_eq!(sent.len(), 2);
        assert_eq!(normalize(&sent, ACCOUNT).0, grants);
    }
}
