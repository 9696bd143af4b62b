//! What the former primary has of subjects about which no plan decides, as it is there: nothing of it is translated.
//! The report names each such subject, and its digest covers all that is read here.

use super::DivergenceContext;
use crate::observe::lakeformation::SUBJECTS_WITH_ITEMS;
use crate::observe::run_concurrently;
use crate::ports::{Clock, ObjectVersions, PageTokens, ReadRegion};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Comparable, MaybeLink, Observed, digest};
use twinlake_core::divergence::{
    ComparedRegions, FormerChange, FormerChangeKind, UndecidedReasons, UnreadReasons,
};
use twinlake_core::policy::{ColumnStatisticsPolicy, GlueTagsPolicy};
use twinlake_core::scope::{subject_of_opt_in, subject_of_resource};
use twinlake_core::step_kind::ObjectKind;
use twinlake_core::{
    CallError, CallErrorKind, Facet, LfSubject, OwnRoles, Policy, Subject, Table, TableId,
};

/// Everything that a Region has of a subject, with digests of the parts, as far as the policy replicates them.
#[derive(Debug, Default, Serialize)]
struct RawContent {
    /// The object, or the data lake settings.
    definition: String,
    /// The values and the digest of each. A map with lists as keys has no JSON.
    partitions: BTreeSet<(Vec<String>, String)>,
    attachments: BTreeSet<String>,
    /// Grants and opt-ins.
    permissions: BTreeSet<String>,
}

/// The grants and opt-ins of a Region, by subject.
type PermissionsBySubject = BTreeMap<Subject, BTreeSet<String>>;

/// Reads what the former primary has of these subjects, and makes one change of each. What could not be read is
/// returned with the reason.
pub(super) async fn read_undecided<R: ReadRegion, L, O: ObjectVersions, C: Clock>(
    regions: &DivergenceContext<'_, R, L, O, C>,
    compared: &ComparedRegions,
    undecided: &BTreeMap<Subject, UndecidedReasons>,
) -> (Vec<FormerChange>, UnreadReasons) {
    if undecided.is_empty() {
        return (Vec::new(), UnreadReasons::new());
    }
    let former = regions.former.region;
    let permissions = match permissions(former, regions.own_roles).await {
        Ok(permissions) => permissions,
        Err(error) => return (Vec::new(), [error.to_string()].into()),
    };
    let reader = ContentReader {
        region: former,
        policy: regions.policy,
    };
    let reader = &reader;
    let calls = undecided.iter().map(|(subject, reasons)| async move {
        let content = reader.content(subject).await;
        (subject, reasons, content)
    });
    let mut changes = Vec::new();
    let mut unread = UnreadReasons::new();
    for (subject, reasons, content) in run_concurrently(calls, regions.max_concurrent_calls).await {
        match content {
            Ok(content) => {
                let permissions = permissions.get(subject).cloned().unwrap_or_default();
                let content = RawContent {
                    permissions,
                    ..content
                };
                let is_only_there = !matches!(subject, Subject::LakeFormation(_))
                    && !compared.in_primary.contains_key(subject);
                changes.push(change(subject, reasons, is_only_there, &content));
            }
            Err(error) => drop(unread.insert(format!("{subject}: {error}"))),
        }
    }
    changes.sort_by(|one, other| one.subject.cmp(&other.subject));
    (changes, unread)
}

fn change(
    subject: &Subject,
    reasons: &UndecidedReasons,
    is_only_there: bool,
    content: &RawContent,
) -> FormerChange {
    let object = match subject {
        Subject::Table(_) => ObjectKind::Tables,
        Subject::Function(_) => ObjectKind::Functions,
        Subject::Database(_) => ObjectKind::Databases,
        Subject::LakeFormation(LfSubject::LfTags) => ObjectKind::LfTags,
        Subject::LakeFormation(LfSubject::LfTagExpressions) => ObjectKind::LfTagExpressions,
        Subject::LakeFormation(LfSubject::DataLocations) => ObjectKind::DataLocations,
        Subject::LakeFormation(LfSubject::Settings) => ObjectKind::DataLakeSettings,
        Subject::LakeFormation(LfSubject::Permissions) | Subject::Catalog => ObjectKind::Grants,
    };
    let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
    let reasons = match reasons.is_empty() {
        true => String::new(),
        false => format!(": {}", reasons.join("; ")),
    };
    FormerChange {
        subject: subject.clone(),
        object,
        kind: match is_only_there {
            true => FormerChangeKind::OnlyThere,
            false => FormerChangeKind::NotComparable,
        },
        text: format!(
            "{subject}, with all that belongs to it, of which the report has no copy{reasons}"
        ),
        step: None,
        digest: digest(content),
    }
}

/// Lists the grants and opt-ins of a Region, without the grants of Twinlake's roles.
async fn permissions<R: ReadRegion>(
    region: &R,
    own_roles: &OwnRoles,
) -> Result<PermissionsBySubject, CallError> {
    let mut by_subject = PermissionsBySubject::new();
    let grants = region.all_grants().await?.into_iter();
    for grant in grants.filter(|grant| !own_roles.contains(&grant.principal.0)) {
        if let Some(subject) = subject_of_resource(&grant.resource) {
            let of_subject = by_subject.entry(subject).or_default();
            of_subject.insert(format!("{grant:?}"));
        }
    }
    for opt_in in if_supported(region.opt_ins().await)? {
        let of_subject = by_subject.entry(subject_of_opt_in(&opt_in)).or_default();
        of_subject.insert(format!("{opt_in:?}"));
    }
    Ok(by_subject)
}

/// A Region that does not support a listing has nothing of the kind.
fn if_supported<T: Default>(listed: Result<T, CallError>) -> Result<T, CallError> {
    match listed {
        Err(error) if error.kind == CallErrorKind::Unsupported => Ok(T::default()),
        other => other,
    }
}

/// Reads what a Region has of single subjects.
struct ContentReader<'a, R> {
    region: &'a R,
    policy: &'a Policy,
}

impl<R: ReadRegion> ContentReader<'_, R> {
    /// Everything but the permissions.
    async fn content(&self, subject: &Subject) -> Result<RawContent, CallError> {
        let mut content = RawContent::default();
        match subject {
            Subject::Catalog => {}
            Subject::Database(name) => {
                let found = self.region.database(name).await?;
                let is_link = found.is_link();
                content.definition = definition(found);
                if !is_link {
                    let facets = [Facet::GlueTags, Facet::LfTagAssignments];
                    content.attachments = self.attachments(subject, &facets, &[]).await?;
                }
            }
            Subject::Function(id) => {
                let found = self.region.function(id).await?;
                content.definition = digest(&(found.created, found.object));
            }
            Subject::Table(id) => {
                let found = self.region.table(id).await?;
                if !found.is_link() {
                    content.partitions = self.partitions(id, &found.object).await?;
                    content.attachments = self.attachments_of_table(subject, &found.object).await?;
                }
                content.definition = definition(found);
            }
            Subject::LakeFormation(LfSubject::Settings) => {
                let settings = self.region.settings().await?;
                content.definition = format!("{:?}", settings.data_lake_settings);
            }
            Subject::LakeFormation(lf_subject) if SUBJECTS_WITH_ITEMS.contains(lf_subject) => {
                content.attachments = self.attachments(subject, &[Facet::Items], &[]).await?;
            }
            Subject::LakeFormation(_) => {}
        }
        Ok(content)
    }

    /// The values and the digest of each partition of a table.
    async fn partitions(
        &self,
        id: &TableId,
        table: &Table,
    ) -> Result<BTreeSet<(Vec<String>, String)>, CallError> {
        let mut partitions = BTreeSet::new();
        if table.partition_keys.is_empty() {
            return Ok(partitions);
        }
        let (mut token, mut tokens) = (None, PageTokens::default());
        loop {
            let (page, next) = self.region.partitions_page(id, None, token).await?;
            for partition in page {
                let values = partition.values.clone();
                partitions.insert((values, digest(&partition.into_comparable())));
            }
            token = tokens.next(next, ("GetPartitions", self.region.region()))?;
            if token.is_none() {
                return Ok(partitions);
            }
        }
    }

    async fn attachments_of_table(
        &self,
        subject: &Subject,
        table: &Table,
    ) -> Result<BTreeSet<String>, CallError> {
        let stored = table.storage_descriptor.iter().flat_map(|sd| &sd.columns);
        let columns: Vec<String> = stored.map(|column| column.name.clone()).collect();
        let mut facets = vec![
            Facet::GlueTags,
            Facet::LfTagAssignments,
            Facet::DataCellsFilters,
        ];
        if !table.partition_keys.is_empty() {
            facets.push(Facet::Indexes);
        }
        if !columns.is_empty() && !table.is_view() {
            facets.push(Facet::Statistics);
        }
        self.attachments(subject, &facets, &columns).await
    }

    async fn attachments(
        &self,
        subject: &Subject,
        facets: &[Facet],
        columns: &[String],
    ) -> Result<BTreeSet<String>, CallError> {
        let mut all = BTreeSet::new();
        for facet in facets {
            let (is_statistics, is_tags) = (*facet == Facet::Statistics, *facet == Facet::GlueTags);
            let policy = self.policy;
            if (is_statistics && policy.column_statistics != ColumnStatisticsPolicy::Tables)
                || (is_tags && policy.glue_tags != GlueTagsPolicy::Copy)
            {
                continue;
            }
            let columns = if is_statistics { columns } else { &[] };
            let listed = self.region.attachments(subject, *facet, columns).await;
            let listed = if_supported(listed)?.into_iter();
            all.extend(listed.map(|one| digest(&one.attachment)));
        }
        Ok(all)
    }
}

fn definition<T: MaybeLink + Comparable + Serialize>(found: Observed<T>) -> String {
    let found = found.without_target_fields();
    digest(&(found.created, found.object.into_comparable()))
}
