//! The page tokens of one listing.

use std::collections::BTreeSet;
use twinlake_core::{CallError, CallErrorKind};

/// The most pages of one listing: of `GetPartitions`, one hundred million partitions.
const MAX_PAGES: usize = 100_000;

/// The page tokens that one listing had so far. A token that comes twice makes a listing without end, and so do ever
/// new ones. Whatever loops over pages asks this for the token of the next one.
#[derive(Clone, Debug, Default)]
pub struct PageTokens(BTreeSet<String>);

impl PageTokens {
    /// Returns the token of the next page as a service answered it; `None` after the last page, for which some
    /// services answer an empty text. `call` and `region` are for the error.
    ///
    /// # Errors
    /// The listing had the token before, or has more than [`MAX_PAGES`] pages.
    pub fn next(
        &mut self,
        token: Option<String>,
        (call, region): (&str, &str),
    ) -> Result<Option<String>, CallError> {
        let token = token.filter(|token| !token.is_empty());
        let is_new = token.clone().is_none_or(|token| self.0.insert(token));
        let message = match (is_new, self.0.len() < MAX_PAGES) {
            (true, true) => return Ok(token),
            (true, false) => "the listing has too many pages to be read, or would not end",
            (false, _) => {
                "the answer has the page token of an earlier page, so the listing would not end"
            }
        };
        let kind = CallErrorKind::Unavailable;
        Err(CallError::new(kind, call, region, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_with_ever_new_tokens_ends_with_an_error() {
        let mut tokens = PageTokens::default();
        let mut pages = 0..=MAX_PAGES;
        let next = |page: usize| {
            tokens
                .next(Some(page.to_string()), ("GetTables", "us-east-1"))
                .is_err()
        };
        assert_eq!(pages.position(next), Some(MAX_PAGES - 1));
    }

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
