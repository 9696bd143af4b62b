//! Reads and writes LF-Tags and named LF-Tag expressions, and searches resources by LF-Tags.

use super::{may_be_duplicate, result_of_both};
use crate::pages::all_pages;
use crate::region::AwsRegion;
use crate::{call_error, lakeformation_convert, permission_convert};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, NamedLfTagExpression};
use twinlake_core::grant::{LfTagExpression, LfTagPolicyTarget};
use twinlake_core::snapshot::LfTaggedResource;
use twinlake_core::{CallError, CallErrorKind};
use twinlake_engine::ports::MAX_LF_TAGS_PER_CALL;

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

/// Values of LF-Tags are stored in lower case.
fn is_same_value(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

impl AwsRegion {
    pub(super) async fn read_lf_tag_values(&self) -> Result<Vec<Attachment>, CallError> {
        const CALL: &str = "ListLFTags";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self.lakeformation.list_lf_tags().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            Ok((page.lf_tags.unwrap_or_default(), page.next_token))
        })
        .await?;
        let mut values = Vec::new();
        for listed in listed {
            let of_tag = lakeformation_convert::from_sdk_lf_tag_values(listed, &self.account);
            values.extend(of_tag.map_err(|reason| self.unreadable_entry_error(CALL, reason))?);
        }
        Ok(values)
    }

    /// Adds the values that an LF-Tag lacks, 50 per call (LF-25), and creates the tag if it does not
    /// exist. Which of both is decided by a read of the tag; if the tag appears or vanishes after
    /// it, the other call is tried once.
    pub(super) async fn add_lf_tag_values(
        &self,
        key: &str,
        values: &[&str],
    ) -> Result<(), CallError> {
        let existing = self.lf_tag_values(key).await?;
        let mut exists = existing.is_some();
        let existing = existing.unwrap_or_default();
        let is_missing = |value: &&str| !existing.contains(&value.to_lowercase());
        let missing: Vec<&str> = values.iter().copied().filter(is_missing).collect();
        for batch in missing.chunks(MAX_LF_TAGS_PER_CALL) {
            let result = match exists {
                false => match self.create_lf_tag(key, batch).await {
                    Err(error) if may_be_duplicate(&error) => {
                        result_of_both(error, self.update_lf_tag(key, batch).await)
                    }
                    result => result,
                },
                true => match self.update_lf_tag(key, batch).await {
                    Err(error) if error.kind == CallErrorKind::NotFound => {
                        result_of_both(error, self.create_lf_tag(key, batch).await)
                    }
                    result => result,
                },
            };
            result?;
            exists = true;
        }
        Ok(())
    }

    /// The values of an LF-Tag in lower case, and `None` if the service does not show it: a missing
    /// LF-Tag may be answered "denied" or "invalid", too.
    async fn lf_tag_values(&self, key: &str) -> Result<Option<BTreeSet<String>>, CallError> {
        const CALL: &str = "GetLFTag";
        let response = self.lakeformation.get_lf_tag().tag_key(key).send().await;
        match response.map_err(|e| call_error::from_sdk(CALL, &self.region, &e)) {
            Ok(response) => {
                let values = response.tag_values.unwrap_or_default();
                let values = values.iter().map(|value| value.to_lowercase());
                // An LF-Tag has at least one value.
                Ok(Some(values.collect()).filter(|values: &BTreeSet<String>| !values.is_empty()))
            }
            Err(error) if error.kind.is_transient() => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn create_lf_tag(&self, key: &str, values: &[&str]) -> Result<(), CallError> {
        let create = self.lakeformation.create_lf_tag().tag_key(key);
        let create = create.set_tag_values(Some(texts(values)));
        let response = create.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("CreateLFTag", &self.region, &e))
    }

    async fn update_lf_tag(&self, key: &str, add: &[&str]) -> Result<(), CallError> {
        let update = self.lakeformation.update_lf_tag().tag_key(key);
        let update = update.set_tag_values_to_add(Some(texts(add)));
        let response = update.send().await;
        response
            .map(drop)
            .map_err(|e| call_error::from_sdk("UpdateLFTag", &self.region, &e))
    }

    /// Deletes a value of an LF-Tag; with its last value the tag itself. The tag is deleted only if the value alone
    /// cannot be, and a read after that shows no other value: the deletion would take every value with it, also
    /// one that somebody has just added.
    pub(super) async fn delete_lf_tag_value(
        &self,
        key: &str,
        value: &str,
    ) -> Result<(), CallError> {
        let update = self.lakeformation.update_lf_tag().tag_key(key);
        let updated = update.tag_values_to_delete(value).send().await;
        let updated = updated.map_err(|e| call_error::from_sdk("UpdateLFTag", &self.region, &e));
        let refused = match updated {
            Ok(_) => return Ok(()),
            Err(error) if error.kind.is_transient() => return Err(error),
            Err(error) => error,
        };
        const GET: &str = "GetLFTag";
        let response = self.lakeformation.get_lf_tag().tag_key(key).send().await;
        let response = response.map_err(|e| call_error::from_sdk(GET, &self.region, &e))?;
        let values = response.tag_values.unwrap_or_default();
        // A response without values is no proof that there are no others.
        let is_alone = !values.is_empty() && values.iter().all(|one| is_same_value(one, value));
        if !is_alone {
            return Err(refused);
        }
        let delete = self.lakeformation.delete_lf_tag().tag_key(key).send().await;
        delete
            .map(drop)
            .map_err(|e| call_error::from_sdk("DeleteLFTag", &self.region, &e))
    }

    pub(super) async fn read_named_expressions(&self) -> Result<Vec<Attachment>, CallError> {
        let listed = self.named_expressions().await?.into_values();
        Ok(listed.map(Attachment::NamedExpression).collect())
    }

    /// Lists the named expressions, by name.
    pub(super) async fn named_expressions(
        &self,
    ) -> Result<BTreeMap<String, NamedLfTagExpression>, CallError> {
        const CALL: &str = "ListLFTagExpressions";
        let listed = all_pages((CALL, &self.region), |token| async {
            let call = self
                .lakeformation
                .list_lf_tag_expressions()
                .max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| call_error::from_sdk(CALL, &self.region, &e))?;
            let listed = page.lf_tag_expressions.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await?;
        let mut named_expressions = BTreeMap::new();
        for listed in listed {
            let one = lakeformation_convert::from_sdk_named_expression(listed, &self.account);
            let one = one.map_err(|reason| self.unreadable_entry_error(CALL, reason))?;
            named_expressions.extend(one.map(|one| (one.name.clone(), one)));
        }
        Ok(named_expressions)
    }

    /// Creates a named expression, or updates it if the listing showed it and it may be replaced. If it appears or
    /// vanishes after the listing, the other call is tried once.
    pub(super) async fn put_named_expression(
        &self,
        named_expression: &NamedLfTagExpression,
        existing: Option<&NamedLfTagExpression>,
        may_replace: bool,
    ) -> Result<(), CallError> {
        const CREATE: &str = "CreateLFTagExpression";
        if let (Some(existing), false) = (existing, may_replace) {
            return self.result_of_duplicate(CREATE, existing == named_expression);
        }
        let expression = self.build_result(
            "CreateLFTagExpression",
            permission_convert::to_sdk_expression(&named_expression.expression),
        )?;
        let create = || async {
            let create = self
                .lakeformation
                .create_lf_tag_expression()
                .name(&named_expression.name);
            let create = create.set_description(named_expression.description.clone());
            let response = create.set_expression(Some(expression.clone())).send().await;
            response
                .map(drop)
                .map_err(|e| call_error::from_sdk("CreateLFTagExpression", &self.region, &e))
        };
        let update = || async {
            let update = self
                .lakeformation
                .update_lf_tag_expression()
                .name(&named_expression.name);
            let update = update.set_description(named_expression.description.clone());
            let response = update.set_expression(Some(expression.clone())).send().await;
            response
                .map(drop)
                .map_err(|e| call_error::from_sdk("UpdateLFTagExpression", &self.region, &e))
        };
        match existing {
            None => match create().await {
                Err(error) if may_be_duplicate(&error) && may_replace => {
                    result_of_both(error, update().await)
                }
                Err(error) if may_be_duplicate(&error) => {
                    match self.named_expressions().await?.get(&named_expression.name) {
                        Some(other) => self.result_of_duplicate(CREATE, other == named_expression),
                        None => Err(error),
                    }
                }
                result => result,
            },
            Some(_) => match update().await {
                Err(error) if error.kind == CallErrorKind::NotFound => {
                    result_of_both(error, create().await)
                }
                result => result,
            },
        }
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
                let listed = all_pages((call, &self.region), |token| async {
                    let search = self
                        .lakeformation
                        .search_databases_by_lf_tags()
                        .max_results(100);
                    let search = search.set_expression(Some(expression_tags.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
                    Ok((page.database_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                let listed = listed.into_iter();
                let found = listed.filter_map(|one| {
                    lakeformation_convert::from_sdk_tagged_database(one, &self.account).transpose()
                });
                found
                    .collect::<Result<_, _>>()
                    .map_err(|reason| self.unreadable_entry_error(call, reason))
            }
            LfTagPolicyTarget::Table => {
                let listed = all_pages((call, &self.region), |token| async {
                    let search = self
                        .lakeformation
                        .search_tables_by_lf_tags()
                        .max_results(100);
                    let search = search.set_expression(Some(expression_tags.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| call_error::from_sdk(call, &self.region, &e))?;
                    Ok((page.table_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                let listed = listed.into_iter();
                let found = listed.filter_map(|one| {
                    lakeformation_convert::from_sdk_tagged_table(one, &self.account).transpose()
                });
                found
                    .collect::<Result<_, _>>()
                    .map_err(|reason| self.unreadable_entry_error(call, reason))
            }
        }
    }
}
