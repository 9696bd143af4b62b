//! What a replication rule that covers a location leaves out. The checks report it, and the setup adds no
//! rule beside such a one.

use super::ReplicationRule;

/// Something that a rule lacks to replicate a location completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RuleGap {
    /// Replicas are stored in a class from which objects are restored before they are read.
    ArchiveClass,
    /// Delete markers are left out.
    DeleteMarkers,
    /// Changes of the metadata of replicas are left out.
    ReplicaModifications,
    /// Objects that KMS encrypts are left out.
    KmsObjects,
    /// No metrics, and with them no events of failures, are published.
    Metrics,
}

impl RuleGap {
    /// The gap as a clause whose subject is the rule.
    #[must_use]
    pub fn clause(self) -> &'static str {
        match self {
            Self::ArchiveClass => "stores the replicas in an archive",
            Self::DeleteMarkers => "leaves out their delete markers",
            Self::ReplicaModifications => {
                "does not synchronize changes of replicas (ReplicaModifications)"
            }
            Self::KmsObjects => "leaves out objects that KMS encrypts",
            Self::Metrics => "has no metrics",
        }
    }
}

impl ReplicationRule {
    /// What the rule lacks. `needs_kms` says whether KMS encrypts objects of the location.
    #[must_use]
    pub fn gaps(&self, needs_kms: bool) -> Vec<RuleGap> {
        let requirements = [
            (RuleGap::ArchiveClass, self.archive_class.is_none()),
            (RuleGap::DeleteMarkers, self.replicates_delete_markers),
            (RuleGap::ReplicaModifications, self.replicates_modifications),
            (
                RuleGap::KmsObjects,
                self.replicates_kms_objects || !needs_kms,
            ),
            (RuleGap::Metrics, self.publishes_metrics),
        ];
        let gaps = requirements.into_iter().filter(|(_, is_met)| !is_met);
        gaps.map(|(gap, _)| gap).collect()
    }
}
