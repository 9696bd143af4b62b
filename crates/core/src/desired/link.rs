//! Translates the targets of resource links.

use super::{Translator, Withheld};
use crate::catalog::LinkTarget;

impl Translator<'_> {
    /// Returns the target of a link in the standby. A target in the primary's Region becomes one in
    /// the standby's Region; targets in other Regions stay.
    pub(super) fn link_target(self, target: &LinkTarget) -> Result<LinkTarget, Withheld> {
        let (from, to) = self.sites();
        let mut translated = target.clone();
        if let Some(region) = &mut translated.region {
            if *region == to.region {
                // Two targets would map to this one, which a switch of the Regions cannot reverse.
                return Err(Withheld::OnHold(format!(
                    "it is a resource link into {region}, where its counterpart and its target \
                     would be in one Region; create it there yourself, or exclude it"
                )));
            }
            if *region == from.region {
                region.clone_from(&to.region);
            }
        }
        if let Some(catalog) = &mut translated.catalog_id {
            if *catalog == from.account {
                catalog.clone_from(&to.account);
            } else if let Some(mapped) = self.policy.catalog(catalog, self.source()) {
                *catalog = mapped.to_owned();
            }
        }
        Ok(translated)
    }
}
