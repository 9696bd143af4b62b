//! The object that the standby should have for one of the primary.

use super::external_schema;
use super::glue_tools;
use super::object::{Fields, QueryObject};
use super::rules::QueryKind;
use super::rules::{FieldUse, KindRules};
use super::sql_text::rewrite_locations;
use crate::arn::Arn;
use crate::location::{Location, LocationError, LocationMap, Mapped};
use crate::policy::QueryPolicy;
use crate::policy::{Policy, UnmappedLocation};
use crate::topology::{BySite, Epoch, SiteId};
use serde_json::Value;

/// The result of mapping an object.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedObject {
    /// The object for the standby. The key of a saved query is still that of the primary.
    pub object: QueryObject,
    /// Why it cannot be written: each names the field, or the line of a text.
    pub holds: Vec<String>,
    /// Why it is not replicated at all, whatever the policy says.
    pub unsupported: Vec<String>,
    /// What a reader should know although it can be written.
    pub notes: Vec<String>,
}

/// Maps an object of the primary: locations, keys, functions, roles and catalogs by the policy.
#[must_use]
pub fn map_to_standby(
    object: &QueryObject,
    policy: &Policy,
    rules: &QueryPolicy,
    epoch: Epoch,
) -> MappedObject {
    let mut mapper = Mapper {
        policy,
        query: rules,
        epoch,
        holds: Vec::new(),
        notes: external_schema::notes(object)
            .into_iter()
            .chain(glue_tools::notes(object))
            .collect(),
    };
    let fields: Fields = object
        .fields
        .iter()
        .filter(|(name, _)| object.key.kind.rules().use_of(name) != FieldUse::Asleep)
        .map(|(name, value)| {
            (
                name.clone(),
                mapper.value(object.key.kind.rules(), name, value),
            )
        })
        .collect();
    if object.key.kind == QueryKind::DataCatalog {
        mapper.check_catalog_type(object);
    }
    let mut unsupported = glue_tools::unsupported(object, policy);
    unsupported.extend(external_schema::unsupported(object, policy, epoch));
    MappedObject {
        object: QueryObject {
            fields,
            created: None,
            ..object.clone()
        },
        holds: mapper.holds,
        unsupported,
        notes: mapper.notes,
    }
}

struct Mapper<'a> {
    policy: &'a Policy,
    query: &'a QueryPolicy,
    epoch: Epoch,
    holds: Vec<String>,
    notes: Vec<String>,
}

impl Mapper<'_> {
    fn primary(&self) -> SiteId {
        self.epoch.primary()
    }

    fn value(&mut self, rules: &KindRules, path: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(rules.use_of(path), path, text)),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(name, value)| {
                        (
                            name.clone(),
                            self.value(rules, &format!("{path}.{name}"), value),
                        )
                    })
                    .collect(),
            ),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.value(rules, path, item))
                    .collect(),
            ),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, field_use: FieldUse, path: &str, text: &str) -> String {
        match field_use {
            FieldUse::Copied => self.copied(path, text),
            FieldUse::Fixed | FieldUse::Reported | FieldUse::Asleep => text.to_owned(),
            FieldUse::ResultLocation => self.location(path, text),
            FieldUse::DataLocation => self.data_location(path, text),
            FieldUse::Argument => self.argument(path, text),
            FieldUse::LocationArgument => self.location_argument(path, text),
            FieldUse::RoleName => self.role_name(text),
            FieldUse::KmsKey => self.kms_key(path, text),
            FieldUse::Secret => self.secret(path, text),
            FieldUse::NetworkId => self.network_id(path, text),
            FieldUse::FunctionArn => self.function(path, text),
            FieldUse::Role => {
                let from = self.primary();
                let mut pairs = self.policy.principals.iter();
                let pair = pairs.find(|pair| pair.get(from) == text);
                pair.map_or(text, |pair| pair.get(from.other())).to_owned()
            }
            FieldUse::CatalogId => {
                let mapped = self.policy.catalog(text, self.primary());
                mapped.unwrap_or(text).to_owned()
            }
            FieldUse::CatalogRegion => self.catalog_region(path, text),
            FieldUse::Roles | FieldUse::FixedRoles => self.roles(path, text),
            FieldUse::QueryText => self.query_text(text),
        }
    }

    /// A text without a rule may not point at the primary.
    fn copied(&mut self, path: &str, text: &str) -> String {
        let region = &self.policy.primary(self.epoch).region;
        let lower = text.to_lowercase();
        let names_location = ["s3://", "s3a://", "s3n://", ":s3:::"];
        let names_location = names_location
            .iter()
            .any(|location| lower.contains(location));
        if names_location && path != "Description" && path != "Name" {
            self.holds.push(format!(
                "{path} names a location in S3, and Twinlake does not map this field"
            ));
        }
        if Arn::parse(text).is_some_and(|arn| arn.region == region) {
            self.holds.push(format!(
                "{path} is an ARN of {region}, and Twinlake does not map this field"
            ));
        }
        text.to_owned()
    }

    fn location(&mut self, path: &str, text: &str) -> String {
        match self.map_location(text) {
            Ok(mapped) => mapped,
            Err(reason) => {
                self.holds.push(format!("{path}: {text}: {reason}"));
                text.to_owned()
            }
        }
    }

    /// An argument of which nobody knows what it holds: it may not point at the primary.
    fn argument(&mut self, path: &str, text: &str) -> String {
        let region = &self.policy.primary(self.epoch).region;
        let is_arn = Arn::parse(text).is_some_and(|arn| arn.region == region);
        if text.contains(region.as_str()) && !is_arn {
            self.holds.push(format!(
                "{path} names the Region {region}, and Twinlake does not map this field"
            ));
        }
        self.copied(path, text)
    }

    /// An argument that holds locations in S3, and perhaps names of modules.
    fn location_argument(&mut self, path: &str, text: &str) -> String {
        let keeps = self.policy.unmapped_location == UnmappedLocation::Keep;
        let mut mapped = Vec::new();
        for entry in text.split(',') {
            let location = entry.trim();
            if !location.to_lowercase().starts_with("s3") {
                mapped.push(self.argument(path, entry));
                continue;
            }
            let to = match self.map_location(location) {
                Ok(to) => to,
                Err(_) if keeps && Location::parse(location).is_ok() => {
                    self.notes.push(format!(
                        "it names {location}, which no pair holds and the policy keeps"
                    ));
                    location.to_owned()
                }
                Err(reason) => {
                    self.holds.push(format!("{path}: {location}: {reason}"));
                    location.to_owned()
                }
            };
            mapped.push(entry.replacen(location, &to, 1));
        }
        mapped.join(",")
    }

    /// Maps a location by the result locations, then by the data locations.
    fn map_location(&self, text: &str) -> Result<String, String> {
        let from = self.primary();
        let maps: [&LocationMap; 2] = [&self.query.result_locations, &self.policy.locations];
        for map in maps {
            match map.counterpart_from(from, text) {
                Ok(Mapped::To(mapped)) => return Ok(mapped),
                Ok(Mapped::Unmapped) => {}
                Err(error @ (LocationError::NotS3 | LocationError::Bucket)) => {
                    return Err(error.to_string());
                }
            }
        }
        Err("no [[query.result-location]] and no [[location]] pair holds it".to_owned())
    }

    /// Maps a location of data. An unmapped one stays if the policy keeps such.
    fn data_location(&mut self, path: &str, text: &str) -> String {
        let keeps = self.policy.unmapped_location == UnmappedLocation::Keep;
        match self.policy.locations.counterpart_from(self.primary(), text) {
            Ok(Mapped::To(mapped)) => return mapped,
            Ok(Mapped::Unmapped) if keeps => self.notes.push(format!(
                "it names {text}, which no pair holds and the policy keeps"
            )),
            Ok(Mapped::Unmapped) => {
                let reason = "no [[location]] pair holds it";
                self.holds.push(format!("{path}: {text}: {reason}"));
            }
            Err(error) => self.holds.push(format!("{path}: {text}: {error}")),
        }
        text.to_owned()
    }

    /// The role of the standby for one that is given by its name: Glue passes roles of its own account only.
    fn role_name(&self, text: &str) -> String {
        let (from, account) = (self.primary(), &self.policy.primary(self.epoch).account);
        let mut pairs = self.policy.principals.iter();
        let is_pair = |pair: &&BySite<String>| {
            Arn::parse(pair.get(from)).is_some_and(|arn| arn.is_role(account, text))
        };
        let pair = pairs.find(is_pair);
        let mapped = pair.and_then(|pair| Arn::parse(pair.get(from.other())));
        let mapped = mapped.and_then(|arn| arn.resource.strip_prefix("role/"));
        mapped.unwrap_or(text).to_owned()
    }

    fn catalog_region(&mut self, path: &str, text: &str) -> String {
        let primary = &self.policy.primary(self.epoch).region;
        if text == primary {
            return self.policy.standby(self.epoch).region.clone();
        }
        self.holds
            .push(format!("{path}: {text} is not the Region {primary}"));
        text.to_owned()
    }

    /// Each of several roles, of which one assumes the next.
    fn roles(&mut self, path: &str, text: &str) -> String {
        if text == "SESSION" || text.eq_ignore_ascii_case("default") {
            return text.to_owned();
        }
        let mut mapped = Vec::new();
        for role in text.split(',') {
            let is_role = Arn::parse(role)
                .is_some_and(|arn| arn.service == "iam" && arn.resource.starts_with("role/"));
            if !is_role {
                self.holds
                    .push(format!("{path}: {role} is no ARN of an IAM role"));
            }
            mapped.push(self.text(FieldUse::Role, path, role));
        }
        mapped.join(",")
    }

    /// A secret by its name, or by its ARN: a replica has both, but for the Region.
    fn secret(&mut self, path: &str, text: &str) -> String {
        let (from, to) = (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        );
        let arn = Arn::parse(text).filter(|arn| arn.service == "secretsmanager");
        let mapped = match arn {
            Some(arn) if arn.region == from.region && arn.account == from.account => Arn {
                region: &to.region,
                account: &to.account,
                ..arn
            }
            .to_string(),
            Some(_) => {
                let region = &from.region;
                self.holds
                    .push(format!("{path}: {text} is no secret of {region}"));
                return text.to_owned();
            }
            None => text.to_owned(),
        };
        self.notes.push(format!(
            "it needs the replica of the secret {mapped} in the standby, which Twinlake did not look for"
        ));
        self.argument(path, &mapped)
    }

    fn network_id(&mut self, path: &str, text: &str) -> String {
        let from = self.primary();
        let mut pairs = self.query.networks.iter();
        if let Some(pair) = pairs.find(|pair| pair.get(from) == text) {
            return pair.get(from.other()).clone();
        }
        self.holds
            .push(format!("{path}: no [[query.network]] pair names {text}"));
        text.to_owned()
    }

    fn kms_key(&mut self, path: &str, text: &str) -> String {
        let from = self.primary();
        let mut pairs = self.query.kms_keys.iter();
        if let Some(pair) = pairs.find(|pair| pair.get(from) == text) {
            return pair.get(from.other()).clone();
        }
        if let Some(mapped) = self.kms_arn(text) {
            return mapped;
        }
        self.holds.push(format!(
            "{path}: no [[query.kms-key]] pair names the key {text}"
        ));
        text.to_owned()
    }

    /// The key of the standby for one that is given by its ARN, where a pair names the alias or the id alone.
    fn kms_arn(&self, text: &str) -> Option<String> {
        let (from, to) = (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        );
        let arn = Arn::parse(text)?;
        let is_of_primary = arn.region == from.region && arn.account == from.account;
        if arn.service != "kms" || !is_of_primary {
            return None;
        }
        let name_of = |resource: &str| resource.strip_prefix("key/").unwrap_or(resource).to_owned();
        let mut pairs = self.query.kms_keys.iter();
        let pair = pairs.find(|pair| *pair.get(self.primary()) == name_of(arn.resource))?;
        let peer = pair.get(self.primary().other());
        if Arn::parse(peer).is_some() {
            return Some(peer.clone());
        }
        let resource = match peer.starts_with("alias/") {
            true => peer.clone(),
            false => format!("key/{peer}"),
        };
        let mapped = Arn {
            region: &to.region,
            account: &to.account,
            resource: &resource,
            ..arn
        };
        Some(mapped.to_string())
    }

    fn function(&mut self, path: &str, text: &str) -> String {
        let (from, to) = (
            self.policy.primary(self.epoch),
            self.policy.standby(self.epoch),
        );
        match Arn::parse(text) {
            Some(arn) if arn.service == "lambda" && arn.region == from.region => {
                let mapped = Arn {
                    region: &to.region,
                    ..arn
                }
                .to_string();
                self.notes.push(format!(
                    "it calls {mapped}, which Twinlake does not make and did not look for"
                ));
                mapped
            }
            Some(_) | None => {
                self.holds.push(format!(
                    "{path}: {text} is no Lambda function of {}",
                    from.region
                ));
                text.to_owned()
            }
        }
    }

    fn query_text(&mut self, text: &str) -> String {
        let region = &self.policy.primary(self.epoch).region;
        let keeps = self.policy.unmapped_location == UnmappedLocation::Keep;
        let kept = std::cell::RefCell::new(Vec::new());
        let result =
            rewrite_locations(text, region, |location| match self.map_location(location) {
                Err(_) if keeps && Location::parse(location).is_ok() => {
                    kept.borrow_mut().push(format!(
                        "it names {location}, which no pair holds and the policy keeps"
                    ));
                    Ok(location.to_owned())
                }
                mapped => mapped,
            });
        self.holds.extend(result.problems);
        self.notes.extend(result.notes);
        self.notes.extend(kept.into_inner());
        result.text
    }

    fn check_catalog_type(&mut self, object: &QueryObject) {
        match object.text("Type") {
            Some("GLUE" | "LAMBDA" | "HIVE") => {}
            // Athena makes a stack, a function and a connection of its own for it.
            Some("FEDERATED") => self.holds.push(
                "it is FEDERATED: creating one makes a CloudFormation stack, a Lambda function and a \
                 Glue connection; create it in the standby yourself"
                    .to_owned(),
            ),
            Some(other) => self.holds.push(format!(
                "its type {other} is not known to this version of Twinlake"
            )),
            None => self.holds.push("it has no type".to_owned()),
        }
    }
}
