//! `twinlake report`: writes the status as a self-contained HTML page.

mod chart;

use crate::common_options::Common;
use crate::connect::Connection;
use crate::files::write_text;
use crate::status_snapshot::StatusSnapshot;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use twinlake_core::heartbeat::Channel;
use twinlake_core::{LfSubject, Subject, SubjectState, Timestamp, render};
use twinlake_engine::operation::LagAlertThresholds;

/// Arguments of `twinlake report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "twinlake-report.html")]
    pub out: PathBuf,
    /// The number of days that the lag chart covers, up to 7
    #[arg(long, value_name = "DAYS", default_value_t = 1,
          value_parser = clap::value_parser!(i64).range(1..=7))]
    pub days: i64,
}

/// The table of objects that are not in sync lists at most this many rows.
const MAX_LISTED_ROWS: usize = 500;

pub(crate) async fn run(common: &Common, args: &ReportArgs) -> Result<CommandOutcome, CliError> {
    let connection = Connection::open(common).await?;
    let status = StatusSnapshot::read(&connection, args.days * 86_400).await?;
    let html = page(&connection, &status, args.days);
    write_text(&args.out, &html)?;
    output::print(&format!("Wrote the report to {}.", args.out.display()));
    Ok(CommandOutcome::Done)
}

fn page(connection: &Connection, status: &StatusSnapshot, days: i64) -> String {
    let primary = &connection.policy.primary(connection.epoch).region;
    let standby = &connection.policy.standby(connection.epoch).region;
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Twinlake {0} to {1}</title><style>{2}</style></head>\
         <body><h1>Replication from {0} to {1}</h1>\
         <p class=\"faint\">Twinlake, as of {3}</p>",
        html_escape(primary),
        html_escape(standby),
        include_str!("report/style.css"),
        status.now
    );
    html.push_str(&verdict(connection, status));
    html.push_str(&tiles(status));
    let from = status.now.plus_secs(-days * 86_400);
    let _ = write!(
        html,
        "<h2>Lag over the last {}</h2>{}",
        if days == 1 {
            "day".to_owned()
        } else {
            format!("{days} days")
        },
        lag_chart(status, from)
    );
    html.push_str(&open_alerts(status));
    html.push_str(&not_in_sync(status));
    html.push_str(&coverage(status));
    html.push_str("</body></html>\n");
    html
}

fn verdict(connection: &Connection, status: &StatusSnapshot) -> String {
    let thresholds = &connection.operation.lag_alert;
    let (class, text) = match status.is_ready(thresholds) {
        true => (
            "verdict",
            "The standby is ready: every object is in sync.".to_owned(),
        ),
        false => (
            "verdict attention",
            format!("Attention needed: {}.", problems(status, thresholds)),
        ),
    };
    let verified = match status.verified_at {
        Some(at) => format!(
            "Objects that are not listed were equal to the primary as of {at}, {} ago.",
            duration(status.now.secs() - at.secs())
        ),
        None => "No resync has completed yet, so nothing is verified.".to_owned(),
    };
    format!("<div class=\"{class}\"><p>{text}</p><p class=\"faint\">{verified}</p></div>")
}

/// Why the standby is not ready, as a list of clauses.
fn problems(status: &StatusSnapshot, thresholds: &LagAlertThresholds) -> String {
    let mut problems = Vec::new();
    let counts = status.counts();
    for state in SubjectState::NOT_IN_SYNC {
        match counts.get(&state).copied().unwrap_or_default() {
            0 => {}
            1 => problems.push(format!("1 object is {state}")),
            count => problems.push(format!("{count} objects are {state}")),
        }
    }
    match status.open_alerts.len() {
        0 => {}
        1 => problems.push("1 alert is open".to_owned()),
        count => problems.push(format!("{count} alerts are open")),
    }
    match status.current_lag() {
        Some(sample) => {
            for channel in Channel::EVERY {
                let secs = sample.lag(channel);
                if secs >= thresholds.of(channel) {
                    problems.push(format!(
                        "the {channel} lag of {} exceeds its limit",
                        duration(secs)
                    ));
                }
            }
        }
        None if status.is_monitored => problems.push("the lag is unknown".to_owned()),
        None => {}
    }
    if status.verified_at.is_none() {
        problems.push("no resync has completed yet".to_owned());
    }
    problems.join(", ")
}

fn tiles(status: &StatusSnapshot) -> String {
    let counts = status.counts();
    let states = [SubjectState::InSync]
        .into_iter()
        .chain(SubjectState::NOT_IN_SYNC);
    let mut tiles: Vec<(String, String)> = states
        .map(|state| {
            let count = counts.get(&state).copied().unwrap_or_default();
            (state.to_string(), count.to_string())
        })
        .collect();
    for channel in Channel::EVERY {
        let lag = status
            .current_lag()
            .map(|sample| duration(sample.lag(channel)));
        let lag = lag.unwrap_or_else(|| "unknown".to_owned());
        tiles.push((format!("lag, {channel}"), lag));
    }
    let tiles: String = tiles
        .iter()
        .map(|(name, value)| {
            let is_number = value.starts_with(|c: char| c.is_ascii_digit());
            let class = if is_number { "tile" } else { "tile small" };
            format!("<div class=\"{class}\"><b>{value}</b>{name}</div>")
        })
        .collect();
    format!("<h2>Status</h2><div class=\"tiles\">{tiles}</div>")
}

fn lag_chart(status: &StatusSnapshot, from: Timestamp) -> String {
    if status.lag_samples.is_empty() {
        return "<p>No lag was measured. The deployed monitor function measures it each \
                minute.</p>"
            .to_owned();
    }
    chart::lag(&status.lag_samples, from, status.now)
}

fn open_alerts(status: &StatusSnapshot) -> String {
    let mut html = "<h2>Open alerts</h2>".to_owned();
    if status.open_alerts.is_empty() {
        html.push_str("<p>None.</p>");
        return html;
    }
    html.push_str(
        "<table><tr><th>alert</th><th>since</th><th>current state</th><th>action</th></tr>",
    );
    for alert in &status.open_alerts {
        let severity = alert.kind.severity().as_str();
        let _ = write!(
            html,
            "<tr><td><span class=\"{severity}\">{}</span> ({})<br>{}</td><td class=\"time\">{}<br>{} occurrences</td>\
             <td>{}</td><td>{}</td></tr>",
            alert.kind,
            html_escape(&alert.region),
            html_escape(&alert.summary),
            alert.since,
            alert.total,
            html_escape(&alert.current_state),
            html_escape(&alert.action)
        );
    }
    html.push_str("</table>");
    html
}

fn not_in_sync(status: &StatusSnapshot) -> String {
    let rows = status.worst_first(false);
    if rows.is_empty() {
        return String::new();
    }
    let mut html = "<h2>Not in sync</h2><table><tr><th>object</th><th>state</th><th>since</th>\
                    <th>reason</th></tr>"
        .to_owned();
    for row in rows.iter().take(MAX_LISTED_ROWS) {
        let reason = row.reason.as_deref().unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"time\">{}</td><td class=\"time\">{}</td><td>{}</td></tr>",
            html_escape(&row.subject.to_string()),
            row.state,
            row.since,
            html_escape(reason)
        );
    }
    html.push_str("</table>");
    let more = rows.len().saturating_sub(MAX_LISTED_ROWS);
    if more > 0 {
        let _ = write!(
            html,
            "<p>{more} more; run `twinlake status` to list them.</p>"
        );
    }
    html
}

/// The number of replicated and not replicated objects, by kind.
fn coverage(status: &StatusSnapshot) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (subject, row) in &status.rows {
        let paired = usize::from(row.pairing.is_some());
        let (kind, count) = match subject {
            Subject::Database(_) => ("databases".to_owned(), paired),
            Subject::Table(_) => ("tables".to_owned(), paired),
            Subject::Function(_) => ("functions".to_owned(), paired),
            Subject::LakeFormation(
                lf_subject @ (LfSubject::LfTags
                | LfSubject::LfTagExpressions
                | LfSubject::DataLocations),
            ) => (lf_subject.to_string(), row.managed_keys.len()),
            Subject::Catalog
            | Subject::LakeFormation(LfSubject::Permissions | LfSubject::Settings) => continue,
        };
        *kinds.entry(kind).or_default() += count;
        *kinds.entry("partitions".to_owned()).or_default() += row.partitions;
    }
    let mut html = "<h2>Coverage by kind</h2><table><tr><th>kind</th>\
                    <th class=\"number\">in the standby</th>\
                    <th class=\"number\">not replicated</th></tr>"
        .to_owned();
    for (kind, count) in &kinds {
        let _ = write!(
            html,
            "<tr><td>{kind}</td><td class=\"number\">{count}</td><td></td></tr>"
        );
    }
    for (kind, count) in &status.not_replicated {
        let kind = html_escape(kind);
        let _ = write!(
            html,
            "<tr><td>{kind}</td><td></td><td class=\"number\">{count}</td></tr>"
        );
    }
    html.push_str(
        "</table><p class=\"faint\">Partitions are as of the last count. Grants and data cells \
         filters are not counted: they belong to their objects.</p>",
    );
    html
}

fn duration(secs: i64) -> String {
    match secs {
        ..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// Escapes untrusted text for HTML, and its control and invisible characters.
fn html_escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in render::escape(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #[test]
    fn untrusted_text_is_never_markup() {
        let untrusted = "<script>\"'&\u{202e}\u{1b}";
        assert_eq!(
            super::html_escape(untrusted),
            "&lt;script&gt;&quot;&#39;&amp;\\u{202e}\\u{1b}"
        );
    }
}
