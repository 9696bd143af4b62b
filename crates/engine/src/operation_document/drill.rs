//! The table `[drill]` of the operation document: the queries that a drill makes as real roles.

use super::takeover::workgroup_name;
use serde::Deserialize;
use toml::Spanned;
use twinlake_core::arn::Arn;
use twinlake_core::document::{DocumentError, DocumentSource};
use twinlake_core::drill::{DrillCheck, DrillConfig, DrillExpectation, DrillQuery};
use twinlake_core::name::ObjectName;

/// A drill is not a load test: each query is one after the other.
const MAX_CHECKS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct DrillTable {
    workgroup: Spanned<String>,
    #[serde(default)]
    check: Vec<Spanned<CheckTable>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct CheckTable {
    role: Spanned<String>,
    table: Spanned<String>,
    columns: Option<Spanned<Vec<String>>>,
    rows: Option<Spanned<String>>,
    expect: Spanned<String>,
}

/// Checks `[drill]`.
///
/// # Errors
/// What is wrong, with the line and the key.
pub(super) fn parse(
    source: DocumentSource<'_>,
    table: &DrillTable,
) -> Result<DrillConfig, DocumentError> {
    let workgroup = workgroup_name(source, &table.workgroup, "drill.workgroup")?;
    if let Some(extra) = table.check.get(MAX_CHECKS) {
        let problem = format!("a drill makes at most {MAX_CHECKS} queries");
        return Err(source.error(extra.span().start, "drill.check", problem));
    }
    let checks = table.check.iter().map(|check| parse_check(source, check));
    Ok(DrillConfig {
        workgroup,
        checks: checks.collect::<Result<_, _>>()?,
    })
}

fn parse_check(
    source: DocumentSource<'_>,
    check: &Spanned<CheckTable>,
) -> Result<DrillCheck, DocumentError> {
    let raw = check.get_ref();
    let fail = |at: usize, key: &str, problem: String| {
        source.error(at, &format!("drill.check.{key}"), problem)
    };
    let role = raw.role.get_ref();
    let is_role = Arn::parse(role).is_some_and(|arn| {
        arn.service == "iam" && arn.resource.starts_with("role/") && !role.contains('*')
    });
    if !is_role {
        let problem = "write the ARN of a role, like `arn:aws:iam::111122223333:role/analyst`";
        return Err(fail(raw.role.span().start, "role", problem.to_owned()));
    }
    let Ok(ObjectName::Table(table)) = ObjectName::parse(raw.table.get_ref()) else {
        let problem = "write a table as `database.table`";
        return Err(fail(raw.table.span().start, "table", problem.to_owned()));
    };
    let expect = match raw.expect.get_ref().as_str() {
        "allowed" => DrillExpectation::Allowed,
        "denied" => DrillExpectation::Denied,
        _ => {
            let problem = "write `allowed` or `denied`";
            return Err(fail(raw.expect.span().start, "expect", problem.to_owned()));
        }
    };
    let query = match (&raw.columns, &raw.rows) {
        (Some(columns), None) => {
            let names = columns.get_ref();
            let valid = |name: &String| {
                !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control)
            };
            if names.is_empty() || !names.iter().all(valid) {
                let problem = "write the names of one or more columns";
                return Err(fail(columns.span().start, "columns", problem.to_owned()));
            }
            DrillQuery::Columns(names.clone())
        }
        (None, Some(rows)) => match (rows.get_ref().as_str(), expect) {
            ("count", _) => DrillQuery::Rows,
            ("compare", DrillExpectation::Allowed) => DrillQuery::RowsInBothRegions,
            (_, _) => {
                let problem = "write `count`, or `compare` if the role is allowed";
                return Err(fail(rows.span().start, "rows", problem.to_owned()));
            }
        },
        (Some(_), Some(_)) | (None, None) => {
            let problem = "write either `columns` or `rows`";
            return Err(source.error(check.span().start, "drill.check", problem));
        }
    };
    Ok(DrillCheck {
        role: role.clone(),
        table,
        query,
        expect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation_document::OperationConfig;

    const CHECK: &str = r#"
[[drill.check]]
role = "arn:aws:iam::111122223333:role/team/analyst"
table = "sales.orders"
"#;

    fn parsed(check: &str) -> Result<DrillConfig, String> {
        let text = format!("[drill]\nworkgroup = \"drill\"\n{check}");
        let parsed = OperationConfig::parse(&text).map_err(|error| error.to_string())?;
        Ok(parsed.drill.unwrap())
    }

    #[test]
    fn columns_and_rows_are_read() {
        let of = |rest: &str| parsed(&format!("{CHECK}{rest}")).unwrap().checks.remove(0);
        let columns = of("columns = [\"id\"]\nexpect = \"denied\"\n");
        assert_eq!(columns.query, DrillQuery::Columns(vec!["id".to_owned()]));
        assert_eq!(columns.expect, DrillExpectation::Denied);
        assert_eq!(columns.table.to_string(), "sales.orders");
        let rows = of("rows = \"compare\"\nexpect = \"allowed\"\n");
        assert_eq!(rows.query, DrillQuery::RowsInBothRegions);
        assert_eq!(parsed("").unwrap().checks, []);
        assert_eq!(OperationConfig::parse("").unwrap().drill, None);
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        let both = format!("{CHECK}columns = [\"a\"]\nrows = \"count\"\nexpect = \"allowed\"\n");
        let compared = format!("{CHECK}rows = \"compare\"\nexpect = \"denied\"\n");
        let none = format!("{CHECK}columns = []\nexpect = \"denied\"\n");
        let word = format!("{CHECK}rows = \"count\"\nexpect = \"no\"\n");
        let pattern = both.replace("team/analyst", "*");
        let user = both.replace("role/team/analyst", "user/analyst");
        let database = both.replace("sales.orders", "sales");
        let many = format!("{CHECK}rows = \"count\"\nexpect = \"denied\"\n").repeat(101);
        let cases = [
            (&both, "operation line 4, key `drill.check`: write either"),
            (
                &compared,
                "operation line 7, key `drill.check.rows`: write `count`",
            ),
            (
                &none,
                "operation line 7, key `drill.check.columns`: write the names",
            ),
            (
                &word,
                "operation line 8, key `drill.check.expect`: write `allowed`",
            ),
            (
                &pattern,
                "operation line 5, key `drill.check.role`: write the ARN",
            ),
            (
                &user,
                "operation line 5, key `drill.check.role`: write the ARN",
            ),
            (
                &database,
                "operation line 6, key `drill.check.table`: write a table",
            ),
            (
                &many,
                "operation line 604, key `drill.check`: a drill makes at most 100",
            ),
        ];
        for (text, start) in cases {
            let problem = parsed(text).unwrap_err();
            assert!(problem.starts_with(start), "{problem}");
        }
    }
}
