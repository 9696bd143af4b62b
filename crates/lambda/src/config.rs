//! The environment, read once at start-up. The template sets every name here.

use std::collections::BTreeMap;
use std::fmt;

/// What a function needs to know of where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `AWS_REGION`: this Region, the secondary while it is the standby.
    pub region: String,
    /// `TWINLAKE_PEER_REGION`: the other Region.
    pub peer_region: String,
    /// `TWINLAKE_ACCOUNT`: the account of both.
    pub account: String,
    /// `TWINLAKE_LEDGER`: the ledger's table in this Region.
    pub ledger: String,
    /// `TWINLAKE_PEER_LEDGER`: the ledger's table in the other Region.
    pub peer_ledger: String,
    /// `TWINLAKE_TOPIC`: the ARN of the topic for alerts.
    pub topic: String,
    /// `TWINLAKE_QUEUE`: the URL of the queue for what has to be looked at later, of
    /// functions that have one.
    pub queue: String,
    /// `TWINLAKE_ROLE`: the ARN of the function's role.
    pub role: String,
    /// `TWINLAKE_OWN_ROLES`: ARNs or patterns of all our roles, between commas.
    pub own_roles: Vec<String>,
    /// `TWINLAKE_WRITERS`: ARNs of the roles that write this Region, between commas.
    /// What one of them creates the others must be able to change.
    pub writers: Vec<String>,
    /// `TWINLAKE_PARALLEL`: calls under way at once.
    pub parallel: usize,
    /// `TWINLAKE_BEAT_SECS`: seconds between heartbeats.
    pub beat_secs: i64,
    /// `TWINLAKE_QUIET_SECS`: what no look can find to be over counts as over when it has
    /// not come again for so long.
    pub quiet_secs: i64,
    /// `TWINLAKE_DEAD_LETTERS`: the dead-letter queues of this Region, as `NAME=URL` between
    /// commas.
    pub dead_letters: BTreeMap<String, String>,
    /// `AWS_LAMBDA_FUNCTION_MEMORY_SIZE`: the function's memory in MB.
    pub memory_mb: u64,
}

/// A name that is missing or unreadable.
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
            "environment variable {name} {problem}; the template sets it"
        )
    }
}

impl std::error::Error for ConfigError {}

const DEFAULT_PARALLEL: usize = 4;
const DEFAULT_BEAT_SECS: i64 = 60;
const DEFAULT_QUIET_SECS: i64 = 86_400;
const DEFAULT_MEMORY_MB: u64 = 512;

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// The first name that is missing or unreadable.
    pub fn from_environment() -> Result<Self, ConfigError> {
        #[expect(clippy::disallowed_methods, reason = "this is the file that reads it")]
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let need = |name: &'static str| {
            let value = get(name).filter(|value| !value.is_empty());
            value.ok_or(ConfigError {
                name,
                problem: "is not set",
            })
        };
        let number = |name: &'static str, default: i64| match get(name) {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(ConfigError {
                name,
                problem: "is no number above 0",
            }),
            None => Ok(default),
        };
        let parallel = number("TWINLAKE_PARALLEL", 0)?;
        Ok(Self {
            region: need("AWS_REGION")?,
            peer_region: need("TWINLAKE_PEER_REGION")?,
            account: need("TWINLAKE_ACCOUNT")?,
            ledger: need("TWINLAKE_LEDGER")?,
            peer_ledger: need("TWINLAKE_PEER_LEDGER")?,
            topic: need("TWINLAKE_TOPIC")?,
            queue: get("TWINLAKE_QUEUE").unwrap_or_default(),
            role: need("TWINLAKE_ROLE")?,
            own_roles: list(&need("TWINLAKE_OWN_ROLES")?),
            writers: list(&need("TWINLAKE_WRITERS")?),
            parallel: usize::try_from(parallel)
                .ok()
                .filter(|n| *n > 0)
                .unwrap_or(DEFAULT_PARALLEL),
            beat_secs: number("TWINLAKE_BEAT_SECS", DEFAULT_BEAT_SECS)?,
            quiet_secs: number("TWINLAKE_QUIET_SECS", DEFAULT_QUIET_SECS)?,
            dead_letters: pairs(&get("TWINLAKE_DEAD_LETTERS").unwrap_or_default()),
            memory_mb: get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
                .and_then(|text| text.parse().ok())
                .unwrap_or(DEFAULT_MEMORY_MB),
        })
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).collect()
}

fn pairs(text: &str) -> BTreeMap<String, String> {
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
    fn a_missing_name_is_named() {
        let error = Config::read(|name| (name == "AWS_REGION").then(|| "r".to_owned()));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("TWINLAKE_PEER_REGION is not set"), "{text}");
    }

    #[test]
    fn all_names_set_is_a_config() {
        let config = Config::read(|name| match name {
            "TWINLAKE_PARALLEL" => Some("16".to_owned()),
            "TWINLAKE_BEAT_SECS" | "TWINLAKE_QUIET_SECS" => None,
            "TWINLAKE_DEAD_LETTERS" => Some("Catalog=http://x/1,Resync=http://x/2".to_owned()),
            "TWINLAKE_OWN_ROLES" => Some("a, b*".to_owned()),
            _ => Some("x".to_owned()),
        })
        .unwrap();
        assert_eq!((config.parallel, config.own_roles.len()), (16, 2));
        assert_eq!((config.beat_secs, config.dead_letters.len()), (60, 2));
        assert!(
            Config::read(|_| Some("x".to_owned())).is_err(),
            "x is no number"
        );
    }
}
