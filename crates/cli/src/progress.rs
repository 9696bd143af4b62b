//! The progress of a command on a terminal: counts, and the time that is probably left.

use crate::output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::RefCell;
use std::time::{Duration, Instant};
use twinlake_core::Name;
use twinlake_core::render::escape;
use twinlake_engine::iceberg::FileProgress;
use twinlake_engine::progress::WorkProgress;
use twinlake_engine::resync::ResyncProgress;

/// Work of less time shows no progress.
const SHOWN_AFTER: Duration = Duration::from_secs(2);

/// How often the line is drawn again.
const TICK: Duration = Duration::from_millis(200);

/// Below this fraction of the work, the time that is left is not estimated.
const MIN_FRACTION: f64 = 0.02;

/// A line on standard error that shows the progress of work. It is never shown if standard error is
/// no terminal.
#[derive(Debug)]
pub(crate) struct TerminalProgress {
    line: RefCell<ProgressBar>,
    work: RefCell<Work>,
}

/// A number of things, and how many of them are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    done: usize,
    total: usize,
}

/// What is being done, and how much of it is done.
#[derive(Clone, Debug)]
struct Work {
    title: &'static str,
    started: Instant,
    databases: Count,
    reads: Count,
    steps: Count,
    files: Count,
    messages: Count,
    /// The database that was read last.
    name: String,
}

impl TerminalProgress {
    pub(crate) fn new() -> Self {
        Self {
            line: RefCell::new(ProgressBar::hidden()),
            work: RefCell::new(Work::new("")),
        }
    }

    /// Begins work. A line appears once it has taken two seconds.
    pub(crate) fn begin(&self, title: &'static str) {
        self.work.replace(Work::new(title));
        if !output::is_stderr_terminal() {
            return;
        }
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            line.set_style(style);
        }
        line.set_message(title);
        self.line.replace(line.clone());
        std::thread::spawn(move || {
            std::thread::sleep(SHOWN_AFTER);
            if !line.is_finished() {
                line.set_draw_target(ProgressDrawTarget::stderr());
                line.enable_steady_tick(TICK);
            }
        });
    }

    /// Ends the work, and removes the line.
    pub(crate) fn end(&self) {
        self.line.borrow().finish_and_clear();
    }

    /// This many messages are about to be sent.
    pub(crate) fn messages_expected(&self, count: usize) {
        self.update(|work| work.messages.total = count);
    }

    /// One of them was sent, or cannot be.
    pub(crate) fn message_finished(&self) {
        self.update(|work| work.messages.done += 1);
    }

    fn update(&self, change: impl FnOnce(&mut Work)) {
        let mut work = self.work.borrow_mut();
        change(&mut work);
        let message = work.message(work.started.elapsed());
        self.line.borrow().set_message(message);
    }
}

impl Count {
    fn fraction(self) -> f64 {
        // Counts of databases, tables and steps are far below 2^52.
        #[allow(
            clippy::cast_precision_loss,
            reason = "an estimate for display needs no exact counts"
        )]
        let fraction = self.done as f64 / self.total.max(1) as f64;
        fraction.min(1.0)
    }
}

impl Work {
    fn new(title: &'static str) -> Self {
        Self {
            title,
            started: Instant::now(),
            databases: Count::default(),
            reads: Count::default(),
            steps: Count::default(),
            files: Count::default(),
            messages: Count::default(),
            name: String::new(),
        }
    }

    /// Begins another part of the work, of which the time is estimated for itself.
    fn restart(&mut self) {
        let name = std::mem::take(&mut self.name);
        *self = Self {
            name,
            ..Self::new(self.title)
        };
    }

    /// How much of the present part is done.
    fn fraction(&self) -> f64 {
        for count in [self.files, self.messages] {
            if count.total > 0 {
                return count.fraction();
            }
        }
        if self.steps.total > 0 {
            return self.steps.fraction();
        }
        if self.databases.total == 0 {
            return self.reads.fraction();
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "an estimate for display needs no exact counts"
        )]
        let one_database = 1.0 / self.databases.total as f64;
        let within = match self.databases.done < self.databases.total {
            true => self.reads.fraction() * one_database,
            false => 0.0,
        };
        (self.databases.fraction() + within).min(1.0)
    }

    fn message(&self, elapsed: Duration) -> String {
        let mut parts = Vec::new();
        for (count, noun) in [
            (self.databases, "databases"),
            (self.reads, "reads of tables"),
            (self.steps, "steps"),
            (self.files, "files"),
            (self.messages, "messages"),
        ] {
            if count.total > 0 {
                parts.push(format!("{}/{} {noun}", count.done, count.total));
            }
        }
        let fraction = self.fraction();
        if (MIN_FRACTION..1.0).contains(&fraction) {
            let left = elapsed.mul_f64((1.0 - fraction) / fraction);
            let secs = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            let left = output::duration(secs);
            parts.push(format!("about {left} left"));
        }
        if !self.name.is_empty() {
            parts.push(escape(&self.name));
        }
        match parts.is_empty() {
            true => self.title.to_owned(),
            false => format!("{}: {}", self.title, parts.join(", ")),
        }
    }
}

impl WorkProgress for TerminalProgress {
    fn databases_expected(&self, count: usize) {
        self.update(|work| {
            work.restart();
            work.databases.total = count;
        });
    }

    fn database_read(&self, name: &Name) {
        self.update(|work| {
            work.databases.done += 1;
            work.reads = Count::default();
            name.as_str().clone_into(&mut work.name);
        });
    }

    fn reads_expected(&self, count: usize) {
        self.update(|work| work.reads.total += count);
    }

    fn read_finished(&self) {
        self.update(|work| work.reads.done += 1);
    }

    fn steps_expected(&self, count: usize) {
        self.update(|work| {
            work.restart();
            work.steps.total = count;
        });
    }

    fn steps_finished(&self, count: usize) {
        self.update(|work| work.steps.done += count);
    }
}

impl FileProgress for TerminalProgress {
    fn files_expected(&self, count: usize) {
        self.update(|work| work.files.total += count);
    }

    fn file_finished(&self) {
        self.update(|work| work.files.done += 1);
    }
}

/// A resync reconciles several databases at once, so only these are counted.
impl ResyncProgress for TerminalProgress {
    fn started(&self, databases: usize) {
        self.databases_expected(databases);
    }

    fn database_finished(&self, name: &Name) {
        self.database_read(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Work {
            databases: Count { done: 1, total: 4 },
            reads: Count { done: 5, total: 10 },
            name: "sales".to_owned(),
            ..Work::new("Reading")
        }
    }

    #[test]
    fn counts_and_the_time_left_are_shown() {
        // One and a half of four databases are read.
        assert_eq!(
            work().message(Duration::from_secs(30)),
            "Reading: 1/4 databases, 5/10 reads of tables, about 50 s left, sales"
        );
        let steps = Work {
            steps: Count { done: 1, total: 10 },
            ..Work::new("Applying")
        };
        assert_eq!(
            steps.message(Duration::from_secs(60)),
            "Applying: 1/10 steps, about 9 min left"
        );
    }

    #[test]
    fn messages_are_counted() {
        let progress = TerminalProgress::new();
        progress.begin("Sending back");
        progress.messages_expected(4);
        progress.message_finished();
        let message = progress.work.borrow().message(Duration::from_secs(10));
        assert_eq!(message, "Sending back: 1/4 messages, about 30 s left");
    }

    #[test]
    fn without_a_count_no_time_is_estimated() {
        let just_begun = Work::new("Reading");
        assert_eq!(just_begun.message(Duration::from_secs(9)), "Reading");
        let done = Work {
            databases: Count { done: 2, total: 2 },
            ..Work::new("Reading")
        };
        assert_eq!(
            done.message(Duration::from_secs(9)),
            "Reading: 2/2 databases"
        );
    }

    #[test]
    fn the_reads_of_a_database_end_with_it() {
        let progress = TerminalProgress::new();
        progress.begin("Reading");
        progress.databases_expected(2);
        progress.reads_expected(7);
        progress.read_finished();
        progress.database_read(&Name::new("sales").unwrap());
        let work = progress.work.borrow();
        assert_eq!(work.databases, Count { done: 1, total: 2 });
        assert_eq!(work.reads, Count::default());
    }
}
