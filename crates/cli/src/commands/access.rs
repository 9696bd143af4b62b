//! `twinlake access`: compares the permissions of a principal in both Regions.

use crate::common_options::{Common, PrimaryOption};
use crate::connect::{Connection, WithoutLedger};
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::BTreeSet;
use twinlake_core::access::{self, AccessRight, EffectiveAccess};
use twinlake_core::audit::ApprovedDeletions;
use twinlake_core::grant::GrantMapping;
use twinlake_core::scope::{ReadRequest, WHOLE_TABLE};
use twinlake_core::snapshot::{Observation, Snapshot};
use twinlake_core::{Facet, LfSubject, Principal, Scope, Subject, render};
use twinlake_engine::reconcile;

/// Arguments of `twinlake access`.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// The principal as the primary names it: an ARN, an account, or IAM_ALLOWED_PRINCIPALS
    #[arg(value_name = "PRINCIPAL")]
    pub principal: String,
    /// A database, or a table as DATABASE.TABLE
    ///
    /// A name that contains a dot stands in quotation marks: '"fin.hr".pay'.
    #[arg(value_name = "RESOURCE")]
    pub resource: String,
    /// The primary, if no ledger says it.
    #[command(flatten)]
    pub primary: PrimaryOption,
}

/// Prints what a principal may do with a database or a table, in each Region.
///
/// # Errors
/// The resource name is not valid, or a Region cannot be read.
pub(crate) async fn run(common: &Common, args: &AccessArgs) -> Result<CommandOutcome, CliError> {
    let without_ledger = WithoutLedger::Compares(&args.primary);
    let connection = Connection::open(common, without_ledger).await?;
    let requested = crate::connect::scope(std::slice::from_ref(&args.resource))?;
    let Some(subject) = requested.read_requests.keys().next().cloned() else {
        return Err(CliError::Usage("name a database or a table".to_owned()));
    };
    let context = connection.context(&ApprovedDeletions::None);
    let scope = permission_scope(&subject);
    connection.progress.begin("Reading both Regions");
    let observed = reconcile::observe_once(&context, &scope).await;
    connection.progress.end();
    let (_, snapshots) = observed?;
    let grant_mapping = GrantMapping::of_primary(&connection.policy, connection.epoch);
    // Grants of both Regions are read as grants to the standby's principals.
    let standby_principal = Principal(grant_mapping.counterpart(&args.principal));
    let sites = [
        (
            connection.policy.primary(connection.epoch),
            &snapshots.primary,
            "primary",
        ),
        (
            connection.policy.standby(connection.epoch),
            &snapshots.standby,
            "standby",
        ),
    ];
    let mut lines = Lines(Vec::new());
    lines.add(&heading(&args.principal, &standby_principal, &subject));
    let mut accesses = Vec::new();
    let mut is_fully_read = true;
    for (site, snapshot, position) in sites {
        let access = access::effective_access(snapshot, &standby_principal, &subject);
        let read_errors = read_errors(snapshot);
        lines.add("");
        lines.add(&format!("{} ({position})", site.region));
        add_access(&mut lines, &access, &read_errors);
        is_fully_read &= read_errors.is_empty();
        accesses.push(access);
    }
    let is_equal = add_differences(&mut lines, &accesses, is_fully_read);
    output::print(&lines.0.join("\n"));
    Ok(CommandOutcome::done_if(is_equal && is_fully_read))
}

/// The principal and the subject. Names the principal of each Region if they differ.
fn heading(primary_principal: &str, standby_principal: &Principal, subject: &Subject) -> String {
    match primary_principal == standby_principal.0 {
        true => format!("{primary_principal} on {subject}"),
        false => format!(
            "{primary_principal}, which is {standby_principal} in the standby, on {subject}"
        ),
    }
}

/// Everything that decides who may do what with a subject.
fn permission_scope(subject: &Subject) -> Scope {
    let mut scope = Scope::default();
    let database_facets = [
        Facet::Definition,
        Facet::Grants,
        Facet::LfTagAssignments,
        Facet::OptIns,
    ];
    if let Some(database) = subject.database() {
        scope.add(
            Subject::Database(database.clone()),
            ReadRequest::for_facets(&database_facets),
        );
    }
    if matches!(subject, Subject::Table(_)) {
        scope.add(subject.clone(), ReadRequest::for_facets(&WHOLE_TABLE));
    }
    for lf_subject in [
        LfSubject::Permissions,
        LfSubject::LfTagExpressions,
        LfSubject::Settings,
    ] {
        scope.add(
            Subject::LakeFormation(lf_subject),
            ReadRequest::for_facets(lf_subject.facets()),
        );
    }
    scope
}

/// Why parts of the snapshot could not be read. If there are any, the result may be incomplete.
fn read_errors(snapshot: &Snapshot) -> Vec<String> {
    let mut errors = BTreeSet::new();
    for grants in snapshot.grants.values() {
        if let Observation::Unknown(error) = grants {
            errors.insert(error.to_string());
        }
    }
    for attachments in snapshot.attachments.values() {
        if let Observation::Unknown(error) = attachments {
            errors.insert(error.to_string());
        }
    }
    errors.into_iter().collect()
}

/// Lines of output. Each is escaped, so that a grant or a row filter cannot add a line of its own.
struct Lines(Vec<String>);

impl Lines {
    fn add(&mut self, line: &str) {
        self.0.push(render::escape(line));
    }
}

fn add_access(lines: &mut Lines, access: &EffectiveAccess, read_errors: &[String]) {
    if access.rights.is_empty() {
        lines.add("  no permissions");
    }
    for (right, grants) in &access.rights {
        lines.add(&format!("  {right}"));
        for grant in grants {
            lines.add(&format!("      by {grant}"));
        }
    }
    for note in &access.notes {
        lines.add(&format!("  note: {note}"));
    }
    for error in read_errors {
        lines.add(&format!("  INCOMPLETE, a read failed: {error}"));
    }
}

/// Adds the differences between the two Regions. Returns true if there are none. `is_fully_read` says
/// that no read failed.
fn add_differences(lines: &mut Lines, accesses: &[EffectiveAccess], is_fully_read: bool) -> bool {
    let [primary, standby] = accesses else {
        return true;
    };
    let rights = |access: &EffectiveAccess| -> BTreeSet<AccessRight> {
        access.rights.keys().cloned().collect()
    };
    let (primary, standby) = (rights(primary), rights(standby));
    lines.add("");
    if primary == standby {
        lines.add(match is_fully_read {
            true => "Both Regions allow the same.",
            false => "Both Regions allow the same, as far as they could be read.",
        });
        return true;
    }
    lines.add("The Regions differ:");
    for right in primary.difference(&standby) {
        lines.add(&format!("  only in the primary: {right}"));
    }
    for right in standby.difference(&primary) {
        lines.add(&format!("  ONLY IN THE STANDBY: {right}"));
    }
    lines.add(
        "To see the changes that would correct this, and what is held, run `twinlake plan` with the \
         same options.",
    );
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_filter_cannot_add_a_line_to_the_output() {
        let right = AccessRight {
            permission: "SELECT".to_owned(),
            column: None,
            row_filter: Some("x\nBoth Regions allow the same.".to_owned()),
            grantable: false,
        };
        let mut access = EffectiveAccess::default();
        access
            .rights
            .insert(right, BTreeSet::from(["a\u{1b}[2J".to_owned()]));
        let mut lines = Lines(Vec::new());
        add_access(&mut lines, &access, &["b\nc".to_owned()]);
        add_differences(&mut lines, &[access, EffectiveAccess::default()], false);
        let text = lines.0.join("\n");
        assert!(!text.lines().any(|line| line.starts_with("Both")), "{text}");
        assert!(
            !text.contains('\u{1b}') && text.contains("b\\u{a}c"),
            "{text}"
        );
    }

    #[test]
    fn the_heading_names_the_principal_of_each_region_if_they_differ() {
        let subject = Subject::Catalog;
        let heading = |standby: &str| heading("arn:a", &Principal(standby.to_owned()), &subject);
        assert_eq!(heading("arn:a"), format!("arn:a on {subject}"));
        let both = heading("arn:b");
        assert!(both.contains("arn:a") && both.contains("arn:b"), "{both}");
    }

    #[test]
    fn equal_access_is_not_claimed_if_a_read_failed() {
        let accesses = [EffectiveAccess::default(), EffectiveAccess::default()];
        let mut lines = Lines(Vec::new());
        assert!(add_differences(&mut lines, &accesses, false));
        assert!(lines.0.join("\n").contains("as far as they could be read"));
    }
}
