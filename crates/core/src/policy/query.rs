//! The part of the policy about the query tools: the table `[query]`.

use super::warehouse::Warehouse;
use crate::location::LocationMap;
use crate::topology::BySite;
use serde::{Deserialize, Serialize};

/// Whether the tags of Athena's workgroups and data catalogs are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AthenaTagsPolicy {
    /// They are not changed: IAM policies may depend on them.
    #[default]
    Leave,
    /// They are copied.
    Copy,
}

/// Whether the tools of Glue are replicated: classifiers, security configurations, jobs, workflows, crawlers and triggers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GlueToolsPolicy {
    /// They are neither read nor written.
    #[default]
    Leave,
    /// They are copied, and sleep in the standby.
    Copy,
}

/// What of the query tools is replicated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryPolicy {
    /// Workgroups that are left as they are, with what is in them: names, or prefixes with `*` at the end.
    pub excluded_workgroups: Vec<String>,
    /// Where queries write results and logs, in each site.
    pub result_locations: LocationMap,
    /// KMS keys, as the primary's objects name them, with those of the other site.
    pub kms_keys: Vec<BySite<String>>,
    /// Subnets, security groups and availability zones of connections, in each site.
    pub networks: Vec<BySite<String>>,
    /// Whether tags are copied.
    pub tags: AthenaTagsPolicy,
    /// Whether the tools of Glue are replicated.
    pub glue_tools: GlueToolsPolicy,
    /// The warehouses whose external schemas are replicated.
    pub warehouses: Vec<Warehouse>,
}

impl QueryPolicy {
    /// Whether a workgroup is replicated.
    #[must_use]
    pub fn covers_workgroup(&self, name: &str) -> bool {
        let mut patterns = self.excluded_workgroups.iter();
        !patterns.any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    }

    /// The pair of warehouses with a name.
    #[must_use]
    pub fn warehouse(&self, name: &str) -> Option<&Warehouse> {
        self.warehouses
            .iter()
            .find(|warehouse| warehouse.name == name)
    }

    /// What the digest of the policy is made of, but for the tools of Glue, the networks and the warehouses.
    pub(super) fn digest_parts(&self) -> impl Serialize + use<'_> {
        let pairs = self.result_locations.pairs().iter().map(|pair| {
            let BySite { a, b } = &pair.sites;
            (a.to_string(), b.to_string())
        });
        (
            &self.excluded_workgroups,
            pairs.collect::<Vec<_>>(),
            &self.kms_keys,
            self.tags,
        )
    }
}
