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
    Other,
}

/// The databases in names of two or three parts that follow FROM or JOIN, in lower case. The list may
/// hold names that are no databases, such as the alias in `EXTRACT(year FROM t.day)`.
pub(super) fn databases_of(sql: &str) -> BTreeSet<String> {
    let tokens = tokens(sql);
    let mut found = BTreeSet::new();
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        if !is_keyword(token, "from") && !is_keyword(token, "join") {
            continue;
        }
        match after {
            [
                Token::Name { .. },
                Token::Dot,
                Token::Name { text, .. },
                Token::Dot,
                Token::Name { .. },
                ..,
            ] => {
                found.insert(text.clone());
            }
            [Token::Name { text, .. }, Token::Dot, Token::Name { .. }, ..] => {
                found.insert(text.clone());
            }
            _ => {}
        }
    }
    found
}

fn is_keyword(token: &Token, keyword: &str) -> bool {
    match token {
        Token::Name { text, is_quoted } => !is_quoted && text == keyword,
        Token::Dot | Token::Other => false,
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
            '.' => {
                tokens.push(Token::Dot);
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
    fn texts_comments_and_quoted_keywords_name_nothing() {
        assert!(of("SELECT 'from x.y' -- from a.b\n, 1 /* join c.d */ AS \"from\" .x").is_empty());
        assert!(of("SELECT 'it''s from x.y'").is_empty());
        assert!(of("").is_empty());
        assert!(of("from").is_empty());
        assert!(of("SELECT \"unclosed from x.y").is_empty());
        assert_eq!(of("SELECT 'ü' FROM \u{fc}ber.t"), ["über"]);
    }
}
