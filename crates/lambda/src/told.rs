//! The topic of this Region, and the other Region, which is to know what was told here.

use tracing::warn;
use twinlake_aws::{BusPeer, SnsAlerts};
use twinlake_core::event::TOLD;
use twinlake_core::{Alert, Fault, render};
use twinlake_engine::Alerts;
use twinlake_engine::ports::Peer as _;

/// Publishes here, and hands what was told on to the standby.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub topic: &'a SnsAlerts,
    pub peer: Option<&'a BusPeer>,
}

impl Alerts for Told<'_> {
    async fn publish(&self, alert: &Alert) -> Result<(), Fault> {
        self.topic.publish(alert).await
    }

    async fn spoke_for(&self, alert: &Alert) {
        let Some(peer) = self.peer else {
            return;
        };
        // People have been told; the standby's status lacks it at the worst.
        if let Err(fault) = peer.tell(TOLD, &alert.json()).await {
            warn!(
                fault = render::escape(&fault.to_string()),
                "the peer was not told"
            );
        }
    }
}
