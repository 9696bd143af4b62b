//! What is only counted or compared.

use crate::observe::Prefetched;
use crate::ports::ReadRegion;
use crate::reconcile::{Context, Outcome};
use twinlake_core::plan::{Finding, FindingKind};
use twinlake_core::reading::Observation;
use twinlake_core::{Scope, Subject};

/// Counts what is not replicated and compares what is not written, once a run.
pub(super) async fn note_survey<P: ReadRegion, S: ReadRegion, L, C>(
    context: &Context<'_, P, S, L, C>,
    scope: &Scope,
    prefetched: &Prefetched,
    outcome: &mut Outcome,
) {
    if !scope.looks.contains_key(&Subject::Catalog) {
        return;
    }
    outcome.looked.insert(Subject::Catalog);
    let (primary, secondary) =
        futures_util::future::join(context.primary.survey(), context.secondary.survey()).await;
    let mut counts = primary.kinds;
    let grants = prefetched.grants.as_ref().map(|(primary, _)| primary);
    if let Some(index) = grants.and_then(Observation::present) {
        counts.extend(index.unsupported.clone());
    }
    let mut find = |kind: FindingKind, detail: String| {
        outcome.findings.insert(Finding {
            kind,
            subject: Subject::Catalog,
            detail,
        });
    };
    for (region, index) in [context.primary.region(), context.secondary.region()]
        .into_iter()
        .zip(
            prefetched
                .grants
                .iter()
                .flat_map(|(here, there)| [here, there]),
        )
    {
        let Some(index) = index.present() else {
            continue;
        };
        if let Some(one) = index.disputed.first() {
            let count = index.disputed.len();
            let detail = format!(
                "{count} x grant that only one of two listings of {region} shows, as {one}; it \
                 counts as granted"
            );
            find(FindingKind::Unsupported, detail);
        }
    }
    for (kind, count) in counts {
        find(FindingKind::Unsupported, format!("{count} x {kind}"));
    }
    let (from, to) = (
        context.policy.primary(context.epoch),
        context.policy.secondary(context.epoch),
    );
    for (name, here) in primary.settings {
        let wanted = twinlake_core::arn::moved(&here, from, to);
        match secondary.settings.get(&name) {
            Some(there) if *there != wanted => {
                let values = match here.len().max(there.len()) {
                    0..=100 => format!(": {here} in the primary, {there} in the secondary"),
                    _ => String::new(),
                };
                let detail = format!(
                    "the {name} differs between the Regions, and is not replicated{values}"
                );
                find(FindingKind::Unsupported, detail);
            }
            Some(_) | None => {}
        }
    }
}

/// Counts the optimizers of the Iceberg tables that were seen.
pub(super) async fn note_optimizers<P: ReadRegion, S, L, C>(
    context: &Context<'_, P, S, L, C>,
    outcome: &mut Outcome,
) {
    let tables = std::mem::take(&mut outcome.iceberg);
    if tables.is_empty() {
        return;
    }
    if let Ok(count) = context.primary.optimizers(&tables).await
        && count > 0
    {
        outcome.findings.insert(Finding {
            kind: FindingKind::Unsupported,
            subject: Subject::Catalog,
            detail: format!("{count} x table optimizer"),
        });
    }
}
