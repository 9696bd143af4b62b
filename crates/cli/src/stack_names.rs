//! The names of the deployed stacks: NAME in both Regions, or NAME-REGION.
//!
//! Queues tell which of them is there: CloudFormation names a queue STACK-LOGICALID-SUFFIX.

use crate::CliError;
use twinlake_aws::list_queue_urls;

/// A queue that every stack has.
const QUEUE: &str = "CatalogQueue";

/// Whether the queue of this URL or name is the queue with a logical ID of the stack NAME or NAME-REGION.
pub(crate) fn is_queue_of(stack: &str, region: &str, logical_id: &str, url: &str) -> bool {
    stack_with_queue(stack, region, logical_id, url).is_some()
}

fn stack_with_queue(stack: &str, region: &str, logical_id: &str, url: &str) -> Option<String> {
    let queue = url.rsplit('/').next().unwrap_or_default();
    [stack.to_owned(), format!("{stack}-{region}")]
        .into_iter()
        .find(|name| queue.starts_with(&format!("{name}-{logical_id}-")))
}

/// The stack NAME or NAME-REGION in a Region; `None` if neither is there.
///
/// # Errors
/// The queues could not be listed.
pub(crate) async fn deployed_stack(stack: &str, region: &str) -> Result<Option<String>, CliError> {
    let urls = list_queue_urls(region, stack).await?;
    Ok(stack_of(&urls, stack, region))
}

fn stack_of(urls: &[String], stack: &str, region: &str) -> Option<String> {
    urls.iter()
        .find_map(|url| stack_with_queue(stack, region, QUEUE, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_found_by_its_name_and_by_its_name_with_the_region() {
        let of = |queue: &str| {
            let urls = [format!("https://sqs.us-east-1.amazonaws.com/1/{queue}")];
            stack_of(&urls, "twinlake", "us-east-1")
        };
        assert_eq!(
            of("twinlake-CatalogQueue-1A2B").as_deref(),
            Some("twinlake")
        );
        let with_region = of("twinlake-us-east-1-CatalogQueue-1A2B");
        assert_eq!(with_region.as_deref(), Some("twinlake-us-east-1"));
        assert_eq!(of("twinlake-ap-south-1-CatalogQueue-1A2B"), None);
        assert_eq!(of("twinlake-mine"), None);
    }
}
