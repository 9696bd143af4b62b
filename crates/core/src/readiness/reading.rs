//! The result of a read that may be denied.

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// What was read. A configuration that does not exist is read as an empty one.
    Read(T),
    /// The read was denied or failed, for this reason.
    Unread(String),
}

impl<T> Reading<T> {
    /// What was read, or `None`.
    #[must_use]
    pub fn read(&self) -> Option<&T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Unread(_) => None,
        }
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Reading<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Read(value),
            Err(error) => Self::Unread(error.to_string()),
        }
    }
}
