//! A table, a data cells filter on it, and a grant on the filter: a world whose plans have several
//! steps of which one requires another.
//!
//! The table gets a second column, and the filter then shows that column instead of the first. The
//! standby's table lacks the column at first, so the grant is revoked before the table and the
//! filter change, and granted again after them.

use crate::access_model::{AccessWorld, Decision, OnGrant, Question};
use crate::inputs::{CREATED, CommonInputs, Reads};
use twinlake_core::catalog::{
    Attachment, AttachmentKey, DataCellsFilter, FilterColumns, IndexStatus, ObservedAttachment,
    digest,
};
use twinlake_core::grant::{Grants, Permission, PermissionGrant, Resource};
use twinlake_core::scope::Facet;
use twinlake_core::snapshot::{Observation, by_key};
use twinlake_core::step::StepTarget;
use twinlake_core::{Name, Step, Table};

/// The table, its filter and the grant on the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilteredTable {
    /// The table has the column `new`, besides `old`.
    has_new_column: bool,
    /// The filter shows the column `new`, else `old`.
    shows_new_column: bool,
    is_granted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FilterStep {
    /// Updates the table, with or without the column `new`.
    UpdateTable(bool),
    /// Updates the filter, which then shows the column `new`, or `old`.
    PutFilter(bool),
    Grant,
    Revoke,
}

const FILTER: &str = "f";

impl AccessWorld for FilteredTable {
    type Step = FilterStep;

    const HAS_PARTS: bool = true;

    fn initial() -> Vec<Self> {
        let all = [(false, false), (true, false), (true, true)].into_iter();
        let all = all.flat_map(|(has_new_column, shows_new_column)| {
            [false, true].map(|is_granted| Self {
                has_new_column,
                shows_new_column,
                is_granted,
            })
        });
        all.collect()
    }

    fn changes(self) -> Vec<Self> {
        let mut changes = vec![Self {
            is_granted: !self.is_granted,
            ..self
        }];
        if self.has_new_column {
            changes.push(Self {
                shows_new_column: !self.shows_new_column,
                ..self
            });
        }
        if !self.shows_new_column {
            changes.push(Self {
                has_new_column: !self.has_new_column,
                ..self
            });
        }
        changes
    }

    fn named_revoke(self, next: Self) -> Option<bool> {
        (self.is_granted && !next.is_granted).then_some(false)
    }

    fn access(self) -> u8 {
        match (self.is_granted, self.shows_new_column) {
            (false, _) => 0b00,
            (true, false) => 0b01,
            (true, true) => match self.has_new_column {
                true => 0b10,
                false => 0b00,
            },
        }
    }

    fn after(self, step: FilterStep) -> Self {
        let mut next = self;
        match step {
            FilterStep::UpdateTable(has_new_column) => next.has_new_column = has_new_column,
            FilterStep::PutFilter(shows_new_column) => next.shows_new_column = shows_new_column,
            FilterStep::Grant => next.is_granted = true,
            FilterStep::Revoke => next.is_granted = false,
        }
        next
    }

    fn without_grant(self) -> Self {
        Self {
            is_granted: false,
            ..self
        }
    }

    fn on_grant(step: FilterStep) -> Option<OnGrant> {
        match step {
            FilterStep::UpdateTable(_) | FilterStep::PutFilter(_) => None,
            FilterStep::Grant => Some(OnGrant::Grants(false)),
            FilterStep::Revoke => Some(OnGrant::Revokes),
        }
    }

    fn decide(inputs: &CommonInputs, question: &Question<Self>) -> Option<Decision<FilterStep>> {
        let grant = PermissionGrant {
            principal: inputs.role("Analyst"),
            resource: Resource::DataCellsFilter(inputs.table.clone(), FILTER.to_owned()),
            permission: Permission::Select,
            condition: None,
        };
        let filters = (inputs.subject(), Facet::DataCellsFilters);
        let snapshot = |world: Self, is_primary| {
            let mut snapshot = inputs.snapshot(is_primary);
            let grants = match world.is_granted {
                true => Grants::from([(grant.clone(), false)]),
                false => Grants::new(),
            };
            inputs.add_table(&mut snapshot, Some((world.table(), CREATED)), grants);
            let filter = by_key(vec![world.filter()]);
            let filter = Observation::Present(filter);
            snapshot.attachments.insert(filters.clone(), filter);
            if question.reads_all_grants {
                inputs.mark_full_grant_read(&mut snapshot);
            }
            snapshot
        };
        let mut scope = inputs.scope(&[Facet::Definition, Facet::Grants, Facet::DataCellsFilters]);
        if let Some(named) = question.named_revoke {
            named.add_to(&mut scope, &grant);
        }
        let held = question.held.iter().map(|step| match step {
            FilterStep::UpdateTable(_) => StepTarget::Object(inputs.subject()),
            FilterStep::PutFilter(_) => StepTarget::Attachment(
                inputs.subject(),
                AttachmentKey::DataCellsFilter(FILTER.to_owned()),
            ),
            FilterStep::Grant => StepTarget::Grant(grant.clone()),
            FilterStep::Revoke => StepTarget::Revoke(grant.clone()),
        });
        let reads = Reads {
            scope: &scope,
            primary: &snapshot(question.primary, true),
            standby: &snapshot(question.standby, false),
            row: Some(inputs.paired_row(digest(&question.standby.table()))),
            held: held.collect(),
        };
        let approved = inputs.plan_and_audit(reads)?;
        let wanted = question.primary;
        Some(Decision::of(approved.plan(), |step| match step {
            Step::UpdateTable { .. } => FilterStep::UpdateTable(wanted.has_new_column),
            Step::PutAttachment { .. } => FilterStep::PutFilter(wanted.shows_new_column),
            Step::Grant { .. } => FilterStep::Grant,
            Step::Revoke { .. } => FilterStep::Revoke,
            other => panic!("this world has no {other:?}"),
        }))
    }
}

impl FilteredTable {
    fn table(self) -> Table {
        let mut columns = vec![serde_json::json!({"Name": "old", "Type": "int"})];
        if self.has_new_column {
            columns.push(serde_json::json!({"Name": "new", "Type": "int"}));
        }
        let table = serde_json::json!({"Name": "t", "StorageDescriptor": {"Columns": columns}});
        serde_json::from_value(table).expect("a table is JSON")
    }

    fn filter(self) -> ObservedAttachment {
        let column = if self.shows_new_column { "new" } else { "old" };
        let column = Name::new(column).expect("the name is valid");
        ObservedAttachment {
            attachment: Attachment::DataCellsFilter(DataCellsFilter {
                name: FILTER.to_owned(),
                rows: None,
                columns: FilterColumns::Only([column].into()),
            }),
            index_status: IndexStatus::Present,
        }
    }
}
