//! Unexpected behaviours of Glue and Lake Formation.

/// A behaviour of Glue or Lake Formation that causes wrong data or wrong access when it is not
/// handled. Each can be switched off, so that a test can show its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quirk {
    /// LF-01: `ListPermissions` lists SELECT on a table separately from the other permissions, on
    /// `TableWithColumns` with a `ColumnWildcard` (terraform-provider-aws, `filter.go`).
    SelectListedAsColumnWildcard,
    /// LF-02: `ListPermissions` lists a table wildcard with the table name `ALL_TABLES`
    /// (terraform-provider-aws, `consts.go`).
    TableWildcardListedAsAllTables,
    /// LF-06: the creator of an object holds ALL with grant option on it, listed like any grant
    /// (terraform-provider-aws, `permissions.go`).
    CreatorGetsAllWithGrantOption,
    /// LF-14: while `IAM_ALLOWED_PRINCIPALS` has a grant on a table, a column grant on that table
    /// is stored as a grant on every column (Terraform's documentation).
    ColumnGrantWidensBesideIamAllowedPrincipals,
    /// LF-15: in a database created without `CreateTableDefaultPermissions`, every later table is
    /// granted to `IAM_ALLOWED_PRINCIPALS` if the Region's defaults say so
    /// (terraform-provider-aws #43226).
    MissingTableDefaultsGrantIamAllowedPrincipals,
    /// LF-16: a column grant is rejected while the principal holds SELECT on the whole table (a
    /// public Java sync client).
    ColumnGrantRejectedBesideTableSelect,
    /// GL-06: creating and deleting a partition index is asynchronous (terraform-provider-aws,
    /// `partition_index.go`).
    PartitionIndexesAreAsynchronous,
    /// GL-12: a read of a resource link returns the fields of its target, if the caller has access
    /// to the target (`resource-links-glue-apis`).
    ResourceLinksReturnTargetFields,
    /// a caller without permissions receives "not found" from reads of one object and empty
    /// lists from listings (`resource-links-glue-apis`;
    /// aws-glue-data-catalog-replication-utility #4).
    UnauthorizedReadsReturnNotFound,
    /// grants on a deleted resource remain listed and can still be revoked.
    GrantsRemainAfterTableDeletion,
    /// LF-07: CREATE_DATABASE on the catalog remains listed after it is revoked
    /// (terraform-provider-aws, `permissions.go`).
    RevokedCreateDatabaseStaysListed,
    /// LF-26: a data cells filter is not visible for two minutes after its creation
    /// (terraform-provider-aws, `data_cells_filter.go`).
    DataCellsFilterVisibleAfterDelay,
    /// `ListPermissions` without a filter omits the grants on LF-Tags and LF-Tag policies.
    UnfilteredListOmitsLfTagGrants,
    /// who is no data lake administrator lists only the grants that it holds itself.
    OthersListTheirOwnGrants,
    /// F-7: the `Pattern` of `GetUserDefinedFunctions` is a regular expression, and `*` alone is an
    /// invalid one. Without this quirk it is a wildcard pattern (public reports of both).
    FunctionPatternIsRegularExpression,
    /// F-2: `BatchGetPartition` returns partitions that do not exist as unprocessed, however often it
    /// is asked (`API_BatchGetPartition`).
    MissingPartitionsStayUnprocessed,
    /// F-19: a partition whose number of values differs from the number of partition keys fails the
    /// whole batch, without an error for each entry.
    InvalidPartitionFailsBatch,
    /// F-1: a duplicate LF-Tag or named expression is an invalid input, with a message that nobody
    /// documents, and not an `AlreadyExistsException`.
    DuplicateLfTagIsInvalidInput,
    /// F-4: a view of the ATHENA dialect takes neither a storage descriptor nor an expanded text, and
    /// a read shows both and another original text; a view of the SPARK dialect needs columns
    /// (terraform-provider-aws #49042, #49323).
    ViewsAreValidated,
}

impl Quirk {
    /// The quirks that are on by default. For the others it is not known whether AWS behaves this
    /// way, or AWS does so only sometimes; Twinlake must be safe with them on and off.
    pub const DEFAULT: [Self; 10] = [
        Self::SelectListedAsColumnWildcard,
        Self::TableWildcardListedAsAllTables,
        Self::CreatorGetsAllWithGrantOption,
        Self::ColumnGrantWidensBesideIamAllowedPrincipals,
        Self::MissingTableDefaultsGrantIamAllowedPrincipals,
        Self::ColumnGrantRejectedBesideTableSelect,
        Self::PartitionIndexesAreAsynchronous,
        Self::ResourceLinksReturnTargetFields,
        Self::UnauthorizedReadsReturnNotFound,
        Self::FunctionPatternIsRegularExpression,
    ];

    /// Each quirk with its name in scenarios and in files of answers.
    const NAMES: [(&'static str, Self); 19] = [
        ("select-lists-apart", Self::SelectListedAsColumnWildcard),
        (
            "wildcard-lists-by-name",
            Self::TableWildcardListedAsAllTables,
        ),
        ("creator-holds-all", Self::CreatorGetsAllWithGrantOption),
        (
            "column-grant-widens",
            Self::ColumnGrantWidensBesideIamAllowedPrincipals,
        ),
        (
            "absent-default-is-open",
            Self::MissingTableDefaultsGrantIamAllowedPrincipals,
        ),
        (
            "column-beside-table-refused",
            Self::ColumnGrantRejectedBesideTableSelect,
        ),
        (
            "indexes-take-their-time",
            Self::PartitionIndexesAreAsynchronous,
        ),
        (
            "links-show-their-target",
            Self::ResourceLinksReturnTargetFields,
        ),
        (
            "lost-rights-look-absent",
            Self::UnauthorizedReadsReturnNotFound,
        ),
        (
            "grants-outlive-tables",
            Self::GrantsRemainAfterTableDeletion,
        ),
        (
            "revoked-stays-listed",
            Self::RevokedCreateDatabaseStaysListed,
        ),
        (
            "filters-take-their-time",
            Self::DataCellsFilterVisibleAfterDelay,
        ),
        (
            "unfiltered-leaves-out",
            Self::UnfilteredListOmitsLfTagGrants,
        ),
        ("others-list-their-own", Self::OthersListTheirOwnGrants),
        (
            "function-pattern-is-regex",
            Self::FunctionPatternIsRegularExpression,
        ),
        (
            "missing-partitions-stay-unprocessed",
            Self::MissingPartitionsStayUnprocessed,
        ),
        (
            "invalid-partition-fails-batch",
            Self::InvalidPartitionFailsBatch,
        ),
        (
            "duplicate-lf-tag-is-invalid",
            Self::DuplicateLfTagIsInvalidInput,
        ),
        ("views-are-validated", Self::ViewsAreValidated),
    ];

    /// Returns the quirk that a `quirk` line of a scenario names.
    #[must_use]
    pub fn from_scenario_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(other, _)| *other == name)
            .map(|(_, quirk)| *quirk)
    }

    /// The names of all quirks.
    pub(crate) fn scenario_names() -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().map(|(name, _)| *name)
    }
}
