//! Scopes: the subjects and facets to read, as an event, a resync or an operator requests them.

mod deleted_item;
mod grant_calls;
mod lf_subject;

pub use deleted_item::DeletedItem;
pub use grant_calls::{GrantCallTimes, KnownGrantCalls, may_stay_listed};
pub use lf_subject::LfSubject;

use crate::catalog::OptIn;
use crate::grant::{ListedResource, PermissionGrant, Resource};
use crate::heartbeat::{self, Channel};
use crate::name::{FunctionId, Name, TableId};
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The unit of reading and reconciliation: one object of the catalog with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The whole catalog: every database with its contents.
    Catalog,
    /// Objects that Lake Formation stores for the catalog as a whole. They are ordered before the
    /// databases, whose permissions depend on them.
    LakeFormation(LfSubject),
    /// A database.
    Database(Name),
    /// A table with its partitions and its grants.
    Table(TableId),
    /// A user-defined function.
    Function(FunctionId),
}

impl Subject {
    /// The database that the subject is or belongs to, if any.
    #[must_use]
    pub fn database(&self) -> Option<&Name> {
        match self {
            Self::Catalog | Self::LakeFormation(_) => None,
            Self::Database(name) => Some(name),
            Self::Table(id) => Some(&id.database),
            Self::Function(id) => Some(&id.database),
        }
    }

    /// Whether what applies to one subject may apply to the other, or to something below it: a
    /// database and what is in it overlap, and the catalog and Lake Formation overlap with
    /// everything.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (self.database(), other.database()) else {
            return true;
        };
        let is_database = |one: &Self| matches!(one, Self::Database(_));
        own == others && (self == other || is_database(self) || is_database(other))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalog => f.write_str("catalog"),
            Self::Database(name) => write!(f, "database {name}"),
            Self::Table(id) => write!(f, "table {id}"),
            Self::Function(id) => write!(f, "function {id}"),
            Self::LakeFormation(lf_subject) => lf_subject.fmt(f),
        }
    }
}

/// A part of a subject that is read by a separate API call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Facet {
    /// The object itself. Always read.
    Definition,
    /// A table's partitions.
    Partitions,
    /// The grants on the subject. Those of a database include the grants on all its tables.
    Grants,
    /// Every table of a database with all its facets, and every function.
    Contents,
    /// A table's partition indexes.
    Indexes,
    /// The column statistics of a table.
    Statistics,
    /// The Glue tags of a database or a table.
    GlueTags,
    /// The data cells filters of a table.
    DataCellsFilters,
    /// The LF-Tags that are assigned to a database, or to a table and its columns.
    LfTagAssignments,
    /// The Lake Formation opt-ins on the subject.
    OptIns,
    /// The items of a Lake Formation subject: LF-Tags, named expressions, registered locations or
    /// settings.
    Items,
}

impl Facet {
    /// Whether what the facet holds decides on access.
    #[must_use]
    pub const fn is_permission(self) -> bool {
        match self {
            Self::Grants
            | Self::DataCellsFilters
            | Self::LfTagAssignments
            | Self::OptIns
            | Self::Items => true,
            Self::Definition
            | Self::Partitions
            | Self::Contents
            | Self::Indexes
            | Self::Statistics
            | Self::GlueTags => false,
        }
    }
}

/// The facets to read of one subject, and the deletions that an event named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The facets to read.
    pub facets: BTreeSet<Facet>,
    /// An event named the deletion of the subject itself.
    #[serde(default)]
    pub deletion_named: bool,
    /// An event says that partitions of it were deleted, and not which, or more of them than are read by name: all
    /// are listed. Where it names them, they are among [`Self::deletable_partitions`].
    #[serde(default)]
    pub unnamed_partitions_deleted: bool,
    /// The values of partitions that may be deleted if the primary lacks them, without further
    /// proof: an event named their deletion, or a full listing of the primary does not contain
    /// them, or the current run created them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deletable_partitions: BTreeSet<Vec<String>>,
    /// The items of a Lake Formation subject whose deletion an event named. An empty listing of the primary proves
    /// the absence of these, and of no others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deleted_items: BTreeSet<DeletedItem>,
    /// The values of partitions that an event named. They are read by name, unless all partitions
    /// are read anyway.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub partition_values: BTreeSet<Vec<String>>,
}

/// The largest number of partitions that are read by name. If more are named, all partitions of
/// the table are read.
pub const MAX_NAMED_PARTITIONS: usize = 1000;

impl ReadRequest {
    /// Requests these facets, without named deletions.
    #[must_use]
    pub fn for_facets(facets: &[Facet]) -> Self {
        Self {
            facets: facets.iter().copied().collect(),
            ..Self::default()
        }
    }

    fn merge(&mut self, other: &Self) {
        self.facets.extend(&other.facets);
        self.deletion_named |= other.deletion_named;
        self.unnamed_partitions_deleted |= other.unnamed_partitions_deleted;
        self.deleted_items
            .extend(other.deleted_items.iter().cloned());
        self.partition_values
            .extend(other.partition_values.iter().cloned());
        self.deletable_partitions
            .extend(other.deletable_partitions.iter().cloned());
        if self.partition_values.len() > MAX_NAMED_PARTITIONS {
            self.unnamed_partitions_deleted |= !self.deletable_partitions.is_empty();
            self.partition_values.clear();
            self.deletable_partitions.clear();
            self.facets.extend([Facet::Definition, Facet::Partitions]);
        }
    }

    /// Requests a table and some of its partitions, by their values. `deleted` says that an event
    /// named their deletion.
    #[must_use]
    pub fn for_partitions(values: BTreeSet<Vec<String>>, deleted: bool) -> Self {
        let deletable_partitions = match deleted {
            true => values.clone(),
            false => BTreeSet::new(),
        };
        let mut read_request = Self::for_facets(&[Facet::Definition]);
        read_request.merge(&Self {
            partition_values: values,
            deletable_partitions,
            ..Self::default()
        });
        read_request
    }
}

/// The subjects to read, and the grants that a revoke has just named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// What to read, by subject.
    #[serde(with = "pairs")]
    pub read_requests: BTreeMap<Subject, ReadRequest>,
    /// Grants that an event named as revoked, and those that the session itself made, each with whether the
    /// grant option is revoked too. They are revoked in the standby if the primary lacks them, even if a
    /// listing of the standby does not contain them: that listing may be stale by one write.
    #[serde(with = "pairs", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub named_revokes: BTreeMap<PermissionGrant, bool>,
    /// The grants among `named_revokes` that no event named: a session made them. The primary's lack of one
    /// needs the same proof as that of any grant.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub own_grants: BTreeSet<PermissionGrant>,
    /// When events say that grants were made and revoked that AWS may list long after their revoke.
    #[serde(with = "pairs", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub grant_calls: BTreeMap<PermissionGrant, GrantCallTimes>,
    /// The heartbeats that requested to read the heartbeat table: when the newest one of each
    /// channel was sent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heartbeats: BTreeMap<Channel, Timestamp>,
}

/// Every facet of a table.
pub const WHOLE_TABLE: [Facet; 9] = [
    Facet::Definition,
    Facet::Partitions,
    Facet::Grants,
    Facet::Indexes,
    Facet::Statistics,
    Facet::GlueTags,
    Facet::DataCellsFilters,
    Facet::LfTagAssignments,
    Facet::OptIns,
];
/// A table without its contents. If the table is new, its other facets are read, too.
pub const TABLE_ITSELF: [Facet; 2] = [Facet::Definition, Facet::Grants];
/// A database without its contents.
pub const DATABASE_ITSELF: [Facet; 2] = [Facet::Definition, Facet::Grants];
/// A database with its contents.
pub const WHOLE_DATABASE: [Facet; 6] = [
    Facet::Definition,
    Facet::Grants,
    Facet::Contents,
    Facet::GlueTags,
    Facet::LfTagAssignments,
    Facet::OptIns,
];

impl Scope {
    /// The whole catalog.
    #[must_use]
    pub fn catalog() -> Self {
        let mut scope = Self::default();
        scope.add(Subject::Catalog, ReadRequest::for_facets(&WHOLE_DATABASE));
        scope
    }

    /// Everything that Lake Formation stores for the catalog as a whole.
    #[must_use]
    pub fn lake_formation() -> Self {
        let mut scope = Self::default();
        for lf_subject in LfSubject::EVERY {
            scope.add(
                Subject::LakeFormation(lf_subject),
                ReadRequest::for_facets(lf_subject.facets()),
            );
        }
        scope
    }

    /// LF-Tags, named expressions, registered locations and settings, without the grants on them.
    /// Reconciling this scope only creates and updates: an item is deleted only if the grants on
    /// it are read, too.
    #[must_use]
    pub fn lake_formation_without_grants() -> Self {
        let mut scope = Self::default();
        for lf_subject in [
            LfSubject::LfTags,
            LfSubject::LfTagExpressions,
            LfSubject::DataLocations,
            LfSubject::Settings,
        ] {
            scope.add(
                Subject::LakeFormation(lf_subject),
                ReadRequest::for_facets(&[Facet::Items]),
            );
        }
        scope
    }

    /// A database with its contents.
    #[must_use]
    pub fn database(name: Name) -> Self {
        let mut scope = Self::default();
        scope.add(
            Subject::Database(name),
            ReadRequest::for_facets(&WHOLE_DATABASE),
        );
        scope
    }

    /// A table with everything that belongs to it.
    #[must_use]
    pub fn table(id: TableId) -> Self {
        let mut scope = Self::default();
        scope.add(Subject::Table(id), ReadRequest::for_facets(&WHOLE_TABLE));
        scope
    }

    /// Adds a read request, merged with the one that the subject already has.
    pub fn add(&mut self, subject: Subject, read_request: ReadRequest) {
        self.read_requests
            .entry(subject)
            .or_default()
            .merge(&read_request);
    }

    /// Merges another scope into this one.
    pub fn merge(&mut self, other: Self) {
        let own = self.own_grants.union(&other.own_grants);
        self.own_grants = own
            .filter(|grant| !self.is_named_by_event(grant) && !other.is_named_by_event(grant))
            .cloned()
            .collect();
        for (subject, read_request) in other.read_requests {
            self.add(subject, read_request);
        }
        for (grant, grant_option) in other.named_revokes {
            *self.named_revokes.entry(grant).or_default() |= grant_option;
        }
        for (grant, times) in other.grant_calls {
            self.grant_calls.entry(grant).or_default().merge(times);
        }
        for (channel, sent) in other.heartbeats {
            let newest = self.heartbeats.entry(channel).or_default();
            *newest = sent.max(*newest);
        }
    }

    /// Adds a grant that a session made, with whether it made the grant option.
    pub fn add_own_grant(&mut self, grant: &PermissionGrant, grantable: bool) {
        if !self.is_named_by_event(grant) {
            self.own_grants.insert(grant.clone());
        }
        self.named_revokes.insert(grant.clone(), grantable);
    }

    /// Removes a grant from those that are revoked whatever a listing shows.
    pub fn remove_named_revoke(&mut self, grant: &PermissionGrant) {
        self.named_revokes.remove(grant);
        self.own_grants.remove(grant);
    }

    /// Whether an event named the revoke of a grant.
    #[must_use]
    pub fn is_named_by_event(&self, grant: &PermissionGrant) -> bool {
        self.named_revokes.contains_key(grant) && !self.own_grants.contains(grant)
    }

    /// Divides the scope into what is requested of some subjects, with the revokes named by events, and the rest.
    #[must_use]
    pub fn divide(self, subjects: &BTreeSet<Subject>) -> (Self, Self) {
        let (mut selected, mut rest) = (Self::default(), Self::default());
        for part in self.split() {
            let mut requested = part.read_requests.keys();
            let mut named = part.named_revokes.keys();
            let is_selected = named.any(|grant| part.is_named_by_event(grant))
                || requested.any(|subject| subjects.contains(subject));
            match is_selected {
                true => selected.merge(part),
                false => rest.merge(part),
            }
        }
        (selected, rest)
    }

    /// Splits the scope into one for each subject. A named revoke goes to the scope of the subject
    /// that it is on.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        let subjects: Vec<Subject> = self.read_requests.keys().cloned().collect();
        // The subject that the grant is on, else its database, else the catalog.
        let owning_subject = |grant: &PermissionGrant| {
            let parent = grant.resource.database().cloned().map(Subject::Database);
            [
                Some(subject_of_grant(grant)),
                parent,
                Some(Subject::Catalog),
            ]
            .into_iter()
            .flatten()
            .find(|subject| subjects.contains(subject))
        };
        for (subject, read_request) in self.read_requests {
            let named_revokes: BTreeMap<PermissionGrant, bool> = self
                .named_revokes
                .iter()
                .filter(|(grant, _)| owning_subject(grant).as_ref() == Some(&subject))
                .map(|(grant, grant_option)| (grant.clone(), *grant_option))
                .collect();
            let heartbeats = match &subject {
                Subject::Table(id) if heartbeat::is_table(id) => self.heartbeats.clone(),
                Subject::Catalog
                | Subject::LakeFormation(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_) => BTreeMap::new(),
            };
            let own_grants = self.own_grants.iter();
            let own_grants = own_grants.filter(|grant| named_revokes.contains_key(*grant));
            let grant_calls = self.grant_calls.iter();
            let grant_calls =
                grant_calls.filter(|(grant, _)| owning_subject(grant).as_ref() == Some(&subject));
            let grant_calls = grant_calls.map(|(grant, times)| (grant.clone(), *times));
            parts.push(Self {
                grant_calls: grant_calls.collect(),
                read_requests: BTreeMap::from([(subject, read_request)]),
                own_grants: own_grants.cloned().collect(),
                named_revokes,
                heartbeats,
            });
        }
        parts
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read_requests.is_empty()
    }
}

/// Returns the subject that a grant belongs to.
#[must_use]
pub fn subject_of_grant(grant: &PermissionGrant) -> Subject {
    match &grant.resource {
        Resource::Database(name) | Resource::AllTables(name) => Subject::Database(name.clone()),
        Resource::Table(id)
        | Resource::Column(id, _)
        | Resource::ColumnsExcept(id, _)
        | Resource::DataCellsFilter(id, _) => Subject::Table(id.clone()),
        Resource::Catalog | Resource::LfTagPolicy { .. } => {
            Subject::LakeFormation(LfSubject::Permissions)
        }
        Resource::DataLocation(_) => Subject::LakeFormation(LfSubject::DataLocations),
        Resource::LfTag { .. } => Subject::LakeFormation(LfSubject::LfTags),
        Resource::LfTagExpression(_) => Subject::LakeFormation(LfSubject::LfTagExpressions),
    }
}

/// Returns the subject that a listed resource belongs to, if its kind is replicated.
#[must_use]
pub fn subject_of_resource(resource: &ListedResource) -> Option<Subject> {
    Some(match resource {
        ListedResource::Database(name) | ListedResource::TableWildcard(name) => {
            Subject::Database(name.clone())
        }
        ListedResource::Table(id)
        | ListedResource::Columns(id, _)
        | ListedResource::ColumnWildcard(id, _)
        | ListedResource::DataCellsFilter(id, _) => Subject::Table(id.clone()),
        ListedResource::Catalog | ListedResource::LfTagPolicy(..) => {
            Subject::LakeFormation(LfSubject::Permissions)
        }
        ListedResource::DataLocation(_) => Subject::LakeFormation(LfSubject::DataLocations),
        ListedResource::LfTag(..) => Subject::LakeFormation(LfSubject::LfTags),
        ListedResource::LfTagExpression(_) => Subject::LakeFormation(LfSubject::LfTagExpressions),
        ListedResource::Other(_) => return None,
    })
}

/// Returns the subject whose opt-ins contain an opt-in. Those that are on neither a database nor a
/// table belong to one subject.
#[must_use]
pub fn subject_of_opt_in(opt_in: &OptIn) -> Subject {
    match subject_of_resource(&opt_in.resource) {
        Some(subject) if !matches!(subject, Subject::LakeFormation(_)) => subject,
        Some(_) | None => Subject::LakeFormation(LfSubject::Permissions),
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self
            .read_requests
            .keys()
            .take(4)
            .map(Subject::to_string)
            .collect();
        f.write_str(&names.join(", "))?;
        match self.read_requests.len().saturating_sub(4) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Serializes maps whose keys are not strings as lists of pairs, for JSON.
pub mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    /// Serializes the map as a list of pairs, in the order of its keys.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    /// Deserializes a list of pairs. Of several with the same key, the last one counts.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?
            .into_iter()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Permission, Principal, Resource};

    fn table(name: &str) -> TableId {
        TableId::new(Name::new("sales").unwrap(), Name::new(name).unwrap())
    }

    #[test]
    fn split_keeps_each_named_revoke_with_its_subject() {
        let mut scope = Scope::table(table("orders"));
        scope.merge(Scope::table(table("items")));
        let grant = PermissionGrant {
            principal: Principal::iam_allowed(),
            resource: Resource::Column(table("orders"), Name::new("ssn").unwrap()),
            permission: Permission::Select,
            condition: None,
        };
        scope.named_revokes.insert(grant, true);
        let parts = scope.split();
        assert_eq!(parts.len(), 2);
        assert!(
            parts[0].named_revokes.is_empty(),
            "table items has no named revoke"
        );
        assert_eq!(parts[1].named_revokes.len(), 1);
    }

    fn grant_on(resource: Resource) -> PermissionGrant {
        PermissionGrant {
            principal: Principal::iam_allowed(),
            resource,
            permission: Permission::Select,
            condition: None,
        }
    }

    #[test]
    fn a_merged_scope_names_the_grants_of_both_and_an_event_outweighs_a_session() {
        let [ours, named, both] =
            ["ours", "named", "both"].map(|name| grant_on(Resource::Table(table(name))));
        let mut of_session = Scope::default();
        for grant in [&ours, &both] {
            of_session.add_own_grant(grant, false);
        }
        let mut of_event = Scope::default();
        for grant in [&named, &both] {
            of_event.named_revokes.insert(grant.clone(), true);
        }
        let mut session_first = of_session.clone();
        session_first.merge(of_event.clone());
        let mut event_first = of_event;
        event_first.merge(of_session.clone());
        assert_eq!(session_first, event_first);
        assert_eq!(event_first.own_grants, BTreeSet::from([ours.clone()]));
        let expected = [(&ours, false), (&named, true), (&both, true)];
        let expected = expected.map(|(grant, option)| (grant.clone(), option));
        assert_eq!(event_first.named_revokes, BTreeMap::from(expected));
        let mut of_sessions = of_session;
        let mut other = Scope::default();
        other.add_own_grant(&named, false);
        of_sessions.merge(other);
        assert_eq!(of_sessions.own_grants.len(), 3);
    }

    #[test]
    fn a_scope_is_divided_by_subjects_and_by_revokes_that_an_event_named() {
        let [orders, items, ours] = ["orders", "items", "ours"].map(table);
        let mut scope = Scope::default();
        for id in [&orders, &items, &ours] {
            scope.merge(Scope::table(id.clone()));
        }
        scope
            .named_revokes
            .insert(grant_on(Resource::Table(items.clone())), false);
        scope.add_own_grant(&grant_on(Resource::Table(ours.clone())), false);
        let (selected, rest) = scope.divide(&BTreeSet::from([Subject::Table(orders.clone())]));
        let subjects = |scope: &Scope| scope.read_requests.keys().cloned().collect::<Vec<_>>();
        assert_eq!(subjects(&selected), [items, orders].map(Subject::Table));
        assert_eq!(subjects(&rest), [Subject::Table(ours)]);
        assert_eq!(
            (selected.named_revokes.len(), rest.own_grants.len()),
            (1, 1)
        );
    }

    #[test]
    fn too_many_named_partitions_become_a_request_for_all() {
        let values = |numbers: std::ops::Range<usize>| -> BTreeSet<Vec<String>> {
            numbers.map(|n| vec![n.to_string()]).collect()
        };
        let mut scope = Scope::default();
        let subject = Subject::Table(table("orders"));
        scope.add(
            subject.clone(),
            ReadRequest::for_partitions(values(0..600), false),
        );
        assert_eq!(
            scope.read_requests[&subject].facets,
            [Facet::Definition].into()
        );
        scope.add(
            subject.clone(),
            ReadRequest::for_partitions(values(600..1001), true),
        );
        let read_request = &scope.read_requests[&subject];
        assert_eq!(
            read_request.facets,
            [Facet::Definition, Facet::Partitions].into()
        );
        assert!(
            read_request.partition_values.is_empty() && read_request.unnamed_partitions_deleted
        );
    }

    #[test]
    fn a_scope_survives_a_round_trip_through_json() {
        let mut scope = Scope::table(table("orders"));
        scope.merge(Scope::database(Name::new("sales").unwrap()));
        let json = serde_json::to_string(&scope).unwrap();
        assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
    }
}
