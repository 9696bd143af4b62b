//! Lenient access to JSON without a documented schema.

use crate::name::Name;
use crate::timestamp::Timestamp;
use serde_json::Value;

/// A JSON value, or none. Keys are looked up without regard to case; a missing key gives none.
#[derive(Clone, Copy, Debug)]
pub(super) struct LenientJson<'a>(Option<&'a Value>);

impl<'a> LenientJson<'a> {
    pub(super) fn new(value: &'a Value) -> Self {
        Self(Some(value))
    }

    /// The value of a key. Of several keys that differ only in case, the exact one wins.
    pub(super) fn get(self, key: &str) -> Self {
        let object = self.0.and_then(Value::as_object);
        Self(object.and_then(|object| {
            object.get(key).or_else(|| {
                let mut pairs = object.iter();
                pairs
                    .find(|(name, _)| name.eq_ignore_ascii_case(key))
                    .map(|(_, value)| value)
            })
        }))
    }

    /// The keys of an object with their values. Any other value has none.
    pub(super) fn pairs(self) -> impl Iterator<Item = (&'a str, Self)> {
        let object = self.0.and_then(Value::as_object);
        let pairs = object.into_iter().flatten();
        pairs.map(|(key, value)| (key.as_str(), Self::new(value)))
    }

    pub(super) fn is_object(self) -> bool {
        self.0.is_some_and(Value::is_object)
    }

    pub(super) fn is_list(self) -> bool {
        self.0.is_some_and(Value::is_array)
    }

    pub(super) fn exists(self) -> bool {
        self.0.is_some_and(|value| !value.is_null())
    }

    /// The elements of a list. Any other value has none.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let list = self.0.and_then(Value::as_array);
        list.into_iter().flatten().map(Self::new)
    }

    /// The text of a key. Numbers and booleans are converted to text.
    pub(super) fn text(self, key: &str) -> Option<String> {
        self.get(key).as_text()
    }

    pub(super) fn as_text(self) -> Option<String> {
        match self.0? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(boolean) => Some(boolean.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The time of a key, in RFC 3339.
    pub(super) fn time(self, key: &str) -> Option<Timestamp> {
        Timestamp::parse(&self.text(key)?)
    }

    /// The name of a key, if AWS admits it.
    pub(super) fn name(self, key: &str) -> Option<Name> {
        Name::new(&self.text(key)?).ok()
    }

    /// The names in the list of a key, with their spelling; `None` if an element is not a name. A
    /// missing list has no names. A list that is shorter than the one in the event would name
    /// another set of columns.
    pub(super) fn all_names(self, key: &str) -> Option<Vec<Name>> {
        let texts = self.get(key).items().map(Self::as_text);
        let texts = texts.map(|text| text.filter(|text| !text.is_empty()));
        texts.map(|text| Some(Name::from_service(&text?))).collect()
    }

    /// The names in the list of a key that AWS admits.
    pub(super) fn names(self, key: &str) -> Vec<Name> {
        let texts = self.get(key).items().filter_map(Self::as_text);
        texts.filter_map(|text| Name::new(&text).ok()).collect()
    }
}
