//! Access to the raw state, for test oracles that must not depend on the code under test.

use crate::state::{SimState, StoredGrant, StoredResource};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, DataCellsFilter, Observed, OptIn};
use twinlake_core::grant::{LfTagExpression, LfTagPolicy, LfTagPolicyTarget};
use twinlake_core::snapshot::LfTags;
use twinlake_core::{Database, Function, FunctionId, Name, Partition, Subject, Table, TableId};

/// The resource of a stored grant.
#[derive(Clone, Debug)]
pub struct GrantedResource<'a>(&'a StoredResource);

impl GrantedResource<'_> {
    /// Returns the columns of a table that the grant covers, or `None` if the grant is not on the
    /// table. `id` is `database.table`.
    #[must_use]
    pub fn covered_columns(
        &self,
        id: &str,
        columns: &BTreeSet<String>,
    ) -> Option<BTreeSet<String>> {
        let is_table = |other: &TableId| other.to_string() == id;
        let is_in_database = |database: &Name| id.starts_with(&format!("{database}."));
        match self.0 {
            StoredResource::Table(other) if is_table(other) => Some(columns.clone()),
            StoredResource::AllTables(database) | StoredResource::AllTablesAllColumns(database)
                if is_in_database(database) =>
            {
                Some(columns.clone())
            }
            StoredResource::Column(other, column) if is_table(other) => {
                let only = BTreeSet::from([column.as_str().to_owned()]);
                Some(only.intersection(columns).cloned().collect())
            }
            StoredResource::ColumnWildcard(other, excluded) if is_table(other) => {
                let is_open = |column: &&String| !excluded.iter().any(|e| e.as_str() == *column);
                Some(columns.iter().filter(is_open).cloned().collect())
            }
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllTablesAllColumns(_)
            | StoredResource::Column(..)
            | StoredResource::ColumnWildcard(..)
            | StoredResource::Database(_)
            | StoredResource::DataCellsFilter(..)
            | StoredResource::Catalog
            | StoredResource::DataLocation(_)
            | StoredResource::LfTag(..)
            | StoredResource::LfTagPolicy(..)
            | StoredResource::LfTagExpression(_)
            | StoredResource::Other(_) => None,
        }
    }

    /// Whether the grant names a column that its table does not have.
    #[must_use]
    pub fn names_missing_column(&self, tables: &BTreeMap<String, BTreeSet<String>>) -> bool {
        let has = |id: &TableId, column: &Name| {
            let columns = tables.get(&id.to_string());
            columns.is_some_and(|columns| columns.contains(column.as_str()))
        };
        match self.0 {
            StoredResource::Column(id, column) => !has(id, column),
            StoredResource::ColumnWildcard(id, excluded) => excluded.iter().any(|c| !has(id, c)),
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllTablesAllColumns(_)
            | StoredResource::Database(_)
            | StoredResource::DataCellsFilter(..)
            | StoredResource::Catalog
            | StoredResource::DataLocation(_)
            | StoredResource::LfTag(..)
            | StoredResource::LfTagPolicy(..)
            | StoredResource::LfTagExpression(_)
            | StoredResource::Other(_) => false,
        }
    }

    /// Returns the table and name of the data cells filter that the grant is on.
    #[must_use]
    pub fn data_cells_filter(&self) -> Option<(&TableId, &str)> {
        if let StoredResource::DataCellsFilter(id, name) = self.0 {
            return Some((id, name));
        }
        None
    }

    /// Returns the LF-Tag policy that the grant is on.
    #[must_use]
    pub fn lf_tag_policy(&self) -> Option<(LfTagPolicyTarget, &LfTagPolicy)> {
        if let StoredResource::LfTagPolicy(target, policy) = self.0 {
            return Some((*target, policy));
        }
        None
    }

    /// Returns the resource as text if it is the catalog, a data location, an LF-Tag value or a
    /// named LF-Tag expression.
    #[must_use]
    pub fn lakeformation_resource(&self) -> Option<String> {
        match self.0 {
            StoredResource::Catalog => Some("catalog".to_owned()),
            StoredResource::DataLocation(arn) => Some(format!("location {arn}")),
            StoredResource::LfTag(key, value) => Some(format!("tag {key}={value}")),
            StoredResource::LfTagExpression(name) => Some(format!("expression {name}")),
            StoredResource::Database(_)
            | StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::Column(..)
            | StoredResource::ColumnWildcard(..)
            | StoredResource::AllTablesAllColumns(_)
            | StoredResource::DataCellsFilter(..)
            | StoredResource::LfTagPolicy(..)
            | StoredResource::Other(_) => None,
        }
    }

    /// Returns the database that the grant is on.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        match self.0 {
            StoredResource::Database(name) => Some(name.as_str()),
            StoredResource::Table(_)
            | StoredResource::AllTables(_)
            | StoredResource::AllTablesAllColumns(_)
            | StoredResource::Column(..)
            | StoredResource::ColumnWildcard(..)
            | StoredResource::DataCellsFilter(..)
            | StoredResource::Catalog
            | StoredResource::DataLocation(_)
            | StoredResource::LfTag(..)
            | StoredResource::LfTagPolicy(..)
            | StoredResource::LfTagExpression(_)
            | StoredResource::Other(_) => None,
        }
    }
}

impl StoredGrant {
    /// Returns the resource of the grant.
    #[must_use]
    pub fn granted_resource(&self) -> GrantedResource<'_> {
        GrantedResource(&self.resource)
    }
}

impl SimState {
    /// Returns every stored grant of a Region with its permissions and grant options.
    #[must_use]
    pub fn raw_grants(&self, region: &str) -> Vec<(StoredGrant, BTreeMap<String, bool>)> {
        let store = self.region(region).map(|region| region.grants.clone());
        store.unwrap_or_default().into_iter().collect()
    }

    /// Returns every LF-Tag, assignment, expression, filter, opt-in and registration of a Region,
    /// by a unique key.
    #[must_use]
    pub fn raw_lakeformation(&self, region: &str) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let Ok(region) = self.region(region) else {
            return all;
        };
        for (key, values) in &region.lf_tags {
            for value in values {
                all.insert(format!("tag|{key}={value}"), json!(true));
            }
        }
        for (subject, assigned) in &region.lf_tag_assignments {
            for ((column, key), value) in assigned {
                let column = column.as_ref().map(Name::as_str).unwrap_or_default();
                all.insert(format!("assigned|{subject}|{column}|{key}"), json!(value));
            }
        }
        for (name, saved) in &region.lf_tag_expressions {
            all.insert(format!("expression|{name}"), json!(saved));
        }
        for (id, filters) in &region.data_cells_filters {
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

    /// Returns every data cells filter of a Region, by table and name.
    #[must_use]
    pub fn raw_data_cells_filters(
        &self,
        region: &str,
    ) -> BTreeMap<(String, String), DataCellsFilter> {
        let filters = self
            .region(region)
            .map(|region| region.data_cells_filters.clone());
        let tables = filters.unwrap_or_default().into_iter();
        tables
            .flat_map(|(id, all)| {
                let all = all.into_iter();
                all.map(move |(name, (filter, _))| ((id.to_string(), name), filter))
            })
            .collect()
    }

    /// Returns every opt-in of a Region.
    #[must_use]
    pub fn raw_opt_ins(&self, region: &str) -> BTreeSet<OptIn> {
        let all = self.region(region).map(|region| region.opt_ins.clone());
        all.unwrap_or_default()
    }

    /// Returns a named LF-Tag expression of a Region.
    #[must_use]
    pub fn raw_lf_tag_expression(&self, region: &str, name: &str) -> Option<LfTagExpression> {
        let saved = self.region(region).ok()?.lf_tag_expressions.get(name)?;
        Some(saved.expression.clone())
    }

    /// Returns the LF-Tags assigned to a subject or to one of its columns, without inherited ones.
    #[must_use]
    pub fn raw_lf_tags(&self, region: &str, subject: &Subject, column: Option<&str>) -> LfTags {
        let assigned = self.region(region).ok();
        let assigned = assigned.and_then(|region| region.lf_tag_assignments.get(subject));
        let own = assigned.into_iter().flatten();
        own.filter(|((of, _), _)| of.as_ref().map(Name::as_str) == column)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Returns the columns of every table of a Region, including partition keys.
    #[must_use]
    pub fn table_columns(&self, region: &str) -> BTreeMap<String, BTreeSet<String>> {
        let tables = self.raw_tables(region).into_iter();
        tables
            .map(|(id, observed)| {
                let columns = observed.object.columns().map(|c| c.name.to_lowercase());
                (id.to_string(), columns.collect())
            })
            .collect()
    }

    /// Returns every database of a Region.
    #[must_use]
    pub fn raw_databases(&self, region: &str) -> BTreeMap<Name, Observed<Database>> {
        let all = self.region(region).map(|region| region.databases.clone());
        all.unwrap_or_default()
    }

    /// Returns every table of a Region.
    #[must_use]
    pub fn raw_tables(&self, region: &str) -> BTreeMap<TableId, Observed<Table>> {
        let all = self.region(region).map(|region| region.tables.clone());
        all.unwrap_or_default()
    }

    /// Returns the number of archived table versions of a Region.
    #[must_use]
    pub fn archived_versions(&self, region: &str) -> usize {
        let region = self.region(region);
        region.map_or(0, |region| region.archived_versions.values().sum())
    }

    /// Returns every user-defined function of a Region.
    #[must_use]
    pub fn raw_functions(&self, region: &str) -> BTreeMap<FunctionId, Observed<Function>> {
        let all = self.region(region).map(|region| region.functions.clone());
        all.unwrap_or_default()
    }

    /// Returns every partition index, column statistics and Glue tag of a Region, by a unique key.
    #[must_use]
    pub fn raw_attachments(&self, region: &str) -> BTreeMap<String, Attachment> {
        let Ok(region) = self.region(region) else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        let mut put = |owner: &Subject, attachment: Attachment| {
            all.insert(format!("{owner} {}", attachment.key()), attachment);
        };
        for (id, indexes) in &region.indexes {
            for stored in indexes.iter().filter(|stored| !stored.is_deleting) {
                put(
                    &Subject::Table(id.clone()),
                    Attachment::Index(stored.index.clone()),
                );
            }
        }
        for (id, statistics) in &region.statistics {
            for one in statistics.values() {
                let attachment = Attachment::Statistics(Box::new(one.clone()));
                put(&Subject::Table(id.clone()), attachment);
            }
        }
        for (owner, tags) in &region.glue_tags {
            for (key, value) in tags {
                let (key, value) = (key.clone(), value.clone());
                put(owner, Attachment::GlueTag { key, value });
            }
        }
        all
    }

    /// Returns every partition of a Region, by table and values.
    #[must_use]
    pub fn raw_partitions(
        &self,
        region: &str,
    ) -> BTreeMap<TableId, BTreeMap<Vec<String>, Partition>> {
        let all = self.region(region).map(|region| region.partitions.clone());
        all.unwrap_or_default()
    }
}
