//! Manifests of symlink tables: text files that name one data file in each line, by its full path.

use crate::table_finding::TableFinding;

/// The directory in which Delta writes manifests.
pub const SYMLINK_DIRECTORY: &str = "_symlink_format_manifest";

/// The paths in a manifest.
///
/// # Errors
/// It is no text.
pub fn read_symlink_manifest<'a>(
    path: &str,
    bytes: &'a [u8],
) -> Result<Vec<&'a str>, TableFinding> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| TableFinding::malformed(path, "it is no text in UTF-8"))?;
    let lines = text.lines().map(str::trim);
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_path() {
        let text = b"s3://lake-us/t/p0.parquet\r\n\ns3://lake-us/t/p1.parquet";
        let paths = read_symlink_manifest("m", text).unwrap();
        assert_eq!(
            paths,
            ["s3://lake-us/t/p0.parquet", "s3://lake-us/t/p1.parquet"]
        );
        assert!(read_symlink_manifest("m", b"\xff").is_err());
    }
}
