//! Translates multi-dialect views: the ARNs in them name the primary's Region.

use super::Translator;
use crate::arn::rewrite_glue_arns;
use crate::catalog::ViewDefinition;

impl Translator<'_> {
    /// Replaces every ARN of the primary's catalog by the standby's, except in `ViewOriginalText`,
    /// the SQL text as entered.
    pub(super) fn rewrite_view_arns(self, view: &mut ViewDefinition) {
        let (from, to) = self.sites();
        for object in &mut view.sub_objects {
            *object = rewrite_glue_arns(object, from, to);
        }
        for representation in &mut view.representations {
            if let Some(text) = &mut representation.view_expanded_text {
                *text = rewrite_glue_arns(text, from, to);
            }
            if let Some(connection) = &mut representation.validation_connection {
                *connection = rewrite_glue_arns(connection, from, to);
            }
        }
    }
}
