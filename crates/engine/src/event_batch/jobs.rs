//! The jobs of a batch: which requests of its messages share one reconciliation, and what of them is
//! sent again, by which deadline.

use super::QueueMessage;
use crate::retry_message::{FIRST_DELAY_SECS, MAX_LOOKS, RetryMessage};
use std::collections::{BTreeMap, BTreeSet};
use twinlake_core::event::{EventContext, Parsed, parse, time_of};
use twinlake_core::scope::ReadRequest;
use twinlake_core::{Facet, PermissionGrant, Scope, Subject, Timestamp, heartbeat};

/// How long a scope is retried before it is left to the resync.
pub(super) const RETRY_WINDOW_SECS: i64 = 3600;

/// A message that is so much later than its event, or than the deadline of a retry, counts as delivered before:
/// it may have been in a dead-letter queue, whoever sent it back. An event that is only late is read once more
/// than needed.
const MAX_FIRST_DELIVERY_SECS: i64 = 3600;

/// Deadlines that are no further apart are one, the earliest.
const DEADLINE_TOLERANCE_SECS: i64 = 60;

/// What one message requests of one subject.
#[derive(Clone, Debug)]
struct Request {
    subject: Subject,
    scope: Scope,
    /// The number of earlier attempts.
    attempt: u32,
    deadline: Timestamp,
    /// The message is an event, or stands for one that was not attempted.
    is_event: bool,
    /// The message was delivered before, or stands for one that was.
    is_redelivered: bool,
    /// How often the permissions may still be read again.
    looks_left: u8,
}

/// Requests that one reconciliation handles.
#[derive(Debug, Default)]
pub(super) struct Job {
    requests: Vec<Request>,
    /// The messages that made the requests.
    pub(super) messages: BTreeSet<String>,
}

/// The parsed messages of a batch.
#[derive(Debug, Default)]
pub(super) struct ParsedMessages {
    pub(super) jobs: Vec<Job>,
    /// Messages that require no action, with the reason.
    pub(super) ignored: Vec<(String, String)>,
    /// Messages that cannot be parsed, with the reason.
    pub(super) rejected: Vec<(String, String)>,
}

/// Parses messages and merges their requests into jobs.
pub(super) fn merge_into_jobs(
    messages: &[QueueMessage],
    event_context: &EventContext,
    now: Timestamp,
) -> ParsedMessages {
    let mut parsed = ParsedMessages::default();
    for message in messages {
        let received = match RetryMessage::parse(&message.body) {
            Some(retry_message) => retry_message,
            None => match parse(&message.body, event_context) {
                Ok(Parsed::Scope(scope)) => RetryMessage {
                    is_event: true,
                    ..RetryMessage::new(scope, now.plus_secs(RETRY_WINDOW_SECS))
                },
                Ok(Parsed::Ignored(reason)) => {
                    parsed.ignored.push((message.id.clone(), reason));
                    continue;
                }
                Err(error) => {
                    parsed.rejected.push((message.id.clone(), error.0));
                    continue;
                }
            },
        };
        let expected_by = time_of(&message.body).unwrap_or(received.deadline);
        let is_late = expected_by.plus_secs(MAX_FIRST_DELIVERY_SECS) < now;
        let is_delivered_again = message.is_redelivered || is_late;
        let looks_left = match is_delivered_again {
            // It may have ended in the last look. After the deadline it is left to the resync.
            true if received.deadline > now || is_late => received.looks_left().max(1),
            true | false => received.looks_left(),
        };
        let scope = received.scope;
        for scope in scope.split() {
            let Some(subject) = scope.read_requests.keys().next().cloned() else {
                continue;
            };
            let request = Request {
                subject,
                scope,
                attempt: received.attempt,
                deadline: received.deadline,
                is_event: received.is_event,
                is_redelivered: is_delivered_again || received.is_redelivered,
                looks_left,
            };
            add_request(&mut parsed.jobs, request, &message.id);
        }
    }
    parsed
}

/// Adds a request to the jobs that it shares a reconciliation with, which become one.
fn add_request(jobs: &mut Vec<Job>, request: Request, message: &str) {
    let is_shared = |job: &Job| {
        let mut others = job.requests.iter();
        others.any(|other| share_reconciliation(&request, other))
    };
    let (shared, others): (Vec<Job>, Vec<Job>) =
        std::mem::take(jobs).into_iter().partition(is_shared);
    *jobs = others;
    let mut merged = Job::default();
    for job in shared {
        merged.requests.extend(job.requests);
        merged.messages.extend(job.messages);
    }
    merged.requests.push(request);
    merged.messages.insert(message.to_owned());
    jobs.push(merged);
}

/// Orders jobs into waves. The jobs of a wave do not overlap, so they run at the same time; one that overlaps
/// an earlier job comes in a later wave.
pub(super) fn into_waves(jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut waves: Vec<Vec<Job>> = Vec::new();
    for job in jobs {
        let overlapping = waves
            .iter()
            .rposition(|wave| wave.iter().any(|earlier| earlier.overlaps(&job)));
        let index = overlapping.map_or(0, |earlier| earlier + 1);
        match waves.get_mut(index) {
            Some(wave) => wave.push(job),
            None => waves.push(vec![job]),
        }
    }
    waves
}

/// Whether two requests share a reconciliation: changes of one subject may have to be made before
/// those of the other, and tables of one database are read with fewer calls together. Of whole databases and of
/// the catalog, each is read alone: together they take too long. Nothing rests on the heartbeat, whose lag would be that of the others.
fn share_reconciliation(one: &Request, other: &Request) -> bool {
    let is_alone = |request: &Request| {
        let facets = request.scope.read_requests.values();
        let is_heartbeat =
            matches!(&request.subject, Subject::Table(id) if heartbeat::is_table(id));
        let mut facets = facets.map(|requested| &requested.facets);
        is_heartbeat || facets.any(|facets| facets.contains(&Facet::Contents))
    };
    // Listing the partitions of a table may take long, and the others do not wait for it.
    let is_short_read = |request: &Request| {
        let mut requests = request.scope.read_requests.values();
        let is_long = requests.any(|requested| requested.facets.contains(&Facet::Partitions));
        matches!(&request.subject, Subject::Table(id) if !heartbeat::is_table(id)) && !is_long
    };
    let (first, second) = (&one.subject, &other.subject);
    let in_one_database = first.database().is_some() && first.database() == second.database();
    first == second
        || (in_one_database && is_short_read(one) && is_short_read(other))
        || (first.overlaps(second)
            && (in_one_database || !(is_alone(one) || is_alone(other)))
            && !matches!(
                (first, second),
                (Subject::Catalog, _) | (_, Subject::Catalog)
            ))
}

impl Job {
    /// Whether a request of one job overlaps one of the other.
    fn overlaps(&self, other: &Self) -> bool {
        let mut requests = self.requests.iter();
        requests.any(|one| {
            let mut others = other.requests.iter();
            others.any(|other| one.subject.overlaps(&other.subject))
        })
    }

    /// The scope of all requests.
    pub(super) fn scope(&self) -> Scope {
        let mut scope = Scope::default();
        for request in &self.requests {
            scope.merge(request.scope.clone());
        }
        scope
    }

    /// Whether only events request a subject, and no retry message.
    pub(super) fn is_requested_by_events_only(&self, subject: &Subject) -> bool {
        let mut of_subject = self.requests.iter().filter(|one| one.subject == *subject);
        of_subject.all(|request| request.is_event)
    }

    /// Whether only events made the requests.
    pub(super) fn has_only_events(&self) -> bool {
        self.requests.iter().all(|request| request.is_event)
    }

    /// Whether nothing of it was attempted before.
    pub(super) fn is_first_attempt(&self) -> bool {
        self.requests.iter().all(|request| request.attempt == 0)
    }

    /// The latest deadline of the requests. What waits and none of them asked for gets it, too.
    pub(super) fn latest_deadline(&self) -> Timestamp {
        let deadlines = self.requests.iter().map(|request| request.deadline);
        deadlines.max().unwrap_or_default()
    }

    /// How often the permissions of the requests may still be read again, as a message stores it.
    pub(super) fn looks_left(&self) -> Option<u8> {
        let left = self.requests.iter().map(|request| request.looks_left).max();
        left.and_then(stored_looks)
    }

    /// The deadline of a scope that is due at a time: the latest one, and at least a retry window after that
    /// time.
    pub(super) fn latest_deadline_from(&self, at: Timestamp) -> Timestamp {
        self.latest_deadline().max(at.plus_secs(RETRY_WINDOW_SECS))
    }

    /// All requests as messages, with their delay in seconds, the first one. They were not attempted, so the
    /// messages say of them what those say that made the requests.
    pub(super) fn messages_not_attempted(&self) -> Vec<(RetryMessage, u16)> {
        let (events, retries): (Vec<&Request>, Vec<&Request>) =
            self.requests.iter().partition(|request| request.is_event);
        let mut messages = Vec::new();
        for (is_event, requests) in [(true, events), (false, retries)] {
            for group in by_deadline(requests).into_iter().flat_map(by_looks) {
                let mut scope = Scope::default();
                for request in &group {
                    scope.merge(request.scope.clone());
                }
                messages.extend(message(&group, scope).map(|unsent| RetryMessage {
                    attempt: unsent.attempt.saturating_sub(1),
                    is_event,
                    ..unsent
                }));
            }
        }
        let delayed = messages.into_iter();
        delayed.map(|one| (one, FIRST_DELAY_SECS)).collect()
    }

    /// How permissions are read again of which a listing may be old:
    ///
    /// - Grants that an event names as revoked and the primary still lists (`relisted`): that answer may be older
    ///   than the revoke. A grant may also have been made again, so it is asked [`MAX_LOOKS`] times only.
    /// - All permissions of a message that was delivered before: a function that ended between a grant and its next
    ///   read has left the grant, and a listing of the standby may be older than it.
    ///
    /// The next attempt at permissions that wait reads them again. Else a look is sent, with less looks left than the
    /// request that it is for. So no request is followed by two messages that read its permissions, and the number of
    /// those under way does not grow.
    pub(super) fn look_again(
        &self,
        relisted: &Scope,
        waiting: Option<&Scope>,
        now: Timestamp,
    ) -> LooksAgain {
        let relisted = relisted.clone().split();
        let mut scopes: BTreeMap<(u8, bool), (Scope, Timestamp, u32)> = BTreeMap::new();
        let mut result = LooksAgain::default();
        for (index, request) in self.requests.iter().enumerate() {
            let left = request.looks_left;
            let is_redelivered = request.is_redelivered && request.reads_permissions();
            let scope = match is_redelivered {
                true => request.scope.clone(),
                false => request.named_among(&relisted),
            };
            if left == 0 || scope.is_empty() {
                continue;
            }
            if request.deadline > now && request.has_waiting_permissions(waiting) {
                result.with_attempt.insert(index, scope);
                continue;
            }
            result.sent.insert(index);
            let deadline = match left >= MAX_LOOKS && is_redelivered {
                true => now.plus_secs(RETRY_WINDOW_SECS),
                false => now,
            };
            let same = scopes.entry((left, is_redelivered));
            let (merged, latest, attempt) = same.or_default();
            merged.merge(scope);
            *latest = request.deadline.max(deadline).max(*latest);
            *attempt = request.attempt.saturating_add(1).max(*attempt);
        }
        for ((left, is_redelivered), (scope, deadline, attempt)) in scopes {
            let (look, delay) = RetryMessage::look(scope, deadline, left);
            let look = RetryMessage {
                attempt,
                is_redelivered,
                ..look
            };
            result.messages.push((look, delay));
        }
        result
    }

    /// The requests as they are sent again after an attempt, each with what else is read for it.
    fn after_attempt(&self, looks: &LooksAgain) -> Vec<(Request, Scope)> {
        let requests = self.requests.iter().enumerate();
        let after = requests.map(|(index, request)| {
            let read_again = looks.with_attempt.get(&index);
            let next = Request {
                looks_left: match looks.sent.contains(&index) {
                    true => 0,
                    false => request.looks_left,
                },
                // Whoever attempts what does not read its permissions grants nothing.
                is_redelivered: request.is_redelivered && read_again.is_some(),
                ..request.clone()
            };
            (next, read_again.cloned().unwrap_or_default())
        });
        after.collect()
    }

    /// Splits what waits after an attempt. What was requested earlier keeps its deadline, whatever
    /// was requested since, and a new request is not given up with an old one.
    pub(super) fn split_waiting(
        &self,
        waiting: &Scope,
        looks: &LooksAgain,
        now: Timestamp,
    ) -> Waiting {
        let requests = self.after_attempt(looks);
        let open = requests.iter().filter(|(one, _)| one.is_open(waiting));
        let open: Vec<&(Request, Scope)> = open.collect();
        let is_requested = |subject: &Subject| open.iter().any(|(one, _)| one.subject == *subject);
        let latest = self.latest_deadline();
        let mut result = Waiting {
            permissions_wait_since: open
                .iter()
                .filter(|(one, _)| one.reads_permissions())
                .map(|(one, _)| one.deadline.plus_secs(-RETRY_WINDOW_SECS))
                .min(),
            ..Waiting::default()
        };
        let (expired, retried): (Vec<&Request>, Vec<&Request>) = open
            .iter()
            .map(|(request, _)| request)
            .partition(|request| request.deadline <= now);
        result
            .expired
            .extend(expired.iter().map(|one| one.subject.clone()));
        let groups: Vec<Vec<&Request>> = by_deadline(retried)
            .into_iter()
            .flat_map(by_looks)
            .collect();
        let last = groups.len().saturating_sub(1);
        let mut unrequested = Scope::default();
        let parts = waiting.clone().split();
        let part_of = |subject: &Subject| {
            let mut parts = parts.iter();
            parts.find(|part| part.read_requests.contains_key(subject))
        };
        for part in &parts {
            if !part.read_requests.keys().any(is_requested) {
                unrequested.merge(part.clone());
            }
        }
        for (index, group) in groups.iter().enumerate() {
            let mut scope = Scope::default();
            for request in group {
                // The latest request of a subject is sent with all that waits.
                let is_latest = !groups
                    .iter()
                    .skip(index + 1)
                    .flatten()
                    .any(|later| later.subject == request.subject);
                let waiting = part_of(&request.subject).filter(|_| is_latest);
                scope.merge(waiting.unwrap_or(&request.scope).clone());
            }
            let of_group = open.iter().filter(|(open, _)| {
                let mut requests = group.iter();
                requests.any(|request| std::ptr::eq(*request, open))
            });
            for (_, read_again) in of_group {
                scope.merge(read_again.clone());
            }
            if index == last {
                scope.merge(std::mem::take(&mut unrequested));
            }
            result.messages.extend(message(group, scope));
        }
        if groups.is_empty() && latest > now && !unrequested.is_empty() {
            let requests: Vec<&Request> = requests.iter().map(|(request, _)| request).collect();
            let unrequested = std::mem::take(&mut unrequested);
            let next = message(&requests, unrequested).map(|next| RetryMessage {
                deadline: latest,
                ..next
            });
            result.messages.extend(next);
        }
        result.expired.extend(unrequested.read_requests.into_keys());
        result
    }
}

/// The permissions of a job that are read again.
#[derive(Debug, Default)]
pub(super) struct LooksAgain {
    /// The messages, each with its delay in seconds.
    pub(super) messages: Vec<(RetryMessage, u16)>,
    /// The requests that they look again for, by their place in the job.
    sent: BTreeSet<usize>,
    /// What the next attempt at a request reads again, by the place of the request.
    with_attempt: BTreeMap<usize, Scope>,
}

/// What waits after an attempt.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The messages for the next attempt.
    pub(super) messages: Vec<RetryMessage>,
    /// Subjects of requests that are not attempted again before the resync.
    pub(super) expired: BTreeSet<Subject>,
    /// Since when permissions have been requested that still wait.
    pub(super) permissions_wait_since: Option<Timestamp>,
}

impl Request {
    /// Whether something of the request still waits.
    fn is_open(&self, waiting: &Scope) -> bool {
        let requested = self.scope.read_requests.get(&self.subject);
        let waiting = waiting.read_requests.get(&self.subject);
        let pair = requested.zip(waiting);
        pair.is_some_and(|(requested, waiting)| {
            let (own, other) = (specific_facets(requested), specific_facets(waiting));
            let all_partitions =
                |request: &ReadRequest| request.facets.contains(&Facet::Partitions);
            let has_values = |request: &ReadRequest| !request.partition_values.is_empty();
            let is_whole = |facets: &BTreeSet<Facet>, request: &ReadRequest| {
                facets.is_empty() && !has_values(request)
            };
            is_whole(&own, requested)
                || is_whole(&other, waiting)
                || !own.is_disjoint(&other)
                || (all_partitions(requested) && has_values(waiting))
                || (all_partitions(waiting) && has_values(requested))
                || !requested
                    .partition_values
                    .is_disjoint(&waiting.partition_values)
        })
    }

    /// Whether permissions of the request wait, so that the next attempt reads them.
    fn has_waiting_permissions(&self, waiting: Option<&Scope>) -> bool {
        let waiting = waiting.filter(|waiting| self.is_open(waiting));
        let part = waiting.and_then(|waiting| waiting.read_requests.get(&self.subject));
        part.is_some_and(|part| part.facets.iter().any(|facet| reads_permissions(*facet)))
    }

    /// Those of the parts of a scope that are about a grant that the request names as revoked.
    fn named_among(&self, parts: &[Scope]) -> Scope {
        let mut named = Scope::default();
        let names = |grant: &PermissionGrant| self.scope.named_revokes.contains_key(grant);
        for part in parts {
            if part.named_revokes.keys().any(names) {
                named.merge(part.clone());
            }
        }
        named
    }

    fn reads_permissions(&self) -> bool {
        let facets = self.scope.read_requests.values();
        let mut facets = facets.flat_map(|request| &request.facets);
        !self.scope.named_revokes.is_empty() || facets.any(|facet| reads_permissions(*facet))
    }
}

fn reads_permissions(facet: Facet) -> bool {
    facet.is_permission() || facet == Facet::Contents
}

/// The requested facets without the definition, which is always read.
fn specific_facets(request: &ReadRequest) -> BTreeSet<Facet> {
    let mut facets = request.facets.clone();
    facets.remove(&Facet::Definition);
    facets
}

/// Groups requests whose deadlines are about the same, the earliest first.
fn by_deadline(mut requests: Vec<&Request>) -> Vec<Vec<&Request>> {
    requests.sort_by_key(|request| request.deadline);
    let mut groups: Vec<Vec<&Request>> = Vec::new();
    for request in requests {
        let is_near = |group: &&mut Vec<&Request>| {
            let first = group.first();
            first.is_some_and(|first| {
                request.deadline <= first.deadline.plus_secs(DEADLINE_TOLERANCE_SECS)
            })
        };
        match groups.last_mut().filter(is_near) {
            Some(group) => group.push(request),
            None => groups.push(vec![request]),
        }
    }
    groups
}

/// Groups requests by what is still to be read again of them.
fn by_looks(requests: Vec<&Request>) -> Vec<Vec<&Request>> {
    let mut groups: BTreeMap<(u8, bool), Vec<&Request>> = BTreeMap::new();
    for request in requests {
        let key = (request.looks_left, request.is_redelivered);
        groups.entry(key).or_default().push(request);
    }
    groups.into_values().collect()
}

/// The looks left as a message stores them.
fn stored_looks(left: u8) -> Option<u8> {
    (left < MAX_LOOKS).then_some(left)
}

/// The message for the next attempt of requests with about the same deadline.
fn message(group: &[&Request], scope: Scope) -> Option<RetryMessage> {
    let deadline = group.iter().map(|request| request.deadline).min()?;
    let attempt = group.iter().map(|request| request.attempt).max()?;
    let looks_left = group.iter().map(|request| request.looks_left).max()?;
    Some(RetryMessage {
        attempt: attempt + 1,
        looks_left: stored_looks(looks_left),
        is_redelivered: group.iter().any(|request| request.is_redelivered),
        ..RetryMessage::new(scope, deadline)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlake_core::{LfSubject, Name, TableId};

    #[test]
    fn tables_of_one_database_share_a_job_unless_partitions_are_listed() {
        let id = |database: &str, table: &str| {
            TableId::new(Name::new(database).unwrap(), Name::new(table).unwrap())
        };
        let jobs_of = |facet: Facet, tables: &[(&str, &str)]| -> Vec<usize> {
            let mut jobs = Vec::new();
            for (database, name) in tables {
                let mut scope = Scope::default();
                let subject = Subject::Table(id(database, name));
                scope.add(
                    subject.clone(),
                    ReadRequest::for_facets(&[Facet::Definition, facet]),
                );
                let request = Request {
                    subject,
                    scope,
                    attempt: 0,
                    deadline: Timestamp::from_millis(0),
                    is_event: true,
                    is_redelivered: false,
                    looks_left: MAX_LOOKS,
                };
                add_request(&mut jobs, request, name);
            }
            jobs.iter().map(|job| job.requests.len()).collect()
        };
        let in_one = [("a", "x"), ("a", "y"), ("a", "z")];
        assert_eq!(jobs_of(Facet::Grants, &in_one), [3]);
        assert_eq!(jobs_of(Facet::Partitions, &in_one), [1, 1, 1]);
        assert_eq!(jobs_of(Facet::Grants, &[("a", "x"), ("b", "x")]), [1, 1]);
    }

    #[test]
    fn what_was_in_a_dead_letter_queue_was_delivered_before_whoever_sends_it_back() {
        let event_context = EventContext {
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            ..EventContext::default()
        };
        let event = serde_json::json!({
            "source": "aws.glue", "detail-type": "Glue Data Catalog Table State Change",
            "region": "us-east-1", "account": "111122223333", "time": "1970-01-01T01:00:00Z",
            "detail": {"databaseName": "sales", "typeOfChange": "UpdateTable", "tableName": "orders"},
        });
        let table = TableId::new(Name::new("a").unwrap(), Name::new("x").unwrap());
        let retry = RetryMessage {
            attempt: 3,
            ..RetryMessage::new(Scope::table(table), Timestamp::from_secs(3600))
        };
        for body in [event.to_string(), retry.body()] {
            let look_again = |secs: i64, is_redelivered: bool| {
                let message = QueueMessage {
                    id: "1".to_owned(),
                    body: body.clone().into_bytes(),
                    is_redelivered,
                };
                let now = Timestamp::from_secs(secs);
                let parsed = merge_into_jobs(&[message], &event_context, now);
                let [job] = parsed.jobs.as_slice() else {
                    panic!("{parsed:?}");
                };
                let looks = job.look_again(&Scope::default(), None, now);
                looks.messages.len()
            };
            assert_eq!(
                (look_again(3600, false), look_again(7200, false)),
                (0, 0),
                "{body}"
            );
            assert_eq!(
                (look_again(3600, true), look_again(7201, false)),
                (1, 1),
                "{body}"
            );
        }
    }

    #[test]
    fn the_heartbeat_and_whole_databases_do_not_wait_for_others() {
        let name = |text: &str| Name::new(text).unwrap();
        let table =
            |database: &str, table: &str| Scope::table(TableId::new(name(database), name(table)));
        let lf_tags = Subject::LakeFormation(LfSubject::LfTags);
        let mut of_lf_tags = Scope::default();
        of_lf_tags.add(lf_tags, ReadRequest::for_facets(LfSubject::LfTags.facets()));
        let whole = Scope::database(name("whole"));
        let heartbeat = table("twinlake_heartbeat", "heartbeat");
        let is_heartbeat =
            |subject: &Subject| matches!(subject, Subject::Table(id) if heartbeat::is_table(id));
        assert!(heartbeat.read_requests.keys().all(is_heartbeat));
        let mut jobs = Vec::new();
        for scope in [
            table("a", "x"),
            table("b", "y"),
            heartbeat,
            whole,
            of_lf_tags,
        ] {
            let request = Request {
                subject: scope.read_requests.keys().next().unwrap().clone(),
                scope,
                attempt: 0,
                deadline: Timestamp::from_millis(0),
                is_event: true,
                is_redelivered: false,
                looks_left: MAX_LOOKS,
            };
            add_request(&mut jobs, request, "1");
        }
        let mut sizes: Vec<usize> = jobs.iter().map(|job| job.requests.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 1, 3], "both tables rest on the LF-Tags");
        let waves = into_waves(jobs);
        let sizes: Vec<usize> = waves.iter().map(Vec::len).collect();
        assert_eq!(
            sizes,
            [2, 1],
            "whatever is in the job of the LF-Tags waits for the others"
        );
    }
}
