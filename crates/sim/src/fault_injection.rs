//! Injected failures of API calls.

use crate::error::ApiError;

/// A rule that makes matching calls fail.
#[derive(Clone, Debug)]
pub struct InjectedFault {
    /// The Region to match; `None` matches every Region.
    pub region: Option<String>,
    /// The AWS operation to match; an entry of a batch matches under the name of the single operation.
    /// `None` matches every operation.
    pub call: Option<String>,
    /// How many matching calls succeed first.
    pub skip_calls: usize,
    /// How many matching calls fail after that.
    pub times: usize,
    /// The error that they return.
    pub error: ApiError,
    /// Whether the call still takes effect, so that only its response is lost.
    pub takes_effect: bool,
}

impl InjectedFault {
    /// Makes the next matching call fail, once.
    #[must_use]
    pub fn once(region: &str, call: &str, error: ApiError) -> Self {
        Self {
            region: Some(region.to_owned()),
            call: Some(call.to_owned()),
            skip_calls: 0,
            times: 1,
            error,
            takes_effect: false,
        }
    }

    /// Whether a call fails by this rule. Counts the call if it matches.
    pub(crate) fn matches_and_counts(&mut self, region: &str, call: &str) -> bool {
        let region_matches = self.region.as_deref().is_none_or(|r| r == region);
        let call_matches = self.call.as_deref().is_none_or(|c| c == call);
        if !region_matches || !call_matches || self.times == 0 {
            return false;
        }
        if self.skip_calls > 0 {
            self.skip_calls -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// Pseudo-random failures: throttling, or an internal error before or after the call takes effect.
#[derive(Clone, Copy, Debug)]
pub struct RandomFaults {
    state: u64,
    percent: u64,
}

impl RandomFaults {
    /// Makes about `percent` in 100 calls of one principal fail; `seed` determines which ones.
    #[must_use]
    pub fn new(seed: u64, percent: u64) -> Self {
        Self {
            // An xorshift generator with state 0 returns only 0.
            state: seed | 1,
            percent,
        }
    }

    /// Returns the error of the next call, if it fails, and whether the call still takes effect.
    pub(crate) fn next_fault(&mut self) -> Option<(ApiError, bool)> {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        if self.state % 100 >= self.percent {
            return None;
        }
        Some(match self.state / 100 % 3 {
            0 => (ApiError::throttled(), false),
            1 => (ApiError::internal_error(), false),
            _ => (ApiError::internal_error(), true),
        })
    }
}

/// Stops every caller of the ports at one call: this call and all later ones get no response.
#[derive(Clone, Copy, Debug)]
pub struct KillSwitch {
    /// The index of the call: 0 is the first one after the switch was set. In the state of the simulator, it
    /// counts from the first call of all.
    pub call_index: usize,
    /// Whether the call still takes effect.
    pub after_effect: bool,
}
