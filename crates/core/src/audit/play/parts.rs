//! Functions, and the parts of databases, tables and the lake.

use super::{Judged, Play, seen, veto};
use crate::audit::Rule;
use crate::catalog::{Function, Part, PartKey, Progress};
use crate::name::FunctionId;
use crate::reading::Observation;
use crate::scope::Subject;

impl Play<'_> {
    pub(super) fn write_function(&self, id: &FunctionId, function: &Function) -> Judged {
        let subject = Subject::Function(id.clone());
        if id.function != function.name {
            return veto(
                Rule::Altered,
                format!("{subject} would be written as {}", function.name),
            );
        }
        let Some(primary) = seen(self.inputs.primary.functions.get(id)) else {
            return veto(Rule::Altered, format!("the primary shows no {subject}"));
        };
        if let Err(why) = self.content.check(&primary.object, function) {
            return veto(Rule::Altered, format!("{subject}: {why}"));
        }
        self.must_be_ours(&Subject::Database(id.database.clone()))?;
        match seen(self.inputs.secondary.functions.get(id)) {
            Some(there) => {
                let equal = self.content.check(&primary.object, &there.object).is_ok();
                let intended = self.inputs.rows.get(&subject);
                let intended = intended.and_then(|row| row.intended.as_deref());
                let known = intended == Some(crate::catalog::digest(&there.object).as_str());
                match self.is_paired(&subject) || equal || known {
                    true => Ok(()),
                    false => veto(Rule::NotOurs, format!("{subject} is not ours")),
                }
            }
            None => Ok(()),
        }
    }

    pub(super) fn delete_function(&mut self, id: &FunctionId) -> Judged {
        let subject = Subject::Function(id.clone());
        if self.in_link(&id.database) || !self.is_paired(&subject) {
            return veto(Rule::NotOurs, format!("deleting {subject}"));
        }
        match self.inputs.primary.functions.get(id) {
            Some(Observation::Absent(proof)) if proof.is_complete() => {
                self.deleted.insert(subject);
                Ok(())
            }
            Some(Observation::Present(_) | Observation::Absent(_) | Observation::Unknown(_))
            | None => veto(Rule::Unproven, format!("deleting {subject}")),
        }
    }

    pub(super) fn put_part(&mut self, subject: &Subject, part: &Part) -> Judged {
        self.must_be_ours(subject)?;
        let key = part.key();
        let wanted = self.primary_part(subject, &key);
        let same = wanted.is_some_and(|(here, progress)| {
            // As text, since numbers that are none never equal themselves.
            let text = |part: &Part| serde_json::to_string(part).unwrap_or_default();
            progress == Progress::There && text(here) == text(part)
        });
        if !same {
            let detail = format!("the primary has no such {key} on {subject}");
            return veto(Rule::Altered, detail);
        }
        match part {
            Part::Index(_) | Part::Statistics(_) | Part::Tag { .. } => Ok(()),
            Part::Filter(filter) => self.put_filter(subject, filter),
            Part::Assigned { column, key, value } => {
                self.assign(subject, column.as_ref(), key, Some(value))
            }
            Part::OptIn(opt_in) => {
                self.opt_ins.insert((**opt_in).clone());
                Ok(())
            }
            Part::TagValue { .. } | Part::Registration(_) => self.may_change_item(subject, &key),
            Part::Expression(saved) => {
                self.may_change_item(subject, &key)?;
                self.put_expression(&saved.name)
            }
        }
    }

    pub(super) fn remove_part(&mut self, subject: &Subject, key: &PartKey) -> Judged {
        self.must_be_ours(subject)?;
        let at = (subject.clone(), key.facet());
        if seen(self.inputs.primary.parts.get(&at)).is_none() {
            return veto(Rule::Unproven, format!("removing the {key} of {subject}"));
        }
        let there = seen(self.inputs.secondary.parts.get(&at)).and_then(|all| all.get(key));
        let kept = self
            .primary_part(subject, key)
            .is_some_and(|(here, progress)| {
                let text = |part: &Part| serde_json::to_string(part).unwrap_or_default();
                progress == Progress::There
                    && there.is_some_and(|there| text(&there.part) == text(here))
            });
        if kept {
            return veto(Rule::Unproven, format!("removing the {key} of {subject}"));
        }
        let sees_all = self.inputs.primary.administrator;
        match key {
            PartKey::Index(_) | PartKey::Statistics(_) | PartKey::Tag(_) => Ok(()),
            _ if !sees_all => veto(Rule::Unproven, format!("removing the {key} of {subject}")),
            PartKey::Filter(_) => Ok(()),
            PartKey::Assigned { column, key } => self.assign(subject, column.as_ref(), key, None),
            // Whoever is not held to grants any longer is what IAM allows.
            PartKey::OptIn(_) => self.no_extras(subject),
            PartKey::TagValue { .. } | PartKey::Expression(_) | PartKey::Registration(_) => {
                self.may_change_item(subject, key)
            }
        }
    }

    fn primary_part(&self, subject: &Subject, key: &PartKey) -> Option<(&Part, Progress)> {
        let at = (subject.clone(), key.facet());
        let part = seen(self.inputs.primary.parts.get(&at))?.get(key)?;
        Some((&part.part, part.progress))
    }
}
