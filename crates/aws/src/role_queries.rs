//! Queries of a drill: assumes a real role in the Region, and runs a statement in Athena with its credentials.

use crate::call_error::{self, is_refused_query};
use crate::clients::Clients;
use aws_sdk_athena::config::Credentials;
use aws_sdk_athena::types::{QueryExecution, QueryExecutionState, WorkGroupState};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use std::time::{Duration, Instant};
use twinlake_core::drill::QueryEnd;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::drill::{RoleQueries, Statement, WorkgroupLimits};

/// The name of the session, which CloudTrail shows.
const SESSION_NAME: &str = "twinlake-drill";
/// The shortest life of a session that STS allows, in seconds.
const SESSION_SECS: i32 = 900;
/// How often the state of a query is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Athena and STS of a Region. STS is called in this Region, and never at its global endpoint.
#[derive(Clone, Debug)]
pub struct AthenaRoleQueries {
    clients: Clients,
}

impl AthenaRoleQueries {
    /// The Region of some clients.
    #[must_use]
    pub fn new(clients: &Clients) -> Self {
        Self {
            clients: clients.clone(),
        }
    }

    fn failed<E>(&self, call: &str) -> impl Fn(SdkError<E, HttpResponse>) -> CallError
    where
        E: std::error::Error + aws_smithy_types::error::metadata::ProvideErrorMetadata + 'static,
    {
        let (call, region) = (call.to_owned(), self.clients.region().to_owned());
        move |error| call_error::from_sdk(&call, &region, &error)
    }

    /// Athena with the credentials of a role.
    async fn as_role(&self, role: &str) -> Result<aws_sdk_athena::Client, CallError> {
        const CALL: &str = "AssumeRole";
        let call = self
            .clients
            .sts()
            .assume_role()
            .role_arn(role)
            .role_session_name(SESSION_NAME)
            .duration_seconds(SESSION_SECS);
        let session = call.send().await.map_err(self.failed(CALL))?;
        let Some(found) = session.credentials else {
            let kind = CallErrorKind::Invalid;
            let message = "the answer has no credentials";
            return Err(CallError::new(kind, CALL, self.clients.region(), message));
        };
        let credentials = Credentials::new(
            found.access_key_id,
            found.secret_access_key,
            Some(found.session_token),
            None,
            SESSION_NAME,
        );
        Ok(self.clients.athena_as(credentials))
    }

    /// Waits for the end of a query. `None` if it has not ended in time.
    async fn wait_for_end(
        &self,
        athena: &aws_sdk_athena::Client,
        id: &str,
        limit: Duration,
    ) -> Result<Option<QueryExecution>, CallError> {
        let started = Instant::now();
        loop {
            let call = athena.get_query_execution().query_execution_id(id);
            let found = call
                .send()
                .await
                .map_err(self.failed("GetQueryExecution"))?;
            let execution = found.query_execution.filter(|execution| {
                let status = execution.status.as_ref();
                matches!(
                    status.and_then(|status| status.state.as_ref()),
                    Some(
                        QueryExecutionState::Succeeded
                            | QueryExecutionState::Failed
                            | QueryExecutionState::Cancelled
                    )
                )
            });
            if execution.is_some() {
                return Ok(execution);
            }
            if started.elapsed() >= limit {
                return Ok(None);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// The answer of a query that succeeded: of a count, the number in its second row, below the names of the columns.
    async fn answer(
        &self,
        athena: &aws_sdk_athena::Client,
        id: &str,
        counts: bool,
    ) -> Result<QueryEnd, CallError> {
        const CALL: &str = "GetQueryResults";
        let call = athena
            .get_query_results()
            .query_execution_id(id)
            .max_results(2);
        let found = call.send().await.map_err(self.failed(CALL))?;
        if !counts {
            return Ok(QueryEnd::Answered(None));
        }
        let rows = found.result_set.and_then(|set| set.rows);
        let value = rows.unwrap_or_default().into_iter().nth(1);
        let value = value.and_then(|row| row.data.unwrap_or_default().into_iter().next());
        let text = value
            .and_then(|value| value.var_char_value)
            .unwrap_or_default();
        Ok(match text.parse() {
            Ok(rows) => QueryEnd::Answered(Some(rows)),
            Err(_) => QueryEnd::Failed(format!("the answer is no number: {text}")),
        })
    }

    async fn run_as(
        &self,
        athena: &aws_sdk_athena::Client,
        id: &str,
        statement: &Statement,
        limit: Duration,
    ) -> Result<QueryEnd, CallError> {
        let Some(execution) = self.wait_for_end(athena, id, limit).await? else {
            let stopped = athena.stop_query_execution().query_execution_id(id);
            // It ends by itself at the byte limit, or after Athena's longest time.
            let _ = stopped.send().await;
            return Ok(QueryEnd::TimedOut);
        };
        let status = execution.status;
        let reason = status
            .as_ref()
            .and_then(|status| status.state_change_reason.clone())
            .unwrap_or_else(|| "no reason was given".to_owned());
        let state = status.and_then(|status| status.state);
        if state == Some(QueryExecutionState::Succeeded) {
            self.answer(athena, id, statement.counts).await
        } else if state == Some(QueryExecutionState::Cancelled) {
            Ok(QueryEnd::Cancelled(reason))
        } else if is_refused_query(&reason) {
            Ok(QueryEnd::Refused(reason))
        } else {
            Ok(QueryEnd::Failed(reason))
        }
    }
}

impl RoleQueries for AthenaRoleQueries {
    async fn workgroup(&self, name: &str) -> Result<WorkgroupLimits, CallError> {
        let call = self.clients.athena().get_work_group().work_group(name);
        let found = call.send().await.map_err(self.failed("GetWorkGroup"))?;
        let Some(group) = found.work_group else {
            return Ok(WorkgroupLimits::default());
        };
        let settings = group.configuration;
        let enforced = settings
            .as_ref()
            .and_then(|settings| settings.enforce_work_group_configuration);
        let bytes = settings.and_then(|settings| settings.bytes_scanned_cutoff_per_query);
        Ok(WorkgroupLimits {
            is_enabled: group.state != Some(WorkGroupState::Disabled),
            is_enforced: enforced == Some(true),
            bytes_per_query: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        })
    }

    async fn run(
        &self,
        role: &str,
        workgroup: &str,
        statement: &Statement,
        limit: Duration,
    ) -> QueryEnd {
        let athena = match self.as_role(role).await {
            Ok(athena) => athena,
            Err(error) => return QueryEnd::NotAssumed(error.to_string()),
        };
        let call = athena
            .start_query_execution()
            .query_string(&statement.sql)
            .work_group(workgroup);
        let started = call.send().await;
        let id = match started.map_err(self.failed("StartQueryExecution")) {
            Ok(started) => started.query_execution_id.unwrap_or_default(),
            Err(error) => return QueryEnd::NotStarted(error.to_string()),
        };
        match self.run_as(&athena, &id, statement, limit).await {
            Ok(end) => end,
            Err(error) => QueryEnd::Failed(error.to_string()),
        }
    }
}
