//! Random Regions with few objects.

use super::random::Random;
use crate::catalog::{
    Attachment, Column, DataCellsFilter, Database, FilterColumns, IndexStatus,
    NamedLfTagExpression, Observed, ObservedAttachment, OptIn, Partition, StorageDescriptor, Table,
};
use crate::grant::{
    Grants, LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedResource, Permission,
    PermissionGrant, Principal, Resource,
};
use crate::name::{Name, TableId};
use crate::scope::{Facet, LfSubject, Subject, subject_of_grant};
use crate::snapshot::{
    AbsenceProof, Attachments, LfTagPolicyGrants, LfTaggedResource, Observation, ObservedSettings,
    PartitionExtent, Partitions, Snapshot, by_key,
};
use crate::timestamp::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const READER: &str = "arn:aws:iam::111122223333:role/twinlake";
const PRINCIPALS: [&str; 3] = [
    "arn:aws:iam::111122223333:role/p",
    "arn:aws:iam::111122223333:role/q",
    crate::grant::IAM_ALLOWED_PRINCIPALS,
];
pub(super) const EXPRESSION: &str = "e";
const FILTERS: [&str; 2] = ["f", "g"];
const COLUMNS: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 3] = ["k", "m", "n"];

/// How a Region comes to differ from another one.
pub(super) struct Drift {
    /// The number of 100 things that change.
    pub(super) percent: usize,
    /// The only table that changes, with its database and what concerns all tables. `None`: all.
    pub(super) table: Option<TableId>,
    /// Things only go.
    pub(super) is_loss: bool,
}

impl Drift {
    fn of_everything() -> Self {
        Self {
            percent: 100,
            table: None,
            is_loss: false,
        }
    }

    pub(super) fn random(random: &mut Random) -> Self {
        let table = random
            .percent(70)
            .then(|| random.of(&every_table()).clone());
        let percents = match table {
            Some(_) => [10, 20, 35, 50],
            None => [3, 6, 12, 40],
        };
        Self {
            percent: *random.of(&percents),
            table,
            is_loss: random.percent(50),
        }
    }

    fn concerns(&self, subject: &Subject) -> bool {
        let Some(table) = &self.table else {
            return true;
        };
        match subject {
            Subject::Table(id) => id == table,
            Subject::Database(name) => *name == table.database,
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => true,
        }
    }

    fn hits(&self, random: &mut Random, subject: &Subject) -> bool {
        self.concerns(subject) && random.percent(self.percent)
    }

    /// Whether something is replaced and not only removed, in so many of 100 cases.
    fn replaces(&self, random: &mut Random, percent: usize) -> bool {
        !self.is_loss && random.percent(percent)
    }
}

/// One Region: what exists in it.
#[derive(Clone, Default)]
pub(super) struct Region {
    pub(super) databases: BTreeSet<Name>,
    /// Columns by table.
    pub(super) tables: BTreeMap<TableId, BTreeSet<&'static str>>,
    pub(super) grants: Grants,
    /// Values by subject, column and key.
    lf_tags: BTreeMap<(Subject, Option<&'static str>, &'static str), &'static str>,
    filters: BTreeMap<(TableId, &'static str), DataCellsFilter>,
    pub(super) opt_ins: BTreeMap<OptIn, Subject>,
    expression: Option<LfTagExpression>,
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn table_id(database: &str, table: &str) -> TableId {
    TableId::new(name(database), name(table))
}

pub(super) fn every_table() -> Vec<TableId> {
    let all = [("d", "t"), ("d", "u"), ("e", "t")];
    all.map(|(database, table)| table_id(database, table))
        .into()
}

pub(super) fn every_database() -> [Name; 2] {
    ["d", "e"].map(name)
}

fn expressions() -> Vec<LfTagExpression> {
    let one = |key: &str, values: &[&str]| {
        let values = values.iter().map(|value| (*value).to_owned());
        (key.to_owned(), values.collect::<BTreeSet<_>>())
    };
    vec![
        LfTagExpression::from([one("k", &["1"])]),
        LfTagExpression::from([one("k", &["2"]), one("m", &["1"])]),
        LfTagExpression::from([one("m", &["1", "2"])]),
        LfTagExpression::from([one("k", &["1"]), one("m", &["1"]), one("n", &["1"])]),
    ]
}

pub(super) fn every_resource() -> Vec<Resource> {
    let mut all = Vec::new();
    for database in every_database() {
        all.push(Resource::Database(database.clone()));
        all.push(Resource::AllTables(database));
    }
    for id in every_table() {
        all.push(Resource::Table(id.clone()));
        all.extend(COLUMNS.map(|column| Resource::Column(id.clone(), name(column))));
        all.push(Resource::ColumnsExcept(id.clone(), [name("b")].into()));
        all.extend(FILTERS.map(|filter| Resource::DataCellsFilter(id.clone(), filter.to_owned())));
    }
    for policy in expressions()
        .into_iter()
        .map(LfTagPolicy::Expression)
        .chain([LfTagPolicy::NamedExpression(EXPRESSION.to_owned())])
    {
        for target in [LfTagPolicyTarget::Database, LfTagPolicyTarget::Table] {
            let policy = policy.clone();
            all.push(Resource::LfTagPolicy { target, policy });
        }
    }
    all.push(Resource::LfTagExpression(EXPRESSION.to_owned()));
    all
}

fn every_grant() -> Vec<PermissionGrant> {
    let mut all = Vec::new();
    for resource in every_resource() {
        for principal in PRINCIPALS {
            let is_broad = matches!(resource, Resource::LfTagPolicy { .. });
            if is_broad && principal != PRINCIPALS[0] {
                continue;
            }
            all.push(grant(principal, &resource));
        }
    }
    all
}

pub(super) fn grant(principal: &str, resource: &Resource) -> PermissionGrant {
    let permission = match principal == crate::grant::IAM_ALLOWED_PRINCIPALS {
        true => Permission::All,
        false => Permission::Select,
    };
    PermissionGrant {
        principal: Principal(principal.to_owned()),
        resource: resource.clone(),
        permission,
        condition: None,
    }
}

fn lf_tag_owners() -> Vec<(Subject, Option<&'static str>)> {
    let databases = every_database().map(|name| (Subject::Database(name), None));
    let tables = every_table().into_iter().flat_map(|id| {
        let of_columns = COLUMNS.iter().copied().map(Some);
        let owners = [None].into_iter().chain(of_columns);
        owners.map(move |column| (Subject::Table(id.clone()), column))
    });
    databases.into_iter().chain(tables).collect()
}

fn filter(random: &mut Random, filter: &str) -> DataCellsFilter {
    let columns = match random.below(3) {
        0 => FilterColumns::Only([name("a")].into()),
        1 => FilterColumns::AllBut([name("b")].into()),
        _ => FilterColumns::AllBut(BTreeSet::new()),
    };
    DataCellsFilter {
        name: filter.to_owned(),
        rows: None,
        columns,
    }
}

pub(super) fn every_opt_in() -> BTreeMap<OptIn, Subject> {
    let mut all = BTreeMap::new();
    let databases = every_database().map(|name| {
        let subject = Subject::Database(name.clone());
        (ListedResource::Database(name), subject)
    });
    let tables = every_table()
        .into_iter()
        .map(|id| (ListedResource::Table(id.clone()), Subject::Table(id)));
    for (resource, subject) in databases.into_iter().chain(tables) {
        let opt_in = OptIn {
            principal: Principal(PRINCIPALS[0].to_owned()),
            resource,
            condition: None,
        };
        all.insert(opt_in, subject);
    }
    all
}

/// A grant on the tables whose LF-Tags satisfy an expression.
pub(super) fn policy_grant(expression: &[(&str, &str)]) -> PermissionGrant {
    let expression = expression.iter().map(|(key, value)| {
        let values = BTreeSet::from([(*value).to_owned()]);
        ((*key).to_owned(), values)
    });
    let resource = Resource::LfTagPolicy {
        target: LfTagPolicyTarget::Table,
        policy: LfTagPolicy::Expression(expression.collect()),
    };
    grant(PRINCIPALS[0], &resource)
}

pub(super) fn set_lf_tag(
    region: &mut Region,
    subject: &Subject,
    column: Option<&'static str>,
    key: &'static str,
    value: &'static str,
) {
    let owner = (subject.clone(), column, key);
    region.lf_tags.insert(owner, value);
}

/// Puts the data cells filter `f`, which shows all columns but the hidden ones.
pub(super) fn set_filter(region: &mut Region, id: &TableId, hidden: &[&str]) {
    let filter = DataCellsFilter {
        name: FILTERS[0].to_owned(),
        rows: None,
        columns: FilterColumns::AllBut(hidden.iter().copied().map(name).collect()),
    };
    region.filters.insert((id.clone(), FILTERS[0]), filter);
}

impl Region {
    /// A Region with one table, and nothing else.
    pub(super) fn with_table<const N: usize>(id: &TableId, columns: [&'static str; N]) -> Self {
        Self {
            databases: [id.database.clone()].into(),
            tables: [(id.clone(), columns.into())].into(),
            ..Self::default()
        }
    }

    /// A random Region. Of the things that a drift does not concern, it has few.
    pub(super) fn random(random: &mut Random, drift: &Drift) -> Self {
        let mut region = Self::default();
        region.change(random, &Drift::of_everything());
        region.grants.clear();
        let near: Vec<PermissionGrant> = every_grant()
            .into_iter()
            .filter(|grant| drift.concerns(&subject_of_grant(grant)))
            .collect();
        for _ in 0..random.below(30) {
            let chosen = random.of(&near).clone();
            region.grants.insert(chosen, random.percent(20));
        }
        region
    }

    /// Removes or replaces some of what a drift concerns.
    pub(super) fn change(&mut self, random: &mut Random, drift: &Drift) {
        self.change_objects(random, drift);
        for chosen in every_grant() {
            if drift.hits(random, &subject_of_grant(&chosen)) {
                let is_near = drift.table.is_some() || random.percent(30);
                let is_changed = is_near && self.grants.remove(&chosen).is_some();
                if is_changed || random.percent(10) && drift.replaces(random, 50) {
                    let replaces = drift.replaces(random, 50);
                    self.grants
                        .extend(replaces.then(|| (chosen, random.percent(20))));
                }
            }
        }
        for (subject, column) in lf_tag_owners() {
            for key in KEYS {
                if drift.hits(random, &subject) {
                    let owner = (subject.clone(), column, key);
                    self.lf_tags.remove(&owner);
                    if drift.replaces(random, 40) {
                        self.lf_tags.insert(owner, *random.of(&["1", "2"]));
                    }
                }
            }
        }
        for id in every_table() {
            for of in FILTERS {
                if drift.hits(random, &Subject::Table(id.clone())) {
                    self.filters.remove(&(id.clone(), of));
                    if drift.replaces(random, 60) {
                        let filter = filter(random, of);
                        self.filters.insert((id.clone(), of), filter);
                    }
                }
            }
        }
        for (opt_in, subject) in every_opt_in() {
            if drift.hits(random, &subject) {
                self.opt_ins.remove(&opt_in);
                if drift.replaces(random, 50) {
                    self.opt_ins.insert(opt_in, subject);
                }
            }
        }
        if drift.hits(random, &Subject::Catalog) {
            let is_replaced = drift.replaces(random, 80);
            self.expression = is_replaced.then(|| random.of(&expressions()).clone());
        }
    }

    fn change_objects(&mut self, random: &mut Random, drift: &Drift) {
        for database in every_database() {
            if drift.table.is_none() && drift.hits(random, &Subject::Database(database.clone())) {
                set(&mut self.databases, database, random.percent(90));
            }
        }
        for id in every_table() {
            if drift.hits(random, &Subject::Table(id.clone())) {
                let existing = self.tables.remove(&id).unwrap_or_default();
                if random.percent(75) {
                    let remains = |column: &&str| !drift.is_loss || existing.contains(*column);
                    let columns = COLUMNS.into_iter().filter(remains);
                    let columns = columns.filter(|_| random.percent(70));
                    self.tables.insert(id, columns.collect());
                }
            }
        }
        let databases = self.databases.clone();
        self.tables.retain(|id, _| databases.contains(&id.database));
    }

    pub(super) fn attachments(&self) -> BTreeMap<(Subject, Facet), Vec<Attachment>> {
        let mut all: BTreeMap<(Subject, Facet), Vec<Attachment>> = BTreeMap::new();
        let owners = every_database().map(Subject::Database).into_iter();
        let owners = owners.chain(every_table().into_iter().map(Subject::Table));
        for subject in owners {
            for facet in [
                Facet::LfTagAssignments,
                Facet::DataCellsFilters,
                Facet::OptIns,
            ] {
                all.entry((subject.clone(), facet)).or_default();
            }
        }
        let mut add = |subject: &Subject, attachment: Attachment| {
            let facet = attachment.key().facet();
            let of_facet = all.entry((subject.clone(), facet)).or_default();
            of_facet.push(attachment);
        };
        for ((subject, column, key), value) in &self.lf_tags {
            add(subject, lf_tag(*column, key, value));
        }
        for ((id, _), filter) in &self.filters {
            let subject = Subject::Table(id.clone());
            add(&subject, Attachment::DataCellsFilter(filter.clone()));
        }
        for (opt_in, subject) in &self.opt_ins {
            add(subject, Attachment::OptIn(Box::new(opt_in.clone())));
        }
        if let Some(expression) = &self.expression {
            let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
            add(&subject, named_expression(expression));
        }
        let subject = Subject::LakeFormation(LfSubject::LfTagExpressions);
        all.entry((subject, Facet::Items)).or_default();
        all
    }

    pub(super) fn snapshot(&self, searches: &BTreeSet<Resource>) -> Snapshot {
        let mut snapshot = Snapshot {
            is_administrator: true,
            settings: Some(Observation::Present(ObservedSettings::default())),
            opt_ins: Some(Observation::Present(self.opt_ins.keys().cloned().collect())),
            ..Snapshot::default()
        };
        for database in every_database() {
            let exists = self.databases.contains(&database);
            let object = exists.then(|| observed(database_object(&database)));
            snapshot
                .databases
                .insert(database.clone(), object.unwrap_or_else(absent));
            let of_database = self.tables.keys().filter(|id| id.database == database);
            let names = of_database.map(|id| id.table.clone()).collect();
            snapshot.table_names.insert(database.clone(), names);
            snapshot.function_listings.insert(database, Ok(()));
        }
        for id in every_table() {
            let object = self.tables.get(&id);
            let object = object.map(|columns| observed(table_object(&id, columns)));
            snapshot
                .tables
                .insert(id.clone(), object.unwrap_or_else(absent));
            let partitions = Partitions {
                to_compare: BTreeMap::from([(vec!["1".to_owned()], partition())]),
                extent: PartitionExtent::Complete { total: 1 },
                ..Partitions::empty()
            };
            snapshot
                .partitions
                .insert(id, Observation::Present(partitions));
        }
        for (key, attachments) in self.attachments() {
            let observed = attachments
                .into_iter()
                .map(|attachment| ObservedAttachment {
                    attachment,
                    index_status: IndexStatus::Present,
                });
            let keyed: Attachments = by_key(observed.collect());
            snapshot
                .attachments
                .insert(key, Observation::Present(keyed));
        }
        self.add_grants(&mut snapshot);
        self.add_searches(&mut snapshot, searches);
        snapshot
    }

    fn add_grants(&self, snapshot: &mut Snapshot) {
        let databases = every_database().map(Subject::Database);
        let tables = every_table().into_iter().map(Subject::Table);
        let lake = [LfSubject::Permissions, LfSubject::LfTagExpressions];
        let all = databases.into_iter().chain(tables);
        let all = all.chain(lake.map(Subject::LakeFormation));
        let mut by_subject: BTreeMap<Subject, Grants> =
            all.map(|subject| (subject, Grants::new())).collect();
        for (chosen, grantable) in &self.grants {
            let of_subject = by_subject.entry(subject_of_grant(chosen)).or_default();
            of_subject.insert(chosen.clone(), *grantable);
        }
        for (subject, mut grants) in by_subject {
            if let Subject::Database(name) = &subject {
                // Twinlake's role sees every column.
                let all = Resource::AllTables(name.clone());
                grants.insert(grant(READER, &all), false);
            }
            snapshot.nonempty_full_grant_reads.insert(subject.clone());
            snapshot
                .grants
                .insert(subject, Observation::Present(grants));
        }
        let by_policies = self
            .grants
            .iter()
            .filter(|(grant, _)| matches!(grant.resource, Resource::LfTagPolicy { .. }));
        snapshot.lf_tag_policy_grants = Some(Observation::Present(LfTagPolicyGrants {
            grants: by_policies.map(|(g, o)| (g.clone(), *o)).collect(),
            from_full_read: true,
            ..LfTagPolicyGrants::default()
        }));
    }

    /// Adds the results of every search by LF-Tags: all resources with their LF-Tags.
    fn add_searches(&self, snapshot: &mut Snapshot, searches: &BTreeSet<Resource>) {
        let tags = |subject: &Subject, column: Option<&str>| {
            let own = self
                .lf_tags
                .iter()
                .filter(|((of, on, _), _)| of == subject && *on == column);
            own.map(|((_, _, key), value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let databases = self.databases.iter().map(|database| LfTaggedResource {
            database: database.to_string(),
            on_database: tags(&Subject::Database(database.clone()), None),
            ..LfTaggedResource::default()
        });
        let tables = self.tables.iter().map(|(id, columns)| {
            let subject = Subject::Table(id.clone());
            let on_column = |column: &&str| ((*column).to_owned(), tags(&subject, Some(column)));
            LfTaggedResource {
                database: id.database.to_string(),
                table: Some(id.table.to_string()),
                on_database: tags(&Subject::Database(id.database.clone()), None),
                on_table: tags(&subject, None),
                on_columns: columns.iter().map(on_column).collect(),
            }
        });
        let (databases, tables): (Vec<_>, Vec<_>) = (databases.collect(), tables.collect());
        for resource in searches {
            if let Resource::LfTagPolicy { target, policy } = resource.clone() {
                let found = match target {
                    LfTagPolicyTarget::Database => databases.clone(),
                    LfTagPolicyTarget::Table => tables.clone(),
                };
                let search = (target, policy);
                snapshot
                    .lf_tagged_resources
                    .insert(search, Observation::Present(found));
            }
        }
    }
}

fn set<T: Ord>(members: &mut BTreeSet<T>, member: T, is_member: bool) {
    match is_member {
        true => members.insert(member),
        false => members.remove(&member),
    };
}

fn observed<T>(object: T) -> Observation<Observed<T>> {
    Observation::Present(Observed {
        object,
        created: Some(Timestamp::from_secs(1)),
        updated: None,
        version: None,
    })
}

fn absent<T>() -> Observation<T> {
    Observation::Absent(AbsenceProof {
        not_returned: true,
        unlisted: true,
        is_administrator: true,
        sibling_seen: true,
        deletion_named: false,
        read_error: None,
    })
}

pub(super) fn database_object(name: &Name) -> Database {
    Database {
        create_table_default_permissions: Some(Vec::new()),
        ..Database::named(name.clone())
    }
}

pub(super) fn table_object(id: &TableId, columns: &BTreeSet<&str>) -> Table {
    let columns = columns.iter().map(|column| Column {
        name: (*column).to_owned(),
        kind: Some("int".to_owned()),
        comment: None,
        parameters: BTreeMap::new(),
    });
    Table {
        storage_descriptor: Some(StorageDescriptor {
            columns: columns.collect(),
            ..StorageDescriptor::default()
        }),
        ..Table::named(id.table.clone())
    }
}

pub(super) fn partition() -> Partition {
    serde_json::from_value(serde_json::json!({ "Values": ["1"] })).unwrap()
}

fn lf_tag(column: Option<&str>, key: &str, value: &str) -> Attachment {
    Attachment::LfTagAssignment {
        column: column.map(name),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn named_expression(expression: &LfTagExpression) -> Attachment {
    Attachment::NamedExpression(NamedLfTagExpression {
        name: EXPRESSION.to_owned(),
        description: None,
        expression: expression.clone(),
    })
}
