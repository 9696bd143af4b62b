"""What the on-call engineer is told: the real functions on the deployed pair, and a queue that
is subscribed to the topic with a filter policy."""

import json

import pytest

from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, ROOT, SECONDARY, wait_for
from test_end_to_end import settle, table

BEAT = 2  # seconds between heartbeats, as the stack is deployed here
OBJECTIVE = 6


@pytest.fixture(scope="module")
def lake(local):
    local.policy_file.write_text(
        f"lag = {{ catalog = {OBJECTIVE}, permissions = {OBJECTIVE} }}\n{POLICY}")
    local.twinlake("policy", "push", str(local.policy_file))
    glue = local.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
    for name in ("orders", "items"):
        glue.create_table(DatabaseName="sales", TableInput=table(name))
    settle(local)
    local.resync()
    return local


def status(lake, *words):
    done = lake.twinlake("status", "--json", *words, "--region", SECONDARY, "--role", "arn:x")
    return json.loads(done.stdout)


def told(messages):
    return [json.loads(message["Message"]) for message in messages]


def event(name, **detail):
    found = json.loads((ROOT / f"events/{name}.json").read_text())
    return {**found, "detail": {**found["detail"], **detail}}


def beat(lake):
    """What the schedules do each interval, in both Regions."""
    for region in (PRIMARY, SECONDARY):
        lake.invoke(region, "Heartbeat")
        lake.invoke(region, "Lag")
    return True


def lag(lake):
    channels = status(lake)["lag"]
    return {name: channel["seconds"] for name, channel in channels.items()}


def await_beating(lake, what, check, seconds=40):
    return wait_for(what, lambda: beat(lake) and check(), seconds=seconds, every=0.5)


def both_fresh(lake):
    return all(seconds < OBJECTIVE for seconds in lag(lake).values())


def rule(lake, region, name, on):
    physical = lake.physical(region, name)
    events = lake.client("events", region)
    (events.enable_rule if on else events.disable_rule)(Name=physical)


def test_the_lag_is_measured_and_told_by_channel(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["lagging", "silent"]})
    await_beating(lake, "both channels beat", lambda: both_fresh(lake))
    assert take() == []

    # What a channel takes is what is shown, within one heartbeat.
    for way, late, on_time in [("native", "catalog", "permissions"),
                               ("trail", "permissions", "catalog")]:
        lake.steer("sink", way=way, late=3000)
        shown = await_beating(
            lake, "the delay is shown", lambda: (now := lag(lake))[late] >= 3 and now)
        assert shown[late] <= 3 + BEAT and shown[on_time] < 3, shown
        lake.steer("sink")
        await_beating(lake, "the delay is gone", lambda: lag(lake)[late] < 3)
        assert take() == []

    # A rule of the primary's bus is off.
    rule(lake, PRIMARY, "ForwardNative", False)
    (first,) = told(await_beating(lake, "lagging", take))
    assert (first["kind"], first["subject"]) == ("lagging", "channel catalog")
    assert lag(lake)["permissions"] < OBJECTIVE
    rule(lake, PRIMARY, "ForwardNative", True)
    over = told(await_beating(lake, "it is over", take))
    assert [(a["state"], a["subject"]) for a in over if a["kind"] == "lagging"] == [
        ("resolved", "channel catalog")]
    assert {a["key"] for a in over if a["kind"] == "lagging"} == {first["key"]}

    # Only the trail has stopped.
    lake.steer("sink", way="trail", forward=False)
    (second,) = told(await_beating(lake, "lagging", take))
    assert (second["kind"], second["subject"]) == ("lagging", "channel permissions")
    assert lag(lake)["catalog"] < OBJECTIVE
    lake.steer("sink")
    await_beating(lake, "it is over", lambda: [
        a for a in told(take()) if (a["state"], a["key"]) == ("resolved", second["key"])])


def test_a_heartbeat_that_stops_is_silence(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["silent"]})
    await_beating(lake, "both channels beat", lambda: both_fresh(lake))
    got = []

    def keys(state):
        got.extend(told(take()))
        return {a["key"]: a["subject"] for a in got if a["state"] == state}

    def silent():
        lake.invoke(SECONDARY, "Lag")
        return len(keys("new")) == 2

    wait_for("silence is told of both", silent, seconds=60, every=0.5)
    assert sorted(keys("new").values()) == ["channel catalog", "channel permissions"]
    assert all("stand still" in a["what"] for a in got)
    await_beating(lake, "it is over", lambda: keys("resolved") == keys("new"))
    assert len(got) == 4, "once each, however often it is looked at"


def test_objects_that_s3_gives_up_are_told_by_table_until_they_are_there(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["replication-failed"], "database": ["sales"]})
    s3, there = lake.client("s3", PRIMARY), lake.client("s3", SECONDARY)

    def versioning(word):
        there.put_bucket_versioning(
            Bucket=BUCKETS[SECONDARY], VersioningConfiguration={"Status": word})

    key = "sales/orders/dt=2026-11-20/part 0.parquet"
    versioning("Suspended")
    s3.put_object(Bucket=BUCKETS[PRIMARY], Key=key, Body=b"x")
    (alert,) = wait_for("it is told", take)
    versioning("Enabled")
    first = json.loads(alert["Message"])
    assert first["subject"] == "table sales.orders: DstBucketUnversioned"
    assert first["todo"].startswith("Turn versioning on for the destination bucket")
    assert first["samples"] == [f"s3://{BUCKETS[PRIMARY]}/{key}"]
    (row,) = status(lake, "sales.orders")
    assert row["state"] == "data-pending" and "1 objects have not arrived" in row["reason"]

    # A storm: not one message more within the hour, and no count is lost.
    sqs = lake.client("sqs", PRIMARY)
    queue = lake.queue(PRIMARY, "ReplicationQueue")
    kms = ROOT / "events/s3-Replication-OperationFailedReplication-kms.json"
    record = json.loads(kms.read_text())["Records"][0]
    record["s3"]["bucket"]["name"] = BUCKETS[PRIMARY]
    record["replicationEventData"]["destinationBucket"] = f"arn:aws:s3:::{BUCKETS[SECONDARY]}"

    def one(number):
        s3_part = {**record["s3"], "object": {**record["s3"]["object"],
                                              "key": f"sales/items/{number}"}}
        return {**record, "s3": s3_part}
    for storm in range(100):
        body = json.dumps({"Records": [one(storm * 100 + n) for n in range(100)]})
        sqs.send_message(QueueUrl=queue, MessageBody=body)

    def total():
        opened = status(lake)["open"]
        return sum(a["total"] for a in opened if a["subject"].startswith("table sales.items"))

    wait_for("all ten thousand are counted", lambda: total() == 10_000, seconds=120, every=1)
    messages = told(take())
    assert 1 <= len(messages) <= 3 and len({a["key"] for a in messages}) == 1, messages
    pending = {p["table"]: p["count"] for p in status(lake)["data_pending"]}
    assert pending == {"sales.orders": 1, "sales.items": 10_000}

    # S3 Batch Replication, as it were.
    s3.put_object(Bucket=BUCKETS[PRIMARY], Key=key, Body=b"x")
    over = []

    def arrived():
        lake.invoke(SECONDARY, "ReplicationEvent")
        over.extend(told(take()))
        return over

    wait_for("it is over", arrived)
    assert [(a["state"], a["key"]) for a in over] == [("resolved", first["key"])]
    (row,) = status(lake, "sales.orders")
    assert row["state"] == "current"
    # The others never come: somebody says so.
    done = lake.twinlake("dismiss", "sales.items", "sales.orders", "--region", SECONDARY,
                         "--role", "arn:x")
    assert "No longer waited for of sales.items: 10000 objects" in done.stdout, done.stdout
    assert "Nothing is waited for of sales.orders" in done.stdout
    assert status(lake)["data_pending"] == []


def test_a_foreign_hand_in_the_standby_is_told_and_put_right(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["drift"], "database": ["sales"]})
    there = lake.client("glue", SECONDARY)
    wanted = there.get_table(DatabaseName="sales", Name="items")["Table"]["StorageDescriptor"]
    there.update_table(DatabaseName="sales", TableInput=table("items", Description="mine"))
    (alert,) = told(wait_for("it is told", take))
    assert "changed table sales.items in the standby by UpdateTable" in alert["what"]
    settle(lake)
    there.update_table(DatabaseName="sales", TableInput=table("items", Description="again"))
    settle(lake)
    wait_for("both are counted", lambda: any(
        a["key"] == alert["key"] and a["total"] >= 2 for a in status(lake)["open"]))
    assert take() == [], "one trouble is told once"
    found = there.get_table(DatabaseName="sales", Name="items")["Table"]
    assert found["StorageDescriptor"] == wanted and "Description" not in found
    over = []

    def ended():
        lake.resync()
        over.extend(a for a in told(take()) if a["state"] == "resolved")
        return over

    wait_for("it is over", ended)
    assert over[0]["key"] == alert["key"]
    (row,) = status(lake, "sales.items")
    assert row["past"][-1]["state"] == "current"
    text = lake.twinlake("status", "sales.items", "--region", SECONDARY, "--role", "arn:x").stdout
    assert text.startswith("current      table sales.items since "), text
    assert "its files are at s3://" in text and "Z current" in text, text


def test_what_fails_in_the_primary_is_known_in_the_standby(lake):
    take = lake.subscribe(PRIMARY, {"kind": ["job-failed"]})
    lake.replay(PRIMARY, event("glue-job-FAILED"))
    (alert,) = told(wait_for("the job is told", take))
    opened = wait_for("the standby knows", lambda: [
        a for a in status(lake)["open"] if a["key"] == alert["key"]])
    assert opened[0]["region"] == PRIMARY
    lake.replay(PRIMARY, event("glue-job-FAILED", state="SUCCEEDED"))
    wait_for("it is over in both", lambda: alert["key"] not in {
        a["key"] for a in status(lake)["open"]})
    assert [a["state"] for a in told(take())] == ["resolved"]


def test_a_refusal_is_over_when_it_does_not_come_again(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["unauthorized"]})
    # Of GetDataAccess any error counts, of which no rule on denials hears.
    for _ in range(2):
        lake.replay(SECONDARY, event(
            "ct-lakeformation-GetDataAccess-denied", errorCode="InvalidInputException"))
    (alert,) = told(wait_for("the refusal is told", take))
    over = []

    def ended():
        lake.invoke(SECONDARY, "Lag")
        over.extend(told(take()))
        return over

    wait_for("it is over", ended)
    assert [(a["state"], a["key"]) for a in over] == [("resolved", alert["key"])]
    assert over[0]["now"].startswith("It has not come again since")


def test_a_held_plan_is_told_and_over_when_it_is_released(lake):
    glue = lake.client("glue", PRIMARY)
    take = lake.subscribe(SECONDARY, {"kind": ["vetoed"]})
    glue.create_database(DatabaseInput={"Name": "gone", "CreateTableDefaultPermissions": []})
    for number in range(12):
        glue.create_table(DatabaseName="gone", TableInput=table(f"t{number}", "gone"))
    glue.create_table(DatabaseName="gone", TableInput=table("stays", "gone"))
    settle(lake)
    lake.resync()
    lake.steer("sink", forward=False)
    for number in range(12):
        glue.delete_table(DatabaseName="gone", Name=f"t{number}")
    lake.steer("sink")
    lake.resync()
    (alert,) = told(wait_for("it is told", take))
    assert alert["severity"] == "page" and "nothing of it was applied" in alert["what"]
    lake.resync()
    assert take() == [], "one trouble is told once"
    done = lake.twinlake("status", "--region", SECONDARY, "--role", "arn:x")
    assert done.returncode == 2 and "page   vetoed" in done.stdout, done.stdout
    states = [line.split()[0] for line in done.stdout.splitlines()]
    assert "held" in states and "current" not in states, done.stdout
    lake.twinlake("release", "--yes", "--region", SECONDARY, "--role",
                  f"arn:aws:iam::{ACCOUNT}:role/twinlake/local")
    lake.resync()
    over = told(wait_for("it is over", take))
    assert [(a["state"], a["key"]) for a in over] == [("resolved", alert["key"])]
    settle(lake)


def test_a_poison_message_is_told_and_dead_letters_are_redriven(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["dead-letters", "unreadable"]})
    sqs = lake.client("sqs", SECONDARY)
    sqs.send_message(QueueUrl=lake.queue(SECONDARY, "CatalogQueue"), MessageBody="poison \u202e")
    (poison,) = told(wait_for("the poison is told", take))
    assert poison["kind"] == "unreadable" and "could not be understood" in poison["what"]
    # One that failed for good, as SQS would put it there; its table differs by now.
    lake.steer("sink", forward=False)
    lake.client("glue", PRIMARY).update_table(
        DatabaseName="sales", TableInput=table("items", Description="changed"))
    lake.steer("sink")
    failed = {**event("glue-native-table-UpdateTable", databaseName="sales", tableName="items"),
              "region": PRIMARY, "account": ACCOUNT}
    dead = lake.queue(SECONDARY, "CatalogDeadLetters")
    sqs.send_message(QueueUrl=dead, MessageBody=json.dumps(failed))
    sqs.send_message(QueueUrl=dead, MessageBody="{\"requestPayload\": {}}")
    got = []

    def heard(kind, state):
        lake.invoke(SECONDARY, "Lag")
        got.extend(told(take()))
        return [a for a in got if (a["kind"], a["state"]) == (kind, state)]

    (found,) = wait_for("the dead letters are told", lambda: heard("dead-letters", "new"))
    assert found["subject"] == "dead letters of Catalog"
    assert any("table sales.items" in sample for sample in found["samples"]), found
    done = lake.twinlake("redrive", "Catalog", "--yes", "--region", SECONDARY, "--role", "arn:x")
    assert done.returncode == 0 and "table sales.items" in done.stdout, done.stdout + done.stderr
    assert "dropped, since the schedule repeats it" in done.stdout
    settle(lake)
    for alert in (found, poison):
        (over,) = wait_for(f"{alert} is over: {got}", lambda: heard(alert["kind"], "resolved"))
        assert over["key"] == alert["key"]


def test_poison_is_told_by_every_function(lake):
    """Redelivery cannot help what makes no sense, so people are told and it is gone."""
    take = lake.subscribe(SECONDARY, {"kind": ["unreadable"]})
    sqs = lake.client("sqs", SECONDARY)

    def total():
        found = [a for a in status(lake)["open"] if a["subject"] == "an event"]
        return found[0]["total"] if found else 0
    for queue in ("PermissionQueue", "OperationsQueue", "ReplicationQueue", "ResyncQueue"):
        before = total()
        sqs.send_message(QueueUrl=lake.queue(SECONDARY, queue), MessageBody="poison")
        wait_for(f"that of {queue} is counted", lambda: total() > before)
    # Of a notification with one record that is not understood the others count.
    known = json.loads((ROOT / "events/s3-Replication-OperationMissedThreshold.json").read_text())
    other = {**known["Records"][0], "eventName": "ObjectCreated:Put"}
    late = lake.subscribe(SECONDARY, {"kind": ["replication-late"]})
    body = json.dumps({"Records": [other, *known["Records"]]})
    # As SNS delivers it to a queue.
    wrapped = json.dumps({"Type": "Notification", "Message": body})
    before = total()
    sqs.send_message(QueueUrl=lake.queue(SECONDARY, "ReplicationQueue"), MessageBody=wrapped)
    wait_for("the record is told", late)
    wait_for("the other one is counted", lambda: total() > before)
    wait_for("the queues are empty", lake.is_quiet)
    assert len(told(take())) == 1, "one trouble is told once"


def test_policies_that_differ_are_told_though_nothing_happens(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["vetoed"]})
    dynamo = lake.client("dynamodb", PRIMARY)
    (item,) = [i for i in dynamo.scan(TableName="twinlake-ledger")["Items"]
               if i["sk"]["S"] == "policy"]
    (name,) = [n for n, v in item.items() if "[[location]]" in v.get("S", "")]
    other = {**item, name: {"S": "exclude = [\"other\"]\n" + item[name]["S"]}}
    dynamo.put_item(TableName="twinlake-ledger", Item=other)
    got = []

    def heard(state):
        lake.invoke(SECONDARY, "Lag")
        got.extend(told(take()))
        return [a for a in got if a["state"] == state]

    (alert,) = wait_for("it is told", lambda: heard("new"))
    assert "the two Regions hold different policies" in alert["what"]
    dynamo.put_item(TableName="twinlake-ledger", Item=item)
    (over,) = wait_for("it is over", lambda: heard("resolved"))
    assert over["key"] == alert["key"]


def test_what_is_in_no_database_is_shown_too(lake):
    here, there = (lake.client("lakeformation", r) for r in (PRIMARY, SECONDARY))
    for region, value in ((there, "theirs"), (here, "ours")):
        region.create_lf_tag(TagKey="team", TagValues=["theirs", "ours"])
        region.create_lf_tag_expression(
            Name="mine", Expression=[{"TagKey": "team", "TagValues": [value]}])
    wait_for("the queues are empty", lake.is_quiet)

    def rows():
        return [r for r in status(lake)["rows"]
                if "LF-Tag" in str(r.get("reason")) or r["state"] == "blocked"]

    (row,) = wait_for("it is listed", rows)
    done = lake.twinlake("status", "--region", SECONDARY, "--role", "arn:x")
    assert done.returncode == 2 and "LF-Tag expressions since" in done.stdout, (row, done.stdout)
    there.delete_lf_tag_expression(Name="mine")
    lake.resync()
    settle(lake)
    assert rows() == []


def test_what_never_left_the_primary_is_redriven_into_the_standby(lake):
    lake.steer("sink", forward=False)
    lake.client("glue", PRIMARY).update_table(
        DatabaseName="sales", TableInput=table("orders", Description="not forwarded"))
    lake.steer("sink")
    lost = {**event("glue-native-table-UpdateTable", databaseName="sales", tableName="orders"),
            "region": PRIMARY, "account": ACCOUNT}
    lake.client("sqs", PRIMARY).send_message(
        QueueUrl=lake.queue(PRIMARY, "ForwardDeadLetters"), MessageBody=json.dumps(lost))
    words = ("redrive", "Forward", "--region", SECONDARY, "--role", "arn:x")
    other = lake.twinlake(*words, "--yes", "--stack", "twin", check=False)
    assert other.returncode == 1 and "no dead-letter queues" in other.stderr
    done = lake.twinlake(*words, "--yes")
    assert done.returncode == 0 and f"{PRIMARY} Forward: table sales.orders" in done.stdout
    settle(lake)


def test_an_alarm_of_ours_is_told_in_our_words(lake):
    take = lake.subscribe(SECONDARY, {"kind": ["alarm"]})
    name = lake.physical(SECONDARY, "VerifiedAgeAlarm")
    lake.replay(SECONDARY, event("cloudwatch-alarm-ALARM", alarmName="somebody-elses"))
    lake.replay(SECONDARY, event("cloudwatch-alarm-ALARM", alarmName=name))
    (alert,) = told(wait_for("it is told", take))
    assert alert["subject"] == f"alarm {name}"
    lake.replay(SECONDARY, event("cloudwatch-alarm-OK", alarmName=name))
    (over,) = told(wait_for("it is over", take))
    assert (over["state"], over["key"]) == ("resolved", alert["key"])


def test_the_digest_says_how_the_day_went(lake):
    glue = lake.client("glue", PRIMARY)
    take = lake.subscribe(SECONDARY, {"severity": ["digest"]})
    glue.create_table(DatabaseName="sales", TableInput=table(
        "ice", Parameters={"table_type": "ICEBERG", "metadata_location": "s3://x/m.json"}))
    wait_for("the queues are empty", lake.is_quiet)
    lake.resync()
    assert take() == [], "what is not replicated waits for the digest"
    lake.invoke(SECONDARY, "Digest")
    (digest,) = told(wait_for("the digest is told", take))
    lines = "\n".join(digest["samples"])
    assert digest["kind"] == "digest" and "worst lag: catalog" in lines, lines
    assert "not replicated, 1 x" in lines and "resyncs against a floor of" in lines, lines
    assert "drift that a resync mended" in lines and "about $" in lines, lines
    glue.delete_table(DatabaseName="sales", Name="ice")
    lake.invoke(SECONDARY, "Digest")
    assert take() == [], "once a day"


HOSTILE = "<script>alert(1)</script>\u202e\u001b[2J"


def test_nothing_that_an_event_says_reaches_people_unescaped(lake):
    take = lake.subscribe(SECONDARY, {"kind": [
        "job-failed", "unauthorized", "alarm", "replication-failed", "drift"]})
    lake.replay(SECONDARY, event("glue-job-FAILED", jobName=f"job {HOSTILE}", message=HOSTILE))
    refused = event("ct-lakeformation-GetDataAccess-denied", errorMessage=HOSTILE)
    refused["detail"]["userIdentity"] = {"arn": HOSTILE}
    lake.replay(SECONDARY, refused)
    name = lake.physical(SECONDARY, "VerifiedAgeAlarm")
    alarm = event("cloudwatch-alarm-ALARM", alarmName=name)
    alarm["detail"]["state"]["reason"] = HOSTILE
    lake.replay(SECONDARY, alarm)
    s3 = json.loads((ROOT / "events/s3-Replication-OperationFailedReplication-kms.json").read_text())
    s3["Records"][0]["s3"]["object"]["key"] = HOSTILE
    s3["Records"][0]["replicationEventData"]["failureReason"] = HOSTILE
    lake.client("sqs", SECONDARY).send_message(
        QueueUrl=lake.queue(SECONDARY, "ReplicationQueue"), MessageBody=json.dumps(s3))
    hand = event("ct-glue-UpdateTable-iceberg-commit")
    hand["detail"]["requestParameters"].update(databaseName="sales")
    hand["detail"]["requestParameters"]["tableInput"].update(name="items")
    hand["detail"]["userIdentity"] = {"arn": HOSTILE}
    lake.replay(SECONDARY, hand)
    got = []

    def kinds():
        got.extend(take())
        return {json.loads(m["Message"])["kind"] for m in got if "script" in m["Message"]}

    wait_for("all are told", lambda: len(kinds()) == 5)
    shown = [message["Message"] + message["Subject"] for message in got]
    shown.append(lake.twinlake("status", "--region", SECONDARY, "--role", "arn:x").stdout)
    shown.append(lake.twinlake("status", "--json", "--region", SECONDARY, "--role", "arn:x").stdout)
    assert all(text.count("script") >= 5 for text in shown[-2:])
    lake.twinlake("report", "--days", "2", "--region", SECONDARY, "--role", "arn:x")
    page = (lake.home / "twinlake-report.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    # It needs nothing beside itself.
    assert not any(word in page for word in ("http://", "https://", "src=", "href=", "@import"))
    assert "<polyline" in page and "Lag over the last 2 days" in page
    for row in ("<td>databases</td><td class=\"number\">", "<td>tables</td><td class=\"number\">",
                "<h2>Open findings</h2><table>", "</b>current</div>", "<td>LF-Tags</td>"):
        assert row in page, row
    shown += [page, lake.logs()]
    for text in shown:
        assert "\u202e" not in text and "\u001b[2J" not in text


def test_a_status_is_shown_again_and_again(lake):
    process = lake.start("status", "--watch", "1", "--region", SECONDARY, "--role", "arn:x")
    try:
        shown = 0
        while shown < 2:
            line = process.stdout.readline()
            assert line, "it ended"
            shown += line.startswith(f"{PRIMARY} -> {SECONDARY}")
    finally:
        process.terminate()
        process.wait()


def test_an_alert_is_sent_rather_than_lost_when_the_ledger_is_out_of_reach(lake):
    take = lake.subscribe(PRIMARY, {"kind": ["job-failed"]})
    dynamo = lake.client("dynamodb", PRIMARY)
    table_of = dynamo.describe_table(TableName="twinlake-ledger")["Table"]
    items = dynamo.scan(TableName="twinlake-ledger")["Items"]
    dynamo.delete_table(TableName="twinlake-ledger")
    lake.replay(PRIMARY, event("glue-job-FAILED", jobName="unremembered"))
    (alert,) = told(wait_for("it is told all the same", take))
    assert alert["subject"] == "job unremembered"
    keys = ("TableName", "KeySchema", "AttributeDefinitions")
    index = {key: table_of["GlobalSecondaryIndexes"][0][key]
             for key in ("IndexName", "KeySchema", "Projection")}
    dynamo.create_table(**{key: table_of[key] for key in keys}, BillingMode="PAY_PER_REQUEST",
                        GlobalSecondaryIndexes=[index])
    for item in items:
        dynamo.put_item(TableName="twinlake-ledger", Item=item)


def test_metrics_and_lines_of_the_log_are_whole(lake):
    beat(lake)
    role = f"arn:aws:iam::{ACCOUNT}:role"
    lake.client("lakeformation", PRIMARY).grant_permissions(
        Principal={"DataLakePrincipalIdentifier": f"{role}/Somebody"}, Permissions=["SELECT"],
        Resource={"Table": {"DatabaseName": "sales", "Name": "items"}})
    settle(lake)
    lake.resync()
    lake.steer("refuse", region=PRIMARY, on=True)
    lake.replay(PRIMARY, event("glue-native-table-UpdateTable", databaseName="sales",
                               tableName="items"))
    wait_for("it cannot be read", lambda: "\"outcome\":\"unread\"" in lake.logs(), seconds=60)
    lake.steer("refuse", region=PRIMARY, on=False)
    logs = lake.logs()
    emitted, lines = set(), []
    decoder = json.JSONDecoder()
    for line in logs.splitlines():
        at = line.find("{\"")
        if at < 0:
            continue
        try:
            found, _ = decoder.raw_decode(line[at:])
        except ValueError:
            continue
        if "_aws" in found:
            directive = found["_aws"]["CloudWatchMetrics"][0]
            emitted |= {metric["Name"] for metric in directive["Metrics"]}
            assert all(name in found for name in sum(directive["Dimensions"], []))
        elif found.get("message") == "reconciled":
            lines.append(found)
    assert emitted >= {"Lag", "VerifiedAge", "Behind", "Held", "DataPending", "Blocked",
                       "DeadLetters", "Watched", "Reconciled", "Applied", "Vetoed", "Calls",
                       "Faults"}
    assert {line["cause"] for line in lines} >= {"event", "resync"}
    assert {line["outcome"] for line in lines} >= {"settled", "unread"}
    for line in lines:
        assert {"subject", "rounds", "steps", "calls", "milliseconds", "outcome"} <= line.keys()
    assert any(line["calls"] > 0 for line in lines)
    # Nothing of a grant: neither who holds it nor what.
    assert any(line["steps"] > 0 and line["subject"] == "table sales.items" for line in lines)
    text = "".join(json.dumps(line) for line in lines)
    assert "Somebody" not in text and "SELECT" not in text and "arn:aws:iam" not in text
