//! The inventory of objects and settings that Twinlake only counts or compares.

use crate::observe::{Prefetched, UnmappedAttachments};
use crate::ports::{Environment, ReadRegion, UnreplicatedInventory};
use crate::reconcile::{Context, ReconcileOutcome};
use twinlake_core::Subject;
use twinlake_core::location::Location;
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::snapshot::Observation;

/// The inventories of the primary and of the standby.
pub(super) type Inventories = (UnreplicatedInventory, UnreplicatedInventory);

/// Reads the inventories of both Regions, if the whole catalog is read: once per resync run.
pub(super) async fn read_inventories<E: Environment>(
    context: &Context<'_, E>,
    is_whole_catalog: bool,
) -> Option<Inventories> {
    if !is_whole_catalog {
        return None;
    }
    let (primary, standby) = (
        context.primary.unreplicated_inventory(),
        context.standby.unreplicated_inventory(),
    );
    Some(futures_util::future::join(primary, standby).await)
}

/// What the listings of grants could not show, or show differently.
fn listing_findings<E: Environment>(
    context: &Context<'_, E>,
    prefetched: &Prefetched,
) -> Vec<(FindingKind, String)> {
    let regions = [context.primary.region(), context.standby.region()];
    let indexes = prefetched.grants.iter();
    let indexes = indexes.flat_map(|(primary, standby)| [primary, standby]);
    let mut findings = Vec::new();
    for (region, index) in regions.into_iter().zip(indexes) {
        let Some(index) = index.present() else {
            continue;
        };
        for (kind, error) in &index.refused_types {
            let detail = format!(
                "{region} refuses to list the grants on resources of type {}: what its listing without a \
                 filter lacks of them does not count as revoked ({error})",
                kind.as_str()
            );
            findings.push((FindingKind::Unreadable, detail));
        }
        if let Some((count, example)) = index.inconsistent() {
            let detail = format!(
                "{count} x grant that only one of two listings of {region} shows, such as {example}; it \
                 counts as granted"
            );
            findings.push((FindingKind::Unsupported, detail));
        }
    }
    findings
}

/// Adds findings for objects that are not replicated, and for settings that are only compared.
pub(super) fn report_unreplicated<E: Environment>(
    context: &Context<'_, E>,
    inventories: Option<Inventories>,
    prefetched: &Prefetched,
    outcome: &mut ReconcileOutcome,
) {
    let Some((primary, standby)) = inventories else {
        return;
    };
    outcome.scanned.insert(Subject::Catalog);
    let mut counts = primary.kinds;
    let grants = prefetched.grants.as_ref().map(|(primary, _)| primary);
    if let Some(index) = grants.and_then(Observation::present) {
        counts.extend(index.unsupported.clone());
    }
    let mut add_finding = |kind: FindingKind, detail: String| {
        outcome.findings.insert(Finding {
            kind,
            subject: Subject::Catalog,
            detail,
        });
    };
    for (kind, detail) in listing_findings(context, prefetched) {
        add_finding(kind, detail);
    }
    for (kind, count) in counts {
        add_finding(FindingKind::Unsupported, format!("{count} x {kind}"));
    }
    let [in_primary, in_standby] = describe_unmapped_attachments(prefetched);
    for description in in_primary {
        add_finding(FindingKind::Unsupported, description);
    }
    // Of a [[location]] pair that was changed, the standby keeps what it got by the old one.
    let grants = prefetched.grants.as_ref().map(|(_, standby)| standby);
    let grants = grants.and_then(Observation::present).into_iter();
    let grants = grants.flat_map(|index| &index.unsupported);
    let on_locations = grants.filter(|(kind, _)| kind.contains(Location::NO_PAIR));
    let on_locations = on_locations.map(|(kind, count)| format!("{count} x {kind}"));
    let others = in_standby
        .into_iter()
        .filter(|one| one.contains(Location::NO_PAIR));
    for description in on_locations.chain(others) {
        let detail =
            format!("{description}: it is in the standby, and Twinlake does not compare it");
        add_finding(FindingKind::Unsupported, detail);
    }
    let (from, to) = (
        context.policy.primary(context.epoch),
        context.policy.standby(context.epoch),
    );
    for (name, primary_value) in primary.settings {
        let expected = twinlake_core::arn::rewrite_glue_arns(&primary_value, from, to);
        match standby.settings.get(&name) {
            Some(standby_value) if *standby_value != expected => {
                let values = match primary_value.len().max(standby_value.len()) {
                    0..=100 => {
                        format!(": {primary_value} in the primary, {standby_value} in the standby")
                    }
                    _ => String::new(),
                };
                let detail = format!(
                    "the {name} differs between the Regions, and is not replicated{values}"
                );
                add_finding(FindingKind::Unsupported, detail);
            }
            Some(_) | None => {}
        }
    }
}

/// Describes the registrations and opt-ins of the primary and of the standby that have no counterpart in
/// the other Region, one line for each kind.
fn describe_unmapped_attachments(prefetched: &Prefetched) -> [Vec<String>; 2] {
    let items = prefetched.lake_formation.as_ref();
    let items = items.map(|(primary, standby)| [&primary.unmapped, &standby.unmapped]);
    let opt_ins = prefetched.opt_ins.as_ref();
    let opt_ins = opt_ins.map(|(primary, standby)| {
        [primary, standby].map(|listed| listed.present().map(|opt_ins| &opt_ins.unmapped))
    });
    let describe = |region: usize| {
        let items = items.and_then(|items| items.get(region).copied());
        let opt_ins = opt_ins.and_then(|opt_ins| opt_ins.get(region).copied().flatten());
        let unmapped = items.into_iter().chain(opt_ins);
        unmapped
            .flat_map(UnmappedAttachments::descriptions)
            .collect()
    };
    [describe(0), describe(1)]
}

/// Adds a finding with the number of table optimizers of the Iceberg tables that were read.
pub(super) async fn report_table_optimizers<E: Environment>(
    context: &Context<'_, E>,
    outcome: &mut ReconcileOutcome,
) {
    let tables = std::mem::take(&mut outcome.iceberg);
    if tables.is_empty() {
        return;
    }
    if let Ok(count) = context.primary.optimizer_count(&tables).await
        && count > 0
    {
        outcome.findings.insert(Finding {
            kind: FindingKind::Unsupported,
            subject: Subject::Catalog,
            detail: format!("{count} x table optimizer"),
        });
    }
}
