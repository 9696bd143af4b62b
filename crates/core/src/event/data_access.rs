//! Who reads data in a Region: the records of `GetDataAccess` in CloudTrail, by which query engines get credentials for
//! the data of a principal. Each reader of a Lake Formation location has some; whoever reads by IAM and S3 alone has none.

use super::cloudtrail_record::principal;
use super::lenient_json::LenientJson;
use crate::timestamp::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// The requests for data in a Region since a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataReaders {
    /// The number of requests by principal.
    pub requests: BTreeMap<String, usize>,
    /// The time of the last one.
    pub last: Option<Timestamp>,
    /// Whether there are more records than were read.
    pub has_more: bool,
}

impl DataReaders {
    /// Counts one record, as CloudTrail keeps it. Refused requests and other calls do not count: nobody read by them.
    pub fn add(&mut self, record: &str) {
        let Ok(record) = serde_json::from_str::<Value>(record) else {
            return;
        };
        let record = LenientJson::new(&record);
        let is_read = record.text("eventName").as_deref() == Some("GetDataAccess")
            && record.text("errorCode").is_none();
        if !is_read {
            return;
        }
        *self.requests.entry(principal(record)).or_default() += 1;
        let at = record.text("eventTime");
        let at = at.and_then(|at| Timestamp::parse(&at));
        self.last = self.last.max(at);
    }

    /// The number of requests.
    #[must_use]
    pub fn total(&self) -> usize {
        self.requests.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_are_counted_by_the_principal_whose_permissions_count_and_refused_ones_are_not() {
        let event = include_str!("../../../../events/ct-lakeformation-GetDataAccess-athena.json");
        let event: Value = serde_json::from_str(event).unwrap();
        let record = |change: &dyn Fn(&mut Value)| {
            let mut record = event["detail"].clone();
            change(&mut record);
            record.to_string()
        };
        let mut readers = DataReaders::default();
        readers.add(&record(&|_| {}));
        readers.add(&record(&|one| {
            one["eventTime"] = json!("2026-11-20T10:20:00Z");
        }));
        readers.add(&record(&|one| {
            one["additionalEventData"]["lakeFormationPrincipal"] =
                json!("arn:aws:iam::111122223333:role/B");
        }));
        readers.add(&record(&|one| one["errorCode"] = json!("AccessDenied")));
        readers.add(&record(&|one| one["eventName"] = json!("GetTable")));
        readers.add("no record");
        let expected = [("Admin", 2), ("B", 1)];
        let expected =
            expected.map(|(role, n)| (format!("arn:aws:iam::111122223333:role/{role}"), n));
        assert_eq!(readers.requests, expected.into());
        assert_eq!(readers.total(), 3);
        assert_eq!(readers.last, Timestamp::parse("2026-11-20T10:20:00Z"));
    }
}
