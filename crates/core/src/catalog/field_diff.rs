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
pub fn differences<T: Serialize>(now: &T, wanted: &T) -> Vec<Change> {
    let now = serde_json::to_value(now).unwrap_or_default();
    let wanted = serde_json::to_value(wanted).unwrap_or_default();
    let mut changes = Vec::new();
    compare("", &now, &wanted, &mut changes);
    changes
}

/// A field that differs. The value is `None` where the object does not have the field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The dotted path of the field.
    pub field: String,
    /// The standby's current value.
    pub now: Option<serde_json::Value>,
    /// The desired value.
    pub wanted: Option<serde_json::Value>,
}

fn compare(
    path: &str,
    now: &serde_json::Value,
    wanted: &serde_json::Value,
    changes: &mut Vec<Change>,
) {
    use serde_json::Value;
    if now == wanted {
        return;
    }
    if let (Value::Object(left), Value::Object(right)) = (now, wanted) {
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
                    now: a.cloned(),
                    wanted: b.cloned(),
                }),
            }
        }
        return;
    }
    changes.push(Change {
        field: path.to_owned(),
        now: Some(now.clone()),
        wanted: Some(wanted.clone()),
    });
}
