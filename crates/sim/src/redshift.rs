//! The Redshift Data API of one Region, with warehouses in memory: the external schemas of a database, users, roles and
//! groups, and the grants of USAGE.
//!
//! As the service: a statement is submitted and described until it ended, its result is paged, an error of a statement
//! is a text, an owner is whoever creates a schema, and only a superuser sees all of them. A warehouse exists once
//! somebody addresses it.

mod fate;
mod sql;

pub use fate::{StatementFate, UnendedStatus};

use crate::error::ApiError;
use serde_json::{Value, json};
use sql::Word;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use twinlake_core::CallErrorKind;

/// Rows of a page, unless somebody sets another number.
const PAGE_ROWS: usize = 2;

/// An external schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimExternalSchema {
    /// The object id.
    pub id: u64,
    /// The kind: 1 is the Data Catalog.
    pub kind: u32,
    /// The database that it shows.
    pub database: String,
    /// The options, as JSON text.
    pub options: String,
    /// The owner; empty for a user that is not listed any more.
    pub owner: String,
    /// The grants of a privilege: its name, the type and name of the grantee, and whether it may grant it.
    pub grants: BTreeSet<(String, String, String, bool)>,
}

/// A database of a warehouse.
#[derive(Clone, Debug, Default)]
pub struct SimWarehouse {
    /// The external schemas.
    pub schemas: BTreeMap<String, SimExternalSchema>,
    /// The users, with those that are superusers.
    pub users: BTreeMap<String, bool>,
    /// The roles and groups.
    pub others: BTreeSet<String>,
    /// Databases of the Data Catalog that its roles cannot read.
    pub unreadable_databases: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Statement {
    /// The statuses that it has at the next descriptions; the last one stays.
    statuses: VecDeque<&'static str>,
    /// Whether it has each of them also for who waits for its end.
    is_slow: bool,
    /// Whether it can be cancelled before its end.
    is_cancellable: bool,
    error: Option<String>,
    rows: Vec<Value>,
}

/// The Redshift Data API of one Region.
#[derive(Clone, Debug, Default)]
pub struct SimRedshift {
    warehouses: BTreeMap<(String, String), SimWarehouse>,
    statements: BTreeMap<String, Statement>,
    tokens: BTreeMap<String, String>,
    next_id: u64,
    /// Fates of the next statements that contain a text.
    fates: VecDeque<(String, StatementFate)>,
    /// Schemas that somebody makes, in place of those of the same name, after a statement that contains a text.
    replacements: Vec<(String, String, SimExternalSchema)>,
    /// The statements that wrote something or tried to, in order.
    writes: Vec<String>,
    /// Statements that take effect later: cluster or workgroup, database, user and text.
    late: Vec<[String; 4]>,
    /// How many answers to the submission with a token are still to be lost.
    lost_answers: BTreeMap<String, usize>,
    /// Rows of a page of a result.
    page_rows: Option<usize>,
}

type Reply = Result<Value, ApiError>;

impl SimRedshift {
    /// Runs an operation. Returns `None` if there is no operation of this name.
    pub fn call(&mut self, operation: &str, request: &Value) -> Option<Reply> {
        Some(match operation {
            "ExecuteStatement" => self.execute(request),
            "DescribeStatement" => self.describe(request),
            "GetStatementResult" => self.result(request),
            "CancelStatement" => self.cancel(request),
            _ => return None,
        })
    }

    /// A database of a warehouse, to be looked at and changed, by the name of its cluster or workgroup.
    pub fn warehouse(&mut self, endpoint: &str, database: &str) -> &mut SimWarehouse {
        let key = (endpoint.to_owned(), database.to_owned());
        self.warehouses.entry(key).or_default()
    }

    /// Decides what becomes of the next statement that contains a text.
    pub fn decide(&mut self, containing: &str, fate: StatementFate) {
        self.fates.push_back((containing.to_owned(), fate));
    }

    /// Forgets the decisions about later statements.
    pub fn clear_fates(&mut self) {
        self.fates.clear();
    }

    /// Sets the number of rows of a page of a result.
    pub const fn set_page_rows(&mut self, rows: usize) {
        self.page_rows = Some(rows);
    }

    /// Lets the late statements take effect, as far as they still can.
    pub fn finish_late(&mut self) {
        for [endpoint, database, user, sql] in std::mem::take(&mut self.late) {
            self.next_id += 1;
            let id = self.next_id;
            // Nobody asks for the status of a late statement again.
            let _ = self.warehouse(&endpoint, &database).write(&user, &sql, id);
        }
    }

    /// Lets somebody drop a schema and make another one, right after the next statement that contains a text.
    pub fn replace_after(&mut self, containing: &str, name: &str, schema: SimExternalSchema) {
        let replacement = (containing.to_owned(), name.to_owned(), schema);
        self.replacements.push(replacement);
    }

    /// The statements that wrote something or tried to, since the last call of this function.
    pub fn take_writes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.writes)
    }

    fn execute(&mut self, request: &Value) -> Reply {
        let text = |key: &str| request.get(key).and_then(Value::as_str);
        let sql = text("Sql").ok_or_else(|| validation("Sql is required"))?;
        let database = text("Database").ok_or_else(|| validation("Database is required"))?;
        let endpoint = match (text("ClusterIdentifier"), text("WorkgroupName")) {
            (Some(cluster), None) => cluster,
            (None, Some(_)) if text("DbUser").is_some() => {
                return Err(validation("DbUser is for clusters"));
            }
            (None, Some(workgroup)) => workgroup,
            (None, None) | (Some(_), Some(_)) => {
                return Err(validation("either ClusterIdentifier or WorkgroupName"));
            }
        };
        let token = text("ClientToken");
        if let Some(id) = token.and_then(|token| self.tokens.get(token)).cloned() {
            return self.answer(token, json!({ "Id": id }));
        }
        let user = match (text("DbUser"), text("SecretArn")) {
            (Some(user), _) => user.to_owned(),
            // The name in a secret is the last part of the secret's.
            (None, Some(arn)) => arn.rsplit(':').next().unwrap_or_default().to_owned(),
            (None, None) => "IAMR:twinlake".to_owned(),
        };
        self.next_id += 1;
        let id = format!("statement-{}", self.next_id);
        let fate = self.fates.iter().position(|(part, _)| sql.contains(part));
        let fate = fate
            .and_then(|at| self.fates.remove(at))
            .map(|(_, fate)| fate);
        let parameters = request.get("Parameters").and_then(Value::as_array);
        let statement = self.run(
            (endpoint, database, &user),
            sql,
            (parameters, fate.as_ref()),
        );
        self.statements.insert(id.clone(), statement);
        if let Some(token) = token {
            self.tokens.insert(token.to_owned(), id.clone());
        }
        if let Some(StatementFate::AnswerLost { times }) = fate {
            let token = token.unwrap_or_default();
            self.lost_answers.insert(token.to_owned(), times);
        }
        self.answer(token, json!({"Id": id, "Database": database}))
    }

    /// The answer to a submission, unless it is lost.
    fn answer(&mut self, token: Option<&str>, answer: Value) -> Reply {
        let left = self.lost_answers.get_mut(token.unwrap_or_default());
        match left.filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Err(ApiError::new(
                    CallErrorKind::Unavailable,
                    "InternalServerException",
                    "the answer was lost",
                ))
            }
            None => Ok(answer),
        }
    }

    fn run(
        &mut self,
        (endpoint, database, user): (&str, &str, &str),
        sql: &str,
        (parameters, fate): (Option<&Vec<Value>>, Option<&StatementFate>),
    ) -> Statement {
        let is_read = sql.trim_start().to_lowercase().starts_with("select");
        if !is_read {
            self.writes.push(sql.to_owned());
        }
        let takes_effect = fate.is_none_or(StatementFate::takes_effect);
        if fate == Some(&StatementFate::Late) && !is_read {
            let late = [endpoint, database, user, sql].map(str::to_owned);
            self.late.push(late);
        }
        self.next_id += 1;
        let id = self.next_id;
        let mut replacements = self.replacements.iter();
        let replacement = replacements.position(|(part, _, _)| sql.contains(part));
        let replacement = replacement.map(|at| self.replacements.remove(at));
        let warehouse = self.warehouse(endpoint, database);
        // The users of Twinlake are superusers unless a test says otherwise.
        warehouse.users.entry(user.to_owned()).or_insert(true);
        let result = match (is_read, takes_effect) {
            (true, _) => warehouse.read(user, sql, parameters),
            (false, true) => warehouse.write(user, sql, id).map(|()| Vec::new()),
            (false, false) => Ok(Vec::new()),
        };
        if let Some((_, name, schema)) = replacement {
            warehouse.schemas.insert(name, schema);
        }
        let (last, error, rows) = match (fate, result) {
            (Some(StatementFate::Stuck { status, .. }), _) => (status.as_str(), None, Vec::new()),
            (Some(StatementFate::Late), _) => ("STARTED", None, Vec::new()),
            (Some(StatementFate::Aborted { .. }), _) => ("ABORTED", None, Vec::new()),
            (Some(StatementFate::Failed { text, .. }), _) => {
                ("FAILED", Some(text.clone()), Vec::new())
            }
            (
                Some(
                    StatementFate::Ineffective
                    | StatementFate::Slow
                    | StatementFate::AnswerLost { .. },
                )
                | None,
                result,
            ) => match result {
                Ok(rows) => ("FINISHED", None, rows),
                Err(error) => ("FAILED", Some(format!("ERROR: {error}")), Vec::new()),
            },
        };
        let before = ["SUBMITTED", "PICKED", "STARTED"];
        let before = before.into_iter().take_while(|status| *status != last);
        Statement {
            statuses: before.chain([last]).collect(),
            is_slow: fate == Some(&StatementFate::Slow),
            is_cancellable: fate != Some(&StatementFate::Late),
            error,
            rows,
        }
    }

    fn statement(&mut self, request: &Value) -> Result<&mut Statement, ApiError> {
        let id = request.get("Id").and_then(Value::as_str);
        let found = id.and_then(|id| self.statements.get_mut(id));
        found.ok_or_else(|| {
            ApiError::new(
                CallErrorKind::NotFound,
                "ResourceNotFoundException",
                "Query does not exist.",
            )
        })
    }

    fn describe(&mut self, request: &Value) -> Reply {
        let id = request.get("Id").cloned();
        let waits = request.get("WaitTimeSeconds").is_some();
        let statement = self.statement(request)?;
        // Who waits sees the end, or where it stays.
        while waits && !statement.is_slow && statement.statuses.len() > 1 {
            statement.statuses.pop_front();
        }
        let status = match statement.statuses.len() {
            0 | 1 => statement.statuses.front().copied(),
            _ => statement.statuses.pop_front(),
        };
        let status = status.unwrap_or("FINISHED");
        let mut answer = json!({
            "Id": id, "Status": status, "HasResultSet": !statement.rows.is_empty(), "Duration": 1_000_000,
            "RedshiftPid": 1, "RedshiftQueryId": 1, "ResultRows": statement.rows.len(), "ResultSize": 1,
        });
        if let (Some(error), Some(fields)) = (&statement.error, answer.as_object_mut())
            && status == "FAILED"
        {
            fields.insert("Error".to_owned(), error.clone().into());
        }
        Ok(answer)
    }

    fn result(&mut self, request: &Value) -> Reply {
        let at = request.get("NextToken").and_then(Value::as_str);
        let at: usize = at.and_then(|at| at.parse().ok()).unwrap_or_default();
        let page_rows = self.page_rows.unwrap_or(PAGE_ROWS);
        let statement = self.statement(request)?;
        if statement.statuses.back() != Some(&"FINISHED") || statement.statuses.len() > 1 {
            return Err(validation("the query has not finished"));
        }
        let total = statement.rows.len();
        let page: Vec<Value> = statement
            .rows
            .iter()
            .skip(at)
            .take(page_rows)
            .cloned()
            .collect();
        let next = at + page.len();
        let mut answer = json!({"Records": page, "ColumnMetadata": [], "TotalNumRows": total});
        if let Some(fields) = answer.as_object_mut().filter(|_| next < total) {
            fields.insert("NextToken".to_owned(), next.to_string().into());
        }
        Ok(answer)
    }

    fn cancel(&mut self, request: &Value) -> Reply {
        let statement = self.statement(request)?;
        let last = statement.statuses.back().copied().unwrap_or_default();
        let is_unended = ["SUBMITTED", "PICKED", "STARTED"].contains(&last);
        if !is_unended || !statement.is_cancellable {
            return Err(validation("the query has ended"));
        }
        statement.statuses = VecDeque::from(["ABORTED"]);
        Ok(json!({"Status": true}))
    }
}

fn validation(message: &str) -> ApiError {
    ApiError::new(CallErrorKind::Invalid, "ValidationException", message)
}

/// A column of a row in the shape of the Data API.
fn text(value: &str) -> Value {
    json!({ "stringValue": value })
}

fn null() -> Value {
    json!({"isNull": true})
}

impl SimWarehouse {
    fn read(
        &self,
        user: &str,
        sql: &str,
        parameters: Option<&Vec<Value>>,
    ) -> Result<Vec<Value>, String> {
        let is_superuser = self.users.get(user).copied().unwrap_or_default();
        if sql.contains("svv_external_tables") {
            let parameter = parameters.and_then(|all| all.first());
            let schema = parameter
                .and_then(|one| one.get("value"))
                .and_then(Value::as_str);
            let schema = schema.and_then(|name| self.schemas.get(name));
            return match schema {
                Some(schema) if self.unreadable_databases.contains(&schema.database) => {
                    Err(format!("Failed to list tables of {}", schema.database))
                }
                Some(_) => Ok(vec![json!([text("orders")])]),
                None => Ok(Vec::new()),
            };
        }
        let is_seen = |schema: &&SimExternalSchema| is_superuser || schema.owner == user;
        if sql.contains("svv_schema_privileges") {
            let mut rows = Vec::new();
            for (name, schema) in &self.schemas {
                for (privilege, grantee_type, grantee, option) in &schema.grants {
                    rows.push(json!([
                        text(name),
                        text(privilege),
                        text(grantee),
                        text(grantee_type),
                        {"booleanValue": option},
                        text("SCHEMA")
                    ]));
                }
            }
            return Ok(rows);
        }
        if !sql.contains("svv_external_schemas") {
            return Err("syntax error".to_owned());
        }
        let me = [text(user), json!({"booleanValue": is_superuser})];
        let mut rows: Vec<Value> = self
            .schemas
            .iter()
            .filter(|(_, schema)| is_seen(schema))
            .map(|(name, schema)| {
                let mut row = me.to_vec();
                row.extend([
                    json!({"longValue": schema.id}),
                    text(name),
                    json!({"longValue": schema.kind}),
                    text(&schema.database),
                    text(&schema.options),
                    match schema.owner.is_empty() {
                        true => null(),
                        false => text(&schema.owner),
                    },
                ]);
                Value::Array(row)
            })
            .collect();
        if rows.is_empty() {
            let mut row = me.to_vec();
            row.extend((0..6).map(|_| null()));
            rows.push(Value::Array(row));
        }
        Ok(rows)
    }

    fn write(&mut self, user: &str, sql: &str, id: u64) -> Result<(), String> {
        let words = sql::words(sql)?;
        let words: Vec<&Word> = words.iter().collect();
        match words.as_slice() {
            [create, kind, name] if create.is("CREATE") => match kind {
                kind if kind.is("USER") => {
                    self.users.insert(name.text.clone(), false);
                    Ok(())
                }
                kind if kind.is("ROLE") || kind.is("GROUP") => {
                    self.others.insert(name.text.clone());
                    Ok(())
                }
                _ => Err("syntax error".to_owned()),
            },
            [alter, user, name, privilege] if alter.is("ALTER") && user.is("USER") => {
                let is_superuser = match privilege {
                    word if word.is("CREATEUSER") => true,
                    word if word.is("NOCREATEUSER") => false,
                    _ => return Err("syntax error".to_owned()),
                };
                self.users.insert(name.text.clone(), is_superuser);
                Ok(())
            }
            [create, external, schema, name, options @ ..]
                if create.is("CREATE") && external.is("EXTERNAL") && schema.is("SCHEMA") =>
            {
                self.create(user, &name.text, (options, id))
            }
            [alter, external, schema, name, iam_role, role]
                if alter.is("ALTER") && external.is("EXTERNAL") && schema.is("SCHEMA") =>
            {
                if !iam_role.is("IAM_ROLE") {
                    return Err("syntax error".to_owned());
                }
                let found = self.schema(&name.text)?;
                let mut options: BTreeMap<String, String> =
                    serde_json::from_str(&found.options).unwrap_or_default();
                options.insert("IAM_ROLE".to_owned(), role.text.clone());
                found.options = json!(options).to_string();
                Ok(())
            }
            [alter, schema, name, owner, to, user]
                if alter.is("ALTER") && schema.is("SCHEMA") && owner.is("OWNER") && to.is("TO") =>
            {
                if !self.users.contains_key(&user.text) {
                    return Err(format!("user \"{}\" does not exist", user.text));
                }
                self.schema(&name.text)?.owner.clone_from(&user.text);
                Ok(())
            }
            [verb, privilege, on, schema, name, to, grantee @ ..]
                if (verb.is("GRANT") || verb.is("REVOKE"))
                    && on.is("ON")
                    && schema.is("SCHEMA")
                    && (to.is("TO") || to.is("FROM")) =>
            {
                self.change_grant((verb.is("GRANT"), &privilege.text), &name.text, grantee)
            }
            [drop, schema, name, restrict]
                if drop.is("DROP") && schema.is("SCHEMA") && restrict.is("RESTRICT") =>
            {
                let removed = self.schemas.remove(&name.text);
                match removed {
                    Some(_) => Ok(()),
                    None => Err(missing(&name.text)),
                }
            }
            _ => Err("syntax error".to_owned()),
        }
    }

    fn schema(&mut self, name: &str) -> Result<&mut SimExternalSchema, String> {
        self.schemas.get_mut(name).ok_or_else(|| missing(name))
    }

    fn create(
        &mut self,
        user: &str,
        name: &str,
        (words, id): (&[&Word], u64),
    ) -> Result<(), String> {
        if self.schemas.contains_key(name) {
            return Err(format!("Schema \"{name}\" already exists"));
        }
        let [from, data, catalog, pairs @ ..] = words else {
            return Err("syntax error".to_owned());
        };
        if !(from.is("FROM") && data.is("DATA") && catalog.is("CATALOG")) {
            return Err("syntax error".to_owned());
        }
        let (mut database, mut options) = (String::new(), BTreeMap::new());
        for pair in pairs.chunks(2) {
            let [option, value] = pair else {
                return Err("syntax error".to_owned());
            };
            match option.text.to_uppercase().as_str() {
                "DATABASE" => database.clone_from(&value.text),
                known @ ("REGION" | "IAM_ROLE" | "CATALOG_ROLE") => {
                    options.insert(known.to_owned(), value.text.clone());
                }
                _ => return Err("syntax error".to_owned()),
            }
        }
        let schema = SimExternalSchema {
            id,
            kind: 1,
            database,
            options: json!(options).to_string(),
            owner: user.to_owned(),
            grants: BTreeSet::new(),
        };
        self.schemas.insert(name.to_owned(), schema);
        Ok(())
    }

    fn change_grant(
        &mut self,
        (grants, privilege): (bool, &str),
        name: &str,
        grantee: &[&Word],
    ) -> Result<(), String> {
        let (grantee, option) = match grantee {
            [grantee @ .., with, grant, option]
                if with.is("WITH") && grant.is("GRANT") && option.is("OPTION") =>
            {
                (grantee, true)
            }
            grantee => (grantee, false),
        };
        let (grantee_type, grantee) = match grantee {
            [everybody] if everybody.is("PUBLIC") => ("public", String::new()),
            [user] => ("user", user.text.clone()),
            [kind, other] if kind.is("ROLE") => ("role", other.text.clone()),
            [kind, other] if kind.is("GROUP") => ("group", other.text.clone()),
            _ => return Err("syntax error".to_owned()),
        };
        let exists = match grantee_type {
            "public" => true,
            "user" => self.users.contains_key(&grantee),
            _ => self.others.contains(&grantee),
        };
        if !exists {
            return Err(format!("{grantee_type} \"{grantee}\" does not exist"));
        }
        let schema = self.schema(name)?;
        let is_same = |known: &(String, String, String, bool)| {
            known.0 == privilege && known.1 == grantee_type && known.2 == grantee
        };
        schema.grants.retain(|known| !is_same(known));
        if grants {
            let grant = (
                privilege.to_owned(),
                grantee_type.to_owned(),
                grantee,
                option,
            );
            schema.grants.insert(grant);
        }
        Ok(())
    }
}

fn missing(name: &str) -> String {
    format!("Schema \"{name}\" does not exist")
}
