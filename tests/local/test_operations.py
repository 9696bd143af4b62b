"""Alerts, metrics, logs, status and report of a deployment, as operators get them. Alerts are
received from queues that are subscribed to the topic with a filter policy."""

import json
import re
import time

import pytest

from stack import ACCOUNT, BUCKETS, PRIMARY, ROOT, STANDBY, wait_for
from test_end_to_end import table_input, wait_until_identical

# Of the deployment in stack.py.
HEARTBEAT_INTERVAL_SECS = 2
LAG_THRESHOLD_SECS = 6
OPERATION = f"""
[lag-alert-seconds]
catalog = {LAG_THRESHOLD_SECS}
permissions = {LAG_THRESHOLD_SECS}
"""
# The options of a command that only reads the ledger.
READ_STANDBY = ("--region", STANDBY)


@pytest.fixture(scope="module")
def seeded(deployment):
    """A deployment with two replicated tables and low lag thresholds."""
    operation_file = deployment.home / "operation.toml"
    operation_file.write_text(OPERATION)
    deployment.twinlake("policy", "push", str(deployment.policy_file),
                        "--operation", str(operation_file))
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
    for name in ("orders", "items"):
        glue.create_table(DatabaseName="sales", TableInput=table_input(name))
    wait_until_identical(deployment)
    deployment.resync()
    return deployment


def status(seeded, *names):
    """Returns the output of `twinlake status --json`: the status, or the rows of one name."""
    return json.loads(seeded.twinlake("status", "--json", *names, *READ_STANDBY).stdout)


def alerts_in(messages):
    return [json.loads(message["Message"]) for message in messages]


def event(name, **detail):
    """Returns an event of events/, with changes of its detail."""
    found = json.loads((ROOT / f"events/{name}.json").read_text())
    return {**found, "detail": {**found["detail"], **detail}}


def run_heartbeat_and_monitor(seeded):
    """Invokes the functions that the schedules run in each interval, in both Regions."""
    for region in (PRIMARY, STANDBY):
        seeded.invoke(region, "Heartbeat")
        seeded.invoke(region, "Monitor")


def lag(seeded):
    """Returns the lag of each channel of events in seconds."""
    channels = status(seeded)["lag"]
    return {name: channels[name]["seconds"] for name in ("catalog", "permissions")}


def wait_with_heartbeats(seeded, description, check):
    """Waits until `check` is true, and runs the heartbeat and the monitor before each check."""
    def run_and_check():
        run_heartbeat_and_monitor(seeded)
        return check()
    return wait_for(description, run_and_check, every=0.5)


def is_within_threshold(seeded):
    return all(seconds < LAG_THRESHOLD_SECS for seconds in lag(seeded).values())


def set_rule_enabled(seeded, region, logical_name, is_enabled):
    name = seeded.physical_name(region, logical_name)
    events = seeded.client("events", region)
    (events.enable_rule if is_enabled else events.disable_rule)(Name=name)


def test_lag_is_measured_and_alerts_are_sent_for_each_channel(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["lagging", "channel-stalled"]})
    wait_with_heartbeats(seeded, "both channels deliver heartbeats",
                         lambda: is_within_threshold(seeded))
    assert receive() == []

    # The measured lag is the delay of the channel, plus at most one heartbeat interval.
    for source, delayed, other in [("glue", "catalog", "permissions"),
                                   ("cloudtrail", "permissions", "catalog")]:
        seeded.control_sandbox("event-delivery", source=source, delay_milliseconds=3000)
        measured = wait_with_heartbeats(
            seeded, "the lag includes the delay",
            lambda: (now := lag(seeded))[delayed] >= 3 and now)
        assert measured[delayed] <= 3 + HEARTBEAT_INTERVAL_SECS and measured[other] < 3, measured
        seeded.control_sandbox("event-delivery")
        wait_with_heartbeats(seeded, "the lag is low again", lambda: lag(seeded)[delayed] < 3)
        assert receive() == []

    # A rule of the primary's default event bus is disabled.
    set_rule_enabled(seeded, PRIMARY, "ForwardGlueEventsRule", False)
    (first,) = alerts_in(wait_with_heartbeats(seeded, "the alert arrives", receive))
    assert (first["kind"], first["subject"]) == ("lagging", "channel catalog")
    assert lag(seeded)["permissions"] < LAG_THRESHOLD_SECS
    set_rule_enabled(seeded, PRIMARY, "ForwardGlueEventsRule", True)
    resolved = alerts_in(wait_with_heartbeats(seeded, "the alert is resolved", receive))
    assert [(a["state"], a["subject"]) for a in resolved if a["kind"] == "lagging"] == [
        ("resolved", "channel catalog")]
    assert {a["key"] for a in resolved if a["kind"] == "lagging"} == {first["key"]}

    # CloudTrail delivers no events.
    seeded.control_sandbox("event-delivery", source="cloudtrail", enabled=False)
    (second,) = alerts_in(wait_with_heartbeats(seeded, "the alert arrives", receive))
    assert (second["kind"], second["subject"]) == ("lagging", "channel permissions")
    assert lag(seeded)["catalog"] < LAG_THRESHOLD_SECS
    seeded.control_sandbox("event-delivery")
    wait_with_heartbeats(seeded, "the alert is resolved", lambda: [
        a for a in alerts_in(receive()) if (a["state"], a["key"]) == ("resolved", second["key"])])


def test_a_missing_heartbeat_causes_an_alert_for_each_channel(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["channel-stalled"]})
    wait_with_heartbeats(seeded, "both channels deliver heartbeats",
                         lambda: is_within_threshold(seeded))
    received = []

    def subjects_by_key(state):
        received.extend(alerts_in(receive()))
        return {a["key"]: a["subject"] for a in received if a["state"] == state}

    def has_two_alerts():
        seeded.invoke(STANDBY, "Monitor")
        return len(subjects_by_key("new")) == 2

    wait_for("both alerts arrive", has_two_alerts, every=0.5)
    assert sorted(subjects_by_key("new").values()) == ["channel catalog", "channel permissions"]
    assert all("4 times its threshold or more" in a["summary"] for a in received)
    wait_with_heartbeats(seeded, "both alerts are resolved",
                         lambda: subjects_by_key("resolved") == subjects_by_key("new"))
    assert len(received) == 4, "one message for each alert and each resolution"


def test_objects_that_s3_failed_to_replicate_are_pending_until_they_arrive(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["replication-failed"], "database": ["sales"]})
    s3, standby_s3 = seeded.client("s3", PRIMARY), seeded.client("s3", STANDBY)

    def set_standby_versioning(state):
        standby_s3.put_bucket_versioning(
            Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": state})

    key = "sales/orders/dt=2026-11-20/part 0.parquet"
    set_standby_versioning("Suspended")
    s3.put_object(Bucket=BUCKETS[PRIMARY], Key=key, Body=b"x")
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    set_standby_versioning("Enabled")
    assert alert["subject"] == "table sales.orders: DstBucketUnversioned"
    assert alert["action"].startswith("Enable versioning on the destination bucket")
    assert alert["samples"] == [f"s3://{BUCKETS[PRIMARY]}/{key}"]
    (row,) = status(seeded, "sales.orders")
    assert row["state"] == "data-pending" and "1 object has not arrived" in row["reason"]

    # Ten thousand notifications: at most three messages, and every object is counted.
    sqs = seeded.client("sqs", PRIMARY)
    queue_url = seeded.queue_url(PRIMARY, "ReplicationQueue")
    kms = ROOT / "events/s3-Replication-OperationFailedReplication-kms.json"
    record = json.loads(kms.read_text())["Records"][0]
    record["s3"]["bucket"]["name"] = BUCKETS[PRIMARY]
    record["replicationEventData"]["destinationBucket"] = f"arn:aws:s3:::{BUCKETS[STANDBY]}"

    def record_of(number):
        s3_part = {**record["s3"], "object": {**record["s3"]["object"],
                                              "key": f"sales/items/{number}"}}
        return {**record, "s3": s3_part}
    for batch in range(100):
        body = json.dumps({"Records": [record_of(batch * 100 + n) for n in range(100)]})
        sqs.send_message(QueueUrl=queue_url, MessageBody=body)

    def reported_objects():
        return sum(a["total"] for a in status(seeded)["open"]
                   if a["subject"].startswith("table sales.items"))

    wait_for("all ten thousand are counted", lambda: reported_objects() == 10_000,
             every=1)
    messages = alerts_in(receive())
    assert 1 <= len(messages) <= 3 and len({a["key"] for a in messages}) == 1, messages
    pending = {p["table"]: p["count"] for p in status(seeded)["data_pending"]}
    assert pending == {"sales.orders": 1, "sales.items": 10_000}

    # The object is copied again, as S3 Batch Replication does it.
    s3.put_object(Bucket=BUCKETS[PRIMARY], Key=key, Body=b"x")
    resolved = []

    def recheck_pending_objects():
        seeded.invoke(STANDBY, "ReplicationEvent")
        resolved.extend(alerts_in(receive()))
        return resolved

    wait_for("the alert is resolved", recheck_pending_objects)
    assert [(a["state"], a["key"]) for a in resolved] == [("resolved", alert["key"])]
    (row,) = status(seeded, "sales.orders")
    assert row["state"] == "in-sync"
    # The other objects never arrive, so they are dismissed.
    text = seeded.twinlake("status", "sales.items", *READ_STANDBY).stdout
    assert "10000 objects have not arrived" in text, text
    assert text.count(f"s3://{BUCKETS[STANDBY]}/sales/items/") == 20, text
    done = seeded.twinlake("pending", "dismiss", "sales.items", "sales.orders", *READ_STANDBY)
    assert "Dismissed the pending objects of sales.items: 10000 objects" in done.stdout, done.stdout
    assert "No objects of sales.orders are pending" in done.stdout
    assert status(seeded)["data_pending"] == []


def test_an_out_of_band_change_in_the_standby_is_reported_and_reverted(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["drift"], "database": ["sales"]})
    standby_glue = seeded.client("glue", STANDBY)

    def standby_items():
        return standby_glue.get_table(DatabaseName="sales", Name="items")["Table"]

    expected = standby_items()["StorageDescriptor"]
    standby_glue.update_table(
        DatabaseName="sales", TableInput=table_input("items", Description="mine"))
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    assert "changed table sales.items in the standby by UpdateTable" in alert["summary"]
    wait_until_identical(seeded)
    standby_glue.update_table(
        DatabaseName="sales", TableInput=table_input("items", Description="again"))
    wait_until_identical(seeded)
    wait_for("both changes are counted", lambda: any(
        a["key"] == alert["key"] and a["total"] >= 2 for a in status(seeded)["open"]))
    assert receive() == [], "one message for both changes"
    items = standby_items()
    assert items["StorageDescriptor"] == expected and "Description" not in items
    resolved = []

    def resync_resolves():
        seeded.resync()
        resolved.extend(a for a in alerts_in(receive()) if a["state"] == "resolved")
        return resolved

    wait_for("the alert is resolved", resync_resolves)
    assert resolved[0]["key"] == alert["key"]

    def is_in_sync():
        return status(seeded, "sales.items")[0]["state"] == "in-sync"

    # A function that met the resync at this table leaves it to its retry, or to the next resync.
    wait_for("the table is in sync", lambda: is_in_sync() or (seeded.resync(), is_in_sync())[1],
             detail=lambda: status(seeded, "sales.items"))
    text = seeded.twinlake("status", "sales.items", *READ_STANDBY).stdout
    assert text.startswith("in-sync      table sales.items since "), text
    assert "its files are at s3://" in text and "Z in-sync" in text, text


def test_an_alert_of_the_primary_is_listed_in_the_status_of_the_standby(seeded):
    receive = seeded.subscribe(PRIMARY, {"kind": ["job-failed"]})
    seeded.put_event(PRIMARY, event("glue-job-FAILED"))
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    listed = wait_for("the standby lists the alert", lambda: [
        a for a in status(seeded)["open"] if a["key"] == alert["key"]])
    assert listed[0]["region"] == PRIMARY
    seeded.put_event(PRIMARY, event("glue-job-FAILED", state="SUCCEEDED"))
    wait_for("the standby no longer lists it", lambda: alert["key"] not in {
        a["key"] for a in status(seeded)["open"]})
    assert [a["state"] for a in alerts_in(receive())] == ["resolved"]


def test_an_alert_about_a_denied_call_is_resolved_when_it_does_not_occur_again(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["user-access-denied"]})
    # Every error of GetDataAccess counts as a denial, not only those that AccessDeniedRule matches.
    for _ in range(2):
        seeded.put_event(STANDBY, event(
            "ct-lakeformation-GetDataAccess-denied", errorCode="InvalidInputException"))
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    resolved = []

    def monitor_resolves():
        seeded.invoke(STANDBY, "Monitor")
        resolved.extend(alerts_in(receive()))
        return resolved

    wait_for("the alert is resolved", monitor_resolves)
    assert [(a["state"], a["key"]) for a in resolved] == [("resolved", alert["key"])]
    assert resolved[0]["current_state"].startswith("It has not occurred again since")


def test_held_deletions_cause_an_alert_until_they_are_approved(seeded):
    glue = seeded.client("glue", PRIMARY)
    receive = seeded.subscribe(STANDBY, {"kind": ["deletions-held"]})
    glue.create_database(DatabaseInput={"Name": "gone", "CreateTableDefaultPermissions": []})
    for number in range(12):
        glue.create_table(DatabaseName="gone", TableInput=table_input(f"t{number}", "gone"))
    glue.create_table(DatabaseName="gone", TableInput=table_input("stays", "gone"))
    wait_until_identical(seeded)
    seeded.resync()
    seeded.control_sandbox("event-delivery", enabled=False)
    for number in range(12):
        glue.delete_table(DatabaseName="gone", Name=f"t{number}")
    seeded.control_sandbox("event-delivery")
    seeded.resync()
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    assert alert["severity"] == "page" and "Deletions exceed the deletion limit" in alert["summary"]
    seeded.resync()
    assert receive() == [], "one message for repeated resyncs"
    done = seeded.twinlake("status", *READ_STANDBY)
    assert done.returncode == 2 and "page   deletions-held" in done.stdout, done.stdout
    states = [line.split()[0] for line in done.stdout.splitlines()]
    assert "on-hold" in states and "in-sync" not in states, done.stdout
    seeded.twinlake("approve-deletions", "--yes", "--region", STANDBY, "--caller-arn",
                    f"arn:aws:iam::{ACCOUNT}:role/twinlake/local")
    seeded.resync()
    resolved = alerts_in(wait_for("the alert is resolved", receive))
    assert [(a["state"], a["key"]) for a in resolved] == [("resolved", alert["key"])]
    wait_until_identical(seeded)


def test_dead_letters_cause_an_alert_and_are_redriven(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["dead-letters", "read-failed"]})
    sqs = seeded.client("sqs", STANDBY)
    sqs.send_message(
        QueueUrl=seeded.queue_url(STANDBY, "CatalogQueue"), MessageBody="poison \u202e")
    (read_failed,) = alerts_in(wait_for("the alert about the message arrives", receive))
    assert read_failed["kind"] == "read-failed"
    assert "could not be understood" in read_failed["summary"]
    # An event that was never handled, in the dead-letter queue; its table is out of sync.
    seeded.control_sandbox("event-delivery", enabled=False)
    seeded.client("glue", PRIMARY).update_table(
        DatabaseName="sales", TableInput=table_input("items", Description="changed"))
    seeded.control_sandbox("event-delivery")
    failed = {**event("glue-native-table-UpdateTable", databaseName="sales", tableName="items"),
              "region": PRIMARY, "account": ACCOUNT}
    dead_letter_url = seeded.queue_url(STANDBY, "CatalogDeadLetterQueue")
    sqs.send_message(QueueUrl=dead_letter_url, MessageBody=json.dumps(failed))
    # Lambda's record of a failed scheduled run.
    sqs.send_message(QueueUrl=dead_letter_url, MessageBody="{\"requestPayload\": {}}")
    received = []

    def received_alerts(kind, state):
        seeded.invoke(STANDBY, "Monitor")
        received.extend(alerts_in(receive()))
        return [a for a in received if (a["kind"], a["state"]) == (kind, state)]

    (dead_letters,) = wait_for(
        "the alert about the dead letters arrives", lambda: received_alerts("dead-letters", "new"))
    assert dead_letters["subject"] == "dead letters of Catalog"
    assert any("table sales.items" in sample for sample in dead_letters["samples"]), dead_letters
    done = seeded.twinlake("redrive", "Catalog", "--yes", *READ_STANDBY)
    assert done.returncode == 0 and "table sales.items" in done.stdout, done.stdout + done.stderr
    assert re.search(rf"{STANDBY} Catalog: \d+ messages", done.stdout), done.stdout
    assert "deleted, because the schedule runs the function again" in done.stdout
    wait_until_identical(seeded)
    for alert in (dead_letters, read_failed):
        (resolved,) = wait_for(f"the alert {alert['key']} is resolved",
                               lambda: received_alerts(alert["kind"], "resolved"))
        assert resolved["key"] == alert["key"]


def test_every_function_reports_messages_that_cannot_be_parsed(seeded):
    """Delivering such a message again cannot help, so it is deleted and an alert is sent."""
    receive = seeded.subscribe(STANDBY, {"kind": ["read-failed"]})
    sqs = seeded.client("sqs", STANDBY)

    def reported_messages():
        found = [a for a in status(seeded)["open"] if a["subject"] == "an event"]
        return found[0]["total"] if found else 0
    for queue in ("PermissionQueue", "OperationsQueue", "ReplicationQueue", "ResyncQueue"):
        before = reported_messages()
        sqs.send_message(QueueUrl=seeded.queue_url(STANDBY, queue), MessageBody="poison")
        wait_for(f"the message in {queue} is counted", lambda: reported_messages() > before)
    # A notification with one known and one unknown record: the known one is handled.
    known = json.loads((ROOT / "events/s3-Replication-OperationMissedThreshold.json").read_text())
    unknown = {**known["Records"][0], "eventName": "ObjectCreated:Put"}
    receive_late = seeded.subscribe(STANDBY, {"kind": ["replication-late"]})
    body = json.dumps({"Records": [unknown, *known["Records"]]})
    # In the envelope in which SNS sends it to a queue.
    wrapped = json.dumps({"Type": "Notification", "Message": body})
    before = reported_messages()
    sqs.send_message(QueueUrl=seeded.queue_url(STANDBY, "ReplicationQueue"), MessageBody=wrapped)
    wait_for("the alert about the known record arrives", receive_late)
    wait_for("the unknown record is counted", lambda: reported_messages() > before)
    wait_for("the queues are empty", seeded.has_empty_queues)
    assert len(alerts_in(receive())) == 1, "one message for all of them"


def test_different_policies_cause_an_alert_without_any_event(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["policy-unusable"]})
    dynamodb = seeded.client("dynamodb", PRIMARY)
    (item,) = [i for i in dynamodb.scan(TableName="twinlake-ledger")["Items"]
               if (i["pk"]["S"], i["sk"]["S"]) == ("meta", "policy")]
    other = {**item, "value": {"S": "exclude = [\"other\"]\n" + item["value"]["S"]}}
    dynamodb.put_item(TableName="twinlake-ledger", Item=other)
    received = []

    def received_alerts(state):
        seeded.invoke(STANDBY, "Monitor")
        received.extend(alerts_in(receive()))
        return [a for a in received if a["state"] == state]

    (alert,) = wait_for("the alert arrives", lambda: received_alerts("new"))
    assert "the two Regions hold different policies" in alert["summary"]
    dynamodb.put_item(TableName="twinlake-ledger", Item=item)
    (resolved,) = wait_for("the alert is resolved", lambda: received_alerts("resolved"))
    assert resolved["key"] == alert["key"]


def test_status_lists_lakeformation_subjects_outside_databases(seeded):
    primary_lf, standby_lf = (seeded.client("lakeformation", r) for r in (PRIMARY, STANDBY))
    # Both Regions have a named expression of the same name and with different values.
    for lf, value in ((standby_lf, "standby"), (primary_lf, "primary")):
        lf.create_lf_tag(TagKey="team", TagValues=["standby", "primary"])
        lf.create_lf_tag_expression(
            Name="mine", Expression=[{"TagKey": "team", "TagValues": [value]}])
    wait_for("the queues are empty", seeded.has_empty_queues)

    def blocked_rows():
        return [r for r in status(seeded)["rows"]
                if "LF-Tag" in str(r.get("reason")) or r["state"] == "blocked"]

    (row,) = wait_for("status lists the difference", blocked_rows)
    done = seeded.twinlake("status", *READ_STANDBY)
    assert done.returncode == 2 and "LF-Tag expressions since" in done.stdout, (row, done.stdout)
    standby_lf.delete_lf_tag_expression(Name="mine")
    seeded.resync()
    wait_until_identical(seeded)
    assert blocked_rows() == []


def test_events_that_were_not_forwarded_are_redriven_to_the_standby(seeded):
    seeded.control_sandbox("event-delivery", enabled=False)
    seeded.client("glue", PRIMARY).update_table(
        DatabaseName="sales", TableInput=table_input("orders", Description="not forwarded"))
    seeded.control_sandbox("event-delivery")
    lost = {**event("glue-native-table-UpdateTable", databaseName="sales", tableName="orders"),
            "region": PRIMARY, "account": ACCOUNT}
    seeded.client("sqs", PRIMARY).send_message(
        QueueUrl=seeded.queue_url(PRIMARY, "ForwardDeadLetterQueue"), MessageBody=json.dumps(lost))
    args = ("redrive", "Forward", "--yes", *READ_STANDBY)
    unknown_stack = seeded.twinlake(*args, "--stack", "other", check=False)
    assert unknown_stack.returncode == 1 and "no dead-letter queues" in unknown_stack.stderr
    done = seeded.twinlake(*args)
    assert done.returncode == 0 and f"{PRIMARY} Forward: table sales.orders" in done.stdout
    wait_until_identical(seeded)


def test_an_alarm_of_the_stack_causes_an_alert(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["alarm"]})
    name = seeded.physical_name(STANDBY, "VerifiedAgeAlarm")
    seeded.put_event(STANDBY, event("cloudwatch-alarm-ALARM", alarmName="of-another-stack"))
    seeded.put_event(STANDBY, event("cloudwatch-alarm-ALARM", alarmName=name))
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    assert alert["subject"] == f"alarm {name}"
    seeded.put_event(STANDBY, event("cloudwatch-alarm-OK", alarmName=name))
    (resolved,) = alerts_in(wait_for("the alert is resolved", receive))
    assert (resolved["state"], resolved["key"]) == ("resolved", alert["key"])


def test_the_digest_summarizes_the_day_and_is_sent_once(seeded):
    glue = seeded.client("glue", PRIMARY)
    receive = seeded.subscribe(STANDBY, {"severity": ["digest"]})
    glue.create_table(DatabaseName="sales", TableInput=table_input(
        "ice", Parameters={"table_type": "ICEBERG", "metadata_location": "s3://x/m.json"}))
    wait_for("the queues are empty", seeded.has_empty_queues)
    seeded.resync()
    assert receive() == [], "what is not replicated is reported in the digest only"
    seeded.invoke(STANDBY, "Digest")
    (digest,) = alerts_in(wait_for("the digest arrives", receive))
    lines = "\n".join(digest["samples"])
    assert digest["kind"] == "digest" and "maximum lag: catalog" in lines, lines
    assert "not replicated, 1 x" in lines and "resyncs with a lower bound of" in lines, lines
    assert "drift that a resync corrected" in lines and "estimated cost $" in lines, lines
    glue.delete_table(DatabaseName="sales", Name="ice")
    seeded.invoke(STANDBY, "Digest")
    assert receive() == [], "one digest for each day"


HOSTILE = "<script>alert(1)</script>\u202e\u001b[2J"


def test_text_from_events_is_escaped_everywhere(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": [
        "job-failed", "user-access-denied", "alarm", "replication-failed", "drift"]})
    seeded.put_event(STANDBY, event("glue-job-FAILED", jobName=f"job {HOSTILE}", message=HOSTILE))
    denied = event("ct-lakeformation-GetDataAccess-denied", errorMessage=HOSTILE)
    denied["detail"]["userIdentity"] = {"arn": HOSTILE}
    seeded.put_event(STANDBY, denied)
    name = seeded.physical_name(STANDBY, "VerifiedAgeAlarm")
    alarm = event("cloudwatch-alarm-ALARM", alarmName=name)
    alarm["detail"]["state"]["reason"] = HOSTILE
    seeded.put_event(STANDBY, alarm)
    kms = ROOT / "events/s3-Replication-OperationFailedReplication-kms.json"
    notification = json.loads(kms.read_text())
    notification["Records"][0]["s3"]["object"]["key"] = HOSTILE
    notification["Records"][0]["replicationEventData"]["failureReason"] = HOSTILE
    seeded.client("sqs", STANDBY).send_message(
        QueueUrl=seeded.queue_url(STANDBY, "ReplicationQueue"),
        MessageBody=json.dumps(notification))
    change = event("ct-glue-UpdateTable-iceberg-commit")
    change["detail"]["requestParameters"].update(databaseName="sales")
    change["detail"]["requestParameters"]["tableInput"].update(name="items")
    change["detail"]["userIdentity"] = {"arn": HOSTILE}
    seeded.put_event(STANDBY, change)
    messages = []

    def received_kinds():
        messages.extend(receive())
        return {json.loads(m["Message"])["kind"] for m in messages if "script" in m["Message"]}

    wait_for("an alert of each kind arrives", lambda: len(received_kinds()) == 5)
    texts = [message["Message"] + message["Subject"] for message in messages]
    texts.append(seeded.twinlake("status", *READ_STANDBY).stdout)
    texts.append(seeded.twinlake("status", "--json", *READ_STANDBY).stdout)
    assert all(text.count("script") >= 5 for text in texts[-2:])
    wait_with_heartbeats(seeded, "the lag is measured", lambda: None not in lag(seeded).values())
    seeded.twinlake("report", "--days", "2", *READ_STANDBY)
    page = re.sub(r">\s+<", "><", (seeded.home / "twinlake-report.html").read_text())
    assert "<script" not in page and "&#60;script&#62;" in page
    # The page loads nothing.
    assert not any(word in page for word in ("http://", "https://", "src=", "href=", "@import"))
    assert "<polyline" in page and "Lag over the last 2 days" in page
    for part in ("<td>databases</td><td class=\"number\">", "<td>tables</td><td class=\"number\">",
                 "<h2>Open alerts</h2><table>", "</b>in-sync</div>", "<td>LF-Tags</td>"):
        assert part in page, part
    texts += [page, seeded.log_text()]
    for text in texts:
        assert "\u202e" not in text and "\u001b[2J" not in text


def test_status_with_watch_repeats_its_output(seeded):
    process = seeded.start_twinlake("status", "--watch", "1", *READ_STANDBY)
    try:
        shown = 0
        while shown < 2:
            line = process.stdout.readline()
            assert line, "the command has ended"
            shown += line.startswith(f"Primary {PRIMARY}, standby {STANDBY}")
    finally:
        process.terminate()
        process.wait()


def test_an_alert_is_sent_while_the_ledger_is_out_of_reach(seeded):
    receive = seeded.subscribe(PRIMARY, {"kind": ["job-failed"]})
    dynamodb = seeded.client("dynamodb", PRIMARY)
    description = dynamodb.describe_table(TableName="twinlake-ledger")["Table"]
    items = dynamodb.scan(TableName="twinlake-ledger")["Items"]
    dynamodb.delete_table(TableName="twinlake-ledger")
    seeded.put_event(PRIMARY, event("glue-job-FAILED", jobName="unrecorded"))
    (alert,) = alerts_in(wait_for("the alert arrives", receive))
    assert alert["subject"] == "job unrecorded"
    keys = ("TableName", "KeySchema", "AttributeDefinitions")
    index = {key: description["GlobalSecondaryIndexes"][0][key]
             for key in ("IndexName", "KeySchema", "Projection")}
    dynamodb.create_table(**{key: description[key] for key in keys}, BillingMode="PAY_PER_REQUEST",
                          GlobalSecondaryIndexes=[index])
    for item in items:
        dynamodb.put_item(TableName="twinlake-ledger", Item=item)


# The attributes of each kind of item beside its key, as the ledger's documentation lists them.
ITEM_ATTRIBUTES = {
    "meta/epoch": {"body", "version"},
    "meta/policy": {"value"},
    "meta/operation": {"value"},
    "meta/verified_at": {"value", "policy", "epoch"},
    "meta/catalog_scan": {"last_scan_at", "next_scan_at", "expires_at"},
    "meta/deletions": {"body", "version"},
    "meta/lf_tag_lease": {"body", "version"},
    "meta/canaries": {"body"},
    "meta/paired_counts": {"databases", "tables", "partitions", "items"},
    "rows": {"body", "version", "not_in_sync_state"},
    "query_rows": {"body", "version"},
    "query": {"body", "version"},
    "frozen_grants": {"body", "version"},
    "managed_keys": {"managed_keys", "version"},
    "source_locations": {"database", "table"},
    "resync_runs": {"started_at", "outstanding_parts", "has_unread_part", "expires_at"},
    "partition_scans": {"last_scan_at", "next_scan_at", "expires_at"},
    "incidents": {"body", "version", "expires_at"},
    "readiness": {"body", "version"},
    "pending_objects": {"database", "table", "body", "version"},
    "relocations": {"database", "table", "body", "version"},
    "heartbeats": {"monitored_since", "sent_at", "done_at"},
    "reserved_calls": {"second", "calls", "expires_at"},
    "lag_samples": {
        "sampled_at", "catalog_lag_secs", "permissions_lag_secs", "storage_lag_secs", "expires_at"},
}


def test_ledger_items_have_the_documented_attributes_and_newer_formats_are_refused(seeded):
    seeded.put_event(STANDBY, event("glue-job-FAILED", jobName="layout"))
    lf = seeded.client("lakeformation", PRIMARY)
    lf.create_lf_tag(TagKey="layout", TagValues=["x"])
    lf.add_lf_tags_to_resource(Resource={"Table": {"DatabaseName": "sales", "Name": "items"}},
                               LFTags=[{"TagKey": "layout", "TagValues": ["x"]}])
    wait_until_identical(seeded)
    wait_with_heartbeats(seeded, "the lag is measured", lambda: None not in lag(seeded).values())
    for region in (PRIMARY, STANDBY):
        seeded.invoke(region, "Canary")
    run_heartbeat_and_monitor(seeded)
    wait_for("the queues are empty", seeded.has_empty_queues)
    dynamodb = seeded.client("dynamodb", STANDBY)
    found = set()
    for item in dynamodb.scan(TableName="twinlake-ledger")["Items"]:
        kind = item["pk"]["S"].split("#")[0]
        kind = f"{kind}/{item['sk']['S']}" if kind == "meta" else kind
        found.add(kind)
        assert item["format"] == {"N": "1"}, item
        attributes = item.keys() - {"pk", "sk", "format"}
        if kind == "hourly_counters":
            assert "expires_at" in attributes and len(attributes) > 1, item
            continue
        assert attributes <= ITEM_ATTRIBUTES[kind], item
        assert ("expires_at" in attributes) == ("expires_at" in ITEM_ATTRIBUTES[kind]), item
        if "expires_at" in attributes:
            assert int(item["expires_at"]["N"]) > time.time(), item
    assert found >= {"meta/canaries", "meta/policy", "meta/operation", "meta/verified_at", "meta/lf_tag_lease", "rows", "incidents",
                     "managed_keys", "source_locations", "heartbeats", "lag_samples",
                     "hourly_counters"}, found

    newer = {"pk": {"S": "incidents"}, "sk": {"S": "of a newer Twinlake"}, "format": {"N": "99"}}
    dynamodb.put_item(TableName="twinlake-ledger", Item=newer)
    refused = seeded.twinlake("status", *READ_STANDBY, check=False)
    dynamodb.delete_item(TableName="twinlake-ledger", Key={key: newer[key] for key in ("pk", "sk")})
    assert refused.returncode == 1, refused
    assert "format 99" in refused.stderr and "deploy the newer version" in refused.stderr


def test_metrics_and_log_lines_are_complete(seeded):
    run_heartbeat_and_monitor(seeded)
    seeded.client("lakeformation", PRIMARY).grant_permissions(
        Principal={"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/Somebody"},
        Permissions=["SELECT"],
        Resource={"Table": {"DatabaseName": "sales", "Name": "items"}})
    wait_until_identical(seeded)
    seeded.resync()
    seeded.control_sandbox("outage", region=PRIMARY, enabled=True)
    seeded.put_event(PRIMARY, event("glue-native-table-UpdateTable", databaseName="sales",
                                    tableName="items"))
    wait_for("a read fails", lambda: "\"outcome\":\"unread\"" in seeded.log_text())
    seeded.control_sandbox("outage", region=PRIMARY, enabled=False)
    emitted, reconciliations = set(), []
    decoder = json.JSONDecoder()
    for line in seeded.log_text().splitlines():
        start = line.find("{\"")
        if start < 0:
            continue
        try:
            entry, _ = decoder.raw_decode(line[start:])
        except ValueError:
            continue
        if "_aws" in entry:
            directive = entry["_aws"]["CloudWatchMetrics"][0]
            emitted |= {metric["Name"] for metric in directive["Metrics"]}
            assert all(name in entry for name in sum(directive["Dimensions"], []))
        elif entry.get("message") == "reconciled":
            reconciliations.append(entry)
    assert emitted >= {"Lag", "SecondsSinceVerified", "OutOfSync", "OnHold", "DataPending",
                       "Blocked", "DeadLetters", "MonitorRuns", "IsPrimary", "Reconciled", "Applied",
                       "PlansRejected", "ApiCalls", "ApiErrors"}
    assert emitted & {"ThrottledCalls", "CallCeiling", "SecondsAtCallCeiling"} == set()
    assert {entry["cause"] for entry in reconciliations} >= {"event", "resync"}
    assert {entry["outcome"] for entry in reconciliations} >= {"settled", "unread"}
    keys = {"subject", "rounds", "steps", "calls", "milliseconds", "outcome"}
    for entry in reconciliations:
        assert keys <= entry.keys()
    assert any(entry["calls"] > 0 for entry in reconciliations)
    # A log line names the object of a grant, but neither its principal nor its permissions.
    assert any(entry["steps"] > 0 and entry["subject"] == "table sales.items"
               for entry in reconciliations)
    text = "".join(json.dumps(entry) for entry in reconciliations)
    assert "Somebody" not in text and "SELECT" not in text and "arn:aws:iam" not in text


CEILING = 16


def reserved_calls(deployment, region):
    """Returns the calls to a Region that were reserved, by ledger and second."""
    reserved = {}
    for ledger in (PRIMARY, STANDBY):
        items = deployment.client("dynamodb", ledger).query(
            TableName="twinlake-ledger", KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"reserved_calls#{region}"}})["Items"]
        for item in items:
            reserved[ledger, int(item["second"]["N"])] = int(item["calls"]["N"])
    return reserved


def test_functions_and_commands_share_a_ceiling_of_calls(seeded):
    operation = seeded.home / "ceiling.toml"
    operation.write_text(OPERATION + "[max-calls-per-second]\n"
                         + "".join(f"{region} = {CEILING}\n" for region in (PRIMARY, STANDBY)))
    glue = seeded.client("glue", PRIMARY)
    try:
        seeded.twinlake("policy", "push", "--operation", str(operation), *READ_STANDBY)

        def functions_reserve():
            glue.update_database(Name="sales", DatabaseInput={
                "Name": "sales", "Description": str(time.time())})
            time.sleep(1)
            return reserved_calls(seeded, STANDBY)

        wait_for("a function reserves calls", functions_reserve)
        seeded.twinlake("resync", *READ_STANDBY, check=False)
        # Its role may write only some items of the ledger. A refused reservation is no error: the function would
        # take the whole ceiling for itself. So the calls are judged by the policies of the roles.
        before = reserved_calls(seeded, PRIMARY)
        seeded.invoke(STANDBY, "Readiness")
        assert reserved_calls(seeded, PRIMARY) != before
        seeded.assert_calls_are_allowed()
        for region in (PRIMARY, STANDBY):
            reserved = reserved_calls(seeded, region)
            assert reserved and all(calls <= CEILING for calls in reserved.values()), reserved
        status = json.loads(seeded.twinlake("status", "--json", *READ_STANDBY, check=False).stdout)
        assert status["call_ceilings"][PRIMARY]["calls_per_second"] == CEILING
        assert status["call_ceilings"][PRIMARY]["calls"] > 0
    finally:
        operation.write_text(OPERATION)
        seeded.twinlake("policy", "push", "--operation", str(operation), *READ_STANDBY)


def test_a_policy_of_another_account_stops_the_functions_with_an_alert(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["policy-unusable"]})
    other = seeded.home / "other-account.toml"
    other.write_text(seeded.policy_file.read_text().replace(ACCOUNT, "999988887777"))
    seeded.twinlake("policy", "push", str(other))
    glue = seeded.client("glue", PRIMARY)
    glue.create_table(DatabaseName="sales", TableInput=table_input("of_another_account"))
    with pytest.raises(AssertionError, match="cannot be determined"):
        seeded.resync()
    (alert,) = wait_for("the alert arrives", lambda: alerts_in(receive()))
    assert f"the stack of this Region was deployed for {STANDBY} and {PRIMARY} of account {ACCOUNT}" in (
        alert["summary"])
    assert "999988887777" in alert["summary"] and "policy push" in alert["action"]

    def is_replicated():
        tables = seeded.client("glue", STANDBY).get_tables(DatabaseName="sales")["TableList"]
        return "of_another_account" in {table["Name"] for table in tables}

    assert not is_replicated()
    # The events wait in their queues for the visibility timeout.
    seeded.twinlake("policy", "push", str(seeded.policy_file))
    seeded.resync()
    assert is_replicated()
