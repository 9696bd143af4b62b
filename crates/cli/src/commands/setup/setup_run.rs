//! A run over everything that a setup makes: it shows what is missing, or makes it.
//!
//! Both are the same sequence of reads. So what is made follows from what is there at that moment, and a
//! repetition continues where a run broke off.

use crate::{CliError, output};
use std::time::Duration;
use tokio::time::Instant;
use twinlake_core::lake_setup::SetupState;
use twinlake_core::render::escape;
use twinlake_core::{CallError, CallErrorKind};

/// How long a service may not know a role or a policy that was just made, and the pause between two
/// attempts.
const PROPAGATION_TIME: Duration = Duration::from_secs(60);
const PROPAGATION_PAUSE: Duration = Duration::from_secs(3);

/// Whether missing things are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetupMode {
    /// They are shown.
    Show,
    /// They are made.
    Make,
}

/// A run of the setup.
#[derive(Debug)]
pub(super) struct SetupRun {
    mode: SetupMode,
    region: String,
    /// The number of things that were missing.
    pub(super) missing: usize,
    /// Whether something that exists differs.
    pub(super) has_differences: bool,
}

impl SetupRun {
    pub(super) fn new(mode: SetupMode) -> Self {
        Self {
            mode,
            region: String::new(),
            missing: 0,
            has_differences: false,
        }
    }

    /// Begins with a Region.
    pub(super) fn enter(&mut self, region: &str) {
        region.clone_into(&mut self.region);
    }

    /// Shows or makes something that is missing. `action` says in words what makes it, as "create the
    /// bucket lake".
    ///
    /// # Errors
    /// Its state could not be read, or it could not be made.
    pub(super) async fn ensure(
        &mut self,
        action: &str,
        state: Result<SetupState, CallError>,
        make: impl AsyncFn() -> Result<(), CallError>,
    ) -> Result<(), CliError> {
        self.ensure_made(action, state, make).await.map(drop)
    }

    /// As [`Self::ensure`]. Returns the result of `make`; `None` if nothing was made.
    async fn ensure_made<T>(
        &mut self,
        action: &str,
        state: Result<SetupState, CallError>,
        make: impl AsyncFn() -> Result<T, CallError>,
    ) -> Result<Option<T>, CliError> {
        match state? {
            SetupState::Equal => Ok(None),
            SetupState::Different(difference) => {
                self.has_differences = true;
                self.print(&format!("not done: {action}: {difference}"));
                Ok(None)
            }
            SetupState::Missing => {
                self.missing += 1;
                if self.mode == SetupMode::Show {
                    self.print(&format!("would {action}"));
                    return Ok(None);
                }
                let made = self.make(make).await?;
                self.print(&format!("done: {action}"));
                Ok(Some(made))
            }
        }
    }

    /// As [`Self::ensure`], for what everything else rests on: if something else has the name, nothing more
    /// is done. Returns the result of `make`; `None` if nothing was made.
    ///
    /// # Errors
    /// Also if something else is there.
    pub(super) async fn ensure_or_fail<T>(
        &mut self,
        action: &str,
        state: Result<SetupState, CallError>,
        make: impl AsyncFn() -> Result<T, CallError>,
        hint: &str,
    ) -> Result<Option<T>, CliError> {
        match state? {
            SetupState::Different(difference) => Err(CliError::Usage(format!(
                "{}: cannot {action}: {difference}. {hint}",
                self.region
            ))),
            state @ (SetupState::Missing | SetupState::Equal) => {
                self.ensure_made(action, Ok(state), make).await
            }
        }
    }

    /// Repeats a call while a service may not know what this run made before.
    async fn make<T>(&self, make: impl AsyncFn() -> Result<T, CallError>) -> Result<T, CallError> {
        let deadline = Instant::now() + PROPAGATION_TIME;
        loop {
            let error = match make().await {
                Ok(made) => return Ok(made),
                Err(error) => error,
            };
            let may_propagate = matches!(
                error.kind,
                CallErrorKind::NotFound | CallErrorKind::NotPropagated | CallErrorKind::Invalid
            );
            // The first thing that is made rests on nothing new.
            if !may_propagate || self.missing < 2 || Instant::now() >= deadline {
                return Err(error);
            }
            output::note(&escape(&format!(
                "{error}. It may be too early for what was just made; trying again."
            )));
            tokio::time::sleep(PROPAGATION_PAUSE).await;
        }
    }

    /// Prints a line about the Region.
    pub(super) fn print(&self, text: &str) {
        output::print(&format!("{}: {}", self.region, escape(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn error(kind: CallErrorKind) -> CallError {
        CallError::new(kind, "PutBucketReplication", "us-east-1", "no such role")
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_only_after_something_was_made() {
        let calls = Cell::new(0);
        let fails_twice = async || {
            calls.set(calls.get() + 1);
            match calls.get() {
                3 => Ok(()),
                _ => Err(error(CallErrorKind::Invalid)),
            }
        };
        let mut run = SetupRun::new(SetupMode::Make);
        let first = run.ensure("a", Ok(SetupState::Missing), fails_twice).await;
        assert!(first.is_err() && calls.replace(0) == 1);
        let second = run.ensure("b", Ok(SetupState::Missing), fails_twice).await;
        assert!(second.is_ok() && calls.replace(0) == 3);
        let denied = async || Err(error(CallErrorKind::Denied));
        assert!(
            run.ensure("c", Ok(SetupState::Missing), denied)
                .await
                .is_err()
        );
        let never = async || Err(error(CallErrorKind::NotPropagated));
        assert!(
            run.ensure("d", Ok(SetupState::Missing), never)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn what_exists_is_never_made_and_what_everything_rests_on_ends_the_run() {
        let unreachable = async || Err::<(), _>(error(CallErrorKind::Denied));
        let different = || Ok(SetupState::Different("it is theirs".to_owned()));
        let mut run = SetupRun::new(SetupMode::Make);
        run.enter("us-east-1");
        run.ensure("a", Ok(SetupState::Equal), unreachable)
            .await
            .unwrap();
        assert!(!run.has_differences);
        run.ensure("a", different(), unreachable).await.unwrap();
        assert!(run.has_differences);
        let refused = run
            .ensure_or_fail("make b", different(), unreachable, "Rename.")
            .await;
        let refused = refused.unwrap_err().to_string();
        assert_eq!(refused, "us-east-1: cannot make b: it is theirs. Rename.");
        let mut shown = SetupRun::new(SetupMode::Show);
        shown
            .ensure("a", Ok(SetupState::Missing), unreachable)
            .await
            .unwrap();
        assert_eq!(shown.missing, 1);
    }

    #[tokio::test]
    async fn the_result_of_the_call_is_returned_only_if_it_was_made() {
        let made = async |mode, state| {
            let make = async || Ok("key/1");
            let mut run = SetupRun::new(mode);
            run.ensure_or_fail("make a key", Ok(state), make, "")
                .await
                .unwrap()
        };
        assert_eq!(
            made(SetupMode::Make, SetupState::Missing).await,
            Some("key/1")
        );
        assert_eq!(made(SetupMode::Make, SetupState::Equal).await, None);
        assert_eq!(made(SetupMode::Show, SetupState::Missing).await, None);
    }
}
