//! Reads the trails that record calls of a Region.

use crate::call_error;
use aws_sdk_cloudtrail::types::{AdvancedEventSelector, EventSelector, ReadWriteType};
use twinlake_core::CallError;
use twinlake_core::readiness::{Trail, TrailEventSelection};

/// `DescribeTrails`, with the trails of other Regions that record this one, and for each
/// `GetTrailStatus`, which speaks of this Region only, and `GetEventSelectors`.
pub(super) async fn read(
    client: &aws_sdk_cloudtrail::Client,
    region: &str,
) -> Result<Vec<Trail>, CallError> {
    let described = client.describe_trails().include_shadow_trails(true).send();
    let described = described
        .await
        .map_err(|e| call_error::from_sdk("DescribeTrails", region, &e))?;
    let mut trails = Vec::new();
    for trail in described.trail_list.unwrap_or_default() {
        let is_local = trail
            .home_region
            .as_deref()
            .is_none_or(|home| home == region);
        if let Some(arn) = trail.trail_arn
            && (is_local || trail.is_multi_region_trail == Some(true))
        {
            let mut trail_read = read_trail(client, region, arn).await;
            trail_read.is_of_organization = trail.is_organization_trail == Some(true);
            trails.push(trail_read);
        }
    }
    Ok(trails)
}

async fn read_trail(client: &aws_sdk_cloudtrail::Client, region: &str, arn: String) -> Trail {
    let status = client.get_trail_status().name(&arn).send().await;
    let status = status.map_err(|e| call_error::from_sdk("GetTrailStatus", region, &e));
    let delivery_error = status.as_ref().ok().and_then(|status| {
        let error = status.latest_delivery_error();
        error.filter(|error| !error.is_empty()).map(str::to_owned)
    });
    let selectors = client.get_event_selectors().trail_name(&arn).send().await;
    let selectors = selectors.map_err(|e| call_error::from_sdk("GetEventSelectors", region, &e));
    let has_advanced_selectors = selectors
        .as_ref()
        .is_ok_and(|selectors| !selectors.advanced_event_selectors().is_empty());
    let selection = selectors.map(|selectors| {
        selection(
            selectors.event_selectors(),
            selectors.advanced_event_selectors(),
        )
    });
    Trail {
        arn,
        is_logging: status
            .map(|status| status.is_logging.unwrap_or_default())
            .into(),
        delivery_error,
        selection: selection.into(),
        has_advanced_selectors,
        is_of_organization: false,
    }
}

/// Which management events the selectors of a trail record. A trail has selectors of one kind.
fn selection(basic: &[EventSelector], advanced: &[AdvancedEventSelector]) -> TrailEventSelection {
    let mut selection = TrailEventSelection::default();
    let management = basic
        .iter()
        .filter(|selector| selector.include_management_events != Some(false));
    for selector in management {
        // Without a type, and with one that a later SDK version adds, both are recorded.
        let kind = selector.read_write_type.as_ref();
        selection.reads |= kind != Some(&ReadWriteType::WriteOnly);
        selection.writes |= kind != Some(&ReadWriteType::ReadOnly);
    }
    for selector in advanced
        .iter()
        .filter(|selector| is_of_management(selector))
    {
        let fields = selector.field_selectors();
        let read_only = fields.iter().find(|field| field.field() == "readOnly");
        let is_allowed = |value: &str| {
            read_only.is_none_or(|field| {
                let equals = field.equals();
                let not_equals = field.not_equals();
                (equals.is_empty() || equals.iter().any(|allowed| allowed == value))
                    && not_equals.iter().all(|denied| denied != value)
            })
        };
        selection.reads |= is_allowed("true");
        selection.writes |= is_allowed("false");
    }
    selection
}

/// Whether a selector records management events of Glue and Lake Formation.
fn is_of_management(selector: &AdvancedEventSelector) -> bool {
    let fields = selector.field_selectors();
    let is_management = fields.iter().any(|field| {
        field.field() == "eventCategory" && field.equals().iter().any(|value| value == "Management")
    });
    let has_sources = fields
        .iter()
        .filter(|field| field.field() == "eventSource")
        .all(|field| {
            let equals = field.equals();
            let is_ours = |source: &String| {
                source == "glue.amazonaws.com" || source == "lakeformation.amazonaws.com"
            };
            let wanted = equals.iter().filter(|source| is_ours(source)).count();
            (equals.is_empty() || wanted == 2) && !field.not_equals().iter().any(is_ours)
        });
    is_management && has_sources
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudtrail::types::AdvancedFieldSelector;

    fn basic(kind: ReadWriteType, management: bool) -> EventSelector {
        EventSelector::builder()
            .read_write_type(kind)
            .include_management_events(management)
            .build()
    }

    fn advanced(fields: &[(&str, &[&str], &[&str])]) -> AdvancedEventSelector {
        let mut selector = AdvancedEventSelector::builder();
        for (field, equals, not_equals) in fields {
            let texts = |texts: &[&str]| {
                let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
                (!texts.is_empty()).then_some(texts)
            };
            let field = AdvancedFieldSelector::builder()
                .field(*field)
                .set_equals(texts(equals))
                .set_not_equals(texts(not_equals));
            selector = selector.field_selectors(field.build().unwrap());
        }
        selector.build().unwrap()
    }

    const BOTH: TrailEventSelection = TrailEventSelection {
        writes: true,
        reads: true,
    };
    const WRITES: TrailEventSelection = TrailEventSelection {
        writes: true,
        reads: false,
    };
    const NONE: TrailEventSelection = TrailEventSelection {
        writes: false,
        reads: false,
    };

    #[test]
    fn basic_selectors_record_by_their_type() {
        assert_eq!(selection(&[basic(ReadWriteType::All, true)], &[]), BOTH);
        assert_eq!(
            selection(&[basic(ReadWriteType::WriteOnly, true)], &[]),
            WRITES
        );
        assert_eq!(selection(&[basic(ReadWriteType::All, false)], &[]), NONE);
        let parts = [
            basic(ReadWriteType::ReadOnly, true),
            basic(ReadWriteType::WriteOnly, true),
        ];
        assert_eq!(selection(&parts, &[]), BOTH);
        assert_eq!(selection(&[EventSelector::builder().build()], &[]), BOTH);
    }

    #[test]
    fn advanced_selectors_record_by_category_type_and_source() {
        let management: (&str, &[&str], &[&str]) = ("eventCategory", &["Management"], &[]);
        let select = |fields: &[(&str, &[&str], &[&str])]| selection(&[], &[advanced(fields)]);
        assert_eq!(select(&[management]), BOTH);
        assert_eq!(select(&[management, ("readOnly", &["false"], &[])]), WRITES);
        assert_eq!(select(&[management, ("readOnly", &[], &["true"])]), WRITES);
        assert_eq!(select(&[("eventCategory", &["Data"], &[])]), NONE);
        let kms: &[&str] = &["kms.amazonaws.com"];
        assert_eq!(select(&[management, ("eventSource", &[], kms)]), BOTH);
        assert_eq!(select(&[management, ("eventSource", kms, &[])]), NONE);
        let glue: &[&str] = &["glue.amazonaws.com"];
        assert_eq!(select(&[management, ("eventSource", &[], glue)]), NONE);
    }
}
