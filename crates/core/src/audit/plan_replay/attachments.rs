//! Checks functions, and the attachments of databases, tables and Lake Formation subjects.

use super::{Check, PlanReplay, present, reject};
use crate::audit::AuditRule;
use crate::catalog::{Attachment, AttachmentKey, Function, IndexStatus};
use crate::name::FunctionId;
use crate::scope::Subject;
use crate::snapshot::Observation;

impl PlanReplay<'_> {
    pub(super) fn write_function(&self, id: &FunctionId, function: &Function) -> Check {
        let subject = Subject::Function(id.clone());
        if id.function != function.name {
            return reject(
                AuditRule::Altered,
                format!("{subject} would be written as {}", function.name),
            );
        }
        let Some(primary) = present(self.inputs.primary.functions.get(id)) else {
            return reject(AuditRule::Altered, format!("the primary has no {subject}"));
        };
        if let Err(reason) = self.content.check(&primary.object, function) {
            return reject(AuditRule::Altered, format!("{subject}: {reason}"));
        }
        self.require_managed(&Subject::Database(id.database.clone()))?;
        match present(self.inputs.standby.functions.get(id)) {
            Some(in_standby) => {
                let is_equal = self
                    .content
                    .check(&primary.object, &in_standby.object)
                    .is_ok();
                let digest = crate::catalog::digest(&in_standby.object);
                let row = self.inputs.rows.get(&subject);
                let is_intended = row.is_some_and(|row| row.intends(&digest));
                match self.is_paired(&subject) || is_equal || is_intended {
                    true => Ok(()),
                    false => reject(
                        AuditRule::NotManaged,
                        format!("Twinlake does not manage {subject}"),
                    ),
                }
            }
            None => Ok(()),
        }
    }

    pub(super) fn delete_function(&mut self, id: &FunctionId) -> Check {
        let subject = Subject::Function(id.clone());
        if self.is_database_link(&id.database) || !self.is_paired(&subject) {
            return reject(AuditRule::NotManaged, format!("deleting {subject}"));
        }
        match self.inputs.primary.functions.get(id) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {
                self.deleted.insert(subject);
                Ok(())
            }
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => reject(AuditRule::Unproven, format!("deleting {subject}")),
        }
    }

    pub(super) fn put_attachment(&mut self, subject: &Subject, attachment: &Attachment) -> Check {
        self.require_managed(subject)?;
        let key = attachment.key();
        let wanted = self.primary_attachment(subject, &key);
        let same = wanted.is_some_and(|(in_primary, index_status)| {
            // Compares JSON text because NaN != NaN.
            let text =
                |attachment: &Attachment| serde_json::to_string(attachment).unwrap_or_default();
            index_status == IndexStatus::Present && text(in_primary) == text(attachment)
        });
        if !same {
            let detail = format!("the primary has no such {key} on {subject}");
            return reject(AuditRule::Altered, detail);
        }
        match attachment {
            Attachment::Index(_) | Attachment::Statistics(_) | Attachment::GlueTag { .. } => Ok(()),
            Attachment::DataCellsFilter(filter) => self.put_filter(subject, filter),
            Attachment::LfTagAssignment { column, key, value } => {
                self.change_lf_tag(subject, column.as_ref(), key, Some(value))
            }
            Attachment::OptIn(opt_in) => {
                self.opt_ins.insert((**opt_in).clone());
                Ok(())
            }
            Attachment::Registration(_) => self.require_managed_item(subject, &key),
            Attachment::LfTagValue { key: tag, value } => {
                self.require_managed_item(subject, &key)?;
                self.put_lf_tag_value(subject, tag, value)
            }
            Attachment::NamedExpression(saved) => {
                self.require_managed_item(subject, &key)?;
                self.put_expression(subject, &saved.name)
            }
        }
    }

    pub(super) fn remove_attachment(&mut self, subject: &Subject, key: &AttachmentKey) -> Check {
        self.require_managed(subject)?;
        let facet_key = (subject.clone(), key.facet());
        if present(self.inputs.primary.attachments.get(&facet_key)).is_none() {
            return reject(
                AuditRule::Unproven,
                format!("removing the {key} of {subject}"),
            );
        }
        let in_standby =
            present(self.inputs.standby.attachments.get(&facet_key)).and_then(|all| all.get(key));
        let is_kept =
            self.primary_attachment(subject, key)
                .is_some_and(|(in_primary, index_status)| {
                    let text = |attachment: &Attachment| {
                        serde_json::to_string(attachment).unwrap_or_default()
                    };
                    index_status == IndexStatus::Present
                        && in_standby.is_some_and(|in_standby| {
                            text(&in_standby.attachment) == text(in_primary)
                        })
                });
        if is_kept {
            return reject(
                AuditRule::Unproven,
                format!("removing the {key} of {subject}"),
            );
        }
        let is_administrator = self.inputs.primary.is_administrator;
        match key {
            AttachmentKey::Index(_) | AttachmentKey::Statistics(_) | AttachmentKey::GlueTag(_) => {
                Ok(())
            }
            _ if !is_administrator => reject(
                AuditRule::Unproven,
                format!("removing the {key} of {subject}"),
            ),
            AttachmentKey::DataCellsFilter(_) => Ok(()),
            AttachmentKey::LfTagAssignment { column, key } => {
                self.change_lf_tag(subject, column.as_ref(), key, None)
            }
            // Without the opt-in, IAM decides for the principal where IAM_ALLOWED_PRINCIPALS has a
            // grant.
            AttachmentKey::OptIn(opt_in) => self.require_replaced_opt_in(subject, opt_in),
            AttachmentKey::LfTagValue { .. }
            | AttachmentKey::NamedExpression(_)
            | AttachmentKey::Registration(_) => {
                self.require_item_deletion_proven(subject, key)?;
                self.require_managed_item(subject, key)
            }
        }
    }

    fn primary_attachment(
        &self,
        subject: &Subject,
        key: &AttachmentKey,
    ) -> Option<(&Attachment, IndexStatus)> {
        let facet_key = (subject.clone(), key.facet());
        let observed = present(self.inputs.primary.attachments.get(&facet_key))?.get(key)?;
        Some((&observed.attachment, observed.index_status))
    }
}
