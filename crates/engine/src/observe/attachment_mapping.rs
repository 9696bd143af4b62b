//! Maps listed attachments to those that the standby should have. Those without a counterpart are
//! collected, so that they are reported.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use twinlake_core::Principal;
use twinlake_core::catalog::{Attachment, ObservedAttachment, OptIn, Registration, digest};
use twinlake_core::grant::{GrantMapping, ListedResource};
use twinlake_core::location::Location;
use twinlake_core::scope::subject_of_opt_in;
use twinlake_core::snapshot::{Attachments, UnmappedOptIn};

/// Attachments of a listing that are not replicated: their names, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnmappedAttachments {
    names: BTreeMap<String, Vec<String>>,
}

impl UnmappedAttachments {
    /// Adds one attachment.
    pub(super) fn add(&mut self, unmapped: Unmapped) {
        let names = self.names.entry(unmapped.kind).or_default();
        names.push(unmapped.name);
    }

    /// Adds the attachments of another listing.
    pub(super) fn merge(&mut self, other: Self) {
        for (kind, names) in other.names {
            self.names.entry(kind).or_default().extend(names);
        }
    }

    /// Describes each kind in a line: the number of attachments and one of them.
    pub fn descriptions(&self) -> impl Iterator<Item = String> + '_ {
        let kinds = self.names.iter();
        kinds.filter_map(|(kind, names)| {
            let example = names.iter().min()?;
            Some(format!("{} x {kind}, such as {example}", names.len()))
        })
    }
}

/// An attachment that is not replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unmapped {
    /// What it is, and why it is not replicated.
    kind: String,
    /// What a person finds it by: its ARN or key, or the principal of an opt-in.
    name: String,
}

/// Maps listed attachments, and collects those that are not replicated. Of several that map to one
/// and differ, one is replicated, the same in each run.
#[derive(Debug, Default)]
pub(super) struct MappedAttachments {
    pub(super) by_key: Attachments,
    pub(super) unmapped: UnmappedAttachments,
}

impl MappedAttachments {
    /// Adds a listed attachment.
    pub(super) fn add(&mut self, listed: ObservedAttachment, mapping: &GrantMapping) {
        let (kind, name) = describe(&listed.attachment);
        let attachment = match map_attachment(listed.attachment, mapping) {
            Ok(Some(attachment)) => attachment,
            Ok(None) => return,
            Err(unmapped) => return self.unmapped.add(unmapped),
        };
        let mapped = ObservedAttachment {
            attachment,
            ..listed
        };
        match self.by_key.entry(mapped.attachment.key()) {
            Entry::Vacant(vacant) => drop(vacant.insert(mapped)),
            Entry::Occupied(known) if *known.get() == mapped => {}
            Entry::Occupied(mut known) => {
                // The order of a listing must not decide.
                let (kind, name) = if digest(&mapped.attachment) < digest(&known.get().attachment) {
                    describe(&known.insert(mapped).attachment)
                } else {
                    (kind, name)
                };
                let kind = format!("{kind} that maps to the same as another one, and differs");
                self.unmapped.add(Unmapped { kind, name });
            }
        }
    }
}

/// What an attachment is, and what a person finds it by.
fn describe(attachment: &Attachment) -> (&'static str, String) {
    match attachment {
        Attachment::Registration(registration) => ("registration", registration.arn.clone()),
        Attachment::OptIn(opt_in) => ("opt-in", opt_in.principal.0.clone()),
        Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::LfTagValue { .. }
        | Attachment::NamedExpression(_) => ("item", attachment.key().to_string()),
    }
}

/// Maps the principal and the location of a listed attachment; `None` if the policy ignores it.
///
/// # Errors
/// Why the attachment is not replicated.
fn map_attachment(
    attachment: Attachment,
    mapping: &GrantMapping,
) -> Result<Option<Attachment>, Unmapped> {
    match attachment {
        Attachment::Registration(registration) => {
            map_registration(registration, mapping).map(|one| Some(Attachment::Registration(one)))
        }
        Attachment::OptIn(opt_in) => map_opt_in(*opt_in, mapping)
            .map(|opt_in| opt_in.map(|opt_in| Attachment::OptIn(Box::new(opt_in)))),
        Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::LfTagValue { .. }
        | Attachment::NamedExpression(_) => Ok(Some(attachment)),
    }
}

fn map_registration(
    registration: Registration,
    mapping: &GrantMapping,
) -> Result<Registration, Unmapped> {
    let Some(arn) = mapping.location(&registration.arn) else {
        return Err(Unmapped {
            kind: format!(
                "registration of {}",
                Location::describe_unmapped(&registration.arn)
            ),
            name: registration.arn,
        });
    };
    let role = registration.role.as_deref();
    Ok(Registration {
        role: role.map(|role| mapping.counterpart(role)),
        arn,
        ..registration
    })
}

fn map_opt_in(opt_in: OptIn, mapping: &GrantMapping) -> Result<Option<OptIn>, Unmapped> {
    let principal = match mapping.principal_outside_grants(&opt_in.principal) {
        Ok(Some(principal)) => principal,
        Ok(None) => return Ok(None),
        Err(why) => {
            let counterpart = Principal(mapping.counterpart(&opt_in.principal.0));
            let kind = match counterpart.kind() {
                Some(_) => format!("opt-in of a principal: {why}"),
                None => "opt-in of a principal that was deleted (then delete the opt-in) or is of an unknown kind"
                    .to_owned(),
            };
            let name = opt_in.principal.0;
            return Err(Unmapped { kind, name });
        }
    };
    let unmapped = |resource: &str| Unmapped {
        kind: format!("opt-in on {resource}"),
        name: opt_in.principal.0.clone(),
    };
    let resource = match &opt_in.resource {
        ListedResource::DataLocation(location) => {
            let mapped = mapping.location(location);
            let mapped = mapped.ok_or_else(|| unmapped(Location::describe_unmapped(location)))?;
            ListedResource::DataLocation(mapped)
        }
        ListedResource::Other(kind) => return Err(unmapped(kind)),
        ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_) => opt_in.resource.clone(),
    };
    Ok(Some(OptIn {
        principal,
        resource,
        condition: opt_in.condition,
    }))
}

/// How an opt-in limits access, as the guard of grants to `IAM_ALLOWED_PRINCIPALS` compares it.
pub(super) enum LimitingOptIn {
    /// Its counterpart in the standby, which decides there if it exists.
    Known(OptIn),
    /// It has none.
    Unmapped(UnmappedOptIn),
    /// It decides on nothing that is replicated.
    Elsewhere,
}

/// Maps an opt-in for that guard. One of a principal that the policy ignores is not replicated, and limits
/// access like any other.
pub(super) fn limiting_opt_in(opt_in: &OptIn, mapping: &GrantMapping) -> LimitingOptIn {
    let principal = match mapping.principal_outside_grants(&opt_in.principal) {
        Ok(Some(principal)) => Ok(principal),
        Ok(None) => Ok(Principal(mapping.counterpart(&opt_in.principal.0))),
        Err(why) => Err(why),
    };
    let resource = match &opt_in.resource {
        ListedResource::DataLocation(location) => match mapping.location(location) {
            Some(mapped) => ListedResource::DataLocation(mapped),
            // No data below it is replicated.
            None => return LimitingOptIn::Elsewhere,
        },
        ListedResource::Other(_) if opt_in.resource.is_in_other_catalog() => {
            return LimitingOptIn::Elsewhere;
        }
        ListedResource::Other(_)
        | ListedResource::Database(_)
        | ListedResource::Table(_)
        | ListedResource::TableWildcard(_)
        | ListedResource::Columns(..)
        | ListedResource::ColumnWildcard(..)
        | ListedResource::DataCellsFilter(..)
        | ListedResource::Catalog
        | ListedResource::LfTag(..)
        | ListedResource::LfTagPolicy(..)
        | ListedResource::LfTagExpression(_) => opt_in.resource.clone(),
    };
    let why = match (&principal, &resource) {
        (Err(why), _) => format!("its principal has no counterpart: {why}"),
        (Ok(_), ListedResource::Other(kind)) => format!("it is on {kind}"),
        (Ok(_), _) => String::new(),
    };
    match (principal, why.is_empty()) {
        (Ok(principal), true) => LimitingOptIn::Known(OptIn {
            principal,
            resource,
            condition: opt_in.condition.clone(),
        }),
        (principal, _) => LimitingOptIn::Unmapped(UnmappedOptIn {
            subject: subject_of_opt_in(opt_in),
            principal: principal.ok(),
            description: format!("{} ({why})", opt_in.principal),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Policy;
    use twinlake_core::catalog::IndexStatus;
    use twinlake_core::topology::Epoch;

    const ROLE: &str = "arn:aws:iam::111122223333:role/A";

    fn mapping() -> GrantMapping {
        let text = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                    [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
                    [[location]]\na = \"s3://lake-us\"\nb = \"s3://lake-in\"\n";
        GrantMapping::of_primary(&Policy::parse(text).unwrap(), Epoch::INITIAL)
    }

    fn registration(arn: &str) -> Attachment {
        Attachment::Registration(Registration {
            arn: arn.to_owned(),
            role: None,
            with_federation: false,
            hybrid_access: false,
            privileged_access: false,
            owner: None,
        })
    }

    fn opt_in(principal: &str, resource: ListedResource) -> Attachment {
        Attachment::OptIn(Box::new(OptIn {
            principal: Principal(principal.to_owned()),
            resource,
            condition: None,
        }))
    }

    #[test]
    fn attachments_outside_every_pair_are_counted_by_kind() {
        let location = |arn: &str| ListedResource::DataLocation(arn.to_owned());
        let mut mapped = MappedAttachments::default();
        for attachment in [
            registration("arn:aws:s3:::lake-us/curated"),
            registration("arn:aws:s3:::landing"),
            registration("arn:aws:s3:::archive/2020"),
            registration("arn:aws:s3tables:us-east-1:111122223333:bucket/*"),
            opt_in(ROLE, location("arn:aws:s3:::lake-us/curated")),
            opt_in(ROLE, location("arn:aws:s3:::landing")),
            opt_in(ROLE, ListedResource::Other("RLSPolicy".to_owned())),
            opt_in("AROADELETEDEXAMPLE", ListedResource::Catalog),
        ] {
            mapped.add(active(attachment), &mapping());
        }
        assert_eq!(
            mapped.unmapped.descriptions().collect::<Vec<_>>(),
            [
                "1 x opt-in of a principal that was deleted (then delete the opt-in) or is of an \
                 unknown kind, such as AROADELETEDEXAMPLE",
                "1 x opt-in on RLSPolicy, such as arn:aws:iam::111122223333:role/A",
                "1 x opt-in on a data location that no [[location]] pair holds, such as \
                 arn:aws:iam::111122223333:role/A",
                "1 x registration of a data location that is no S3 bucket or prefix, such as \
                 arn:aws:s3tables:us-east-1:111122223333:bucket/*",
                "2 x registration of a data location that no [[location]] pair holds, such as \
                 arn:aws:s3:::archive/2020",
            ]
        );
    }

    #[test]
    fn a_registration_inside_a_pair_is_mapped() {
        assert_eq!(
            map_attachment(registration("arn:aws:s3:::lake-us/curated"), &mapping()),
            Ok(Some(registration("arn:aws:s3:::lake-in/curated")))
        );
    }

    fn active(attachment: Attachment) -> ObservedAttachment {
        ObservedAttachment {
            attachment,
            index_status: IndexStatus::Present,
        }
    }

    #[test]
    fn attachments_that_map_to_one_are_reported_and_the_listing_does_not_decide() {
        let with_role = |arn: &str, role: &str| {
            let Attachment::Registration(registration) = registration(arn) else {
                panic!("it is a registration");
            };
            Attachment::Registration(Registration {
                role: Some(role.to_owned()),
                ..registration
            })
        };
        let listed = [
            with_role("arn:aws:s3:::lake-us/x", "arn:aws:iam::111122223333:role/A"),
            with_role(
                "arn:aws:s3:::lake-us/x/",
                "arn:aws:iam::111122223333:role/B",
            ),
            registration("arn:aws:s3:::lake-us/y"),
            registration("arn:aws:s3:::lake-us/y/"),
        ];
        let map = |order: [usize; 4]| {
            let mut mapped = MappedAttachments::default();
            for index in order {
                mapped.add(active(listed[index].clone()), &mapping());
            }
            let found: Vec<String> = mapped.unmapped.descriptions().collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].starts_with("1 x registration that maps to the same"),
                "{found:?}"
            );
            mapped.by_key
        };
        let by_key = map([0, 1, 2, 3]);
        assert_eq!(by_key.len(), 2);
        assert_eq!(map([3, 1, 2, 0]), by_key);
    }

    #[test]
    fn an_opt_in_of_a_principal_that_another_one_maps_to_is_reported() {
        let role = |name: &str| format!("arn:aws:iam::111122223333:role/{name}");
        let text = format!(
            "ignored-principals = [\"{}\"]\n\
             [[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
             [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
             [[principal]]\na = \"{}\"\nb = \"{}\"\n",
            role("Local"),
            role("A"),
            role("B"),
        );
        let mapping = GrantMapping::of_primary(&Policy::parse(&text).unwrap(), Epoch::INITIAL);
        let mut mapped = MappedAttachments::default();
        for name in ["A", "B", "Local"] {
            mapped.add(
                active(opt_in(&role(name), ListedResource::Catalog)),
                &mapping,
            );
        }
        let kept: Vec<&Attachment> = mapped.by_key.values().map(|one| &one.attachment).collect();
        assert_eq!(
            kept,
            [&opt_in(&role("B"), ListedResource::Catalog)],
            "that of A"
        );
        let found: Vec<String> = mapped.unmapped.descriptions().collect();
        assert_eq!(
            found,
            [format!(
                "1 x opt-in of a principal: a [[principal]] pair maps another principal to it, such \
                 as {}",
                role("B")
            )]
        );
    }
}
