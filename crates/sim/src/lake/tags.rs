//! LF-Tags, where they are assigned, and what they lead to.

use super::Answer;
use super::shapes::{expression_json, parse_expression, parse_resource};
use crate::api::{Caller, items, page, text};
use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::{Assigned, StoredResource, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::SavedExpression;
use twinlake_core::grant::{EntryResource, TagExpression, TagRule, TagTarget};
use twinlake_core::reading::{TagSet, Tagged};
use twinlake_core::{Name, Subject, TableId};

/// Values of a tag that one call takes (LF-25).
const MOST_VALUES: usize = 50;

fn values(r: &Value, key: &str) -> Result<BTreeSet<String>, ApiError> {
    let listed = items(r, key);
    if listed.len() > MOST_VALUES {
        return Err(ApiError::invalid(format!("at most {MOST_VALUES} values")));
    }
    let texts = listed.iter().filter_map(Value::as_str);
    Ok(texts.map(str::to_lowercase).collect())
}

/// The resource of an assignment: its owner, and the columns, or itself.
fn owner(r: &Value) -> Result<(Subject, Vec<Option<Name>>), ApiError> {
    let resource = parse_resource(r.get("Resource").unwrap_or(&Value::Null))?;
    match resource {
        EntryResource::Database(name) => Ok((Subject::Database(name), vec![None])),
        EntryResource::Table(id) => Ok((Subject::Table(id), vec![None])),
        EntryResource::Columns(id, names) => {
            Ok((Subject::Table(id), names.into_iter().map(Some).collect()))
        }
        EntryResource::TableWildcard(_)
        | EntryResource::ColumnWildcard(..)
        | EntryResource::Filter(..)
        | EntryResource::Catalog
        | EntryResource::Location(_)
        | EntryResource::Tag(..)
        | EntryResource::TagPolicy(..)
        | EntryResource::Expression(_)
        | EntryResource::Other(_) => Err(ApiError::invalid(
            "LF-Tags go to databases, tables and columns",
        )),
    }
}

impl World {
    pub(super) fn create_tag(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let key = text(r, "TagKey")?.to_lowercase();
        let values = values(r, "TagValues")?;
        let region = self.region_mut(c.region)?;
        if region.tags.contains_key(&key) {
            return Err(ApiError::already_exists("Tag key"));
        }
        region.tags.insert(key, values);
        Ok(json!({}))
    }

    pub(super) fn get_tag(&self, c: Caller<'_>, r: &Value) -> Answer {
        let key = text(r, "TagKey")?.to_lowercase();
        let values = self.region(c.region)?.tags.get(&key);
        let values = values.ok_or_else(ApiError::not_found)?;
        Ok(json!({"TagKey": key, "TagValues": values}))
    }

    /// Takes deltas (LF-25); a value that is assigned stays.
    pub(super) fn update_tag(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let key = text(r, "TagKey")?.to_lowercase();
        let (add, drop) = (
            values(r, "TagValuesToAdd")?,
            values(r, "TagValuesToDelete")?,
        );
        self.must_be_free(c, &key, &drop)?;
        let known = self.region_mut(c.region)?.tags.get_mut(&key);
        let known = known.ok_or_else(ApiError::not_found)?;
        known.retain(|value| !drop.contains(value));
        known.extend(add);
        // A tag without values is none.
        if known.is_empty() {
            self.region_mut(c.region)?.tags.remove(&key);
        }
        self.forget_values(c, &key, &drop);
        Ok(json!({}))
    }

    pub(super) fn delete_tag(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let key = text(r, "TagKey")?.to_lowercase();
        let all = self.region(c.region)?.tags.get(&key).cloned();
        let all = all.ok_or_else(ApiError::not_found)?;
        self.must_be_free(c, &key, &all)?;
        self.region_mut(c.region)?.tags.remove(&key);
        self.forget_values(c, &key, &all);
        Ok(json!({}))
    }

    /// What is granted on values that are gone goes with them, unless it outlives them.
    fn forget_values(&mut self, c: Caller<'_>, key: &str, values: &BTreeSet<String>) {
        self.forget(c, |resource| {
            if let StoredResource::Tag(of, value) = resource {
                return of == key && values.contains(value);
            }
            let StoredResource::TagPolicy(_, TagRule::Inline(rule)) = resource else {
                return false;
            };
            let named = rule.get(key);
            named.is_some_and(|named| !named.is_disjoint(values))
        });
    }

    pub(super) fn forget(&mut self, c: Caller<'_>, goes: impl Fn(&StoredResource) -> bool) {
        if self.has(Quirk::GrantsOutliveTables) {
            return;
        }
        if let Ok(region) = self.region_mut(c.region) {
            region.grants.retain(|grant, _| !goes(&grant.resource));
        }
    }

    fn must_be_free(
        &self,
        c: Caller<'_>,
        key: &str,
        values: &BTreeSet<String>,
    ) -> Result<(), ApiError> {
        let assigned = self.region(c.region)?.assigned.values();
        let mut all = assigned.flatten();
        match all.any(|((_, k), value)| k == key && values.contains(value)) {
            true => Err(ApiError::invalid("Tag values are attached to resources.")),
            false => Ok(()),
        }
    }

    pub(super) fn list_tags(&self, c: Caller<'_>, r: &Value) -> Answer {
        let none = BTreeMap::new();
        let tags = match self.is_blind(c.region, c.principal) {
            true => &none,
            false => &self.region(c.region)?.tags,
        };
        let all: Vec<(&String, &BTreeSet<String>)> = tags.iter().collect();
        Ok(page(
            r,
            "LFTags",
            1000,
            &all,
            |(key, values)| json!({"TagKey": key, "TagValues": values}),
        ))
    }

    pub(super) fn assign(&mut self, c: Caller<'_>, r: &Value, adds: bool) -> Answer {
        let (subject, places) = owner(r)?;
        self.must_be_there(c, &subject)?;
        let mut failures = Vec::new();
        for tag in items(r, "LFTags") {
            let key = text(tag, "TagKey")?.to_lowercase();
            let wanted = values(tag, "TagValues")?;
            let region = self.region_mut(c.region)?;
            let known = region.tags.get(&key);
            let value = wanted.first().cloned().unwrap_or_default();
            let own = region.assigned.entry(subject.clone()).or_default();
            let fits = known.is_some_and(|known| known.contains(&value));
            if adds && !fits {
                let error = ApiError::not_found();
                let detail = json!({"ErrorCode": error.code, "ErrorMessage": error.message});
                failures.push(json!({"LFTag": tag, "Error": detail}));
                continue;
            }
            for place in &places {
                match adds {
                    true => own.insert((place.clone(), key.clone()), value.clone()),
                    false => own.remove(&(place.clone(), key.clone())),
                };
            }
        }
        Ok(json!({"Failures": failures}))
    }

    pub(super) fn must_be_there(&self, c: Caller<'_>, subject: &Subject) -> Result<(), ApiError> {
        let region = self.region(c.region)?;
        let there = match subject {
            Subject::Database(name) => region.databases.contains_key(name),
            Subject::Table(id) => region.tables.contains_key(id),
            Subject::Catalog | Subject::Lake(_) | Subject::Function(_) => true,
        };
        there.then_some(()).ok_or_else(ApiError::not_found)
    }

    /// `GetResourceLFTags`: with `ShowAssignedLFTags` only what was assigned, else with
    /// what is inherited (LF-25).
    pub(super) fn resource_tags(&self, c: Caller<'_>, r: &Value) -> Answer {
        let (subject, _) = owner(r)?;
        if self.is_blind(c.region, c.principal) {
            return Err(ApiError::not_found());
        }
        self.must_be_there(c, &subject)?;
        let assigned = r.get("ShowAssignedLFTags").and_then(Value::as_bool) == Some(true);
        let pairs = |tags: &TagSet| -> Value {
            let all = tags.iter();
            all.map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
                .collect()
        };
        let region = self.region(c.region)?;
        let none = Assigned::new();
        let of = |subject: &Subject| region.assigned.get(subject).unwrap_or(&none);
        let own = of(&subject);
        let Subject::Table(id) = &subject else {
            return Ok(json!({"LFTagOnDatabase": pairs(&tags_of(own, None))}));
        };
        let mut on_table = tags_of(own, None);
        let on_database = tags_of(of(&Subject::Database(id.database.clone())), None);
        if !assigned {
            let mut all = on_database.clone();
            all.extend(on_table);
            on_table = all;
        }
        let mut columns: Vec<Value> = Vec::new();
        let named: BTreeSet<&Name> = own
            .keys()
            .filter_map(|(column, _)| column.as_ref())
            .collect();
        for column in named {
            let tags = tags_of(own, Some(column));
            columns.push(json!({"Name": column.as_str(), "LFTags": pairs(&tags)}));
        }
        let on_database = match assigned {
            true => json!([]),
            false => pairs(&on_database),
        };
        Ok(json!({
            "LFTagOnDatabase": on_database, "LFTagsOnTable": pairs(&on_table),
            "LFTagsOnColumns": columns,
        }))
    }

    pub(super) fn put_expression(&mut self, c: Caller<'_>, r: &Value, creates: bool) -> Answer {
        let name = text(r, "Name")?.to_owned();
        let description = r.get("Description").and_then(Value::as_str);
        let saved = SavedExpression {
            name: name.clone(),
            description: description.map(str::to_owned),
            expression: parse_expression(r),
        };
        let region = self.region_mut(c.region)?;
        match (creates, region.expressions.contains_key(&name)) {
            (true, true) => return Err(ApiError::already_exists("Expression")),
            (false, false) => return Err(ApiError::not_found()),
            (true, false) | (false, true) => {}
        }
        let known = saved
            .expression
            .keys()
            .all(|key| region.tags.contains_key(key));
        if !known {
            return Err(ApiError::not_found());
        }
        region.expressions.insert(name, saved);
        Ok(json!({}))
    }

    pub(super) fn delete_expression(&mut self, c: Caller<'_>, r: &Value) -> Answer {
        let name = text(r, "Name")?;
        let gone = self.region_mut(c.region)?.expressions.remove(name);
        gone.ok_or_else(ApiError::not_found)?;
        let by_name = StoredResource::Expression(name.to_owned());
        self.forget(c, |resource| {
            let policy = matches!(
                resource,
                StoredResource::TagPolicy(_, TagRule::Saved(of)) if of == name
            );
            policy || *resource == by_name
        });
        Ok(json!({}))
    }

    pub(super) fn list_expressions(&self, c: Caller<'_>, r: &Value) -> Answer {
        let all: Vec<&SavedExpression> = match self.is_blind(c.region, c.principal) {
            true => Vec::new(),
            false => self.region(c.region)?.expressions.values().collect(),
        };
        Ok(page(r, "LFTagExpressions", 1000, &all, |saved| {
            json!({
                "Name": saved.name, "Description": saved.description,
                "Expression": expression_json(&saved.expression),
            })
        }))
    }

    /// What carries LF-Tags that satisfy an expression.
    pub(crate) fn search_tags(
        &self,
        c: Caller<'_>,
        target: TagTarget,
        expression: &TagExpression,
    ) -> Result<Vec<Tagged>, ApiError> {
        if self.is_blind(c.region, c.principal) {
            return Ok(Vec::new());
        }
        let region = self.region(c.region)?;
        if !expression.keys().all(|key| region.tags.contains_key(key)) {
            return Err(ApiError::not_found());
        }
        let none = Assigned::new();
        let of = |subject: Subject| region.assigned.get(&subject).unwrap_or(&none);
        let fits = |tags: &TagSet| {
            expression
                .iter()
                .all(|(key, values)| tags.get(key).is_some_and(|value| values.contains(value)))
        };
        let mut found = Vec::new();
        match target {
            TagTarget::Database => {
                for name in region.databases.keys() {
                    let tags = tags_of(of(Subject::Database(name.clone())), None);
                    if fits(&tags) {
                        found.push(Tagged {
                            database: name.to_string(),
                            on_database: tags,
                            ..Tagged::default()
                        });
                    }
                }
            }
            TagTarget::Table => {
                for id in region.tables.keys() {
                    let one = tagged(
                        id,
                        of(Subject::Database(id.database.clone())),
                        of(Subject::Table(id.clone())),
                    );
                    let mut around = one.on_database.clone();
                    around.extend(one.on_table.clone());
                    let in_column = one.on_columns.values().any(|own| {
                        let mut all = around.clone();
                        all.extend(own.clone());
                        fits(&all)
                    });
                    if fits(&around) || in_column {
                        found.push(one);
                    }
                }
            }
        }
        Ok(found)
    }

    pub(super) fn search_call(&self, c: Caller<'_>, r: &Value, target: TagTarget) -> Answer {
        let found = self.search_tags(c, target, &parse_expression(r))?;
        let pairs = |tags: &TagSet| -> Value {
            let all = tags.iter();
            all.map(|(key, value)| json!({"TagKey": key, "TagValues": [value]}))
                .collect()
        };
        let key = match target {
            TagTarget::Database => "DatabaseList",
            TagTarget::Table => "TableList",
        };
        Ok(page(r, key, 100, &found, |one| {
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

fn tags_of(all: &Assigned, column: Option<&Name>) -> TagSet {
    let own = all.iter().filter(|((of, _), _)| of.as_ref() == column);
    own.map(|((_, key), value)| (key.clone(), value.clone()))
        .collect()
}

fn tagged(id: &TableId, database: &Assigned, table: &Assigned) -> Tagged {
    let mut on_columns: BTreeMap<String, TagSet> = BTreeMap::new();
    for (column, _) in table.keys() {
        if let Some(column) = column {
            on_columns.insert(column.to_string(), tags_of(table, Some(column)));
        }
    }
    Tagged {
        database: id.database.to_string(),
        table: Some(id.table.to_string()),
        on_database: tags_of(database, None),
        on_table: tags_of(table, None),
        on_columns,
    }
}
