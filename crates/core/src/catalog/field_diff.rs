//! Digests and field-by-field differences of objects.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Returns the digest of an object: SHA-256 of its canonical JSON, in hexadecimal.
///
/// Equal objects have equal digests, in whatever order the service listed their parameters.
#[must_use]
pub fn digest<T: Serialize>(object: &T) -> String {
    // Maps are ordered and keys are strings, so writing them to memory cannot fail.
    let json = serde_json::to_vec(object).unwrap_or_default();
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(&json) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Returns a short fingerprint of an object: the first 128 bits of its digest.
#[must_use]
pub fn fingerprint<T: Serialize>(object: &T) -> u128 {
    let json = serde_json::to_vec(object).unwrap_or_default();
    let digest = Sha256::digest(&json);
    let bytes = digest.iter().take(16);
    bytes.fold(0, |sum, byte| sum << 8 | u128::from(*byte))
}

/// Returns the fields in which two objects of one kind differ, with both values, for display.
#[must_use]
pub fn differences<T: Serialize>(current: &T, desired: &T) -> Vec<Change> {
    let current = serde_json::to_value(current).unwrap_or_default();
    let desired = serde_json::to_value(desired).unwrap_or_default();
    let mut changes = Vec::new();
    compare("", &current, &desired, &mut changes);
    changes
}

/// A field that differs. The value is `None` where the object does not have the field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The dotted path of the field.
    pub field: String,
    /// The standby's current value.
    pub current: Option<serde_json::Value>,
    /// The desired value.
    pub desired: Option<serde_json::Value>,
}

fn compare(
    path: &str,
    current: &serde_json::Value,
    desired: &serde_json::Value,
    changes: &mut Vec<Change>,
) {
    use serde_json::Value;
    if current == desired {
        return;
    }
    if let (Value::Object(left), Value::Object(right)) = (current, desired) {
        let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
        for key in keys {
            let field = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match (left.get(key), right.get(key)) {
                (Some(a), Some(b)) => compare(&field, a, b, changes),
                (a, b) => changes.push(Change {
                    field,
                    current: a.cloned(),
                    desired: b.cloned(),
                }),
            }
        }
        return;
    }
    changes.push(Change {
        field: path.to_owned(),
        current: Some(current.clone()),
        desired: Some(desired.clone()),
    });
}
