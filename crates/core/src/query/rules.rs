//! What the fields of each kind mean, and what proves an absence: one table for each kind.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of objects, in the order in which they are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryKind {
    /// A workgroup of Athena.
    WorkGroup,
    /// A data catalog of Athena, other than `AwsDataCatalog`.
    DataCatalog,
    /// A saved ("named") query of Athena.
    NamedQuery,
    /// A prepared statement of Athena.
    PreparedStatement,
    /// A classifier of Glue: Grok, XML, JSON or CSV.
    Classifier,
    /// A security configuration of Glue. No call changes one.
    SecurityConfiguration,
    /// A connection of Glue without secrets.
    Connection,
    /// A job of Glue. It sleeps as long as nothing starts it.
    Job,
    /// A workflow of Glue. It sleeps as its triggers do.
    Workflow,
    /// A crawler of Glue. It sleeps in the standby.
    Crawler,
    /// A trigger of Glue. It sleeps in the standby.
    Trigger,
    /// An external schema of Redshift, in a database of a warehouse.
    ExternalSchema,
}

impl QueryKind {
    /// Every kind: what others are in, or name, comes first.
    pub const EVERY: [Self; 12] = [
        Self::WorkGroup,
        Self::DataCatalog,
        Self::NamedQuery,
        Self::PreparedStatement,
        Self::Classifier,
        Self::SecurityConfiguration,
        Self::Connection,
        Self::Job,
        Self::Workflow,
        Self::Crawler,
        Self::Trigger,
        Self::ExternalSchema,
    ];

    /// The kinds of Glue.
    pub const GLUE_TOOLS: [Self; 7] = [
        Self::Classifier,
        Self::SecurityConfiguration,
        Self::Connection,
        Self::Job,
        Self::Workflow,
        Self::Crawler,
        Self::Trigger,
    ];

    /// What the kind's fields mean.
    #[must_use]
    pub fn rules(self) -> &'static KindRules {
        KindRules::of(self)
    }

    /// Whether objects of the kind may run by themselves, and sleep in the standby.
    #[must_use]
    pub const fn is_put_to_sleep(self) -> bool {
        match self {
            Self::Crawler | Self::Trigger => true,
            Self::WorkGroup
            | Self::DataCatalog
            | Self::NamedQuery
            | Self::PreparedStatement
            | Self::Classifier
            | Self::SecurityConfiguration
            | Self::Connection
            | Self::Job
            | Self::Workflow
            | Self::ExternalSchema => false,
        }
    }

    /// Whether another object may name one that the standby has, whoever made it: a person may have made it as that
    /// Region needs it.
    #[must_use]
    pub(super) const fn is_named_whoever_made_it(self) -> bool {
        match self {
            Self::SecurityConfiguration | Self::Connection | Self::Job => true,
            // A trigger becomes part of the workflow that it names.
            Self::Workflow
            | Self::WorkGroup
            | Self::DataCatalog
            | Self::NamedQuery
            | Self::PreparedStatement
            | Self::Classifier
            | Self::Crawler
            | Self::Trigger
            | Self::ExternalSchema => false,
        }
    }

    /// Whether a call changes an object of the kind. Of the others, a person deletes one that differs.
    #[must_use]
    pub const fn has_update(self) -> bool {
        match self {
            Self::SecurityConfiguration => false,
            Self::Connection
            | Self::Job
            | Self::Workflow
            | Self::WorkGroup
            | Self::DataCatalog
            | Self::NamedQuery
            | Self::PreparedStatement
            | Self::Classifier
            | Self::Crawler
            | Self::Trigger
            | Self::ExternalSchema => true,
        }
    }

    /// The kind in words, as counted in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkGroup => "workgroup",
            Self::DataCatalog => "data catalog",
            Self::NamedQuery => "saved query",
            Self::PreparedStatement => "prepared statement",
            Self::Classifier => "classifier",
            Self::SecurityConfiguration => "security configuration",
            Self::Connection => "connection",
            Self::Job => "job",
            Self::Workflow => "workflow",
            Self::Crawler => "crawler",
            Self::Trigger => "trigger",
            Self::ExternalSchema => "external schema",
        }
    }
}

impl QueryKind {
    /// What an object of the kind is in, if anything.
    pub(super) const fn parent_noun(self) -> &'static str {
        match self {
            Self::ExternalSchema => "warehouse",
            Self::WorkGroup
            | Self::DataCatalog
            | Self::NamedQuery
            | Self::PreparedStatement
            | Self::Classifier
            | Self::SecurityConfiguration
            | Self::Connection
            | Self::Job
            | Self::Workflow
            | Self::Crawler
            | Self::Trigger => "workgroup",
        }
    }
}

impl ControlObject {
    /// Whether an absence is proven only by another object of the listing.
    #[must_use]
    pub const fn is_sibling(self) -> bool {
        match self {
            Self::Sibling | Self::PairedSibling => true,
            Self::Named(_) | Self::Parent => false,
        }
    }
}

impl fmt::Display for QueryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The use of a field that is not simply copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldUse {
    /// Copied. What looks like a location, or an ARN of the primary's Region, holds the object back.
    Copied,
    /// A location in S3, mapped by `[[query.result-location]]`, then by `[[location]]`.
    ResultLocation,
    /// A location of data in S3, mapped by `[[location]]`; an unmapped one as the policy says.
    DataLocation,
    /// An argument that Twinlake does not know: copied. One that names a location in S3 or the primary's Region holds the
    /// object back.
    Argument,
    /// An argument of [`LOCATION_ARGUMENTS`]: locations in S3, with commas between them, each mapped by
    /// `[[query.result-location]]`, then by `[[location]]`.
    LocationArgument,
    /// The name of an IAM role with its path: mapped by a `[[principal]]` pair of role ARNs, else copied.
    RoleName,
    /// What makes the object run by itself. The standby's never has it from Twinlake: the ledger keeps it.
    Asleep,
    /// A KMS key, mapped by `[[query.kms-key]]`.
    KmsKey,
    /// A secret of Secrets Manager: its replica in the other Region, which has the same name.
    Secret,
    /// The id of a subnet or security group, or an availability zone, mapped by `[[query.network]]`.
    NetworkId,
    /// The ARN of a Lambda function: the same function name in the other Region.
    FunctionArn,
    /// An IAM role, which is global: mapped by `[[principal]]`, else copied.
    Role,
    /// The id of a Glue catalog: mapped by `[[catalog]]`, else copied.
    CatalogId,
    /// The Region whose catalog a schema reads: the primary's becomes the standby's. No call changes it.
    CatalogRegion,
    /// ARNs of IAM roles, with commas between them: each is mapped by `[[principal]]`, else copied.
    Roles,
    /// As [`FieldUse::Roles`], and no call changes it.
    FixedRoles,
    /// The text of a query: only literals of known clauses are mapped.
    QueryText,
    /// Set at creation; no call changes it. A difference is reported.
    Fixed,
    /// What the service decides, or no call writes. A difference is reported.
    Reported,
}

/// An object that must be seen: a listing that lacks it does not show everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlObject {
    /// An object of the kind with this name, which the service makes.
    Named(&'static str),
    /// The workgroup that the object is in, read by its name.
    Parent,
    /// Another object of the listing that a row pairs, by the same identity: a database that is new, or another one
    /// under this name, has none.
    PairedSibling,
    /// Any other object of the kind: the service makes none, and no right hides single ones from a listing.
    Sibling,
}

/// The table of one kind.
#[derive(Debug)]
pub struct KindRules {
    /// Dotted paths of fields with their use; all others are [`FieldUse::Copied`]. A path stands for all
    /// fields below it.
    pub fields: &'static [(&'static str, FieldUse)],
    /// What must be seen before an absence counts.
    pub control: ControlObject,
    /// The service makes the identity: objects are paired by id, and found again by content.
    pub id_by_service: bool,
    /// Tags are compared, if the policy copies them.
    pub has_tags: bool,
    /// Fields that no update unsets. If the primary unsets one, the difference is reported.
    pub never_unset: &'static [&'static str],
}

use FieldUse::{
    Asleep, CatalogId, CatalogRegion, DataLocation, Fixed, FixedRoles, FunctionArn, KmsKey,
    NetworkId, QueryText, Reported, ResultLocation, Role, RoleName, Roles, Secret,
};

const WORK_GROUP: KindRules = KindRules {
    fields: &[
        (
            "Configuration.ResultConfiguration.OutputLocation",
            ResultLocation,
        ),
        (
            "Configuration.ResultConfiguration.EncryptionConfiguration.KmsKey",
            KmsKey,
        ),
        (
            "Configuration.ManagedQueryResultsConfiguration.EncryptionConfiguration.KmsKey",
            KmsKey,
        ),
        (
            "Configuration.MonitoringConfiguration.S3LoggingConfiguration.LogLocation",
            ResultLocation,
        ),
        (
            "Configuration.MonitoringConfiguration.S3LoggingConfiguration.KmsKey",
            KmsKey,
        ),
        (
            "Configuration.MonitoringConfiguration.ManagedLoggingConfiguration.KmsKey",
            KmsKey,
        ),
        (
            "Configuration.CustomerContentEncryptionConfiguration.KmsKey",
            KmsKey,
        ),
        ("Configuration.ExecutionRole", Role),
        ("Configuration.IdentityCenterConfiguration", Fixed),
        (
            "Configuration.EngineVersion.EffectiveEngineVersion",
            Reported,
        ),
        // Of the account, not of the workgroup; no call of workgroups changes it.
        ("Configuration.SystemTableStatuses", Reported),
        // Athena makes the application in each Region.
        ("IdentityCenterApplicationArn", Reported),
    ],
    control: ControlObject::Named("primary"),
    id_by_service: false,
    has_tags: true,
    never_unset: &[],
};

const DATA_CATALOG: KindRules = KindRules {
    fields: &[
        ("Type", Fixed),
        ("Parameters.catalog-id", CatalogId),
        ("Parameters.function", FunctionArn),
        ("Parameters.metadata-function", FunctionArn),
        ("Parameters.record-function", FunctionArn),
        ("Status", Reported),
        ("ConnectionType", Reported),
        ("Error", Reported),
    ],
    control: ControlObject::Named("AwsDataCatalog"),
    id_by_service: false,
    has_tags: true,
    never_unset: &[],
};

const NAMED_QUERY: KindRules = KindRules {
    fields: &[("QueryString", QueryText), ("Database", Fixed)],
    control: ControlObject::Parent,
    id_by_service: true,
    has_tags: false,
    never_unset: &[],
};

const PREPARED_STATEMENT: KindRules = KindRules {
    fields: &[("QueryStatement", QueryText)],
    control: ControlObject::Parent,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

const CLASSIFIER: KindRules = KindRules {
    // `Type` says which of the four shapes the other fields have.
    fields: &[("Type", Fixed)],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &["Delimiter", "QuoteSymbol", "Serde", "RowTag"],
};

const SECURITY_CONFIGURATION: KindRules = KindRules {
    fields: &[
        ("EncryptionConfiguration.S3Encryption.KmsKeyArn", KmsKey),
        (
            "EncryptionConfiguration.CloudWatchEncryption.KmsKeyArn",
            KmsKey,
        ),
        (
            "EncryptionConfiguration.JobBookmarksEncryption.KmsKeyArn",
            KmsKey,
        ),
        (
            "EncryptionConfiguration.DataQualityEncryption.KmsKeyArn",
            KmsKey,
        ),
        // All of it, with its keys.
        ("EncryptionConfiguration", Fixed),
    ],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

/// The fields that hold arguments, each under its name.
pub(super) const ARGUMENT_FIELDS: [&str; 5] = [
    "ConnectionProperties",
    "DefaultArguments",
    "NonOverridableArguments",
    "Actions.Arguments",
    "DefaultRunProperties",
];

/// The arguments of jobs and the properties of connections that hold locations in S3, by Glue's documentation.
pub(super) const LOCATION_ARGUMENTS: [&str; 14] = [
    "JDBC_DRIVER_JAR_URI",
    "CUSTOM_JDBC_CERT",
    "CONNECTOR_URL",
    "KAFKA_CUSTOM_CERT",
    "KAFKA_SASL_GSSAPI_KEYTAB",
    "KAFKA_SASL_GSSAPI_KRB5_CONF",
    "--TempDir",
    "--extra-jars",
    "--extra-py-files",
    "--extra-files",
    "--additional-python-modules",
    "--spark-event-logs-path",
    "--s3-py-modules",
    "--scriptLocation",
];

/// The use of an argument by its path; `None` if the path is of no argument.
fn use_of_argument(path: &str) -> Option<FieldUse> {
    let mut fields = ARGUMENT_FIELDS.iter();
    let name = fields.find_map(|field| path.strip_prefix(field)?.strip_prefix('.'))?;
    Some(match LOCATION_ARGUMENTS.contains(&name) {
        true => FieldUse::LocationArgument,
        false => FieldUse::Argument,
    })
}

const CONNECTION: KindRules = KindRules {
    fields: &[
        ("ConnectionProperties.SECRET_ID", Secret),
        ("ConnectionProperties.KAFKA_SASL_SCRAM_SECRETS_ARN", Secret),
        ("PhysicalConnectionRequirements", NetworkId),
    ],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

const JOB: KindRules = KindRules {
    fields: &[
        ("Role", RoleName),
        ("Command.ScriptLocation", DataLocation),
        ("LogUri", ResultLocation),
        // Access to the repository is a secret, and no call here reads or writes it.
        ("SourceControlDetails", Reported),
        ("ProfileName", Reported),
    ],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

const WORKFLOW: KindRules = KindRules {
    fields: &[("BlueprintDetails", Reported)],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &["MaxConcurrentRuns"],
};

const CRAWLER: KindRules = KindRules {
    fields: &[
        ("Role", RoleName),
        ("Targets.S3Targets.Path", DataLocation),
        ("Targets.DeltaTargets.DeltaTables", DataLocation),
        ("Targets.IcebergTargets.Paths", DataLocation),
        ("Targets.HudiTargets.Paths", DataLocation),
        ("LakeFormationConfiguration.AccountId", CatalogId),
        ("CatalogId", CatalogId),
        ("Schedule", Asleep),
    ],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &["Configuration", "CatalogId"],
};

const TRIGGER: KindRules = KindRules {
    fields: &[
        ("Type", Fixed),
        ("WorkflowName", Fixed),
        // Its schedule is part of it, and fires only while it is activated.
        ("State", Asleep),
    ],
    control: ControlObject::Sibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

const EXTERNAL_SCHEMA: KindRules = KindRules {
    fields: &[
        ("Kind", Fixed),
        ("Database", Fixed),
        ("Region", CatalogRegion),
        ("IamRole", Roles),
        ("CatalogRole", FixedRoles),
        // Only USAGE is granted, to known kinds of grantees.
        ("OtherGrants", Reported),
        ("UnknownGrants", Reported),
        // Whoever reads it; it owns what nobody else does.
        ("ReadingUser", Reported),
    ],
    control: ControlObject::PairedSibling,
    id_by_service: false,
    has_tags: false,
    never_unset: &[],
};

impl KindRules {
    pub(super) const fn of(kind: QueryKind) -> &'static Self {
        match kind {
            QueryKind::WorkGroup => &WORK_GROUP,
            QueryKind::DataCatalog => &DATA_CATALOG,
            QueryKind::NamedQuery => &NAMED_QUERY,
            QueryKind::PreparedStatement => &PREPARED_STATEMENT,
            QueryKind::Classifier => &CLASSIFIER,
            QueryKind::SecurityConfiguration => &SECURITY_CONFIGURATION,
            QueryKind::Connection => &CONNECTION,
            QueryKind::Job => &JOB,
            QueryKind::Workflow => &WORKFLOW,
            QueryKind::Crawler => &CRAWLER,
            QueryKind::Trigger => &TRIGGER,
            QueryKind::ExternalSchema => &EXTERNAL_SCHEMA,
        }
    }

    /// The use of the field with a dotted path.
    #[must_use]
    pub fn use_of(&self, path: &str) -> FieldUse {
        let covers = |known: &str| {
            let rest = path.strip_prefix(known);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut fields = self.fields.iter();
        let found = fields.find(|(known, _)| covers(known));
        let found = found.map(|(_, field_use)| *field_use);
        found
            .or_else(|| use_of_argument(path))
            .unwrap_or(FieldUse::Copied)
    }

    /// The paths of the fields that are only reported.
    pub fn reported_fields(&self) -> impl Iterator<Item = &'static str> {
        self.with_use(FieldUse::Reported)
    }

    /// The paths of the fields that make an object run by itself.
    pub fn asleep_fields(&self) -> impl Iterator<Item = &'static str> {
        self.with_use(FieldUse::Asleep)
    }

    /// The paths of the fields that are set at creation.
    pub fn fixed_fields(&self) -> impl Iterator<Item = &'static str> {
        let uses = [Fixed, CatalogRegion, FixedRoles];
        uses.into_iter().flat_map(|wanted| self.with_use(wanted))
    }

    fn with_use(&self, wanted: FieldUse) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter();
        fields
            .filter(move |(_, field_use)| *field_use == wanted)
            .map(|(path, _)| *path)
    }
}
