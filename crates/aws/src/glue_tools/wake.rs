//! Wakes crawlers and triggers after a takeover, for the commands that ask for it. No function calls this.

use super::GlueTools;
use crate::clients::Clients;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::WakeTools;

/// The crawlers and triggers of a Region that has become the primary.
#[derive(Clone, Debug)]
pub struct SleepingTools(GlueTools);

impl SleepingTools {
    /// The Region of some clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self(GlueTools::new(clients.region(), clients.glue()))
    }
}

impl WakeTools for SleepingTools {
    fn region(&self) -> &str {
        &self.0.region
    }

    async fn list(&self, kind: QueryKind) -> Result<Vec<QueryObject>, CallError> {
        let listed = match kind {
            QueryKind::Crawler => self.0.crawlers().await?,
            QueryKind::Trigger => self.0.triggers().await?,
            other @ (QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::ExternalSchema
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow) => return Err(self.no_sleeper(other)),
        };
        listed.into_iter().map(|(_, object)| object).collect()
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        match key.kind {
            QueryKind::Crawler => self.0.crawler(&key.id).await,
            QueryKind::Trigger => self.0.trigger(&key.id).await,
            QueryKind::Job => self.0.job(&key.id).await,
            other @ (QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::ExternalSchema
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Workflow) => Err(self.no_sleeper(other)),
        }
    }

    async fn wake(&self, key: &ObjectKey, cron: Option<&str>) -> Result<(), CallError> {
        match key.kind {
            QueryKind::Crawler => self.wake_crawler(&key.id, cron).await,
            QueryKind::Trigger => {
                let call = self.0.glue.start_trigger().name(&key.id);
                call.send().await.map_err(self.0.failed("StartTrigger"))?;
                Ok(())
            }
            other @ (QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::ExternalSchema
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow) => Err(self.no_sleeper(other)),
        }
    }
}

impl SleepingTools {
    /// Gives a crawler its schedule. Whether that starts the schedule is not documented: it is started, too.
    async fn wake_crawler(&self, name: &str, cron: Option<&str>) -> Result<(), CallError> {
        let call = self.0.glue.update_crawler_schedule().crawler_name(name);
        let call = call.set_schedule(cron.map(str::to_owned)).send().await;
        call.map_err(self.0.failed("UpdateCrawlerSchedule"))?;
        let call = self.0.glue.start_crawler_schedule().crawler_name(name);
        let started = call.send().await;
        match started.map_err(self.0.failed("StartCrawlerSchedule")) {
            Err(error) if error.kind != CallErrorKind::AlreadyInState => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn no_sleeper(&self, kind: QueryKind) -> CallError {
        let message = format!("a {kind} does not run by itself");
        CallError::new(CallErrorKind::Invalid, "wake", &self.0.region, message)
    }
}
