//! Trouble to order.

use crate::error::ApiError;

/// Calls that fail.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// In which Region; in any if `None`.
    pub region: Option<String>,
    /// Which call, as AWS spells it; any if `None`.
    pub call: Option<String>,
    /// So many matching calls succeed first.
    pub after: usize,
    /// So many fail then.
    pub times: usize,
    /// How they fail.
    pub error: ApiError,
    /// The call has its effect all the same, and only the answer is lost.
    pub with_effect: bool,
}

impl Trouble {
    /// The next matching call fails once.
    #[must_use]
    pub fn once(region: &str, call: &str, error: ApiError) -> Self {
        Self {
            region: Some(region.to_owned()),
            call: Some(call.to_owned()),
            after: 0,
            times: 1,
            error,
            with_effect: false,
        }
    }

    pub(crate) fn strikes(&mut self, region: &str, call: &str) -> bool {
        let here = self.region.as_deref().is_none_or(|r| r == region);
        let this = self.call.as_deref().is_none_or(|c| c == call);
        if !here || !this || self.times == 0 {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

/// Calls that fail now and then, without a pattern: throttled, or in trouble before or
/// after they had their effect.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    state: u64,
    percent: u64,
}

impl Chaos {
    /// So many of a hundred calls fail; the seed says which.
    #[must_use]
    pub fn new(seed: u64, percent: u64) -> Self {
        Self {
            // A generator of this kind never leaves zero.
            state: seed | 1,
            percent,
        }
    }

    /// How the next call fails, if it does, and whether it has its effect all the same.
    pub(crate) fn strikes(&mut self) -> Option<(ApiError, bool)> {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        if self.state % 100 >= self.percent {
            return None;
        }
        Some(match self.state / 100 % 3 {
            0 => (ApiError::throttled(), false),
            1 => (ApiError::in_trouble(), false),
            _ => (ApiError::in_trouble(), true),
        })
    }
}

/// The caller is killed at a call: it never sees an answer, nor does anything more.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// At which call, counted from 0.
    pub at: usize,
    /// After the call had its effect, not before.
    pub after_effect: bool,
}
