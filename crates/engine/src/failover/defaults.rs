//! Gives the databases of the surviving Region the default permissions for new tables that they had in the
//! former primary. While a Region is the standby, they are empty there, and the ledger keeps those of the
//! primary.

use super::{NewPrimary, Timer};
use crate::ports::{Ledger, StatsStore, WriteRegion};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use std::collections::BTreeMap;
use twinlake_core::catalog::PrincipalPermissions;
use twinlake_core::grant::GrantMapping;
use twinlake_core::topology::Epoch;
use twinlake_core::{CallError, CallErrorKind, LedgerRow, Name, Subject};

/// The result of restoring the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RestoredDefaults {
    /// The number of databases that have the defaults of the former primary.
    pub(super) restored: usize,
    /// The databases that do not, with the reason.
    pub(super) unrestored: BTreeMap<Name, String>,
}

/// What became of one database.
enum DatabaseResult {
    Restored,
    Unrestored(String),
}

/// Why the defaults of a database that the policy does not cover are not restored.
const NOT_COVERED: &str =
    "the policy does not cover it, so the former primary may have closed its defaults since";

/// Restores the defaults of every paired database that the policy covers, as the row of the database keeps them: as
/// they were when the primary's database was last read. `from` is the epoch in which the rows were written. A database that has them is left as it is, so this may be repeated. With `only`,
/// the other databases are left alone.
///
/// # Errors
/// The ledger cannot be reached, or a call failed that may succeed later.
pub(super) async fn restore<R: WriteRegion, L: Ledger + StatsStore, T: Timer, H>(
    new_primary: &NewPrimary<'_, R, L, T, H>,
    from: Epoch,
    only: Option<&BTreeMap<Name, String>>,
) -> Result<RestoredDefaults, CallError> {
    let rows = new_primary.ledger.database_rows().await?;
    let mapping = GrantMapping::of_primary(new_primary.policy, from);
    let kept = rows.values().filter_map(|row| kept_defaults(row, &mapping));
    let kept = kept.filter(|(name, _, _)| only.is_none_or(|only| only.contains_key(*name)));
    let restored = stream::iter(kept).map(|(name, row, defaults)| async move {
        let result = match new_primary.policy.covers_database(name) {
            true => restore_database(new_primary, name, row, defaults).await?,
            false => DatabaseResult::Unrestored(NOT_COVERED.to_owned()),
        };
        Ok::<_, CallError>((name.clone(), result))
    });
    let restored = restored.buffer_unordered(new_primary.max_concurrent_calls.max(1));
    let results: Vec<(Name, DatabaseResult)> = restored.try_collect().await?;
    let mut sums = RestoredDefaults::default();
    for (name, result) in results {
        match result {
            DatabaseResult::Restored => sums.restored += 1,
            DatabaseResult::Unrestored(reason) => drop(sums.unrestored.insert(name, reason)),
        }
    }
    Ok(sums)
}

/// The defaults that the primary's database had, with the principals of the surviving Region. `None` if there
/// is nothing to restore: it had none, or the database is not Twinlake's or a link.
fn kept_defaults<'r>(
    row: &'r LedgerRow,
    mapping: &GrantMapping,
) -> Option<(&'r Name, &'r LedgerRow, Vec<PrincipalPermissions>)> {
    let Subject::Database(name) = &row.subject else {
        return None;
    };
    let pairing = row.pairing.as_ref()?;
    let defaults = row.table_default.as_ref()?;
    if pairing.link || defaults.is_empty() {
        return None;
    }
    let mut defaults = defaults.clone();
    for one in &mut defaults {
        let principal = one.principal.as_mut();
        let identifier = principal.and_then(|one| one.data_lake_principal_identifier.as_mut());
        if let Some(identifier) = identifier {
            *identifier = mapping.counterpart(identifier);
        }
    }
    Some((name, row, defaults))
}

/// Restores the defaults of one database, and reads it again to see that they are there.
async fn restore_database<R: WriteRegion, L, T, H>(
    new_primary: &NewPrimary<'_, R, L, T, H>,
    name: &Name,
    row: &LedgerRow,
    defaults: Vec<PrincipalPermissions>,
) -> Result<DatabaseResult, CallError> {
    let region = new_primary.region;
    let found = match region.database(name).await {
        Ok(found) => found,
        Err(error) => return give_up(error),
    };
    let paired = row.pairing.as_ref();
    let paired = paired.and_then(|pairing| pairing.created_in(new_primary.site));
    if found.created != paired {
        let reason = "somebody has replaced the database since it was replicated";
        return Ok(DatabaseResult::Unrestored(reason.to_owned()));
    }
    let current = found.object.create_table_default_permissions.as_ref();
    if current == Some(&defaults) {
        return Ok(DatabaseResult::Restored);
    }
    if current != Some(&Vec::new()) {
        let reason = "somebody has set other defaults in this Region";
        return Ok(DatabaseResult::Unrestored(reason.to_owned()));
    }
    if !found.object.unsupported_fields.is_empty() {
        let reason = "it has fields that this version of Twinlake would lose in an update";
        return Ok(DatabaseResult::Unrestored(reason.to_owned()));
    }
    let mut wanted = found.object;
    wanted.create_table_default_permissions = Some(defaults);
    if let Err(error) = region.update_database(&wanted).await {
        return give_up(error);
    }
    let found = match region.database(name).await {
        Ok(found) => found,
        Err(error) => return give_up(error),
    };
    if found.object.create_table_default_permissions == wanted.create_table_default_permissions {
        return Ok(DatabaseResult::Restored);
    }
    let message = "the defaults were written, and are not there; run the command again";
    let kind = CallErrorKind::Contended;
    Err(CallError::new(
        kind,
        "UpdateDatabase",
        region.region(),
        message,
    ))
}

/// Goes on with the other databases if the call can never succeed as things are.
fn give_up(error: CallError) -> Result<DatabaseResult, CallError> {
    match error.kind.is_transient() {
        true => Err(error),
        false => Ok(DatabaseResult::Unrestored(error.to_string())),
    }
}
