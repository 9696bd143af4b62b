//! Reads Lake Formation's catalog-wide objects, opt-ins, and what LF-Tags give access to.

use super::attachment_mapping::{
    LimitingOptIn, MappedAttachments, UnmappedAttachments, limiting_opt_in,
};
use super::grants::exists;
use super::{ObservationPair, Observer, Snapshots, join, present_or_unknown, run_concurrently};
use crate::grant_index::GrantIndex;
use crate::ports::{GrantFilter, PermissionResourceType, ReadRegion};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::catalog::{Attachment, AttachmentKey, IndexStatus, ObservedAttachment, OptIn};
use twinlake_core::grant::{GrantMapping, LfTagExpression, LfTagPolicy, LfTagPolicyTarget};
use twinlake_core::scope::subject_of_opt_in;
use twinlake_core::snapshot::{
    Attachments, LfTagPolicyGrants, LfTagSearch, LfTaggedResource, Observation, Snapshot,
    UnmappedOptIn, by_key,
};
use twinlake_core::{
    CallError, CallErrorKind, Facet, Grants, LfSubject, PermissionGrant, Resource, Subject,
};

/// The items of a Region.
#[derive(Clone, Debug, Default)]
pub struct Items {
    /// The items that are replicated, by Lake Formation subject.
    pub by_subject: BTreeMap<LfSubject, Observation<Attachments>>,
    /// The Lake Formation subjects whose items the Region answered not to support.
    pub unsupported: BTreeMap<LfSubject, CallError>,
    /// The other items.
    pub unmapped: UnmappedAttachments,
}

/// The Lake Formation subjects that consist of items.
pub(crate) const SUBJECTS_WITH_ITEMS: [LfSubject; 3] = [
    LfSubject::LfTags,
    LfSubject::LfTagExpressions,
    LfSubject::DataLocations,
];

/// The error of a Region that answers that it does not support a listing.
pub(super) fn unsupported<T>(listed: &Observation<T>) -> Option<&CallError> {
    match listed {
        Observation::Unknown(error) => {
            Some(error).filter(|error| error.kind == CallErrorKind::Unsupported)
        }
        Observation::Present(_) | Observation::Absent(_) => None,
    }
}

/// The listings of both Regions. A Region that does not support the call has nothing of this kind; but of
/// the primary that is not believed where the standby, which follows it, has something.
pub(super) fn empty_if_unsupported<T: Default>(
    (primary, standby): ObservationPair<T>,
    has_any: impl Fn(&T) -> bool,
) -> ObservationPair<T> {
    let standby = match unsupported(&standby).is_some() {
        true => Observation::Present(T::default()),
        false => standby,
    };
    let primary = match unsupported(&primary).is_some() && !standby.present().is_some_and(has_any) {
        true => Observation::Present(T::default()),
        false => primary,
    };
    (primary, standby)
}

/// Lists the items of a Lake Formation subject: those that are replicated, and the others.
pub(super) async fn list_items(
    region: &impl ReadRegion,
    lf_subject: LfSubject,
    mapping: &GrantMapping,
) -> (Observation<Attachments>, UnmappedAttachments) {
    let mut mapped = MappedAttachments::default();
    let listed = region
        .attachments(&Subject::LakeFormation(lf_subject), Facet::Items, &[])
        .await;
    let items = present_or_unknown(listed.map(|all| {
        for observed in all {
            mapped.add(observed, mapping);
        }
        std::mem::take(&mut mapped.by_key)
    }));
    (items, mapped.unmapped)
}

/// Lists the items of every Lake Formation subject of both Regions.
pub(super) async fn list_items_of_both(
    (primary, primary_mapping): (&impl ReadRegion, &GrantMapping),
    (standby, standby_mapping): (&impl ReadRegion, &GrantMapping),
) -> (Items, Items) {
    let (mut primary, mut standby) = join(
        list_all_items(primary, primary_mapping),
        list_all_items(standby, standby_mapping),
    )
    .await;
    for lf_subject in SUBJECTS_WITH_ITEMS {
        let listed = [&mut primary, &mut standby].map(|items| items.by_subject.remove(&lf_subject));
        if let [Some(in_primary), Some(in_standby)] = listed {
            let (in_primary, in_standby) =
                empty_if_unsupported((in_primary, in_standby), |items| !items.is_empty());
            primary.by_subject.insert(lf_subject, in_primary);
            standby.by_subject.insert(lf_subject, in_standby);
        }
    }
    (primary, standby)
}

/// Lists all opt-ins of both Regions.
pub(super) async fn list_opt_ins_of_both(
    (primary, primary_mapping): (&impl ReadRegion, &GrantMapping),
    (standby, standby_mapping): (&impl ReadRegion, &GrantMapping),
) -> ObservationPair<OptIns> {
    let listed = join(
        list_opt_ins(primary, primary_mapping),
        list_opt_ins(standby, standby_mapping),
    )
    .await;
    empty_if_unsupported(listed, |opt_ins| {
        !opt_ins.by_subject.is_empty() || !opt_ins.limiting.is_empty()
    })
}

/// Lists the items of every Lake Formation subject of a Region.
async fn list_all_items(region: &impl ReadRegion, mapping: &GrantMapping) -> Items {
    let mut all = Items::default();
    let listings = SUBJECTS_WITH_ITEMS.map(|lf_subject| async move {
        (lf_subject, list_items(region, lf_subject, mapping).await)
    });
    for (lf_subject, (items, unmapped)) in join_all(listings).await {
        if let Some(error) = unsupported(&items) {
            all.unsupported.insert(lf_subject, error.clone());
        }
        all.by_subject.insert(lf_subject, items);
        all.unmapped.merge(unmapped);
    }
    all
}

/// The opt-ins of a Region.
#[derive(Clone, Debug, Default)]
pub struct OptIns {
    /// The opt-ins that are replicated, by subject.
    pub by_subject: BTreeMap<Subject, Attachments>,
    /// The other opt-ins, as they are reported.
    pub unmapped: UnmappedAttachments,
    /// Every opt-in that limits access and has a counterpart, replicated or not.
    pub limiting: BTreeSet<OptIn>,
    /// Those that limit access and have none.
    pub limiting_unmapped: BTreeSet<UnmappedOptIn>,
}

/// Lists all opt-ins of a Region.
async fn list_opt_ins(region: &impl ReadRegion, mapping: &GrantMapping) -> Observation<OptIns> {
    let listed = region.opt_ins().await;
    present_or_unknown(listed.map(|all| {
        let mut by_subject: BTreeMap<Subject, MappedAttachments> = BTreeMap::new();
        let mut opt_ins = OptIns::default();
        for opt_in in all {
            match limiting_opt_in(&opt_in, mapping) {
                LimitingOptIn::Known(known) => drop(opt_ins.limiting.insert(known)),
                LimitingOptIn::Unmapped(other) => drop(opt_ins.limiting_unmapped.insert(other)),
                LimitingOptIn::Elsewhere => {}
            }
            let of_subject = by_subject.entry(subject_of_opt_in(&opt_in)).or_default();
            let observed = ObservedAttachment {
                attachment: Attachment::OptIn(Box::new(opt_in)),
                index_status: IndexStatus::Present,
            };
            of_subject.add(observed, mapping);
        }
        for (subject, mapped) in by_subject {
            opt_ins.by_subject.insert(subject, mapped.by_key);
            opt_ins.unmapped.merge(mapped.unmapped);
        }
        opt_ins
    }))
}

impl<P: ReadRegion, S: ReadRegion> Observer<'_, P, S> {
    /// Reads the opt-ins on subjects. They are few, so all opt-ins are listed at once.
    pub(super) async fn read_opt_ins(&self, subjects: &[Subject], snapshots: &mut Snapshots) {
        let fetched;
        let (primary, standby) = match &self.prefetched.opt_ins {
            Some(opt_ins) => (&opt_ins.0, &opt_ins.1),
            None => {
                let (to_primary, to_standby) = self.mappings;
                let (primary, standby) = (self.primary, self.standby);
                fetched = list_opt_ins_of_both((primary, to_primary), (standby, to_standby)).await;
                (&fetched.0, &fetched.1)
            }
        };
        let of = |all: &Observation<OptIns>, subject: &Subject| match all {
            Observation::Present(all) => {
                Observation::Present(all.by_subject.get(subject).cloned().unwrap_or_default())
            }
            Observation::Absent(proof) => Observation::Absent(proof.clone()),
            Observation::Unknown(error) => Observation::Unknown(error.clone()),
        };
        let limiting = |all: &Observation<OptIns>| match all {
            Observation::Present(all) => Observation::Present(all.limiting.clone()),
            Observation::Absent(proof) => Observation::Absent(proof.clone()),
            Observation::Unknown(error) => Observation::Unknown(error.clone()),
        };
        snapshots.primary.opt_ins = Some(limiting(primary));
        snapshots.standby.opt_ins = Some(limiting(standby));
        let unmapped = primary.present().map(|all| all.limiting_unmapped.clone());
        snapshots.primary.unmapped_opt_ins = unmapped.unwrap_or_default();
        for subject in subjects {
            let opt_ins = (subject.clone(), Facet::OptIns);
            let (primary, standby) = (of(primary, subject), of(standby, subject));
            snapshots
                .primary
                .attachments
                .insert(opt_ins.clone(), primary);
            snapshots.standby.attachments.insert(opt_ins, standby);
        }
    }

    /// Whether the prefetched listings say that neither Region has an LF-Tag.
    pub(super) fn has_no_lf_tags(&self) -> bool {
        let is_empty = |items: &Items| {
            let tags = items.by_subject.get(&LfSubject::LfTags);
            let tags = tags.and_then(Observation::present);
            tags.is_some_and(Attachments::is_empty)
        };
        let items = self.prefetched.lake_formation.as_ref();
        items.is_some_and(|(primary, standby)| is_empty(primary) && is_empty(standby))
    }

    /// Reads the grants on LF-Tag policies: they give access to new tables and columns and to newly
    /// tagged resources. They give no access if the standby has no LF-Tag or no such grant.
    pub(super) async fn read_lf_tag_policy_grants(&self, snapshots: &mut Snapshots) {
        if snapshots.standby.lf_tag_policy_grants.is_some()
            && snapshots.primary.lf_tag_policy_grants.is_some()
        {
            return;
        }
        let subject = Subject::LakeFormation(LfSubject::Permissions);
        if let Some((primary, standby)) = self.listed_grants_on(&subject) {
            for (index, snapshot) in [
                (primary, &mut snapshots.primary),
                (standby, &mut snapshots.standby),
            ] {
                snapshot.lf_tag_policy_grants = Some(match index {
                    Observation::Present(index) => Observation::Present(LfTagPolicyGrants {
                        grants: lf_tag_policy_grants(index.on(&subject)),
                        from_full_read: index.proves_absence_on(&subject),
                        ..LfTagPolicyGrants::default()
                    }),
                    Observation::Absent(proof) => Observation::Absent(proof.clone()),
                    Observation::Unknown(error) => Observation::Unknown(error.clone()),
                });
            }
        } else {
            self.list_lf_tag_policy_grants(snapshots).await;
        }
        self.read_named_expressions(snapshots).await;
    }

    async fn list_lf_tag_policy_grants(&self, snapshots: &mut Snapshots) {
        let none = || Some(Observation::Present(LfTagPolicyGrants::default()));
        let (tags, _) = list_items(self.standby, LfSubject::LfTags, &self.mappings.1).await;
        if tags.present().is_some_and(Attachments::is_empty) {
            snapshots.primary.lf_tag_policy_grants = none();
            snapshots.standby.lf_tag_policy_grants = none();
            return;
        }
        let standby = list_lf_tag_policy_grants_of(self.standby, &self.mappings.1).await;
        let has_other_principals = |observed: &LfTagPolicyGrants| {
            let mut grants = observed.grants.keys();
            grants.any(|grant| !self.own_roles.contains(&grant.principal.0))
        };
        let may_give_access = standby.present().is_none_or(has_other_principals);
        snapshots.standby.lf_tag_policy_grants = Some(standby);
        snapshots.primary.lf_tag_policy_grants = match may_give_access {
            true => Some(list_lf_tag_policy_grants_of(self.primary, &self.mappings.0).await),
            false => none(),
        };
    }

    /// Reads the named expressions, if grants on LF-Tag policies refer to one.
    async fn read_named_expressions(&self, snapshots: &mut Snapshots) {
        let refers_to_expression = |snapshot: &Snapshot| {
            let observed = snapshot.lf_tag_policy_grants.as_ref();
            let observed = observed.and_then(Observation::present).into_iter();
            let mut grants = observed.flat_map(|observed| observed.grants.keys());
            grants.any(|grant| expression_name(grant).is_some())
        };
        if !(refers_to_expression(&snapshots.primary) || refers_to_expression(&snapshots.standby)) {
            return;
        }
        let items = (
            Subject::LakeFormation(LfSubject::LfTagExpressions),
            Facet::Items,
        );
        if !snapshots.primary.attachments.contains_key(&items) {
            let expressions = BTreeSet::from([LfSubject::LfTagExpressions]);
            self.read_items(&expressions, snapshots).await;
        }
    }

    /// Reads the LF-Tags of databases, if a grant by LF-Tags may give access to something in them.
    pub(super) async fn read_database_lf_tags(
        &self,
        databases: &BTreeSet<Subject>,
        snapshots: &mut Snapshots,
    ) {
        if databases.is_empty() {
            return;
        }
        self.read_lf_tag_policy_grants(snapshots).await;
        let standby = snapshots.standby.lf_tag_policy_grants.as_ref();
        let may_give_access = standby
            .and_then(Observation::present)
            .is_none_or(|observed| !observed.grants.is_empty());
        if !may_give_access {
            return;
        }
        let wanted: Vec<(Subject, Facet)> = databases
            .iter()
            .map(|subject| (subject.clone(), Facet::LfTagAssignments))
            .filter(|tags| !snapshots.standby.attachments.contains_key(tags))
            .collect();
        // Of databases that were not requested, only the LF-Tags are read.
        let calls = wanted.into_iter().map(|(database, facet)| async move {
            let primary = self.primary.attachments(&database, facet, &[]);
            let standby = self.standby.attachments(&database, facet, &[]);
            let (primary, standby) = join(primary, standby).await;
            ((database, facet), primary, standby)
        });
        for (tags, primary, standby) in run_concurrently(calls, self.max_concurrent_calls).await {
            let empty_if_absent = |listed: Result<Vec<ObservedAttachment>, CallError>,
                                   snapshot: &Snapshot| {
                match listed {
                    Err(error)
                        if error.kind == CallErrorKind::NotFound && !exists(snapshot, &tags.0) =>
                    {
                        Observation::Present(Attachments::new())
                    }
                    listed => present_or_unknown(listed.map(by_key)),
                }
            };
            let primary = empty_if_absent(primary, &snapshots.primary);
            let standby = empty_if_absent(standby, &snapshots.standby);
            snapshots.primary.attachments.insert(tags.clone(), primary);
            snapshots.standby.attachments.insert(tags, standby);
        }
    }

    /// Searches both Regions for the resources to which a grant by LF-Tags would give access: of each
    /// missing grant, and of each whose named expression differs.
    pub(super) async fn search_by_lf_tags(&self, snapshots: &mut Snapshots) {
        let subject = Subject::LakeFormation(LfSubject::Permissions);
        let [primary, standby] = [&snapshots.primary, &snapshots.standby].map(|snapshot| {
            let grants = snapshot.grants.get(&subject);
            let by_policies = snapshot.lf_tag_policy_grants.as_ref();
            let by_policies = by_policies.and_then(Observation::present);
            let grants = grants.and_then(Observation::present);
            grants.or_else(|| by_policies.map(|by_policies| &by_policies.grants))
        });
        let (Some(primary), Some(standby)) = (primary, standby) else {
            return;
        };
        let differing = differing_expressions(snapshots);
        let missing = primary.iter().filter(|(grant, grantable)| {
            let in_standby = standby.get(grant);
            let is_missing = in_standby.is_none_or(|in_standby| **grantable && !in_standby);
            is_missing || expression_name(grant).is_some_and(|name| differing.contains(name))
        });
        let searches: BTreeSet<LfTagSearch> = missing
            .filter_map(|(grant, _)| search_of_grant(grant))
            .collect();
        let calls = searches.into_iter().filter_map(|search| {
            let expression = match &search.1 {
                LfTagPolicy::Expression(expression) => expression.clone(),
                LfTagPolicy::NamedExpression(name) => {
                    let items = (
                        Subject::LakeFormation(LfSubject::LfTagExpressions),
                        Facet::Items,
                    );
                    let items = snapshots.primary.attachments.get(&items)?.present()?;
                    let observed = items.get(&AttachmentKey::NamedExpression(name.clone()))?;
                    let Attachment::NamedExpression(saved) = &observed.attachment else {
                        return None;
                    };
                    saved.expression.clone()
                }
            };
            let in_primary = lf_tag_values(&snapshots.primary);
            let in_standby = lf_tag_values(&snapshots.standby);
            Some(async move {
                let found = join(
                    search_existing((self.primary, in_primary), search.0, &expression),
                    search_existing((self.standby, in_standby), search.0, &expression),
                );
                let (primary, standby) = found.await;
                (search, primary, standby)
            })
        });
        let found = run_concurrently(
            calls.collect::<Vec<_>>().into_iter(),
            self.max_concurrent_calls,
        )
        .await;
        for (search, primary, standby) in found {
            let in_primary = &mut snapshots.primary.lf_tagged_resources;
            in_primary.insert(search.clone(), primary);
            let in_standby = &mut snapshots.standby.lf_tagged_resources;
            in_standby.insert(search, standby);
        }
    }
}

/// Searches a Region for the resources that match an expression. One that names a key or a value that the Region lacks
/// may be refused: then the values that exist are searched for, since resources may have these.
async fn search_existing<R: ReadRegion>(
    (region, existing): (&R, Option<BTreeSet<(String, String)>>),
    target: LfTagPolicyTarget,
    expression: &LfTagExpression,
) -> Observation<Vec<LfTaggedResource>> {
    let error = match region.search_by_lf_tags(target, expression).await {
        Err(error) if error.kind == CallErrorKind::NotFound => error,
        found => return present_or_unknown(found),
    };
    let Some(existing) = existing else {
        return Observation::Unknown(error);
    };
    let mut known = expression.clone();
    for (key, values) in &mut known {
        values.retain(|value| existing.contains(&(key.clone(), value.clone())));
    }
    if known.values().any(BTreeSet::is_empty) {
        return Observation::Present(Vec::new());
    }
    match known == *expression {
        true => Observation::Unknown(error),
        false => present_or_unknown(region.search_by_lf_tags(target, &known).await),
    }
}

/// The keys and values of the LF-Tags of a Region, if they were read.
fn lf_tag_values(snapshot: &Snapshot) -> Option<BTreeSet<(String, String)>> {
    let items = (Subject::LakeFormation(LfSubject::LfTags), Facet::Items);
    let items = snapshot.attachments.get(&items)?.present()?;
    let values = items.values().filter_map(|item| match &item.attachment {
        Attachment::LfTagValue { key, value } => Some((key.clone(), value.clone())),
        Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::OptIn(_)
        | Attachment::NamedExpression(_)
        | Attachment::Registration(_) => None,
    });
    Some(values.collect())
}

/// The search for the resources that a grant on an LF-Tag policy gives access to.
fn search_of_grant(grant: &PermissionGrant) -> Option<LfTagSearch> {
    if let Resource::LfTagPolicy { target, policy } = &grant.resource {
        return Some((*target, policy.clone()));
    }
    None
}

/// The named expressions that differ between the Regions.
fn differing_expressions(snapshots: &Snapshots) -> BTreeSet<String> {
    let facet_key = (
        Subject::LakeFormation(LfSubject::LfTagExpressions),
        Facet::Items,
    );
    let [primary, standby] = [&snapshots.primary, &snapshots.standby].map(|snapshot| {
        let items = snapshot.attachments.get(&facet_key);
        items.and_then(Observation::present)
    });
    let (Some(primary), Some(standby)) = (primary, standby) else {
        return BTreeSet::new();
    };
    let differs = |key: &AttachmentKey| {
        let of = |items: &Attachments| items.get(key).map(|observed| observed.attachment.clone());
        of(primary) != of(standby)
    };
    let names = primary.keys().filter(|key| differs(key));
    names
        .filter_map(|key| match key {
            AttachmentKey::NamedExpression(name) => Some(name.clone()),
            AttachmentKey::Index(_)
            | AttachmentKey::Statistics(_)
            | AttachmentKey::GlueTag(_)
            | AttachmentKey::DataCellsFilter(_)
            | AttachmentKey::LfTagAssignment { .. }
            | AttachmentKey::OptIn(_)
            | AttachmentKey::LfTagValue { .. }
            | AttachmentKey::Registration(_) => None,
        })
        .collect()
}

/// The named expression that a grant on an LF-Tag policy refers to.
fn expression_name(grant: &PermissionGrant) -> Option<&String> {
    if let Resource::LfTagPolicy {
        policy: LfTagPolicy::NamedExpression(name),
        ..
    } = &grant.resource
    {
        return Some(name);
    }
    None
}

/// The grants on LF-Tag policies among others.
pub(super) fn lf_tag_policy_grants(grants: Grants) -> Grants {
    grants
        .into_iter()
        .filter(|(grant, _)| search_of_grant(grant).is_some())
        .collect()
}

async fn list_lf_tag_policy_grants_of(
    region: &impl ReadRegion,
    mapping: &GrantMapping,
) -> Observation<LfTagPolicyGrants> {
    let mut entries = Vec::new();
    let listings = PermissionResourceType::LF_TAG_POLICY_TYPES
        .map(|kind| async move { region.grants_on(&GrantFilter::Type(kind)).await });
    for listing in join_all(listings).await {
        match listing {
            Ok(listed) => entries.extend(listed),
            Err(error) => return Observation::Unknown(error),
        }
    }
    let index = GrantIndex::new(&entries, mapping);
    Observation::Present(LfTagPolicyGrants {
        grants: lf_tag_policy_grants(index.on(&Subject::LakeFormation(LfSubject::Permissions))),
        ..LfTagPolicyGrants::default()
    })
}
