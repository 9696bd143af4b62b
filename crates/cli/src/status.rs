//! `status`: how every replicated object stands.

use crate::args::{Common, StatusArgs};
use crate::connect::{Connection, scope};
use crate::known::Known;
use crate::{CliError, Left, out};
use std::time::Duration;
use twinlake_core::heartbeat::Channel;
use twinlake_core::ledger::Rows;
use twinlake_core::{Row, State, Subject, render};

/// The lag of so long ago is looked for.
const LAG_SECS: i64 = 3600;

pub(crate) async fn status(common: &Common, args: &StatusArgs) -> Result<Left, CliError> {
    let Some(seconds) = args.watch else {
        return once(common, args).await;
    };
    loop {
        out::clear();
        let left = once(common, args).await?;
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(left),
        }
    }
}

async fn once(common: &Common, args: &StatusArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let known = Known::read(&connection, LAG_SECS).await?;
    if let Some(name) = &args.name {
        return one(&known, name, args.json);
    }
    if args.json {
        print_json(&connection, &known);
    } else {
        print_summary(&connection, &known);
        print_open(&known);
        print_rows(&known, args.all);
    }
    Ok(match known.is_well(&connection.policy.lag) {
        true => Left::Nothing,
        false => Left::Something,
    })
}

/// How every subject stands.
pub(crate) async fn rows(connection: &Connection) -> Result<Rows, CliError> {
    Ok(Known::read(connection, 0).await?.rows)
}

fn print_json(connection: &Connection, known: &Known) {
    let rows: Vec<_> = known.rows.values().collect();
    let lag = known.lag().map(|sample| {
        let channels = Channel::EVERY.map(|channel| {
            let told = serde_json::json!({
                "seconds": sample.of(channel), "objective": connection.policy.lag.of(channel),
            });
            (channel.as_str().to_owned(), told)
        });
        serde_json::Map::from_iter(channels)
    });
    let pending = known.pendings.iter().map(|(id, pending)| {
        serde_json::json!({"table": id.to_string(), "count": pending.count(),
                           "since": pending.since.to_string(), "reasons": pending.reasons.keys().collect::<Vec<_>>()})
    });
    let json = serde_json::json!({
        "epoch": connection.epoch,
        "primary": connection.policy.primary(connection.epoch),
        "secondary": connection.policy.secondary(connection.epoch),
        "verified_at": known.verified_at.map(|at| at.to_string()),
        "lag": lag,
        "open": known.open.iter().map(|alert| {
            serde_json::from_str(&alert.json()).unwrap_or_default()
        }).collect::<Vec<serde_json::Value>>(),
        "data_pending": pending.collect::<Vec<_>>(),
        "not_replicated": known.unsupported,
        "rows": rows,
    });
    out::json(&json);
}

fn print_summary(connection: &Connection, known: &Known) {
    let primary = connection.policy.primary(connection.epoch);
    let secondary = connection.policy.secondary(connection.epoch);
    let verified = match known.verified_at {
        Some(at) => format!("verified as of {at}"),
        None => "never verified: no resync has been complete yet".to_owned(),
    };
    let counts = known.counts();
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
    let lag = match (known.lag(), known.samples.last()) {
        (Some(lag), _) => format!(
            "Lag: catalog {} s, permissions {} s.",
            lag.catalog, lag.permissions
        ),
        (None, Some(old)) => format!("Lag: not looked at since {}.", old.at),
        (None, None) => "Lag: not measured here.".to_owned(),
    };
    out::print(&lag);
}

fn print_open(known: &Known) {
    for alert in &known.open {
        let line = format!(
            "{:<6} {} {} since {}, {} in all: {}",
            alert.kind.severity().as_str(),
            alert.kind,
            alert.subject,
            alert.since,
            alert.total,
            alert.what
        );
        out::print(&render::escape(&line));
    }
}

fn print_rows(known: &Known, all: bool) {
    for row in known.worst_first(all) {
        out::print(&line(row));
    }
    let braked = known.rows.values().filter(|row| row.is_braked()).count();
    if braked > 0 {
        out::print(&format!(
            "The brake holds deletions of {braked}; if they are meant, `twinlake release` makes them."
        ));
    }
}

fn line(row: &Row) -> String {
    let reason = row.reason.as_deref().unwrap_or_default();
    let line = format!(
        "{:<12} {} since {} {reason}",
        row.state.to_string(),
        row.subject,
        row.since
    );
    render::escape(&line).trim_end().to_owned()
}

/// One subject with its last changes; of a database, the ones in it too.
fn one(known: &Known, name: &str, json: bool) -> Result<Left, CliError> {
    let asked = scope(&[name.to_owned()])?;
    let is_asked = |subject: &Subject| {
        let whole = subject.database().cloned().map(Subject::Database);
        asked.looks.contains_key(subject) || whole.is_some_and(|w| asked.looks.contains_key(&w))
    };
    let rows: Vec<&Row> = known
        .rows
        .values()
        .filter(|row| is_asked(&row.subject))
        .collect();
    if rows.is_empty() {
        let problem = format!(
            "{name} is not known to the ledger; `twinlake policy explain` says whether it is covered"
        );
        return Err(CliError::Usage(problem));
    }
    if json {
        out::json(&rows);
    } else {
        for row in &rows {
            print_one(known, row);
        }
    }
    let well = rows.iter().all(|row| row.state == State::Current);
    Ok(if well { Left::Nothing } else { Left::Something })
}

fn print_one(known: &Known, row: &Row) {
    out::print(&line(row));
    let mut facts = Vec::new();
    if let Some(pairing) = &row.pairing {
        let made = pairing.secondary_created.map(|at| at.to_string());
        let made = made.unwrap_or_else(|| "a time that is not known".to_owned());
        facts.push(format!("its counterpart was made at {made}"));
    } else {
        facts.push("nothing in the secondary is paired with it".to_owned());
    }
    facts.extend(
        row.place
            .iter()
            .map(|place| format!("its files are at {place}")),
    );
    if row.partitions > 0 {
        facts.push(format!("{} partitions when last counted", row.partitions));
    }
    let subject = row.subject.to_string();
    let about = known
        .open
        .iter()
        .filter(|alert| alert.about.contains(&subject));
    facts.extend(about.map(|alert| format!("open alert {}: {}", alert.kind, alert.what)));
    facts.extend(row.past.iter().map(|change| {
        let reason = change.reason.as_deref().unwrap_or_default();
        format!("{} {} {reason}", change.at, change.state)
    }));
    for fact in facts {
        out::print(render::escape(&format!("    {fact}")).trim_end());
    }
}
