//! What runs by the clock: the heartbeat, the look at it, the digest.

use crate::handle::of_unready;
use crate::start::Start;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::Value;
use tracing::info;
use twinlake_core::Fault;
use twinlake_core::ledger::Role;
use twinlake_core::metric::{Metric, Point};
use twinlake_engine::Clock as _;
use twinlake_engine::ports::Counts;
use twinlake_engine::role::Unready;
use twinlake_engine::watch::{self, Watch, Watched};
use twinlake_engine::{alerts, digest as digests, heartbeat as beats};

/// The primary's heartbeat. In the standby it does nothing.
///
/// # Errors
/// A call failed: the lag tells.
pub async fn heartbeat(start: &Start, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let account = start.begin();
    let role = start.standing().await.ok().map(|standing| standing.role);
    if role == Some(Role::Primary) {
        // This Region is what the function's own connection leads to.
        beats::beat(&start.secondary, start.clock.now()).await?;
    }
    info!(beat = role == Some(Role::Primary), "heartbeat");
    account.end(Vec::new(), Counts::new()).await;
    Ok(Value::Null)
}

/// The look at lag, age and dead letters, each minute.
///
/// # Errors
/// The ledger, a queue or the topic is out of reach; an alarm watches that this runs.
pub async fn lag(start: &Start, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let account = start.begin();
    let now = start.clock.now();
    let region = start.config.region.as_str();
    let mut watched = Watched::default();
    let standing = match start.standing().await {
        Ok(standing) => {
            watched.looked = watch::of_no_standby(Some(standing.role), now);
            Some(standing)
        }
        Err(Unready::Ledger(fault)) => return Err(fault.into()),
        // Nothing is applied, no heart beats and no lag is measured.
        Err(unready) => {
            watched.found.push(of_unready(&unready, start));
            None
        }
    };
    let role = standing.as_ref().map(|standing| standing.role);
    let is_ready = standing.is_some();
    if let Some(standing) = standing.filter(|standing| standing.role == Role::Standby) {
        let watch = Watch {
            region,
            interval: start.config.beat_secs,
            objectives: standing.policy.lag,
        };
        watched = watch::channels(&start.ledger, &watch, now).await?;
    }
    if is_ready {
        let looked = std::mem::take(&mut watched.looked);
        watched.looked = looked.and(alerts::READY, now);
    }
    // That a queue cannot be asked is no reason to keep the lag to ourselves.
    let letters = watch::dead_letters(&start.letters, region, now, &mut watched).await;
    let points = points(&watched);
    info!(
        lag = ?watched.lags,
        verified_age = watched.verified_age,
        letters = watched.letters.values().sum::<usize>(),
        "watched"
    );
    conclude(start, role, &watched).await?;
    account.end(points, Counts::new()).await;
    letters?;
    Ok(Value::Null)
}

async fn conclude(start: &Start, role: Option<Role>, watched: &Watched) -> Result<(), Fault> {
    let now = start.clock.now();
    let topic = start.topic(role);
    alerts::conclude(
        &topic,
        &start.ledger,
        (&watched.found, &watched.looked),
        now,
    )
    .await?;
    alerts::fade(&topic, &start.ledger, start.config.quiet_secs, now).await?;
    alerts::remind(&topic, &start.ledger, now).await
}

fn points(watched: &Watched) -> Vec<Point> {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let letters: usize = watched.letters.values().sum();
    let mut points = vec![
        Point::new(Metric::Watched, 1),
        Point::new(Metric::DeadLetters, number(letters)),
    ];
    let lags = watched.lags.iter();
    points.extend(lags.map(|(channel, lag)| Point::of(Metric::Lag, channel.as_str(), *lag)));
    let age = watched.verified_age;
    points.extend(age.map(|age| Point::new(Metric::VerifiedAge, age)));
    let states = watched.states.iter().filter_map(|(state, count)| {
        Metric::of_state(*state).map(|metric| Point::new(metric, number(*count)))
    });
    points.extend(states);
    points
}

/// The daily digest, from the standby.
///
/// # Errors
/// The ledger or the topic is out of reach.
pub async fn digest(start: &Start, _: LambdaEvent<Value>) -> Result<Value, Error> {
    let account = start.begin();
    let standing = start.standing().await.ok();
    if let Some(standing) = standing.filter(|standing| standing.role == Role::Standby) {
        let now = start.clock.now();
        let prices = &standing.policy.prices;
        let alert = digests::digest(&start.ledger, prices, &start.config.region, now).await?;
        alerts::publish(&start.alerts, &start.ledger, &[alert], now).await?;
    }
    account.end(Vec::new(), Counts::new()).await;
    Ok(Value::Null)
}
