//! Records the alerts of a script.

use std::cell::RefCell;
use twinlake_core::{Alert, CallError};
use twinlake_engine::{AlertTopic, RetryMessage, RetryQueue};

/// The alerts published since they were last printed. Retry messages are dropped: a script says
/// itself when something is read again.
#[derive(Default)]
pub(super) struct ScenarioRecorder {
    pub(super) alerts: RefCell<Vec<Alert>>,
}

impl AlertTopic for ScenarioRecorder {
    async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
        self.alerts.borrow_mut().push(alert.clone());
        Ok(())
    }
}

impl RetryQueue for ScenarioRecorder {
    async fn send(&self, _: &RetryMessage, _: u16) -> Result<(), CallError> {
        Ok(())
    }
}
