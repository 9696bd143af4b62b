//! Reads the query tools.

use super::{MAX_PER_CALL, MAX_STATEMENTS_PER_CALL, QueryToolsRegion, convert};
use crate::call_error;
use crate::pages::all_pages;
use std::collections::BTreeMap;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::{ReadQueryRegion, external_schema_call};

/// A listed object, or why it could not be read.
type Listed = (ObjectKey, Result<QueryObject, CallError>);

impl ReadQueryRegion for QueryToolsRegion {
    fn region(&self) -> &str {
        &self.region
    }

    async fn list(
        &self,
        kind: QueryKind,
        parent: Option<&str>,
        tags: bool,
    ) -> Result<Vec<Listed>, CallError> {
        let parent = parent.unwrap_or_default();
        match kind {
            QueryKind::WorkGroup => {
                let names = self.workgroup_names().await?;
                Ok(self.read_each(kind, names, tags).await)
            }
            QueryKind::DataCatalog => {
                let names = self.catalog_names().await?;
                Ok(self.read_each(kind, names, tags).await)
            }
            QueryKind::NamedQuery => self.named_queries(parent).await,
            QueryKind::PreparedStatement => self.prepared_statements(parent).await,
            QueryKind::Classifier => self.glue_tools.classifiers().await,
            QueryKind::SecurityConfiguration => self.glue_tools.security_configurations().await,
            QueryKind::Connection => self.glue_tools.connections().await,
            QueryKind::Job => self.glue_tools.jobs().await,
            QueryKind::Workflow => self.glue_tools.workflows().await,
            QueryKind::Crawler => self.glue_tools.crawlers().await,
            QueryKind::Trigger => self.glue_tools.triggers().await,
            QueryKind::ExternalSchema => Err(external_schema_call(&self.region)),
        }
    }

    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        match key.kind {
            QueryKind::WorkGroup => self.workgroup(&key.id).await,
            QueryKind::DataCatalog => self.catalog(&key.id).await,
            QueryKind::NamedQuery => self.named_query(&key.id).await,
            QueryKind::PreparedStatement => {
                let workgroup = key.parent.as_deref().unwrap_or_default();
                self.prepared_statement(workgroup, &key.id).await
            }
            QueryKind::Classifier => self.glue_tools.classifier(&key.id).await,
            QueryKind::SecurityConfiguration => {
                self.glue_tools.security_configuration(&key.id).await
            }
            QueryKind::Connection => self.glue_tools.connection(&key.id).await,
            QueryKind::Job => self.glue_tools.job(&key.id).await,
            QueryKind::Workflow => self.glue_tools.workflow(&key.id).await,
            QueryKind::Crawler => self.glue_tools.crawler(&key.id).await,
            QueryKind::Trigger => self.glue_tools.trigger(&key.id).await,
            QueryKind::ExternalSchema => Err(external_schema_call(&self.region)),
        }
    }

    async fn unreplicated_counts(&self) -> Result<BTreeMap<String, usize>, CallError> {
        let reservations = all_pages(("ListCapacityReservations", &self.region), |token| async {
            let call = self.athena.list_capacity_reservations();
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed("ListCapacityReservations"))?;
            Ok((page.capacity_reservations, page.next_token))
        })
        .await?;
        let count = reservations.len();
        let kind = "capacity reservation (not replicated: AWS may have no capacity in the standby, and charges for a reservation from its creation)";
        Ok(match count {
            0 => BTreeMap::new(),
            count => BTreeMap::from([(kind.to_owned(), count)]),
        })
    }
}

impl QueryToolsRegion {
    async fn workgroup_names(&self) -> Result<Vec<String>, CallError> {
        all_pages(("ListWorkGroups", &self.region), |token| async {
            let call = self.athena.list_work_groups().set_next_token(token);
            let page = call.send().await.map_err(self.failed("ListWorkGroups"))?;
            let groups = page.work_groups.unwrap_or_default().into_iter();
            Ok((
                groups.filter_map(|group| group.name).collect(),
                page.next_token,
            ))
        })
        .await
    }

    async fn catalog_names(&self) -> Result<Vec<String>, CallError> {
        all_pages(("ListDataCatalogs", &self.region), |token| async {
            let call = self.athena.list_data_catalogs().set_next_token(token);
            let page = call.send().await.map_err(self.failed("ListDataCatalogs"))?;
            let catalogs = page.data_catalogs_summary.unwrap_or_default().into_iter();
            let names = catalogs.filter_map(|catalog| catalog.catalog_name);
            Ok((names.collect(), page.next_token))
        })
        .await
    }

    /// Reads objects by their names, one after the other: Athena allows few such calls a second.
    async fn read_each(&self, kind: QueryKind, names: Vec<String>, tags: bool) -> Vec<Listed> {
        let mut listed = Vec::new();
        for name in names {
            let key = ObjectKey::new(kind, &name);
            let object = match self.read(&key).await {
                Ok(object) if tags => self.with_tags(object).await,
                object => object,
            };
            listed.push((key, object));
        }
        listed
    }

    async fn with_tags(&self, object: QueryObject) -> Result<QueryObject, CallError> {
        let Some(arn) = self.arn(&object.key) else {
            return Ok(object);
        };
        let tags = all_pages(("ListTagsForResource", &self.region), |token| async {
            let call = self.athena.list_tags_for_resource().resource_arn(&arn);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed("ListTagsForResource"))?;
            Ok((page.tags.unwrap_or_default(), page.next_token))
        })
        .await?;
        let tags = tags.into_iter().filter_map(|tag| tag.key.zip(tag.value));
        Ok(QueryObject {
            // Tags of AWS's own cannot be set.
            tags: Some(tags.filter(|(key, _)| !key.starts_with("aws:")).collect()),
            ..object
        })
    }

    async fn workgroup(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetWorkGroup";
        let response = self.athena.get_work_group().work_group(name).send().await;
        let response = response.map_err(self.failed(CALL))?;
        let found = response
            .work_group
            .ok_or_else(|| self.missing_object_error(CALL))?;
        Ok(convert::from_workgroup(&found))
    }

    async fn catalog(&self, name: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetDataCatalog";
        let response = self.athena.get_data_catalog().name(name).send().await;
        let response = response.map_err(self.failed(CALL))?;
        let found = response
            .data_catalog
            .ok_or_else(|| self.missing_object_error(CALL))?;
        Ok(convert::from_catalog(&found))
    }

    async fn named_query(&self, id: &str) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetNamedQuery";
        let response = self
            .athena
            .get_named_query()
            .named_query_id(id)
            .send()
            .await;
        let response = response.map_err(self.failed(CALL))?;
        let found = response
            .named_query
            .ok_or_else(|| self.missing_object_error(CALL))?;
        Ok(convert::from_named_query(&found, id))
    }

    async fn prepared_statement(
        &self,
        workgroup: &str,
        name: &str,
    ) -> Result<QueryObject, CallError> {
        const CALL: &str = "GetPreparedStatement";
        let call = self.athena.get_prepared_statement();
        let response = call.work_group(workgroup).statement_name(name).send().await;
        let response = response.map_err(self.failed(CALL))?;
        let found = response
            .prepared_statement
            .ok_or_else(|| self.missing_object_error(CALL))?;
        Ok(convert::from_prepared_statement(&found, workgroup, name))
    }

    fn missing_object_error(&self, call: &str) -> CallError {
        let message =
            "Athena answered with neither the object that was asked for nor an error code";
        CallError::new(CallErrorKind::Unavailable, call, &self.region, message)
    }

    async fn named_queries(&self, workgroup: &str) -> Result<Vec<Listed>, CallError> {
        const CALL: &str = "BatchGetNamedQuery";
        let ids = all_pages(("ListNamedQueries", &self.region), |token| async {
            let call = self.athena.list_named_queries().work_group(workgroup);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed("ListNamedQueries"))?;
            Ok((page.named_query_ids.unwrap_or_default(), page.next_token))
        })
        .await?;
        let mut listed = Vec::new();
        for batch in ids.chunks(MAX_PER_CALL) {
            let call = self.athena.batch_get_named_query();
            let response = call.set_named_query_ids(Some(batch.to_vec())).send().await;
            let response = response.map_err(self.failed(CALL))?;
            let mut found: BTreeMap<String, QueryObject> = response
                .named_queries
                .unwrap_or_default()
                .iter()
                .filter_map(|query| {
                    let id = query.named_query_id()?;
                    Some((id.to_owned(), convert::from_named_query(query, id)))
                })
                .collect();
            let unprocessed = response.unprocessed_named_query_ids.unwrap_or_default();
            for id in batch {
                let key = ObjectKey::within(QueryKind::NamedQuery, workgroup, id);
                let object = found.remove(id).ok_or_else(|| {
                    let mut unprocessed = unprocessed.iter();
                    let entry = unprocessed.find(|entry| entry.named_query_id() == Some(id));
                    let code = entry.and_then(|entry| entry.error_code());
                    let message = entry.and_then(|entry| entry.error_message());
                    self.unprocessed(CALL, code, message)
                });
                listed.push((key, object));
            }
        }
        Ok(listed)
    }

    async fn prepared_statements(&self, workgroup: &str) -> Result<Vec<Listed>, CallError> {
        const CALL: &str = "BatchGetPreparedStatement";
        let names = all_pages(("ListPreparedStatements", &self.region), |token| async {
            let call = self.athena.list_prepared_statements().work_group(workgroup);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(self.failed("ListPreparedStatements"))?;
            let statements = page.prepared_statements.unwrap_or_default().into_iter();
            let names = statements.filter_map(|statement| statement.statement_name);
            Ok((names.collect(), page.next_token))
        })
        .await?;
        let mut listed = Vec::new();
        for batch in names.chunks(MAX_STATEMENTS_PER_CALL) {
            let call = self
                .athena
                .batch_get_prepared_statement()
                .work_group(workgroup);
            let response = call
                .set_prepared_statement_names(Some(batch.to_vec()))
                .send()
                .await;
            let response = response.map_err(self.failed(CALL))?;
            let mut found: BTreeMap<String, QueryObject> = response
                .prepared_statements
                .unwrap_or_default()
                .iter()
                .filter_map(|statement| {
                    let name = statement.statement_name()?;
                    let object = convert::from_prepared_statement(statement, workgroup, name);
                    Some((name.to_owned(), object))
                })
                .collect();
            let unprocessed = response
                .unprocessed_prepared_statement_names
                .unwrap_or_default();
            for name in batch {
                let key = ObjectKey::within(QueryKind::PreparedStatement, workgroup, name);
                let object = found.remove(name).ok_or_else(|| {
                    let mut unprocessed = unprocessed.iter();
                    let entry = unprocessed.find(|entry| entry.statement_name() == Some(name));
                    let code = entry.and_then(|entry| entry.error_code());
                    let message = entry.and_then(|entry| entry.error_message());
                    self.unprocessed(CALL, code, message)
                });
                listed.push((key, object));
            }
        }
        Ok(listed)
    }

    /// The error of an entry that a batch call did not return.
    fn unprocessed(&self, call: &str, code: Option<&str>, message: Option<&str>) -> CallError {
        match code {
            Some(code) => {
                call_error::from_code(call, &self.region, code, message.unwrap_or_default())
            }
            None => self.missing_object_error(call),
        }
    }
}
