//! The only statements that Twinlake sends to a warehouse and that write. It is an allow-list: a text passes if it is
//! one of a few known forms, word by word, over the schema and the database that it is for. It shares nothing with what
//! makes the texts.
//!
//! A text has words in capital letters, identifiers in double and literals in single quotation marks, each one space
//! apart. So comments, several statements, other quotation, Unicode escapes, other spellings of a word and parameters are
//! refused before anything is compared; so is whatever is no known form: `DROP ... EXTERNAL DATABASE`, `CASCADE`,
//! `CREATE EXTERNAL DATABASE`, or a Region that is not the standby's.

use std::fmt;

/// A statement that passed. Only [`audit_statement`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedStatement {
    text: String,
}

impl ApprovedStatement {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What a statement may name.
#[derive(Clone, Copy, Debug)]
pub struct StatementBounds<'a> {
    /// The external schema that it is for.
    pub schema: &'a str,
    /// The database of the Data Catalog that the schema shows.
    pub database: &'a str,
    /// The Region of the standby.
    pub region: &'a str,
}

/// Why a statement is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRefusal(&'static str);

impl fmt::Display for StatementRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the audit of statements refuses it: {}", self.0)
    }
}

/// Approves a statement that writes.
///
/// # Errors
/// It is none of the known forms, or names something else than the bounds.
pub fn audit_statement(
    text: &str,
    bounds: &StatementBounds<'_>,
) -> Result<ApprovedStatement, StatementRefusal> {
    let tokens = tokens(text)?;
    let is_known = is_creation(&tokens, bounds)? || is_change(&tokens, bounds)?;
    match is_known {
        true => Ok(ApprovedStatement {
            text: text.to_owned(),
        }),
        false => Err(StatementRefusal("it is no form that Twinlake writes")),
    }
}

/// Whether it creates the external schema, over the standby's catalog.
fn is_creation(
    tokens: &[Token<'_>],
    bounds: &StatementBounds<'_>,
) -> Result<bool, StatementRefusal> {
    let is_known = match tokens {
        [
            Token::Word("CREATE"),
            Token::Word("EXTERNAL"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("FROM"),
            Token::Word("DATA"),
            Token::Word("CATALOG"),
            Token::Word("DATABASE"),
            Token::Literal(database),
            Token::Word("REGION"),
            Token::Literal(region),
            Token::Word("IAM_ROLE"),
            role,
            rest @ ..,
        ] => {
            if *region != bounds.region {
                return Err(StatementRefusal("its REGION is not that of the standby"));
            }
            if *database != bounds.database {
                return Err(StatementRefusal("it names another database"));
            }
            let has_known_rest = match rest {
                [] => true,
                [Token::Word("CATALOG_ROLE"), role @ Token::Literal(_)] => is_role(role),
                _ => false,
            };
            names(schema, bounds)? && is_role(role) && has_known_rest
        }
        _ => false,
    };
    Ok(is_known)
}

/// Whether it changes or drops the external schema, and nothing besides.
fn is_change(tokens: &[Token<'_>], bounds: &StatementBounds<'_>) -> Result<bool, StatementRefusal> {
    let is_known = match tokens {
        [
            Token::Word("ALTER"),
            Token::Word("EXTERNAL"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("IAM_ROLE"),
            role,
        ] => names(schema, bounds)? && is_role(role),
        [
            Token::Word("ALTER"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("OWNER"),
            Token::Word("TO"),
            Token::Identifier(_),
        ] => names(schema, bounds)?,
        [
            Token::Word("GRANT"),
            Token::Word("USAGE"),
            Token::Word("ON"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("TO"),
            rest @ ..,
        ] => {
            let grantee = match rest {
                [
                    grantee @ ..,
                    Token::Word("WITH"),
                    Token::Word("GRANT"),
                    Token::Word("OPTION"),
                ] => grantee,
                grantee => grantee,
            };
            names(schema, bounds)? && is_grantee(grantee)
        }
        [
            Token::Word("REVOKE"),
            Token::Word("USAGE"),
            Token::Word("ON"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("FROM"),
            grantee @ ..,
        ] => names(schema, bounds)? && is_grantee(grantee),
        [
            Token::Word("DROP"),
            Token::Word("SCHEMA"),
            Token::Identifier(schema),
            Token::Word("RESTRICT"),
        ] => names(schema, bounds)?,
        _ => false,
    };
    Ok(is_known)
}

/// A part of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A word in capital letters.
    Word(&'a str),
    /// What is between double quotation marks.
    Identifier(&'a str),
    /// What is between single quotation marks.
    Literal(&'a str),
}

/// The parts of a text, which are one space apart.
fn tokens(text: &str) -> Result<Vec<Token<'_>>, StatementRefusal> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let (token, after) = match rest.as_bytes().first() {
            Some(b'"') => {
                let (inner, after) = within_quotes(rest, '"')?;
                (Token::Identifier(inner), after)
            }
            Some(b'\'') => {
                let (inner, after) = within_quotes(rest, '\'')?;
                (Token::Literal(inner), after)
            }
            Some(_) | None => {
                let is_letter = |c: char| c.is_ascii_uppercase() || c == '_';
                let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                if word.is_empty() {
                    return Err(StatementRefusal(
                        "it has something other than words in capital letters, quoted names and single spaces",
                    ));
                }
                (Token::Word(word), after)
            }
        };
        tokens.push(token);
        if after.is_empty() {
            return Ok(tokens);
        }
        rest = after
            .strip_prefix(' ')
            .ok_or(StatementRefusal("its parts are not one space apart"))?;
    }
}

/// What is between the quotation mark at the beginning and the next one, and what follows.
fn within_quotes(text: &str, mark: char) -> Result<(&str, &str), StatementRefusal> {
    let inner = text.strip_prefix(mark).unwrap_or_default();
    let (inner, after) = inner
        .split_once(mark)
        .ok_or(StatementRefusal("a quotation does not end"))?;
    let is_allowed = |c: char| (' '..='~').contains(&c) && !['"', '\'', '\\'].contains(&c);
    match !inner.is_empty() && inner.chars().all(is_allowed) {
        true => Ok((inner, after)),
        false => Err(StatementRefusal(
            "a quotation is empty, or has quotation marks, backslashes or other characters than ASCII",
        )),
    }
}

fn names(schema: &str, bounds: &StatementBounds<'_>) -> Result<bool, StatementRefusal> {
    if schema.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(StatementRefusal(
            "its schema has capital letters, with which it may reach another one",
        ));
    }
    match schema == bounds.schema {
        true => Ok(true),
        false => Err(StatementRefusal("it names another schema")),
    }
}

/// One user, role or group, or everybody.
fn is_grantee(tokens: &[Token<'_>]) -> bool {
    matches!(
        tokens,
        [Token::Identifier(_)]
            | [Token::Word("PUBLIC")]
            | [Token::Word("ROLE" | "GROUP"), Token::Identifier(_)]
    )
}

/// `DEFAULT`, the session's role, or ARNs of IAM roles, which name no Region.
fn is_role(token: &Token<'_>) -> bool {
    match token {
        Token::Word(word) => *word == "DEFAULT",
        Token::Identifier(_) => false,
        Token::Literal("SESSION") => true,
        Token::Literal(roles) => roles.split(',').all(is_role_arn),
    }
}

fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "iam", "", account, resource] = parts.as_slice() else {
        return false;
    };
    let is_account = account.len() == 12 && account.bytes().all(|c| c.is_ascii_digit());
    let role = resource.strip_prefix("role/").unwrap_or_default();
    let is_role_char = |c: char| c.is_ascii_alphanumeric() || "+=.@_/-".contains(c);
    let is_role = !role.is_empty() && role.chars().all(is_role_char);
    matches!(*partition, "aws" | "aws-cn" | "aws-us-gov") && is_account && is_role
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: StatementBounds<'_> = StatementBounds {
        schema: "spectrum",
        database: "sales",
        region: "ap-south-1",
    };
    const ROLE: &str = "arn:aws:iam::111122223333:role/spectrum";

    fn passes(text: &str) -> bool {
        audit_statement(text, &BOUNDS).is_ok()
    }

    /// One of each known form.
    fn known() -> Vec<String> {
        let create = format!(
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' REGION 'ap-south-1' IAM_ROLE '{ROLE}'"
        );
        vec![
            format!("{create} CATALOG_ROLE '{ROLE}'"),
            create.replace(&format!("'{ROLE}'"), "DEFAULT"),
            create.replace(ROLE, "SESSION"),
            create.replace(ROLE, &format!("{ROLE},{ROLE}2")),
            create,
            format!("ALTER EXTERNAL SCHEMA \"spectrum\" IAM_ROLE '{ROLE}'"),
            "ALTER SCHEMA \"spectrum\" OWNER TO \"IAMR:etl\"".to_owned(),
            "GRANT USAGE ON SCHEMA \"spectrum\" TO \"anna\"".to_owned(),
            "GRANT USAGE ON SCHEMA \"spectrum\" TO \"anna\" WITH GRANT OPTION".to_owned(),
            "GRANT USAGE ON SCHEMA \"spectrum\" TO GROUP \"analysts\"".to_owned(),
            "REVOKE USAGE ON SCHEMA \"spectrum\" FROM ROLE \"analysts\"".to_owned(),
            "REVOKE USAGE ON SCHEMA \"spectrum\" FROM PUBLIC".to_owned(),
            "DROP SCHEMA \"spectrum\" RESTRICT".to_owned(),
        ]
    }

    #[test]
    fn each_known_form_passes() {
        for text in known() {
            assert_eq!(
                audit_statement(&text, &BOUNDS).map(|approved| approved.text().to_owned()),
                Ok(text)
            );
        }
    }

    #[test]
    fn what_drops_creates_or_leads_elsewhere_is_refused_in_every_spelling() {
        let forbidden = [
            "DROP SCHEMA \"spectrum\" DROP EXTERNAL DATABASE RESTRICT",
            "DROP SCHEMA \"spectrum\" DROP EXTERNAL DATABASE",
            "DROP SCHEMA \"spectrum\" CASCADE",
            "DROP SCHEMA IF EXISTS \"spectrum\" DROP EXTERNAL DATABASE CASCADE",
            "DROP SCHEMA \"spectrum\" , \"other\" RESTRICT",
            "DROP SCHEMA \"other\" RESTRICT",
            "DROP DATABASE \"sales\"",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' REGION 'ap-south-1' IAM_ROLE DEFAULT CREATE EXTERNAL DATABASE IF NOT EXISTS",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' REGION 'us-east-1' IAM_ROLE DEFAULT",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' IAM_ROLE DEFAULT",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'hr' REGION 'ap-south-1' IAM_ROLE DEFAULT",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' REGION 'ap-south-1' IAM_ROLE 'arn:aws:s3:::lake-primary/x'",
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM HIVE METASTORE DATABASE 'sales' URI 'h' IAM_ROLE DEFAULT",
            "GRANT ALL ON SCHEMA \"spectrum\" TO PUBLIC",
            "GRANT USAGE ON SCHEMA \"spectrum\" TO \"anna\" , PUBLIC",
            "GRANT USAGE ON SCHEMA \"hr\" TO \"anna\"",
            "REVOKE USAGE ON SCHEMA \"spectrum\" FROM \"anna\" CASCADE",
            "ALTER SCHEMA \"spectrum\" RENAME TO \"x\"",
            "ALTER SCHEMA \"hr\" OWNER TO \"anna\"",
            "",
            " ",
        ];
        for text in forbidden {
            let spellings = [
                text.to_owned(),
                text.to_lowercase(),
                text.replace(' ', "\t"),
                text.replace(' ', "/**/"),
                text.replace(' ', " -- x\n"),
                text.replace(' ', " /* a /* b */ c */ "),
                text.replace('"', ""),
                text.replace('"', "\"\""),
                text.replace('\'', "$$"),
                text.replace('\'', "E'"),
                text.replace("DROP", "U&\"\\0044ROP\""),
                text.replace('E', "\u{ff25}"),
                text.replace('A', "\u{410}"),
                text.replace('S', "\u{17f}"),
                format!("{text};"),
                format!("{text}\0"),
            ];
            for spelling in spellings {
                assert!(!passes(&spelling), "{spelling}");
            }
        }
    }

    #[test]
    fn nothing_is_added_to_a_known_form() {
        let additions = [
            "; DROP SCHEMA \"x\" CASCADE",
            " ; SELECT 1",
            ";",
            " -- x",
            " /* x */",
            "\n",
            "  ",
            " CASCADE",
            " DROP EXTERNAL DATABASE",
            " CREATE EXTERNAL DATABASE IF NOT EXISTS",
            " REGION 'us-east-1'",
            " 'x'",
            "\0",
        ];
        for text in known() {
            for addition in additions {
                assert!(!passes(&format!("{text}{addition}")), "{text}{addition}");
                assert!(!passes(&format!("{addition}{text}")), "{addition}{text}");
            }
            // A second statement, and one in place of any space.
            assert!(!passes(&format!("{text};{text}")));
            for (at, _) in text.match_indices(' ') {
                let (before, after) = text.split_at(at);
                assert!(!passes(&format!("{before} ;{after}")), "{before};{after}");
                assert!(!passes(&format!("{before}/* x */{after}")));
            }
            // A name that ends early.
            assert!(!passes(
                &text.replace("spectrum\"", "spectrum\" CASCADE \"")
            ));
            assert!(!passes(&text.replace("\"spectrum\"", "\"spec\"\"trum\"")));
            assert!(!passes(&text.replace("\"spectrum\"", "spectrum")));
            assert!(!passes(&text.to_lowercase()), "{text}");
        }
    }
}
