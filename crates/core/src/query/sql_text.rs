//! The locations in S3 in the text of a query: which of them are literals of a clause that holds a location.
//!
//! Only these are mapped. Any other mention, such as a comparison of `"$path"`, may be data, so its line is
//! reported instead. Comments are left as they are.

use std::ops::Range;

/// The text of a query for the standby.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewrittenText {
    /// The text with mapped locations.
    pub text: String,
    /// What stands in the way of using it, each with its line.
    pub problems: Vec<String>,
    /// What a reader should know, each with its line.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, in lower case.
    Word(String),
    /// What stands between quotation marks of one kind; without an end, up to the end of the text.
    Quoted(Range<usize>),
    Symbol(char),
}

/// Words before the parentheses of a list of properties.
const LISTS: [&str; 2] = ["with", "tblproperties"];
/// Words that hold a location in such a list: `external_location = '...'`. Elsewhere they are columns.
const PROPERTIES: [&str; 2] = ["external_location", "location"];
/// Quoted words that hold a location in such a list: `'storage.location.template' = '...'`.
const QUOTED_PROPERTIES: [&str; 1] = ["storage.location.template"];
/// How a location in S3 is written.
const LOCATION_STARTS: [&str; 4] = ["s3://", "s3a://", "s3n://", ":s3:::"];

/// Maps the locations of known clauses with `map`, which returns `Err` with a reason for a location that it
/// does not map. Reports what else names a location, or the Region `region`.
pub fn rewrite_locations(
    text: &str,
    region: &str,
    map: impl Fn(&str) -> Result<String, String>,
) -> RewrittenText {
    let (tokens, comments) = tokenize(text);
    let mut result = RewrittenText::default();
    let mut handled: Vec<Range<usize>> = comments;
    let mut copied = 0;
    for (at, token) in tokens.iter().enumerate() {
        let Token::Quoted(range) = token else {
            continue;
        };
        let literal = text.get(range.clone()).unwrap_or_default();
        if !names_location(literal) || !is_location(&tokens, at, text) {
            continue;
        }
        handled.push(range.clone());
        match map(literal) {
            Ok(mapped) => {
                result
                    .text
                    .push_str(text.get(copied..range.start).unwrap_or_default());
                result.text.push_str(&mapped);
                copied = range.end;
            }
            Err(reason) => {
                let line = line_of(text, range.start);
                result
                    .problems
                    .push(format!("line {line}: {literal}: {reason}"));
            }
        }
    }
    result.text.push_str(text.get(copied..).unwrap_or_default());
    let rest = mask(text, &handled);
    for line in lines_with(&rest, &LOCATION_STARTS) {
        let problem = "names a location in S3 outside a clause that holds a location";
        result.problems.push(format!("line {line} {problem}"));
    }
    for line in lines_with(&rest, &[region]) {
        let note = format!("line {line} names the Region {region}, and is copied as it is");
        result.notes.push(note);
    }
    result
}

/// Whether a quoted token is the location of a clause that is known to hold one.
fn is_location(tokens: &[Token], at: usize, text: &str) -> bool {
    let before = |distance: usize| at.checked_sub(distance).and_then(|at| tokens.get(at));
    let is_property = || match before(2) {
        Some(Token::Word(word)) => PROPERTIES.contains(&word.as_str()),
        Some(Token::Quoted(range)) => {
            let name = text.get(range.clone()).unwrap_or_default().to_lowercase();
            QUOTED_PROPERTIES.contains(&name.as_str())
        }
        Some(Token::Symbol(_)) | None => false,
    };
    let begins_entry = || matches!(before(3), Some(Token::Symbol('(' | ',')));
    match before(1) {
        Some(Token::Word(word)) if word == "location" => true,
        Some(Token::Word(word)) if word == "to" => {
            let is_unload = matches!(tokens.first(), Some(Token::Word(first)) if first == "unload");
            is_unload && before(2) == Some(&Token::Symbol(')'))
        }
        Some(Token::Symbol('=')) => is_property() && begins_entry() && is_in_properties(tokens, at),
        Some(_) | None => false,
    }
}

/// Whether the innermost parentheses around a token are a list of properties. Those of a query that has a name
/// follow the word AS.
fn is_in_properties(tokens: &[Token], at: usize) -> bool {
    let mut depth = 0_usize;
    for (position, token) in tokens.iter().enumerate().take(at).rev() {
        match token {
            Token::Symbol(')') => depth += 1,
            Token::Symbol('(') if depth == 0 => {
                let word = position
                    .checked_sub(1)
                    .and_then(|before| tokens.get(before));
                return matches!(word, Some(Token::Word(word)) if LISTS.contains(&word.as_str()));
            }
            Token::Symbol('(') => depth -= 1,
            Token::Word(_) | Token::Quoted(_) | Token::Symbol(_) => {}
        }
    }
    false
}

/// The tokens of a text without its comments, and where these are.
fn tokenize(text: &str) -> (Vec<Token>, Vec<Range<usize>>) {
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        let end_of = |marker: &str, from: usize| {
            let found = rest.get(from..).and_then(|rest| rest.find(marker));
            found.map_or(rest.len(), |found| from + found + marker.len())
        };
        let length = if rest.starts_with("--") {
            let length = end_of("\n", 0);
            comments.push(at..at + length);
            length
        } else if rest.starts_with("/*") {
            let length = end_of("*/", 2);
            comments.push(at..at + length);
            length
        } else if matches!(first, '\'' | '"' | '`') {
            let content = quoted_length(rest, first);
            tokens.push(Token::Quoted(at + 1..at + 1 + content));
            (content + 2).min(rest.len())
        } else if first.is_alphanumeric() || first == '_' {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let word = rest.get(..length).unwrap_or_default();
            tokens.push(Token::Word(word.to_lowercase()));
            length
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Symbol(first));
            }
            first.len_utf8()
        };
        at += length;
    }
    (tokens, comments)
}

/// The length of what stands between the quotation mark that a text begins with and its end. A doubled mark
/// stands for itself.
fn quoted_length(text: &str, mark: char) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    let mut marks = inner
        .char_indices()
        .filter(|(_, c)| *c == mark)
        .map(|(at, _)| at);
    while let Some(at) = marks.next() {
        let is_doubled = inner
            .get(at + 1..)
            .is_some_and(|rest| rest.starts_with(mark));
        if !is_doubled {
            return at;
        }
        let _second = marks.next();
    }
    inner.len()
}

fn names_location(text: &str) -> bool {
    let text = text.to_lowercase();
    LOCATION_STARTS
        .iter()
        .any(|location| text.contains(location))
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

/// The text with blanks in place of the given ranges, line by line as before.
fn mask(text: &str, ranges: &[Range<usize>]) -> String {
    let is_masked = |at: usize| ranges.iter().any(|range| range.contains(&at));
    text.char_indices()
        .map(|(at, c)| if c != '\n' && is_masked(at) { ' ' } else { c })
        .collect()
}

/// The lines, counted from 1, that contain one of these texts in any case.
fn lines_with(text: &str, wanted: &[&str]) -> Vec<usize> {
    let contains = |line: &str| {
        let line = line.to_lowercase();
        wanted.iter().any(|wanted| line.contains(wanted))
    };
    let lines = text.split('\n').enumerate();
    lines
        .filter(|(_, line)| contains(line))
        .map(|(at, _)| at + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(text: &str) -> RewrittenText {
        rewrite_locations(text, "us-east-1", |location| {
            match location.strip_prefix("s3://lake-us/") {
                Some(rest) => Ok(format!("s3://lake-in/{rest}")),
                None => Err("no pair".to_owned()),
            }
        })
    }

    #[test]
    fn locations_of_known_clauses_are_mapped_and_nothing_else_changes() {
        let cases = [
            (
                "create external table t (a int) LOCATION 's3://lake-us/t/'",
                "create external table t (a int) LOCATION 's3://lake-in/t/'",
            ),
            (
                "alter table t add partition (d='us-east') location /* x */ \"s3://lake-us/d\"",
                "alter table t add partition (d='us-east') location /* x */ \"s3://lake-in/d\"",
            ),
            (
                "create table t with (external_location='s3://lake-us/t/', format = 'ORC') as select 1",
                "create table t with (external_location='s3://lake-in/t/', format = 'ORC') as select 1",
            ),
            (
                "CREATE TABLE t WITH (partitioned_by = ARRAY['d'],\n  LOCATION /* ( */ = 's3://lake-us/t/') AS SELECT 1",
                "CREATE TABLE t WITH (partitioned_by = ARRAY['d'],\n  LOCATION /* ( */ = 's3://lake-in/t/') AS SELECT 1",
            ),
            (
                "create table t TblProperties (-- with )\n'a'='b', External_Location = 's3://lake-us/t/')",
                "create table t TblProperties (-- with )\n'a'='b', External_Location = 's3://lake-in/t/')",
            ),
            (
                "UNLOAD (select * from t) TO 's3://lake-us/out/' WITH (format='JSON')",
                "UNLOAD (select * from t) TO 's3://lake-in/out/' WITH (format='JSON')",
            ),
            (
                "create table t tblproperties ('storage.location.template' = 's3://lake-us/${d}/')",
                "create table t tblproperties ('storage.location.template' = 's3://lake-in/${d}/')",
            ),
        ];
        for (text, expected) in cases {
            let result = rewrite(text);
            assert_eq!(result.text, expected);
            assert_eq!(result.problems, Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_location_elsewhere_is_a_problem_with_its_line_and_comments_are_not() {
        let text = "-- from s3://lake-us/raw\nselect *\nfrom t where \"$path\" like 's3://lake-us/x%' /*\ns3://lake-us */";
        let result = rewrite(text);
        assert_eq!(result.text, text);
        assert_eq!(result.problems.len(), 1, "{result:?}");
        assert!(
            result.problems[0].starts_with("line 3 names a location"),
            "{result:?}"
        );
        let result = rewrite("select 1\nfrom u to 's3://lake-us/x'");
        assert!(
            result.problems[0].starts_with("line 2"),
            "TO is no clause outside UNLOAD"
        );
        let result = rewrite("create table t\nlocation 's3://other/x'");
        assert_eq!(result.problems, ["line 2: s3://other/x: no pair"]);
    }

    #[test]
    fn a_column_with_the_name_of_a_property_is_data() {
        for condition in [
            "where location = 's3://lake-us/x'",
            "WHERE LOCATION = 's3://lake-us/x'",
            "where (location = 's3://lake-us/x')",
            "where (a, location = 's3://lake-us/x')",
            "join u on external_location = 's3://lake-us/x'",
            "join u on (t.location = 's3://lake-us/x')",
            "order by case when location = 's3://lake-us/x' then 1 end",
            "where location /* with ( */ = 's3://lake-us/x'",
            "where -- tblproperties (\nlocation = 's3://lake-us/x'",
            "where 'with (' = a and (location = 's3://lake-us/x')",
            "where 'storage.location.template' = 's3://lake-us/x'",
        ] {
            let text = format!("with u as (select 1)\nselect *\nfrom t {condition}");
            let result = rewrite(&text);
            assert_eq!(result.text, text);
            let line = text.matches('\n').count() + 1;
            let wanted = format!("line {line} names a location");
            assert_eq!(result.problems.len(), 1, "{text}");
            assert!(result.problems[0].starts_with(&wanted), "{result:?}");
        }
        for text in [
            "with u as (select * from t where location = 's3://lake-us/x') select * from u",
            "create table t with (format = 'ORC') as select * from u where location = 's3://lake-us/x'",
            "create table t with (a = (b, location = 's3://lake-us/x')) as select 1",
            "create table t with (a = b or location = 's3://lake-us/x') as select 1",
        ] {
            assert_eq!(rewrite(text).text, text);
            assert_eq!(rewrite(text).problems.len(), 1, "{text}");
        }
    }

    #[test]
    fn quotation_marks_and_comments_inside_each_other_do_not_mislead() {
        let text = "select 'it''s -- no comment', \"a--b\" from t where x = 'location' and y = 's3://lake-us/x'";
        assert_eq!(rewrite(text).problems.len(), 1);
        let text = "select 1 -- 'open\n, location 's3://lake-us/y'";
        assert_eq!(
            rewrite(text).text,
            "select 1 -- 'open\n, location 's3://lake-in/y'"
        );
        for unfinished in [
            "select 'open",
            "select 1 /* open",
            "'",
            "location 's3://lake-us/x",
            "é--",
        ] {
            let _total = rewrite(unfinished);
        }
        assert_eq!(
            rewrite("location 's3://lake-us/x").text,
            "location 's3://lake-in/x"
        );
    }

    #[test]
    fn a_region_in_a_condition_is_data_and_is_only_noted() {
        let result = rewrite("select 1\nwhere awsregion = 'US-east-1'");
        assert_eq!(result.notes.len(), 1);
        assert!(result.notes[0].starts_with("line 2"));
        assert_eq!(result.problems, Vec::<String>::new());
        assert!(
            rewrite("location 's3://lake-us/us-east-1/'")
                .notes
                .is_empty()
        );
    }
}
