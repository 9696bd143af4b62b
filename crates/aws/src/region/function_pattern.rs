//! The `Pattern` of `GetUserDefinedFunctions`, whose meaning is not documented (F-7).

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use twinlake_core::{CallError, CallErrorKind};

/// Names every function, as a regular expression.
const AS_REGEX: &str = ".*";
/// Names every function, as a wildcard pattern. As a regular expression it is invalid.
const AS_WILDCARD: &str = "*";

/// How the service reads a pattern: as a regular expression or as a wildcard pattern. Learned from
/// its responses, once for each client.
#[derive(Debug, Default)]
pub(super) struct FunctionPattern(AtomicU8);

impl FunctionPattern {
    const REGEX: u8 = 1;
    const WILDCARD: u8 = 2;

    fn known(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Relaxed) {
            Self::REGEX => Some(AS_REGEX),
            Self::WILDCARD => Some(AS_WILDCARD),
            _ => None,
        }
    }

    fn learn(&self, reading: u8) {
        self.0.store(reading, Ordering::Relaxed);
    }

    /// Lists every function, whatever the reading; `list` lists the functions of a pattern. As a
    /// wildcard pattern, `.*` names almost no function: an empty listing proves an absence only
    /// once the reading is known, or under both.
    ///
    /// # Errors
    /// A listing failed, other than because its pattern is invalid; or both patterns are invalid.
    pub(super) async fn list_every<T, F>(
        &self,
        name: impl Fn(&T) -> Option<&str>,
        list: impl Fn(&'static str) -> F,
    ) -> Result<Vec<T>, CallError>
    where
        F: Future<Output = Result<Vec<T>, CallError>>,
    {
        let is_invalid = |error: &CallError| error.kind == CallErrorKind::Invalid;
        // The wildcard pattern `.*` names only functions whose name starts with a dot.
        let has_undotted = |listed: &[T]| {
            let mut names = listed.iter().filter_map(&name);
            names.any(|name| !name.starts_with('.'))
        };
        if let Some(pattern) = self.known() {
            match list(pattern).await {
                // The service may read patterns otherwise than before: both are tried again.
                Err(error) if is_invalid(&error) => {}
                listed => return listed,
            }
        }
        let by_regex = match list(AS_REGEX).await {
            Err(error) if is_invalid(&error) => None,
            Ok(listed) if has_undotted(&listed) => {
                self.learn(Self::REGEX);
                return Ok(listed);
            }
            listed => Some(listed?),
        };
        match (list(AS_WILDCARD).await, by_regex) {
            (Err(error), Some(by_regex)) if is_invalid(&error) => {
                self.learn(Self::REGEX);
                Ok(by_regex)
            }
            (Err(error), _) => Err(error),
            (Ok(by_wildcard), None) => {
                self.learn(Self::WILDCARD);
                Ok(by_wildcard)
            }
            (Ok(by_wildcard), Some(_)) => {
                if has_undotted(&by_wildcard) {
                    self.learn(Self::WILDCARD);
                }
                Ok(by_wildcard)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::RefCell;

    /// How a service reads a pattern.
    #[derive(Clone, Copy)]
    enum Service {
        Regex,
        Wildcard,
        IgnoresPattern,
        RefusesAll(CallErrorKind),
    }

    fn answer(
        service: Service,
        pattern: &str,
        functions: &[&'static str],
    ) -> Result<Vec<&'static str>, CallError> {
        let refused = |kind| Err(CallError::new(kind, "GetUserDefinedFunctions", "r", "no"));
        match service {
            Service::Regex if pattern == AS_WILDCARD => refused(CallErrorKind::Invalid),
            Service::Wildcard if pattern == AS_REGEX => {
                let all = functions.iter().copied();
                Ok(all.filter(|name| name.starts_with('.')).collect())
            }
            Service::Regex | Service::Wildcard | Service::IgnoresPattern => Ok(functions.to_vec()),
            Service::RefusesAll(kind) => refused(kind),
        }
    }

    /// Lists twice with one client; returns the last listing and the patterns that were sent.
    fn list_twice(
        service: Service,
        functions: &[&'static str],
    ) -> (Result<Vec<&'static str>, CallErrorKind>, Vec<&'static str>) {
        let pattern_reading = FunctionPattern::default();
        let sent = RefCell::new(Vec::new());
        let list = |pattern: &'static str| {
            sent.borrow_mut().push(pattern);
            std::future::ready(answer(service, pattern, functions))
        };
        fn name<'a>(function: &'a &'static str) -> Option<&'a str> {
            Some(function)
        }
        let mut listed = Ok(Vec::new());
        for _ in 0..2 {
            let result = pattern_reading.list_every(name, &list).now_or_never();
            listed = result.unwrap().map_err(|error| error.kind);
        }
        (listed, sent.into_inner())
    }

    #[test]
    fn every_function_is_listed_under_each_reading() {
        let names = ["mask", ".dotted"];
        for service in [Service::Regex, Service::Wildcard, Service::IgnoresPattern] {
            assert_eq!(list_twice(service, &names).0, Ok(names.to_vec()));
            assert_eq!(list_twice(service, &[".dotted"]).0, Ok(vec![".dotted"]));
        }
    }

    #[test]
    fn the_reading_is_learned_once() {
        assert_eq!(list_twice(Service::Regex, &["mask"]).1, [".*", ".*"]);
        assert_eq!(list_twice(Service::Regex, &[]).1, [".*", "*", ".*"]);
        assert_eq!(list_twice(Service::Wildcard, &["mask"]).1, [".*", "*", "*"]);
    }

    #[test]
    fn an_empty_listing_is_believed_only_under_both_readings() {
        let (listed, sent) = list_twice(Service::Wildcard, &[]);
        assert_eq!((listed, sent), (Ok(vec![]), vec![".*", "*", ".*", "*"]));
    }

    #[test]
    fn an_error_other_than_an_invalid_pattern_is_not_taken_for_a_reading() {
        for kind in [CallErrorKind::Denied, CallErrorKind::Contended] {
            let (listed, sent) = list_twice(Service::RefusesAll(kind), &["mask"]);
            assert_eq!((listed, sent), (Err(kind), vec![".*", ".*"]));
        }
        let refused = Service::RefusesAll(CallErrorKind::Invalid);
        assert_eq!(list_twice(refused, &[]).0, Err(CallErrorKind::Invalid));
    }
}
