//! What is looked at each minute: how late the primary's changes come, how old the last
//! complete resync is, and what waits among the dead letters.

use crate::alerts::Looked;
use crate::letters;
use crate::ports::{Counts, Journal, Ledger, Letters};
use std::collections::BTreeMap;
use twinlake_core::heartbeat::{Channel, SILENT_AFTER, Sample, is_near};
use twinlake_core::ledger::Role;
use twinlake_core::policy::Objectives;
use twinlake_core::{Alert, AlertKind, Fault, State, Timestamp};

/// What a look came to.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Seconds that each channel is behind; in the standby only.
    pub lags: BTreeMap<Channel, i64>,
    /// Seconds since the start of the last complete resync, or since the watch began if there
    /// was none; in the standby only.
    pub verified_age: Option<i64>,
    /// How many subjects are in each state that needs eyes; in the standby only.
    pub states: BTreeMap<State, usize>,
    /// How many messages wait in each dead-letter queue.
    pub letters: BTreeMap<String, usize>,
    /// What people are to be told.
    pub found: Vec<Alert>,
    /// What was found to be well.
    pub looked: Looked,
}

/// Whose lag is told.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// This Region.
    pub region: &'a str,
    /// Seconds between heartbeats.
    pub interval: i64,
    /// From which lag on people are told.
    pub objectives: Objectives,
}

/// Looks at the channels from the primary, and notes the lag.
///
/// # Errors
/// The ledger is out of reach.
pub async fn channels<L: Ledger + Journal>(
    ledger: &L,
    watch: &Watch<'_>,
    now: Timestamp,
) -> Result<Watched, Fault> {
    let mut watched = Watched::default();
    let mut watched_since = now;
    for channel in Channel::EVERY {
        let pulse = ledger.pulse(channel, now).await?;
        watched_since = watched_since.min(pulse.since);
        let lag = pulse.lag(watch.interval, now);
        let objective = watch.objectives.of(channel);
        watched.lags.insert(channel, lag);
        for (kind, limit) in [
            (AlertKind::Lagging, objective),
            (AlertKind::Silent, objective.saturating_mul(SILENT_AFTER)),
        ] {
            let alert = behind(kind, channel, lag, watch, now);
            if lag >= limit {
                watched.found.push(alert);
            } else if !is_near(lag, limit) {
                watched.looked = watched.looked.and_over(kind, &alert.subject, now);
            }
        }
    }
    let of = |channel: Channel| watched.lags.get(&channel).copied().unwrap_or_default();
    let sample = Sample {
        at: now,
        catalog: of(Channel::Catalog),
        permissions: of(Channel::Permissions),
    };
    ledger.put_sample(&sample).await?;
    let verified_at = ledger.verified_at().await?;
    // One that was never verified is as old as the watch.
    let verified_at = verified_at.unwrap_or(watched_since);
    watched.verified_age = Some(now.secs() - verified_at.secs());
    watched.states = ledger.trouble_counts().await?;
    let pending = ledger.pendings().await?.len();
    *watched.states.entry(State::DataPending).or_default() += pending;
    Ok(watched)
}

/// What is over where this Region is known not to be the standby: nobody waits for changes
/// here.
#[must_use]
pub fn of_no_standby(role: Option<Role>, now: Timestamp) -> Looked {
    let mut looked = Looked::default();
    if matches!(role, None | Some(Role::Standby)) {
        return looked;
    }
    for channel in Channel::EVERY {
        for kind in [AlertKind::Lagging, AlertKind::Silent] {
            looked = looked.and_over(kind, &subject(channel), now);
        }
    }
    looked
}

fn subject(channel: Channel) -> String {
    format!("channel {channel}")
}

fn behind(kind: AlertKind, channel: Channel, lag: i64, watch: &Watch<'_>, now: Timestamp) -> Alert {
    let objective = watch.objectives.of(channel);
    let brings = channel.brings();
    let what = match kind == AlertKind::Silent {
        true => format!(
            "Nothing has come for {lag} s over the channel that brings {brings}: the primary, \
             the channel or Twinlake's functions stand still."
        ),
        false => format!(
            "Over the channel that brings {brings} the lag is {lag} s; the objective is \
             {objective} s."
        ),
    };
    let truth = "Whatever was changed in the primary since then may not be in the secondary; \
                 what is revoked there may still be allowed here.";
    let todo = match channel {
        Channel::Catalog => {
            "See whether the primary's heartbeat function runs, then its rules (ForwardNative), \
             the dead letters, and the log of catalog-event."
        }
        Channel::Permissions => {
            "See whether the trail in the primary is logging management events, then its rules \
             (ForwardPermissionCalls), the dead letters, and the log of permission-event."
        }
    };
    let sentences = [
        what,
        truth.to_owned(),
        format!("{todo} A resync brings the secondary up to date meanwhile: `twinlake resync`."),
    ];
    Alert::new(kind, watch.region, &subject(channel), sentences, now)
}

/// Looks at the dead-letter queues. What is in them is named.
///
/// # Errors
/// A queue cannot be asked.
pub async fn dead_letters<Q: Letters>(
    queues: &Q,
    region: &str,
    now: Timestamp,
    watched: &mut Watched,
) -> Result<(), Fault> {
    watched.letters = queues.waiting().await?;
    let counts: Vec<(String, usize)> = watched.letters.clone().into_iter().collect();
    for (queue, count) in counts {
        let subject = format!("dead letters of {queue}");
        if count == 0 {
            let looked = std::mem::take(&mut watched.looked);
            watched.looked = looked.and_over(AlertKind::DeadLetters, &subject, now);
            continue;
        }
        let bodies = queues.peek(&queue).await?;
        let sentences = [
            format!(
                "{count} messages could not be handled and wait in the dead-letter queue of {queue}."
            ),
            "What they tell of is seen by the next resync at the latest, unless it is named below \
             as no event."
                .to_owned(),
            format!("Mend the cause, then `twinlake redrive {queue}`."),
        ];
        watched.found.push(Alert {
            count,
            samples: bodies.iter().map(|body| letters::name(body)).collect(),
            ..Alert::new(AlertKind::DeadLetters, region, &subject, sentences, now)
        });
    }
    Ok(())
}

/// The worst lag of each channel since a time, in seconds.
///
/// # Errors
/// The ledger is out of reach.
pub async fn worst<L: Journal>(
    ledger: &L,
    since: Timestamp,
) -> Result<BTreeMap<Channel, i64>, Fault> {
    let samples = ledger.samples(since).await?;
    let worst = Channel::EVERY.iter().filter_map(|channel| {
        let lags = samples.iter().map(|sample| sample.of(*channel));
        lags.max().map(|lag| (*channel, lag))
    });
    Ok(worst.collect())
}

/// Adds numbers to those of the day, under names that begin alike.
#[must_use]
pub fn named(start: &str, numbers: &BTreeMap<&'static str, u64>) -> Counts {
    let named = numbers.iter();
    named
        .map(|(name, number)| (format!("{start}.{name}"), *number))
        .collect()
}
