"""Questions about EventBridge, and about the events that Glue and Lake Formation send there."""

import itertools
import json

from live.question import DENIED, OK, NotRun, by_value, question, right, wrong
from live.run import table_input

DATABASE_CHANGE = "Glue Data Catalog Database State Change"
TABLE_CHANGE = "Glue Data Catalog Table State Change"


def capture(run, pattern, state="ENABLED", bus="default", region=None):
    """Makes a rule whose events go to a queue. Returns a function that returns the events so far."""
    url, arn = run.queue(region)
    region = region or run.region
    sqs, events, name = run.client("sqs", region), run.client("events", region), run.name("-")
    run.must(sqs.set_queue_attributes, QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn}]})})
    run.record("rule", name, region, bus=bus)
    run.must(events.put_rule, Name=name, EventBusName=bus, EventPattern=json.dumps(pattern), State=state)
    put = run.must(events.put_targets, Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    if put.get("FailedEntryCount"):
        raise NotRun("the queue could not be made the target of a rule")
    received = []

    def receive():
        while True:
            messages = run.must(sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
            received.extend(json.loads(message["Body"]) for message in messages)
            if not messages:
                return received
    return receive


def glue_events(run, act, is_complete, seconds=300):
    """The events of Glue about a new database. `act` is repeated until they are complete, since a new rule needs time
    and Glue's events are best effort. Raises NotRun if they stay incomplete."""
    database, rounds = run.database(), itertools.count()
    receive = capture(run, {"source": ["aws.glue"], "detail": {"databaseName": [database]}})

    def check():
        events = receive()
        if is_complete(events):
            return events
        act(database, f"t{next(rounds)}")
        return None
    found = run.wait(check, seconds)
    if not found:
        raise NotRun(f"Glue's events did not arrive in {seconds} s: {sorted(kinds(receive()))}")
    return found


def kinds(events):
    return {(event["detail"].get("typeOfChange"), event["detail-type"]) for event in events}


def types_of(events, change):
    return sorted(detail_type for kind, detail_type in kinds(events) if kind == change)


@question(
    "EV-02", "Under which detail-types do CreateTable and UpdateTable arrive?", minutes=5,
    answers={
        "documented": right("accepted under either: crates/core/src/event/glue_catalog.rs"),
        "all-table-changes": right("accepted under either: crates/core/src/event/glue_catalog.rs"),
        "all-database-changes": right("accepted under either: crates/core/src/event/glue_catalog.rs"),
    },
    judge=lambda e: {(DATABASE_CHANGE, TABLE_CHANGE): "documented", (TABLE_CHANGE, TABLE_CHANGE): "all-table-changes",
                     (DATABASE_CHANGE, DATABASE_CHANGE): "all-database-changes"}.get(
        tuple(e["create"] + e["update"])))
def types_of_table_events(run):
    def act(database, name):
        run.table(database, name)
        run.must(run.client("glue").update_table, DatabaseName=database, TableInput=table_input(name, Description="d"))
    events = glue_events(
        run, act, lambda found: types_of(found, "CreateTable") and types_of(found, "UpdateTable"))
    return {"create": types_of(events, "CreateTable"), "update": types_of(events, "UpdateTable")}


@question(
    "EV-03", "Do the events of partitions and tables list what changed?", minutes=5,
    answers={
        "as-text": right("the text is not parsed; the table is read: crates/core/src/event/glue_catalog.rs"),
        "as-list": right("the table is read: crates/core/src/event/glue_catalog.rs"),
        "absent": right("the table is read: crates/core/src/event/glue_catalog.rs"),
    },
    judge=by_value("changed", {"text": "as-text", "list": "as-list", "absent": "absent"}))
def changed_partitions(run):
    def act(database, name):
        run.table(database, name, PartitionKeys=[{"Name": "k", "Type": "string"}])
        run.must(run.client("glue").batch_create_partition, DatabaseName=database, TableName=name,
                 PartitionInputList=[{"Values": ["v"], "StorageDescriptor": {"Columns": []}}])

    def partition_events(found):
        return [e for e in found if "Partition" in str(e["detail"].get("typeOfChange"))]
    value = partition_events(glue_events(run, act, partition_events))[0]["detail"].get("changedPartitions")
    if isinstance(value, list):
        # A list of display texts, or of values.
        return {"changed": "text" if value and all(isinstance(one, str) for one in value) else "list"}
    return {"changed": "absent" if value is None else "text" if isinstance(value, str) else "other"}


@question(
    "EV-04", "Does Glue send an event for UpdateDatabase?", minutes=5,
    answers={
        "none": right("CloudTrail's record is forwarded: ForwardCatalogApiCallsRule of template.yaml"),
        "sent": right("CloudTrail's record is not needed"),
    },
    judge=by_value("update", {False: "none", True: "sent"}))
def event_of_a_changed_database(run):
    def act(database, name):
        run.must(run.client("glue").update_database, Name=database, DatabaseInput={
            "Name": database, "Description": name, "CreateTableDefaultPermissions": []})
        run.table(database, name)
    # Two tables made after two updates: an event of the first update would be there.
    events = glue_events(run, act, lambda found: sum(
        event["detail"].get("typeOfChange") == "CreateTable" for event in found) > 1)
    return {"update": bool(types_of(events, "UpdateDatabase"))}


def has_trail(run):
    """Whether a trail logs in the primary."""
    client = run.client("cloudtrail")
    trails = run.must(client.describe_trails, includeShadowTrails=True)["trailList"]
    statuses = [run.attempt(client.get_trail_status, may_be_denied=True, Name=trail["TrailARN"]) for trail in trails]
    return any(status.get("response", {}).get("IsLogging") for status in statuses)


@question(
    "EV-05", "Do records of Lake Formation's calls reach EventBridge, and does it take a trail?", minutes=20,
    answers={
        "with-trail": right("template.yaml forwards them; a trail is a requirement"),
        "not-without-trail": right("a trail is a requirement: docs/deploy.md"),
        "without-trail-too": right("a trail is not needed for events"),
    },
    judge=lambda e: {(True, True): "with-trail", (False, False): "not-without-trail",
                     (False, True): "without-trail-too"}.get((e["trail"], e["arrived"])))
def records_on_the_bus(run):
    trail = has_trail(run)
    receive = capture(run, {"source": ["aws.lakeformation"], "detail": {"eventName": ["CreateLFTag"]}})
    rounds = itertools.count()

    def check():
        if receive():
            return True
        if next(rounds) % 6 == 0:
            # Once a minute, so that few LF-Tags are made.
            run.lf_tag()
        return False
    arrived = bool(run.wait(check, 1200))
    if trail and not arrived:
        raise NotRun("no record arrived in time, which CloudTrail does not bound")
    return {"trail": trail, "arrived": arrived}


@question(
    "EV-06", "Which state of a rule receives the records of calls that read?", minutes=20,
    answers={
        "only-with-all-management-events": right("the rules for reads in template.yaml have that state"),
        "either": right("that state is not needed"),
    },
    judge=by_value("plain", {False: "only-with-all-management-events", True: "either"}))
def records_of_reads(run):
    pattern = {"source": ["aws.lakeformation"], "detail": {"eventName": ["GetLFTag"]}}
    plain = capture(run, pattern)
    every = capture(run, pattern, state="ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS")
    key = run.lf_tag()

    def check():
        if every():
            return True
        run.must(run.client("lakeformation").get_lf_tag, TagKey=key)
        return False
    if not run.wait(check, 1200):
        raise NotRun("no record of a read arrived: no trail logs reads, or it is late")
    return {"plain": bool(plain())}


def bus_with_denial(run, region, condition):
    """Makes a bus on which putting events is denied under a condition, and returns its name and ARN."""
    name, events = run.name("-"), run.client("events", region)
    run.record("event-bus", name, region)
    arn = run.must(events.create_event_bus, Name=name)["EventBusArn"]
    statements = [{"Sid": "allow", "Effect": "Allow", "Principal": {"AWS": run.account},
                   "Action": "events:PutEvents", "Resource": arn},
                  {"Sid": "deny", "Effect": "Deny", "Principal": "*", "Action": "events:PutEvents", "Resource": arn,
                   "Condition": condition}]
    run.must(events.put_permission, EventBusName=name, Policy=json.dumps(
        {"Version": "2012-10-17", "Statement": statements}))
    return name, arn


def other_sources(source):
    return {"ForAnyValue:StringNotEquals": {"events:source": source}}


def put_event(run, bus, source, region=None):
    done = run.attempt(run.client("events", region).put_events, may_be_denied=True, Entries=[
        {"EventBusName": bus, "Source": source, "DetailType": "live", "Detail": json.dumps({"run": run.prefix})}])
    if done["code"] in DENIED:
        return "denied"
    if done["code"] != OK:
        return done["code"]
    failed = [entry["ErrorCode"] for entry in done["response"]["Entries"] if entry.get("ErrorCode")]
    return "accepted" if not failed else "denied" if "Denied" in failed[0] else failed[0]


@question(
    "D-4", "Does a policy of an event bus deny PutEvents by the source of an event?",
    answers={
        "denied": right("the statements about the source `twinlake` hold: template.yaml"),
        "not-evaluated": wrong("anybody with PutEvents may send events as Twinlake: template.yaml must allow by role"),
    },
    judge=lambda e: {("accepted", "denied"): "denied", ("accepted", "accepted"): "not-evaluated"}.get(
        (e["allowed_source"], e["other_source"])))
def source_in_a_bus_policy(run):
    bus, _ = bus_with_denial(run, run.region, other_sources("twinlake-live"))
    run.wait(lambda: put_event(run, bus, "other") == "denied", 60)
    return {"allowed_source": put_event(run, bus, "twinlake-live"), "other_source": put_event(run, bus, "other")}


def forward(run, bus_arn, pattern, bus):
    """Makes a rule of the primary that forwards events to a bus of the standby. Returns the answer of PutTargets."""
    events, name = run.client("events"), run.name("-")
    run.record("rule", name, bus=bus)
    run.must(events.put_rule, Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))
    done = run.attempt(events.put_targets, may_be_denied=True, Rule=name, EventBusName=bus, Targets=[
        {"Id": "peer", "Arn": bus_arn, "RoleArn": run.options.events_role}])
    failed = done.get("response", {}).get("FailedEntries") or [{}]
    return failed[0].get("ErrorCode") or done["code"]


@question(
    "D-1", "May a rule have a target bus in the other Region that does not exist?", needs=["events_role"],
    answers={
        "refused": right("`make deploy` makes the buses first: stacks/deploy.py"),
        "accepted": right("the order of stacks/deploy.py is not needed, but events before the bus exists are lost"),
    },
    judge=lambda e: {OK: "accepted", "ResourceNotFoundException": "refused", "AccessDeniedException": "refused",
                     "ValidationException": "refused"}.get(e["put"]))
def missing_target_bus(run):
    bus = run.name("-")
    run.record("event-bus", bus)
    run.must(run.client("events").create_event_bus, Name=bus)
    missing = f"arn:aws:events:{run.peer}:{run.account}:event-bus/{run.name('-')}"
    return {"put": forward(run, missing, {"source": ["twinlake-live"]}, bus)}


def forwarded(run, condition):
    """Forwards an event to a bus of the standby. Returns what arrives there."""
    _, arn = bus_with_denial(run, run.peer, condition)
    bus = arn.rsplit("/", 1)[1]
    receive = capture(run, {"detail": {"run": [run.prefix]}}, bus=bus, region=run.peer)
    first = run.name("-")
    run.record("event-bus", first)
    run.must(run.client("events").create_event_bus, Name=first)
    put = forward(run, arn, {"detail": {"run": [run.prefix]}}, first)
    if put != OK:
        raise NotRun(f"the rule that forwards could not be made: {put}")

    def check():
        if receive():
            return True
        put_event(run, first, "twinlake-live")
        return False
    run.wait(check, 120)
    return receive()


@question(
    "EV-08", "Which Region does a forwarded event name?", needs=["events_role"], minutes=2,
    answers={
        "its-own": right("the rules on the bus match the peer's Region: template.yaml"),
        "of-the-bus": wrong("the rules on the bus match nothing: template.yaml"),
    },
    judge=by_value("region", {"source": "its-own", "bus": "of-the-bus"}))
def region_of_a_forwarded_event(run):
    events = forwarded(run, {"StringEquals": {"aws:PrincipalAccount": "000000000000"}})
    if not events:
        raise NotRun("no event was forwarded; EVENTS_ROLE may lack PutEvents on the buses of the run")
    return {"region": {run.region: "source", run.peer: "bus"}.get(events[0]["region"], "other")}


@question(
    "D-4-forwarded", "Does a policy of an event bus deny events by their source that a rule forwards?", entry="D-4",
    needs=["events_role"], minutes=4,
    answers={
        "denied": right("the statements hold for forwarded events: template.yaml"),
        "not-evaluated": right("the statements are right if it is not: template.yaml"),
    },
    judge=lambda e: {(True, False): "denied", (True, True): "not-evaluated"}.get((e["allowed"], e["denied"])))
def source_of_a_forwarded_event(run):
    allowed = bool(forwarded(run, other_sources("twinlake-live")))
    if not allowed:
        raise NotRun("no event was forwarded; EVENTS_ROLE may lack PutEvents on the buses of the run")
    return {"allowed": allowed, "denied": bool(forwarded(run, other_sources("other")))}
