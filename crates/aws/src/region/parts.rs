//! Functions, and the parts of databases and tables.

use super::lake::is_of_lake;
use super::{AwsRegion, absent, pages};
use crate::{convert, fault};
use aws_sdk_glue::types as glue;
use twinlake_core::catalog::{Function, Part, PartKey, PartitionIndex, Progress, Seen, SeenPart};
use twinlake_core::{Facet, Fault, FaultKind, FunctionId, Name, Subject, TableId};
use twinlake_engine::ports::EntryResults;

/// Columns of a `GetColumnStatisticsForTable` call.
const COLUMNS: usize = 100;

impl AwsRegion {
    pub(super) async fn list_functions(
        &self,
        database: Option<&Name>,
    ) -> Result<Vec<(FunctionId, Seen<Function>)>, Fault> {
        const CALL: &str = "GetUserDefinedFunctions";
        let listed = pages(|token| async {
            let call = self.glue.get_user_defined_functions().pattern("*");
            let call = call
                .set_database_name(database.map(|name| name.as_str().to_owned()))
                .max_results(100)
                .set_next_token(token);
            let page = call
                .send()
                .await
                .map_err(|e| fault::of(CALL, &self.region, &e))?;
            Ok((
                page.user_defined_functions.unwrap_or_default(),
                page.next_token,
            ))
        })
        .await?;
        let functions = listed.into_iter().map(|mut one| {
            // Not every catalog repeats what was asked for.
            let asked = database.map(|name| name.as_str().to_owned());
            one.database_name = one.database_name.or(asked);
            convert::function(one)
        });
        functions
            .collect::<Result<_, _>>()
            .map_err(self.nameless(CALL))
    }

    pub(super) async fn one_function(&self, id: &FunctionId) -> Result<Seen<Function>, Fault> {
        const CALL: &str = "GetUserDefinedFunction";
        let call = self.glue.get_user_defined_function();
        let call = call.database_name(id.database.as_str());
        let answer = call.function_name(id.function.as_str()).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let mut found = answer
            .user_defined_function
            .ok_or_else(|| absent(CALL, &self.region))?;
        found.database_name = Some(id.database.as_str().to_owned());
        let (_, seen) = convert::function(found).map_err(self.nameless(CALL))?;
        Ok(seen)
    }

    pub(super) async fn list_parts(
        &self,
        subject: &Subject,
        facet: Facet,
        columns: &[String],
    ) -> Result<Vec<SeenPart>, Fault> {
        match (subject, facet) {
            (Subject::Table(id), Facet::Indexes) => self.indexes(id).await,
            (Subject::Table(id), Facet::Statistics) => self.statistics(id, columns).await,
            (Subject::Table(_) | Subject::Database(_), Facet::Tags) => self.tags(subject).await,
            (Subject::Table(id), Facet::Filters) => self.filters(id).await,
            (Subject::Table(_) | Subject::Database(_), Facet::Assigned) => {
                self.assigned(subject).await
            }
            (Subject::Lake(lake), Facet::Items) => self.items(*lake).await,
            (
                Subject::Catalog
                | Subject::Lake(_)
                | Subject::Database(_)
                | Subject::Table(_)
                | Subject::Function(_),
                _,
            ) => Ok(Vec::new()),
        }
    }

    async fn indexes(&self, id: &TableId) -> Result<Vec<SeenPart>, Fault> {
        const CALL: &str = "GetPartitionIndexes";
        let listed: Result<Vec<_>, Fault> = pages(|token| async {
            let call = self.glue.get_partition_indexes();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str()).set_next_token(token);
            let page = call.send().await;
            let page = page.map_err(|e| fault::of(CALL, &self.region, &e))?;
            let listed = page.partition_index_descriptor_list.unwrap_or_default();
            Ok((listed, page.next_token))
        })
        .await;
        let listed = match listed {
            // Views of several dialects have none, and say so in this way (GL-04).
            Err(fault) if fault.kind == FaultKind::Unsupported => Vec::new(),
            listed => listed?,
        };
        let indexes = listed.into_iter().map(convert::index);
        Ok(indexes
            .map(|(index, progress)| SeenPart {
                part: Part::Index(index),
                progress,
            })
            .collect())
    }

    async fn statistics(&self, id: &TableId, columns: &[String]) -> Result<Vec<SeenPart>, Fault> {
        const CALL: &str = "GetColumnStatisticsForTable";
        let mut all = Vec::new();
        for names in columns.chunks(COLUMNS) {
            let call = self.glue.get_column_statistics_for_table();
            let call = call.database_name(id.database.as_str());
            let call = call.table_name(id.table.as_str());
            let answer = call.set_column_names(Some(names.to_vec())).send().await;
            let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
            for error in answer.errors.unwrap_or_default() {
                let found = self.detailed(CALL, error.error);
                // A column without statistics is told as an error, too.
                if found.kind != FaultKind::Absent {
                    return Err(found);
                }
            }
            all.extend(answer.column_statistics_list.unwrap_or_default());
        }
        let statistics = all.into_iter().map(convert::statistics);
        Ok(statistics
            .map(|one| SeenPart {
                part: Part::Statistics(Box::new(one)),
                progress: Progress::There,
            })
            .collect())
    }

    async fn tags(&self, subject: &Subject) -> Result<Vec<SeenPart>, Fault> {
        let call = self.glue.get_tags().resource_arn(self.arn(subject));
        let answer = call.send().await;
        let answer = answer.map_err(|e| fault::of("GetTags", &self.region, &e));
        let answer = match (answer, subject) {
            // Where Glue has no tags for tables, it says so.
            (Err(fault), Subject::Table(_)) if fault.kind == FaultKind::Invalid => {
                return Ok(Vec::new());
            }
            (answer, _) => answer?,
        };
        let tags = answer.tags.unwrap_or_default().into_iter();
        // Those that AWS sets cannot be set by others.
        let theirs = tags.filter(|(key, _)| !key.starts_with("aws:"));
        Ok(theirs
            .map(|(key, value)| SeenPart {
                part: Part::Tag { key, value },
                progress: Progress::There,
            })
            .collect())
    }

    /// The ARN of a database or a table here.
    fn arn(&self, subject: &Subject) -> String {
        let partition = match self.region.split('-').next() {
            Some("cn") => "aws-cn",
            Some("us") if self.region.starts_with("us-gov-") => "aws-us-gov",
            Some(_) | None => "aws",
        };
        let path = match subject {
            Subject::Catalog | Subject::Lake(_) => "catalog".to_owned(),
            Subject::Database(name) => format!("database/{name}"),
            Subject::Table(id) => format!("table/{}/{}", id.database, id.table),
            Subject::Function(id) => {
                format!("userDefinedFunction/{}/{}", id.database, id.function)
            }
        };
        format!(
            "arn:{partition}:glue:{}:{}:{path}",
            self.region, self.account
        )
    }

    pub(super) async fn put_some(
        &self,
        subject: &Subject,
        parts: &[&Part],
    ) -> Result<EntryResults, Fault> {
        if parts.iter().any(|part| is_of_lake(&part.key())) {
            return self.put_of_lake(subject, parts).await;
        }
        let mut indexes = Vec::new();
        let mut statistics = Vec::new();
        let mut tags = Vec::new();
        for part in parts {
            match part {
                Part::Index(index) => indexes.push(index),
                Part::Statistics(one) => statistics.push(one.as_ref()),
                Part::Tag { key, value } => {
                    tags.push((key.clone(), value.clone()));
                }
                Part::Filter(_)
                | Part::Assigned { .. }
                | Part::OptIn(_)
                | Part::TagValue { .. }
                | Part::Expression(_)
                | Part::Registration(_) => {}
            }
        }
        if let Subject::Table(id) = subject {
            if !statistics.is_empty() {
                return self.put_statistics(id, &statistics).await;
            }
            let mut results = EntryResults::new();
            for index in indexes {
                results.push(self.create_index(id, index).await);
            }
            if !results.is_empty() {
                return Ok(results);
            }
        }
        let call = self.glue.tag_resource().resource_arn(self.arn(subject));
        let answer = call
            .set_tags_to_add(Some(tags.into_iter().collect()))
            .send()
            .await;
        answer.map_err(|e| fault::of("TagResource", &self.region, &e))?;
        Ok(vec![Ok(()); parts.len()])
    }

    async fn create_index(&self, id: &TableId, index: &PartitionIndex) -> Result<(), Fault> {
        const CALL: &str = "CreatePartitionIndex";
        let index = convert::index_back(index);
        let index = index.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.create_partition_index();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).partition_index(index);
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of(CALL, &self.region, &e))
    }

    async fn put_statistics(
        &self,
        id: &TableId,
        statistics: &[&twinlake_core::catalog::ColumnStatistics],
    ) -> Result<EntryResults, Fault> {
        const CALL: &str = "UpdateColumnStatisticsForTable";
        let built = statistics.iter().map(|one| convert::statistics_back(one));
        let built: Result<Vec<glue::ColumnStatistics>, _> = built.collect();
        let built = built.map_err(|e| fault::unbuildable(CALL, &self.region, &e))?;
        let call = self.glue.update_column_statistics_for_table();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str());
        let answer = call.set_column_statistics_list(Some(built)).send().await;
        let answer = answer.map_err(|e| fault::of(CALL, &self.region, &e))?;
        let mut results: EntryResults = vec![Ok(()); statistics.len()];
        for error in answer.errors.unwrap_or_default() {
            let named = error.column_statistics.map(|one| one.column_name);
            let found = Err(self.detailed(CALL, error.error));
            let at = statistics
                .iter()
                .position(|one| Some(&one.column_name) == named.as_ref());
            match at.and_then(|at| results.get_mut(at)) {
                Some(result) => *result = found,
                // A failure that names no entry may be any of them.
                None => results.fill(found),
            }
        }
        Ok(results)
    }

    pub(super) async fn remove_some(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault> {
        if keys.iter().any(|key| is_of_lake(key)) {
            return self.remove_of_lake(subject, keys).await;
        }
        let mut tags = Vec::new();
        let mut results = EntryResults::new();
        for key in keys {
            match (subject, key) {
                (Subject::Table(id), PartKey::Index(name)) => {
                    results.push(self.delete_index(id, name).await);
                }
                (Subject::Table(id), PartKey::Statistics(column)) => {
                    results.push(self.delete_statistics(id, column).await);
                }
                (_, PartKey::Tag(key)) => tags.push(key.clone()),
                (
                    _,
                    PartKey::Index(_)
                    | PartKey::Statistics(_)
                    | PartKey::Filter(_)
                    | PartKey::Assigned { .. }
                    | PartKey::OptIn(_)
                    | PartKey::TagValue { .. }
                    | PartKey::Expression(_)
                    | PartKey::Registration(_),
                ) => results.push(Ok(())),
            }
        }
        if tags.is_empty() {
            return Ok(results);
        }
        let call = self.glue.untag_resource().resource_arn(self.arn(subject));
        let answer = call.set_tags_to_remove(Some(tags)).send().await;
        answer.map_err(|e| fault::of("UntagResource", &self.region, &e))?;
        Ok(vec![Ok(()); keys.len()])
    }

    async fn delete_index(&self, id: &TableId, name: &str) -> Result<(), Fault> {
        let call = self.glue.delete_partition_index();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).index_name(name);
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeletePartitionIndex", &self.region, &e))
    }

    async fn delete_statistics(&self, id: &TableId, column: &str) -> Result<(), Fault> {
        let call = self.glue.delete_column_statistics_for_table();
        let call = call.database_name(id.database.as_str());
        let call = call.table_name(id.table.as_str()).column_name(column);
        let answer = call.send().await;
        answer
            .map(drop)
            .map_err(|e| fault::of("DeleteColumnStatisticsForTable", &self.region, &e))
    }

    /// What an entry of an answer says of its failure.
    fn detailed(&self, call: &str, detail: Option<glue::ErrorDetail>) -> Fault {
        let (code, message) = match detail {
            Some(detail) => (
                detail.error_code.unwrap_or_default(),
                detail.error_message.unwrap_or_default(),
            ),
            None => (String::new(), "an error without a reason".to_owned()),
        };
        fault::of_code(call, &self.region, &code, &message)
    }
}
