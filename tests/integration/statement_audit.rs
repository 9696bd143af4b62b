//! Properties of the audit of statements: nothing forbidden passes it, and everything that is made does.

use proptest::prelude::*;
use twinlake_core::query::{
    StatementBounds, WarehouseQuery, audit_statement, read_external_schemas, schema_statements,
};
use twinlake_tests::plans::proptest_config;

const ROLE: &str = "arn:aws:iam::111122223333:role/spectrum";
const BOUNDS: StatementBounds<'_> = StatementBounds {
    schema: "spectrum",
    database: "sales",
    region: "ap-south-1",
};

/// One of each form that the audit of statements knows.
fn forms() -> Vec<String> {
    vec![
        format!(
            "CREATE EXTERNAL SCHEMA \"spectrum\" FROM DATA CATALOG DATABASE 'sales' REGION 'ap-south-1' IAM_ROLE '{ROLE}' CATALOG_ROLE '{ROLE}'"
        ),
        format!("ALTER EXTERNAL SCHEMA \"spectrum\" IAM_ROLE '{ROLE}'"),
        "ALTER SCHEMA \"spectrum\" OWNER TO \"etl\"".to_owned(),
        "GRANT USAGE ON SCHEMA \"spectrum\" TO \"anna\" WITH GRANT OPTION".to_owned(),
        "REVOKE USAGE ON SCHEMA \"spectrum\" FROM GROUP \"analysts\"".to_owned(),
        "DROP SCHEMA \"spectrum\" RESTRICT".to_owned(),
    ]
}

/// What a text says to a reader of SQL: words in capital letters, without what is quoted, and with marks apart. Comments
/// are left as marks.
fn words_outside_quotes(text: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                plain.push_str(" ? ");
            }
            None if c.is_alphanumeric() || c == '_' || c == ' ' => plain.push(c),
            None => plain.push_str(&format!(" {c} ")),
        }
    }
    let words = plain.split_whitespace();
    words.map(str::to_uppercase).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..proptest_config() })]

    /// Whatever is put into a known form, or replaces a part of it, what passes says nothing forbidden.
    #[test]
    fn no_forbidden_statement_passes_the_audit(
        form in prop::sample::select(forms()),
        parts in prop::collection::vec(prop::sample::select(vec![
            "DROP", "EXTERNAL", "DATABASE", "CASCADE", "CREATE", "IF NOT EXISTS", "cascade", "drop external database",
            ";", "--", "/*", "*/", "\n", " ", "\t", "'", "\"", "\\", "$$", "E'", "U&\"", "\u{0}", "\u{a0}", "REGION",
            "'us-east-1'", "\"other\"", "SCHEMA", "s3://lake-primary/x", "PUBLIC", "ALL", "OPTION", ",", ")", "(", ":x", "?",
        ]), 1..5),
        from in any::<prop::sample::Index>(),
        length in 0_usize..12,
    ) {
        let at = from.index(form.len() + 1);
        let end = (at + length).min(form.len());
        let text = format!("{}{}{}", &form[..at], parts.concat(), &form[end..]);
        if audit_statement(&text, &BOUNDS).is_ok() {
            let words = words_outside_quotes(&text);
            let forbidden = ["CASCADE", "ALL", "IF", "EXISTS", "RENAME", ";", "-", "/", "*", "\\", "$", ",", "(", ")", ":", "&"];
            prop_assert!(!words.iter().any(|word| forbidden.contains(&word.as_str())), "{text}");
            let is_external_database = words.windows(2).any(|pair| pair == ["EXTERNAL", "DATABASE"]);
            prop_assert!(!is_external_database, "{text}");
            let verbs = ["CREATE", "ALTER", "GRANT", "REVOKE", "DROP"];
            let first = words.first().map(String::as_str).unwrap_or_default();
            prop_assert!(verbs.contains(&first), "{text}");
            let count = words.iter().filter(|word| verbs.contains(&word.as_str())).count();
            let of_option = words.windows(2).filter(|pair| *pair == ["GRANT", "OPTION"]).count();
            prop_assert_eq!(count - of_option, 1, "{}", text);
            // As the name of an owner or a grantee, a place leads nowhere.
            let leads_elsewhere = text.contains("us-east-1") || text.contains("s3:");
            let has_literals = text.starts_with("CREATE") || text.starts_with("ALTER EXTERNAL");
            prop_assert!(!(has_literals && leads_elsewhere), "{text}");
            prop_assert!(text.is_ascii(), "{text}");
            prop_assert!(text.contains("\"spectrum\"") && !text.contains("SCHEMA \"other\""), "{text}");
        }
    }

    /// What leads from any state to any other passes, if the names can be quoted.
    #[test]
    fn the_audit_knows_every_statement_that_is_made(
        users in prop::collection::vec(("[ -!#-&(-\\[\\]-~]{1,12}", prop::sample::select(vec!["user", "role", "group", "public"]), any::<bool>()), 0..4),
        revoked in 0_usize..4,
        owner in "[a-zA-Z:_@.-]{1,10}",
        role in prop::sample::select(vec!["SESSION", "default", ROLE]),
    ) {
        let read = |users: &[(String, &str, bool)], owner: &str, role: &str| {
            let text = |text: &str| Some(text.to_owned());
            let options = serde_json::json!({ "IAM_ROLE": role }).to_string();
            let row = vec![text("twinlake"), text("t"), text("1"), text("spectrum"), text("1"), text("sales"), Some(options), text(owner)];
            let grants: Vec<_> = users.iter().map(|(name, of, option)| {
                vec![text("spectrum"), text("USAGE"), text(name), text(of), text(&option.to_string()), text("SCHEMA")]
            }).collect();
            let read = read_external_schemas(("reports", "ap-south-1"), &[row], &grants).unwrap();
            read[0].1.clone().unwrap()
        };
        let current = read(&users, "twinlake", ROLE);
        let desired = read(&users[revoked.min(users.len())..], &owner, role);
        // Each state on the way is one from which other statements follow.
        let mut narrowed = current.clone();
        narrowed.fields.remove("Grants");
        let mut with_role = narrowed.clone();
        with_role.fields.insert("IamRole".to_owned(), desired.text("IamRole").unwrap().into());
        let mut statements = Vec::new();
        for from in [&current, &narrowed, &with_role] {
            statements.extend(schema_statements(Some(from), Some(&desired)));
            statements.extend(schema_statements(Some(&desired), Some(from)));
        }
        statements.extend(schema_statements(None, Some(&desired)));
        statements.extend(schema_statements(Some(&current), None));
        for statement in statements {
            prop_assert!(audit_statement(&statement, &BOUNDS).is_ok(), "{statement}");
        }
        // A statement that reads is no statement that writes.
        prop_assert!(audit_statement(WarehouseQuery::Schemas.sql(), &BOUNDS).is_err());
    }
}
