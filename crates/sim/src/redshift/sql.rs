//! The words of a statement, as far as the simulator reads SQL.

/// A word, an identifier or a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotation marks.
    pub(super) text: String,
    is_quoted: bool,
}

impl Word {
    /// Whether it is this keyword, in any case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        !self.is_quoted && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// The words of one statement.
pub(super) fn words(sql: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut chars = sql.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\'' => {
                let mut text = String::new();
                loop {
                    match chars.next() {
                        Some(end) if end == c && chars.peek() == Some(&c) => {
                            text.extend(chars.next());
                        }
                        Some(end) if end == c => break,
                        Some(other) => text.push(other),
                        None => return Err("unterminated quoted string".to_owned()),
                    }
                }
                words.push(Word {
                    text,
                    is_quoted: true,
                });
            }
            c if c.is_whitespace() => {}
            c if c.is_alphanumeric() || c == '_' => {
                let mut text = c.to_string();
                while let Some(more) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    text.push(more);
                }
                words.push(Word {
                    text,
                    is_quoted: false,
                });
            }
            other => return Err(format!("syntax error at or near \"{other}\"")),
        }
    }
    Ok(words)
}
