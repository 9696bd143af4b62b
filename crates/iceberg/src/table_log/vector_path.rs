//! Where a file of deletion vectors lies in a Delta table.

/// The characters of a UUID in the name of a deletion vector.
const UUID_CHARACTERS: usize = 20;

/// The path of a file of deletion vectors below the table: an optional directory, and a UUID in Z85.
pub(super) fn vector_path(text: &str) -> Option<String> {
    let at = text.len().checked_sub(UUID_CHARACTERS)?;
    let (directory, uuid) = (text.get(..at)?, text.get(at..)?);
    let bytes = z85_decoded(uuid)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    let groups: Option<Vec<&str>> = groups.into_iter().map(|range| hex.get(range)).collect();
    let name = format!("deletion_vector_{}.bin", groups?.join("-"));
    match directory {
        "" => Some(name),
        directory => Some(format!("{directory}/{name}")),
    }
}

/// Decodes Z85 (ZeroMQ RFC 32): five characters are four bytes.
fn z85_decoded(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &str =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut decoded = Vec::new();
    for group in text.as_bytes().chunks(5) {
        let mut value: u32 = 0;
        for byte in group {
            let digit = u32::try_from(DIGITS.find(char::from(*byte))?).ok()?;
            value = value.checked_mul(85)?.checked_add(digit)?;
        }
        decoded.extend_from_slice(&value.to_be_bytes());
    }
    Some(decoded)
}
