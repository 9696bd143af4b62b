//! The query tools of a Region.

use super::warehouses::{ReadWarehouses, WriteWarehouses};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};
use twinlake_core::{CallError, CallErrorKind};

/// Reads the query tools of one Region; the kind of a key says which calls it stands for. External schemas are read by
/// statements, see [`ReadWarehouses`]: the calls here answer [`external_schema_call`] for their kind.
pub trait ReadQueryRegion: ReadWarehouses {
    /// The Region, as in `us-east-1`.
    fn region(&self) -> &str;

    /// The objects of a kind, in a workgroup if the kind has one: `ListWorkGroups` and `GetWorkGroup`,
    /// `ListDataCatalogs` and `GetDataCatalog`, `ListNamedQueries` and `BatchGetNamedQuery`,
    /// `ListPreparedStatements` and `BatchGetPreparedStatement`, `GetClassifiers`,
    /// `GetSecurityConfigurations`, `GetConnections` without passwords, `GetJobs`, `ListWorkflows` and
    /// `BatchGetWorkflows`, `GetCrawlers`, `GetTriggers`. Every page, or an error; an object that
    /// is listed and cannot be read has its own error. With `tags` also `ListTagsForResource`.
    ///
    /// # Errors
    /// Any page of the listing failed.
    async fn list(
        &self,
        kind: QueryKind,
        parent: Option<&str>,
        tags: bool,
    ) -> Result<Vec<(ObjectKey, Result<QueryObject, CallError>)>, CallError>;

    /// One object by its key, without tags.
    ///
    /// # Errors
    /// The call failed. Only with the error that the service documents for an object that does not exist, the
    /// kind is [`CallErrorKind::NotFound`](twinlake_core::CallErrorKind::NotFound).
    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError>;

    /// Counts what is only reported: capacity reservations.
    ///
    /// # Errors
    /// Any page of a listing failed.
    async fn unreplicated_counts(&self) -> Result<BTreeMap<String, usize>, CallError>;
}

/// The answer of a call for objects with own calls, if it is asked for an external schema, which has none.
#[must_use]
pub fn external_schema_call(region: &str) -> CallError {
    let message = "an external schema is read and written by statements";
    CallError::new(
        CallErrorKind::Unsupported,
        "ExecuteStatement",
        region,
        message,
    )
}

/// Writes the query tools of one Region.
pub trait WriteQueryRegion: ReadQueryRegion + WriteWarehouses {
    /// Creates an object with its tags. A repeated call with the same `token` does not make a second one, if
    /// the service knows such tokens. Returns the key of the new object, with the id that the service gave.
    ///
    /// # Errors
    /// The call failed.
    async fn create(&self, object: &QueryObject, token: &str) -> Result<ObjectKey, CallError>;

    /// Makes an object that was read as `current` equal to `desired`, except its tags. No call changes a security
    /// configuration.
    ///
    /// # Errors
    /// The call failed.
    async fn update(&self, current: &QueryObject, desired: &QueryObject) -> Result<(), CallError>;

    /// Changes tags of an object.
    ///
    /// # Errors
    /// A call failed; some tags may be changed.
    async fn change_tags(
        &self,
        key: &ObjectKey,
        set: &BTreeMap<String, String>,
        remove: &BTreeSet<String>,
    ) -> Result<(), CallError>;

    /// Keeps a crawler or a trigger from running by itself: `StopCrawlerSchedule`, `StopTrigger`. What runs at this
    /// moment runs on.
    ///
    /// # Errors
    /// The call failed.
    async fn sleep(&self, key: &ObjectKey) -> Result<(), CallError>;

    /// Deletes an object. A workgroup that is not empty is not deleted.
    ///
    /// # Errors
    /// The call failed.
    async fn delete(&self, key: &ObjectKey) -> Result<(), CallError>;
}

/// Wakes the crawlers and triggers of a Region that has become the primary.
pub trait WakeTools {
    /// The Region, as in `us-east-1`.
    fn region(&self) -> &str;

    /// The crawlers or the triggers, without tags: `GetCrawlers`, `GetTriggers`. Every page, or an error.
    ///
    /// # Errors
    /// A page failed, or an object could not be read.
    async fn list(&self, kind: QueryKind) -> Result<Vec<QueryObject>, CallError>;

    /// One of them, or a job that a trigger starts: `GetCrawler`, `GetTrigger`, `GetJob`.
    ///
    /// # Errors
    /// The call failed.
    async fn read(&self, key: &ObjectKey) -> Result<QueryObject, CallError>;

    /// Lets it run by itself: `UpdateCrawlerSchedule` and `StartCrawlerSchedule`, `StartTrigger`.
    ///
    /// # Errors
    /// A call failed.
    async fn wake(&self, key: &ObjectKey, cron: Option<&str>) -> Result<(), CallError>;
}
