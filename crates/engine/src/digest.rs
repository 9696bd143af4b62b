//! How the last day went, once a day: what is not replicated, how far behind it was at worst,
//! what was mended unseen, what it cost.

use crate::ports::{Journal, Ledger};
use crate::watch;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::heartbeat::Channel;
use twinlake_core::price::{AS_OF, Prices};
use twinlake_core::{Alert, AlertKind, Fault, State, Timestamp};

const DAY_SECS: i64 = 86_400;
/// How many lines of what is not replicated are told.
const LINES: usize = 40;

/// What the digest says at a time, of the day before it.
///
/// # Errors
/// The ledger is out of reach.
pub async fn digest<L: Ledger + Journal>(
    ledger: &L,
    prices: &Prices,
    region: &str,
    now: Timestamp,
) -> Result<Alert, Fault> {
    let before = now.plus_secs(-DAY_SECS);
    let counts = ledger.counted(before).await?;
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    let kinds = unsupported(ledger).await?;
    let worst = watch::worst(ledger, before).await?;
    let lag = |channel: Channel| match worst.get(&channel) {
        Some(secs) => format!("{secs} s"),
        None => "not measured".to_owned(),
    };
    let mut samples = vec![
        format!(
            "worst lag: catalog {}, permissions {}",
            lag(Channel::Catalog),
            lag(Channel::Permissions)
        ),
        match ledger.verified_at().await? {
            Some(at) => format!("verified as of {at}"),
            None => "never verified: no resync has been complete yet".to_owned(),
        },
        format!(
            "{} steps applied, {} of them drift that a resync mended",
            count("applied"),
            count("drift")
        ),
        calls(&counts),
        format!(
            "about ${:.2} by AWS's prices of {AS_OF} for us-east-1, or the policy's; metrics, \
             alarms and logs not counted",
            prices.of_day(&counts)
        ),
    ];
    samples.extend(not_current(ledger).await?);
    let total: usize = kinds.values().sum();
    let more = kinds.len().saturating_sub(LINES);
    samples.extend(
        kinds
            .iter()
            .take(LINES)
            .map(|(kind, many)| format!("not replicated, {many} x {kind}")),
    );
    if more > 0 {
        samples.push(format!("and {more} more kinds"));
    }
    let sentences = [
        format!("This is how the day up to {now} went."),
        match total {
            0 => "Everything that the policy covers is replicated or listed by `twinlake status`."
                .to_owned(),
            many => {
                format!("{many} things are not in the secondary; they are listed below by kind.")
            }
        },
        "Nothing at once; each line that names a policy key can be changed by it.".to_owned(),
    ];
    Ok(Alert {
        about: BTreeSet::new(),
        group: now.day(),
        count: total.max(1),
        samples,
        ..Alert::new(AlertKind::Digest, region, &now.day(), sentences, now)
    })
}

/// How many subjects are in each state that needs eyes.
async fn not_current<L: Journal>(ledger: &L) -> Result<Vec<String>, Fault> {
    let troubles = ledger.troubles().await?;
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for row in troubles.values() {
        *counts.entry(row.state).or_default() += 1;
    }
    let pending = ledger.pendings().await?.len();
    if pending > 0 {
        *counts.entry(State::DataPending).or_default() += pending;
    }
    let told = counts.iter();
    Ok(told
        .map(|(state, count)| format!("{count} {state}"))
        .collect())
}

fn calls(counts: &BTreeMap<String, u64>) -> String {
    let of = |name: &str| counts.get(name).copied().unwrap_or_default();
    let lake = of("calls.glue") + of("calls.lakeformation");
    let (made, floor) = (of("resync.calls"), of("resync.floor"));
    let against = match floor {
        0 => "no resync was complete".to_owned(),
        floor => {
            let hundredths = made.saturating_mul(100) / floor;
            format!(
                "{made} by {} resyncs against a floor of {floor}, x{}.{:02}",
                of("resyncs"),
                hundredths / 100,
                hundredths % 100
            )
        }
    };
    format!("{lake} calls to Glue and Lake Formation: {against}")
}

/// What is not replicated, by kind and count, as the last looks found it: subjects that are
/// kept back or blocked, and what no row tells of.
///
/// # Errors
/// The ledger is out of reach.
pub async fn unsupported<L: Ledger + Journal>(
    ledger: &L,
) -> Result<BTreeMap<String, usize>, Fault> {
    let verified_at = ledger.verified_at().await?;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for row in ledger.troubles().await?.values() {
        let lasts = matches!(row.state, State::Held | State::Blocked);
        // What the brake holds is in the secondary.
        if lasts && !row.is_braked() {
            let reason = row.reason.as_deref().unwrap_or("no reason noted");
            *kinds.entry(reason.to_owned()).or_default() += 1;
        }
    }
    for (episode, _) in ledger.episodes().await?.into_values() {
        let alert = &episode.alert;
        // What the last complete resync did not find again is no more.
        let is_past = |at: Timestamp| verified_at.is_some_and(|verified| at < verified);
        if alert.kind != AlertKind::Unsupported || is_past(alert.at) {
            continue;
        }
        for (sample, _) in episode.gathered.iter().filter(|(_, at)| !is_past(**at)) {
            let (_, detail) = sample.split_once(": ").unwrap_or(("", sample));
            let (many, kind) = match detail.split_once(" x ") {
                Some((many, kind)) => (many.parse().unwrap_or(1), kind),
                None => (1, detail),
            };
            *kinds.entry(kind.to_owned()).or_default() += many;
        }
        let unnamed = alert.count.saturating_sub(alert.samples.len());
        if unnamed > 0 {
            *kinds.entry("of other kinds".to_owned()).or_default() += unnamed;
        }
    }
    Ok(kinds)
}
