//! The order in which the steps of a plan are sent.

use super::step_rules::{StepKind, kind_of};
use std::collections::BTreeMap;
use twinlake_core::step::Phase;
use twinlake_core::{Step, Subject};

/// The steps so far on one subject.
struct SubjectOrder {
    phase: Phase,
    /// The first group after the steps of earlier phases.
    first_group: usize,
    /// The first group after all steps so far.
    next_group: usize,
    /// The first group after the attachments of this phase.
    after_attachments: usize,
}

/// Divides the positions of an ordered plan into groups. The steps of one group are sent together,
/// once the results of the groups before are known. A step comes
///
/// - after every step that it requires;
/// - after the steps of earlier phases on the same subject, whether they succeeded or not: a grant on
///   a deleted table can no longer be revoked;
/// - if it is on a partition, after the partition indexes of its table.
///
/// The steps of a batch call are in one group, so that no entry depends on another.
pub(super) fn call_order(steps: &[Step], requires: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: Vec<usize> = Vec::with_capacity(steps.len());
    let mut subjects: BTreeMap<Subject, SubjectOrder> = BTreeMap::new();
    for (position, step) in steps.iter().enumerate() {
        let required = requires.get(position).into_iter().flatten();
        let after_required = required
            .filter_map(|required| group_of.get(*required))
            .map(|group| group + 1)
            .max()
            .unwrap_or_default();
        let (phase, kind) = (step.phase(), kind_of(step));
        let order = subjects.entry(step.subject()).or_insert(SubjectOrder {
            phase,
            first_group: 0,
            next_group: 0,
            after_attachments: 0,
        });
        if order.phase != phase {
            order.phase = phase;
            order.first_group = order.next_group;
        }
        let mut group = after_required.max(order.first_group);
        if kind == StepKind::Partition {
            group = group.max(order.after_attachments);
        }
        order.next_group = order.next_group.max(group + 1);
        if kind == StepKind::Attachment && is_index(step) {
            order.after_attachments = order.after_attachments.max(group + 1);
        }
        group_of.push(group);
        if groups.len() <= group {
            groups.resize_with(group + 1, Vec::new);
        }
        if let Some(of_group) = groups.get_mut(group) {
            of_group.push(position);
        }
    }
    groups
}

fn is_index(step: &Step) -> bool {
    matches!(
        step,
        Step::PutAttachment { attachment, .. }
            if matches!(attachment, twinlake_core::catalog::Attachment::Index(_))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Name;
    use twinlake_core::TableId;
    use twinlake_core::catalog::{Attachment, PartitionIndex};
    use twinlake_core::grant::{Permission, PermissionGrant, Principal, Resource};
    use twinlake_core::step::RevokeCause;

    fn id(table: &str) -> TableId {
        TableId::new(Name::new("d").unwrap(), Name::new(table).unwrap())
    }

    fn revoke(table: &str) -> Step {
        Step::Revoke {
            grant: PermissionGrant {
                principal: Principal("role".to_owned()),
                resource: Resource::Table(id(table)),
                permission: Permission::Select,
                condition: None,
            },
            grantable: false,
            cause: RevokeCause::Deletion,
        }
    }

    fn delete(table: &str) -> Step {
        Step::DeleteTable { id: id(table) }
    }

    #[test]
    fn a_revoke_comes_before_the_deletion_of_its_table_and_no_other() {
        let steps = [revoke("a"), delete("a"), delete("b")];
        let groups = call_order(&steps, &[vec![], vec![], vec![]]);
        assert_eq!(groups, [vec![0, 2], vec![1]]);
    }

    #[test]
    fn a_partition_comes_after_the_indexes_of_its_table() {
        let index = Attachment::Index(PartitionIndex {
            index_name: "by_day".to_owned(),
            keys: vec!["day".to_owned()],
        });
        let put = Step::PutAttachment {
            subject: Subject::Table(id("a")),
            attachment: index,
            replaces: false,
            before_object_changes: false,
        };
        let values = serde_json::json!({"Values": ["2026-01-01"]});
        let create = |table: &str| Step::CreatePartition {
            id: id(table),
            partition: serde_json::from_value(values.clone()).unwrap(),
        };
        let steps = [put, create("a"), create("b")];
        let groups = call_order(&steps, &[vec![], vec![], vec![]]);
        assert_eq!(groups, [vec![0, 2], vec![1]]);
    }

    #[test]
    fn a_step_comes_after_what_it_requires() {
        let steps = [delete("a"), delete("b"), delete("c")];
        let groups = call_order(&steps, &[vec![], vec![0], vec![1]]);
        assert_eq!(groups, [vec![0], vec![1], vec![2]]);
    }
}
