//! Listed permissions, split into single grants and indexed by subject.
//!
//! A Region may have a million grants, and a resync keeps those of both. So pages are added as they are listed, and what
//! many grants have in common (principal, subject, column) is held once: a grant takes some 40 bytes. Those on a subject
//! are put together when they are asked for.

mod interner;

use crate::ports::PermissionResourceType;
use interner::Interner;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twinlake_core::grant::{
    GrantMapping, Grants, IAM_ALLOWED_PRINCIPALS, ListedPermission, Permission, Resource, normalize,
};
use twinlake_core::scope::{Subject, subject_of_grant};
use twinlake_core::{CallError, Name, PermissionGrant, Principal, TableId};

/// Most entries in one page of `ListPermissions`.
pub const LIST_PERMISSIONS_PAGE_SIZE: usize = 1000;

/// One of the two ways to list grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantListingMethod {
    /// Without a resource type.
    Unfiltered,
    /// By resource type.
    ByType,
}

/// What is known of a listed grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ListedGrant {
    has_grant_option: bool,
    is_unfiltered: bool,
    is_by_type: bool,
}

impl ListedGrant {
    fn add(&mut self, grantable: bool, listing: GrantListingMethod) {
        self.has_grant_option |= grantable;
        match listing {
            GrantListingMethod::Unfiltered => self.is_unfiltered = true,
            GrantListingMethod::ByType => self.is_by_type = true,
        }
    }
}

/// The resource of a grant, as far as its subject does not name it. Numbers are those of an [`Interner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ResourcePart {
    Database,
    AllTables,
    Table,
    Column(u32),
    ColumnsExcept(u32),
    DataCellsFilter(u32),
    /// A resource of Lake Formation as a whole.
    LakeFormation(u32),
}

/// A grant by the numbers of what it consists of. Grants on one subject follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GrantKey {
    subject: u32,
    part: ResourcePart,
    principal: u32,
    condition: Option<u32>,
    permission: Permission,
}

/// The grants, and what their keys number.
#[derive(Clone, Debug, Default)]
struct ListedGrants {
    subjects: Interner<Subject>,
    /// Principals, conditions and names of data cells filters.
    texts: Interner<String>,
    /// Columns, as they are spelled.
    columns: Interner<String>,
    column_sets: Interner<Vec<String>>,
    lake_formation: Interner<Resource>,
    grants: BTreeMap<GrantKey, ListedGrant>,
    /// The grants to `IAM_ALLOWED_PRINCIPALS`.
    iam_grants: BTreeSet<GrantKey>,
}

impl ListedGrants {
    fn add(&mut self, grant: PermissionGrant, grantable: bool, listing: GrantListingMethod) {
        let subject = subject_of_grant(&grant);
        let is_iam = grant.principal.0 == IAM_ALLOWED_PRINCIPALS;
        let key = GrantKey {
            subject: self.subjects.number(subject),
            part: self.part(grant.resource),
            principal: self.texts.number(grant.principal.0),
            condition: grant.condition.map(|text| self.texts.number(text)),
            permission: grant.permission,
        };
        self.grants.entry(key).or_default().add(grantable, listing);
        if is_iam {
            self.iam_grants.insert(key);
        }
    }

    fn part(&mut self, resource: Resource) -> ResourcePart {
        let spelled = |name: &Name| name.as_listed().to_owned();
        match resource {
            Resource::Database(_) => ResourcePart::Database,
            Resource::AllTables(_) => ResourcePart::AllTables,
            Resource::Table(_) => ResourcePart::Table,
            Resource::Column(_, column) => {
                ResourcePart::Column(self.columns.number(spelled(&column)))
            }
            Resource::ColumnsExcept(_, columns) => {
                let columns = columns.iter().map(spelled).collect();
                ResourcePart::ColumnsExcept(self.column_sets.number(columns))
            }
            Resource::DataCellsFilter(_, name) => {
                ResourcePart::DataCellsFilter(self.texts.number(name))
            }
            Resource::Catalog
            | Resource::DataLocation(_)
            | Resource::LfTag { .. }
            | Resource::LfTagPolicy { .. }
            | Resource::LfTagExpression(_) => {
                ResourcePart::LakeFormation(self.lake_formation.number(resource))
            }
        }
    }

    fn resource(&self, subject: &Subject, part: ResourcePart) -> Option<Resource> {
        if let ResourcePart::LakeFormation(number) = part {
            return self.lake_formation.value(number).cloned();
        }
        match subject {
            Subject::Database(name) => database_resource(name, part),
            Subject::Table(id) => self.table_resource(id, part),
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => None,
        }
    }

    fn table_resource(&self, id: &TableId, part: ResourcePart) -> Option<Resource> {
        let id = id.clone();
        Some(match part {
            ResourcePart::Table => Resource::Table(id),
            ResourcePart::Column(number) => {
                Resource::Column(id, Name::from_service(self.columns.value(number)?))
            }
            ResourcePart::ColumnsExcept(number) => {
                let columns = self.column_sets.value(number)?.iter();
                let columns = columns.map(|column| Name::from_service(column)).collect();
                Resource::ColumnsExcept(id, columns)
            }
            ResourcePart::DataCellsFilter(number) => {
                Resource::DataCellsFilter(id, self.texts.value(number)?.clone())
            }
            ResourcePart::Database | ResourcePart::AllTables | ResourcePart::LakeFormation(_) => {
                return None;
            }
        })
    }

    /// The grant that a key stands for.
    fn grant(&self, subject: &Subject, key: &GrantKey) -> Option<PermissionGrant> {
        let condition = match key.condition {
            Some(number) => Some(self.texts.value(number)?.clone()),
            None => None,
        };
        Some(PermissionGrant {
            principal: Principal(self.texts.value(key.principal)?.clone()),
            resource: self.resource(subject, key.part)?,
            permission: key.permission,
            condition,
        })
    }

    /// The grants on a subject, with what is known of each.
    fn on(
        &self,
        subject: &Subject,
    ) -> impl Iterator<Item = (PermissionGrant, ListedGrant)> + use<'_> {
        let number = self.subjects.known_number(subject);
        let subject = subject.clone();
        let keys = number.map(|number| self.keys_on(number));
        keys.into_iter()
            .flatten()
            .filter_map(move |(key, listed)| Some((self.grant(&subject, key)?, *listed)))
    }

    fn keys_on(&self, subject: u32) -> impl Iterator<Item = (&GrantKey, &ListedGrant)> {
        let first = GrantKey {
            subject,
            part: ResourcePart::Database,
            principal: 0,
            condition: None,
            permission: Permission::All,
        };
        let keys = self.grants.range(first..);
        keys.take_while(move |(key, _)| key.subject == subject)
    }

    fn contains(&self, subject: &Subject, grant: &PermissionGrant) -> bool {
        let numbers = (
            self.subjects.known_number(subject),
            self.texts.known_number(&grant.principal.0),
        );
        let (Some(number), Some(principal)) = numbers else {
            return false;
        };
        let mut keys = self.keys_on(number).map(|(key, _)| key);
        keys.any(|key| {
            key.principal == principal && self.grant(subject, key).as_ref() == Some(grant)
        })
    }
}

fn database_resource(name: &Name, part: ResourcePart) -> Option<Resource> {
    match part {
        ResourcePart::Database => Some(Resource::Database(name.clone())),
        ResourcePart::AllTables => Some(Resource::AllTables(name.clone())),
        ResourcePart::Table
        | ResourcePart::Column(_)
        | ResourcePart::ColumnsExcept(_)
        | ResourcePart::DataCellsFilter(_)
        | ResourcePart::LakeFormation(_) => None,
    }
}

/// The grants of one or several `ListPermissions` listings, by subject. Copies share the grants.
#[derive(Clone, Debug, Default)]
pub struct GrantIndex {
    listed: Arc<ListedGrants>,
    /// Whether the grants were listed in both ways.
    is_listed_twice: bool,
    /// Number of permissions that are not replicated, by kind.
    pub unsupported: BTreeMap<String, usize>,
    /// Whether a listing contained any entry, of whatever kind.
    pub has_entries: bool,
    /// Whether only grants on databases and tables were listed in both ways: what the index says of Lake
    /// Formation subjects is not complete.
    pub of_objects: bool,
    /// Number of calls, estimated by pages of [`LIST_PERMISSIONS_PAGE_SIZE`] entries; 0 for a part
    /// of a listing.
    pub calls: usize,
    /// Number of these calls that list grants on databases and tables.
    pub object_calls: usize,
    /// Resource types whose own listing the Region refused, with the errors: their grants were listed once.
    pub refused_types: BTreeMap<PermissionResourceType, CallError>,
}

impl GrantIndex {
    /// Splits and indexes the entries of one listing. The mapping translates principals and locations to those
    /// of the standby.
    #[must_use]
    pub fn new(entries: &[ListedPermission], mapping: &GrantMapping) -> Self {
        let mut builder = GrantIndexBuilder::new(mapping);
        builder.add(entries, GrantListingMethod::Unfiltered);
        builder.finish()
    }

    /// Whether the listings prove that a grant on a subject that they lack does not exist: some entry was listed,
    /// and every type of grants on the subject was listed twice.
    #[must_use]
    pub fn proves_absence_on(&self, subject: &Subject) -> bool {
        self.has_entries && !self.is_partly_refused(subject)
    }

    /// Whether the Region refused to list a type of grants on a subject.
    pub(crate) fn is_partly_refused(&self, subject: &Subject) -> bool {
        let types = PermissionResourceType::of_grants_on(subject);
        types
            .iter()
            .any(|kind| self.refused_types.contains_key(kind))
    }

    /// The grants on a subject.
    #[must_use]
    pub fn on(&self, subject: &Subject) -> Grants {
        let mut grants = Grants::new();
        for (grant, listed) in self.listed.on(subject) {
            *grants.entry(grant).or_default() |= listed.has_grant_option;
        }
        grants
    }

    /// All grants, subject by subject.
    pub fn grants(&self) -> impl Iterator<Item = (PermissionGrant, bool)> + use<'_> {
        let subjects = self.listed.subjects.values();
        subjects.flat_map(|subject| self.on(subject))
    }

    /// How many grants there are on each database and on what is in it.
    #[must_use]
    pub fn counts_by_database(&self) -> BTreeMap<Name, usize> {
        let mut counts = BTreeMap::new();
        for key in self.listed.grants.keys() {
            let subject = self.listed.subjects.value(key.subject);
            if let Some(database) = subject.and_then(Subject::database) {
                match counts.get_mut(database) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(database.clone(), 1);
                    }
                }
            }
        }
        counts
    }

    /// How many grants only one of the two listings contains, of the types that were listed twice, and one
    /// of them.
    #[must_use]
    pub fn inconsistent(&self) -> Option<(usize, PermissionGrant)> {
        if !self.is_listed_twice {
            return None;
        }
        let is_once = |listed: &ListedGrant| !(listed.is_unfiltered && listed.is_by_type);
        if !self.listed.grants.values().any(is_once) {
            return None;
        }
        let mut found: Option<(usize, PermissionGrant)> = None;
        let subjects = self.listed.subjects.values();
        for subject in subjects.filter(|subject| !self.is_partly_refused(subject)) {
            // A grant that is spelled in two ways has two keys.
            let mut of_subject: BTreeMap<PermissionGrant, ListedGrant> = BTreeMap::new();
            for (grant, listed) in self.listed.on(subject) {
                let known = of_subject.entry(grant).or_default();
                known.is_unfiltered |= listed.is_unfiltered;
                known.is_by_type |= listed.is_by_type;
            }
            of_subject.retain(|_, listed| is_once(listed));
            let count = of_subject.len();
            let Some((first, _)) = of_subject.pop_first() else {
                continue;
            };
            found = Some(match found {
                None => (count, first),
                Some((before, example)) => (before + count, example.min(first)),
            });
        }
        found
    }

    /// The grants to `IAM_ALLOWED_PRINCIPALS` that another index lacks.
    #[must_use]
    pub fn extra_iam_grants(&self, other: &Self) -> BTreeSet<PermissionGrant> {
        let listed = &self.listed;
        let grants = listed.iam_grants.iter().filter_map(|key| {
            let subject = listed.subjects.value(key.subject)?;
            Some((subject, listed.grant(subject, key)?))
        });
        grants
            .filter(|(subject, grant)| !other.listed.contains(subject, grant))
            .map(|(_, grant)| grant)
            .collect()
    }
}

/// Builds an index from the pages of listings.
#[derive(Debug)]
pub struct GrantIndexBuilder<'m> {
    mapping: &'m GrantMapping,
    listed: ListedGrants,
    unsupported: BTreeMap<GrantListingMethod, BTreeMap<String, usize>>,
    /// The entries that are not replicated, of the listings by type: these overlap.
    counted_by_type: BTreeSet<ListedPermission>,
    has_entries: bool,
}

impl<'m> GrantIndexBuilder<'m> {
    /// An index without grants. The mapping translates principals and locations to those of the standby.
    #[must_use]
    pub fn new(mapping: &'m GrantMapping) -> Self {
        Self {
            mapping,
            listed: ListedGrants::default(),
            unsupported: BTreeMap::new(),
            counted_by_type: BTreeSet::new(),
            has_entries: false,
        }
    }

    /// Adds a page of a listing. A grant is kept if either listing contains it.
    pub fn add(&mut self, page: &[ListedPermission], listing: GrantListingMethod) {
        self.has_entries |= !page.is_empty();
        let (grants, unsupported) = normalize(page, self.mapping);
        for (grant, grantable) in grants {
            self.listed.add(grant, grantable, listing);
        }
        let counts = match listing {
            GrantListingMethod::Unfiltered => unsupported,
            GrantListingMethod::ByType if unsupported.is_empty() => unsupported,
            GrantListingMethod::ByType => self.unsupported_for_the_first_time(page),
        };
        let known = self.unsupported.entry(listing).or_default();
        for (kind, count) in counts {
            *known.entry(kind).or_default() += count;
        }
    }

    /// The permissions that are not replicated, of the entries that no page before this one contained.
    fn unsupported_for_the_first_time(
        &mut self,
        page: &[ListedPermission],
    ) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for entry in page {
            let (_, unsupported) = normalize(std::slice::from_ref(entry), self.mapping);
            if !unsupported.is_empty() && self.counted_by_type.insert(entry.clone()) {
                for (kind, count) in unsupported {
                    *counts.entry(kind).or_default() += count;
                }
            }
        }
        counts
    }

    /// The index. Of permissions that are not replicated it has, for each kind, the larger number of both listings.
    #[must_use]
    pub fn finish(self) -> GrantIndex {
        let mut unsupported: BTreeMap<String, usize> = BTreeMap::new();
        let is_listed_twice = self.unsupported.len() > 1;
        for (kind, count) in self.unsupported.into_values().flatten() {
            let known = unsupported.entry(kind).or_default();
            *known = (*known).max(count);
        }
        GrantIndex {
            listed: Arc::new(self.listed),
            is_listed_twice,
            unsupported,
            has_entries: self.has_entries,
            of_objects: false,
            calls: 0,
            object_calls: 0,
            refused_types: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::CallErrorKind;
    use twinlake_core::grant::ListedResource;

    fn name(text: &str) -> Name {
        Name::from_service(text)
    }

    fn table(text: &str) -> TableId {
        TableId::new(name("sales"), name(text))
    }

    fn entry(principal: &str, resource: ListedResource, permission: &str) -> ListedPermission {
        ListedPermission {
            principal: Principal(principal.to_owned()),
            resource,
            permissions: BTreeSet::from([permission.to_owned()]),
            grantable: BTreeSet::new(),
            condition: None,
        }
    }

    fn role(number: usize) -> String {
        format!("arn:aws:iam::111122223333:role/R{number}")
    }

    /// Entries on resources of every kind.
    fn entries() -> Vec<ListedPermission> {
        let columns = |names: &[&str]| names.iter().map(|one| name(one)).collect();
        let mut conditional = entry(&role(1), ListedResource::Table(table("t")), "SELECT");
        conditional.condition = Some("a".to_owned());
        let mut grantable = entry(&role(2), ListedResource::Table(table("t")), "INSERT");
        grantable.grantable = grantable.permissions.clone();
        vec![
            entry(
                &role(0),
                ListedResource::Database(name("sales")),
                "DESCRIBE",
            ),
            entry(
                &role(0),
                ListedResource::TableWildcard(name("sales")),
                "SELECT",
            ),
            entry(&role(0), ListedResource::Table(table("t")), "SELECT"),
            entry(&role(0), ListedResource::Table(table("u")), "SELECT"),
            conditional,
            grantable,
            entry(
                &role(1),
                ListedResource::Columns(table("t"), columns(&["Id", "zip"])),
                "SELECT",
            ),
            entry(
                &role(2),
                ListedResource::ColumnWildcard(table("t"), columns(&["Ssn"])),
                "SELECT",
            ),
            entry(
                &role(3),
                ListedResource::DataCellsFilter(table("t"), "Eu".to_owned()),
                "SELECT",
            ),
            entry(&role(3), ListedResource::Catalog, "CREATE_DATABASE"),
            entry(
                &role(3),
                ListedResource::LfTagExpression("e".to_owned()),
                "DESCRIBE",
            ),
            entry(
                &role(3),
                ListedResource::LfTag("team".to_owned(), BTreeSet::from(["a".to_owned()])),
                "DESCRIBE",
            ),
        ]
    }

    #[test]
    fn what_is_put_together_again_is_what_was_listed() {
        let mapping = GrantMapping::default();
        let (listed, _) = normalize(&entries(), &mapping);
        let index = GrantIndex::new(&entries(), &mapping);
        assert_eq!(index.grants().collect::<Grants>(), listed);
        for (grant, grantable) in &listed {
            let on_subject = index.on(&subject_of_grant(grant));
            let (found, has_option) = on_subject.get_key_value(grant).unwrap();
            assert_eq!(has_option, grantable);
            // Names are compared without case, and sent as they were listed.
            assert_eq!(format!("{found:?}"), format!("{grant:?}"));
        }
        assert_eq!(
            index.counts_by_database(),
            BTreeMap::from([(name("sales"), 10)])
        );
        assert!(index.on(&Subject::Table(table("v"))).is_empty());
        assert!(index.on(&Subject::Catalog).is_empty());
    }

    #[test]
    fn pages_and_listings_make_one_index() {
        let mapping = GrantMapping::default();
        let all = entries();
        let mut builder = GrantIndexBuilder::new(&mapping);
        // The one on LF-Tags is listed by type only.
        for page in all[..all.len() - 1].chunks(2) {
            builder.add(page, GrantListingMethod::Unfiltered);
        }
        for page in all.chunks(3).chain(all.chunks(5)) {
            builder.add(page, GrantListingMethod::ByType);
        }
        let index = builder.finish();
        let (listed, _) = normalize(&all, &mapping);
        assert_eq!(index.grants().collect::<Grants>(), listed);
        let (count, example) = index.inconsistent().unwrap();
        assert_eq!(count, 1);
        assert!(matches!(example.resource, Resource::LfTag { .. }));
        assert_eq!(GrantIndex::new(&all, &mapping).inconsistent(), None);
    }

    #[test]
    fn permissions_that_are_not_replicated_are_counted_once() {
        let mapping = GrantMapping::default();
        let unsupported = |number| {
            let resource = ListedResource::Other("RLSPolicy".to_owned());
            entry(&role(number), resource, "ALL")
        };
        let mut builder = GrantIndexBuilder::new(&mapping);
        builder.add(&[unsupported(0)], GrantListingMethod::Unfiltered);
        for page in [
            [unsupported(0), unsupported(1)],
            [unsupported(1), unsupported(0)],
        ] {
            builder.add(&page, GrantListingMethod::ByType);
        }
        let index = builder.finish();
        let expected = BTreeMap::from([("grant on RLSPolicy".to_owned(), 2)]);
        assert_eq!(index.unsupported, expected);
        assert!(index.has_entries && index.grants().next().is_none());
    }

    #[test]
    fn grants_to_everybody_that_the_primary_lacks_are_found() {
        let mapping = GrantMapping::default();
        let to_everybody =
            |table| entry(IAM_ALLOWED_PRINCIPALS, ListedResource::Table(table), "ALL");
        let primary = GrantIndex::new(&[to_everybody(table("t"))], &mapping);
        let mut in_standby = entries();
        in_standby.extend([to_everybody(table("t")), to_everybody(table("u"))]);
        let standby = GrantIndex::new(&in_standby, &mapping);
        let extra = standby.extra_iam_grants(&primary);
        let resources: Vec<&Resource> = extra.iter().map(|grant| &grant.resource).collect();
        assert_eq!(resources, [&Resource::Table(table("u"))]);
    }

    /// Numbers that are always the same.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % limit
        }

        fn of<T: Clone>(&mut self, all: &[T]) -> T {
            all[self.below(all.len())].clone()
        }

        fn columns(&mut self) -> BTreeSet<Name> {
            let count = 1 + self.below(2);
            (0..count)
                .map(|_| name(self.of(&["id", "Id", "zip", "ssn"])))
                .collect()
        }

        fn resource(&mut self) -> ListedResource {
            let database = name(self.of(&["sales", "Sales", "hr"]));
            let table = TableId::new(database.clone(), name(self.of(&["t", "T", "u"])));
            let texts = ["a", "A"];
            match self.below(10) {
                0 => ListedResource::Database(database),
                1 => ListedResource::TableWildcard(database),
                2 | 3 => ListedResource::Table(table),
                4 => ListedResource::Columns(table, self.columns()),
                5 => ListedResource::ColumnWildcard(table, self.columns()),
                6 => ListedResource::DataCellsFilter(table, self.of(&texts).to_owned()),
                7 => ListedResource::Catalog,
                8 => ListedResource::LfTagExpression(self.of(&texts).to_owned()),
                _ => ListedResource::LfTag(
                    self.of(&texts).to_owned(),
                    BTreeSet::from([self.of(&["x", "y"]).to_owned()]),
                ),
            }
        }

        fn entry(&mut self) -> ListedPermission {
            let principals = [role(0), role(1), role(2), IAM_ALLOWED_PRINCIPALS.to_owned()];
            let mut some = |one_in| {
                let all = ["SELECT", "DESCRIBE", "ALL", "FLY"];
                let chosen = all.iter().filter(|_| self.below(one_in) == 0);
                let chosen = chosen.map(|one| (*one).to_owned());
                chosen.collect::<BTreeSet<String>>()
            };
            let (permissions, grantable) = (some(2), some(4));
            let conditions = [None, None, Some("a".to_owned()), Some("b".to_owned())];
            ListedPermission {
                principal: Principal(self.of(&principals)),
                resource: self.resource(),
                permissions,
                grantable,
                condition: self.of(&conditions),
            }
        }

        fn entries(&mut self) -> Vec<ListedPermission> {
            let count = self.below(40);
            (0..count).map(|_| self.entry()).collect()
        }
    }

    /// The grants of listings as maps hold them.
    fn plain(entries: &[ListedPermission]) -> Grants {
        normalize(entries, &GrantMapping::default()).0
    }

    #[test]
    fn the_index_holds_what_a_map_of_all_grants_holds() {
        let mapping = GrantMapping::default();
        let mut numbers = Numbers(14);
        let mut inconsistent_cases = 0;
        for _ in 0..500 {
            let (unfiltered, by_type) = (numbers.entries(), numbers.entries());
            let mut builder = GrantIndexBuilder::new(&mapping);
            for page in unfiltered.chunks(1 + numbers.below(7)) {
                builder.add(page, GrantListingMethod::Unfiltered);
            }
            for page in by_type.chunks(1 + numbers.below(7)) {
                builder.add(page, GrantListingMethod::ByType);
            }
            builder.add(&[], GrantListingMethod::Unfiltered);
            builder.add(&[], GrantListingMethod::ByType);
            let index = builder.finish();

            let (once, twice) = (plain(&unfiltered), plain(&by_type));
            let mut all = once.clone();
            for (grant, grantable) in &twice {
                *all.entry(grant.clone()).or_default() |= grantable;
            }
            assert_eq!(index.grants().collect::<Grants>(), all);
            let mut by_subject: BTreeMap<Subject, Grants> = BTreeMap::new();
            for (grant, grantable) in &all {
                let on_subject = by_subject.entry(subject_of_grant(grant)).or_default();
                on_subject.insert(grant.clone(), *grantable);
            }
            for (subject, grants) in &by_subject {
                assert_eq!(&index.on(subject), grants);
            }
            let differing = once.keys().filter(|grant| !twice.contains_key(*grant));
            let differing =
                differing.chain(twice.keys().filter(|grant| !once.contains_key(*grant)));
            let differing: BTreeSet<PermissionGrant> = differing.cloned().collect();
            let expected = differing
                .first()
                .map(|first| (differing.len(), first.clone()));
            assert_eq!(index.inconsistent(), expected);
            inconsistent_cases += usize::from(expected.is_some());

            let (one, other) = (
                GrantIndex::new(&unfiltered, &mapping),
                GrantIndex::new(&by_type, &mapping),
            );
            let is_extra = |grant: &&PermissionGrant| {
                grant.principal == Principal::iam_allowed() && !twice.contains_key(*grant)
            };
            let expected: BTreeSet<PermissionGrant> =
                once.keys().filter(is_extra).cloned().collect();
            assert_eq!(one.extra_iam_grants(&other), expected);
        }
        assert!(inconsistent_cases > 250, "{inconsistent_cases}");
    }

    #[test]
    fn what_a_refused_type_lists_once_is_not_inconsistent() {
        let mapping = GrantMapping::default();
        let mut builder = GrantIndexBuilder::new(&mapping);
        builder.add(&entries(), GrantListingMethod::Unfiltered);
        builder.add(&[], GrantListingMethod::ByType);
        let mut index = builder.finish();
        let all = index.grants().count();
        assert_eq!(index.inconsistent().map(|(count, _)| count), Some(all));
        let table = Subject::Table(table("t"));
        assert!(index.proves_absence_on(&table));
        let error = CallError::new(CallErrorKind::Invalid, "ListPermissions", "x", "refused");
        index
            .refused_types
            .insert(PermissionResourceType::Table, error);
        assert!(!index.proves_absence_on(&table));
        let left = index.inconsistent().map(|(count, _)| count);
        let of_tables = index.on(&table).len() + index.on(&Subject::Table(self::table("u"))).len();
        // Grants on all tables of a database are listed by the type of tables, too.
        assert!(left.is_some_and(|left| left <= all - of_tables));
    }

    /// A bound on what a resync of a lake with a million grants holds.
    #[test]
    fn a_grant_takes_few_bytes() {
        assert!(size_of::<GrantKey>() + size_of::<ListedGrant>() <= 32);
        let mapping = GrantMapping::default();
        let listed = (0..20).flat_map(|t| {
            let resource = ListedResource::Table(table(&format!("t{t}")));
            (0..50).map(move |r| entry(&role(r), resource.clone(), "SELECT"))
        });
        let listed: Vec<ListedPermission> = listed.collect();
        let index = GrantIndex::new(&listed, &mapping);
        // Principals and subjects are held once, however many grants name them.
        assert_eq!(index.grants().count(), 1000);
        assert_eq!(
            (index.listed.texts.len(), index.listed.subjects.len()),
            (50, 20)
        );
        let copy = index.clone();
        assert!(Arc::ptr_eq(&copy.listed, &index.listed));
    }
}
