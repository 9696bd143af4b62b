//! The alert topic and the retry queue.

use twinlake_core::{Alert, CallError};

/// Publishes alerts to people.
pub trait AlertTopic {
    /// Publishes one alert.
    ///
    /// # Errors
    /// It could not be published.
    async fn publish(&self, alert: &Alert) -> Result<(), CallError>;

    /// Called once for each alert that is part of a published message, after it was published. Does nothing by
    /// default.
    async fn after_publish(&self, _: &Alert) {}
}

/// The queue to which a function sends work that it could not finish.
pub trait RetryQueue {
    /// Sends a message that becomes visible after `delay_secs`, at most 900 seconds.
    ///
    /// # Errors
    /// It could not be sent.
    async fn send(&self, message: &crate::RetryMessage, delay_secs: u16) -> Result<(), CallError>;
}

/// The parameters of SSM in a Region, of which one holds the address for clients.
pub trait AddressParameter {
    /// The value of a parameter; `None` if it does not exist.
    ///
    /// # Errors
    /// The call failed.
    async fn read(&self, name: &str) -> Result<Option<String>, CallError>;

    /// Creates or replaces a parameter of the type `String`.
    ///
    /// # Errors
    /// The call failed.
    async fn write(&self, name: &str, value: &str) -> Result<(), CallError>;
}
