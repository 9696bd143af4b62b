//! What goes wrong, as a test wants it.

use super::SimQueryTools;
use twinlake_core::CallErrorKind;
use twinlake_core::query::{ObjectKey, QueryKind, QueryObject};

impl SimQueryTools {
    /// Lets the next `times` calls of an operation fail.
    pub fn fail(&self, call: &str, kind: CallErrorKind, times: usize) {
        self.lock().failures.insert(call.to_owned(), (kind, times));
    }

    /// Lets one call of an operation fail, after `successes` others.
    pub fn fail_after(&self, call: &str, kind: CallErrorKind, successes: usize) {
        let failures = &mut self.lock().later_failures;
        failures.insert(call.to_owned(), (kind, successes));
    }

    /// Lets the next `times` calls of an operation take effect, and loses the answer.
    pub fn lose_answers(&self, call: &str, times: usize) {
        self.lock().lost_answers.insert(call.to_owned(), times);
    }

    /// Lets no listing of a kind end, from now on.
    pub fn hang_listings(&self, kind: QueryKind) {
        self.lock().hanging_listings.insert(kind);
    }

    /// Lets somebody delete an object and make another one of its key, when the next call of an operation begins.
    pub fn replace_on(&self, call: &str, object: QueryObject) {
        let replacements = &mut self.lock().replacements;
        replacements.insert(call.to_owned(), object);
    }

    /// Hides an object: listings leave it out, and reads by name are denied.
    pub fn hide(&self, key: &ObjectKey) {
        self.lock().hidden.insert(key.clone());
    }
}
