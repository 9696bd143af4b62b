//! Data Catalog views: what a creation takes, and what a read shows.

use crate::error::ApiError;
use crate::quirk::Quirk;
use crate::state::SimState;
use serde_json::json;
use twinlake_core::Table;
use twinlake_core::catalog::{Observed, StorageDescriptor, ViewRepresentation};

/// The base64 alphabet.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn representations(table: &Table) -> &[ViewRepresentation] {
    let view = table.view_definition.as_ref();
    view.map(|view| view.representations.as_slice())
        .unwrap_or_default()
}

fn is_athena(representation: &ViewRepresentation) -> bool {
    representation.dialect.as_deref() == Some("ATHENA")
}

impl SimState {
    /// Fails the creation or update of a view with fields that its dialect does not take (F-4).
    pub(super) fn check_view_input(&self, table: &Table) -> Result<(), ApiError> {
        if !self.has(Quirk::ViewsAreValidated) {
            return Ok(());
        }
        let storage = table.storage_descriptor.as_ref();
        for one in representations(table) {
            let dialect = one.dialect.as_deref();
            if is_athena(one) && storage.is_some() {
                return Err(ApiError::invalid(
                    "Storage descriptor may not be defined when creating a validated Glue view",
                ));
            }
            if is_athena(one) && one.view_expanded_text.is_some() {
                return Err(ApiError::invalid("View Expanded Text is not supported."));
            }
            if dialect == Some("SPARK") && storage.is_none_or(|sd| sd.columns.is_empty()) {
                return Err(ApiError::invalid(
                    "Storage Descriptor and columns must be provided with View Definition!",
                ));
            }
        }
        Ok(())
    }

    /// Returns a view of the ATHENA dialect as a read shows it: with a storage descriptor, and with
    /// its SQL in an encoded form (F-4).
    pub(super) fn view_as_read(&self, mut observed: Observed<Table>) -> Observed<Table> {
        let is_derived = representations(&observed.object).iter().any(is_athena);
        if !self.has(Quirk::ViewsAreValidated) || !is_derived {
            return observed;
        }
        let table = &mut observed.object;
        table
            .storage_descriptor
            .get_or_insert_with(StorageDescriptor::default)
            .location
            .get_or_insert_default();
        let view = table.view_definition.iter_mut();
        for one in view.flat_map(|view| &mut view.representations) {
            if let (true, Some(sql)) = (is_athena(one), &one.view_original_text) {
                let encoded = base64(json!({ "originalSql": sql }).to_string().as_bytes());
                one.view_original_text = Some(format!("/* Presto View: {encoded} */"));
                one.view_expanded_text = Some("/* Presto View */".to_owned());
            }
        }
        observed
    }
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = usize::try_from(group >> (18 - 6 * digit) & 63).unwrap_or_default();
            let character = ALPHABET.get(index).copied().unwrap_or_default();
            text.push(match digit <= chunk.len() {
                true => char::from(character),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_encoded_with_padding() {
        for (bytes, text) in [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("", "")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
