//! The page tokens of one listing.

use std::collections::BTreeSet;
use twinlake_core::{CallError, CallErrorKind};

/// The page tokens that one listing had so far. A token that comes twice makes a listing without end.
#[derive(Clone, Debug, Default)]
pub struct PageTokens(BTreeSet<String>);

impl PageTokens {
    /// Returns the token of the next page as a service answered it; `None` after the last page, for which some
    /// services answer an empty text. `call` and `region` are for the error.
    ///
    /// # Errors
    /// The listing had the token before.
    pub fn next(
        &mut self,
        token: Option<String>,
        (call, region): (&str, &str),
    ) -> Result<Option<String>, CallError> {
        let token = token.filter(|token| !token.is_empty());
        let is_new = token.clone().is_none_or(|token| self.0.insert(token));
        if is_new {
            return Ok(token);
        }
        let message =
            "the answer has the page token of an earlier page, so the listing would not end";
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, call, region, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_comes_again_ends_the_listing_with_an_error() {
        let listing = ("GetTables", "us-east-1");
        let mut tokens = PageTokens::default();
        for token in ["a", "b", "c"] {
            let next = tokens.next(Some(token.to_owned()), listing);
            assert_eq!(next, Ok(Some(token.to_owned())));
        }
        for last in [None, Some(String::new()), Some(String::new())] {
            assert_eq!(tokens.next(last, listing), Ok(None));
        }
        for token in ["a", "c"] {
            let error = tokens.next(Some(token.to_owned()), listing).unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Unavailable);
            let text = error.to_string();
            assert!(
                text.contains("GetTables") && text.contains("us-east-1"),
                "{text}"
            );
        }
    }
}
