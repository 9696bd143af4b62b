//! Statements in warehouses of Redshift: the Redshift Data API.
//!
//! A statement that writes is submitted by a client whose attempts need the lease of the Region's role, as other writes
//! do. One that reads is an `ExecuteStatement`, too, and needs none.

use crate::call_error;
use crate::clients::Clients;
use aws_sdk_redshiftdata::operation::execute_statement::builders::ExecuteStatementFluentBuilder;
use aws_sdk_redshiftdata::types::{Field, SqlParameter, StatusString};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use twinlake_core::policy::{WarehouseEndpoint, WarehouseLogin, WarehouseSite};
use twinlake_core::query::{ApprovedStatement, WarehouseQuery, WarehouseRow};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::{StatementDescription, StatementStatus};

/// How long `DescribeStatement` waits for the end of a statement.
const WAIT_SECS: i32 = 5;
/// How the call of a statement is named in errors.
const EXECUTE: &str = "ExecuteStatement";

/// The Redshift Data API in one Region.
#[derive(Clone, Debug)]
pub(crate) struct RedshiftData {
    region: String,
    reader: aws_sdk_redshiftdata::Client,
    writer: aws_sdk_redshiftdata::Client,
}

impl RedshiftData {
    pub(crate) fn new(clients: &Clients) -> Self {
        Self {
            region: clients.region().to_owned(),
            reader: clients.redshift_data_reader(),
            writer: clients.redshift_data_writer(),
        }
    }

    /// Converts an SDK error of a call.
    fn failed<E>(&self, call: &str) -> impl Fn(SdkError<E, HttpResponse>) -> CallError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let (call, region) = (call.to_owned(), self.region.clone());
        move |error| call_error::from_sdk(&call, &region, &error)
    }

    fn unexpected(&self, call: &str, message: &str) -> CallError {
        CallError::new(CallErrorKind::Unavailable, call, &self.region, message)
    }

    pub(crate) async fn submit_query(
        &self,
        warehouse: &WarehouseSite,
        query: &WarehouseQuery,
    ) -> Result<String, CallError> {
        let call = self.reader.execute_statement().sql(query.sql());
        let mut call = addressed(call, warehouse);
        for (name, value) in query.parameters() {
            let parameter = SqlParameter::builder().name(name).value(value).build();
            let parameter = parameter
                .map_err(|error| call_error::from_build_error(EXECUTE, &self.region, &error))?;
            call = call.parameters(parameter);
        }
        let answer = call.send().await.map_err(self.failed(EXECUTE))?;
        let id = answer.id;
        id.ok_or_else(|| self.unexpected(EXECUTE, "the answer has no id"))
    }

    pub(crate) async fn submit_statement(
        &self,
        warehouse: &WarehouseSite,
        statement: &ApprovedStatement,
        token: &str,
    ) -> Result<String, CallError> {
        let call = self.writer.execute_statement().sql(statement.text());
        let call = addressed(call, warehouse).client_token(token);
        let answer = call.send().await.map_err(self.failed(EXECUTE))?;
        let id = answer.id;
        id.ok_or_else(|| self.unexpected(EXECUTE, "the answer has no id"))
    }

    pub(crate) async fn describe_statement(
        &self,
        id: &str,
    ) -> Result<StatementDescription, CallError> {
        const CALL: &str = "DescribeStatement";
        let call = self.reader.describe_statement().id(id);
        let call = call.wait_time_seconds(WAIT_SECS);
        let answer = call.send().await.map_err(self.failed(CALL))?;
        Ok(StatementDescription {
            status: answer
                .status
                .as_ref()
                .and_then(status)
                .ok_or_else(|| self.unexpected(CALL, "the status of the statement is not known"))?,
            error: answer.error,
        })
    }

    pub(crate) async fn statement_rows(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<WarehouseRow>, Option<String>), CallError> {
        const CALL: &str = "GetStatementResult";
        let call = self.reader.get_statement_result().id(id);
        let page = call.set_next_token(token).send().await;
        let page = page.map_err(self.failed(CALL))?;
        let mut rows = Vec::new();
        for record in &page.records {
            let row: Option<WarehouseRow> = record.iter().map(column).collect();
            rows.push(row.ok_or_else(|| self.unexpected(CALL, "a column is of an unknown type"))?);
        }
        Ok((rows, page.next_token))
    }

    pub(crate) async fn cancel_statement(&self, id: &str) -> Result<(), CallError> {
        const CALL: &str = "CancelStatement";
        let answer = self.reader.cancel_statement().id(id).send().await;
        let answer = answer.map_err(self.failed(CALL))?;
        match answer.status {
            Some(true) => Ok(()),
            Some(false) | None => Err(self.unexpected(CALL, "the statement was not cancelled")),
        }
    }
}

/// Addresses a statement to a warehouse, with its login.
fn addressed(
    call: ExecuteStatementFluentBuilder,
    warehouse: &WarehouseSite,
) -> ExecuteStatementFluentBuilder {
    let call = call.database(&warehouse.database);
    let call = match &warehouse.endpoint {
        WarehouseEndpoint::Cluster(cluster) => call.cluster_identifier(cluster),
        WarehouseEndpoint::Workgroup(workgroup) => call.workgroup_name(workgroup),
    };
    match &warehouse.login {
        WarehouseLogin::IamIdentity => call,
        WarehouseLogin::DbUser(user) => call.db_user(user),
        WarehouseLogin::Secret(arn) => call.secret_arn(arn),
    }
}

/// The status, if it is of a single statement and known.
fn status(status: &StatusString) -> Option<StatementStatus> {
    Some(match status {
        StatusString::Submitted => StatementStatus::Submitted,
        StatusString::Picked => StatementStatus::Picked,
        StatusString::Started => StatementStatus::Started,
        StatusString::Finished => StatementStatus::Finished,
        StatusString::Failed => StatementStatus::Failed,
        StatusString::Aborted => StatementStatus::Aborted,
        // It is for listings; others are of a later API.
        StatusString::All | _ => return None,
    })
}

/// A column as text, or null; `None` for a type that is not known.
fn column(field: &Field) -> Option<Option<String>> {
    Some(match field {
        Field::IsNull(_) => None,
        Field::StringValue(text) => Some(text.clone()),
        Field::LongValue(number) => Some(number.to_string()),
        Field::DoubleValue(number) => Some(number.to_string()),
        Field::BooleanValue(flag) => Some(flag.to_string()),
        Field::BlobValue(_) | _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_of_a_statement_has_its_own() {
        let known = [
            ("SUBMITTED", StatementStatus::Submitted),
            ("PICKED", StatementStatus::Picked),
            ("STARTED", StatementStatus::Started),
            ("FINISHED", StatementStatus::Finished),
            ("FAILED", StatementStatus::Failed),
            ("ABORTED", StatementStatus::Aborted),
        ];
        for (text, expected) in known {
            assert_eq!(status(&StatusString::from(text)), Some(expected), "{text}");
        }
        for text in ["ALL", "QUEUED_FOR_EVER"] {
            assert_eq!(status(&StatusString::from(text)), None, "{text}");
        }
    }

    #[test]
    fn a_column_is_a_text_or_null() {
        for (field, expected) in [
            (Field::IsNull(true), Some(None)),
            (Field::StringValue("x".to_owned()), Some(Some("x"))),
            (Field::LongValue(100_134), Some(Some("100134"))),
            (Field::BooleanValue(true), Some(Some("true"))),
            (Field::BlobValue(aws_smithy_types::Blob::new("x")), None),
        ] {
            let expected = expected.map(|text| text.map(str::to_owned));
            assert_eq!(column(&field), expected, "{field:?}");
        }
    }
}
