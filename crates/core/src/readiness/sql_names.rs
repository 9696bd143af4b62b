//! Finds the databases that the SQL of a view names.

use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name, in lower case, with or without quotation marks.
    Name {
        text: String,
        is_quoted: bool,
    },
    Dot,
    Comma,
    Open,
    Close,
    Other,
}

/// The databases in names of two or three parts where a table may stand, in lower case: after FROM and JOIN, after a
/// comma of the same list, and after a parenthesis there. The list may hold names that are no databases, such as the
/// alias in `EXTRACT(year FROM t.day)`. A backslash escapes nothing, as in Athena.
pub(super) fn databases_of(sql: &str) -> BTreeSet<String> {
    let tokens = tokens(sql);
    let mut found = BTreeSet::new();
    // For each open parenthesis, and for the whole, whether a comma separates tables.
    let mut lists_tables = vec![false];
    let mut expects_table = false;
    for (position, token) in tokens.iter().enumerate() {
        let list = lists_tables.last_mut();
        match token {
            Token::Open => lists_tables.push(expects_table),
            Token::Close => {
                expects_table = false;
                // More are closed than opened: the text is no SQL, and what follows is read as if it were.
                if lists_tables.len() > 1 {
                    lists_tables.pop();
                }
            }
            Token::Comma => expects_table = list.is_some_and(|list| *list),
            Token::Name { .. } if is_keyword(token, &["from", "join"]) => {
                expects_table = true;
                list.into_iter().for_each(|list| *list = true);
            }
            Token::Name { .. } if is_keyword(token, &AFTER_TABLES) => {
                expects_table = false;
                list.into_iter().for_each(|list| *list = false);
            }
            Token::Name { .. } => {
                let name = tokens.get(position..).unwrap_or_default();
                found.extend(database_of(name).filter(|_| expects_table));
                expects_table = false;
            }
            Token::Dot | Token::Other => {}
        }
    }
    found
}

/// Keywords that end a list of tables.
const AFTER_TABLES: [&str; 12] = [
    "select",
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "union",
    "except",
    "intersect",
    "set",
];

/// The database of a name of two or three parts at the beginning of tokens.
fn database_of(tokens: &[Token]) -> Option<String> {
    match tokens {
        [
            Token::Name { .. },
            Token::Dot,
            Token::Name { text, .. },
            Token::Dot,
            Token::Name { .. },
            ..,
        ]
        | [Token::Name { text, .. }, Token::Dot, Token::Name { .. }, ..] => Some(text.clone()),
        _ => None,
    }
}

fn is_keyword(token: &Token, keywords: &[&str]) -> bool {
    match token {
        Token::Name { text, is_quoted } => !is_quoted && keywords.contains(&text.as_str()),
        Token::Dot | Token::Comma | Token::Open | Token::Close | Token::Other => false,
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql.trim_start();
    loop {
        let mut characters = rest.chars();
        let Some(first) = characters.next() else {
            return tokens;
        };
        let after = characters.as_str();
        rest = match first {
            '"' | '`' => {
                let (text, after) = quoted(after, first);
                tokens.push(Token::Name {
                    text: text.to_lowercase(),
                    is_quoted: true,
                });
                after
            }
            '\'' => {
                tokens.push(Token::Other);
                quoted(after, first).1
            }
            '-' if after.starts_with('-') => after.split_once('\n').map_or("", |(_, after)| after),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, after)| after),
            '.' | ',' | '(' | ')' => {
                tokens.push(match first {
                    '.' => Token::Dot,
                    ',' => Token::Comma,
                    '(' => Token::Open,
                    _ => Token::Close,
                });
                after
            }

            first if is_of_name(first) => {
                let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
                let (text, after) = rest.split_at(end);
                tokens.push(Token::Name {
                    text: text.to_lowercase(),
                    is_quoted: false,
                });
                after
            }
            _ => {
                tokens.push(Token::Other);
                after
            }
        }
        .trim_start();
    }
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$' | '@')
}

/// The text up to the closing mark, in which a doubled mark stands for one, and what follows.
fn quoted(text: &str, mark: char) -> (String, &str) {
    let mut content = String::new();
    let mut rest = text;
    while let Some((head, after)) = rest.split_once(mark) {
        content.push_str(head);
        match after.strip_prefix(mark) {
            Some(after) => {
                content.push(mark);
                rest = after;
            }
            None => return (content, after),
        }
    }
    (content + rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> Vec<String> {
        databases_of(sql).into_iter().collect()
    }

    #[test]
    fn databases_stand_in_names_of_two_or_three_parts_after_from_and_join() {
        assert_eq!(of("SELECT a.x FROM sales.orders a"), ["sales"]);
        assert_eq!(
            of("select * from orders o join HR . pay on o.id = hr2.id"),
            ["hr"]
        );
        assert_eq!(
            of("SELECT * FROM \"awsdatacatalog\".\"Fin.eu\".\"t\""),
            ["fin.eu"]
        );
        assert_eq!(of("SELECT * FROM `fin`.`t`"), ["fin"]);
        assert_eq!(
            of("SELECT * FROM (SELECT 1 FROM a.b) JOIN c.d ON true"),
            ["a", "c"]
        );
    }

    #[test]
    fn databases_stand_after_commas_and_parentheses_of_a_list_of_tables() {
        assert_eq!(
            of("SELECT a.x, q.y FROM a.t x, b.u WHERE c.z IN (d.w, e.v)"),
            ["a", "b"]
        );
        assert_eq!(
            of("SELECT * FROM (a.t JOIN b.u ON a.x = c.y), d.v"),
            ["a", "b", "d"]
        );
        assert_eq!(
            of("SELECT * FROM ((a.t)), (SELECT x.y, f(z.w) FROM b.u), c.v"),
            ["a", "b", "c"]
        );
        assert_eq!(
            of("SELECT * FROM UNNEST(x.y, z.w) AS q, a.t ORDER BY b.u, c.v"),
            ["a"]
        );
        assert_eq!(
            of("WITH q AS (SELECT 1 FROM a.t) SELECT q.x, b.y FROM q, c.u) d.v"),
            ["a", "c"]
        );
    }

    #[test]
    fn texts_comments_and_quoted_keywords_name_nothing() {
        assert!(of("SELECT 'from x.y' -- from a.b\n, 1 /* join c.d */ AS \"from\" .x").is_empty());
        assert!(of("SELECT 'it''s from x.y'").is_empty());
        assert!(of("").is_empty());
        assert!(of("from").is_empty());
        assert!(of("SELECT \"unclosed from x.y").is_empty());
        assert_eq!(of("SELECT 'ü' FROM \u{fc}ber.t"), ["über"]);
    }
}
