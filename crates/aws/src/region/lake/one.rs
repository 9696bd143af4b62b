//! Writes of one thing each: a filter, an opt-in, a tag, an expression, a location.

use super::AwsRegion;
use crate::region::absent;
use crate::{fault, grants, lake as convert};
use aws_sdk_lakeformation::types as lake;
use twinlake_core::catalog::{CellsFilter, OptIn, Registration};
use twinlake_core::{Fault, FaultKind, TableId};
use twinlake_engine::ports::TAG_BATCH;

impl AwsRegion {
    /// Makes a filter, or changes it, holding to the version that is there (LF-26).
    pub(super) async fn put_filter(&self, id: &TableId, filter: &CellsFilter) -> Result<(), Fault> {
        const MAKE: &str = "CreateDataCellsFilter";
        const READ: &str = "GetDataCellsFilter";
        const CHANGE: &str = "UpdateDataCellsFilter";
        let data = self.built(MAKE, convert::filter_back(filter, id, &self.account, None))?;
        let make = self.lake.create_data_cells_filter().table_data(data);
        match make.send().await {
            Ok(_) => return Ok(()),
            Err(error) => {
                let found = fault::of(MAKE, &self.region, &error);
                if found.kind != FaultKind::AlreadyDone {
                    return Err(found);
                }
            }
        }
        let read = self.lake.get_data_cells_filter();
        let read = read
            .table_catalog_id(&self.account)
            .database_name(id.database.as_str())
            .table_name(id.table.as_str())
            .name(&filter.name);
        let answer = read
            .send()
            .await
            .map_err(|e| fault::of(READ, &self.region, &e))?;
        let now = answer
            .data_cells_filter
            .ok_or_else(|| absent(READ, &self.region))?;
        let data = convert::filter_back(filter, id, &self.account, now.version_id);
        let data = self.built(CHANGE, data)?;
        let change = self.lake.update_data_cells_filter().table_data(data);
        let answer = change.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CHANGE, &self.region, &e))
    }

    pub(super) async fn opt(&self, opt_in: &OptIn, adds: bool) -> Result<(), Fault> {
        let call = match adds {
            true => "CreateLakeFormationOptIn",
            false => "DeleteLakeFormationOptIn",
        };
        let place = self.built(call, grants::resource(&opt_in.resource, &self.account))?;
        let principal = lake::DataLakePrincipal::builder()
            .data_lake_principal_identifier(&opt_in.principal.0)
            .build();
        let condition = opt_in.condition.as_ref();
        let condition = condition.map(|text| lake::Condition::builder().expression(text).build());
        match adds {
            true => {
                let make = self.lake.create_lake_formation_opt_in();
                let make = make.principal(principal).resource(place);
                let answer = make.set_condition(condition).send().await;
                let answer = answer.map_err(|e| fault::of(call, &self.region, &e));
                match answer {
                    // It is the whole of it that was there already.
                    Err(fault) if fault.kind == FaultKind::AlreadyDone => Ok(()),
                    answer => answer.map(drop),
                }
            }
            false => {
                let drop_it = self.lake.delete_lake_formation_opt_in();
                let drop_it = drop_it.principal(principal).resource(place);
                let answer = drop_it.set_condition(condition).send().await;
                answer
                    .map(drop)
                    .map_err(|e| fault::of(call, &self.region, &e))
            }
        }
    }

    /// Adds values to an LF-Tag, which it makes if it is not there: fifty at a time
    /// (LF-25).
    pub(super) async fn put_values(&self, key: &str, values: &[&str]) -> Result<(), Fault> {
        const MAKE: &str = "CreateLFTag";
        const CHANGE: &str = "UpdateLFTag";
        let texts = |some: &[&str]| some.iter().map(|&value| value.to_owned()).collect();
        let mut is_there = false;
        for some in values.chunks(TAG_BATCH) {
            if !is_there {
                is_there = true;
                let make = self.lake.create_lf_tag().tag_key(key);
                match make.set_tag_values(Some(texts(some))).send().await {
                    Ok(_) => continue,
                    Err(error) => {
                        let found = fault::of(MAKE, &self.region, &error);
                        if found.kind != FaultKind::AlreadyDone {
                            return Err(found);
                        }
                    }
                }
            }
            let change = self.lake.update_lf_tag().tag_key(key);
            let answer = change.set_tag_values_to_add(Some(texts(some))).send().await;
            answer.map_err(|e| fault::of(CHANGE, &self.region, &e))?;
        }
        Ok(())
    }

    /// Takes a value of an LF-Tag away, and the tag with its last one.
    pub(super) async fn drop_value(&self, key: &str, value: &str) -> Result<(), Fault> {
        const READ: &str = "GetLFTag";
        let known = self.lake.get_lf_tag().tag_key(key).send().await;
        let known = known.map_err(|e| fault::of(READ, &self.region, &e))?;
        let values = known.tag_values.unwrap_or_default();
        if values.iter().all(|known| known.eq_ignore_ascii_case(value)) {
            let gone = self.lake.delete_lf_tag().tag_key(key).send().await;
            return gone
                .map(drop)
                .map_err(|e| fault::of("DeleteLFTag", &self.region, &e));
        }
        let change = self.lake.update_lf_tag().tag_key(key);
        let answer = change.tag_values_to_delete(value).send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateLFTag", &self.region, &e))
    }

    pub(super) async fn put_expression(
        &self,
        saved: &twinlake_core::catalog::SavedExpression,
    ) -> Result<(), Fault> {
        const MAKE: &str = "CreateLFTagExpression";
        let wanted = self.built(MAKE, grants::expression_back(&saved.expression))?;
        let make = self.lake.create_lf_tag_expression().name(&saved.name);
        let make = make
            .set_description(saved.description.clone())
            .set_expression(Some(wanted.clone()));
        match make.send().await {
            Ok(_) => return Ok(()),
            Err(error) => {
                let found = fault::of(MAKE, &self.region, &error);
                if found.kind != FaultKind::AlreadyDone {
                    return Err(found);
                }
            }
        }
        let change = self.lake.update_lf_tag_expression().name(&saved.name);
        let change = change
            .set_description(saved.description.clone())
            .set_expression(Some(wanted));
        let answer = change.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("UpdateLFTagExpression", &self.region, &e))
    }

    /// Registers a location. One that is there otherwise is changed where the service
    /// can, and else deregistered and registered anew (LF-27).
    pub(super) async fn register(&self, place: &Registration) -> Result<(), Fault> {
        let made = self.register_anew(place).await;
        match made {
            Err(fault) if fault.kind == FaultKind::AlreadyDone => {}
            made => return made,
        }
        const READ: &str = "DescribeResource";
        let now = self.lake.describe_resource().resource_arn(&place.arn);
        let now = now
            .send()
            .await
            .map_err(|e| fault::of(READ, &self.region, &e))?;
        let now = now.resource_info.map(convert::registration);
        let by_own_roles = now.as_ref().is_some_and(|now| {
            now.role.is_some() && now.privileged_access == place.privileged_access
        });
        if let (Some(role), true) = (&place.role, by_own_roles) {
            let change = self.lake.update_resource().resource_arn(&place.arn);
            let change = change
                .role_arn(role)
                .with_federation(place.with_federation)
                .hybrid_access_enabled(place.hybrid_access)
                .set_expected_resource_owner_account(place.owner.clone());
            let answer = change.send().await;
            return answer
                .map(drop)
                .map_err(|e| fault::of("UpdateResource", &self.region, &e));
        }
        self.deregister(&place.arn).await?;
        self.register_anew(place).await
    }

    async fn register_anew(&self, place: &Registration) -> Result<(), Fault> {
        let make = self.lake.register_resource().resource_arn(&place.arn);
        let make = match &place.role {
            Some(role) => make.role_arn(role),
            None => make.use_service_linked_role(true),
        };
        let make = make
            .with_federation(place.with_federation)
            .hybrid_access_enabled(place.hybrid_access)
            .with_privileged_access(place.privileged_access)
            .set_expected_resource_owner_account(place.owner.clone());
        let answer = make.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("RegisterResource", &self.region, &e))
    }

    pub(super) async fn deregister(&self, arn: &str) -> Result<(), Fault> {
        let gone = self
            .lake
            .deregister_resource()
            .resource_arn(arn)
            .send()
            .await;
        gone.map(drop)
            .map_err(|e| fault::of("DeregisterResource", &self.region, &e))
    }

    pub(super) async fn delete_filter(&self, id: &TableId, name: &str) -> Result<(), Fault> {
        let gone = self.lake.delete_data_cells_filter();
        let gone = gone
            .table_catalog_id(&self.account)
            .database_name(id.database.as_str())
            .table_name(id.table.as_str())
            .name(name);
        let answer = gone.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteDataCellsFilter", &self.region, &e))
    }
}
