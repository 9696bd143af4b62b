//! Finds the object of the standby that belongs to one of the primary.

use super::Planner;
use crate::call_error::CallError;
use crate::query::object::{Fields, ObjectKey, QueryObject};
use crate::query::rules::QueryKind;
use crate::snapshot::Observation;
use serde_json::json;
use std::collections::BTreeMap;

/// What the standby has for an object of the primary.
pub(super) enum Counterpart<'a> {
    /// The object that the row pairs.
    Paired(&'a QueryObject),
    /// An object that counts as paired from now on.
    Adopted(&'a QueryObject),
    /// None, by a complete listing.
    None,
    /// An object of the same name that Twinlake does not manage.
    Foreign,
    /// An object that could not be read.
    Unread(CallError),
    /// Unknown, because the listing failed.
    Unlisted(String),
}

impl<'a> Planner<'a> {
    pub(super) fn counterpart(
        &self,
        primary: &QueryObject,
        desired: &QueryObject,
    ) -> Counterpart<'a> {
        let standby = self.inputs.epoch.standby();
        let row = self.row(&primary.key);
        let paired = row.filter(|row| row.pairing.is_some());
        if let Some(key) = paired.and_then(|row| row.key_in(standby)) {
            match self.inputs.standby.objects.get(key) {
                Some(Observation::Present(object)) => {
                    if row.is_some_and(|row| row.pairs(standby, object)) {
                        return Counterpart::Paired(object);
                    }
                }
                Some(Observation::Unknown(error)) => return Counterpart::Unread(error.clone()),
                Some(Observation::Absent(_)) | None => {}
            }
        }
        // Nothing is taken for missing before the listing is complete.
        let sought = ObjectKey {
            id: String::new(),
            ..primary.key.clone()
        };
        if let Some(reason) = self.inputs.standby.listing_error(&sought) {
            return Counterpart::Unlisted(reason);
        }
        match primary.key.kind.rules().id_by_service {
            true => self.by_content(primary, desired),
            false => self.by_name(primary, desired),
        }
    }

    fn by_name(&self, primary: &QueryObject, desired: &QueryObject) -> Counterpart<'a> {
        let object = match self.inputs.standby.objects.get(&primary.key) {
            None | Some(Observation::Absent(_)) => return Counterpart::None,
            Some(Observation::Unknown(error)) => return Counterpart::Unread(error.clone()),
            Some(Observation::Present(object)) => object,
        };
        let row = self.row(&primary.key);
        let is_own = row.is_some_and(|row| row.intends(object));
        // One that runs by itself serves somebody there.
        let is_equal = object.comparable() == desired.comparable()
            && has_tags_of(object, desired)
            && !object.is_awake();
        match is_own || is_equal || is_untouched(object) {
            true => Counterpart::Adopted(object),
            false => Counterpart::Foreign,
        }
    }

    /// Names of saved queries are not unique, and their ids differ: an unpaired one with equal content, or
    /// with the content that an earlier run was about to create, is taken, each at most once.
    fn by_content(&self, primary: &QueryObject, desired: &QueryObject) -> Counterpart<'a> {
        let row = self.row(&primary.key);
        let standby = self.inputs.standby;
        let in_workgroup = |key: &ObjectKey| {
            key.kind == primary.key.kind
                && key.parent == primary.key.parent
                && !self.taken.contains(key)
        };
        let mut candidates = standby
            .all_present()
            .filter(|object| in_workgroup(&object.key));
        let matches = |object: &&QueryObject| {
            object.comparable() == desired.comparable()
                || row.is_some_and(|row| row.intends(object))
        };
        if let Some(found) = candidates.find(matches) {
            return Counterpart::Adopted(found);
        }
        // One that could not be read may be the one.
        for (key, observation) in &standby.objects {
            if let (true, Observation::Unknown(error)) = (in_workgroup(key), observation) {
                return Counterpart::Unread(error.clone());
            }
        }
        Counterpart::None
    }
}

/// Whether tags, which IAM policies may depend on, are equal, if they are compared.
fn has_tags_of(object: &QueryObject, desired: &QueryObject) -> bool {
    match (&object.tags, &desired.tags) {
        (Some(found), Some(wanted)) => found == wanted,
        (None, _) | (_, None) => true,
    }
}

/// Whether nobody has configured the workgroup `primary`, which AWS makes in each Region: it has all its fields
/// as AWS makes them, and no tags. Without the reading of tags, one with tags only counts as untouched.
fn is_untouched(object: &QueryObject) -> bool {
    let as_made = QueryObject::normalized(
        object.key.clone(),
        Fields::from([
            ("State".to_owned(), json!("ENABLED")),
            (
                "Configuration".to_owned(),
                json!({"EngineVersion": {"SelectedEngineVersion": "AUTO"}}),
            ),
        ]),
    );
    let mut found = object.comparable();
    // Both are also answered by leaving them out.
    for (name, value) in &as_made.fields {
        found.entry(name.clone()).or_insert_with(|| value.clone());
    }
    object.key == ObjectKey::new(QueryKind::WorkGroup, "primary")
        && found == as_made.fields
        && object.tags.as_ref().is_none_or(BTreeMap::is_empty)
}
