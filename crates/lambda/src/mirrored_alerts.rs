//! Alerts that are published in this Region and mirrored to the peer Region.

use tracing::warn;
use twinlake_aws::{DefaultEventBus, SnsAlerts};
use twinlake_core::event::ALERT_DETAIL_TYPE;
use twinlake_core::{Alert, CallError, render};
use twinlake_engine::AlertTopic;
use twinlake_engine::ports::EventBus as _;

/// Publishes alerts to the topic of this Region. If the default event bus is set, [`AlertTopic::after_publish`]
/// sends a copy of each there, which a rule forwards to the peer Region, so that `twinlake status` in the
/// standby lists them too.
#[derive(Debug)]
pub(crate) struct MirroredAlerts<'a> {
    pub topic: &'a SnsAlerts,
    pub local_bus: Option<&'a DefaultEventBus>,
}

impl AlertTopic for MirroredAlerts<'_> {
    async fn publish(&self, alert: &Alert) -> Result<(), CallError> {
        self.topic.publish(alert).await
    }

    async fn after_publish(&self, alert: &Alert) {
        let Some(local_bus) = self.local_bus else {
            return;
        };
        // The alert is already published. Without the copy, only the standby's status lacks it.
        if let Err(error) = local_bus.send(ALERT_DETAIL_TYPE, &alert.json()).await {
            warn!(
                error = render::escape(&error.to_string()),
                "the alert was not mirrored to the peer Region"
            );
        }
    }
}
