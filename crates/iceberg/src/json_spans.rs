//! Edits values of a JSON text in place: whatever is not edited keeps its bytes, its order, and its
//! numbers as written.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// The members of an object in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                let mut names = BTreeSet::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !names.insert(name.clone()) {
                        let problem = format!("the key {name:?} stands twice in an object");
                        return Err(serde::de::Error::custom(problem));
                    }
                    members.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(MembersVisitor).map(Members)
    }
}

/// The elements of an array.
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&'de RawValue>()? {
                    elements.push(element);
                }
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(ElementsVisitor).map(Elements)
    }
}

/// The members of an object in their order. A key that stands twice is an error: engines differ in which
/// of the values they take.
pub(crate) fn members(text: &str) -> Result<Vec<(String, &RawValue)>, serde_json::Error> {
    serde_json::from_str::<Members<'_>>(text).map(|members| members.0)
}

/// The elements of an array; none for `null`.
pub(crate) fn elements(text: &str) -> Result<Vec<&RawValue>, serde_json::Error> {
    if text == "null" {
        return Ok(Vec::new());
    }
    serde_json::from_str::<Elements<'_>>(text).map(|elements| elements.0)
}

/// A string; `None` for `null`.
pub(crate) fn string(value: &RawValue) -> Result<Option<String>, serde_json::Error> {
    serde_json::from_str(value.get())
}

/// The JSON of a string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Replacements of values of one text.
pub(crate) struct JsonEdits<'a> {
    source: &'a str,
    edits: Vec<(Range<usize>, String)>,
}

impl<'a> JsonEdits<'a> {
    pub(crate) const fn new(source: &'a str) -> Self {
        Self {
            source,
            edits: Vec::new(),
        }
    }

    /// Replaces a value that was parsed from the source.
    pub(crate) fn replace(&mut self, value: &RawValue, text: String) {
        let start = value
            .get()
            .as_ptr()
            .addr()
            .wrapping_sub(self.source.as_ptr().addr());
        self.edits
            .push((start..start.saturating_add(value.get().len()), text));
    }

    /// The text with the replacements; `None` if one is not of this text.
    pub(crate) fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|(range, _)| range.start);
        let mut text = String::with_capacity(self.source.len() + self.source.len() / 8);
        let mut done = 0;
        for (range, new) in &self.edits {
            text.push_str(self.source.get(done..range.start)?);
            text.push_str(new);
            done = range.end;
        }
        text.push_str(self.source.get(done..)?);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_edited_value_changes() {
        let source =
            "{ \"a\" : 1.0e0,\n\"b\":[ 9007199254740993 , {\"c\":\"x\\u002fy\"}], \"d\":\"e\"}";
        let mut edits = JsonEdits::new(source);
        let top = members(source).unwrap();
        let array = elements(top[1].1.get()).unwrap();
        let inner = members(array[1].get()).unwrap();
        assert_eq!(string(inner[0].1).unwrap().as_deref(), Some("x/y"));
        edits.replace(top[2].1, quoted("f\"g"));
        edits.replace(inner[0].1, quoted("z"));
        assert_eq!(
            edits.apply().unwrap(),
            "{ \"a\" : 1.0e0,\n\"b\":[ 9007199254740993 , {\"c\":\"z\"}], \"d\":\"f\\\"g\"}"
        );
    }

    #[test]
    fn a_repeated_key_is_an_error() {
        assert!(members(r#"{"a":1,"\u0061":2}"#).is_err());
        assert!(
            members(r#"{"a":{"b":1,"b":2}}"#).is_ok(),
            "only what is opened is compared"
        );
    }
}
