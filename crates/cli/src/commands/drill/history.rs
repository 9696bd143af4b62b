//! The directory of the reports: one JSON file and one page for each drill.

use super::page::DrillPage;
use crate::CliError;
use crate::files::{read_json, write_json, write_text};
use askama::Template as _;
use std::path::{Path, PathBuf};
use twinlake_core::drill::{DrillReport, StoredDrill, check_history};

/// The reports of a directory, the oldest first.
pub(super) struct History {
    directory: PathBuf,
    /// Each with the name of its file.
    pub(super) drills: Vec<(String, StoredDrill)>,
    /// The digest of the last one.
    pub(super) last_digest: Option<String>,
}

/// A report that was written.
pub(super) struct WrittenDrill {
    pub(super) drill: StoredDrill,
    pub(super) json: PathBuf,
    pub(super) html: PathBuf,
}

impl History {
    /// Reads a directory, which may not exist yet.
    ///
    /// # Errors
    /// A file cannot be read, or a report was changed or removed.
    pub(super) fn read(directory: &Path) -> Result<Self, CliError> {
        let mut drills = Vec::new();
        for name in report_names(directory)? {
            let drill: StoredDrill = read_json(&directory.join(&name))?;
            drills.push((name, drill));
        }
        let last_digest = check_history(&drills).map_err(|problem| {
            CliError::Usage(format!(
                "the history in {} is not whole: {problem}. Restore the file, or begin a new history with \
                 --history DIRECTORY",
                directory.display()
            ))
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            drills,
            last_digest,
        })
    }

    /// Writes a report after the others.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(super) fn store(&self, report: &DrillReport) -> Result<WrittenDrill, CliError> {
        let number = self.drills.len() + 1;
        let name = format!("drill-{number:06}-{}", report.started_at.replace(':', ""));
        std::fs::create_dir_all(&self.directory).map_err(|error| self.error(&error))?;
        let drill = StoredDrill::new(report).map_err(|error| self.error(&error))?;
        let json = self.directory.join(format!("{name}.json"));
        let html = self.directory.join(format!("{name}.html"));
        let page = DrillPage::new(report, &drill).render();
        write_text(&html, &page.map_err(|error| self.error(&error))?)?;
        write_json(&json, &drill)?;
        Ok(WrittenDrill { drill, json, html })
    }

    fn error(&self, problem: &dyn std::fmt::Display) -> CliError {
        file_error(&self.directory, problem)
    }
}

fn file_error(path: &Path, problem: &dyn std::fmt::Display) -> CliError {
    CliError::File {
        path: path.display().to_string(),
        problem: problem.to_string(),
    }
}

/// The names of the reports of a directory, sorted: they begin with their number.
fn report_names(directory: &Path) -> Result<Vec<String>, CliError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file_error(directory, &error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| file_error(directory, &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("drill-") && name.ends_with(".json") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::drill::{
        DrillCheck, DrillExpectation, DrillOutcome, DrillQuery, DrillResult, DrilledReadiness,
        FORMAT, ValidatedTakeover,
    };
    use twinlake_core::readiness::ReadinessCounts;
    use twinlake_core::{Name, TableId};

    fn report(previous: Option<String>) -> DrillReport {
        let name = |text: &str| Name::new(text).unwrap();
        let check = DrillCheck {
            role: "arn:aws:iam::111122223333:role/analyst".to_owned(),
            table: TableId::new(name("sales"), name("orders")),
            query: DrillQuery::Columns(vec!["<b>".to_owned()]),
            expect: DrillExpectation::Allowed,
        };
        let result = DrillResult {
            sql: check.sql(),
            check,
            outcome: DrillOutcome::Failed,
            detail: "refused\u{202e}".to_owned(),
            at: "2026-11-30T04:00:00Z".to_owned(),
            milliseconds: 7,
        };
        DrillReport {
            version: FORMAT,
            twinlake: "0".to_owned(),
            previous,
            primary: "us-east-1".to_owned(),
            standby: "ap-south-1".to_owned(),
            caller: "me".to_owned(),
            started_at: "2026-11-30T04:00:00Z".to_owned(),
            ended_at: "2026-11-30T04:00:01Z".to_owned(),
            readiness: DrilledReadiness {
                counts: ReadinessCounts::default(),
                findings: Vec::new(),
            },
            takeover: ValidatedTakeover {
                epoch: 0,
                steps: Vec::new(),
                refusal: None,
                recovery_point_seconds: [("catalog".to_owned(), 41)].into(),
                verified_at: None,
                not_in_sync: 0,
                tables_with_pending_objects: 0,
                unread: Vec::new(),
            },
            no_queries_reason: None,
            results: vec![result],
            milliseconds: [("queries".to_owned(), 7)].into(),
            wait_seconds: 120,
            not_exercised: Vec::new(),
        }
    }

    #[test]
    fn reports_are_chained_and_their_pages_are_escaped() {
        let directory =
            std::env::temp_dir().join(format!("twinlake-drills-{}", std::process::id()));
        assert_eq!(History::read(&directory).unwrap().last_digest, None);
        let mut pages = Vec::new();
        // Both in one second.
        for _ in 0..2 {
            let history = History::read(&directory).unwrap();
            let written = history.store(&report(history.last_digest.clone())).unwrap();
            pages.push(std::fs::read_to_string(&written.html).unwrap());
        }
        let history = History::read(&directory).unwrap();
        std::fs::remove_file(directory.join(&history.drills[0].0)).unwrap();
        let broken = History::read(&directory).err().unwrap().to_string();
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(history.drills.len(), 2);
        assert_eq!(history.drills[0].0, "drill-000001-2026-11-30T040000Z.json");
        assert!(broken.contains("does not follow"), "{broken}");
        let page = &pages[1];
        assert!(page.contains(&history.drills[0].1.digest), "{page}");
        assert!(
            page.contains("catalog 41 s") && page.contains("The drill failed"),
            "{page}"
        );
        assert!(
            !page.contains("<b>\"") && !page.contains('\u{202e}'),
            "{page}"
        );
    }
}
