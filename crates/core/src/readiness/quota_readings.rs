//! The quotas that the checks look at, with the codes that `aws service-quotas list-service-quotas` lists.

use super::Reading;
use std::collections::BTreeMap;

/// A quota of Service Quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceQuota {
    /// `ServiceCode`.
    pub service: &'static str,
    /// `QuotaCode`.
    pub code: &'static str,
    /// What it limits.
    pub name: &'static str,
}

/// The quotas of the standby that must hold the load of the primary after a takeover.
pub const CHECKED_QUOTAS: [ServiceQuota; 5] = [
    ServiceQuota {
        service: "athena",
        code: "L-FC5F6546",
        name: "active DML queries of Athena",
    },
    ServiceQuota {
        service: "glue",
        code: "L-94D025B7",
        name: "tables of the Glue Data Catalog",
    },
    ServiceQuota {
        service: "glue",
        code: "L-F953935E",
        name: "databases of the Glue Data Catalog",
    },
    ServiceQuota {
        service: "kms",
        code: "L-6E3AF000",
        name: "symmetric cryptographic operations of KMS a second",
    },
    ServiceQuota {
        service: "lambda",
        code: "L-B99A9384",
        name: "concurrent executions of Lambda",
    },
];

/// The quotas of a Region; `None` for one that Service Quotas does not list there.
pub type QuotaReadings = BTreeMap<ServiceQuota, Reading<Option<f64>>>;
