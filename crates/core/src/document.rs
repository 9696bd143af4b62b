//! TOML documents that people write: errors name the document, the line and the key.

use serde::de::DeserializeOwned;
use std::fmt;
use toml::Spanned;

/// An error in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Which document: `policy` or `operation`.
    pub document: &'static str,
    /// The line, counted from 1.
    pub line: usize,
    /// The key, as a dotted path; empty if the text is not valid TOML.
    pub key: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}", self.document, self.line)?;
        if !self.key.is_empty() {
            write!(f, ", key `{}`", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for DocumentError {}

/// The text of a document while it is parsed.
#[derive(Clone, Copy, Debug)]
pub struct DocumentSource<'a> {
    /// Which document, as errors name it.
    pub document: &'static str,
    /// Its text.
    pub text: &'a str,
}

impl DocumentSource<'_> {
    /// Parses the text as TOML of a given type.
    ///
    /// # Errors
    /// The text is not valid TOML, or not of that type; the error names the line and its key.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, DocumentError> {
        toml::from_str(self.text).map_err(|error| self.toml_error(&error))
    }

    /// An error at a byte of the text.
    #[must_use]
    pub fn error(self, at: usize, key: &str, problem: impl Into<String>) -> DocumentError {
        DocumentError {
            document: self.document,
            line: self.line_of(at),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// Checks that this Twinlake reads the `version` of the document.
    ///
    /// # Errors
    /// It reads another version; the error says what to do.
    pub fn check_version(
        self,
        version: Option<&Spanned<u32>>,
        known: u32,
    ) -> Result<(), DocumentError> {
        match version {
            Some(version) if *version.get_ref() != known => {
                let document = self.document;
                let problem = format!(
                    "this Twinlake reads version {known} of the {document}; upgrade Twinlake, or \
                     write the {document} in version {known}"
                );
                Err(self.error(version.span().start, "version", problem))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The line of a byte of the text, counted from 1.
    #[must_use]
    pub fn line_of(self, at: usize) -> usize {
        let head = self.text.as_bytes();
        let head = head.get(..at).unwrap_or(head);
        head.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    fn toml_error(self, error: &toml::de::Error) -> DocumentError {
        let at = error.span().map_or(0, |span| span.start);
        let line = self.text.lines().nth(self.line_of(at) - 1);
        let key = line.and_then(|line| line.split_once('='));
        let key = key.map(|(key, _)| key.trim()).unwrap_or_default();
        self.error(at, key, error.message())
    }
}
