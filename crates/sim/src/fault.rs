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

/// The caller is killed at a call: it never sees an answer, nor does anything more.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// At which call, counted from 0.
    pub at: usize,
    /// After the call had its effect, not before.
    pub after_effect: bool,
}
