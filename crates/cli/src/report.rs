//! `report`: one HTML page that needs nothing beside itself.

mod chart;

use crate::args::{Common, ReportArgs};
use crate::connect::Connection;
use crate::known::Known;
use crate::{CliError, Left, out};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use twinlake_core::heartbeat::Channel;
use twinlake_core::{Lake, State, Subject, Timestamp, render};

/// More rows than this are counted and not listed.
const LISTED: usize = 500;

pub(crate) async fn report(common: &Common, args: &ReportArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let known = Known::read(&connection, args.days * 86_400).await?;
    let html = page(&connection, &known, args.days);
    crate::store::write_text(&args.out, &html)?;
    out::print(&format!("Written to {}.", args.out.display()));
    Ok(Left::Nothing)
}

fn page(connection: &Connection, known: &Known, days: i64) -> String {
    let here = &connection.policy.primary(connection.epoch).region;
    let there = &connection.policy.secondary(connection.epoch).region;
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Twinlake {0} to {1}</title><style>{2}</style></head>\
         <body><h1>The lake of {0}, kept ready in {1}</h1>\
         <p class=\"faint\">Twinlake, as of {3}</p>",
        safe(here),
        safe(there),
        include_str!("report/style.css"),
        known.now
    );
    html.push_str(&verdict(connection, known));
    html.push_str(&tiles(known));
    let from = known.now.plus_secs(-days * 86_400);
    let _ = write!(
        html,
        "<h2>Lag over the last {}</h2>{}",
        if days == 1 {
            "day".to_owned()
        } else {
            format!("{days} days")
        },
        lag(known, from)
    );
    html.push_str(&findings(known));
    html.push_str(&listed(known));
    html.push_str(&coverage(known));
    html.push_str("</body></html>\n");
    html
}

fn verdict(connection: &Connection, known: &Known) -> String {
    let objectives = &connection.policy.lag;
    let (class, text) = match known.is_well(objectives) {
        true => (
            "verdict",
            "Everything is in step: the second Region is ready.",
        ),
        false => ("verdict eyes", "Something needs eyes; it is listed below."),
    };
    let verified = match known.verified_at {
        Some(at) => format!(
            "Everything that is not listed equalled the primary as of {at}, {} ago.",
            ago(known.now.secs() - at.secs())
        ),
        None => "No resync has been complete yet, so nothing is verified.".to_owned(),
    };
    let behind: Vec<String> = known
        .lag()
        .into_iter()
        .flat_map(|sample| Channel::EVERY.map(|channel| (channel, sample.of(channel))))
        .filter(|(channel, secs)| *secs >= objectives.of(*channel))
        .map(|(channel, secs)| format!("{channel} is {} behind.", ago(secs)))
        .collect();
    format!(
        "<div class=\"{class}\"><p>{text}</p><p class=\"faint\">{verified} {}</p></div>",
        behind.join(" ")
    )
}

fn tiles(known: &Known) -> String {
    let counts = known.counts();
    let every = [State::Current].into_iter().chain(State::TROUBLES);
    let mut tiles: Vec<(String, String)> = every
        .map(|state| {
            let count = counts.get(&state).copied().unwrap_or_default();
            (state.to_string(), count.to_string())
        })
        .collect();
    for channel in Channel::EVERY {
        let lag = known.lag().map(|sample| ago(sample.of(channel)));
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
    format!("<h2>How it stands</h2><div class=\"tiles\">{tiles}</div>")
}

fn lag(known: &Known, from: Timestamp) -> String {
    if known.samples.is_empty() {
        return "<p>None was measured: the lag function notes it each minute where it is \
                deployed.</p>"
            .to_owned();
    }
    chart::lag(&known.samples, from, known.now)
}

fn findings(known: &Known) -> String {
    let mut html = "<h2>Open findings</h2>".to_owned();
    if known.open.is_empty() {
        html.push_str("<p>None.</p>");
        return html;
    }
    html.push_str(
        "<table><tr><th>what</th><th>since</th><th>what is true now</th><th>what to do</th></tr>",
    );
    for alert in &known.open {
        let severity = alert.kind.severity().as_str();
        let _ = write!(
            html,
            "<tr><td><span class=\"{severity}\">{}</span> ({})<br>{}</td><td class=\"time\">{}<br>{} in all</td>\
             <td>{}</td><td>{}</td></tr>",
            alert.kind,
            safe(&alert.region),
            safe(&alert.what),
            alert.since,
            alert.total,
            safe(&alert.now),
            safe(&alert.todo)
        );
    }
    html.push_str("</table>");
    html
}

fn listed(known: &Known) -> String {
    let rows = known.worst_first(false);
    if rows.is_empty() {
        return String::new();
    }
    let mut html = "<h2>Not current</h2><table><tr><th>object</th><th>state</th><th>since</th>\
                    <th>why</th></tr>"
        .to_owned();
    for row in rows.iter().take(LISTED) {
        let reason = row.reason.as_deref().unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td>{}</td><td class=\"time\">{}</td><td class=\"time\">{}</td><td>{}</td></tr>",
            safe(&row.subject.to_string()),
            row.state,
            row.since,
            safe(reason)
        );
    }
    html.push_str("</table>");
    let more = rows.len().saturating_sub(LISTED);
    if more > 0 {
        let _ = write!(
            html,
            "<p>And {more} more; `twinlake status` lists them.</p>"
        );
    }
    html
}

/// What is replicated, and what is not, by kind.
fn coverage(known: &Known) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (subject, row) in &known.rows {
        let paired = usize::from(row.pairing.is_some());
        let (kind, count) = match subject {
            Subject::Database(_) => ("databases".to_owned(), paired),
            Subject::Table(_) => ("tables".to_owned(), paired),
            Subject::Function(_) => ("functions".to_owned(), paired),
            Subject::Lake(lake @ (Lake::Tags | Lake::Expressions | Lake::Locations)) => {
                (lake.to_string(), row.owned.len())
            }
            Subject::Catalog | Subject::Lake(Lake::Permissions | Lake::Settings) => continue,
        };
        *kinds.entry(kind).or_default() += count;
        *kinds.entry("partitions".to_owned()).or_default() += row.partitions;
    }
    let mut html = "<h2>Coverage by kind</h2><table><tr><th>kind</th>\
                    <th class=\"number\">in the secondary</th>\
                    <th class=\"number\">not replicated</th></tr>"
        .to_owned();
    for (kind, count) in &kinds {
        let _ = write!(
            html,
            "<tr><td>{kind}</td><td class=\"number\">{count}</td><td></td></tr>"
        );
    }
    for (kind, count) in &known.unsupported {
        let kind = safe(kind);
        let _ = write!(
            html,
            "<tr><td>{kind}</td><td></td><td class=\"number\">{count}</td></tr>"
        );
    }
    html.push_str(
        "</table><p class=\"faint\">Partitions as they were last counted. Grants and \
                   filters belong to their objects.</p>",
    );
    html
}

fn ago(secs: i64) -> String {
    match secs {
        ..=119 => format!("{secs} s"),
        120..=7199 => format!("{} min", secs / 60),
        7200..=172_799 => format!("{} h", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// Untrusted text in HTML: as text, and with nothing unseen in it.
fn safe(text: &str) -> String {
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
    fn nothing_reaches_the_page_as_markup() {
        let hostile = "<script>\"'&\u{202e}\u{1b}";
        assert_eq!(
            super::safe(hostile),
            "&lt;script&gt;&quot;&#39;&amp;\\u{202e}\\u{1b}"
        );
    }
}
