//! The warehouses of Redshift in a Region, which run statements in their own time.

use twinlake_core::CallError;
use twinlake_core::policy::WarehouseSite;
use twinlake_core::query::{ApprovedStatement, WarehouseQuery, WarehouseRow};

/// How far a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementStatus {
    /// It waits to be picked.
    Submitted,
    /// A warehouse has it.
    Picked,
    /// It runs.
    Started,
    /// It ended.
    Finished,
    /// It ended with an error.
    Failed,
    /// Somebody stopped it.
    Aborted,
}

/// A statement as the service describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementDescription {
    /// How far it is.
    pub status: StatementStatus,
    /// Why it failed, for people: nothing is decided by it.
    pub error: Option<String>,
}

/// Reads in warehouses, by the Redshift Data API.
pub trait ReadWarehouses {
    /// Submits a statement that reads: `ExecuteStatement`. Returns its id.
    ///
    /// # Errors
    /// The call failed.
    async fn submit_query(
        &self,
        warehouse: &WarehouseSite,
        query: &WarehouseQuery,
    ) -> Result<String, CallError>;

    /// How far a statement is: `DescribeStatement`, which waits some seconds for its end.
    ///
    /// # Errors
    /// The call failed, or answered with a status that is not known.
    async fn describe_statement(&self, id: &str) -> Result<StatementDescription, CallError>;

    /// A page of the result of a statement that finished, and the token of the next one: `GetStatementResult`.
    ///
    /// # Errors
    /// The call failed.
    async fn statement_rows(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<WarehouseRow>, Option<String>), CallError>;

    /// Stops a statement that has not ended: `CancelStatement`.
    ///
    /// # Errors
    /// The call failed; the statement may still take effect.
    async fn cancel_statement(&self, id: &str) -> Result<(), CallError>;
}

/// Writes in warehouses, by the Redshift Data API.
pub trait WriteWarehouses: ReadWarehouses {
    /// Submits a statement that writes: `ExecuteStatement`. A repeated call with the same token submits it once.
    /// Returns its id.
    ///
    /// # Errors
    /// The call failed; the statement may have been submitted.
    async fn submit_statement(
        &self,
        warehouse: &WarehouseSite,
        statement: &ApprovedStatement,
        token: &str,
    ) -> Result<String, CallError>;
}
