//! `status`: how every replicated object stands.

use crate::args::{Common, StatusArgs};
use crate::connect::{Connection, Store};
use crate::{CliError, Left, out};
use std::collections::BTreeMap;
use twinlake_core::ledger::Rows;
use twinlake_core::{Fault, State, Subject, Timestamp, render};
use twinlake_engine::Ledger;

pub(crate) async fn status(common: &Common, args: &StatusArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let (rows, verified_at) = known(&connection).await?;
    let trouble = rows.values().any(|row| row.state != State::Current);
    if args.json {
        let rows: Vec<_> = rows.values().collect();
        let json = serde_json::json!({
            "epoch": connection.epoch,
            "primary": connection.policy.primary(connection.epoch),
            "secondary": connection.policy.secondary(connection.epoch),
            "verified_at": verified_at.map(|at| at.to_string()),
            "rows": rows,
        });
        out::print(&serde_json::to_string_pretty(&json).unwrap_or_default());
    } else {
        print_summary(&connection, &rows, verified_at);
        print_rows(&rows, args.all);
    }
    Ok(match trouble || verified_at.is_none() {
        true => Left::Something,
        false => Left::Nothing,
    })
}

async fn known(connection: &Connection) -> Result<(Rows, Option<Timestamp>), CliError> {
    match &connection.store {
        Store::Deployed(ledger) => Ok(read(ledger).await?),
        Store::File(_, ledger) => Ok(read(ledger).await?),
        Store::None(_) => {
            let problem = "no ledger is deployed, so nothing is known; `twinlake plan` compares \
                           the Regions without one";
            Err(CliError::Usage(problem.to_owned()))
        }
    }
}

/// How every subject stands.
pub(crate) async fn rows(connection: &Connection) -> Result<Rows, CliError> {
    Ok(known(connection).await?.0)
}

async fn read<L: Ledger>(ledger: &L) -> Result<(Rows, Option<Timestamp>), Fault> {
    let mut rows = Rows::new();
    for subject in ledger.database_rows().await?.keys() {
        if let Subject::Database(name) = subject {
            rows.extend(ledger.rows_in(name).await?);
        }
    }
    Ok((rows, ledger.verified_at().await?))
}

fn print_summary(connection: &Connection, rows: &Rows, verified_at: Option<Timestamp>) {
    let primary = connection.policy.primary(connection.epoch);
    let secondary = connection.policy.secondary(connection.epoch);
    let verified = match verified_at {
        Some(at) => format!("verified as of {at}"),
        None => "never verified: no resync has been complete yet".to_owned(),
    };
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for row in rows.values() {
        *counts.entry(row.state).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    out::print(&format!(
        "{} -> {}, {verified}; {}",
        primary.region,
        secondary.region,
        if counts.is_empty() {
            "nothing is replicated yet".to_owned()
        } else {
            counts.join(", ")
        }
    ));
}

fn print_rows(rows: &Rows, all: bool) {
    let mut shown: Vec<_> = rows
        .values()
        .filter(|row| all || row.state != State::Current)
        .collect();
    shown.sort_by_key(|row| (std::cmp::Reverse(row.state), row.since));
    for row in shown {
        let reason = row.reason.as_deref().unwrap_or_default();
        let line = format!(
            "{:<12} {} since {} {reason}",
            row.state.to_string(),
            row.subject,
            row.since
        );
        out::print(render::escape(&line).trim_end());
    }
    let braked = rows.values().filter(|row| row.is_braked()).count();
    if braked > 0 {
        out::print(&format!(
            "The brake holds deletions of {braked}; if they are meant, `twinlake release` makes them."
        ));
    }
}
