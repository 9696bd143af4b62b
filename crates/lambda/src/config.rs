//! The environment, read once at start-up. The template sets every name here.

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
    /// `TWINLAKE_QUEUE`: the URL of the function's own queue, for leftovers.
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
        let parallel = match get("TWINLAKE_PARALLEL") {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(ConfigError {
                name: "TWINLAKE_PARALLEL",
                problem: "is no number above 0",
            })?,
            None => DEFAULT_PARALLEL,
        };
        Ok(Self {
            region: need("AWS_REGION")?,
            peer_region: need("TWINLAKE_PEER_REGION")?,
            account: need("TWINLAKE_ACCOUNT")?,
            ledger: need("TWINLAKE_LEDGER")?,
            peer_ledger: need("TWINLAKE_PEER_LEDGER")?,
            topic: need("TWINLAKE_TOPIC")?,
            queue: need("TWINLAKE_QUEUE")?,
            role: need("TWINLAKE_ROLE")?,
            own_roles: list(&need("TWINLAKE_OWN_ROLES")?),
            writers: list(&need("TWINLAKE_WRITERS")?),
            parallel,
        })
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|part| part.trim().to_owned()).collect()
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
            "TWINLAKE_OWN_ROLES" => Some("a, b*".to_owned()),
            _ => Some("x".to_owned()),
        })
        .unwrap();
        assert_eq!((config.parallel, config.own_roles.len()), (16, 2));
        assert!(
            Config::read(|_| Some("x".to_owned())).is_err(),
            "x is no number"
        );
    }
}
