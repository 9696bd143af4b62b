//! Resource links: resolution of names, and reads of links.

use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::SimState;
use twinlake_core::catalog::Observed;
use twinlake_core::{Database, Name, Table, TableId};

impl SimState {
    /// Returns the Region and name of the target of a database link, or those of the database
    /// itself. Table operations on a database link apply to the target database.
    pub(super) fn resolve_database(&self, region: &str, database: &Name) -> (String, Name) {
        let own = (region.to_owned(), database.clone());
        let observed = self
            .region(region)
            .ok()
            .and_then(|region| region.databases.get(database));
        let Some(target) = observed.and_then(|observed| observed.object.target_database.as_ref())
        else {
            return own;
        };
        let name = target
            .database_name
            .as_deref()
            .and_then(|n| Name::new(n).ok());
        let region = target.region.clone().unwrap_or(own.0);
        (region, name.unwrap_or(own.1))
    }

    /// Returns a database as a read returns it: a link has the fields of its target (GL-12).
    pub(super) fn database_as_read(
        &self,
        caller: Caller<'_>,
        observed: Observed<Database>,
    ) -> Observed<Database> {
        if observed.object.target_database.is_none()
            || !self.has(Quirk::ResourceLinksReturnTargetFields)
        {
            return observed;
        }
        let (region, name) = self.resolve_database(caller.region, &observed.object.name);
        let target = self.region(&region).ok();
        let Some(target) = target.and_then(|region| region.databases.get(&name)) else {
            return observed;
        };
        Observed {
            object: Database {
                name: observed.object.name,
                target_database: observed.object.target_database,
                ..target.object.clone()
            },
            ..observed
        }
    }

    /// Returns a table as a read returns it: a link has the fields of its target (GL-12).
    pub(super) fn table_as_read(
        &self,
        region: &str,
        id: &TableId,
        observed: &Observed<Table>,
    ) -> Observed<Table> {
        let observed = self.view_as_read(observed.clone());
        if observed.object.target_table.is_none()
            || !self.has(Quirk::ResourceLinksReturnTargetFields)
        {
            return observed;
        }
        let target = self.resolve_table(region, id).ok();
        let target = target.and_then(|(region, id)| self.region(&region).ok()?.tables.get(&id));
        let Some(target) = target else {
            return observed;
        };
        Observed {
            object: Table {
                name: observed.object.name,
                target_table: observed.object.target_table,
                ..target.object.clone()
            },
            ..observed
        }
    }

    /// Returns the Region and table that a name resolves to, following database and table links.
    pub(super) fn resolve_table(
        &self,
        region: &str,
        id: &TableId,
    ) -> Result<(String, TableId), ApiError> {
        let (region, database) = self.resolve_database(region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let observed = self.region(&region)?.tables.get(&id);
        let Some(target) = observed.and_then(|observed| observed.object.target_table.as_ref())
        else {
            return Ok((region, id));
        };
        let name_or = |text: &Option<String>, default: &Name| {
            let named = text.as_deref().and_then(|text| Name::new(text).ok());
            named.unwrap_or_else(|| default.clone())
        };
        let database = name_or(&target.database_name, &id.database);
        let table = name_or(&target.name, &id.table);
        let region = target.region.clone().unwrap_or(region);
        Ok((region, TableId::new(database, table)))
    }
}
