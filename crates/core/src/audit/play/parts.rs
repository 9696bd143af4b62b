//! Functions, and the parts of databases and tables.

use super::{Judged, Play, seen, veto};
use crate::audit::Rule;
use crate::catalog::{Function, Part, PartKey, Progress};
use crate::name::FunctionId;
use crate::reading::Observation;
use crate::scope::{Facet, Subject};

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

    pub(super) fn put_part(&self, subject: &Subject, part: &Part) -> Judged {
        self.must_be_ours(subject)?;
        let key = part.key();
        let wanted = self.primary_part(subject, &key);
        let same = wanted.is_some_and(|(here, progress)| {
            // As text, since numbers that are none never equal themselves.
            let text = |part: &Part| serde_json::to_string(part).unwrap_or_default();
            progress == Progress::There && text(here) == text(part)
        });
        match same {
            true => Ok(()),
            false => veto(
                Rule::Altered,
                format!("the primary has no such {key} on {subject}"),
            ),
        }
    }

    pub(super) fn remove_part(&self, subject: &Subject, key: &PartKey) -> Judged {
        self.must_be_ours(subject)?;
        let at = (subject.clone(), facet_of(key));
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
        match kept {
            true => veto(Rule::Unproven, format!("removing the {key} of {subject}")),
            false => Ok(()),
        }
    }

    fn primary_part(&self, subject: &Subject, key: &PartKey) -> Option<(&Part, Progress)> {
        let at = (subject.clone(), facet_of(key));
        let part = seen(self.inputs.primary.parts.get(&at))?.get(key)?;
        Some((&part.part, part.progress))
    }
}

fn facet_of(key: &PartKey) -> Facet {
    match key {
        PartKey::Index(_) => Facet::Indexes,
        PartKey::Statistics(_) => Facet::Statistics,
        PartKey::Tag(_) => Facet::Tags,
    }
}
