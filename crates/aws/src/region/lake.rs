//! Filters, assigned LF-Tags, opt-ins, and what is of the lake as a whole.

mod one;
mod write;

use super::{AwsRegion, pages};
use crate::{fault, grants, lake as convert};
use aws_sdk_lakeformation::types as lake;
use twinlake_core::catalog::{OptIn, Part, PartKey, Progress, SeenPart};
use twinlake_core::grant::{EntryResource, TagExpression, TagTarget};
use twinlake_core::reading::Tagged;
use twinlake_core::{Fault, Lake, Name, Subject, TableId};

fn there(part: Part) -> SeenPart {
    SeenPart {
        part,
        progress: Progress::There,
    }
}

/// Whether parts of this kind are Lake Formation's.
pub(super) fn is_of_lake(key: &PartKey) -> bool {
    match key {
        PartKey::Index(_) | PartKey::Statistics(_) | PartKey::Tag(_) => false,
        PartKey::Filter(_)
        | PartKey::Assigned { .. }
        | PartKey::OptIn(_)
        | PartKey::TagValue { .. }
        | PartKey::Expression(_)
        | PartKey::Registration(_) => true,
    }
}

/// The resource of an assignment; none where LF-Tags cannot be assigned.
fn place_of(subject: &Subject, column: Option<&Name>) -> Option<EntryResource> {
    match (subject, column) {
        (Subject::Database(name), _) => Some(EntryResource::Database(name.clone())),
        (Subject::Table(id), None) => Some(EntryResource::Table(id.clone())),
        (Subject::Table(id), Some(column)) => {
            Some(EntryResource::Columns(id.clone(), [column.clone()].into()))
        }
        (Subject::Catalog | Subject::Lake(_) | Subject::Function(_), _) => None,
    }
}

impl AwsRegion {
    pub(super) fn built<T, E: std::error::Error>(
        &self,
        call: &str,
        built: Result<T, E>,
    ) -> Result<T, Fault> {
        built.map_err(|e| fault::unbuildable(call, &self.region, &e))
    }

    pub(super) async fn filters(&self, id: &TableId) -> Result<Vec<SeenPart>, Fault> {
        const CALL: &str = "ListDataCellsFilter";
        let table = lake::TableResource::builder()
            .database_name(id.database.as_str())
            .name(id.table.as_str());
        let table = self.built(CALL, table.build())?;
        let listed = pages(|token| async {
            let call = self.lake.list_data_cells_filter().table(table.clone());
            let call = call.max_results(1000).set_next_token(token).send().await;
            let page = call.map_err(|e| fault::of(CALL, &self.region, &e))?;
            Ok((page.data_cells_filters.unwrap_or_default(), page.next_token))
        })
        .await?;
        let filters = listed.into_iter().map(convert::filter);
        Ok(filters.map(|one| there(Part::Filter(one))).collect())
    }

    /// Assigned LF-Tags, without those that are inherited (LF-25).
    pub(super) async fn assigned(&self, subject: &Subject) -> Result<Vec<SeenPart>, Fault> {
        const CALL: &str = "GetResourceLFTags";
        let Some(place) = place_of(subject, None) else {
            return Ok(Vec::new());
        };
        let place = self.built(CALL, grants::resource(&place, &self.account))?;
        let call = self.lake.get_resource_lf_tags().resource(place);
        let answer = call.show_assigned_lf_tags(true).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let own = match subject {
            Subject::Database(_) => answer.lf_tag_on_database,
            Subject::Catalog | Subject::Lake(_) | Subject::Table(_) | Subject::Function(_) => {
                answer.lf_tags_on_table
            }
        };
        let mut parts = convert::assigned(None, convert::tag_set(own));
        for column in answer.lf_tags_on_columns.unwrap_or_default() {
            let name = column.name.and_then(|text| Name::new(&text).ok());
            let tags = convert::tag_set(column.lf_tags);
            parts.extend(
                name.into_iter()
                    .flat_map(|name| convert::assigned(Some(&name), tags.clone())),
            );
        }
        Ok(parts.into_iter().map(there).collect())
    }

    pub(super) async fn items(&self, lake: Lake) -> Result<Vec<SeenPart>, Fault> {
        let parts = match lake {
            Lake::Tags => self.tag_values().await?,
            Lake::Expressions => self.saved_expressions().await?,
            Lake::Locations => self.registrations().await?,
            Lake::Permissions | Lake::Settings => Vec::new(),
        };
        Ok(parts.into_iter().map(there).collect())
    }

    async fn tag_values(&self) -> Result<Vec<Part>, Fault> {
        const CALL: &str = "ListLFTags";
        let listed = pages(|token| async {
            let call = self.lake.list_lf_tags().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
            Ok::<_, Fault>((page.lf_tags.unwrap_or_default(), page.next_token))
        })
        .await?;
        Ok(listed.into_iter().flat_map(convert::tag_values).collect())
    }

    async fn saved_expressions(&self) -> Result<Vec<Part>, Fault> {
        const CALL: &str = "ListLFTagExpressions";
        let listed = pages(|token| async {
            let call = self.lake.list_lf_tag_expressions().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
            let listed = page.lf_tag_expressions.unwrap_or_default();
            Ok::<_, Fault>((listed, page.next_token))
        })
        .await?;
        let saved = listed.into_iter().map(convert::saved);
        Ok(saved.map(Part::Expression).collect())
    }

    async fn registrations(&self) -> Result<Vec<Part>, Fault> {
        const CALL: &str = "ListResources";
        let listed = pages(|token| async {
            let call = self.lake.list_resources().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
            let listed = page.resource_info_list.unwrap_or_default();
            Ok::<_, Fault>((listed, page.next_token))
        })
        .await?;
        let places = listed.into_iter().map(convert::registration);
        Ok(places.map(Part::Registration).collect())
    }

    pub(super) async fn list_opt_ins(&self) -> Result<Vec<OptIn>, Fault> {
        const CALL: &str = "ListLakeFormationOptIns";
        let listed = pages(|token| async {
            let call = self.lake.list_lake_formation_opt_ins().max_results(1000);
            let page = call.set_next_token(token).send().await;
            let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
            let listed = page.lake_formation_opt_ins_info_list.unwrap_or_default();
            Ok::<_, Fault>((listed, page.next_token))
        })
        .await?;
        let all = listed.into_iter();
        Ok(all
            .filter_map(|one| convert::opt_in(one, &self.account))
            .collect())
    }

    pub(super) async fn search_tags(
        &self,
        target: TagTarget,
        expression: &TagExpression,
    ) -> Result<Vec<Tagged>, Fault> {
        let call = match target {
            TagTarget::Database => "SearchDatabasesByLFTags",
            TagTarget::Table => "SearchTablesByLFTags",
        };
        let wanted = self.built(call, grants::expression_back(expression))?;
        match target {
            TagTarget::Database => {
                let listed = pages(|token| async {
                    let search = self.lake.search_databases_by_lf_tags().max_results(100);
                    let search = search.set_expression(Some(wanted.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| fault::of(call, &self.region, &e))?;
                    Ok::<_, Fault>((page.database_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                Ok(listed
                    .into_iter()
                    .filter_map(convert::tagged_database)
                    .collect())
            }
            TagTarget::Table => {
                let listed = pages(|token| async {
                    let search = self.lake.search_tables_by_lf_tags().max_results(100);
                    let search = search.set_expression(Some(wanted.clone()));
                    let page = search.set_next_token(token).send().await;
                    let page = page.map_err(|e| fault::of(call, &self.region, &e))?;
                    Ok::<_, Fault>((page.table_list.unwrap_or_default(), page.next_token))
                })
                .await?;
                Ok(listed
                    .into_iter()
                    .filter_map(convert::tagged_table)
                    .collect())
            }
        }
    }

    pub(super) async fn lake_settings(&self) -> Result<Option<lake::DataLakeSettings>, Fault> {
        const CALL: &str = "GetDataLakeSettings";
        let answer = self.lake.get_data_lake_settings().send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        Ok(answer.data_lake_settings)
    }
}
