//! Reads and writes LF-Tags and named LF-Tag expressions, and searches resources by LF-Tags.

use crate::region::{AwsRegion, all_pages};
use crate::{call_error, lakeformation_convert as convert, permission_convert};
use twinlake_core::catalog::{Attachment, NamedLfTagExpression};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget};
use twinlake_core::snapshot::LfTaggedResource;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::MAX_LF_TAGS_PER_CALL;

impl AwsRegion {
    pub(super) async fn read_lf_tag_values(&self) -> Result<Vec<Attachment>, CallError> {
        const CALL: &str = "ListLFTags";
        let listed = all_pages(|token| async {
            let call = self.lakeformation.list_lf_tags().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            Ok::<_, CallError>((page.lf_tags.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed
            .into_iter()
            .flat_map(convert::lf_tag_values)
            .collect())
    }

    /// Adds values to an LF-Tag, 50 per call (LF-25), and creates the tag if it does not exist.
    pub(super) async fn add_lf_tag_values(
        &self,
        key: &str,
        values: &[&str],
    ) -> Result<(), CallError> {
        const CREATE: &str = "CreateLFTag";
        const UPDATE: &str = "UpdateLFTag";
        let texts = |batch: &[&str]| batch.iter().map(|&value| value.to_owned()).collect();
        let mut tag_exists = false;
        for batch in values.chunks(MAX_LF_TAGS_PER_CALL) {
            if !tag_exists {
                tag_exists = true;
                let create = self.lakeformation.create_lf_tag().tag_key(key);
                match create.set_tag_values(Some(texts(batch))).send().await {
                    Ok(_) => continue,
                    Err(error) => {
                        let error = call_error::from_sdk(CREATE, &self.region, &error);
                        if error.kind != CallErrorKind::AlreadyInState {
                            return Err(error);
                        }
                    }
                }
            }
            let update = self.lakeformation.update_lf_tag().tag_key(key);
            let response = update
                .set_tag_values_to_add(Some(texts(batch)))
                .send()
                .await;
            response.map_err(|e| call_error::from_sdk(UPDATE, &self.region, &e))?;
        }
        Ok(())
    }

    /// Deletes a value of an LF-Tag; with its last value the tag itself.
    pub(super) async fn delete_lf_tag_value(
        &self,
        key: &str,
        value: &str,
    ) -> Result<(), CallError> {
        const GET: &str = "GetLFTag";
        let response = self.lakeformation.get_lf_tag().tag_key(key).send().await;
        let response = response.map_err(|e| call_error::from_sdk(GET, &self.region, &e))?;
        let values = response.tag_values.unwrap_or_default();
        if values
            .iter()
            .all(|existing| existing.eq_ignore_ascii_case(value))
        {
            let delete = self.lakeformation.delete_lf_tag().tag_key(key).send().await;
            return delete
                .map(drop)
                .map_err(|e| call_error::from_sdk("DeleteLFTag", &self.region, &e));
        }
        let update = self.lakeformation.update_lf_tag().tag_key(key);
        let response = update.tag_values_to_delete(value).send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UpdateLFTag", &self.region, &e))
    }

    pub(super) async fn read_named_expressions(&self) -> Result<Vec<Attachment>, CallError> {
        const CALL: &str = "ListLFTagExpressions";
        let listed = all_pages(|token| async {
            let call = self
                .lakeformation
                .list_lf_tag_expressions()
                .max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.lf_tag_expressions.unwrap_or_default();
            Ok::<_, CallError>((listed, page.next_token))
        })
        .await?;
        let named_expressions = listed.into_iter().map(convert::named_lf_tag_expression);
        Ok(named_expressions.map(Attachment::NamedExpression).collect())
    }

    pub(super) async fn put_named_expression(
        &self,
        named_expression: &NamedLfTagExpression,
    ) -> Result<(), CallError> {
        const CREATE: &str = "CreateLFTagExpression";
        let expression_tags = self.build_result(
            CREATE,
            permission_convert::to_sdk_expression(&named_expression.expression),
        )?;
        let create = self
            .lakeformation
            .create_lf_tag_expression()
            .name(&named_expression.name);
        let create = create
            .set_description(named_expression.description.clone())
            .set_expression(Some(expression_tags.clone()));
        match create.send().await {
            Ok(_) => return Ok(()),
            Err(error) => {
                let error = call_error::from_sdk(CREATE, &self.region, &error);
                if error.kind != CallErrorKind::AlreadyInState {
                    return Err(error);
                }
            }
        }
        let update = self
            .lakeformation
            .update_lf_tag_expression()
            .name(&named_expression.name);
        let update = update
            .set_description(named_expression.description.clone())
            .set_expression(Some(expression_tags));
        let response = update.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UpdateLFTagExpression", &self.region, &e))
    }

    pub(in crate::region) async fn read_lf_tag_search(
        &self,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, CallError> {
        let call = match target {
            LfTagPolicyTarget::Database => "SearchDatabasesByLFTags",
            LfTagPolicyTarget::Table => "SearchTablesByLFTags",
        };
        let expression_tags =
            self.build_result(call, permission_convert::to_sdk_expression(expression))?;
        match target {
            LfTagPolicyTarget::Database => {
                let listed = all_pages(|token| async {
                    let search = self
                        .lakeformation
                        .search_databases_by_lf_tags()
                        .max_results(100);
                    let search = search.set_expression(Some(expression_tags.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
                    Ok::<_, CallError>((page.database_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                Ok(listed
                    .into_iter()
                    .filter_map(convert::tagged_database)
                    .collect())
            }
            LfTagPolicyTarget::Table => {
                let listed = all_pages(|token| async {
                    let search = self
                        .lakeformation
                        .search_tables_by_lf_tags()
                        .max_results(100);
                    let search = search.set_expression(Some(expression_tags.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
                    Ok::<_, CallError>((page.table_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                Ok(listed
                    .into_iter()
                    .filter_map(convert::tagged_table)
                    .collect())
            }
        }
    }
}
