//! Grants and revokes.

use super::{Judged, Play, veto};
use crate::audit::Rule;
use crate::grant::{Atom, IAM_ALLOWED_PRINCIPALS, Resource};
use crate::scope::subject_of;
use crate::step::{RevokeCause, Step};

impl Play<'_> {
    pub(super) fn grant(&mut self, atom: &Atom, grantable: bool) -> Judged {
        let subject = subject_of(atom);
        if self.is_ignored(atom) {
            return veto(
                Rule::NotOurs,
                format!("{atom}: this principal is left alone"),
            );
        }
        if !self.primary_allows(atom, grantable) {
            return veto(Rule::Wider, format!("the primary does not grant {atom}"));
        }
        self.may_be_granted(&subject, atom)?;
        self.no_extras(&subject)?;
        if let Resource::AllTables(database) = &atom.resource {
            self.no_table_beyond(database)?;
        }
        self.no_column_beyond(&atom.resource)?;
        self.no_tags_beyond(atom)?;
        self.no_filter_differs(atom)?;
        self.no_opt_in_missing(atom)?;
        let by_column = matches!(
            atom.resource,
            Resource::Column(..) | Resource::ColumnsExcept(..)
        );
        let table_is_open = self.held.keys().any(|held| {
            held.principal.0 == IAM_ALLOWED_PRINCIPALS
                && subject_of(held) == subject
                && held.resource.table().is_some()
        });
        if by_column && table_is_open && atom.principal.0 != IAM_ALLOWED_PRINCIPALS {
            let detail = format!(
                "{atom}, given while IAM_ALLOWED_PRINCIPALS holds the table, covers every column"
            );
            return veto(Rule::Wider, detail);
        }
        self.held.insert(atom.clone(), grantable);
        Ok(())
    }

    pub(super) fn revoke(&mut self, atom: &Atom, cause: RevokeCause) -> Judged {
        let subject = subject_of(atom);
        if self.is_ignored(atom) {
            return veto(
                Rule::NotOurs,
                format!("{atom}: this principal is left alone"),
            );
        }
        self.may_be_granted(&subject, atom)?;
        let given_again = |step: &Step| matches!(step, Step::Grant { atom: a, .. } if a == atom);
        let deleted = |step: &Step| match step {
            Step::DeleteTable { .. } | Step::DeleteDatabase { .. } => step.subject() == subject,
            Step::CreateDatabase { .. }
            | Step::UpdateDatabase { .. }
            | Step::CreateTable { .. }
            | Step::UpdateTable { .. }
            | Step::CreatePartition { .. }
            | Step::UpdatePartition { .. }
            | Step::CreateFunction { .. }
            | Step::UpdateFunction { .. }
            | Step::DeleteFunction { .. }
            | Step::PutPart { .. }
            | Step::PutSettings { .. }
            | Step::RemovePart { .. }
            | Step::Grant { .. }
            | Step::Revoke { .. }
            | Step::DeletePartition { .. } => false,
        };
        let named = self.inputs.scope.suspects.contains_key(atom);
        let primary = self.primary_grants(atom);
        let justified = match cause {
            // Or the grant option has to go, and the rest waits.
            RevokeCause::Replace => {
                let too_much = self.held.get(atom) == Some(&true)
                    && primary.is_some_and(|g| g.get(atom) == Some(&false));
                too_much || named || self.steps.iter().any(given_again)
            }
            RevokeCause::Deletion => self.steps.iter().any(deleted),
            RevokeCause::Suspect => named && primary.is_some_and(|g| !g.contains_key(atom)),
            RevokeCause::Extra => {
                let sees_all = self.inputs.primary.administrator && self.reads_all(atom, &subject);
                primary.is_some_and(|g| !g.contains_key(atom)) && (named || sees_all)
            }
        };
        if !justified {
            return veto(Rule::Unproven, format!("revoking {atom}"));
        }
        if cause == RevokeCause::Replace {
            self.aside.insert(atom.clone());
        }
        self.held.remove(atom);
        Ok(())
    }
}
