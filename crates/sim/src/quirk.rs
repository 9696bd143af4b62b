//! What the services do that one would not expect.

/// A behaviour of Glue or Lake Formation that costs data or access when missed.
/// Each can be switched off, so that a test can show what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quirk {
    /// LF-01: SELECT on a table lists apart from the other permissions, on
    /// `TableWithColumns` with a `ColumnWildcard` (terraform-provider-aws,
    /// `filter.go`).
    SelectListsApart,
    /// LF-02: a table wildcard lists with the name `ALL_TABLES` (the same,
    /// `consts.go`).
    WildcardListsByName,
    /// LF-06: whoever creates an object holds ALL with grant option on it, listed
    /// like any grant (the same, `permissions.go`).
    CreatorHoldsAll,
    /// LF-14: while `IAM_ALLOWED_PRINCIPALS` holds a table, a column grant there is
    /// stored as a grant on every column (Terraform's documentation).
    ColumnGrantWidens,
    /// LF-15: a database made without `CreateTableDefaultPermissions` opens every
    /// later table (terraform-provider-aws #43226).
    AbsentDefaultIsOpen,
    /// LF-16: a column grant is refused beside SELECT on the whole table (a public
    /// Java sync client).
    ColumnBesideTableRefused,
    /// GL-06: a partition index is not made, nor gone, at once
    /// (terraform-provider-aws, `partition_index.go`).
    IndexesTakeTheirTime,
    /// GL-12: a read of a resource link shows its target's fields, if the caller may
    /// see the target (`resource-links-glue-apis`).
    LinksShowTheirTarget,
    /// a caller without rights is answered "not found", and sees empty lists
    /// (`resource-links-glue-apis`; aws-glue-data-catalog-replication-utility #4).
    LostRightsLookAbsent,
    /// grants outlive the table that they are on.
    GrantsOutliveTables,
    /// LF-07: CREATE_DATABASE on the catalog is still listed after its revoke
    /// (terraform-provider-aws, `permissions.go`).
    RevokedStaysListed,
    /// LF-26: a data cells filter is not there for two minutes after it was made (the
    /// same, `data_cells_filter.go`).
    FiltersTakeTheirTime,
    /// a listing of grants without a filter leaves those on LF-Tags out.
    UnfilteredLeavesOut,
}

impl Quirk {
    /// Those that are there unless switched off. The others are variants: what AWS does is
    /// not known, or not always so, and both must be safe.
    pub const USUAL: [Self; 9] = [
        Self::SelectListsApart,
        Self::WildcardListsByName,
        Self::CreatorHoldsAll,
        Self::ColumnGrantWidens,
        Self::AbsentDefaultIsOpen,
        Self::ColumnBesideTableRefused,
        Self::IndexesTakeTheirTime,
        Self::LinksShowTheirTarget,
        Self::LostRightsLookAbsent,
    ];
    /// The quirk that a script calls so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "select-lists-apart" => Self::SelectListsApart,
            "wildcard-lists-by-name" => Self::WildcardListsByName,
            "creator-holds-all" => Self::CreatorHoldsAll,
            "column-grant-widens" => Self::ColumnGrantWidens,
            "absent-default-is-open" => Self::AbsentDefaultIsOpen,
            "column-beside-table-refused" => Self::ColumnBesideTableRefused,
            "indexes-take-their-time" => Self::IndexesTakeTheirTime,
            "links-show-their-target" => Self::LinksShowTheirTarget,
            "lost-rights-look-absent" => Self::LostRightsLookAbsent,
            "grants-outlive-tables" => Self::GrantsOutliveTables,
            "revoked-stays-listed" => Self::RevokedStaysListed,
            "filters-take-their-time" => Self::FiltersTakeTheirTime,
            "unfiltered-leaves-out" => Self::UnfilteredLeavesOut,
            _ => return None,
        })
    }
}
