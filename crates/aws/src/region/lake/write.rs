//! Writes, in batches where the API takes them.

use super::{AwsRegion, place_of};
use crate::{fault, grants, lake as convert};
use aws_sdk_lakeformation::types as lake;
use std::collections::BTreeMap;
use twinlake_core::catalog::{Part, PartKey};
use twinlake_core::{Fault, FaultKind, Name, Subject};
use twinlake_engine::ports::{EntryResults, SettingsChange};

/// The place in the batch, and a key with its value; without one it goes.
type Assignment<'a> = (usize, (&'a str, Option<&'a str>));

impl AwsRegion {
    pub(in crate::region) async fn put_of_lake(
        &self,
        subject: &Subject,
        parts: &[&Part],
    ) -> Result<EntryResults, Fault> {
        let mut results: EntryResults = vec![Ok(()); parts.len()];
        let mut tags: BTreeMap<Option<&Name>, Vec<Assignment<'_>>> = BTreeMap::new();
        let mut values: BTreeMap<&str, Vec<(usize, &str)>> = BTreeMap::new();
        for (at, part) in parts.iter().enumerate() {
            let result = match (subject, part) {
                (_, Part::Assigned { column, key, value }) => {
                    let together = tags.entry(column.as_ref()).or_default();
                    together.push((at, (key, Some(value))));
                    continue;
                }
                (Subject::Table(id), Part::Filter(filter)) => self.put_filter(id, filter).await,
                (_, Part::OptIn(opt_in)) => self.opt(opt_in, true).await,
                (_, Part::TagValue { key, value }) => {
                    values.entry(key).or_default().push((at, value));
                    continue;
                }
                (_, Part::Expression(saved)) => self.put_expression(saved).await,
                (_, Part::Registration(place)) => self.register(place).await,
                (_, Part::Filter(_) | Part::Index(_) | Part::Statistics(_) | Part::Tag { .. }) => {
                    Ok(())
                }
            };
            if let Some(slot) = results.get_mut(at) {
                *slot = result;
            }
        }
        for (column, tags) in tags {
            self.assign(subject, column, &tags, &mut results).await;
        }
        for (key, values) in values {
            let texts: Vec<&str> = values.iter().map(|(_, value)| *value).collect();
            let result = self.put_values(key, &texts).await;
            for (at, _) in values {
                if let Some(slot) = results.get_mut(at) {
                    slot.clone_from(&result);
                }
            }
        }
        Ok(results)
    }

    /// Assigns LF-Tags of one resource, or takes them away where they have no value.
    async fn assign(
        &self,
        subject: &Subject,
        column: Option<&Name>,
        tags: &[Assignment<'_>],
        results: &mut EntryResults,
    ) {
        let answered = self.send_tags(subject, column, tags).await;
        for (at, (key, _)) in tags {
            let result = match &answered {
                Err(fault) => Err(fault.clone()),
                Ok(failures) => match failures.get(*key) {
                    Some(fault) => Err(fault.clone()),
                    None => Ok(()),
                },
            };
            if let Some(slot) = results.get_mut(*at) {
                *slot = result;
            }
        }
    }

    /// The failures of one call, by the key of the tag (LF-13).
    async fn send_tags(
        &self,
        subject: &Subject,
        column: Option<&Name>,
        tags: &[Assignment<'_>],
    ) -> Result<BTreeMap<String, Fault>, Fault> {
        let adds = tags.iter().all(|(_, (_, value))| value.is_some());
        let call = match adds {
            true => "AddLFTagsToResource",
            false => "RemoveLFTagsFromResource",
        };
        let Some(place) = place_of(subject, column) else {
            return Ok(BTreeMap::new());
        };
        let place = self.built(call, grants::resource(&place, &self.account))?;
        // What goes has to be named by its value, too.
        let now = match adds {
            true => Vec::new(),
            false => self.assigned(subject).await?,
        };
        let value_of = |key: &str| {
            now.iter().find_map(|seen| {
                let Part::Assigned {
                    column: of,
                    key: known,
                    value,
                } = &seen.part
                else {
                    return None;
                };
                (of.as_ref() == column && known == key).then(|| value.clone())
            })
        };
        let pairs = tags.iter().filter_map(|(_, (key, value))| {
            let value = value.map(str::to_owned).or_else(|| value_of(key))?;
            Some(
                lake::LfTagPair::builder()
                    .tag_key(*key)
                    .tag_values(value)
                    .build(),
            )
        });
        let pairs = self.built(call, pairs.collect::<Result<Vec<_>, _>>())?;
        if pairs.is_empty() {
            return Ok(BTreeMap::new());
        }
        let failures = match adds {
            true => {
                let add = self.lake.add_lf_tags_to_resource().resource(place);
                let answer = add.set_lf_tags(Some(pairs)).send().await;
                answer
                    .map_err(|e| fault::of(call, &self.region, &e))?
                    .failures
            }
            false => {
                let remove = self.lake.remove_lf_tags_from_resource().resource(place);
                let answer = remove.set_lf_tags(Some(pairs)).send().await;
                answer
                    .map_err(|e| fault::of(call, &self.region, &e))?
                    .failures
            }
        };
        let failures = failures.unwrap_or_default().into_iter();
        Ok(failures
            .filter_map(|failure| {
                let key = failure.lf_tag?.tag_key.to_lowercase();
                let detail = failure.error?;
                let (code, message) = (
                    detail.error_code.unwrap_or_default(),
                    detail.error_message.unwrap_or_default(),
                );
                Some((key, fault::of_code(call, &self.region, &code, &message)))
            })
            .collect())
    }

    pub(in crate::region) async fn remove_of_lake(
        &self,
        subject: &Subject,
        keys: &[&PartKey],
    ) -> Result<EntryResults, Fault> {
        let mut results: EntryResults = vec![Ok(()); keys.len()];
        let mut tags: BTreeMap<Option<&Name>, Vec<Assignment<'_>>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let result = match (subject, key) {
                (_, PartKey::Assigned { column, key }) => {
                    let together = tags.entry(column.as_ref()).or_default();
                    together.push((at, (key, None)));
                    continue;
                }
                (Subject::Table(id), PartKey::Filter(name)) => self.delete_filter(id, name).await,
                (_, PartKey::OptIn(opt_in)) => self.opt(opt_in, false).await,
                (_, PartKey::TagValue { key, value }) => self.drop_value(key, value).await,
                (_, PartKey::Expression(name)) => {
                    let gone = self.lake.delete_lf_tag_expression().name(name).send().await;
                    gone.map(drop)
                        .map_err(|e| fault::of("DeleteLFTagExpression", &self.region, &e))
                }
                (_, PartKey::Registration(arn)) => self.deregister(arn).await,
                (
                    _,
                    PartKey::Filter(_)
                    | PartKey::Index(_)
                    | PartKey::Statistics(_)
                    | PartKey::Tag(_),
                ) => Ok(()),
            };
            if let Some(slot) = results.get_mut(at) {
                *slot = result;
            }
        }
        for (column, tags) in tags {
            self.assign(subject, column, &tags, &mut results).await;
        }
        Ok(results)
    }

    /// Reads the settings, changes them, writes and reads back: nothing else tells that
    /// somebody else wrote in between.
    pub(in crate::region) async fn change_settings(
        &self,
        change: &SettingsChange,
    ) -> Result<(), Fault> {
        const CALL: &str = "PutDataLakeSettings";
        let now = self.lake_settings().await?;
        let wanted = change.applied_to(&convert::settings(now.clone()));
        let whole = convert::settings_back(&wanted, now, change.defaults);
        let put = self.lake.put_data_lake_settings().data_lake_settings(whole);
        put.send()
            .await
            .map_err(|e| fault::of(CALL, &self.region, &e))?;
        let back = convert::settings(self.lake_settings().await?);
        match back == wanted {
            true => Ok(()),
            false => {
                let message = "what was written is not what is read back";
                Err(Fault::new(FaultKind::Busy, CALL, &self.region, message))
            }
        }
    }
}
