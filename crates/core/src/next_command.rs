//! What an operator does next about a finding, a rejection, a state or an alert: one sentence, with
//! the command where there is one.

use crate::TableId;
use crate::alert::{Alert, AlertKind};
use crate::audit::AuditRule;
use crate::ledger::SubjectState;
use crate::name::ObjectName;
use crate::plan::{FindingKind, MissingRights};
use crate::query::QUERY_SUBJECT;
use crate::render::counted;
use crate::scope::Subject;

/// The options that the commands need to find the same policy and ledger again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextCommands {
    selection: String,
    /// The options of commands that read a policy and no ledger.
    policy_options: String,
    policy: String,
    standby: String,
    /// The role that a command runs as, as a word of a command line.
    role: Option<String>,
}

/// Characters that a shell reads as they are.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c)
}

/// A word of a command line, in single quotes where a shell would change it.
#[must_use]
pub fn shell_word(text: &str) -> String {
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

impl NextCommands {
    /// Commands with the options `selection`, for example `--region ap-south-1`. `policy` is the
    /// policy file, as a word of a command line, and `standby` the standby's Region.
    #[must_use]
    pub fn new(selection: &str, policy: Option<&str>, standby: &str) -> Self {
        Self {
            selection: selection.to_owned(),
            policy_options: match policy {
                Some(policy) => format!("--policy {policy}"),
                None => format!("--region {standby}"),
            },
            policy: policy.unwrap_or("FILE").to_owned(),
            standby: standby.to_owned(),
            role: None,
        }
    }

    /// Sets the ARN of the role that a command runs as.
    #[must_use]
    pub fn with_role(self, arn: &str) -> Self {
        Self {
            role: Some(shell_word(arn)),
            ..self
        }
    }

    fn bootstrap(&self) -> String {
        let role = self.role.as_deref().unwrap_or("ARN");
        format!(
            "`twinlake bootstrap --policy {} --twinlake-role {role}`",
            self.policy
        )
    }

    /// A command with the options, in backquotes.
    fn command(&self, command: &str) -> String {
        format!("`twinlake {command} {}`", self.selection)
    }

    /// The command that resyncs, which needs a ledger.
    #[must_use]
    pub fn resync(&self) -> String {
        self.command("resync")
    }

    /// The command that checks what stands between the standby and a takeover.
    #[must_use]
    pub fn doctor(&self) -> String {
        self.command("doctor")
    }

    /// What to do about missing rights: what the role lacks, and the command that gives it.
    #[must_use]
    pub fn missing_rights(&self, missing: &MissingRights) -> String {
        let mut lacks = Vec::new();
        if !missing.not_administrator_in.is_empty() {
            let regions = missing.not_administrator_in.join(" and ");
            lacks.push(format!("is no data lake administrator in {regions}"));
        }
        if missing.tables_with_hidden_columns > 0 {
            lacks.push(format!(
                "has no SELECT on {} of the primary",
                counted(missing.tables_with_hidden_columns, "whole table")
            ));
        }
        format!(
            "{} {}, so Lake Formation hides things from it, and this plan may lack changes. Run `twinlake \
             bootstrap --policy {} --twinlake-role {} --dry-run`, then without --dry-run; if the ARN lacks the \
             path of the role, name the whole ARN, here and with --caller-arn.",
            missing.role.0,
            lacks.join(" and "),
            self.policy,
            shell_word(&missing.role.0)
        )
    }

    /// What to do about findings of a kind.
    #[must_use]
    pub fn finding(&self, kind: FindingKind) -> String {
        match kind {
            FindingKind::Denied => format!(
                "give Twinlake's role what the reason names, then run {}; \
                 docs/operations.md#twinlake-access-denied",
                self.command("plan")
            ),
            FindingKind::HiddenColumns => format!(
                "run {}, which grants SELECT on all tables of the primary",
                self.bootstrap()
            ),
            FindingKind::Unreadable => format!(
                "run {} again; if they stay, see docs/operations.md#read-failed",
                self.command("plan")
            ),
            FindingKind::Unmanaged => format!(
                "delete the standby's object, rename it or make it equal, then run {}; \
                 docs/operations.md#conflict",
                self.command("plan")
            ),
            FindingKind::DefaultsOpen => format!(
                "clear the default permissions of the standby: run {}; docs/operations.md#conflict",
                self.bootstrap()
            ),
            FindingKind::OnHold => format!(
                "change the policy or the primary as the reason says; `twinlake policy explain OBJECT {}` shows the \
                 rules of the policy for an object",
                self.policy_options
            ),
            FindingKind::DataPending | FindingKind::DataOverdue => format!(
                "wait until S3 has replicated the files; {} shows the table; docs/operations.md#data-pending",
                self.command("status")
            ),
            FindingKind::DataLost => {
                "restore the files in the standby's bucket; docs/operations.md#data-lost".to_owned()
            }
            FindingKind::ChangeRequired => format!(
                "change the object as the reason says, then run {}; docs/operations.md#conflict",
                self.command("plan")
            ),
            FindingKind::Unsupported => {
                "none: they are not replicated; README.md lists what is".to_owned()
            }
            FindingKind::Note => "none: they are replicated with this reservation".to_owned(),
        }
    }

    /// What to do about rejections by a rule.
    #[must_use]
    pub fn rejection(&self, rule: AuditRule) -> String {
        match rule {
            AuditRule::DeletionLimit => format!(
                "if the deletions are intended, run {}, which shows them and asks; else set `deletions = \
                 \"retain\"`; docs/operations.md#deletions-held",
                self.command("approve-deletions")
            ),
            AuditRule::OtherPolicyOrEpoch => format!("run {} again", self.command("plan")),
            AuditRule::WiderAccess
            | AuditRule::Unproven
            | AuditRule::NotManaged
            | AuditRule::Altered
            | AuditRule::Order => format!(
                "run {} again; if they stay, report them: docs/operations.md#plan-rejected",
                self.command("plan")
            ),
        }
    }

    /// What to do about an object in a state. Without an object, about objects in general.
    #[must_use]
    pub fn state(&self, state: SubjectState, subject: Option<&Subject>) -> String {
        let object = match subject {
            Some(Subject::Database(name)) => ObjectName::Database(name.clone()).to_string(),
            Some(Subject::Table(id)) => ObjectName::Table(id.clone()).to_string(),
            Some(Subject::Function(id)) => ObjectName::Database(id.database.clone()).to_string(),
            Some(Subject::Catalog | Subject::LakeFormation(_)) => String::new(),
            None => "OBJECT".to_owned(),
        };
        let on_object = |command: &str| match object.as_str() {
            "" => self.command(command),
            "OBJECT" => self.command(&format!("{command} OBJECT")),
            name => self.command(&format!("{command} {}", shell_word(name))),
        };
        match state {
            SubjectState::InSync => {
                format!("nothing to do; {} compares again", on_object("plan"))
            }
            SubjectState::OutOfSync => format!(
                "{} shows what differs; {} makes it equal",
                on_object("plan"),
                on_object("apply")
            ),
            SubjectState::OnHold => format!(
                "{} shows what is held; change the policy as the reason says, or run {} if deletions are held",
                on_object("plan"),
                on_object("approve-deletions")
            ),
            SubjectState::DataPending => format!(
                "wait, or run S3 Batch Replication for the missing objects; if they will never arrive, run {}",
                on_object("pending dismiss")
            ),
            SubjectState::Blocked => format!(
                "remove what the reason names, then run {}; docs/operations.md#conflict",
                on_object("apply")
            ),
        }
    }

    /// What to do about a table in a state that rests on the files of its newest commit: no command looks at these.
    #[must_use]
    pub fn state_of_files(&self, state: SubjectState, table: &TableId) -> String {
        let object = shell_word(&ObjectName::Table(table.clone()).to_string());
        let docs = "docs/iceberg.md, or docs/table-logs.md for Delta and Hudi";
        match state {
            SubjectState::DataPending => format!(
                "wait: Twinlake looks again by itself; where S3 never replicated the files, run S3 Batch Replication; \
                 {docs}"
            ),
            SubjectState::OutOfSync => format!(
                "restore the files or the rights that the reason names: Twinlake looks again by itself, and {} shows it; \
                 {docs}",
                self.command(&format!("status {object}"))
            ),
            SubjectState::Blocked => format!(
                "change the table in the primary as the reason says: Twinlake follows its next commit; {docs}"
            ),
            SubjectState::InSync | SubjectState::OnHold => {
                self.state(state, Some(&Subject::Table(table.clone())))
            }
        }
    }

    /// What to do about an open alert. Its Region may be the primary: alerts of both are shown.
    #[must_use]
    pub fn alert(&self, alert: &Alert) -> String {
        let is_of_reads = matches!(
            alert.kind,
            AlertKind::ReadFailed | AlertKind::TwinlakeAccessDenied
        );
        let command = match alert.subject == QUERY_SUBJECT {
            true => self.about_query_tools(alert.kind),
            // It is about a bucket, a document or the like, at which no command looks.
            false if is_of_reads && alert.databases.is_empty() => {
                alert.action.trim_end_matches('.').to_owned()
            }
            false => self.about_kind(alert.kind, &shell_word(&alert.region)),
        };
        format!("{command}; docs/operations.md#{}", alert.kind)
    }

    /// What to do about an open alert about the query tools, which have their own commands.
    fn about_query_tools(&self, kind: AlertKind) -> String {
        match kind {
            AlertKind::DeletionsHeld => format!(
                "{} shows the deletions and asks",
                self.command("apply --domain query --approve-deletions")
            ),
            AlertKind::TwinlakeAccessDenied => format!(
                "restore the rights of the role of the resync function, then run {}",
                self.command("resync --domain query")
            ),
            AlertKind::PlanRejected
            | AlertKind::Conflict
            | AlertKind::ReadFailed
            | AlertKind::NotReplicated
            | AlertKind::Drift
            | AlertKind::ExcessAccess
            | AlertKind::PolicyUnusable
            | AlertKind::ReplicationFailed
            | AlertKind::ReplicationLate
            | AlertKind::JobFailed
            | AlertKind::UserAccessDenied
            | AlertKind::DeadLetters
            | AlertKind::Alarm
            | AlertKind::Lagging
            | AlertKind::ChannelStalled
            | AlertKind::CallCeilingReached
            | AlertKind::ReadinessLost
            | AlertKind::ReadinessUnknown
            | AlertKind::DataPending
            | AlertKind::DataLost
            | AlertKind::Digest => format!(
                "{} shows what is left and why",
                self.command("plan --domain query")
            ),
        }
    }

    /// What to do about an open alert of a kind that a Region sent.
    fn about_kind(&self, kind: AlertKind, region: &str) -> String {
        match kind {
            AlertKind::ExcessAccess => {
                format!("{} shows the revokes that are left", self.command("plan"))
            }
            AlertKind::PlanRejected => {
                format!("{} shows what the audit rejects", self.command("plan"))
            }
            AlertKind::PolicyUnusable => {
                format!(
                    "`twinlake policy push {}` stores one policy in both Regions",
                    self.policy
                )
            }
            AlertKind::DeletionsHeld => format!(
                "{} shows the deletions and asks",
                self.command("approve-deletions")
            ),
            AlertKind::TwinlakeAccessDenied => format!(
                "`twinlake bootstrap --policy {} --twinlake-role ARN --dry-run` shows what a role lacks",
                self.policy
            ),
            AlertKind::Conflict | AlertKind::ReadFailed => {
                format!("{} shows what is left and why", self.command("plan"))
            }
            AlertKind::Drift | AlertKind::NotReplicated => {
                format!("{} compares the Regions", self.command("plan"))
            }
            AlertKind::ReplicationFailed | AlertKind::ReplicationLate => format!(
                "{} shows the objects; {} if they will never arrive",
                self.command("status OBJECT"),
                self.command("pending dismiss OBJECT")
            ),
            AlertKind::DataPending | AlertKind::DataLost => format!(
                "{} names the commit and the files; see docs/iceberg.md, or docs/table-logs.md for Delta and Hudi",
                self.command("status OBJECT")
            ),
            AlertKind::JobFailed => format!(
                "start the run again when its cause is removed: `aws glue start-job-run --region {region} --job-name \
                 NAME`, or `aws glue start-crawler --region {region} --name NAME`"
            ),
            AlertKind::UserAccessDenied => format!(
                "{} compares what the principal may do",
                self.command("access PRINCIPAL OBJECT")
            ),
            AlertKind::DeadLetters => {
                format!("`twinlake redrive --region {region}` shows the messages and asks")
            }
            AlertKind::Alarm => {
                format!("`aws cloudwatch describe-alarms --state-value ALARM --region {region}`")
            }
            AlertKind::Lagging | AlertKind::ChannelStalled => format!(
                "{} does not depend on the channels of events; {} checks the channel storage",
                self.command("resync --full"),
                self.command("doctor")
            ),
            AlertKind::CallCeilingReached => format!(
                "`twinlake policy push --operation operation.toml --region {}` with a higher ceiling",
                self.standby
            ),
            AlertKind::ReadinessLost | AlertKind::ReadinessUnknown => {
                format!("{} lists the findings", self.doctor())
            }
            AlertKind::Digest => self.command("status"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Name;
    use crate::grant::Principal;
    use crate::timestamp::Timestamp;
    use std::collections::BTreeSet;

    fn commands() -> NextCommands {
        let selection = "--policy policy.toml --ledger ledger.json";
        NextCommands::new(selection, Some("policy.toml"), "ap-south-1")
    }

    #[test]
    fn every_state_and_every_alert_kind_names_a_command() {
        let states = [SubjectState::InSync]
            .into_iter()
            .chain(SubjectState::NOT_IN_SYNC);
        for state in states {
            let next = commands().state(state, None);
            assert!(next.contains("`twinlake "), "{state}: {next}");
        }
        for kind in AlertKind::EVERY {
            for subject in ["sales.orders", QUERY_SUBJECT] {
                let next = commands().alert(&alert(kind, subject));
                let has_command = next.contains("`twinlake ") || next.contains("`aws ");
                assert!(has_command && next.contains(kind.as_str()), "{next}");
                let is_query = next.contains("--domain query");
                assert_eq!(is_query, subject == QUERY_SUBJECT, "{next}");
            }
        }
    }

    fn alert(kind: AlertKind, subject: &str) -> Alert {
        let sentences = ["a.", "b.", "c."].map(str::to_owned);
        Alert {
            databases: BTreeSet::from([name("sales")]),
            ..Alert::new(kind, "us-east-1", subject, sentences, Timestamp::default())
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn what_no_command_looks_at_gets_the_action_of_the_alert() {
        for kind in [AlertKind::ReadFailed, AlertKind::TwinlakeAccessDenied] {
            let of_bucket = Alert {
                databases: BTreeSet::new(),
                ..alert(kind, "a bucket")
            };
            let next = commands().alert(&of_bucket);
            assert_eq!(next, format!("c; docs/operations.md#{kind}"));
        }
    }

    #[test]
    fn no_command_makes_a_table_equal_that_waits_for_files() {
        let table = TableId::new(name("sales"), name("orders"));
        for state in SubjectState::NOT_IN_SYNC {
            let next = commands().state_of_files(state, &table);
            let is_by_policy = state == SubjectState::OnHold;
            assert_eq!(next.contains("docs/iceberg.md"), !is_by_policy, "{next}");
            assert!(!next.contains("twinlake apply"), "{next}");
            assert!(!next.contains("pending dismiss"), "{next}");
        }
    }

    #[test]
    fn an_alert_names_the_commands_of_its_subject_and_its_region() {
        let next = |kind, subject| commands().alert(&alert(kind, subject));
        let options = "--policy policy.toml --ledger ledger.json";
        let held = next(AlertKind::DeletionsHeld, QUERY_SUBJECT);
        let command = format!("`twinlake apply --domain query --approve-deletions {options}`");
        assert!(held.starts_with(&command), "{held}");
        for kind in [AlertKind::PlanRejected, AlertKind::Conflict] {
            let next = next(kind, QUERY_SUBJECT);
            let command = format!("`twinlake plan --domain query {options}`");
            assert!(next.starts_with(&command), "{next}");
        }
        let held = next(AlertKind::DeletionsHeld, "sales");
        assert!(held.starts_with("`twinlake approve-deletions "), "{held}");
        // The standby is ap-south-1.
        for kind in [
            AlertKind::JobFailed,
            AlertKind::Alarm,
            AlertKind::DeadLetters,
        ] {
            let next = next(kind, "nightly");
            assert!(next.contains("--region us-east-1"), "{next}");
        }
    }

    #[test]
    fn a_command_without_a_ledger_gets_no_option_for_one() {
        let next = commands().finding(FindingKind::OnHold);
        let command = "`twinlake policy explain OBJECT --policy policy.toml` shows";
        assert!(next.contains(command), "{next}");
    }

    #[test]
    fn a_name_with_a_dot_is_quoted_for_the_shell() {
        let table = Subject::Table(TableId::new(name("fin.hr"), name("pay")));
        let next = commands().state(SubjectState::DataPending, Some(&table));
        let command =
            "`twinlake pending dismiss '\"fin.hr\".pay' --policy policy.toml --ledger ledger.json`";
        assert!(next.contains(command), "{next}");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }

    #[test]
    fn missing_rights_are_one_sentence_with_the_exact_command() {
        let missing = MissingRights {
            role: Principal("arn:aws:iam::111122223333:role/me".to_owned()),
            not_administrator_in: vec!["us-east-1".to_owned(), "ap-south-1".to_owned()],
            tables_with_hidden_columns: 3000,
        };
        let sentence = commands().missing_rights(&missing);
        for part in [
            "is no data lake administrator in us-east-1 and ap-south-1 and has no SELECT on 3000",
            "`twinlake bootstrap --policy policy.toml --twinlake-role arn:aws:iam::111122223333:role/me --dry-run`",
        ] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
