//! Reads and writes external schemas by statements, which a warehouse runs in its own time.
//!
//! What a statement came to is decided by what is there afterwards, never by its status or the text of its error: after
//! those that write, the schema is read again, and what is left to do is made from that. No text is sent twice in
//! one step. A statement that does not end is cancelled, and looked after in the same way.

use crate::ports::{PageTokens, ReadQueryRegion, StatementStatus, WriteQueryRegion};
use std::collections::BTreeMap;
use twinlake_core::policy::{QueryPolicy, Warehouse, WarehouseSite};
use twinlake_core::query::{
    IncompleteSchemas, ObjectKey, QueryKind, QueryObject, StatementBounds, WarehouseQuery,
    WarehouseRow, audit_statement, read_external_schemas, schema_statements,
};
use twinlake_core::topology::SiteId;
use twinlake_core::{CallError, CallErrorKind};

/// How often it is asked how far a statement is. Each time the service waits some seconds for its end.
const MAX_LOOKS: usize = 24;
/// How errors name the statements of Twinlake.
const EXECUTE: &str = "ExecuteStatement";

type Listed = Vec<(ObjectKey, Result<QueryObject, CallError>)>;

/// A warehouse in the Region of one site.
pub(super) struct WarehouseRegion<'a, R> {
    region: &'a R,
    name: &'a str,
    site: &'a WarehouseSite,
}

impl<'a, R: ReadQueryRegion> WarehouseRegion<'a, R> {
    pub(super) fn new(region: &'a R, warehouse: &'a Warehouse, site: SiteId) -> Self {
        Self {
            region,
            name: &warehouse.name,
            site: warehouse.sites.get(site),
        }
    }

    /// The warehouse that an external schema is in; `None` for other kinds.
    pub(super) fn of(
        region: &'a R,
        (query, site): (&'a QueryPolicy, SiteId),
        key: &ObjectKey,
    ) -> Option<Self> {
        let name = key.parent.as_deref();
        let name = name.filter(|_| key.kind == QueryKind::ExternalSchema)?;
        Some(Self::new(region, query.warehouse(name)?, site))
    }

    fn error(&self, kind: CallErrorKind, message: impl Into<String>) -> CallError {
        CallError::new(kind, EXECUTE, self.region.region(), message)
    }

    /// Every external schema.
    pub(super) async fn list(&self) -> Result<Listed, CallError> {
        let schemas = self.rows(&WarehouseQuery::Schemas).await?;
        let grants = self.rows(&WarehouseQuery::SchemaGrants).await?;
        let place = (self.name, self.region.region());
        let listed = read_external_schemas(place, &schemas, &grants).map_err(|why| match why {
            IncompleteSchemas::NoSuperuser(user) => self.error(
                CallErrorKind::Denied,
                format!(
                    "the database user {user} is no superuser, and sees no external schemas but its own"
                ),
            ),
            IncompleteSchemas::Malformed => self.error(
                CallErrorKind::Unavailable,
                "the result is not that of the statement",
            ),
        })?;
        let listed = listed.into_iter().map(|(key, object)| {
            let object = object.map_err(|message| self.error(CallErrorKind::Unavailable, message));
            (key, object)
        });
        Ok(listed.collect())
    }

    /// One external schema.
    pub(super) async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError> {
        let listed = self.list().await?;
        let found = listed.into_iter().find(|(listed, _)| listed == key);
        found.map_or_else(
            || Err(self.error(CallErrorKind::NotFound, "there is no such external schema")),
            |(_, object)| object,
        )
    }

    /// Lists a table of an external schema by way of the Data Catalog.
    pub(super) async fn canary(&self, key: &ObjectKey) -> Result<(), CallError> {
        let schema = key.id.clone();
        self.rows(&WarehouseQuery::Canary { schema })
            .await
            .map(drop)
    }

    /// All rows of a statement that reads. A warehouse that does not exist says nothing of its schemas.
    async fn rows(&self, query: &WarehouseQuery) -> Result<Vec<WarehouseRow>, CallError> {
        let rows = self.result(query).await;
        rows.map_err(|error| match error.kind {
            CallErrorKind::NotFound => CallError {
                kind: CallErrorKind::Unavailable,
                ..error
            },
            CallErrorKind::AlreadyInState
            | CallErrorKind::Contended
            | CallErrorKind::NotPropagated
            | CallErrorKind::Denied
            | CallErrorKind::Invalid
            | CallErrorKind::Unsupported
            | CallErrorKind::Unavailable => error,
        })
    }

    async fn result(&self, query: &WarehouseQuery) -> Result<Vec<WarehouseRow>, CallError> {
        let id = self.region.submit_query(self.site, query).await?;
        self.wait(&id).await?;
        let (mut rows, mut tokens, mut token) = (Vec::new(), PageTokens::default(), None);
        loop {
            let (page, next) = self.region.statement_rows(&id, token).await?;
            rows.extend(page);
            let listing = ("GetStatementResult", self.region.region());
            match tokens.next(next, listing)? {
                Some(next) => token = Some(next),
                None => return Ok(rows),
            }
        }
    }

    /// Waits for the end of a statement. One that does not end in time is cancelled.
    async fn wait(&self, id: &str) -> Result<(), CallError> {
        let mut unread = None;
        for _ in 0..MAX_LOOKS {
            let description = match self.region.describe_statement(id).await {
                Ok(description) => description,
                Err(error) if error.kind.is_transient() => {
                    unread = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match description.status {
                StatementStatus::Submitted | StatementStatus::Picked | StatementStatus::Started => {
                }
                StatementStatus::Finished => return Ok(()),
                StatementStatus::Failed => {
                    let text = description.error.unwrap_or_default();
                    let message = format!("the statement failed: {text}");
                    return Err(self.error(CallErrorKind::Unavailable, message));
                }
                StatementStatus::Aborted => {
                    let message = "the statement was stopped before its end";
                    return Err(self.error(CallErrorKind::Unavailable, message));
                }
            }
        }
        let cancelled = match self.region.cancel_statement(id).await {
            Ok(()) => "it was cancelled".to_owned(),
            Err(error) => format!("cancelling it failed: {error}"),
        };
        let unread = unread.map_or_else(String::new, |error| format!("; {error}"));
        let message = format!("the statement did not end in time; {cancelled}{unread}");
        Err(self.error(CallErrorKind::Unavailable, message))
    }
}

impl<R: WriteQueryRegion> WarehouseRegion<'_, R> {
    /// Creates an external schema that belongs to Twinlake's user and that nobody else may use. Returns it as read.
    pub(super) async fn create(
        &self,
        object: &QueryObject,
        run: u64,
    ) -> Result<QueryObject, CallError> {
        let object = object.as_created();
        let text = schema_statements(None, Some(&object)).join(" ");
        let sent = self.send(&object, &text, run).await;
        let found = self.find(&object.key).await?;
        found
            .filter(|found| found.comparable() == object.comparable())
            .ok_or_else(|| self.without_effect(&text, sent))
    }

    /// Gives an external schema the role, the owner and the grants that it should have. As long as it gives what it
    /// should not, nothing is sent that gives more.
    pub(super) async fn update(
        &self,
        (current, desired): (&QueryObject, &QueryObject),
        run: u64,
    ) -> Result<(), CallError> {
        let (mut found, mut sent) = (current.clone(), BTreeMap::new());
        loop {
            let left = schema_statements(Some(&found), Some(desired));
            let unsent: Vec<&String> = left
                .iter()
                .filter(|text| !sent.contains_key(*text))
                .collect();
            if unsent.is_empty() {
                return self.update_result(&left, &sent);
            }
            for text in unsent {
                let result = self.send(desired, text, run).await;
                sent.insert(text.clone(), self.without_effect(text, result));
            }
            found = match self.find(&current.key).await? {
                Some(found) if found.created == current.created => found,
                Some(_) | None => {
                    let message = "somebody dropped the external schema meanwhile";
                    return Err(self.error(CallErrorKind::Contended, message));
                }
            };
        }
    }

    /// The result of an update after which these statements are left, each of which was sent.
    fn update_result(
        &self,
        left: &[String],
        sent: &BTreeMap<String, CallError>,
    ) -> Result<(), CallError> {
        let failed: Vec<&str> = left
            .iter()
            .filter_map(|text| sent.get(text))
            .map(|error| error.message.as_str())
            .collect();
        match failed.is_empty() {
            true => Ok(()),
            false => Err(self.error(CallErrorKind::Invalid, failed.join("; "))),
        }
    }

    /// Drops an external schema that is still the one that was read before. The database that it shows stays.
    pub(super) async fn delete(&self, earlier: &QueryObject, run: u64) -> Result<(), CallError> {
        let key = &earlier.key;
        let Some(current) = self.find(key).await? else {
            return Ok(());
        };
        if !current.is_still(earlier) {
            let message = "somebody dropped the external schema meanwhile, and made another one";
            return Err(self.error(CallErrorKind::Contended, message));
        }
        for text in schema_statements(Some(&current), None) {
            let sent = self.send(&current, &text, run).await;
            if self.find(key).await?.is_some() {
                return Err(self.without_effect(&text, sent));
            }
        }
        Ok(())
    }

    /// One external schema; `None` if a complete listing does not have it.
    async fn find(&self, key: &ObjectKey) -> Result<Option<QueryObject>, CallError> {
        match self.read(key).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The error of a statement after which what it should have done is not done.
    fn without_effect(&self, text: &str, sent: Result<(), CallError>) -> CallError {
        let why = match sent {
            Ok(()) => "it finished, and the external schema is not what it should be".to_owned(),
            Err(error) => error.message,
        };
        self.error(CallErrorKind::Invalid, format!("{text}: {why}"))
    }

    /// Has a statement audited, sends it, and waits for its end.
    async fn send(&self, target: &QueryObject, text: &str, run: u64) -> Result<(), CallError> {
        let bounds = StatementBounds {
            schema: &target.key.id,
            database: target.text("Database").unwrap_or_default(),
            region: self.region.region(),
        };
        let approved = audit_statement(text, &bounds)
            .map_err(|refusal| self.error(CallErrorKind::Invalid, refusal.to_string()))?;
        let token = twinlake_core::catalog::digest(&(self.name, text, run));
        let submitted = self
            .region
            .submit_statement(self.site, &approved, &token)
            .await;
        self.wait(&submitted?).await
    }
}
