//! What AWS answered to the questions of `make live`, as settings of the quirks.

use crate::quirk::Quirk;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The format of the file that this version reads.
const VERSION: u32 = 1;

/// The settings of quirks that a run of `make live` wrote (`live-answers.json`). Quirks that it does not
/// name keep their setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuirkAnswers(BTreeMap<Quirk, bool>);

/// The fields of the file that concern the simulator.
#[derive(Deserialize)]
struct AnswersFile {
    version: u32,
    quirks: BTreeMap<String, bool>,
}

impl QuirkAnswers {
    /// Reads the JSON of a file of answers.
    ///
    /// # Errors
    /// The text is no such file, has another version, or names an unknown quirk. The message says
    /// which, and which quirks there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: AnswersFile =
            serde_json::from_str(text).map_err(|e| format!("not a file of answers: {e}"))?;
        if file.version != VERSION {
            return Err(format!(
                "version {} of a file of answers, and only {VERSION} is known",
                file.version
            ));
        }
        let mut settings = BTreeMap::new();
        for (name, on) in file.quirks {
            let Some(quirk) = Quirk::from_scenario_name(&name) else {
                let known: Vec<&str> = Quirk::scenario_names().collect();
                return Err(format!(
                    "unknown quirk {name:?}; there are {}",
                    known.join(", ")
                ));
            };
            settings.insert(quirk, on);
        }
        Ok(Self(settings))
    }

    /// Each quirk that the file names, and whether it is on.
    pub fn iter(&self) -> impl Iterator<Item = (Quirk, bool)> {
        self.0.iter().map(|(quirk, on)| (*quirk, *on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_by_name_and_answers_are_not_settings() {
        let text = r#"{"version": 1, "regions": ["a", "b"], "answers": {"LF-01": {"answer": "apart"}},
            "quirks": {"select-lists-apart": false, "grants-outlive-tables": true}}"#;
        let read: Vec<_> = QuirkAnswers::parse(text)
            .expect("valid answers")
            .iter()
            .collect();
        assert_eq!(
            read,
            [
                (Quirk::SelectListedAsColumnWildcard, false),
                (Quirk::GrantsRemainAfterTableDeletion, true),
            ]
        );
    }

    #[test]
    fn an_error_names_what_is_wrong() {
        let error = |text| QuirkAnswers::parse(text).expect_err("invalid answers");
        let unknown = error(r#"{"version": 1, "quirks": {"LF-99": true}}"#);
        assert!(
            unknown.starts_with("unknown quirk \"LF-99\"; there are select-lists-apart, "),
            "{unknown}"
        );
        assert!(error(r#"{"version": 2, "quirks": {}}"#).contains("version 2"));
        assert!(error("[]").starts_with("not a file of answers"));
        assert!(
            error(r#"{"version": 1, "quirks": {"creator-holds-all": "on"}}"#).contains("boolean")
        );
    }
}
