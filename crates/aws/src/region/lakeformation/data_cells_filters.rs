//! Reads and writes data cells filters.

use super::{may_be_duplicate, present};
use crate::pages::all_pages;
use crate::region::{AwsRegion, missing_object};
use crate::{call_error, lakeformation_convert};
use aws_sdk_lakeformation::types as lakeformation;
use twinlake_core::catalog::{Attachment, DataCellsFilter, ObservedAttachment};
use twinlake_core::{CallError, CallErrorKind, TableId};

impl AwsRegion {
    pub(in crate::region) async fn read_data_cells_filters(
        &self,
        id: &TableId,
    ) -> Result<Vec<ObservedAttachment>, CallError> {
        const CALL: &str = "ListDataCellsFilter";
        let table = lakeformation::TableResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str());
        let table = self.build_result(CALL, table.build())?;
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self
                .lakeformation
                .list_data_cells_filter()
                .table(table.clone());
            let call = call.max_results(1000).set_next_token(token).send().await;
            let page = call.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            Ok((page.data_cells_filters.unwrap_or_default(), page.next_token))
        })
        .await?;
        let filters = listed.into_iter().map(|filter| {
            let filter = lakeformation_convert::from_sdk_data_cells_filter(filter);
            let filter = filter.map_err(|reason| self.unreadable_entry_error(CALL, reason))?;
            Ok(present(Attachment::DataCellsFilter(filter)))
        });
        filters.collect()
    }

    /// Creates a filter, or updates it with the version that was read last (LF-26).
    pub(super) async fn put_data_cells_filter(
        &self,
        id: &TableId,
        filter: &DataCellsFilter,
    ) -> Result<(), CallError> {
        const CREATE: &str = "CreateDataCellsFilter";
        const GET: &str = "GetDataCellsFilter";
        const UPDATE: &str = "UpdateDataCellsFilter";
        let data = self.build_result(
            CREATE,
            lakeformation_convert::to_sdk_data_cells_filter(filter, id, &self.account, None),
        )?;
        let create = self
            .lakeformation
            .create_data_cells_filter()
            .table_data(data);
        let created = create.send().await;
        let refused = match created.map_err(|e| call_error::from_sdk(CREATE, &self.region, &e)) {
            Ok(_) => return Ok(()),
            Err(error) if may_be_duplicate(&error) => error,
            Err(error) => return Err(error),
        };
        let get = self.lakeformation.get_data_cells_filter();
        let get = get
            .table_catalog_id(&self.account)
            .database_name(id.database.as_str())
            .table_name(id.table.as_str())
            .name(&filter.name);
        let response = get.send().await;
        let response = match response.map_err(|e| call_error::from_sdk(GET, &self.region, &e)) {
            // No filter has this name: the creation failed for another reason.
            Err(error) if error.kind == CallErrorKind::NotFound => return Err(refused),
            response => response?,
        };
        let current = response
            .data_cells_filter
            .ok_or_else(|| missing_object(GET, &self.region))?;
        let data = lakeformation_convert::to_sdk_data_cells_filter(
            filter,
            id,
            &self.account,
            current.version_id,
        );
        let data = self.build_result(UPDATE, data)?;
        let update = self
            .lakeformation
            .update_data_cells_filter()
            .table_data(data);
        let response = update.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk(UPDATE, &self.region, &e))
    }

    pub(super) async fn delete_data_cells_filter(
        &self,
        id: &TableId,
        name: &str,
    ) -> Result<(), CallError> {
        let delete = self.lakeformation.delete_data_cells_filter();
        let delete = delete
            .table_catalog_id(&self.account)
            .database_name(id.database.as_str())
            .table_name(id.table.as_str())
            .name(name);
        let response = delete.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteDataCellsFilter", &self.region, &e))
    }
}
