//! Wakes crawlers and triggers.

use super::SimQueryTools;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::{ReadQueryRegion, WakeTools};

impl WakeTools for SimQueryTools {
    fn region(&self) -> &str {
        &self.region
    }

    async fn list(&self, kind: QueryKind) -> Result<Vec<QueryObject>, CallError> {
        let listed = ReadQueryRegion::list(self, kind, None, false).await?;
        listed.into_iter().map(|(_, object)| object).collect()
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        ReadQueryRegion::read(self, key).await
    }

    async fn wake(&self, key: &ObjectKey, cron: Option<&str>) -> Result<(), CallError> {
        let (call, field, value) = match key.kind {
            QueryKind::Crawler => (
                "StartCrawlerSchedule",
                "Schedule",
                serde_json::json!({"ScheduleExpression": cron, "State": "SCHEDULED"}),
            ),
            QueryKind::Trigger => ("StartTrigger", "State", "ACTIVATED".into()),
            QueryKind::WorkGroup
            | QueryKind::DataCatalog
            | QueryKind::NamedQuery
            | QueryKind::PreparedStatement
            | QueryKind::ExternalSchema
            | QueryKind::Classifier
            | QueryKind::SecurityConfiguration
            | QueryKind::Connection
            | QueryKind::Job
            | QueryKind::Workflow => {
                return Err(self.error(CallErrorKind::Invalid, "Start", "it cannot be started"));
            }
        };
        let mut state = self.begin_write(call, key)?;
        let is_stuck = state.stuck.contains(key);
        let Some(object) = state.objects.get_mut(key) else {
            return Err(self.error(CallErrorKind::NotFound, call, "not found"));
        };
        if !is_stuck {
            object.fields.insert(field.to_owned(), value);
        }
        self.answer(state, call, ())
    }
}
