//! The configuration of a function, read once from the environment. `template.yaml` sets every
//! variable named here, but for one of the tests.

use std::collections::BTreeMap;
use std::fmt;

/// The configuration of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `AWS_REGION`: the Region that the function runs in.
    pub region: String,
    /// `TWINLAKE_PEER_REGION`: the other Region.
    pub peer_region: String,
    /// `TWINLAKE_ACCOUNT`: the account ID, the same in both Regions.
    pub account: String,
    /// `TWINLAKE_LEDGER_TABLE`: the DynamoDB table of the ledger in this Region.
    pub ledger_table: String,
    /// `TWINLAKE_PEER_LEDGER_TABLE`: the DynamoDB table of the ledger in the other Region.
    pub peer_ledger_table: String,
    /// `TWINLAKE_ALERT_TOPIC_ARN`: the ARN of the SNS topic for alerts.
    pub alert_topic_arn: String,
    /// `TWINLAKE_RETRY_QUEUE_URL`: the URL of the SQS queue for scopes that are retried later.
    /// Empty for functions that have none.
    pub retry_queue_url: String,
    /// `TWINLAKE_CATALOG_QUEUE_URL`: the URL of the queue of the function that relocates Iceberg tables.
    /// Empty in that function, which relocates them itself.
    pub catalog_queue_url: String,
    /// `TWINLAKE_FUNCTION_ROLE_ARN`: the ARN of the function's role.
    pub function_role_arn: String,
    /// `TWINLAKE_ROLE_ARNS`: ARNs or ARN patterns of all Twinlake roles, comma-separated.
    pub role_arns: Vec<String>,
    /// `TWINLAKE_WRITER_ROLE_ARNS`: ARNs of the roles that write to this Region, comma-separated.
    /// Each of them must be able to change what another one has created.
    pub writer_role_arns: Vec<String>,
    /// `TWINLAKE_MAX_CONCURRENT_CALLS`: the maximum number of concurrent API calls.
    pub max_concurrent_calls: usize,
    /// `TWINLAKE_HEARTBEAT_INTERVAL_SECONDS`: seconds between heartbeats.
    pub heartbeat_interval_secs: i64,
    /// `TWINLAKE_ALERT_QUIET_SECONDS`: an incident that no check can verify as resolved counts as
    /// resolved when it has not occurred again for this long.
    pub alert_expiry_secs: i64,
    /// `TWINLAKE_DEAD_LETTER_QUEUES`: the dead-letter queues of this Region, as comma-separated
    /// `NAME=URL` pairs.
    pub dead_letter_queues: BTreeMap<String, String>,
    /// `TWINLAKE_SWITCHOVER`: whether the takeover function has the rights for a switchover.
    pub may_switch_over: bool,
    /// `TWINLAKE_LOCAL_WAIT_SECONDS`: how long a takeover waits for writers instead of two minutes. It counts only with an
    /// AWS on this computer, and no template sets it.
    pub local_wait_secs: Option<u64>,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`: the function's memory in MB.
    pub memory_mb: u64,
}

/// An environment variable is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    name: &'static str,
    problem: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, problem } = self;
        write!(
            f,
            "environment variable {name} {problem}; template.yaml sets it"
        )
    }
}

impl std::error::Error for ConfigError {}

const DEFAULT_MAX_CONCURRENT_CALLS: usize = 4;
const DEFAULT_HEARTBEAT_INTERVAL_SECS: i64 = 60;
const DEFAULT_ALERT_QUIET_SECS: i64 = 86_400;
const DEFAULT_MEMORY_MB: u64 = 512;

impl Config {
    /// Reads the environment of the process.
    ///
    /// # Errors
    /// Names the first variable that is missing or invalid.
    pub fn from_environment() -> Result<Self, ConfigError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "only this file reads the environment"
        )]
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let require = |name: &'static str| {
            let value = get(name).filter(|value| !value.is_empty());
            value.ok_or(ConfigError {
                name,
                problem: "is not set",
            })
        };
        let number = |name: &'static str, default: i64| match get(name) {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(ConfigError {
                name,
                problem: "is not a number above 0",
            }),
            None => Ok(default),
        };
        let max_concurrent_calls = number("TWINLAKE_MAX_CONCURRENT_CALLS", 0)?;
        Ok(Self {
            region: require("AWS_REGION")?,
            peer_region: require("TWINLAKE_PEER_REGION")?,
            account: require("TWINLAKE_ACCOUNT")?,
            ledger_table: require("TWINLAKE_LEDGER_TABLE")?,
            peer_ledger_table: require("TWINLAKE_PEER_LEDGER_TABLE")?,
            alert_topic_arn: require("TWINLAKE_ALERT_TOPIC_ARN")?,
            retry_queue_url: get("TWINLAKE_RETRY_QUEUE_URL").unwrap_or_default(),
            catalog_queue_url: get("TWINLAKE_CATALOG_QUEUE_URL").unwrap_or_default(),
            function_role_arn: require("TWINLAKE_FUNCTION_ROLE_ARN")?,
            role_arns: parse_list(&require("TWINLAKE_ROLE_ARNS")?),
            writer_role_arns: parse_list(&require("TWINLAKE_WRITER_ROLE_ARNS")?),
            max_concurrent_calls: usize::try_from(max_concurrent_calls)
                .ok()
                .filter(|n| *n > 0)
                .unwrap_or(DEFAULT_MAX_CONCURRENT_CALLS),
            heartbeat_interval_secs: number(
                "TWINLAKE_HEARTBEAT_INTERVAL_SECONDS",
                DEFAULT_HEARTBEAT_INTERVAL_SECS,
            )?,
            alert_expiry_secs: number("TWINLAKE_ALERT_QUIET_SECONDS", DEFAULT_ALERT_QUIET_SECS)?,
            dead_letter_queues: parse_pairs(
                &get("TWINLAKE_DEAD_LETTER_QUEUES").unwrap_or_default(),
            ),
            may_switch_over: get("TWINLAKE_SWITCHOVER").is_some_and(|text| text == "true"),
            local_wait_secs: get("TWINLAKE_LOCAL_WAIT_SECONDS").and_then(|text| text.parse().ok()),
            memory_mb: get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|text| text.parse().ok())
                .unwrap_or(DEFAULT_MEMORY_MB),
        })
    }
}

fn parse_list(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).collect()
}

fn parse_pairs(text: &str) -> BTreeMap<String, String> {
    let pairs = text
        .split(',')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_missing_variable() {
        let error = Config::read(|name| (name == "AWS_REGION").then(|| "r".to_owned()));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("TWINLAKE_PEER_REGION is not set"), "{text}");
    }

    #[test]
    fn reads_the_variables_and_rejects_an_invalid_number() {
        let config = Config::read(|name| match name {
            "TWINLAKE_MAX_CONCURRENT_CALLS" => Some("16".to_owned()),
            "TWINLAKE_HEARTBEAT_INTERVAL_SECONDS" | "TWINLAKE_ALERT_QUIET_SECONDS" => None,
            "TWINLAKE_DEAD_LETTER_QUEUES" => {
                Some("Catalog=http://x/1,Resync=http://x/2".to_owned())
            }
            "TWINLAKE_ROLE_ARNS" => Some("a, b*".to_owned()),
            _ => Some("x".to_owned()),
        })
        .unwrap();
        assert_eq!(
            (config.max_concurrent_calls, config.role_arns.len()),
            (16, 2)
        );
        assert_eq!(
            (
                config.heartbeat_interval_secs,
                config.dead_letter_queues.len()
            ),
            (60, 2)
        );
        assert!(
            Config::read(|_| Some("x".to_owned())).is_err(),
            "x is not a number"
        );
    }
}
