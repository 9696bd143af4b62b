//! Values that are held once and numbered.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers values in the order in which they come.
#[derive(Clone, Debug)]
pub(super) struct Interner<T> {
    numbers: BTreeMap<Arc<T>, u32>,
    values: Vec<Arc<T>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            values: Vec::new(),
        }
    }
}

impl<T: Ord> Interner<T> {
    /// The number of a value, which is held from now on.
    pub(super) fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        // There is no memory for as many values.
        let number = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let value = Arc::new(value);
        self.values.push(Arc::clone(&value));
        self.numbers.insert(value, number);
        number
    }

    /// The number of a value, if it is held.
    pub(super) fn known_number(&self, value: &T) -> Option<u32> {
        self.numbers.get(value).copied()
    }

    /// The value of a number.
    pub(super) fn value(&self, number: u32) -> Option<&T> {
        let index = usize::try_from(number).ok()?;
        self.values.get(index).map(AsRef::as_ref)
    }

    /// All values, in order.
    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.numbers.keys().map(AsRef::as_ref)
    }

    /// How many values are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}
