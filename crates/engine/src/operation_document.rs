//! The operation document: ceilings of calls, alert thresholds, prices, the address for clients, and drills.
//!
//! Unlike the policy it may differ between the two Regions, and an error in it never stops
//! replication: the defaults apply until it is corrected.
//!
//! ```toml
//! version = 1
//! verified-age-limit-seconds = 46800
//! [max-calls-per-second]
//! us-east-1 = 8
//! [lag-alert-seconds]
//! catalog = 135
//! permissions = 900
//! storage = 1800
//! [prices]
//! glue-million-calls = 1.0
//! [takeover]
//! workgroup = "analysts"
//! ```

mod drill;
mod takeover;

use crate::cost::Prices;
use crate::ports::Ledger;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use twinlake_core::CallError;
use twinlake_core::client_address::TakeoverConfig;
use twinlake_core::document::{DocumentError, DocumentSource};
use twinlake_core::drill::DrillConfig;
use twinlake_core::heartbeat::Channel;
use twinlake_core::topology::is_region_name;

/// The format of operation documents that this Twinlake reads.
pub const FORMAT: u32 = 1;

/// The lag, in seconds, from which on an alert is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagAlertThresholds {
    /// The lag of catalog changes.
    pub catalog: i64,
    /// The lag of permission changes. CloudTrail takes minutes.
    pub permissions: i64,
    /// The lag of objects. It includes up to five minutes until Twinlake looks.
    pub storage: i64,
}

/// One lost heartbeat raises no alert. The scheduler starts each within the minute that it is due
/// (D-10), so two heartbeats may be 119 s apart, and 179 s if one is lost: a lag of 119 s with an
/// interval of 60 s. The rest is what the next heartbeat may take.
const DEFAULT_CATALOG_LAG_SECS: i64 = 135;
/// CloudTrail delivers within minutes, without a bound.
const DEFAULT_PERMISSIONS_LAG_SECS: i64 = 900;
/// S3 replicates most objects within 15 minutes (S3 user guide, "Replicating objects within and across
/// Regions"). The rest is one canary that was not written, and the time until Twinlake looks.
pub const DEFAULT_STORAGE_LAG_SECS: i64 = 1800;
const MAX_LAG_SECS: i64 = 86_400;

/// A resync is due every six hours by default: one may be missed. It is the default of the template's
/// `VerifiedAgeLimitSeconds`, too.
pub const DEFAULT_VERIFIED_AGE_LIMIT_SECS: i64 = 46_800;
const MIN_VERIFIED_AGE_LIMIT_SECS: i64 = 60;
/// 31 days.
const MAX_VERIFIED_AGE_LIMIT_SECS: i64 = 2_678_400;

/// Below this, the calls that one function sends at once would wait longer than they may.
const MIN_CEILING: u32 = 2;
const MAX_CEILING: u32 = 10_000;

impl Default for LagAlertThresholds {
    fn default() -> Self {
        Self {
            catalog: DEFAULT_CATALOG_LAG_SECS,
            permissions: DEFAULT_PERMISSIONS_LAG_SECS,
            storage: DEFAULT_STORAGE_LAG_SECS,
        }
    }
}

impl LagAlertThresholds {
    /// The threshold of a channel, in seconds.
    #[must_use]
    pub fn of(&self, channel: Channel) -> i64 {
        match channel {
            Channel::Catalog => self.catalog,
            Channel::Permissions => self.permissions,
            Channel::Storage => self.storage,
        }
    }
}

/// A checked operation document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationConfig {
    /// The lag from which on an alert is raised.
    pub lag_alert: LagAlertThresholds,
    /// AWS's prices, for the daily digest.
    pub prices: Prices,
    /// The most calls a second to Glue and Lake Formation, by Region.
    pub max_calls_per_second: BTreeMap<String, u32>,
    /// The age in seconds beyond which the last complete resync no longer counts; `None` for the default.
    pub verified_age_limit: Option<i64>,
    /// What clients are told of the primary; `None` for nothing.
    pub takeover: Option<TakeoverConfig>,
    /// The queries of a drill; `None` for no queries.
    pub drill: Option<DrillConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Document {
    version: Option<Spanned<u32>>,
    #[serde(default)]
    lag_alert_seconds: BTreeMap<String, Spanned<i64>>,
    #[serde(default)]
    prices: BTreeMap<String, Spanned<f64>>,
    #[serde(default)]
    max_calls_per_second: BTreeMap<String, Spanned<u32>>,
    verified_age_limit_seconds: Option<Spanned<i64>>,
    takeover: Option<Spanned<takeover::TakeoverTable>>,
    drill: Option<drill::DrillTable>,
}

impl OperationConfig {
    /// Reads the document of a ledger. Without a document, or if it cannot be parsed, the defaults
    /// apply; the error is returned with them.
    ///
    /// # Errors
    /// The ledger is out of reach.
    pub async fn load<L: Ledger>(ledger: &L) -> Result<(Self, Option<DocumentError>), CallError> {
        let text = ledger.operation_document().await?.unwrap_or_default();
        Ok(match Self::parse(&text) {
            Ok(operation) => (operation, None),
            Err(error) => (Self::default(), Some(error)),
        })
    }

    /// The age beyond which the last complete resync no longer counts, in seconds.
    #[must_use]
    pub fn verified_age_limit_secs(&self) -> i64 {
        self.verified_age_limit
            .unwrap_or(DEFAULT_VERIFIED_AGE_LIMIT_SECS)
    }

    /// Parses and checks an operation document.
    ///
    /// # Errors
    /// What is wrong, with the line and the key.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let document = "operation";
        let source = DocumentSource { document, text };
        let document: Document = source.parse()?;
        source.check_version(document.version.as_ref(), FORMAT)?;
        Ok(Self {
            lag_alert: lag_alert(source, &document.lag_alert_seconds)?,
            prices: prices(source, &document.prices)?,
            max_calls_per_second: ceilings(source, &document.max_calls_per_second)?,
            verified_age_limit: match &document.verified_age_limit_seconds {
                Some(secs) => Some(verified_age_limit(source, secs)?),
                None => None,
            },
            takeover: match &document.takeover {
                Some(table) => Some(takeover::parse(source, table)?),
                None => None,
            },
            drill: match &document.drill {
                Some(table) => Some(drill::parse(source, table)?),
                None => None,
            },
        })
    }
}

fn verified_age_limit(
    source: DocumentSource<'_>,
    secs: &Spanned<i64>,
) -> Result<i64, DocumentError> {
    let (least, most) = (MIN_VERIFIED_AGE_LIMIT_SECS, MAX_VERIFIED_AGE_LIMIT_SECS);
    if !(least..=most).contains(secs.get_ref()) {
        let problem = format!("write seconds, from {least} to {most}");
        return Err(source.error(secs.span().start, "verified-age-limit-seconds", problem));
    }
    Ok(*secs.get_ref())
}

fn lag_alert(
    source: DocumentSource<'_>,
    raw: &BTreeMap<String, Spanned<i64>>,
) -> Result<LagAlertThresholds, DocumentError> {
    let mut thresholds = LagAlertThresholds::default();
    for (channel, secs) in raw {
        let key = format!("lag-alert-seconds.{channel}");
        let start = secs.span().start;
        if !(1..=MAX_LAG_SECS).contains(secs.get_ref()) {
            let problem = format!("write seconds, from 1 to {MAX_LAG_SECS}");
            return Err(source.error(start, &key, problem));
        }
        match channel.as_str() {
            "catalog" => thresholds.catalog = *secs.get_ref(),
            "permissions" => thresholds.permissions = *secs.get_ref(),
            "storage" => thresholds.storage = *secs.get_ref(),
            _ => {
                let problem = "the channels are `catalog`, `permissions` and `storage`";
                return Err(source.error(start, &key, problem));
            }
        }
    }
    Ok(thresholds)
}

fn prices(
    source: DocumentSource<'_>,
    raw: &BTreeMap<String, Spanned<f64>>,
) -> Result<Prices, DocumentError> {
    let mut prices = Prices::default();
    for (name, price) in raw {
        let valid = price.get_ref().is_finite() && *price.get_ref() >= 0.0;
        if !valid || !prices.set(name, *price.get_ref()) {
            let known: Vec<&str> = prices.names().collect();
            let problem = format!("write US dollars for one of {}", known.join(", "));
            return Err(source.error(price.span().start, &format!("prices.{name}"), problem));
        }
    }
    Ok(prices)
}

fn ceilings(
    source: DocumentSource<'_>,
    raw: &BTreeMap<String, Spanned<u32>>,
) -> Result<BTreeMap<String, u32>, DocumentError> {
    let mut ceilings = BTreeMap::new();
    for (region, calls) in raw {
        let start = calls.span().start;
        let key = format!("max-calls-per-second.{region}");
        if !(MIN_CEILING..=MAX_CEILING).contains(calls.get_ref()) {
            let problem = format!("write calls a second, from {MIN_CEILING} to {MAX_CEILING}");
            return Err(source.error(start, &key, problem));
        }
        if !is_region_name(region) {
            let problem = "write the name of a Region, like `us-east-1`";
            return Err(source.error(start, &key, problem));
        }
        ceilings.insert(region.clone(), *calls.get_ref());
    }
    Ok(ceilings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_has_the_defaults() {
        assert_eq!(
            OperationConfig::parse("").unwrap(),
            OperationConfig::default()
        );
    }

    #[test]
    fn what_is_named_replaces_the_default() {
        let text = "verified-age-limit-seconds = 93600\n[lag-alert-seconds]\ncatalog = 30\n[prices]\nglue-million-calls = 2.0\n\
                    [max-calls-per-second]\nus-east-1 = 8\n";
        let operation = OperationConfig::parse(text).unwrap();
        assert_eq!(operation.lag_alert.of(Channel::Catalog), 30);
        assert_eq!(operation.lag_alert.of(Channel::Permissions), 900);
        assert_eq!(operation.lag_alert.of(Channel::Storage), 1800);
        assert_ne!(operation.prices, Prices::default());
        assert_eq!(operation.max_calls_per_second["us-east-1"], 8);
        assert_eq!(operation.verified_age_limit_secs(), 93_600);
        assert_eq!(OperationConfig::default().verified_age_limit_secs(), 46_800);
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let cases = [
            (
                "version = 7\n",
                "operation line 1, key `version`: this Twinlake reads version 1",
            ),
            (
                "[prices]\nglu = 1.0\n",
                "operation line 2, key `prices.glu`: write US dollars for one of ",
            ),
            (
                "[lag-alert-seconds]\ncatalog = 0\n",
                "operation line 2, key `lag-alert-seconds.catalog`: write seconds",
            ),
            (
                "[lag-alert-seconds]\ncatalogue = 9\n",
                "operation line 2, key `lag-alert-seconds.catalogue`: the channels are",
            ),
            (
                "[max-calls-per-second]\nus-east-1 = 1\n",
                "operation line 2, key `max-calls-per-second.us-east-1`: write calls a second, from 2",
            ),
            (
                "[max-calls-per-second]\nprimary = 8\n",
                "operation line 2, key `max-calls-per-second.primary`: write the name of a Region",
            ),
            (
                "verified-age-limit-seconds = 59\n",
                "operation line 1, key `verified-age-limit-seconds`: write seconds, from 60",
            ),
            ("retries = 3\n", "operation line 1, key `retries`"),
        ];
        for (text, start) in cases {
            let problem = OperationConfig::parse(text).unwrap_err().to_string();
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
