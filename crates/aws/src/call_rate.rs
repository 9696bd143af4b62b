//! How often an operation may be called after AWS has refused calls of it. The rate is halved at a
//! refusal, grows fast up to a part of the rate that was refused, and then slowly: near the limit, every
//! attempt costs refusals. AWS's limits hold for the account, so every call of Twinlake beyond them
//! takes one from production.

use std::collections::VecDeque;
use std::time::Duration;

/// The lowest rate, in calls a second: also a refused operation is called now and then.
const MIN_RATE: f64 = 0.5;

/// The part of a refused rate up to which the rate grows fast.
const SAFE_PART: f64 = 0.7;

/// How much the rate grows in a second without a refusal, in calls a second: up to the safe part of the
/// rate that was refused, and beyond it.
const FAST_GROWTH_PER_SEC: f64 = 1.0;
const SLOW_GROWTH_PER_SEC: f64 = 0.02;

/// A rate above which nothing limits the calls any more.
const MAX_LIMITED_RATE: f64 = 100.0;

/// Refusals within this time of the last decrease are of calls that were sent before it.
const REACTION_TIME: Duration = Duration::from_millis(500);

/// The time over which the rate of the calls is measured.
const MEASURED_TIME: Duration = Duration::from_secs(2);

/// The shortest time over which a rate is measured: a few calls at once are no rate.
const MIN_MEASURED_TIME: Duration = Duration::from_millis(500);

/// The rate of the calls of one operation in one Region. Times are measured from any fixed moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallRate {
    /// Calls a second; `None` while nothing limits them.
    limit: Option<f64>,
    /// The rate up to which it grows fast.
    safe: f64,
    /// When the next call may be sent.
    next: Duration,
    /// When the rate was lowered or raised last.
    changed_at: Duration,
    /// When AWS refused a call last.
    refused_at: Duration,
    /// When the last calls were sent, within [`MEASURED_TIME`].
    sent: VecDeque<Duration>,
}

impl CallRate {
    /// How long the next call has to wait.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let next = self.limit.map_or(now, |_| self.next);
        next.saturating_sub(now)
    }

    /// Reserves a call that is sent at `at`, not before [`Self::wait`] allows it. `jitter`, from 0 to 1,
    /// varies the distance between calls: with equal distances, of two callers one may take every place
    /// that becomes free, and the other gets all the refusals.
    pub(crate) fn reserve(&mut self, at: Duration, jitter: f64) {
        if let Some(limit) = self.limit {
            self.next = at + Duration::from_secs_f64((0.5 + jitter) / limit);
        }
        let is_old = |sent: &Duration| *sent + MEASURED_TIME < at;
        while self.sent.front().is_some_and(is_old) {
            self.sent.pop_front();
        }
        self.sent.push_back(at);
    }

    /// Records that AWS refused a call because there were too many.
    pub(crate) fn refused(&mut self, now: Duration) {
        self.refused_at = now;
        if self.limit.is_some() && now < self.changed_at + REACTION_TIME {
            return;
        }
        let measured = self.measured_rate(now);
        let rate = self.limit.map_or(measured, |limit| limit.min(measured));
        self.safe = rate * SAFE_PART;
        self.limit = Some((rate / 2.0).max(MIN_RATE));
        self.changed_at = now;
    }

    /// Records that AWS answered a call.
    pub(crate) fn answered(&mut self, now: Duration) {
        let Some(limit) = self.limit else {
            return;
        };
        let elapsed = now.saturating_sub(self.changed_at);
        if elapsed < Duration::from_secs(1) {
            return;
        }
        let elapsed = elapsed.as_secs_f64();
        let raised = match limit < self.safe {
            true => (limit + FAST_GROWTH_PER_SEC * elapsed).min(self.safe),
            false => limit + SLOW_GROWTH_PER_SEC * elapsed,
        };
        self.limit = Some(raised).filter(|raised| *raised < MAX_LIMITED_RATE);
        self.changed_at = now;
    }

    /// Removes the limit if AWS has refused no call for this long.
    pub(crate) fn forget_limit_after(&mut self, time: Duration, now: Duration) {
        self.limit = self.limit.filter(|_| now < self.refused_at + time);
    }

    /// The calls a second of the last time.
    fn measured_rate(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(MEASURED_TIME);
        let recent = self.sent.iter().filter(|at| **at >= since && **at <= now);
        let recent = u32::try_from(recent.count()).unwrap_or(u32::MAX);
        let first = self.sent.front().copied().unwrap_or(now).max(since);
        let span = now.saturating_sub(first).max(MIN_MEASURED_TIME);
        f64::from(recent) / span.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: f64) -> Duration {
        Duration::from_secs_f64(secs)
    }

    #[test]
    fn nothing_waits_before_a_refusal() {
        let mut rate = CallRate::default();
        for _ in 0..1000 {
            assert_eq!(rate.wait(secs(1.0)), Duration::ZERO);
            rate.reserve(secs(1.0), 0.5);
        }
    }

    #[test]
    fn calls_below_a_limit_have_its_distance() {
        let mut rate = CallRate {
            limit: Some(2.0),
            ..CallRate::default()
        };
        rate.reserve(secs(1.0), 0.5);
        assert_eq!(rate.wait(secs(1.0)), secs(0.5));
        rate.reserve(secs(1.5), 1.0);
        assert_eq!(rate.wait(secs(1.0)), secs(1.25));
        assert_eq!(rate.wait(secs(3.0)), secs(0.0));
    }

    #[test]
    fn a_refusal_halves_the_rate_at_which_calls_were_sent_and_is_counted_once() {
        let mut rate = CallRate::default();
        for call in 0..40 {
            rate.reserve(secs(f64::from(call) * 0.05), 0.5);
        }
        rate.refused(secs(2.0));
        let halved = rate.limit.unwrap();
        assert!((9.0..=11.0).contains(&halved), "{halved}");
        rate.refused(secs(2.1));
        assert_eq!(rate.limit, Some(halved), "of calls that were sent before");
    }

    #[test]
    fn the_rate_grows_again_until_nothing_limits_it() {
        let mut rate = CallRate {
            limit: Some(5.0),
            safe: 7.0,
            ..CallRate::default()
        };
        rate.answered(secs(1.5));
        assert_eq!(rate.limit, Some(6.5));
        rate.answered(secs(1.6));
        assert_eq!(rate.limit, Some(6.5), "once a second");
        rate.answered(secs(4.0));
        assert_eq!(rate.limit, Some(7.0));
        rate.answered(secs(14.0));
        assert_eq!(rate.limit, Some(7.2), "slowly near the refused rate");
        rate.answered(secs(10_000.0));
        assert_eq!(rate.limit, None);
    }

    /// A service that answers 20 calls a second, 20 at once, to everyone together.
    struct Service {
        free: f64,
        at: f64,
    }

    impl Service {
        const RATE: f64 = 20.0;

        fn answers(&mut self, now: f64) -> bool {
            self.free = (self.free + (now - self.at) * Self::RATE).min(Self::RATE);
            self.at = now;
            let is_free = self.free >= 1.0;
            if is_free {
                self.free -= 1.0;
            }
            is_free
        }
    }

    /// Reserves the next call from `now` on, and returns when it is sent.
    fn reserved(rate: &mut CallRate, now: f64, random: &mut fastrand::Rng) -> f64 {
        let at = secs(now) + rate.wait(secs(now));
        rate.reserve(at, random.f64());
        at.as_secs_f64()
    }

    /// Production calls 10 times a second, and 16 callers of Twinlake as often as they may. Returns the
    /// part of production's calls that the service refused after the first ten seconds, and the calls a
    /// second that it answered Twinlake.
    fn beside_production(seed: u64) -> (f64, f64) {
        const ANSWER_TIME: f64 = 0.01;
        const DURATION: f64 = 300.0;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut service = Service {
            free: 20.0,
            at: 0.0,
        };
        let mut rate = CallRate::default();
        let mut next: Vec<f64> = Vec::new();
        for _ in 0..16 {
            next.push(reserved(&mut rate, 0.0, &mut random));
        }
        let (mut calls, mut refused, mut answered) = (0.0, 0.0, 0.0);
        let mut production = 0.05;
        loop {
            let (caller, now) = next
                .iter()
                .copied()
                .enumerate()
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            if now.min(production) > DURATION {
                return (refused / calls, answered / DURATION);
            }
            if production < now {
                let is_answered = service.answers(production);
                if production > 10.0 {
                    calls += 1.0;
                    refused += f64::from(u8::from(!is_answered));
                }
                production += 0.1;
                continue;
            }
            let done = now + ANSWER_TIME;
            // The SDK waits before it tries again.
            let again = match service.answers(now) {
                true => {
                    answered += 1.0;
                    rate.answered(secs(done));
                    done
                }
                false => {
                    rate.refused(secs(done));
                    done + 0.5
                }
            };
            next[caller] = reserved(&mut rate, again, &mut random);
        }
    }

    #[test]
    fn production_is_hardly_refused_beside_twinlake() {
        let runs: Vec<(f64, f64)> = (0..8).map(beside_production).collect();
        let refused = runs.iter().map(|(refused, _)| refused).sum::<f64>() / 8.0;
        assert!(refused <= 0.02, "{refused}: {runs:?}");
        for (refused, answered) in runs {
            assert!(refused <= 0.04 && answered > 5.0, "{refused}, {answered}");
        }
    }
}
