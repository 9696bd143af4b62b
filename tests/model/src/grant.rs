//! A grant on a table: the smallest world in which several handlers meet.

use crate::access_model::{AccessWorld, Decision, OnGrant, Question};
use crate::inputs::{CREATED, CommonInputs, Reads};
use twinlake_core::catalog::digest;
use twinlake_core::grant::{Grants, Permission, PermissionGrant, Resource};
use twinlake_core::scope::Facet;
use twinlake_core::step::StepTarget;
use twinlake_core::{Step, Table};

/// What is granted: nothing, the permission, or the permission with the grant option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantLevel {
    None,
    Permission,
    GrantOption,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantStep {
    /// A grant, with or without the grant option.
    Grant(bool),
    Revoke,
}

impl AccessWorld for GrantLevel {
    type Step = GrantStep;

    const HAS_PARTS: bool = false;

    fn initial() -> Vec<Self> {
        vec![Self::None]
    }

    fn changes(self) -> Vec<Self> {
        let all = [Self::None, Self::Permission, Self::GrantOption];
        all.into_iter().filter(|level| *level != self).collect()
    }

    fn named_revoke(self, next: Self) -> Option<bool> {
        match (self, next) {
            (Self::None, _) | (Self::Permission, Self::GrantOption) => None,
            (_, Self::None) => Some(self == Self::GrantOption),
            (_, _) => Some(true),
        }
    }

    fn access(self) -> u8 {
        match self {
            Self::None => 0b00,
            Self::Permission => 0b01,
            Self::GrantOption => 0b11,
        }
    }

    fn after(self, step: GrantStep) -> Self {
        match step {
            GrantStep::Revoke => Self::None,
            GrantStep::Grant(true) => Self::GrantOption,
            GrantStep::Grant(false) => self.max(Self::Permission),
        }
    }

    fn without_grant(self) -> Self {
        Self::None
    }

    fn on_grant(step: GrantStep) -> Option<OnGrant> {
        Some(match step {
            GrantStep::Grant(with_grant_option) => OnGrant::Grants(with_grant_option),
            GrantStep::Revoke => OnGrant::Revokes,
        })
    }

    fn decide(inputs: &CommonInputs, question: &Question<Self>) -> Option<Decision<GrantStep>> {
        let grant = PermissionGrant {
            principal: inputs.role("Analyst"),
            resource: Resource::Table(inputs.table.clone()),
            permission: Permission::Select,
            condition: None,
        };
        let table: Table =
            serde_json::from_value(serde_json::json!({"Name": "t"})).expect("a table is JSON");
        let snapshot = |level: Self, is_primary| {
            let mut snapshot = inputs.snapshot(is_primary);
            let grants = match level {
                Self::None => Grants::new(),
                Self::Permission => Grants::from([(grant.clone(), false)]),
                Self::GrantOption => Grants::from([(grant.clone(), true)]),
            };
            inputs.add_table(&mut snapshot, Some((table.clone(), CREATED)), grants);
            if question.reads_all_grants {
                inputs.mark_full_grant_read(&mut snapshot);
            }
            snapshot
        };
        let mut scope = inputs.scope(&[Facet::Definition, Facet::Grants]);
        if let Some(named) = question.named_revoke {
            named.add_to(&mut scope, &grant);
        }
        let held = question.held.iter().map(|step| match step {
            GrantStep::Grant(_) => StepTarget::Grant(grant.clone()),
            GrantStep::Revoke => StepTarget::Revoke(grant.clone()),
        });
        let reads = Reads {
            scope: &scope,
            primary: &snapshot(question.primary, true),
            standby: &snapshot(question.standby, false),
            row: Some(inputs.paired_row(digest(&table))),
            held: held.collect(),
        };
        let approved = inputs.plan_and_audit(reads)?;
        Some(Decision::of(approved.plan(), |step| match step {
            Step::Grant { grantable, .. } => GrantStep::Grant(*grantable),
            Step::Revoke { .. } => GrantStep::Revoke,
            other => panic!("this world has no {other:?}"),
        }))
    }
}
