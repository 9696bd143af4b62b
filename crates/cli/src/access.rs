//! `twinlake access`: what a principal may do in each Region, and by what.

use crate::args::{AccessArgs, Common};
use crate::connect::{Connection, Store};
use crate::{CliError, Left, out};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use twinlake_core::access::{self, Access, May};
use twinlake_core::grant::Terms;
use twinlake_core::reading::Reading;
use twinlake_core::scope::{Look, WHOLE_TABLE};
use twinlake_core::{Facet, Lake, Principal, Scope, Subject, render};
use twinlake_engine::{Ledger, reconcile};

/// Shows what a principal may do with a database or a table, on both sides.
///
/// # Errors
/// The name is none, or a Region could not be read.
pub(crate) async fn access(common: &Common, args: &AccessArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    match &connection.store {
        Store::None(ledger) => shown(&connection, ledger, args).await,
        Store::File(_, ledger) => shown(&connection, ledger, args).await,
        Store::Deployed(ledger) => shown(&connection, ledger, args).await,
    }
}

async fn shown(
    connection: &Connection,
    ledger: &impl Ledger,
    args: &AccessArgs,
) -> Result<Left, CliError> {
    let named = crate::connect::scope(std::slice::from_ref(&args.resource))?;
    let Some(subject) = named.looks.keys().next().cloned() else {
        return Err(CliError::Usage("name a database or a table".to_owned()));
    };
    let context = connection.context(ledger, false);
    let scope = around(&subject);
    let (_, readings) = reconcile::observe_once(&context, &scope, true).await?;
    let terms = Terms::of_primary(&connection.policy, connection.epoch);
    let principal = Principal(terms.counterpart(&args.principal));
    let sides = [
        (
            connection.policy.primary(connection.epoch),
            &readings.primary,
            "primary",
        ),
        (
            connection.policy.secondary(connection.epoch),
            &readings.secondary,
            "secondary",
        ),
    ];
    let mut text = format!("{principal} on {subject}\n");
    let mut found = Vec::new();
    for (side, reading, role) in sides {
        let access = access::of(reading, &principal, &subject);
        let _ = writeln!(text, "\n{} ({role})", side.region);
        tell(&mut text, &access, &unread(reading));
        found.push(access);
    }
    let differs = differences(&mut text, &found);
    let escaped: Vec<String> = text.lines().map(render::escape).collect();
    out::print(&escaped.join("\n"));
    Ok(match differs {
        true => Left::Something,
        false => Left::Nothing,
    })
}

/// All that bears on who may do what with a subject.
fn around(subject: &Subject) -> Scope {
    let mut scope = Scope::default();
    let of_database = [
        Facet::Definition,
        Facet::Grants,
        Facet::Assigned,
        Facet::OptIns,
    ];
    if let Some(database) = subject.database() {
        scope.look(Subject::Database(database.clone()), Look::at(&of_database));
    }
    if matches!(subject, Subject::Table(_)) {
        scope.look(subject.clone(), Look::at(&WHOLE_TABLE));
    }
    for lake in [Lake::Permissions, Lake::Expressions, Lake::Settings] {
        scope.look(Subject::Lake(lake), Look::at(lake.facets()));
    }
    scope
}

/// What could not be read, so that the answer may be incomplete.
fn unread(reading: &Reading) -> Vec<String> {
    use twinlake_core::reading::Observation;
    let mut faults = BTreeSet::new();
    for grants in reading.grants.values() {
        if let Observation::Unknown(fault) = grants {
            faults.insert(fault.to_string());
        }
    }
    for parts in reading.parts.values() {
        if let Observation::Unknown(fault) = parts {
            faults.insert(fault.to_string());
        }
    }
    faults.into_iter().collect()
}

fn tell(text: &mut String, access: &Access, unread: &[String]) {
    if access.rights.is_empty() {
        let _ = writeln!(text, "  nothing");
    }
    for (may, by) in &access.rights {
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        let _ = writeln!(text, "  {may}\n      by {}", by.join("\n      by "));
    }
    for note in &access.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    for fault in unread {
        let _ = writeln!(text, "  NOT READ, so this may not be all: {fault}");
    }
}

/// Says in what the two sides differ; answers whether they do.
fn differences(text: &mut String, found: &[Access]) -> bool {
    let [here, there] = found else {
        return false;
    };
    let rights = |access: &Access| -> BTreeSet<May> { access.rights.keys().cloned().collect() };
    let (here, there) = (rights(here), rights(there));
    if here == there {
        let _ = writeln!(text, "\nBoth Regions allow the same.");
        return false;
    }
    let _ = writeln!(text, "\nThe Regions differ:");
    for may in here.difference(&there) {
        let _ = writeln!(text, "  only in the primary: {may}");
    }
    for may in there.difference(&here) {
        let _ = writeln!(text, "  ONLY IN THE SECONDARY: {may}");
    }
    let _ = writeln!(
        text,
        "`twinlake plan` shows what would be done about it, and why something would not be."
    );
    true
}
