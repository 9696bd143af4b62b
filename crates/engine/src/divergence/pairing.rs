//! What the two Regions hold, and the rows that pair it: each object of the former primary with the object of
//! that name in the primary, whoever made it, or with none. By such rows the planner updates and deletes in
//! the former primary what differs from the primary.

use super::objects::TableLocations;
use super::{DivergenceContext, SUBJECTS_WITH_KEYS};
use crate::observe::{Items, Prefetched, principal_mappings};
use crate::ports::{Clock, Ledger, ObjectVersions, ReadRegion};
use futures_util::future::join;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Comparable as _, MaybeLink, Observed, PrincipalPermissions, digest};
use twinlake_core::divergence::UnreadReasons;
use twinlake_core::grant::GrantMapping;
use twinlake_core::ledger::{LedgerRows, managed_item_key};
use twinlake_core::location::Location;
use twinlake_core::topology::{BySite, Epoch};
use twinlake_core::{
    CallError, CallErrorKind, Database, FunctionId, LedgerRow, LfSubject, Name, Observation,
    Pairing, Policy, Subject, SubjectState, Table, TableId, Timestamp,
};

/// An object of a Region, as far as a pairing needs it.
#[derive(Clone, Debug)]
struct ListedObject {
    created: Option<Timestamp>,
    /// The digest of the fields that are compared.
    digest: String,
    /// The digest of a resource link; `None` for other objects.
    link: Option<String>,
}

/// The objects of a Region, and what of them could not be listed.
#[derive(Debug, Default)]
struct ListedRegion {
    objects: BTreeMap<Subject, ListedObject>,
    /// Of every database that is no link.
    table_defaults: BTreeMap<Name, Vec<PrincipalPermissions>>,
    table_locations: TableLocations,
    unread: UnreadReasons,
}

/// What both Regions hold, with the rows that pair it.
#[derive(Debug)]
pub(super) struct PairedRegions {
    /// The rows by which the former primary is the standby of the primary.
    pub(super) rows: LedgerRows,
    /// The rows by which it would be the other way round.
    pub(super) reverse_rows: LedgerRows,
    /// See [`twinlake_core::divergence::ComparedRegions`].
    pub(super) in_former: BTreeMap<Subject, Option<Timestamp>>,
    /// See [`twinlake_core::divergence::ComparedRegions`].
    pub(super) in_primary: BTreeMap<Subject, String>,
    /// See [`twinlake_core::divergence::ComparedRegions`].
    pub(super) table_defaults: BTreeMap<Name, Vec<PrincipalPermissions>>,
    /// The locations of the primary's tables.
    pub(super) primary_tables: TableLocations,
    /// What could not be listed.
    pub(super) unread: UnreadReasons,
}

impl PairedRegions {
    /// Lists what both Regions hold, and pairs it.
    ///
    /// # Errors
    /// The databases of a Region cannot be listed.
    pub(super) async fn read<R: ReadRegion, L: Ledger, O: ObjectVersions, C: Clock>(
        regions: &DivergenceContext<'_, R, L, O, C>,
        survivor_rows: &LedgerRows,
        now: Timestamp,
    ) -> Result<Self, CallError> {
        let (former, primary) = (regions.former.region, regions.primary.region);
        let policy = regions.policy;
        let listed = join(list(former, policy), list(primary, policy)).await;
        let (former_objects, primary_objects) = (listed.0?, listed.1?);
        let epoch = regions.epoch;
        let mut unread: UnreadReasons = former_objects.unread.clone();
        unread.extend(primary_objects.unread.iter().cloned());
        let mut rows = LedgerRows::new();
        let subjects = former_objects.objects.keys();
        for subject in subjects.chain(primary_objects.objects.keys()) {
            let of = |region: &ListedRegion| region.objects.get(subject).cloned();
            let objects = (of(&primary_objects), of(&former_objects));
            let mut row = paired_row(subject, epoch, objects, now);
            if let Subject::Database(name) = subject {
                row.table_default = primary_objects.table_defaults.get(name).cloned();
            }
            let known = survivor_rows.get(subject);
            row.partitions = known.map(|known| known.partitions).unwrap_or_default();
            rows.insert(subject.clone(), row);
        }
        let mut reverse_rows = rows.clone();
        // By the ledger of the primary its entries of Iceberg tables show commits of the former primary.
        for (subject, row) in &mut reverse_rows {
            let known = survivor_rows.get(subject);
            row.iceberg = known.and_then(|known| known.iceberg.clone());
        }
        let mappings = principal_mappings(policy, epoch);
        let items = Prefetched::lake_formation(primary, former, &mappings).await;
        add_keys(&mut rows, &items.1, survivor_rows, now);
        let mappings = principal_mappings(policy, epoch.switched());
        let items = Prefetched::lake_formation(former, primary, &mappings).await;
        add_keys(&mut reverse_rows, &items.1, survivor_rows, now);
        // Of an object that only the primary has, nothing is paired.
        rows.retain(|subject, _| is_listed_in(subject, &former_objects));
        let to_primary = GrantMapping::of_primary(policy, epoch.switched());
        Ok(Self {
            rows,
            reverse_rows,
            table_defaults: differing_defaults(
                (&former_objects, &primary_objects),
                survivor_rows,
                &to_primary,
            ),
            in_former: former_objects
                .objects
                .into_iter()
                .map(|(subject, object)| (subject, object.created))
                .collect(),
            in_primary: primary_objects
                .objects
                .into_iter()
                .map(|(subject, object)| (subject, object.digest))
                .collect(),
            primary_tables: primary_objects.table_locations,
            unread,
        })
    }
}

impl PairedRegions {
    /// Leaves these subjects of the former primary to whoever made them: no pairing allows Twinlake to change or to
    /// delete them. Where both Regions have one, and it is equal, the next resync pairs it.
    pub(super) fn unpair(&mut self, left_out: &BTreeSet<Subject>) {
        let is_object =
            |subject: &Subject| !matches!(subject, Subject::Catalog | Subject::LakeFormation(_));
        for subject in left_out.iter().filter(|subject| is_object(subject)) {
            if let Some(row) = self.rows.get_mut(subject) {
                row.pairing = None;
            }
        }
        let in_primary = &self.in_primary;
        self.rows.retain(|subject, row| {
            !is_object(subject) || row.pairing.is_some() || in_primary.contains_key(subject)
        });
    }
}

fn is_listed_in(subject: &Subject, region: &ListedRegion) -> bool {
    match subject {
        Subject::Catalog | Subject::LakeFormation(_) => true,
        Subject::Database(_) | Subject::Table(_) | Subject::Function(_) => {
            region.objects.contains_key(subject)
        }
    }
}

/// The default permissions for new tables of the former primary that differ from those of the primary, as they would
/// be there. Closed ones differ from open ones, unless the ledger of the primary knows that they were closed before.
fn differing_defaults(
    (former, primary): (&ListedRegion, &ListedRegion),
    survivor_rows: &LedgerRows,
    mapping: &GrantMapping,
) -> BTreeMap<Name, Vec<PrincipalPermissions>> {
    let mapped = former.table_defaults.iter().map(|(name, defaults)| {
        let mut defaults = defaults.clone();
        for one in &mut defaults {
            let principal = one.principal.as_mut();
            let id = principal.and_then(|one| one.data_lake_principal_identifier.as_mut());
            if let Some(id) = id {
                *id = mapping.counterpart(id);
            }
        }
        (name.clone(), defaults)
    });
    let differs = |(name, defaults): &(Name, Vec<PrincipalPermissions>)| {
        let in_primary = primary.table_defaults.get(name);
        if !defaults.is_empty() {
            return in_primary != Some(defaults);
        }
        let row = survivor_rows.get(&Subject::Database(name.clone()));
        let known = row.and_then(|row| row.table_default.as_ref());
        in_primary.is_some_and(|open| !open.is_empty()) && known != Some(defaults)
    };
    mapped.filter(differs).collect()
}

/// The row that pairs an object of the primary with one of the former primary.
fn paired_row(
    subject: &Subject,
    epoch: Epoch,
    (primary, former): (Option<ListedObject>, Option<ListedObject>),
    now: Timestamp,
) -> LedgerRow {
    let created = |object: &Option<ListedObject>| object.as_ref().and_then(|one| one.created);
    let link = |object: &Option<ListedObject>| object.as_ref().and_then(|one| one.link.clone());
    let links = BySite::from_roles(epoch, link(&primary), link(&former));
    let is_link = links.iter().any(|(_, link)| link.is_some());
    let mut row = LedgerRow::new(subject.clone(), SubjectState::OutOfSync, now);
    let reason = "it has not been compared since the Region became the standby";
    row.reason = Some(reason.to_owned());
    row.pairing = Some(Pairing {
        created: BySite::from_roles(epoch, created(&primary), created(&former)),
        link: is_link,
        digest: links,
    });
    row
}

/// Adds the rows of Lake Formation subjects: everything of this kind in the Region is managed. Of the
/// administrators, only those are that came from the other Region by the ledger of the primary.
fn add_keys(rows: &mut LedgerRows, items: &Items, survivor_rows: &LedgerRows, now: Timestamp) {
    for lf_subject in SUBJECTS_WITH_KEYS {
        let subject = Subject::LakeFormation(lf_subject);
        let known = survivor_rows.get(&subject);
        let keys: BTreeSet<String> = match lf_subject {
            LfSubject::Settings => known
                .map(|row| row.managed_keys.clone())
                .unwrap_or_default(),
            LfSubject::LfTags
            | LfSubject::LfTagExpressions
            | LfSubject::DataLocations
            | LfSubject::Permissions => {
                let found = items.by_subject.get(&lf_subject);
                let found = found.and_then(Observation::present).into_iter();
                found
                    .flat_map(|found| found.keys().map(managed_item_key))
                    .collect()
            }
        };
        let row = LedgerRow {
            since: now,
            ..LedgerRow::of_managed_keys(lf_subject, keys)
        };
        rows.insert(subject, row);
    }
}

/// Lists the databases, tables and functions of a Region that the policy covers.
async fn list<R: ReadRegion>(region: &R, policy: &Policy) -> Result<ListedRegion, CallError> {
    let mut listed = ListedRegion::default();
    let databases = region.databases().await?;
    let databases = databases
        .into_iter()
        .filter(|found| policy.covers_database(&found.object.name));
    let databases: Vec<_> = databases.map(Observed::without_target_fields).collect();
    for database in &databases {
        listed.add_database(database);
        if database.is_link() {
            continue;
        }
        let name = &database.object.name;
        match region.tables(name).await {
            Ok(tables) => listed.add_tables(name, tables, policy),
            // It was deleted since it was listed.
            Err(error) if error.kind == CallErrorKind::NotFound => {}
            Err(error) => drop(listed.unread.insert(error.to_string())),
        }
    }
    let functions = match region.functions(None).await {
        Err(error) if error.kind == CallErrorKind::Unsupported => {
            let mut functions = Vec::new();
            for database in databases.iter().filter(|database| !database.is_link()) {
                match region.functions(Some(&database.object.name)).await {
                    Ok(found) => functions.extend(found),
                    Err(error) if error.kind == CallErrorKind::NotFound => {}
                    Err(error) => drop(listed.unread.insert(error.to_string())),
                }
            }
            functions
        }
        Ok(functions) => functions,
        Err(error) => {
            listed.unread.insert(error.to_string());
            Vec::new()
        }
    };
    for (id, function) in functions {
        listed.add_function(id, function.created, digest(&function.object), policy);
    }
    Ok(listed)
}

impl ListedRegion {
    fn add_database(&mut self, found: &Observed<Database>) {
        let name = found.object.name.clone();
        // The defaults of a standby are closed, and the primary's are kept in the ledger.
        let closed = Database {
            create_table_default_permissions: Some(Vec::new()),
            ..found.object.clone()
        };
        let object = ListedObject {
            created: found.created,
            digest: digest(&closed.into_comparable()),
            link: found.is_link().then(|| digest(&found.object)),
        };
        if !found.is_link() {
            let defaults = found.object.create_table_default_permissions.clone();
            let defaults = defaults.unwrap_or_default();
            self.table_defaults.insert(name.clone(), defaults);
        }
        self.objects.insert(Subject::Database(name), object);
    }

    fn add_tables(&mut self, database: &Name, tables: Vec<Observed<Table>>, policy: &Policy) {
        for found in tables {
            let found = found.without_target_fields();
            let id = TableId::new(database.clone(), found.object.name.clone());
            if !policy.covers_table(&id) {
                continue;
            }
            let descriptor = found.object.storage_descriptor.as_ref();
            let location = descriptor.and_then(|descriptor| descriptor.location.as_ref());
            if let Some(location) = location.and_then(|text| Location::parse(text).ok()) {
                self.table_locations.insert(id.clone(), location);
            }
            let object = ListedObject {
                created: found.created,
                link: found.is_link().then(|| digest(&found.object)),
                digest: digest(&found.object.into_comparable()),
            };
            self.objects.insert(Subject::Table(id), object);
        }
    }

    fn add_function(
        &mut self,
        id: FunctionId,
        created: Option<Timestamp>,
        digest: String,
        policy: &Policy,
    ) {
        if policy.covers_database(&id.database) {
            let object = ListedObject {
                created,
                digest,
                link: None,
            };
            self.objects.insert(Subject::Function(id), object);
        }
    }
}
