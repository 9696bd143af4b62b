//! What one file of a Delta log names: absolute paths, and sidecars.

use super::vector_path::vector_path;
use super::{CountedPaths, LoggedPath, uri_path};

/// What one file of a log names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFileContent {
    /// Absolute paths of data files, of change data and of deletion vectors.
    pub absolute: CountedPaths,
    /// The sidecars of a checkpoint by their names, with the sizes.
    pub sidecars: Vec<(String, u64)>,
}

/// Adds the path of a deletion vector if it is absolute.
///
/// # Errors
/// Where the vector is cannot be said: what is wrong.
pub(super) fn add_vector(
    absolute: &mut CountedPaths,
    storage_type: &str,
    path: &str,
) -> Result<(), String> {
    match storage_type {
        "p" => absolute.add(path),
        "i" => {}
        "u" if vector_path(path).is_some() => {}
        "u" => {
            return Err(format!(
                "a deletion vector has the path {path:?}, which ends with no UUID in Z85"
            ));
        }
        other => {
            return Err(format!(
                "a deletion vector has the unknown storage type {other:?}"
            ));
        }
    }
    Ok(())
}

/// Adds a path if it is absolute.
pub(super) fn add_path(absolute: &mut CountedPaths, path: &str) {
    if uri_path(path) == LoggedPath::Absolute {
        absolute.add(path);
    }
}

/// The name of a sidecar; `None` if it does not lie in the directory of sidecars.
pub(super) fn sidecar_name(path: &str) -> Option<String> {
    match uri_path(path) {
        LoggedPath::Relative(name) if !name.contains('/') => Some(name),
        LoggedPath::Relative(_) | LoggedPath::Absolute => None,
    }
}

impl LogFileContent {
    pub(super) fn add_sidecar(&mut self, path: &str, size: i64) {
        match sidecar_name(path) {
            Some(name) => self
                .sidecars
                .push((name, u64::try_from(size).unwrap_or_default())),
            None => self.absolute.add(path),
        }
    }
}
