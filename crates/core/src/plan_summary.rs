//! The summary of a plan: what it changes by kind and action, what is left to do by hand, and
//! everything that it deletes and revokes. It ends every plan that people read, so that the end of a
//! long plan is the verdict.

use crate::audit::{AuditRule, Rejection};
use crate::next_command::NextCommands;
use crate::plan::{Finding, FindingKind, MissingRights, Plan};
use crate::render::{self, StepCounts, counted, counted_objects, one_or_many};
use crate::scope::Subject;
use crate::step::Step;
use crate::step_kind::{ObjectKind, StepAction};
use crate::{SubjectState, render::escape};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What a plan amounts to. The field names of its JSON, the kinds and the actions are part of the
/// interface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSummary {
    /// The conclusion.
    pub verdict: Verdict,
    /// The counts of all steps by action, without bookkeeping.
    pub total: StepCounts,
    /// The counts by kind of object, without bookkeeping. Kinds without a step are left out.
    pub changes: BTreeMap<ObjectKind, StepCounts>,
    /// What changes nothing that users of the standby rely on.
    pub bookkeeping: Bookkeeping,
    /// The number of objects that are equal in both Regions with everything that belongs to them, by
    /// kind.
    pub equal: BTreeMap<ObjectKind, usize>,
    /// What Twinlake's role lacks to see everything.
    pub missing_rights: Option<MissingRightsNote>,
    /// The findings by kind, the worst kind first.
    pub findings: Vec<FindingGroup>,
    /// The rejections by rule.
    pub rejections: Vec<RejectionGroup>,
    /// Every step that deletes or revokes something, in the order of the plan.
    pub deletions_and_revokes: Vec<Removal>,
}

/// The conclusion of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing to do.
    Equal,
    /// There are changes to apply.
    Changes,
    /// Something is held, rejected, or could not be read; there may be changes, too.
    Attention,
}

/// What changes nothing that users of the standby rely on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bookkeeping {
    /// Updates of nothing but what engines and crawlers record, by kind: see
    /// [`Step::is_bookkeeping`].
    pub changes: BTreeMap<ObjectKind, usize>,
    /// The number of existing objects that the ledger does not pair yet.
    pub new_pairings: usize,
}

/// The missing rights, with what to do about them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingRightsNote {
    /// What is missing.
    #[serde(flatten)]
    pub rights: MissingRights,
    /// What to do.
    pub next: String,
}

/// The findings of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingGroup {
    /// The kind.
    pub kind: FindingKind,
    /// Their number.
    pub count: usize,
    /// Whether somebody has to look at them.
    pub needs_attention: bool,
    /// What to do about them.
    pub next: String,
    /// The findings, those with one reason together.
    pub reasons: Vec<FindingReason>,
}

/// The findings of one kind that have the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingReason {
    /// The reason.
    pub detail: String,
    /// The objects.
    pub subjects: Vec<String>,
}

/// The rejections by one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectionGroup {
    /// The rule.
    pub rule: AuditRule,
    /// What to do about them.
    pub next: String,
    /// The rejections, one text each.
    pub details: Vec<String>,
}

/// A step that deletes or revokes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// What the step does.
    pub action: StepAction,
    /// The object: for a partition its table, for a grant what it is on.
    pub subject: String,
    /// The step as one line.
    pub step: String,
    #[serde(skip)]
    marker: &'static str,
}

/// The largest number of objects that have one reason and still get a line each.
const MAX_LINES_WITH_ONE_REASON: usize = 3;

/// The number of objects that the line for more objects names.
const NAMED_SUBJECTS: usize = 3;

impl PlanSummary {
    /// Summarizes a plan and the rejections of other steps.
    #[must_use]
    pub fn new(plan: &Plan, rejections: &[Rejection], next: &NextCommands) -> Self {
        let mut summary = Self {
            verdict: verdict(plan, rejections),
            total: StepCounts::default(),
            changes: BTreeMap::new(),
            bookkeeping: Bookkeeping {
                changes: BTreeMap::new(),
                new_pairings: plan.new_pairings,
            },
            equal: equal_objects(plan),
            missing_rights: plan
                .missing_rights
                .as_ref()
                .map(|rights| MissingRightsNote {
                    next: next.missing_rights(rights),
                    rights: rights.clone(),
                }),
            findings: finding_groups(&plan.findings, next),
            rejections: rejection_groups(rejections, next),
            deletions_and_revokes: Vec::new(),
        };
        for step in &plan.steps {
            summary.add(step);
        }
        summary
    }

    fn add(&mut self, step: &Step) {
        let kind = step.object_kind();
        if step.is_bookkeeping() {
            *self.bookkeeping.changes.entry(kind).or_default() += 1;
            return;
        }
        self.total.add(step);
        self.changes.entry(kind).or_default().add(step);
        if step.takes_away() {
            self.deletions_and_revokes.push(Removal {
                kind,
                action: step.action(),
                subject: step.subject().to_string(),
                step: render::step(step),
                marker: render::marker(step),
            });
        }
    }

    /// Renders the summary for people: counts, findings, everything that is deleted or revoked, and
    /// the verdict in the last line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = self.counts();
        lines.extend(self.bookkeeping_line());
        lines.extend(self.equal_line());
        lines.extend(findings_text(&self.findings, self.missing_rights.is_some()));
        for group in &self.rejections {
            let count = group.details.len();
            lines.push(format!("Rejected by the audit ({count}): {}", group.next));
            let details = group.details.iter();
            lines.extend(details.map(|detail| format!("  REJECTED {detail}")));
        }
        if !self.deletions_and_revokes.is_empty() {
            let count = self.deletions_and_revokes.len();
            lines.push(format!("Deletions and revokes ({count}):"));
            let removals = self.deletions_and_revokes.iter();
            lines.extend(removals.map(|removal| format!("  {} {}", removal.marker, removal.step)));
        }
        let missing = self.missing_rights.iter();
        lines.extend(missing.map(|missing| format!("Missing rights: {}", missing.next)));
        lines.push(self.verdict_line());
        let lines = lines.iter().map(|line| escape(line) + "\n");
        lines.collect()
    }

    /// The table of counts. Its columns have one width in every plan.
    fn counts(&self) -> Vec<String> {
        if self.changes.is_empty() {
            return Vec::new();
        }
        let header = ["create", "change", "delete", "grant", "revoke"].map(str::to_owned);
        let rows = self.changes.iter().map(|(kind, counts)| {
            let counts = [
                counts.created,
                counts.changed,
                counts.deleted,
                counts.granted,
                counts.revoked,
            ];
            let cells = counts.map(|count| match count {
                0 => "-".to_owned(),
                count => count.to_string(),
            });
            table_row(&format!("  {}", kind.label()), &cells)
        });
        let mut lines = vec![table_row("Changes by kind", &header)];
        lines.extend(rows);
        lines
    }

    fn bookkeeping_line(&self) -> Option<String> {
        let mut parts = Vec::new();
        let changes: usize = self.bookkeeping.changes.values().sum();
        if changes > 0 {
            parts.push(format!(
                "{} {} only in counts, sizes and times that engines and crawlers record",
                by_kind(&self.bookkeeping.changes),
                one_or_many(changes, "differs", "differ")
            ));
        }
        match self.bookkeeping.new_pairings {
            0 => {}
            1 => parts.push("1 existing object becomes paired in the ledger".to_owned()),
            count => parts.push(format!(
                "{count} existing objects become paired in the ledger"
            )),
        }
        (!parts.is_empty()).then(|| format!("Bookkeeping only: {}.", parts.join("; ")))
    }

    fn equal_line(&self) -> Option<String> {
        (!self.equal.is_empty())
            .then(|| format!("Equal in both Regions: {}.", by_kind(&self.equal)))
    }

    fn verdict_line(&self) -> String {
        let counts = self.total;
        let bookkeeping: usize = self.bookkeeping.changes.values().sum();
        let steps = match (counts.total(), bookkeeping) {
            (0, 0) => "Nothing to do".to_owned(),
            (0, bookkeeping) => format!("Plan: {}", counted(bookkeeping, "bookkeeping change")),
            (_, bookkeeping) => {
                let plan = format!(
                    "Plan: {} to create, {} to change, {} to delete, {} to grant, {} to revoke",
                    counts.created, counts.changed, counts.deleted, counts.granted, counts.revoked
                );
                match bookkeeping {
                    0 => plan,
                    count => format!("{plan}, and {}", counted(count, "bookkeeping change")),
                }
            }
        };
        let findings = self
            .findings
            .iter()
            .filter(|group| group.needs_attention)
            .map(|group| group.count);
        let rejections = self.rejections.iter().map(|group| group.details.len());
        let attention: usize = findings.chain(rejections).sum();
        match (attention, self.missing_rights.is_some()) {
            (0, false) => format!("{steps}."),
            (0, true) => format!("{steps}. Rights are missing: see above."),
            (1, _) => format!("{steps}. 1 finding needs attention: see above."),
            (count, _) => format!("{steps}. {count} findings need attention: see above."),
        }
    }
}

/// One row of the table of counts.
fn table_row(label: &str, cells: &[String; 5]) -> String {
    let cells: String = cells.iter().map(|cell| format!("{cell:>8}")).collect();
    format!("{label:<22}{cells}")
}

/// Counts by kind as a list: `3 databases, 1 table`.
fn by_kind(counts: &BTreeMap<ObjectKind, usize>) -> String {
    let parts = counts.iter();
    let parts = parts.map(|(kind, count)| counted_objects(*count, *kind));
    parts.collect::<Vec<_>>().join(", ")
}

fn verdict(plan: &Plan, rejections: &[Rejection]) -> Verdict {
    let needs_attention = |finding: &Finding| finding.kind.needs_attention();
    let needs_nothing = rejections.is_empty()
        && plan.missing_rights.is_none()
        && !plan.findings.iter().any(needs_attention);
    match (needs_nothing, plan.is_empty()) {
        (false, _) => Verdict::Attention,
        (true, false) => Verdict::Changes,
        (true, true) => Verdict::Equal,
    }
}

/// Counts the paired objects in sync of which the plan changes nothing.
fn equal_objects(plan: &Plan) -> BTreeMap<ObjectKind, usize> {
    let changed: BTreeSet<Subject> = plan.steps.iter().map(Step::subject).collect();
    let mut equal = BTreeMap::new();
    for (subject, outcome) in &plan.subject_outcomes {
        let kind = match subject {
            Subject::Database(_) => ObjectKind::Databases,
            Subject::Table(_) => ObjectKind::Tables,
            Subject::Function(_) => ObjectKind::Functions,
            Subject::Catalog | Subject::LakeFormation(_) => continue,
        };
        let is_equal = outcome.state == SubjectState::InSync && !outcome.gone;
        if is_equal && outcome.pairing.is_some() && !changed.contains(subject) {
            *equal.entry(kind).or_default() += 1;
        }
    }
    equal
}

/// Groups findings by kind and reason, the worst kind first. Reasons stand in the order of their first
/// objects.
#[must_use]
pub fn finding_groups(findings: &BTreeSet<Finding>, next: &NextCommands) -> Vec<FindingGroup> {
    let mut groups: BTreeMap<FindingKind, FindingGroup> = BTreeMap::new();
    let mut positions: BTreeMap<(FindingKind, &str), usize> = BTreeMap::new();
    for finding in findings {
        let kind = finding.kind;
        let group = groups.entry(kind).or_insert_with(|| FindingGroup {
            kind,
            count: 0,
            needs_attention: kind.needs_attention(),
            next: next.finding(kind),
            reasons: Vec::new(),
        });
        group.count += 1;
        let position = positions.entry((kind, finding.detail.as_str()));
        let position = *position.or_insert(group.reasons.len());
        let subject = finding.subject.to_string();
        match group.reasons.get_mut(position) {
            Some(reason) => reason.subjects.push(subject),
            None => group.reasons.push(FindingReason {
                detail: finding.detail.clone(),
                subjects: vec![subject],
            }),
        }
    }
    groups.into_values().collect()
}

/// Renders groups of findings, the worst kind last: one line for each finding, and one for many that
/// have one reason. If `rights_are_stated`, what only repeats the missing rights is left out.
#[must_use]
pub fn findings_text(groups: &[FindingGroup], rights_are_stated: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for group in groups.iter().rev() {
        if rights_are_stated && group.kind == FindingKind::HiddenColumns {
            continue;
        }
        let (kind, count) = (group.kind.as_str(), group.count);
        lines.push(format!("{kind} ({count}). Next: {}.", group.next));
        for reason in &group.reasons {
            lines.extend(reason_lines(reason));
        }
    }
    lines
}

/// The lines about the objects that have one reason.
fn reason_lines(reason: &FindingReason) -> Vec<String> {
    let (subjects, detail) = (&reason.subjects, &reason.detail);
    if subjects.len() <= MAX_LINES_WITH_ONE_REASON {
        let subjects = subjects.iter();
        let lines = subjects.map(|subject| format!("  ! {subject}: {detail}"));
        return lines.collect();
    }
    let named = subjects.iter().take(NAMED_SUBJECTS).map(String::as_str);
    let named: Vec<&str> = named.collect();
    let more = subjects.len() - named.len();
    vec![format!(
        "  ! {} and {more} more: {detail}",
        named.join(", ")
    )]
}

fn rejection_groups(rejections: &[Rejection], next: &NextCommands) -> Vec<RejectionGroup> {
    let mut rules: BTreeMap<AuditRule, Vec<String>> = BTreeMap::new();
    for rejection in rejections {
        let details = rules.entry(rejection.rule).or_default();
        details.push(rejection.to_string());
    }
    let groups = rules.into_iter().map(|(rule, details)| RejectionGroup {
        rule,
        next: next.rejection(rule),
        details,
    });
    groups.collect()
}

#[cfg(test)]
mod tests;
