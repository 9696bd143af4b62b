//! Maps listed attachments to those that the standby should have. Those without a counterpart are
//! collected, so that they are reported.

use std::collections::BTreeMap;
use twinlake_core::Principal;
use twinlake_core::catalog::{Attachment, OptIn, Registration};
use twinlake_core::grant::{ListedResource, PrincipalMapping};
use twinlake_core::location::Location;

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
    /// What it belongs to.
    name: String,
}

/// Maps the principal and the location of a listed attachment.
///
/// # Errors
/// Why the attachment is not replicated.
pub(super) fn map_attachment(
    attachment: Attachment,
    mapping: &PrincipalMapping,
) -> Result<Attachment, Unmapped> {
    match attachment {
        Attachment::Registration(registration) => {
            map_registration(registration, mapping).map(Attachment::Registration)
        }
        Attachment::OptIn(opt_in) => {
            map_opt_in(*opt_in, mapping).map(|opt_in| Attachment::OptIn(Box::new(opt_in)))
        }
        Attachment::Index(_)
        | Attachment::Statistics(_)
        | Attachment::GlueTag { .. }
        | Attachment::DataCellsFilter(_)
        | Attachment::LfTagAssignment { .. }
        | Attachment::LfTagValue { .. }
        | Attachment::NamedExpression(_) => Ok(attachment),
    }
}

fn map_registration(
    registration: Registration,
    mapping: &PrincipalMapping,
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

fn map_opt_in(opt_in: OptIn, mapping: &PrincipalMapping) -> Result<OptIn, Unmapped> {
    let principal = Principal(mapping.counterpart(&opt_in.principal.0));
    if principal.kind().is_none() {
        let kind = "opt-in of a deleted principal, or of one of an unknown kind; delete it";
        return Err(Unmapped {
            kind: kind.to_owned(),
            name: opt_in.principal.0,
        });
    }
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
    Ok(OptIn {
        principal,
        resource,
        condition: opt_in.condition,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::Policy;
    use twinlake_core::topology::Epoch;

    const ROLE: &str = "arn:aws:iam::111122223333:role/A";

    fn mapping() -> PrincipalMapping {
        let text = "[[region]]\nid = \"a\"\nregion = \"us-east-1\"\naccount = \"111122223333\"\n\
                    [[region]]\nid = \"b\"\nregion = \"ap-south-1\"\naccount = \"111122223333\"\n\
                    [[location]]\na = \"s3://lake-us\"\nb = \"s3://lake-in\"\n";
        PrincipalMapping::of_primary(&Policy::parse(text).unwrap(), Epoch::INITIAL)
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
        let mut unmapped = UnmappedAttachments::default();
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
            if let Err(one) = map_attachment(attachment, &mapping()) {
                unmapped.add(one);
            }
        }
        assert_eq!(
            unmapped.descriptions().collect::<Vec<_>>(),
            [
                "1 x opt-in of a deleted principal, or of one of an unknown kind; delete it, such \
                 as AROADELETEDEXAMPLE",
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
            Ok(registration("arn:aws:s3:::lake-in/curated"))
        );
    }
}
