//! Looks at the manifests of a symlink table.

use super::log_look::LogLook;
use crate::iceberg::IcebergError;
use crate::ports::TableFiles;
use twinlake_iceberg::PathMap;
use twinlake_iceberg::table_log::CountedPaths;
use twinlake_iceberg::table_log::symlink::read_symlink_manifest;

/// The most manifests that are read: one for each partition.
const MAX_MANIFESTS: usize = 200;

impl<F: TableFiles> LogLook<'_, F> {
    /// Looks at the manifests below the location: each path that is not one of the standby leads out.
    pub(super) async fn look_at_manifests(&mut self, map: &PathMap) -> Result<(), IcebergError> {
        let mut manifests = Vec::new();
        let mut left_out: usize = 0;
        self.list("", |name, size| {
            let file = name.rsplit('/').next().unwrap_or(name);
            match file.is_empty() || file.starts_with(['_', '.']) {
                true => {}
                false if manifests.len() < MAX_MANIFESTS => manifests.push((name.to_owned(), size)),
                false => left_out += 1,
            }
        })
        .await?;
        for (name, size) in manifests {
            let read = self
                .read(&name, Some(size), |path, bytes| {
                    let mut absolute = CountedPaths::default();
                    let paths = read_symlink_manifest(path, &bytes)?.into_iter();
                    let foreign = paths.filter(|path| !map.is_mapped(path));
                    foreign.for_each(|path| absolute.add(path));
                    Ok(absolute)
                })
                .await?;
            if let Some(absolute) = read {
                self.add_absolute(&name, &absolute);
            }
        }
        if left_out > 0 {
            self.add_unread(&format!(
                "only {MAX_MANIFESTS} manifests are read; more left: {left_out}"
            ));
        }
        Ok(())
    }
}
