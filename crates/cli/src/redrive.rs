//! `redrive`: dead letters back to where they failed.

use crate::args::{Common, RedriveArgs};
use crate::connect::Connection;
use crate::{CliError, Left, out};
use std::collections::BTreeMap;
use twinlake_aws::{SqsLetters, queues_of};
use twinlake_core::event::{HANDED_ON, OWN_SOURCE, TOLD};
use twinlake_core::render;
use twinlake_engine::letters;
use twinlake_engine::ports::Letters as _;

/// The queues that have dead letters.
const QUEUES: [&str; 7] = [
    "Forward",
    "Catalog",
    "Permission",
    "Replication",
    "Operations",
    "Standing",
    "Resync",
];

/// So often a queue may answer with nothing before what it holds is taken to be elsewhere.
const TRIES: u32 = 3;

/// A Region's queues: those of dead letters by their names, and where they go back to.
struct Region {
    name: String,
    dead: SqsLetters,
    queues: BTreeMap<String, String>,
}

pub(crate) async fn redrive(common: &Common, args: &RedriveArgs) -> Result<Left, CliError> {
    let connection = Connection::open(common).await?;
    let named: Vec<&str> = match args.queues.as_slice() {
        [] => QUEUES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    if let Some(other) = named.iter().find(|name| !QUEUES.contains(name)) {
        let known = QUEUES.join(", ");
        let problem = format!("there is no queue {other:?}; name one of {known}");
        return Err(CliError::Usage(problem));
    }
    let sides = [
        connection.policy.primary(connection.epoch),
        connection.policy.secondary(connection.epoch),
    ];
    let mut regions = Vec::new();
    for side in sides {
        regions.push(open(&side.region, &args.stack, &named).await?);
    }
    let mut found = 0;
    for region in &regions {
        for (queue, count) in region.dead.waiting().await? {
            found += count;
            for body in region.dead.peek(&queue).await? {
                let name = letters::name(&body);
                out::print(&format!("{} {queue}: {name}", region.name));
            }
        }
    }
    if found == 0 {
        out::print("No dead letters wait.");
        return Ok(Left::Nothing);
    }
    if !args.yes
        && !crate::reconcile::confirm("Send them back? Only `yes` is taken for an answer.")?
    {
        return Ok(Left::Something);
    }
    let mut left = 0;
    for (at, region) in regions.iter().enumerate() {
        // What was to be forwarded goes to the other Region's own queue.
        let other = regions.iter().enumerate().find(|(other, _)| *other != at);
        left += send_back(region, other.map(|(_, other)| other)).await?;
    }
    Ok(if left == 0 {
        Left::Nothing
    } else {
        Left::Something
    })
}

async fn open(region: &str, stack: &str, named: &[&str]) -> Result<Region, CliError> {
    let urls = queues_of(region, stack).await?;
    let (mut dead, mut queues) = (BTreeMap::new(), BTreeMap::new());
    for url in urls {
        let name = url.rsplit('/').next().unwrap_or_default();
        for queue in QUEUES {
            let is = |kind: &str| {
                let stacks = [stack.to_owned(), format!("{stack}-{region}")];
                let mut starts = stacks.iter().map(|stack| format!("{stack}-{queue}{kind}-"));
                starts.any(|start| name.starts_with(&start))
            };
            if named.contains(&queue) && is("DeadLetters") {
                dead.insert(queue.to_owned(), url.clone());
            } else if is("Queue") {
                queues.insert(queue.to_owned(), url.clone());
            }
        }
    }
    if dead.len() < named.len() {
        let problem = format!(
            "{region} has no dead-letter queues of a stack {stack:?}; name it with --stack"
        );
        return Err(CliError::Usage(problem));
    }
    Ok(Region {
        name: region.to_owned(),
        dead: SqsLetters::connect(region, dead).await,
        queues,
    })
}

/// Sends what waits back; a message is deleted only after it was taken. Answers how many
/// could not be sent anywhere.
async fn send_back(region: &Region, other: Option<&Region>) -> Result<usize, CliError> {
    let mut left = 0;
    for (queue, count) in region.dead.waiting().await? {
        let (mut sent, mut empty) = (0, 0);
        // No more than waited at the start: what fails again comes back here.
        while sent < count {
            let some = region.dead.take(&queue).await?;
            if some.is_empty() {
                empty += 1;
                if empty < TRIES {
                    continue;
                }
                left += count - sent;
                break;
            }
            empty = 0;
            for letter in some {
                let name = letters::name(letter.body.as_bytes());
                if is_scheduled(&letter.body) {
                    out::print(&format!(
                        "{queue}: {name}: dropped, since the schedule repeats it."
                    ));
                    region.dead.drop(&queue, &letter).await?;
                    sent += 1;
                    continue;
                }
                let home = home(&queue, &letter.body).and_then(|(is_here, name)| {
                    let holder = if is_here { Some(region) } else { other }?;
                    holder.queues.get(name).map(|url| (holder, url.as_str()))
                });
                let Some((holder, url)) = home else {
                    left += 1;
                    sent += 1;
                    out::note(&format!(
                        "{queue}: {name}: it goes nowhere by itself; a resync sees what it told of"
                    ));
                    continue;
                };
                holder.dead.send(url, &letter.body).await?;
                region.dead.drop(&queue, &letter).await?;
                sent += 1;
            }
        }
        if sent > 0 {
            let line = format!("{} {queue}: {sent} messages were taken up.", region.name);
            out::print(&render::escape(&line));
        }
    }
    Ok(left)
}

/// Where a message goes: back to its queue here, or, if it was not forwarded, to the other
/// Region's queue for its source. Answers whether it is here, and the queue.
fn home<'q>(queue: &'q str, body: &str) -> Option<(bool, &'q str)> {
    if queue != "Forward" {
        return Some((true, queue));
    }
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    let there = match (text("source")?, text("detail-type")?) {
        ("aws.glue", _) => "Catalog",
        ("aws.lakeformation", _) => "Permission",
        (OWN_SOURCE, HANDED_ON) => "Replication",
        (OWN_SOURCE, TOLD) => "Operations",
        _ => return None,
    };
    Some((false, there))
}

/// Whether it is the record of a scheduled run that failed, and no message of a queue.
fn is_scheduled(body: &str) -> bool {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    json.get("requestPayload").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_forwarded_goes_to_the_queue_that_its_rule_leads_to() {
        let of = |source: &str, kind: &str| {
            let body = serde_json::json!({"source": source, "detail-type": kind}).to_string();
            home("Forward", &body)
        };
        let trail = "AWS API Call via CloudTrail";
        assert_eq!(of("aws.glue", trail), Some((false, "Catalog")));
        assert_eq!(of("aws.lakeformation", trail), Some((false, "Permission")));
        assert_eq!(
            of("twinlake", "S3 Replication"),
            Some((false, "Replication"))
        );
        assert_eq!(of("twinlake", "Alert"), Some((false, "Operations")));
        assert_eq!(of("aws.s3", trail), None);
        assert_eq!(home("Forward", "poison"), None);
        for queue in QUEUES.into_iter().filter(|queue| *queue != "Forward") {
            assert_eq!(home(queue, "anything"), Some((true, queue)));
        }
    }

    #[test]
    fn the_record_of_a_scheduled_run_is_no_message() {
        assert!(is_scheduled("{\"requestPayload\": {}}"));
        assert!(!is_scheduled("{\"source\": \"aws.glue\"}") && !is_scheduled("poison"));
    }
}
