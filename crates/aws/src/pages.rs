//! Reads listings page by page. Each loop over pages of this crate is here, so that none goes on without end.

use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::BTreeMap;
use std::future::Future;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::{PageTokens, VersionMarker};

/// What says where the next page of a listing begins.
pub(crate) trait PageToken {
    /// A text that is the same for the same token only, and empty if there is no next page.
    fn text(&self) -> String;
}

impl PageToken for String {
    fn text(&self) -> String {
        self.clone()
    }
}

impl PageToken for VersionMarker {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

/// `LastEvaluatedKey` of DynamoDB.
impl PageToken for BTreeMap<String, AttributeValue> {
    fn text(&self) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!("{self:?}"),
        }
    }
}

/// Reads every page of a listing. Fails if any page fails, or if the listing has no end. The first argument is the
/// name of the call, and the Region.
pub(crate) async fn all_pages<T, K: PageToken, F>(
    listing: (&str, &str),
    page: impl FnMut(Option<K>) -> F,
) -> Result<Vec<T>, CallError>
where
    F: Future<Output = Result<(Vec<T>, Option<K>), CallError>>,
{
    let mut all = Vec::new();
    each_page(listing, page, |items| all.extend(items)).await?;
    Ok(all)
}

/// As [`all_pages`], but passes on the items of each page as it comes.
pub(crate) async fn each_page<T, K: PageToken, F>(
    listing: (&str, &str),
    mut page: impl FnMut(Option<K>) -> F,
    mut receive: impl FnMut(Vec<T>),
) -> Result<(), CallError>
where
    F: Future<Output = Result<(Vec<T>, Option<K>), CallError>>,
{
    let mut tokens = PageTokens::default();
    let mut token = None;
    loop {
        let (items, next) = page(token).await?;
        receive(items);
        let text = next.as_ref().map(PageToken::text);
        if tokens.next(text, listing)?.is_none() {
            return Ok(());
        }
        token = next;
    }
}

/// The token of the next page, where the answer also says whether there is one.
///
/// # Errors
/// The answer says that there are more pages, and not where the next one begins: what was listed is not everything.
pub(crate) fn next_token<K>(
    (call, region): (&str, &str),
    is_truncated: bool,
    token: Option<K>,
) -> Result<Option<K>, CallError> {
    match (is_truncated, token) {
        (true, Some(token)) => Ok(Some(token)),
        (true, None) => {
            let message =
                "the answer is not the last page, and does not say where the next one begins";
            let kind = CallErrorKind::Unavailable;
            Err(CallError::new(kind, call, region, message))
        }
        (false, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: (&str, &str) = ("GetTables", "us-east-1");

    #[tokio::test]
    async fn a_listing_reads_every_page_and_fails_if_it_has_no_end() {
        let page = |token: Option<String>| async move {
            let number = token.map_or(0, |token| token.parse::<u32>().unwrap());
            let next = if number == 3 {
                String::new()
            } else {
                (number + 1).to_string()
            };
            Ok((vec![number], Some(next)))
        };
        assert_eq!(all_pages(LISTING, page).await, Ok(vec![0, 1, 2, 3]));
        let endless = |token: Option<String>| async move {
            let next = if token.as_deref() == Some("a") {
                "b"
            } else {
                "a"
            };
            Ok((vec![0], Some(next.to_owned())))
        };
        let error = all_pages(LISTING, endless).await.unwrap_err();
        assert!(error.to_string().contains("GetTables"), "{error}");
    }

    #[tokio::test]
    async fn keys_and_markers_that_come_again_end_a_listing_with_an_error() {
        let key = |names: [&str; 2]| -> BTreeMap<String, AttributeValue> {
            let pairs = names.map(|name| (name.to_owned(), AttributeValue::S("x".to_owned())));
            pairs.into()
        };
        let endless = |after: Option<BTreeMap<String, AttributeValue>>| async move {
            // The same key, in whatever order its attributes come.
            let names = match after {
                None => ["pk", "sk"],
                Some(_) => ["sk", "pk"],
            };
            Ok((vec![0], Some(key(names))))
        };
        assert!(all_pages(LISTING, endless).await.is_err());
        let last = async |_: Option<BTreeMap<String, AttributeValue>>| {
            Ok((vec![7], Some(BTreeMap::new())))
        };
        assert_eq!(all_pages(LISTING, last).await, Ok(vec![7]));
        let versions = |after: Option<VersionMarker>| async move {
            let version = after.map(|_| "v".to_owned());
            Ok((vec![0], Some(("key".to_owned(), version))))
        };
        assert!(all_pages(LISTING, versions).await.is_err());
    }

    #[test]
    fn a_page_that_is_not_the_last_one_says_where_the_next_one_begins() {
        let next =
            |is_truncated, token: Option<&'static str>| next_token(LISTING, is_truncated, token);
        assert_eq!(next(true, Some("a")), Ok(Some("a")));
        assert_eq!(next(false, Some("a")), Ok(None));
        assert_eq!(next(false, None), Ok(None));
        assert!(next(true, None).is_err());
    }
}
