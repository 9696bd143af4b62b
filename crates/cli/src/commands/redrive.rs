//! `twinlake redrive`: sends messages from dead-letter queues back to their source queues.

use crate::common_options::PolicyOptions;
use crate::connect::policy_of;
use crate::progress::TerminalProgress;
use crate::stack_names::is_queue_of;
use crate::{CliError, CommandOutcome, output};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use twinlake_aws::{Clients, DeadLetter, SqsDeadLetterQueues, list_queue_urls};
use twinlake_core::event::{ALERT_DETAIL_TYPE, S3_REPLICATION_DETAIL_TYPE, TWINLAKE_SOURCE};
use twinlake_core::{CallError, render};
use twinlake_engine::dead_letter_summary;
use twinlake_engine::ports::DeadLetterQueues;

/// Arguments of `twinlake redrive`.
#[derive(Debug, Clone, Args)]
pub struct RedriveArgs {
    /// Queues, as the alert names them: Catalog, Permission, Replication, Operations, OwnAccess,
    /// Resync, Forward [default: all]
    ///
    /// OwnAccess has the databases that were created in the primary, on which Twinlake's own roles get
    /// their grants. Forward has the events that did not reach the other Region.
    #[arg(value_name = "QUEUE")]
    pub queues: Vec<String>,
    /// The name of the stacks: those named NAME or NAME-REGION are found
    #[arg(long, value_name = "NAME", default_value = "twinlake")]
    pub stack: String,
    /// Send without asking for confirmation
    #[arg(long)]
    pub yes: bool,
    /// The policy, which names the two Regions.
    #[command(flatten)]
    pub policy: PolicyOptions,
}

/// The names of the queues that have a dead-letter queue. `Forward` has no queue of its own: its
/// dead-letter queue takes events that EventBridge could not forward to the peer.
const QUEUES: [&str; 7] = [
    "Forward",
    "Catalog",
    "Permission",
    "Replication",
    "Operations",
    "OwnAccess",
    "Resync",
];

/// After this many empty receives in a row, the messages that are left count as out of reach.
const MAX_EMPTY_RECEIVES: u32 = 3;

/// Dead-letter queues whose messages are sent back.
trait RedrivableQueues: DeadLetterQueues {
    /// Receives some messages of a queue.
    async fn receive(&self, queue: &str) -> Result<Vec<DeadLetter>, CallError>;
    /// Sends a body to the queue with this URL.
    async fn send(&self, url: &str, body: &str) -> Result<(), CallError>;
    /// Deletes a received message.
    async fn delete(&self, queue: &str, message: &DeadLetter) -> Result<(), CallError>;
}

impl RedrivableQueues for SqsDeadLetterQueues {
    async fn receive(&self, queue: &str) -> Result<Vec<DeadLetter>, CallError> {
        Self::receive(self, queue).await
    }

    async fn send(&self, url: &str, body: &str) -> Result<(), CallError> {
        Self::send(self, url, body).await
    }

    async fn delete(&self, queue: &str, message: &DeadLetter) -> Result<(), CallError> {
        Self::delete(self, queue, message).await
    }
}

/// The queues of the stack in one Region.
struct RegionQueues<Q> {
    region: String,
    dead_letter_queues: Q,
    /// URLs of the source queues by queue name.
    source_urls: QueueUrls,
}

pub(crate) async fn run(args: &RedriveArgs) -> Result<CommandOutcome, CliError> {
    let requested: BTreeSet<&str> = match args.queues.as_slice() {
        [] => QUEUES.into(),
        names => names.iter().map(String::as_str).collect(),
    };
    if let Some(other) = requested.iter().find(|name| !QUEUES.contains(name)) {
        let known = QUEUES.join(", ");
        let problem = format!("there is no queue {other:?}; name one of {known}");
        return Err(CliError::Usage(problem));
    }
    let policy = policy_of(&args.policy).await?;
    let mut regions = Vec::new();
    for (_, site) in policy.sites.iter() {
        regions.push(find_queues(&site.region, &args.stack, &requested).await?);
    }
    let mut waiting = Vec::new();
    for queues in &regions {
        waiting.push(print_messages(queues).await?);
    }
    let total: usize = waiting.iter().flat_map(BTreeMap::values).sum();
    if total == 0 {
        output::print("The dead-letter queues are empty.");
        return Ok(CommandOutcome::Done);
    }
    let question = match total {
        1 => "Send the message back?".to_owned(),
        total => format!("Send all {total} messages back?"),
    };
    if !args.yes && !output::confirm(&question)? {
        return Ok(CommandOutcome::AttentionNeeded);
    }
    let mut not_sent = 0;
    let progress = TerminalProgress::new();
    progress.begin("Sending back");
    progress.messages_expected(total);
    for (index, (queues, counts)) in regions.iter().zip(&waiting).enumerate() {
        // Events that were not forwarded go to the queues of the other Region.
        let other = regions
            .iter()
            .enumerate()
            .find(|(other, _)| *other != index);
        let other = other.map(|(_, other)| other);
        let redriven = redrive_region(queues, other, counts, &progress).await;
        if redriven.is_err() {
            progress.end();
        }
        not_sent += redriven?;
    }
    progress.end();
    Ok(CommandOutcome::done_if(not_sent == 0))
}

/// Prints what some messages of each queue are about, and how many there are. Returns the number of messages in
/// each queue, which is the number that the operator is asked about and that is sent.
async fn print_messages<Q: DeadLetterQueues>(
    queues: &RegionQueues<Q>,
) -> Result<BTreeMap<String, usize>, CliError> {
    let mut counts = BTreeMap::new();
    for (queue, count) in queues.dead_letter_queues.message_counts().await? {
        let bodies = queues.dead_letter_queues.peek(&queue).await?;
        for body in &bodies {
            let summary = dead_letter_summary::summarize(body);
            output::print(&format!("{} {queue}: {summary}", queues.region));
        }
        // SQS's count is approximate, and may be behind the messages that were received.
        let count = count.max(bodies.len());
        counts.insert(queue.clone(), count);
        if count > 0 {
            output::print(&format!(
                "{} {queue}: {}.",
                queues.region,
                shown(bodies.len(), count)
            ));
        }
    }
    Ok(counts)
}

/// How many of the messages of a queue are listed, as a clause.
fn shown(listed: usize, count: usize) -> String {
    match listed == count {
        true => render::counted(count, "message"),
        false => format!(
            "{}, of which {listed} {} listed",
            render::counted(count, "message"),
            render::one_or_many(listed, "is", "are")
        ),
    }
}

async fn find_queues(
    region: &str,
    stack: &str,
    requested: &BTreeSet<&str>,
) -> Result<RegionQueues<SqsDeadLetterQueues>, CliError> {
    let urls = list_queue_urls(region, stack).await?;
    let (dead_letter_urls, source_urls) = named_queues(urls, (region, stack), requested);
    if let Some(problem) = missing_queues(&dead_letter_urls, (region, stack), requested) {
        return Err(CliError::Usage(problem));
    }
    Ok(RegionQueues {
        region: region.to_owned(),
        dead_letter_queues: SqsDeadLetterQueues::new(
            &Clients::connect(region).await,
            dead_letter_urls,
        ),
        source_urls,
    })
}

/// URLs of queues by their names.
type QueueUrls = BTreeMap<String, String>;

/// The dead-letter queues of a stack that are requested, and its other queues.
fn named_queues(
    urls: Vec<String>,
    (region, stack): (&str, &str),
    requested: &BTreeSet<&str>,
) -> (QueueUrls, QueueUrls) {
    let (mut dead_letter_urls, mut source_urls) = (BTreeMap::new(), BTreeMap::new());
    for url in urls {
        for queue in QUEUES {
            let is_kind = |kind: &str| is_queue_of(stack, region, &format!("{queue}{kind}"), &url);
            if requested.contains(queue) && is_kind("DeadLetterQueue") {
                dead_letter_urls.insert(queue.to_owned(), url.clone());
            } else if is_kind("Queue") {
                source_urls.insert(queue.to_owned(), url.clone());
            }
        }
    }
    (dead_letter_urls, source_urls)
}

/// What is said if requested dead-letter queues were not found; `None` if all were.
fn missing_queues(
    found: &QueueUrls,
    (region, stack): (&str, &str),
    requested: &BTreeSet<&str>,
) -> Option<String> {
    let missing = requested.iter().filter(|name| !found.contains_key(**name));
    let missing: Vec<&str> = missing.copied().collect();
    if missing.is_empty() {
        return None;
    }
    Some(match found.is_empty() {
        true => format!(
            "{region} has no dead-letter queues of a stack {stack:?}; name the stack with --stack"
        ),
        false => format!(
            "the stack {stack:?} in {region} has no dead-letter queue for {}; deploy it again, or name the queues \
             that it has",
            missing.join(", ")
        ),
    })
}

/// Sends this many messages of each of a Region's dead-letter queues back, and deletes each after it was sent.
/// Returns the number of messages that could not be sent.
async fn redrive_region<Q: RedrivableQueues>(
    queues: &RegionQueues<Q>,
    other: Option<&RegionQueues<Q>>,
    counts: &BTreeMap<String, usize>,
    progress: &TerminalProgress,
) -> Result<usize, CliError> {
    let mut not_sent = 0;
    for (queue, count) in counts {
        let (mut handled, mut empty_receives) = (0, 0);
        // At most as many as waited at the start: a message that fails again comes back here.
        while handled < *count {
            let messages = queues.dead_letter_queues.receive(queue).await?;
            if messages.is_empty() {
                empty_receives += 1;
                if empty_receives < MAX_EMPTY_RECEIVES {
                    continue;
                }
                not_sent += count - handled;
                break;
            }
            empty_receives = 0;
            for message in messages {
                handled += 1;
                progress.message_finished();
                let summary = dead_letter_summary::summarize(message.body.as_bytes());
                if is_scheduled_run(&message.body) {
                    output::print(&format!(
                        "{queue}: {summary}: deleted, because the schedule runs the function again."
                    ));
                    queues.dead_letter_queues.delete(queue, &message).await?;
                    continue;
                }
                let target = target_queue(queue, &message.body).and_then(|(region, name)| {
                    let target = match region {
                        TargetRegion::Same => Some(queues),
                        TargetRegion::Other => other,
                    }?;
                    let url = target.source_urls.get(name)?;
                    Some((target, url.as_str()))
                });
                let Some((target, url)) = target else {
                    not_sent += 1;
                    output::note(&format!(
                        "{queue}: {summary}: not sent, because no queue takes it; if it reports a \
                         change of the catalog or its permissions, `twinlake resync --full \
                         --region {}` applies it.",
                        queues.region
                    ));
                    continue;
                };
                target.dead_letter_queues.send(url, &message.body).await?;
                queues.dead_letter_queues.delete(queue, &message).await?;
            }
        }
        if handled > 0 {
            let line = format!(
                "{} {queue}: handled {}.",
                queues.region,
                render::counted(handled, "message")
            );
            output::print(&render::escape(&line));
        }
    }
    Ok(not_sent)
}

/// The Region of the queue that a message goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetRegion {
    /// The Region of the dead-letter queue.
    Same,
    /// The other Region of the deployment.
    Other,
}

/// The queue that a message goes to: its source queue or, for an event that was not forwarded, the
/// queue for its event source in the other Region.
fn target_queue<'q>(queue: &'q str, body: &str) -> Option<(TargetRegion, &'q str)> {
    if queue != "Forward" {
        return Some((TargetRegion::Same, queue));
    }
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    let peer_queue = match (text("source")?, text("detail-type")?) {
        ("aws.glue", _) => "Catalog",
        ("aws.lakeformation", _) => "Permission",
        (TWINLAKE_SOURCE, S3_REPLICATION_DETAIL_TYPE) => "Replication",
        (TWINLAKE_SOURCE, ALERT_DETAIL_TYPE) => "Operations",
        _ => return None,
    };
    Some((TargetRegion::Other, peer_queue))
}

/// Whether the body is Lambda's record of a scheduled run that failed, not a message of a queue.
fn is_scheduled_run(body: &str) -> bool {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    json.get("requestPayload").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn an_event_that_was_not_forwarded_goes_to_the_queue_of_its_source() {
        let target = |source: &str, detail_type: &str| {
            let body =
                serde_json::json!({"source": source, "detail-type": detail_type}).to_string();
            target_queue("Forward", &body)
        };
        let api_call = "AWS API Call via CloudTrail";
        assert_eq!(
            target("aws.glue", api_call),
            Some((TargetRegion::Other, "Catalog"))
        );
        assert_eq!(
            target("aws.lakeformation", api_call),
            Some((TargetRegion::Other, "Permission"))
        );
        assert_eq!(
            target("twinlake", "S3 Replication"),
            Some((TargetRegion::Other, "Replication"))
        );
        assert_eq!(
            target("twinlake", "Alert"),
            Some((TargetRegion::Other, "Operations"))
        );
        assert_eq!(target("aws.s3", api_call), None);
        assert_eq!(target_queue("Forward", "poison"), None);
        for queue in QUEUES.into_iter().filter(|queue| *queue != "Forward") {
            assert_eq!(
                target_queue(queue, "anything"),
                Some((TargetRegion::Same, queue))
            );
        }
    }

    #[test]
    fn the_record_of_a_failed_scheduled_run_is_recognized() {
        assert!(is_scheduled_run("{\"requestPayload\": {}}"));
        assert!(!is_scheduled_run("{\"source\": \"aws.glue\"}") && !is_scheduled_run("poison"));
    }

    /// The URLs of the dead-letter queues of these names in a stack.
    fn urls(names: &[&str]) -> Vec<String> {
        let url = |name: &&str| {
            format!("https://sqs/111122223333/twinlake-us-east-1-{name}DeadLetterQueue-1A2B3C")
        };
        names.iter().map(url).collect()
    }

    /// What is said if these queues are requested and those are there.
    fn problem(requested: &[&str], there: &[&str]) -> Option<String> {
        let (stack, requested) = (
            ("us-east-1", "twinlake"),
            requested.iter().copied().collect(),
        );
        let (found, _) = named_queues(urls(there), stack, &requested);
        missing_queues(&found, stack, &requested)
    }

    #[test]
    fn a_queue_that_is_missing_is_named_and_one_may_be_requested_twice() {
        assert_eq!(
            problem(&["Catalog", "Catalog"], &["Catalog", "Forward"]),
            None
        );
        let none = problem(&["Catalog"], &["Forward"]).unwrap();
        assert!(none.contains("no dead-letter queues of a stack"), "{none}");
        let all_but_one: Vec<&str> = QUEUES
            .into_iter()
            .filter(|name| *name != "Resync")
            .collect();
        let one = problem(&QUEUES, &all_but_one).unwrap();
        assert!(one.contains("no dead-letter queue for Resync;"), "{one}");
    }

    /// A dead-letter queue whose count is behind its messages.
    #[derive(Debug, Default)]
    struct UncountedQueue {
        waiting: Mutex<Vec<String>>,
        sent: Mutex<Vec<String>>,
    }

    impl UncountedQueue {
        fn letters(&self) -> Vec<DeadLetter> {
            let waiting = self.waiting.lock().unwrap().clone().into_iter();
            let letter = |body: String| DeadLetter {
                receipt_handle: body.clone(),
                body,
            };
            waiting.map(letter).collect()
        }
    }

    impl DeadLetterQueues for UncountedQueue {
        async fn message_counts(&self) -> Result<BTreeMap<String, usize>, CallError> {
            Ok(BTreeMap::from([("Catalog".to_owned(), 0)]))
        }

        async fn peek(&self, _: &str) -> Result<Vec<Vec<u8>>, CallError> {
            let letters = self.letters().into_iter();
            Ok(letters.map(|letter| letter.body.into_bytes()).collect())
        }
    }

    impl RedrivableQueues for UncountedQueue {
        async fn receive(&self, _: &str) -> Result<Vec<DeadLetter>, CallError> {
            Ok(self.letters())
        }

        async fn send(&self, _: &str, body: &str) -> Result<(), CallError> {
            self.sent.lock().unwrap().push(body.to_owned());
            Ok(())
        }

        async fn delete(&self, _: &str, message: &DeadLetter) -> Result<(), CallError> {
            let mut waiting = self.waiting.lock().unwrap();
            waiting.retain(|body| *body != message.receipt_handle);
            Ok(())
        }
    }

    #[tokio::test]
    async fn as_many_messages_are_sent_as_the_operator_was_asked_about() {
        let bodies = ["one", "two", "three"].map(str::to_owned);
        let queues = RegionQueues {
            region: "us-east-1".to_owned(),
            dead_letter_queues: UncountedQueue {
                waiting: Mutex::new(bodies.to_vec()),
                ..UncountedQueue::default()
            },
            source_urls: BTreeMap::from([("Catalog".to_owned(), "https://sqs/catalog".to_owned())]),
        };
        let counts = print_messages(&queues).await.unwrap();
        assert_eq!(counts, BTreeMap::from([("Catalog".to_owned(), 3)]));
        let progress = TerminalProgress::new();
        let not_sent = redrive_region(&queues, None, &counts, &progress).await;
        assert_eq!(not_sent.unwrap(), 0);
        assert_eq!(*queues.dead_letter_queues.sent.lock().unwrap(), bodies);
        assert!(queues.dead_letter_queues.waiting.lock().unwrap().is_empty());
    }

    #[test]
    fn a_queue_with_more_messages_than_are_listed_says_so() {
        assert_eq!(shown(3, 3), "3 messages");
        assert_eq!(shown(10, 500), "500 messages, of which 10 are listed");
    }
}
