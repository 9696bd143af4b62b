//! The items of Lake Formation subjects whose deletion an event names.

use serde::{Deserialize, Serialize};

/// An item of a Lake Formation subject that an event says is deleted, by its name in the standby.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletedItem {
    /// An LF-Tag with all of its values, by its key.
    LfTag(String),
    /// One value of an LF-Tag.
    LfTagValue {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A named LF-Tag expression, by its name.
    NamedExpression(String),
    /// A registered location, by its ARN.
    Registration(String),
    /// An item that the event does not name.
    Unnamed,
}
