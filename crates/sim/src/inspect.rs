//! The raw state, for judges that must not trust what the product reads.

use crate::state::{StoredGrant, StoredResource, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{CellsFilter, OptIn, Part, Seen};
use twinlake_core::grant::{TagExpression, TagRule, TagTarget};
use twinlake_core::reading::TagSet;
use twinlake_core::{Database, Function, FunctionId, Name, Partition, Subject, Table, TableId};

/// What a stored grant is on, in plain words.
#[derive(Clone, Debug)]
pub struct Holding<'a>(&'a StoredResource);

impl Holding<'_> {
    /// The columns of a table that the grant covers; `None` if it is not on the
    /// table at all. `id` is `database.table`.
    #[must_use]
    pub fn covers(&self, id: &str, columns: &BTreeSet<String>) -> Option<BTreeSet<String>> {
        let of = |other: &TableId| other.to_string() == id;
        let within = |database: &Name| id.starts_with(&format!("{database}."));
        match self.0 {
            StoredResource::Table(other) if of(other) => Some(columns.clone()),
            StoredResource::AllTables(database) | StoredResource::AllColumns(database)
                if within(database) =>
            {
                Some(columns.clone())
            }
            StoredResource::Column(other, column) if of(other) => {
                let only = BTreeSet::from([column.as_str().to_owned()]);
                Some(only.intersection(columns).cloned().collect())
            }
            StoredResource::Columns(other, excluded) if of(other) => {
                let is_open = |column: &&String| !excluded.iter().any(|e| e.as_str() == *column);
                Some(columns.iter().filter(is_open).cloned().collect())
            }
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllColumns(_)
            | StoredResource::Column(..)
            | StoredResource::Columns(..)
            | StoredResource::Database(_)
            | StoredResource::Filter(..)
            | StoredResource::Catalog
            | StoredResource::Location(_)
            | StoredResource::Tag(..)
            | StoredResource::TagPolicy(..)
            | StoredResource::Expression(_)
            | StoredResource::Other(_) => None,
        }
    }

    /// Whether the grant names a column that its table lacks.
    #[must_use]
    pub fn dangles(&self, tables: &BTreeMap<String, BTreeSet<String>>) -> bool {
        let has = |id: &TableId, column: &Name| {
            let columns = tables.get(&id.to_string());
            columns.is_some_and(|columns| columns.contains(column.as_str()))
        };
        match self.0 {
            StoredResource::Column(id, column) => !has(id, column),
            StoredResource::Columns(id, excluded) => excluded.iter().any(|c| !has(id, c)),
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllColumns(_)
            | StoredResource::Database(_)
            | StoredResource::Filter(..)
            | StoredResource::Catalog
            | StoredResource::Location(_)
            | StoredResource::Tag(..)
            | StoredResource::TagPolicy(..)
            | StoredResource::Expression(_)
            | StoredResource::Other(_) => false,
        }
    }

    /// The data cells filter that the grant is through.
    #[must_use]
    pub fn filter(&self) -> Option<(&TableId, &str)> {
        if let StoredResource::Filter(id, name) = self.0 {
            return Some((id, name));
        }
        None
    }

    /// The LF-Tag policy that the grant is by.
    #[must_use]
    pub fn tag_policy(&self) -> Option<(TagTarget, &TagRule)> {
        if let StoredResource::TagPolicy(target, rule) = self.0 {
            return Some((*target, rule));
        }
        None
    }

    /// What the grant is on, if it is on something of the lake as a whole.
    #[must_use]
    pub fn lake(&self) -> Option<String> {
        match self.0 {
            StoredResource::Catalog => Some("catalog".to_owned()),
            StoredResource::Location(place) => Some(format!("location {place}")),
            StoredResource::Tag(key, value) => Some(format!("tag {key}={value}")),
            StoredResource::Expression(name) => Some(format!("expression {name}")),
            StoredResource::Database(_)
            | StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::Column(..)
            | StoredResource::Columns(..)
            | StoredResource::AllColumns(_)
            | StoredResource::Filter(..)
            | StoredResource::TagPolicy(..)
            | StoredResource::Other(_) => None,
        }
    }

    /// The database that the grant is on.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        match self.0 {
            StoredResource::Database(name) => Some(name.as_str()),
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllColumns(_)
            | StoredResource::Column(..)
            | StoredResource::Columns(..)
            | StoredResource::Filter(..)
            | StoredResource::Catalog
            | StoredResource::Location(_)
            | StoredResource::Tag(..)
            | StoredResource::TagPolicy(..)
            | StoredResource::Expression(_)
            | StoredResource::Other(_) => None,
        }
    }
}

impl StoredGrant {
    /// What the grant is on.
    #[must_use]
    pub fn describe(&self) -> Holding<'_> {
        Holding(&self.resource)
    }
}

impl World {
    /// Every stored grant of a Region, with its permissions and grant options.
    #[must_use]
    pub fn raw_grants(&self, region: &str) -> Vec<(StoredGrant, BTreeMap<String, bool>)> {
        let store = self.region(region).map(|region| region.grants.clone());
        store.unwrap_or_default().into_iter().collect()
    }

    /// Every LF-Tag, assignment, expression, filter, opt-in and registration of a Region,
    /// each by what tells it from all others.
    #[must_use]
    pub fn raw_lake(&self, region: &str) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let Ok(region) = self.region(region) else {
            return all;
        };
        for (key, values) in &region.tags {
            for value in values {
                all.insert(format!("tag|{key}={value}"), json!(true));
            }
        }
        for (subject, assigned) in &region.assigned {
            for ((column, key), value) in assigned {
                let column = column.as_ref().map(Name::as_str).unwrap_or_default();
                all.insert(format!("assigned|{subject}|{column}|{key}"), json!(value));
            }
        }
        for (name, saved) in &region.expressions {
            all.insert(format!("expression|{name}"), json!(saved));
        }
        for (id, filters) in &region.filters {
            for (name, (filter, _)) in filters {
                all.insert(format!("filter|{id}|{name}"), json!(filter));
            }
        }
        for one in &region.opt_ins {
            all.insert(
                format!("opt-in|{:?}|{}", one.resource, one.principal),
                json!(true),
            );
        }
        for (arn, one) in &region.registrations {
            all.insert(format!("registration|{arn}"), json!(one));
        }
        all
    }

    /// Every data cells filter of a Region, by table and name.
    #[must_use]
    pub fn raw_filters(&self, region: &str) -> BTreeMap<(String, String), CellsFilter> {
        let filters = self.region(region).map(|region| region.filters.clone());
        let tables = filters.unwrap_or_default().into_iter();
        tables
            .flat_map(|(id, all)| {
                let all = all.into_iter();
                all.map(move |(name, (filter, _))| ((id.to_string(), name), filter))
            })
            .collect()
    }

    /// Every opt-in of a Region.
    #[must_use]
    pub fn raw_opt_ins(&self, region: &str) -> BTreeSet<OptIn> {
        let all = self.region(region).map(|region| region.opt_ins.clone());
        all.unwrap_or_default()
    }

    /// A saved expression of a Region.
    #[must_use]
    pub fn raw_expression(&self, region: &str, name: &str) -> Option<TagExpression> {
        let saved = self.region(region).ok()?.expressions.get(name)?;
        Some(saved.expression.clone())
    }

    /// LF-Tags that are assigned to a subject, or to a column of it, and not inherited.
    #[must_use]
    pub fn raw_tags(&self, region: &str, subject: &Subject, column: Option<&str>) -> TagSet {
        let assigned = self.region(region).ok();
        let assigned = assigned.and_then(|region| region.assigned.get(subject));
        let own = assigned.into_iter().flatten();
        own.filter(|((of, _), _)| of.as_ref().map(Name::as_str) == column)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// The columns of every table of a Region, partition keys included.
    #[must_use]
    pub fn table_columns(&self, region: &str) -> BTreeMap<String, BTreeSet<String>> {
        let tables = self.raw_tables(region).into_iter();
        tables
            .map(|(id, seen)| {
                let columns = seen.object.columns().map(|c| c.name.to_lowercase());
                (id.to_string(), columns.collect())
            })
            .collect()
    }

    /// Every database of a Region.
    #[must_use]
    pub fn raw_databases(&self, region: &str) -> BTreeMap<Name, Seen<Database>> {
        let all = self.region(region).map(|region| region.databases.clone());
        all.unwrap_or_default()
    }

    /// Every table of a Region.
    #[must_use]
    pub fn raw_tables(&self, region: &str) -> BTreeMap<TableId, Seen<Table>> {
        let all = self.region(region).map(|region| region.tables.clone());
        all.unwrap_or_default()
    }

    /// How many versions of a Region's tables updates have archived.
    #[must_use]
    pub fn archived_versions(&self, region: &str) -> usize {
        let region = self.region(region);
        region.map_or(0, |region| region.archived.values().sum())
    }

    /// Every function of a Region.
    #[must_use]
    pub fn raw_functions(&self, region: &str) -> BTreeMap<FunctionId, Seen<Function>> {
        let all = self.region(region).map(|region| region.functions.clone());
        all.unwrap_or_default()
    }

    /// Every partition index, column statistics and tag of a Region, each by what
    /// tells it from all others.
    #[must_use]
    pub fn raw_parts(&self, region: &str) -> BTreeMap<String, Part> {
        let Ok(region) = self.region(region) else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        let mut put = |owner: &Subject, part: Part| {
            all.insert(format!("{owner} {}", part.key()), part);
        };
        for (id, indexes) in &region.indexes {
            for stored in indexes.iter().filter(|stored| !stored.leaving) {
                put(
                    &Subject::Table(id.clone()),
                    Part::Index(stored.index.clone()),
                );
            }
        }
        for (id, statistics) in &region.statistics {
            for one in statistics.values() {
                let part = Part::Statistics(Box::new(one.clone()));
                put(&Subject::Table(id.clone()), part);
            }
        }
        for (owner, tags) in &region.glue_tags {
            for (key, value) in tags {
                let (key, value) = (key.clone(), value.clone());
                put(owner, Part::Tag { key, value });
            }
        }
        all
    }

    /// Every partition of a Region.
    #[must_use]
    pub fn raw_partitions(
        &self,
        region: &str,
    ) -> BTreeMap<TableId, BTreeMap<Vec<String>, Partition>> {
        let all = self.region(region).map(|region| region.partitions.clone());
        all.unwrap_or_default()
    }
}
