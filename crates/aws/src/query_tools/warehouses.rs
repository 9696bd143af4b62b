//! Implements the ports of the warehouses.

use super::QueryToolsRegion;
use twinlake_core::CallError;
use twinlake_core::policy::WarehouseSite;
use twinlake_core::query::{ApprovedStatement, WarehouseQuery, WarehouseRow};
use twinlake_engine::ports::{ReadWarehouses, StatementDescription, WriteWarehouses};

impl ReadWarehouses for QueryToolsRegion {
    async fn submit_query(
        &self,
        warehouse: &WarehouseSite,
        query: &WarehouseQuery,
    ) -> Result<String, CallError> {
        self.redshift_data.submit_query(warehouse, query).await
    }

    async fn describe_statement(&self, id: &str) -> Result<StatementDescription, CallError> {
        self.redshift_data.describe_statement(id).await
    }

    async fn statement_rows(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<WarehouseRow>, Option<String>), CallError> {
        self.redshift_data.statement_rows(id, token).await
    }

    async fn cancel_statement(&self, id: &str) -> Result<(), CallError> {
        self.redshift_data.cancel_statement(id).await
    }
}

impl WriteWarehouses for QueryToolsRegion {
    async fn submit_statement(
        &self,
        warehouse: &WarehouseSite,
        statement: &ApprovedStatement,
        token: &str,
    ) -> Result<String, CallError> {
        let redshift_data = &self.redshift_data;
        redshift_data
            .submit_statement(warehouse, statement, token)
            .await
    }
}
