//! The table `[takeover]` of the operation document: the address for clients, what a switchover freezes, and what a
//! takeover wakes.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;
use twinlake_core::client_address::{ClientAddress, MAX_ADDRESS_BYTES, TakeoverConfig};
use twinlake_core::document::{DocumentError, DocumentSource};
use twinlake_core::failover::FreezeMode;
use twinlake_core::query::QueryKind;
use twinlake_core::render::counted;
use twinlake_core::topology::is_region_name;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TakeoverTable {
    workgroup: Option<Spanned<String>>,
    #[serde(default)]
    results: BTreeMap<Spanned<String>, Spanned<String>>,
    event: Option<bool>,
    freeze: Option<Spanned<String>>,
    #[serde(default)]
    wake: Vec<Spanned<String>>,
    #[serde(default)]
    link: Vec<LinkTable>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct LinkTable {
    name: Spanned<String>,
    url: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// Checks `[takeover]`.
///
/// # Errors
/// What is wrong, with the line and the key.
pub(super) fn parse(
    source: DocumentSource<'_>,
    table: &Spanned<TakeoverTable>,
) -> Result<TakeoverConfig, DocumentError> {
    let raw = table.get_ref();
    let workgroup = match &raw.workgroup {
        Some(name) => Some(workgroup_name(source, name, "takeover.workgroup")?),
        None => None,
    };
    let results = by_region(source, &raw.results, "takeover.results", &["s3://"])?;
    let mut links = BTreeMap::new();
    for link in &raw.link {
        let name = link.name.get_ref();
        let start = link.name.span().start;
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(source.error(start, "takeover.link.name", "write a name in one line"));
        }
        let urls = by_region(
            source,
            &link.url,
            "takeover.link.url",
            &["https://", "http://"],
        )?;
        if links.insert(name.clone(), urls).is_some() {
            let problem = "another link has this name";
            return Err(source.error(start, "takeover.link.name", problem));
        }
    }
    let takeover = TakeoverConfig {
        workgroup,
        results,
        links,
        event: raw.event.unwrap_or(true),
        freeze: match &raw.freeze {
            Some(text) => freeze_mode(source, text)?,
            None => FreezeMode::None,
        },
        wake: wakeable_kinds(source, &raw.wake)?,
    };
    check_size(source, table.span().start, &takeover)?;
    Ok(takeover)
}

fn freeze_mode(
    source: DocumentSource<'_>,
    text: &Spanned<String>,
) -> Result<FreezeMode, DocumentError> {
    match text.get_ref().as_str() {
        "none" => Ok(FreezeMode::None),
        "grants" => Ok(FreezeMode::Grants),
        _ => {
            let problem = "write `none` or `grants`";
            Err(source.error(text.span().start, "takeover.freeze", problem))
        }
    }
}

/// What a takeover wakes: nothing unless the document names it.
fn wakeable_kinds(
    source: DocumentSource<'_>,
    texts: &[Spanned<String>],
) -> Result<BTreeSet<QueryKind>, DocumentError> {
    let kinds = texts.iter().map(|text| match text.get_ref().as_str() {
        "crawlers" => Ok(QueryKind::Crawler),
        "triggers" => Ok(QueryKind::Trigger),
        _ => {
            let problem = "write `crawlers`, `triggers` or both";
            Err(source.error(text.span().start, "takeover.wake", problem))
        }
    });
    kinds.collect()
}

/// Checks the name of an Athena workgroup.
pub(super) fn workgroup_name(
    source: DocumentSource<'_>,
    name: &Spanned<String>,
    key: &str,
) -> Result<String, DocumentError> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let text = name.get_ref();
    match (1..=128).contains(&text.len()) && text.chars().all(valid) {
        true => Ok(text.clone()),
        false => {
            let problem = "write the name of an Athena workgroup: letters, digits, `.`, `_` and `-`, 1 to 128";
            Err(source.error(name.span().start, key, problem))
        }
    }
}

/// Checks values by Region, each of which starts with one of `schemes`.
fn by_region(
    source: DocumentSource<'_>,
    raw: &BTreeMap<Spanned<String>, Spanned<String>>,
    key: &str,
    schemes: &[&str],
) -> Result<BTreeMap<String, String>, DocumentError> {
    let mut values = BTreeMap::new();
    for (region, value) in raw {
        let key = format!("{key}.{}", region.get_ref());
        if !is_region_name(region.get_ref()) {
            let problem = "write the name of a Region, like `us-east-1`";
            return Err(source.error(region.span().start, &key, problem));
        }
        let text = value.get_ref();
        let scheme = schemes.iter().find(|scheme| text.starts_with(**scheme));
        let rest = scheme.and_then(|scheme| text.strip_prefix(scheme));
        if rest.is_none_or(str::is_empty)
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            let problem = format!("write a text that starts with {}", schemes.join(" or "));
            return Err(source.error(value.span().start, &key, problem));
        }
        values.insert(region.get_ref().clone(), text.clone());
    }
    Ok(values)
}

/// The address of each Region must fit in a parameter.
fn check_size(
    source: DocumentSource<'_>,
    start: usize,
    takeover: &TakeoverConfig,
) -> Result<(), DocumentError> {
    let regions: BTreeSet<&str> = takeover.regions().collect();
    for region in regions {
        let bytes = ClientAddress::in_region(takeover, u64::MAX, region)
            .to_json()
            .len();
        if bytes > MAX_ADDRESS_BYTES {
            let problem = format!(
                "the address in {region} is too long by {}: leave out links, since an SSM parameter holds \
                 {MAX_ADDRESS_BYTES} bytes",
                counted(bytes - MAX_ADDRESS_BYTES, "byte")
            );
            return Err(source.error(start, "takeover", problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::operation_document::OperationConfig;
    use twinlake_core::failover::FreezeMode;
    use twinlake_core::query::QueryKind;

    const DOCUMENT: &str = r#"
[takeover]
workgroup = "analysts"
results = { us-east-1 = "s3://results-us/", ap-south-1 = "s3://results-in/" }
[[takeover.link]]
name = "sales"
url = { us-east-1 = "https://us.example/sales", ap-south-1 = "https://in.example/sales" }
"#;

    #[test]
    fn nothing_is_published_without_the_table() {
        assert_eq!(OperationConfig::parse("").unwrap().takeover, None);
        let bare = OperationConfig::parse("[takeover]\n").unwrap();
        assert!(bare.takeover.unwrap().event);
    }

    #[test]
    fn nothing_is_frozen_unless_the_document_says_so() {
        let freeze = |text: &str| {
            let document = OperationConfig::parse(&format!("[takeover]\n{text}")).unwrap();
            document.takeover.unwrap().freeze
        };
        assert_eq!(freeze(""), FreezeMode::None);
        assert_eq!(freeze("freeze = \"none\""), FreezeMode::None);
        assert_eq!(freeze("freeze = \"grants\""), FreezeMode::Grants);
    }

    #[test]
    fn nothing_is_woken_unless_the_document_names_it() {
        let wake = |text: &str| {
            let document = OperationConfig::parse(&format!("[takeover]\n{text}")).unwrap();
            document.takeover.unwrap().wake
        };
        assert!(wake("").is_empty());
        assert!(wake("wake = []").is_empty());
        let both = [QueryKind::Crawler, QueryKind::Trigger].into();
        assert_eq!(wake("wake = [\"triggers\", \"crawlers\"]"), both);
        assert_eq!(wake("wake = [\"crawlers\"]"), [QueryKind::Crawler].into());
    }

    #[test]
    fn each_region_has_its_own_values() {
        let takeover = OperationConfig::parse(DOCUMENT).unwrap().takeover.unwrap();
        assert_eq!(takeover.workgroup.as_deref(), Some("analysts"));
        assert_eq!(takeover.results["ap-south-1"], "s3://results-in/");
        assert_eq!(
            takeover.links["sales"]["us-east-1"],
            "https://us.example/sales"
        );
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let long = format!("https://{}", "x".repeat(5000));
        let cases = [
            (
                "workgroup = \"a b\"",
                "operation line 2, key `takeover.workgroup`: write the name of an Athena",
            ),
            (
                "results = { us = \"s3://b/\" }",
                "operation line 2, key `takeover.results.us`: write the name of a Region",
            ),
            (
                "results = { us-east-1 = \"bucket\" }",
                "operation line 2, key `takeover.results.us-east-1`: write a text that starts with s3://",
            ),
            (
                "[[takeover.link]]\nname = \"x\"\nurl = { us-east-1 = \"ftp://x\" }",
                "operation line 4, key `takeover.link.url.us-east-1`: write a text that starts with https://",
            ),
            (
                "[[takeover.link]]\nname = \"x\"\nurl = {}\n[[takeover.link]]\nname = \"x\"\nurl = {}",
                "operation line 6, key `takeover.link.name`: another link",
            ),
            ("topic = 1", "operation line 2, key `topic`"),
            (
                "wake = [\"crawlers\", \"jobs\"]",
                "operation line 2, key `takeover.wake`: write `crawlers`, `triggers` or both",
            ),
            (
                "freeze = \"all\"",
                "operation line 2, key `takeover.freeze`: write `none` or `grants`",
            ),
        ];
        let long = format!("[[takeover.link]]\nname = \"x\"\nurl = {{ us-east-1 = \"{long}\" }}");
        let too_long = (
            long.as_str(),
            "operation line 1, key `takeover`: the address in us-east-1 is too long by",
        );
        for (text, start) in cases.into_iter().chain([too_long]) {
            let problem = OperationConfig::parse(&format!("[takeover]\n{text}\n"))
                .unwrap_err()
                .to_string();
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
