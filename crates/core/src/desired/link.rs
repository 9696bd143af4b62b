//! Where a resource link points from the standby.

use super::{Translator, Withheld};
use crate::catalog::LinkTarget;

impl Translator<'_> {
    /// The target as it is spelled in the standby. A link into the primary's own
    /// Region points into the standby's there; other Regions stay.
    pub(super) fn target(self, target: &LinkTarget) -> Result<LinkTarget, Withheld> {
        let (from, to) = self.sites();
        let mut there = target.clone();
        if let Some(region) = &mut there.region {
            if *region == to.region {
                // What maps to two places has no way back at a switch.
                return Err(Withheld::Held(format!(
                    "it is a resource link into {region}, where its counterpart would stand \
                     beside its target; make it by hand there, or exclude it"
                )));
            }
            if *region == from.region {
                region.clone_from(&to.region);
            }
        }
        if let Some(catalog) = &mut there.catalog_id {
            if *catalog == from.account {
                catalog.clone_from(&to.account);
            } else if let Some(mapped) = self.policy.catalog(catalog, self.source()) {
                *catalog = mapped.to_owned();
            }
        }
        Ok(there)
    }
}
