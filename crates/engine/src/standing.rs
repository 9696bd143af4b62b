//! What our roles hold in the lake: that they are administrators, that the reading ones
//! are shown every column, that a standby's defaults are closed.
//!
//! # Invariants
//!
//! - Nobody is ever made less than he was: administrators are added, and only those that
//!   were added here are taken away again.
//! - The settings are read just before they are written, and read back.

use crate::ports::{
    DefaultsChange, GRANT_BATCH, GrantFilter, GrantType, ReadRegion, SettingsChange, WriteRegion,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::Linkable as _;
use twinlake_core::grant::{Entry, EntryResource};
use twinlake_core::{Fault, FaultKind, Name, OwnRoles, Principal};

/// What a reading role needs on all tables of a database.
const RIGHTS: [&str; 2] = ["DESCRIBE", "SELECT"];

/// Grants our reading roles SELECT and DESCRIBE on all tables of databases, present and to
/// come: of those that are named, or of all. Our roles are told among the administrators.
/// Answers what was granted.
///
/// # Errors
/// A listing failed, or a grant did.
pub async fn grant_readers<R: WriteRegion>(
    region: &R,
    ours: &OwnRoles,
    named: Option<&BTreeSet<Name>>,
) -> Result<Vec<Grant>, Fault> {
    let settings = region.settings().await?;
    let readers = settings.administrators.into_iter();
    let readers: BTreeSet<Principal> = readers.filter(|one| ours.contains(&one.0)).collect();
    let missing = missing(region, &readers, named).await?;
    give(region, &missing).await?;
    Ok(missing)
}

/// One grant of ours: a principal, a database, and what is granted on all its tables.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// Who.
    pub principal: Principal,
    /// On all tables of this database.
    pub database: Name,
    /// What.
    pub permissions: BTreeSet<String>,
}

impl Grant {
    fn entry(&self) -> Entry {
        Entry {
            principal: self.principal.clone(),
            resource: EntryResource::TableWildcard(self.database.clone()),
            permissions: self.permissions.clone(),
            grantable: BTreeSet::new(),
            condition: None,
        }
    }
}

/// What readers lack on databases.
async fn missing<R: ReadRegion>(
    region: &R,
    readers: &BTreeSet<Principal>,
    named: Option<&BTreeSet<Name>>,
) -> Result<Vec<Grant>, Fault> {
    if readers.is_empty() {
        return Ok(Vec::new());
    }
    let mut listed: Vec<Entry> = Vec::new();
    let databases: BTreeSet<Name> = match named {
        Some(names) => {
            for name in names {
                match region
                    .grants_on(&GrantFilter::AllTables(name.clone()))
                    .await
                {
                    Ok(entries) => listed.extend(entries),
                    // It is gone again.
                    Err(fault) if fault.kind == FaultKind::Absent => {}
                    Err(fault) => return Err(fault),
                }
            }
            names.clone()
        }
        None => {
            listed = region
                .grants_on(&GrantFilter::Type(GrantType::Table))
                .await?;
            let all = region.databases().await?.into_iter();
            all.filter(|seen| !seen.is_link())
                .map(|seen| seen.object.name)
                .collect()
        }
    };
    let mut held: BTreeMap<(&Principal, &Name), BTreeSet<&str>> = BTreeMap::new();
    for entry in &listed {
        if let EntryResource::TableWildcard(database) = &entry.resource {
            let known = held.entry((&entry.principal, database)).or_default();
            known.extend(entry.permissions.iter().map(String::as_str));
        }
    }
    let mut missing = Vec::new();
    for database in &databases {
        for principal in readers {
            let known = held.get(&(principal, database));
            let lacks = |right: &&str| !known.is_some_and(|known| known.contains(right));
            let permissions = RIGHTS.iter().copied().filter(lacks).map(str::to_owned);
            let permissions: BTreeSet<String> = permissions.collect();
            if !permissions.is_empty() {
                missing.push(Grant {
                    principal: principal.clone(),
                    database: database.clone(),
                    permissions,
                });
            }
        }
    }
    Ok(missing)
}

async fn give<R: WriteRegion>(region: &R, grants: &[Grant]) -> Result<(), Fault> {
    for some in grants.chunks(GRANT_BATCH) {
        let entries: Vec<Entry> = some.iter().map(Grant::entry).collect();
        let sent: Vec<&Entry> = entries.iter().collect();
        for result in region.grant(&sent).await? {
            match result {
                // The database is gone again.
                Err(fault) if fault.kind == FaultKind::Absent => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// What a Region needs of us.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Our roles, which are to be administrators there.
    pub roles: BTreeSet<Principal>,
    /// The defaults for new databases and tables are to be closed: it is the standby.
    pub closes_defaults: bool,
    /// The roles that are to be shown every column: it is the primary.
    pub readers: BTreeSet<Principal>,
}

/// What was done in a Region, enough to undo it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Roles that became administrators.
    pub administrators: BTreeSet<Principal>,
    /// `CreateDatabaseDefaultPermissions` was open and is closed.
    pub closed_databases: bool,
    /// `CreateTableDefaultPermissions` was open and is closed.
    pub closed_tables: bool,
    /// What was granted to reading roles.
    pub grants: Vec<Grant>,
}

impl Done {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what another run did.
    pub fn absorb(&mut self, other: Self) {
        self.administrators.extend(other.administrators);
        self.closed_databases |= other.closed_databases;
        self.closed_tables |= other.closed_tables;
        self.grants.extend(other.grants);
        self.grants.sort();
        self.grants.dedup();
    }
}

/// What would have to be done in a Region.
///
/// # Errors
/// A listing failed.
pub async fn look<R: ReadRegion>(region: &R, wanted: &Wanted) -> Result<Done, Fault> {
    let now = region.settings().await?.whole;
    Ok(Done {
        administrators: wanted.roles.difference(&now.admins).cloned().collect(),
        closed_databases: wanted.closes_defaults && now.database_defaults_open,
        closed_tables: wanted.closes_defaults && now.table_defaults_open,
        grants: missing(region, &wanted.readers, None).await?,
    })
}

/// Does it.
///
/// # Errors
/// A call failed; what was done before it stays, and the next run goes on.
pub async fn prepare<R: WriteRegion>(region: &R, todo: &Done) -> Result<(), Fault> {
    let closes = todo.closed_databases || todo.closed_tables;
    if closes || !todo.administrators.is_empty() {
        let change = SettingsChange {
            add: todo.administrators.clone(),
            defaults: match closes {
                true => DefaultsChange::Close,
                false => DefaultsChange::Keep,
            },
            ..SettingsChange::default()
        };
        region.put_settings(&change).await?;
    }
    give(region, &todo.grants).await
}

/// Undoes what was done: only roles of ours that were added are taken away again.
///
/// # Errors
/// A call failed; it can be tried again.
pub async fn undo<R: WriteRegion>(region: &R, done: &Done) -> Result<(), Fault> {
    for some in done.grants.chunks(GRANT_BATCH) {
        let entries: Vec<Entry> = some.iter().map(Grant::entry).collect();
        let sent: Vec<&Entry> = entries.iter().collect();
        for result in region.revoke(&sent).await? {
            match result {
                Err(fault) if matches!(fault.kind, FaultKind::Absent | FaultKind::AlreadyDone) => {}
                result => result?,
            }
        }
    }
    let reopens = done.closed_databases || done.closed_tables;
    if !reopens && done.administrators.is_empty() {
        return Ok(());
    }
    let change = SettingsChange {
        drop: done.administrators.clone(),
        defaults: match reopens {
            true => DefaultsChange::Reopen {
                databases: done.closed_databases,
                tables: done.closed_tables,
            },
            false => DefaultsChange::Keep,
        },
        ..SettingsChange::default()
    };
    region.put_settings(&change).await
}
