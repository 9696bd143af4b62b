//! From TOML text to a checked policy, with errors that name line and key.

use super::pattern::{Pattern, Patterns};
use super::{
    Brake, Deletions, Filters, Iceberg, Objectives, Policy, Settings, Side, Statistics, Tags,
    Unmapped,
};
use crate::catalog;
use crate::grant::{OwnRoles, Principal};
use crate::location::{Location, LocationMap, Pair};
use crate::price::Prices;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

/// What is wrong with a policy document, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// The line, counted from 1.
    pub line: usize,
    /// The key, as a dotted path; empty where the text is no TOML at all.
    pub key: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy line {}", self.line)?;
        if !self.key.is_empty() {
            write!(f, ", key `{}`", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for PolicyError {}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    first: RawSide,
    second: Spanned<RawSide>,
    #[serde(default = "everything")]
    include: Vec<Spanned<String>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
    #[serde(default)]
    location: Vec<RawPair>,
    #[serde(default)]
    catalog: Vec<RawPair>,
    #[serde(default)]
    principal: Vec<RawPair>,
    #[serde(default)]
    ignore: Vec<Spanned<String>>,
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    unmapped_location: Unmapped,
    #[serde(default)]
    iceberg: Iceberg,
    #[serde(default)]
    statistics: Statistics,
    #[serde(default)]
    filters: Filters,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    deletions: Deletions,
    #[serde(default)]
    brake: RawBrake,
    #[serde(default)]
    lag: RawLag,
    #[serde(default)]
    prices: BTreeMap<String, Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSide {
    region: Spanned<String>,
    account: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPair {
    first: Spanned<String>,
    second: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawBrake {
    share: Option<Spanned<f64>>,
    minimum: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawLag {
    catalog: Option<Spanned<i64>>,
    permissions: Option<Spanned<i64>>,
}

/// One heartbeat that is lost is nobody's business, so it is more than their interval by what
/// the next one may take; two that are missing are told by the look after that.
const DEFAULT_CATALOG_LAG: i64 = 75;
/// CloudTrail delivers within minutes, without a bound.
const DEFAULT_PERMISSIONS_LAG: i64 = 900;
const LONGEST_LAG: i64 = 86_400;
const DEFAULT_SHARE: f64 = 0.1;
const DEFAULT_MINIMUM: usize = 10;

fn everything() -> Vec<Spanned<String>> {
    vec![Spanned::new(0..0, "*".to_owned())]
}

pub(super) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let document: Document = toml::from_str(text).map_err(|e| from_toml(text, &e))?;
    let source = Source { text };
    let first = source.side("first", &document.first)?;
    let second = source.side("second", document.second.get_ref())?;
    if first == second {
        return Err(source.error(
            document.second.span().start,
            "second",
            "it is the same Region and account as `first`; name the other side",
        ));
    }
    if first.account != second.account {
        return Err(source.error(
            document.second.get_ref().account.span().start,
            "second.account",
            "this version replicates within one account; both sides must name the same",
        ));
    }
    let patterns = Patterns::new(
        source.patterns("include", &document.include)?,
        source.patterns("exclude", &document.exclude)?,
    );
    let locations = source.locations(&document.location)?;
    let catalogs = source.catalogs(&document.catalog)?;
    let principals = source.principals(&document.principal)?;
    let ignored = source.ignored(&document.ignore)?;
    let brake = source.brake(&document.brake)?;
    let lag = source.lag(&document.lag)?;
    let prices = source.prices(&document.prices)?;
    let mut policy = Policy {
        first,
        second,
        patterns,
        locations,
        catalogs,
        principals,
        ignored,
        settings: document.settings,
        unmapped_location: document.unmapped_location,
        iceberg: document.iceberg,
        statistics: document.statistics,
        filters: document.filters,
        tags: document.tags,
        deletions: document.deletions,
        brake,
        lag,
        prices,
        digest: String::new(),
        text: text.to_owned(),
    };
    policy.digest = digest(&policy);
    Ok(policy)
}

fn digest(policy: &Policy) -> String {
    let pair = |pair: &Pair| (pair.first.to_string(), pair.second.to_string());
    let pairs: Vec<(String, String)> = policy.locations.pairs().iter().map(pair).collect();
    catalog::digest(&(
        (
            &policy.first,
            &policy.second,
            policy.patterns.texts(),
            pairs,
            &policy.catalogs,
            &policy.principals,
            policy.ignored.patterns(),
            policy.settings,
        ),
        (
            policy.unmapped_location,
            policy.iceberg,
            policy.statistics,
            policy.filters,
            policy.tags,
            policy.deletions,
            policy.brake,
            policy.lag,
            &policy.prices,
        ),
    ))
}

struct Source<'a> {
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, at: usize, key: &str, problem: impl Into<String>) -> PolicyError {
        PolicyError {
            line: line_of(self.text, at),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    fn side(&self, key: &str, raw: &RawSide) -> Result<Side, PolicyError> {
        let region = raw.region.get_ref();
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.split('-').count() < 3 || !region.chars().all(valid) {
            let problem = "this is no AWS Region; write it as in \"us-east-1\"";
            return Err(self.error(raw.region.span().start, &format!("{key}.region"), problem));
        }
        let account = raw.account.get_ref();
        if account.len() != 12 || !account.chars().all(|c| c.is_ascii_digit()) {
            let problem = "an account is twelve digits, in quotes";
            return Err(self.error(raw.account.span().start, &format!("{key}.account"), problem));
        }
        Ok(Side {
            region: region.clone(),
            account: account.clone(),
        })
    }

    fn patterns(&self, key: &str, raw: &[Spanned<String>]) -> Result<Vec<Pattern>, PolicyError> {
        let parse = |text: &Spanned<String>| {
            Pattern::parse(text.get_ref())
                .map_err(|problem| self.error(text.span().start, key, problem))
        };
        raw.iter().map(parse).collect()
    }

    fn locations(&self, raw: &[RawPair]) -> Result<LocationMap, PolicyError> {
        let place = |key: &str, text: &Spanned<String>| {
            Location::parse(text.get_ref()).map_err(|e| {
                self.error(text.span().start, &format!("location.{key}"), e.to_string())
            })
        };
        let mut pairs = Vec::new();
        for pair in raw {
            pairs.push(Pair {
                first: place("first", &pair.first)?,
                second: place("second", &pair.second)?,
            });
        }
        LocationMap::new(pairs).map_err(|(at, earlier)| {
            let start = |at: usize| raw.get(at).map_or(0, |pair| pair.first.span().start);
            let problem = format!(
                "one of these places lies in a place of the pair on line {}, or the other way \
                 round; name places that do not overlap, so that each has one counterpart",
                line_of(self.text, start(earlier))
            );
            self.error(start(at), "location", problem)
        })
    }

    /// Catalogs of others that resource links point at.
    fn catalogs(&self, raw: &[RawPair]) -> Result<Vec<(String, String)>, PolicyError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw {
            let (first, second) = (pair.first.get_ref(), pair.second.get_ref());
            let taken = |known: &(String, String)| known.0 == *first || known.1 == *second;
            let problem = if first.is_empty() || second.is_empty() {
                "a catalog is named by its id, which is an account unless it is nested"
            } else if pairs.iter().any(taken) {
                "an earlier pair already names one of these catalogs; each has one counterpart"
            } else {
                pairs.push((first.clone(), second.clone()));
                continue;
            };
            return Err(self.error(pair.first.span().start, "catalog", problem));
        }
        Ok(pairs)
    }

    /// Principals that are another one in the other Region.
    fn principals(&self, raw: &[RawPair]) -> Result<Vec<(String, String)>, PolicyError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw {
            let (first, second) = (pair.first.get_ref(), pair.second.get_ref());
            let taken = |known: &(String, String)| known.0 == *first || known.1 == *second;
            let known = |text: &String| Principal(text.clone()).kind().is_some();
            let problem = if !(known(first) && known(second)) {
                "this is no principal of Lake Formation; write an IAM, SAML, QuickSight, Identity \
                 Center or organisation ARN, an account, or IAM_ALLOWED_PRINCIPALS"
            } else if pairs.iter().any(taken) {
                "an earlier pair already names one of these principals; each has one counterpart"
            } else {
                pairs.push((first.clone(), second.clone()));
                continue;
            };
            return Err(self.error(pair.first.span().start, "principal", problem));
        }
        Ok(pairs)
    }

    fn ignored(&self, raw: &[Spanned<String>]) -> Result<OwnRoles, PolicyError> {
        for pattern in raw {
            let text = pattern.get_ref();
            let stars = text.matches('*').count();
            if text.is_empty() || text == "*" || stars > 1 || (stars == 1 && !text.ends_with('*')) {
                let problem = "name a principal, or the beginning of some with a star at the end";
                return Err(self.error(pattern.span().start, "ignore", problem));
            }
        }
        Ok(OwnRoles::new(raw.iter().map(|text| text.get_ref().clone())))
    }

    fn lag(&self, raw: &RawLag) -> Result<Objectives, PolicyError> {
        let checked = |key: &str, value: &Option<Spanned<i64>>, default: i64| match value {
            Some(secs) if !(1..=LONGEST_LAG).contains(secs.get_ref()) => {
                let problem = format!("write seconds, from 1 to {LONGEST_LAG}");
                Err(self.error(secs.span().start, &format!("lag.{key}"), problem))
            }
            Some(secs) => Ok(*secs.get_ref()),
            None => Ok(default),
        };
        Ok(Objectives {
            catalog: checked("catalog", &raw.catalog, DEFAULT_CATALOG_LAG)?,
            permissions: checked("permissions", &raw.permissions, DEFAULT_PERMISSIONS_LAG)?,
        })
    }

    fn prices(&self, raw: &BTreeMap<String, Spanned<f64>>) -> Result<Prices, PolicyError> {
        let mut prices = Prices::default();
        for (name, price) in raw {
            let valid = price.get_ref().is_finite() && *price.get_ref() >= 0.0;
            if !valid || !prices.set(name, *price.get_ref()) {
                let known: Vec<&str> = prices.names().collect();
                let problem = format!("write US dollars for one of {}", known.join(", "));
                return Err(self.error(price.span().start, &format!("prices.{name}"), problem));
            }
        }
        Ok(prices)
    }

    fn brake(&self, raw: &RawBrake) -> Result<Brake, PolicyError> {
        let share = match &raw.share {
            Some(share) if !(0.0..=1.0).contains(share.get_ref()) => {
                let problem = "a share lies between 0 and 1";
                return Err(self.error(share.span().start, "brake.share", problem));
            }
            Some(share) => *share.get_ref(),
            None => DEFAULT_SHARE,
        };
        Ok(Brake {
            share,
            minimum: raw.minimum.unwrap_or(DEFAULT_MINIMUM),
        })
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let head = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    head.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// TOML's own errors, with the key of the line that they point at.
fn from_toml(text: &str, error: &toml::de::Error) -> PolicyError {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let key = text
        .lines()
        .nth(line - 1)
        .and_then(|line| line.split_once('='))
        .map(|(key, _)| key.trim().to_owned())
        .unwrap_or_default();
    PolicyError {
        line,
        key,
        problem: error.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::ledger::Epoch;
    use crate::name::{Name, TableId};
    use crate::policy::Policy;

    const BASE: &str = r#"[first]
region = "us-east-1"
account = "111122223333"
[second]
region = "ap-south-1"
account = "111122223333"
"#;

    fn problem(text: &str) -> String {
        Policy::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_shortest_policy_has_the_safe_defaults() {
        let policy = Policy::parse(BASE).unwrap();
        assert_eq!(policy.primary(Epoch(0)).region, "us-east-1");
        assert_eq!(policy.primary(Epoch(1)).region, "ap-south-1");
        assert_eq!(policy.secondary(Epoch(1)).region, "us-east-1");
        assert!(policy.covers_database(&Name::new("anything").unwrap()));
        assert_eq!(policy.brake.minimum, 10);
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let cases = [
            (
                BASE.replace("us-east-1", "Virginia"),
                "policy line 2, key `first.region`",
            ),
            (
                BASE.replacen("111122223333", "1111", 1),
                "policy line 3, key `first.account`",
            ),
            (
                BASE.replace("ap-south-1", "us-east-1"),
                "policy line 4, key `second`",
            ),
            (
                format!("iceberg = \"copy\"\n{BASE}"),
                "policy line 1, key `iceberg`",
            ),
            (
                format!("icebreg = \"pointer\"\n{BASE}"),
                "policy line 1, key `icebreg`",
            ),
            (
                format!("include = [\"a\", \"[\"]\n{BASE}"),
                "policy line 1, key `include`",
            ),
            (
                format!("{BASE}[brake]\nshare = 2.0\n"),
                "policy line 8, key `brake.share`",
            ),
            (
                format!("{BASE}[prices]\nglu = 1.0\n"),
                "policy line 8, key `prices.glu`: write US dollars for one of ",
            ),
            (
                format!("{BASE}[lag]\ncatalog = 0\n"),
                "policy line 8, key `lag.catalog`",
            ),
            (
                format!("{BASE}[[location]]\nfirst = \"hdfs://x\"\nsecond = \"s3://y\"\n"),
                "policy line 8, key `location.first`",
            ),
            (format!("{BASE}[broken\n"), "policy line 7"),
        ];
        for (text, start) in cases {
            let problem = problem(&text);
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn a_second_pair_for_a_catalog_is_refused() {
        let pair = "[[catalog]]\nfirst = \"1\"\nsecond = \"2\"\n";
        let other = "[[catalog]]\nfirst = \"3\"\nsecond = \"2\"\n";
        let problem = problem(&format!("{BASE}{pair}{other}"));
        assert!(
            problem.starts_with("policy line 11, key `catalog`"),
            "{problem}"
        );
        let policy = Policy::parse(&format!("{BASE}{pair}")).unwrap();
        assert_eq!(policy.catalog("1", true), Some("2"));
        assert_eq!(policy.catalog("2", false), Some("1"));
        assert_eq!(policy.catalog("2", true), None);
    }

    #[test]
    fn a_second_pair_for_a_place_is_refused() {
        let pair = "[[location]]\nfirst = \"s3://a/\"\nsecond = \"s3://x\"\n";
        let other = "[[location]]\nfirst = \"s3://b\"\nsecond = \"s3://x/\"\n";
        let problem = problem(&format!("{BASE}{pair}{other}"));
        assert!(
            problem.starts_with("policy line 11, key `location`"),
            "{problem}"
        );
    }

    #[test]
    fn the_digest_is_of_what_is_said_and_not_how() {
        let digest = |text: &str| Policy::parse(text).unwrap().digest().to_owned();
        assert_eq!(digest(BASE), digest(&format!("# a remark\n\n{BASE}")));
        assert_ne!(
            digest(BASE),
            digest(&format!("deletions = \"retain\"\n{BASE}"))
        );
    }

    #[test]
    fn exclusion_beats_inclusion_and_a_dot_means_tables() {
        let lists = "include = [\"sales\", \"hr.public_*\"]\nexclude = [\"*.tmp_*\"]\n";
        let policy = Policy::parse(&format!("{lists}{BASE}")).unwrap();
        let table = |database: &str, table: &str| {
            TableId::new(Name::new(database).unwrap(), Name::new(table).unwrap())
        };
        assert!(policy.covers_table(&table("Sales", "Orders")));
        assert!(!policy.covers_table(&table("sales", "tmp_1")));
        assert!(policy.covers_table(&table("hr", "public_x")));
        assert!(!policy.covers_table(&table("hr", "pay")));
        assert!(policy.covers_database(&Name::new("hr").unwrap()));
        assert!(!policy.covers_database(&Name::new("dev").unwrap()));
    }
}
