//! Resource links: where a name leads, and what a read of one shows.

use crate::api::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::World;
use twinlake_core::catalog::Seen;
use twinlake_core::{Database, Name, Table, TableId};

impl World {
    /// Where a name leads: the target of a database link, or the name itself. A
    /// table call in a link's name works in the target's database.
    pub(super) fn resolve(&self, region: &str, database: &Name) -> (String, Name) {
        let here = (region.to_owned(), database.clone());
        let seen = self
            .region(region)
            .ok()
            .and_then(|region| region.databases.get(database));
        let Some(target) = seen.and_then(|seen| seen.object.target_database.as_ref()) else {
            return here;
        };
        let name = target
            .database_name
            .as_deref()
            .and_then(|n| Name::new(n).ok());
        let region = target.region.clone().unwrap_or(here.0);
        (region, name.unwrap_or(here.1))
    }

    /// A database as a read shows it: a link with its target's fields.
    pub(super) fn shown_database(&self, c: Caller<'_>, seen: Seen<Database>) -> Seen<Database> {
        if seen.object.target_database.is_none() || !self.has(Quirk::LinksShowTheirTarget) {
            return seen;
        }
        let (region, name) = self.resolve(c.region, &seen.object.name);
        let target = self.region(&region).ok();
        let Some(target) = target.and_then(|region| region.databases.get(&name)) else {
            return seen;
        };
        Seen {
            object: Database {
                name: seen.object.name,
                target_database: seen.object.target_database,
                ..target.object.clone()
            },
            ..seen
        }
    }

    pub(super) fn shown_table(
        &self,
        region: &str,
        id: &TableId,
        seen: &Seen<Table>,
    ) -> Seen<Table> {
        let seen = seen.clone();
        if seen.object.target_table.is_none() || !self.has(Quirk::LinksShowTheirTarget) {
            return seen;
        }
        let target = self.resolve_table(region, id).ok();
        let target = target.and_then(|(region, id)| self.region(&region).ok()?.tables.get(&id));
        let Some(target) = target else {
            return seen;
        };
        Seen {
            object: Table {
                name: seen.object.name,
                target_table: seen.object.target_table,
                ..target.object.clone()
            },
            ..seen
        }
    }

    /// Where an update of a table lands: links are followed, both kinds.
    pub(super) fn resolve_table(
        &self,
        region: &str,
        id: &TableId,
    ) -> Result<(String, TableId), ApiError> {
        let (region, database) = self.resolve(region, &id.database);
        let id = TableId::new(database, id.table.clone());
        let seen = self.region(&region)?.tables.get(&id);
        let Some(target) = seen.and_then(|seen| seen.object.target_table.as_ref()) else {
            return Ok((region, id));
        };
        let part = |text: &Option<String>, own: &Name| {
            let named = text.as_deref().and_then(|text| Name::new(text).ok());
            named.unwrap_or_else(|| own.clone())
        };
        let database = part(&target.database_name, &id.database);
        let table = part(&target.name, &id.table);
        let region = target.region.clone().unwrap_or(region);
        Ok((region, TableId::new(database, table)))
    }
}
