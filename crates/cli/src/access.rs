//! `twinlake access`: what a principal may do in each Region, and by what.

use crate::args::{AccessArgs, Common};
use crate::connect::{Connection, Store};
use crate::{CliError, Left, out};
use std::collections::BTreeSet;
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
    let mut text = Lines(vec![render::escape(&format!("{principal} on {subject}"))]);
    let mut found = Vec::new();
    for (side, reading, role) in sides {
        let access = access::of(reading, &principal, &subject);
        text.add("");
        text.add(&format!("{} ({role})", side.region));
        tell(&mut text, &access, &unread(reading));
        found.push(access);
    }
    let differs = differences(&mut text, &found);
    out::print(&text.0.join("\n"));
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

/// Lines for a terminal. What grants and filters say cannot begin another one.
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, line: &str) {
        self.0.push(render::escape(line));
    }
}

fn tell(text: &mut Lines, access: &Access, unread: &[String]) {
    if access.rights.is_empty() {
        text.add("  nothing");
    }
    for (may, by) in &access.rights {
        text.add(&format!("  {may}"));
        for grant in by {
            text.add(&format!("      by {grant}"));
        }
    }
    for note in &access.notes {
        text.add(&format!("  note: {note}"));
    }
    for fault in unread {
        text.add(&format!("  NOT READ, so this may not be all: {fault}"));
    }
}

/// Says in what the two sides differ; answers whether they do.
fn differences(text: &mut Lines, found: &[Access]) -> bool {
    let [here, there] = found else {
        return false;
    };
    let rights = |access: &Access| -> BTreeSet<May> { access.rights.keys().cloned().collect() };
    let (here, there) = (rights(here), rights(there));
    text.add("");
    if here == there {
        text.add("Both Regions allow the same.");
        return false;
    }
    text.add("The Regions differ:");
    for may in here.difference(&there) {
        text.add(&format!("  only in the primary: {may}"));
    }
    for may in there.difference(&here) {
        text.add(&format!("  ONLY IN THE SECONDARY: {may}"));
    }
    text.add("`twinlake plan` shows what would be done about it, and why something would not be.");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_filter_cannot_write_a_line_of_its_own() {
        let may = May {
            permission: "SELECT".to_owned(),
            column: None,
            rows: Some("x\nBoth Regions allow the same.".to_owned()),
            grantable: false,
        };
        let mut access = Access::default();
        access
            .rights
            .insert(may, BTreeSet::from(["a\u{1b}[2J".to_owned()]));
        let mut text = Lines(Vec::new());
        tell(&mut text, &access, &["b\nc".to_owned()]);
        differences(&mut text, &[access, Access::default()]);
        let told = text.0.join("\n");
        assert!(!told.lines().any(|line| line.starts_with("Both")), "{told}");
        assert!(
            !told.contains('\u{1b}') && told.contains("b\\u{a}c"),
            "{told}"
        );
    }
}
