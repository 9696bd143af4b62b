//! The calls of the Region ports, for types that do something before each call and pass it on.

/// Expands a macro with the signatures of the asynchronous methods of
/// [`ReadRegion`](super::ReadRegion).
macro_rules! read_region_calls {
    ($expand:ident) => {
        $expand! {
            fn database(name: &Name) -> Result<Observed<Database>, CallError>;
            fn databases() -> Result<Vec<Observed<Database>>, CallError>;
            fn table(id: &TableId) -> Result<Observed<Table>, CallError>;
            fn tables(database: &Name) -> Result<Vec<Observed<Table>>, CallError>;
            fn partitions_page(
                id: &TableId, segment: Option<usize>, token: Option<String>
            ) -> Result<(Vec<Partition>, Option<String>), CallError>;
            fn partitions_by_values(
                id: &TableId, values: &[&[String]]
            ) -> Result<PartitionsByValues, CallError>;
            fn functions(
                database: Option<&Name>
            ) -> Result<Vec<(FunctionId, Observed<Function>)>, CallError>;
            fn function(id: &FunctionId) -> Result<Observed<Function>, CallError>;
            fn attachments(
                subject: &Subject, facet: Facet, columns: &[String]
            ) -> Result<Vec<ObservedAttachment>, CallError>;
            fn list_grants(
                filter: Option<&GrantFilter>, receive: &mut dyn FnMut(Vec<ListedPermission>)
            ) -> Result<(), CallError>;
            fn opt_ins() -> Result<Vec<OptIn>, CallError>;
            fn search_by_lf_tags(
                target: LfTagPolicyTarget, expression: &LfTagExpression
            ) -> Result<Vec<LfTaggedResource>, CallError>;
            fn settings() -> Result<ObservedSettings, CallError>;
            fn unreplicated_inventory() -> UnreplicatedInventory;
            fn optimizer_count(tables: &[TableId]) -> Result<usize, CallError>;
        }
    };
}

/// Expands a macro with the signatures of the methods of [`WriteRegion`](super::WriteRegion).
macro_rules! write_region_calls {
    ($expand:ident) => {
        $expand! {
            fn create_database(database: &Database) -> Result<(), CallError>;
            fn update_database(database: &Database) -> Result<(), CallError>;
            fn delete_database(name: &Name) -> Result<(), CallError>;
            fn create_table(
                database: &Name, table: &Table, indexes: &[&PartitionIndex]
            ) -> Result<(), CallError>;
            fn update_table(
                database: &Name, table: &Table, version: Option<&str>
            ) -> Result<(), CallError>;
            fn delete_table(id: &TableId) -> Result<(), CallError>;
            fn create_partitions(
                id: &TableId, partitions: &[&Partition]
            ) -> Result<EntryResults, CallError>;
            fn update_partitions(
                id: &TableId, partitions: &[&Partition]
            ) -> Result<EntryResults, CallError>;
            fn delete_partitions(
                id: &TableId, values: &[&[String]]
            ) -> Result<EntryResults, CallError>;
            fn create_function(id: &FunctionId, function: &Function) -> Result<(), CallError>;
            fn update_function(id: &FunctionId, function: &Function) -> Result<(), CallError>;
            fn delete_function(id: &FunctionId) -> Result<(), CallError>;
            fn put_attachments(
                subject: &Subject, attachments: &[&Attachment], may_replace: bool
            ) -> Result<EntryResults, CallError>;
            fn remove_attachments(
                subject: &Subject, keys: &[&AttachmentKey]
            ) -> Result<EntryResults, CallError>;
            fn put_settings(change: &SettingsChange) -> Result<(), CallError>;
            fn grant(entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;
            fn revoke(entries: &[&ListedPermission]) -> Result<EntryResults, CallError>;
        }
    };
}

pub(crate) use {read_region_calls, write_region_calls};
