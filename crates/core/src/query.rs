//! The query tools of a Region: what analysts work with besides the catalog. They are objects of Athena
//! (workgroups, saved queries, prepared statements and data catalogs), of Glue (classifiers, security
//! configurations, connections, jobs, workflows, crawlers and triggers), and of Redshift (external schemas).
//!
//! The domain goes the way of the catalog (observe, plan, audit, apply, observe again) with its own, smaller
//! rooms, because its objects are few. What takes access away (grants of an external schema, a workgroup that is
//! disabled) or puts a tool to sleep is a step of its own, which comes first and which nothing else holds back:
//!
//! ```text
//! QuerySnapshot x 2 --plan_query--> QueryPlan or keys to read --audit_query--> ApprovedQueryPlan
//! ```
//!
//! An object is its AWS fields as JSON ([`QueryObject`]). What a field means (a location in S3, a KMS key, the
//! text of a query, fixed at creation ...) stands in one table for each kind, [`KindRules`]. A further kind
//! is a variant of [`QueryKind`], its table, and an adapter; planner, comparison and ledger rows stay as they are.
//! External schemas are read and written by statements: [`schema_statements`] makes them, and only what
//! [`audit_statement`] approves is sent.
//!
//! # Invariants
//!
//! - Only what a row of the ledger pairs is changed or deleted. What equals the desired object is adopted;
//!   the workgroup `primary`, which AWS makes, also as long as nobody configured it.
//! - An absence needs proof: unlisted, not returned by name, and the control object of its listing was seen.
//! - The [audit](audit_query) shares only data types with the planner, and alone makes an
//!   [`ApprovedQueryPlan`].
//! - Nothing that runs by itself in the primary does so in the standby: no step starts, schedules, activates or runs
//!   anything, and what is Twinlake's and awake there is put to sleep. A takeover wakes nothing either.
//! - What takes away ([`QueryStep::is_narrowing`]) is planned for each object that was read in both Regions, whatever
//!   holds the object otherwise; what gives access is applied only after it has had effect.
//! - No object of the standby names a location, a key or a function of the primary, unless the policy keeps
//!   unmapped locations. Texts are changed only in literals of clauses that are known to hold a location.

mod audit;
mod external_schema;
mod glue_tools;
mod mapping;
mod object;
mod plan;
mod row;
mod rules;
mod snapshot;
mod sql_text;
mod text;

pub use audit::{
    ApprovedQueryPlan, ApprovedStatement, QueryDeletionBudget, QueryRejection, StatementBounds,
    StatementRefusal, audit_query, audit_statement,
};
pub use external_schema::{
    IncompleteSchemas, WarehouseQuery, WarehouseRow, read_external_schemas, schema_statements,
};
pub use mapping::{MappedObject, map_to_standby};
pub use object::{Fields, ObjectKey, QueryObject};
pub use plan::{
    HeldObject, HeldObjects, QueryFinding, QueryInputs, QueryPlan, QueryStep, plan_query,
};
pub use row::{PrimarySchedule, QueryCounts, QueryRow, QueryRows};
pub use rules::{ControlObject, FieldUse, KindRules, QueryKind};
pub use snapshot::QuerySnapshot;
pub use sql_text::{RewrittenText, rewrite_locations};
pub use text::{query_findings_text, query_plan_text, query_step_text};

/// The subject of the alerts about the query tools.
pub const QUERY_SUBJECT: &str = "query tools";
