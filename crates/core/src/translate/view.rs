//! Views of several dialects: ARNs inside name the primary's Region.

use super::Translator;
use crate::arn::moved;
use crate::catalog::ViewDefinition;

impl Translator<'_> {
    /// The definition with every ARN of the primary's catalog turned into the
    /// secondary's. What a person wrote (`ViewOriginalText`) stays.
    pub(super) fn view(self, view: &mut ViewDefinition) {
        let (from, to) = self.sides();
        for object in &mut view.sub_objects {
            *object = moved(object, from, to);
        }
        for representation in &mut view.representations {
            if let Some(text) = &mut representation.view_expanded_text {
                *text = moved(text, from, to);
            }
            if let Some(connection) = &mut representation.validation_connection {
                *connection = moved(connection, from, to);
            }
        }
    }
}
