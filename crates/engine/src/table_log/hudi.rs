//! Looks at the timeline of a Hudi table.

use super::log_look::{LogLook, NamedFile, NamedSize};
use crate::iceberg::IcebergError;
use crate::ports::TableFiles;
use twinlake_iceberg::table_log::CountedPaths;
use twinlake_iceberg::table_log::hudi::{
    HUDI_DIRECTORY, HudiFiles, HudiTimeline, InstantEncoding, PROPERTIES, WrittenFile,
    read_hudi_properties,
};

/// The most instants that are read.
const MAX_INSTANTS: usize = 20;

fn in_timeline(name: &str) -> String {
    format!("{HUDI_DIRECTORY}/{name}")
}

impl From<&WrittenFile> for NamedFile {
    fn from(file: &WrittenFile) -> Self {
        Self {
            path: file.path.clone(),
            size: file.size.map_or(NamedSize::AtLeast(0), NamedSize::Exact),
        }
    }
}

impl<F: TableFiles> LogLook<'_, F> {
    /// Looks at the properties and the newest instants. An instant in Avro is recognised, and not read.
    pub(super) async fn look_at_hudi(&mut self) -> Result<(), IcebergError> {
        let name = in_timeline(PROPERTIES);
        let read = self
            .read(&name, None, |path, bytes| {
                Ok(read_hudi_properties(path, &bytes)?)
            })
            .await?;
        let Some(properties) = read else {
            return Ok(());
        };
        self.add_absolute(&name, &properties.absolute);
        let mut timeline = HudiTimeline::default();
        self.list(HUDI_DIRECTORY, |name, size| {
            timeline.add(name, size, &properties);
        })
        .await?;
        if timeline.has_bootstrap_index() && properties.absolute.count == 0 {
            let mut base = CountedPaths::default();
            base.add("the index of a bootstrap, which names files outside the table");
            self.add_absolute(&in_timeline(".aux/.bootstrap"), &base);
        }
        let mut files = HudiFiles::default();
        for instant in timeline.newest_instants(MAX_INSTANTS) {
            let name = in_timeline(&instant.name);
            let read = self
                .read(
                    &name,
                    Some(instant.size),
                    |path, bytes| match InstantEncoding::of(&bytes) {
                        InstantEncoding::Json => Ok(Some(files.read_instant(path, &bytes)?)),
                        InstantEncoding::Empty => Ok(Some(CountedPaths::default())),
                        InstantEncoding::Avro => Ok(None),
                    },
                )
                .await?;
            match read {
                Some(Some(absolute)) => self.add_absolute(&name, &absolute),
                Some(None) => {
                    let version = properties.table_version.map(|version| version.to_string());
                    let version = version.unwrap_or_else(|| "unknown".to_owned());
                    self.add_unread(&format!(
                        "{name} is in Avro, which is not read (table version {version})"
                    ));
                }
                None => {}
            }
        }
        let newest = files.newest_files().map(NamedFile::from).collect();
        Ok(self.look_for(newest).await?)
    }
}
