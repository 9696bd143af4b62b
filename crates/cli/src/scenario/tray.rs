//! What a script leads to beside changes.

use std::cell::RefCell;
use twinlake_core::{Alert, Fault};
use twinlake_engine::{Alerts, Message, Outbox};

/// Alerts and leftovers of a script.
#[derive(Default)]
pub(super) struct Tray {
    pub(super) alerts: RefCell<Vec<Alert>>,
    pub(super) waiting: RefCell<Vec<Message>>,
}

impl Alerts for Tray {
    async fn publish(&self, alert: &Alert) -> Result<(), Fault> {
        self.alerts.borrow_mut().push(alert.clone());
        Ok(())
    }
}

impl Outbox for Tray {
    async fn send(&self, message: &Message, _: u16) -> Result<(), Fault> {
        self.waiting.borrow_mut().push(message.clone());
        Ok(())
    }
}
