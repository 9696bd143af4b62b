//! Operations on LF-Tags, their assignments and named expressions, and search by LF-Tags.

use super::ApiResult;
use super::wire::{expression_json, parse_expression, parse_resource};
use crate::answer_style::UnusualAnswer;
use crate::api::{array_field, page, required_text};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{LfTagAssignments, SimState, StoredResource};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::NamedLfTagExpression;
use twinlake_core::grant::{LfTagExpression, LfTagPolicy, LfTagPolicyTarget, ListedResource};
use twinlake_core::snapshot::{LfTaggedResource, LfTags};
use twinlake_core::{Name, Subject, TableId};

/// The maximum number of values of a tag in one call (LF-25).
const MAX_TAG_VALUES: usize = 50;

fn tag_values(request: &Value, key: &str) -> Result<BTreeSet<String>, ApiError> {
    let listed = array_field(request, key);
    if listed.len() > MAX_TAG_VALUES {
        return Err(ApiError::invalid(format!(
            "at most {MAX_TAG_VALUES} values"
        )));
    }
    let texts = listed.iter().filter_map(Value::as_str);
    Ok(texts.map(str::to_lowercase).collect())
}

/// Parses the resource of an assignment: the database or table, and its columns (`None` for the
/// resource itself).
fn assignment_target(request: &Value) -> Result<(Subject, Vec<Option<Name>>), ApiError> {
    let resource = parse_resource(request.get("Resource").unwrap_or(&Value::Null))?;
    match resource {
        ListedResource::Database(name) => Ok((Subject::Database(name), vec![None])),
        ListedResource::Table(id) => Ok((Subject::Table(id), vec![None])),
        ListedResource::Columns(id, names) => {
            Ok((Subject::Table(id), names.into_iter().map(Some).collect()))
        }
        ListedResource::TableWildcard(_)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::DataLocation(_)
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_)
        | ListedResource::Other(_) => Err(ApiError::invalid(
            "LF-Tags are assigned to databases, tables and columns only",
        )),
    }
}

impl SimState {
    pub(super) fn create_tag(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let key = required_text(request, "TagKey")?.to_lowercase();
        let values = tag_values(request, "TagValues")?;
        let duplicate = self.duplicate_error("Tag key");
        let region = self.region_mut(caller.region)?;
        if region.lf_tags.contains_key(&key) {
            return Err(duplicate);
        }
        region.lf_tags.insert(key, values);
        Ok(json!({}))
    }

    /// The error of a creation whose name is taken (F-1).
    fn duplicate_error(&self, what: &str) -> ApiError {
        match self.has(Quirk::DuplicateLfTagIsInvalidInput) {
            true => ApiError::invalid(format!("{what} is in use")),
            false => ApiError::already_exists(what),
        }
    }

    pub(super) fn get_tag(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let key = required_text(request, "TagKey")?.to_lowercase();
        let values = self.region(caller.region)?.lf_tags.get(&key);
        let values = values.filter(|_| !self.sees_empty_catalog(caller.region, caller.principal));
        let values = values.ok_or_else(ApiError::not_found)?;
        if self.answers(caller.region, UnusualAnswer::OmitsLfTagValues) {
            return Ok(json!({"TagKey": key}));
        }
        Ok(json!({"TagKey": key, "TagValues": values}))
    }

    /// Adds and deletes values (LF-25). An assigned value cannot be deleted.
    pub(super) fn update_tag(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let key = required_text(request, "TagKey")?.to_lowercase();
        let (add, drop) = (
            tag_values(request, "TagValuesToAdd")?,
            tag_values(request, "TagValuesToDelete")?,
        );
        self.check_values_unassigned(caller, &key, &drop)?;
        if !drop.is_empty() && self.answers(caller.region, UnusualAnswer::OmitsLfTagValues) {
            return Err(ApiError::invalid("The values cannot be deleted."));
        }
        let known = self.region_mut(caller.region)?.lf_tags.get_mut(&key);
        let known = known.ok_or_else(ApiError::not_found)?;
        known.retain(|value| !drop.contains(value));
        known.extend(add);
        // A tag without values does not exist.
        if known.is_empty() {
            self.region_mut(caller.region)?.lf_tags.remove(&key);
        }
        self.remove_grants_on_values(caller, &key, &drop);
        Ok(json!({}))
    }

    pub(super) fn delete_tag(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let key = required_text(request, "TagKey")?.to_lowercase();
        let all = self.region(caller.region)?.lf_tags.get(&key).cloned();
        let all = all.ok_or_else(ApiError::not_found)?;
        self.check_values_unassigned(caller, &key, &all)?;
        self.region_mut(caller.region)?.lf_tags.remove(&key);
        self.remove_grants_on_values(caller, &key, &all);
        Ok(json!({}))
    }

    /// Removes the grants on deleted values, unless the quirk keeps them.
    fn remove_grants_on_values(
        &mut self,
        caller: Caller<'_>,
        key: &str,
        values: &BTreeSet<String>,
    ) {
        self.remove_grants_of_deleted(caller, |resource| {
            if let StoredResource::LfTag(of, value) = resource {
                return of == key && values.contains(value);
            }
            let StoredResource::LfTagPolicy(_, LfTagPolicy::Expression(expression)) = resource
            else {
                return false;
            };
            let named = expression.get(key);
            named.is_some_and(|named| !named.is_disjoint(values))
        });
    }

    /// Removes the grants on deleted resources, unless the quirk keeps them.
    pub(super) fn remove_grants_of_deleted(
        &mut self,
        caller: Caller<'_>,
        matches: impl Fn(&StoredResource) -> bool,
    ) {
        if self.has(Quirk::GrantsRemainAfterTableDeletion) {
            return;
        }
        if let Ok(region) = self.region_mut(caller.region) {
            region.grants.retain(|grant, _| !matches(&grant.resource));
        }
    }

    fn check_values_unassigned(
        &self,
        caller: Caller<'_>,
        key: &str,
        values: &BTreeSet<String>,
    ) -> Result<(), ApiError> {
        let assigned = self.region(caller.region)?.lf_tag_assignments.values();
        let mut all = assigned.flatten();
        match all.any(|((_, k), value)| k == key && values.contains(value)) {
            true => Err(ApiError::invalid("Tag values are attached to resources.")),
            false => Ok(()),
        }
    }

    pub(super) fn list_tags(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let none = BTreeMap::new();
        let tags = match self.sees_empty_catalog(caller.region, caller.principal) {
            true => &none,
            false => &self.region(caller.region)?.lf_tags,
        };
        let all: Vec<(&String, &BTreeSet<String>)> = tags.iter().collect();
        Ok(page(
            request,
            "LFTags",
            1000,
            &all,
            |(key, values)| json!({"TagKey": key, "TagValues": values}),
        ))
    }

    pub(super) fn change_lf_tags(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
        is_add: bool,
    ) -> ApiResult {
        let (subject, columns) = assignment_target(request)?;
        self.check_subject_exists(caller, &subject)?;
        let mut failures = Vec::new();
        for tag in array_field(request, "LFTags") {
            let key = required_text(tag, "TagKey")?.to_lowercase();
            let wanted = tag_values(tag, "TagValues")?;
            let region = self.region_mut(caller.region)?;
            let known = region.lf_tags.get(&key);
            let value = wanted.first().cloned().unwrap_or_default();
            let own_assignments = region
                .lf_tag_assignments
                .entry(subject.clone())
                .or_default();
            let is_known_value = known.is_some_and(|known| known.contains(&value));
            if is_add && !is_known_value {
                let error = ApiError::not_found();
                let detail = json!({"ErrorCode": error.code, "ErrorMessage": error.message});
                failures.push(json!({"LFTag": tag, "Error": detail}));
                continue;
            }
            for column in &columns {
                match is_add {
                    true => own_assignments.insert((column.clone(), key.clone()), value.clone()),
                    false => own_assignments.remove(&(column.clone(), key.clone())),
                };
            }
        }
        Ok(json!({"Failures": failures}))
    }

    pub(super) fn check_subject_exists(
        &self,
        caller: Caller<'_>,
        subject: &Subject,
    ) -> Result<(), ApiError> {
        let region = self.region(caller.region)?;
        let exists = match subject {
            Subject::Database(name) => region.databases.contains_key(name),
            Subject::Table(id) => region.tables.contains_key(id),
            Subject::Catalog | Subject::LakeFormation(_) | Subject::Function(_) => true,
        };
        exists.then_some(()).ok_or_else(ApiError::not_found)
    }

    /// Runs `GetResourceLFTags`. With `ShowAssignedLFTags` it returns only assigned tags, otherwise
    /// also inherited ones (LF-25).
    pub(super) fn resource_tags(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let (subject, _) = assignment_target(request)?;
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Err(ApiError::not_found());
        }
        self.check_subject_exists(caller, &subject)?;
        let only_assigned =
            request.get("ShowAssignedLFTags").and_then(Value::as_bool) == Some(true);
        let pairs = |tags: &LfTags| -> Value {
            let all = tags.iter();
            all.map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
                .collect()
        };
        let region = self.region(caller.region)?;
        let none = LfTagAssignments::new();
        let assignments_of =
            |subject: &Subject| region.lf_tag_assignments.get(subject).unwrap_or(&none);
        let own_assignments = assignments_of(&subject);
        let Subject::Table(id) = &subject else {
            return Ok(json!({"LFTagOnDatabase": pairs(&tags_of(own_assignments, None))}));
        };
        let mut on_table = tags_of(own_assignments, None);
        let on_database = tags_of(
            assignments_of(&Subject::Database(id.database.clone())),
            None,
        );
        if !only_assigned {
            let mut all = on_database.clone();
            all.extend(on_table);
            on_table = all;
        }
        let mut columns: Vec<Value> = Vec::new();
        let named: BTreeSet<&Name> = own_assignments
            .keys()
            .filter_map(|(column, _)| column.as_ref())
            .collect();
        for column in named {
            let tags = tags_of(own_assignments, Some(column));
            columns.push(json!({"Name": column.as_listed(), "LFTags": pairs(&tags)}));
        }
        let on_database = match only_assigned {
            true => json!([]),
            false => pairs(&on_database),
        };
        Ok(json!({
            "LFTagOnDatabase": on_database, "LFTagsOnTable": pairs(&on_table),
            "LFTagsOnColumns": columns,
        }))
    }

    pub(super) fn put_expression(
        &mut self,
        caller: Caller<'_>,
        request: &Value,
        is_create: bool,
    ) -> ApiResult {
        let name = required_text(request, "Name")?.to_owned();
        let description = request.get("Description").and_then(Value::as_str);
        let saved = NamedLfTagExpression {
            name: name.clone(),
            description: description.map(str::to_owned),
            expression: parse_expression(request),
        };
        let duplicate = self.duplicate_error("Expression");
        let region = self.region_mut(caller.region)?;
        match (is_create, region.lf_tag_expressions.contains_key(&name)) {
            (true, true) => return Err(duplicate),
            (false, false) => return Err(ApiError::not_found()),
            (true, false) | (false, true) => {}
        }
        let known = saved
            .expression
            .keys()
            .all(|key| region.lf_tags.contains_key(key));
        if !known {
            return Err(ApiError::not_found());
        }
        region.lf_tag_expressions.insert(name, saved);
        Ok(json!({}))
    }

    pub(super) fn delete_expression(&mut self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let name = required_text(request, "Name")?;
        let removed = self
            .region_mut(caller.region)?
            .lf_tag_expressions
            .remove(name);
        removed.ok_or_else(ApiError::not_found)?;
        let by_name = StoredResource::LfTagExpression(name.to_owned());
        self.remove_grants_of_deleted(caller, |resource| {
            let policy = matches!(
                resource,
                StoredResource::LfTagPolicy(_, LfTagPolicy::NamedExpression(of)) if of == name
            );
            policy || *resource == by_name
        });
        Ok(json!({}))
    }

    pub(super) fn list_expressions(&self, caller: Caller<'_>, request: &Value) -> ApiResult {
        let all: Vec<&NamedLfTagExpression> =
            match self.sees_empty_catalog(caller.region, caller.principal) {
                true => Vec::new(),
                false => self
                    .region(caller.region)?
                    .lf_tag_expressions
                    .values()
                    .collect(),
            };
        Ok(page(request, "LFTagExpressions", 1000, &all, |saved| {
            json!({
                "Name": saved.name, "Description": saved.description,
                "Expression": expression_json(&saved.expression),
            })
        }))
    }

    /// Returns the databases or tables whose LF-Tags match an expression.
    pub(crate) fn search_tags(
        &self,
        caller: Caller<'_>,
        target: LfTagPolicyTarget,
        expression: &LfTagExpression,
    ) -> Result<Vec<LfTaggedResource>, ApiError> {
        if self.sees_empty_catalog(caller.region, caller.principal) {
            return Ok(Vec::new());
        }
        let region = self.region(caller.region)?;
        // What AWS answers where only a value is missing is not documented: this answer is the one that hides resources.
        let exists = |(key, values): (&String, &BTreeSet<String>)| {
            let known = region.lf_tags.get(key);
            known.is_some_and(|known| values.iter().all(|value| known.contains(value)))
        };
        if !expression.iter().all(exists) {
            return Err(ApiError::not_found());
        }
        let none = LfTagAssignments::new();
        let assignments_of =
            |subject: Subject| region.lf_tag_assignments.get(&subject).unwrap_or(&none);
        let matches_expression = |tags: &LfTags| {
            expression
                .iter()
                .all(|(key, values)| tags.get(key).is_some_and(|value| values.contains(value)))
        };
        let mut found = Vec::new();
        match target {
            LfTagPolicyTarget::Database => {
                for name in region.databases.keys() {
                    let tags = tags_of(assignments_of(Subject::Database(name.clone())), None);
                    if matches_expression(&tags) {
                        found.push(LfTaggedResource {
                            database: name.to_string(),
                            on_database: tags,
                            ..LfTaggedResource::default()
                        });
                    }
                }
            }
            LfTagPolicyTarget::Table => {
                for id in region.tables.keys() {
                    let mut one = lf_tagged_table(
                        id,
                        assignments_of(Subject::Database(id.database.clone())),
                        assignments_of(Subject::Table(id.clone())),
                    );
                    let mut inherited = one.on_database.clone();
                    inherited.extend(one.on_table.clone());
                    let in_column = one.on_columns.values().any(|own_tags| {
                        let mut all = inherited.clone();
                        all.extend(own_tags.clone());
                        matches_expression(&all)
                    });
                    if matches_expression(&inherited) || in_column {
                        // What is assigned and what is inherited are not told apart (F-28).
                        one.on_table = inherited;
                        found.push(one);
                    }
                }
            }
        }
        Ok(found)
    }

    pub(super) fn search_call(
        &self,
        caller: Caller<'_>,
        request: &Value,
        target: LfTagPolicyTarget,
    ) -> ApiResult {
        let found = self.search_tags(caller, target, &parse_expression(request))?;
        let pairs = |tags: &LfTags| -> Value {
            let all = tags.iter();
            all.map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
                .collect()
        };
        let key = match target {
            LfTagPolicyTarget::Database => "DatabaseList",
            LfTagPolicyTarget::Table => "TableList",
        };
        Ok(page(request, key, 100, &found, |one| {
            let on_database = pairs(&one.on_database);
            let Some(table) = &one.table else {
                return json!({"Database": {"Name": one.database}, "LFTags": on_database});
            };
            let columns: Vec<Value> = one
                .on_columns
                .iter()
                .map(|(name, tags)| json!({"Name": name, "LFTags": pairs(tags)}))
                .collect();
            json!({
                "Table": {"DatabaseName": one.database, "Name": table},
                "LFTagOnDatabase": on_database, "LFTagsOnTable": pairs(&one.on_table),
                "LFTagsOnColumns": columns,
            })
        }))
    }
}

fn tags_of(all: &LfTagAssignments, column: Option<&Name>) -> LfTags {
    let own_assignments = all.iter().filter(|((of, _), _)| of.as_ref() == column);
    own_assignments
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

fn lf_tagged_table(
    id: &TableId,
    database: &LfTagAssignments,
    table: &LfTagAssignments,
) -> LfTaggedResource {
    let mut on_columns: BTreeMap<String, LfTags> = BTreeMap::new();
    for (column, _) in table.keys() {
        if let Some(column) = column {
            on_columns.insert(column.to_string(), tags_of(table, Some(column)));
        }
    }
    LfTaggedResource {
        database: id.database.to_string(),
        table: Some(id.table.to_string()),
        on_database: tags_of(database, None),
        on_table: tags_of(table, None),
        on_columns,
    }
}
