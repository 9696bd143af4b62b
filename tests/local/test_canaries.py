"""Canaries between the buckets of a deployment, whose rules the local AWS applies in both directions.

The local AWS replicates an object while it is written, and gives each replica the key of its source.
"""

import json

import pytest

from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY, wait_for

LEDGER = "twinlake-ledger"
STATE_KEY = {"pk": {"S": "meta"}, "sk": {"S": "canaries"}}
PEER = {PRIMARY: STANDBY, STANDBY: PRIMARY}


@pytest.fixture(scope="module")
def pair(deployment):
    """A deployment whose buckets replicate both ways."""
    for region in BUCKETS:
        put_rule(deployment, region)
    return deployment


def put_rule(pair, region, status="Enabled", **changes):
    rule = {
        "ID": "lake", "Status": status, "Priority": 1, "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": f"arn:aws:s3:::{BUCKETS[PEER[region]]}"}, **changes}
    pair.client("s3", region).put_bucket_replication(
        Bucket=BUCKETS[region], ReplicationConfiguration={
            "Role": f"arn:aws:iam::{ACCOUNT}:role/replication", "Rules": [rule]})


def run_canaries(pair):
    """Both functions run. Each looks for what the other one has listed before."""
    for region in (PRIMARY, STANDBY, PRIMARY, STANDBY):
        pair.invoke(region, "Canary")


def status(pair):
    """The status, from the ledger of the standby."""
    return json.loads(pair.twinlake("status", "--json", "--region", STANDBY).stdout)


def rule_to(pair, region):
    """What canaries say of the rule whose replicas a Region receives."""
    (rule,) = [r for r in status(pair)["canaries"]["rules"] if r["destination"] == BUCKETS[region]]
    return rule


def unproven(pair):
    return status(pair)["canaries"]["unproven"]


def versions(pair, region, prefix=""):
    """The versions in a bucket, and its delete markers."""
    found = pair.client("s3", region).list_object_versions(Bucket=BUCKETS[region], Prefix=prefix)
    return found.get("Versions", []), found.get("DeleteMarkers", [])


def alerts_in(messages):
    return [json.loads(message["Message"]) for message in messages]


def test_canaries_arrive_in_both_directions(pair):
    run_canaries(pair)
    for region in (PRIMARY, STANDBY):
        rule = rule_to(pair, region)
        assert rule["bucket"] == BUCKETS[PEER[region]]
        assert rule["arrived"] and rule["seconds"] < 300, rule
        key = rule["key"]
        assert key.startswith("_twinlake_canary/_")
        head = pair.client("s3", region).head_object(Bucket=BUCKETS[region], Key=key)
        assert head["ReplicationStatus"] == "REPLICA"
        pair.invoke(region, "Monitor")
    assert unproven(pair) == []
    assert status(pair)["lag"]["storage"]["seconds"] < 300
    text = pair.twinlake("status", "--region", STANDBY).stdout
    assert ", storage " in text and "storage not measured" not in text


def test_old_versions_of_canaries_are_deleted_by_id_and_nothing_else(pair):
    run_canaries(pair)
    s3 = pair.client("s3", PRIMARY)
    key = rule_to(pair, STANDBY)["key"]
    old = {"local-age-seconds": "7200"}
    # An old object of each kind: of the canary, of another name below its key, and of a table.
    others = [f"{key}x", "sales/orders/1.parquet"]
    for name in (key, key, *others):
        s3.put_object(Bucket=BUCKETS[PRIMARY], Key=name, Body=b"x", Metadata=old)
    # A new one is the newest again.
    before = {region: len(versions(pair, region, key)[0]) for region in BUCKETS}
    run_canaries(pair)
    for region in BUCKETS:
        listed, markers = versions(pair, region)
        assert markers == []
        assert {name for name in others} <= {version["Key"] for version in listed}
        kept = [version for version in listed if version["Key"] == key]
        # Two were old; the function of the primary wrote two.
        assert len(kept) == before[region] - 1 - 2 + 2, (region, kept)
        head = pair.client("s3", region).head_object(Bucket=BUCKETS[region], Key=key)
        assert "twinlake-written-at" in head["Metadata"]


def test_a_disabled_rule_raises_an_alert_until_it_is_enabled(pair):
    run_canaries(pair)
    receive = pair.subscribe(STANDBY, {"kind": ["lagging", "channel-stalled"]})
    pair.invoke(STANDBY, "Monitor")
    assert [a for a in alerts_in(receive()) if "storage" in a["subject"]] == []

    put_rule(pair, PRIMARY, "Disabled")
    let_an_hour_pass(pair, rule_to(pair, STANDBY)["key"])
    run_canaries(pair)
    rule = rule_to(pair, STANDBY)
    assert "disabled" in rule["state"] and rule["seconds"] >= 3300, rule
    pair.invoke(STANDBY, "Monitor")
    received = []

    def storage_alerts(state):
        received.extend(alerts_in(receive()))
        return [a for a in received if (a["subject"], a["state"]) == ("channel storage", state)]

    (alert,) = wait_for("the alert arrives", lambda: storage_alerts("new"))
    assert alert["kind"] == "lagging" and alert["severity"] == "page"
    assert f"rule lake of the bucket {BUCKETS[PRIMARY]}" in alert["summary"]
    assert "no enabled rule" in unproven(pair)[0]["reason"]
    assert "Unproven S3 replication" in pair.twinlake("status", "--region", STANDBY).stdout
    # The other direction is not affected.
    assert rule_to(pair, PRIMARY)["seconds"] < 300

    put_rule(pair, PRIMARY)
    run_canaries(pair)
    pair.invoke(STANDBY, "Monitor")
    (resolved,) = wait_for("the alert is resolved", lambda: storage_alerts("resolved"))
    assert resolved["key"] == alert["key"]


def let_an_hour_pass(pair, key):
    """Makes the last canary of the primary an hour older: in the ledger, and in the standby's bucket."""
    for version in versions(pair, STANDBY, key)[0]:
        pair.client("s3", STANDBY).delete_object(
            Bucket=BUCKETS[STANDBY], Key=key, VersionId=version["VersionId"])
    dynamodb = pair.client("dynamodb", STANDBY)
    item = dynamodb.get_item(TableName=LEDGER, Key=STATE_KEY)["Item"]
    state = json.loads(item["body"]["S"])
    (known,) = state["received"]["canaries"]
    for time in ("sent", "done"):
        known["health"]["last"][time] -= 3600
    item["body"]["S"] = json.dumps(state)
    dynamodb.put_item(TableName=LEDGER, Item=item)


def test_a_replica_with_another_key_proves_nothing(pair):
    s3 = pair.client("s3", PRIMARY)
    keys = {region: pair.client("kms", region).create_key()["KeyMetadata"]["Arn"]
            for region in BUCKETS}
    s3.put_bucket_encryption(
        Bucket=BUCKETS[PRIMARY], ServerSideEncryptionConfiguration={"Rules": [{
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": keys[PRIMARY]}}]})
    destination = {
        "Bucket": f"arn:aws:s3:::{BUCKETS[STANDBY]}",
        "EncryptionConfiguration": {"ReplicaKmsKeyID": keys[STANDBY]}}
    put_rule(pair, PRIMARY, Destination=destination, SourceSelectionCriteria={
        "SseKmsEncryptedObjects": {"Status": "Enabled"}})
    try:
        run_canaries(pair)
        rule = rule_to(pair, STANDBY)
        assert keys[PRIMARY] in rule["state"] or "not encrypted" in rule["state"], rule
        done = pair.twinlake(
            "doctor", "--policy", "policy.toml", "--json",
            "--caller-arn", f"arn:aws:iam::{ACCOUNT}:role/twinlake/local")
        found = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "canary"]
        assert [(f["severity"], f["region"]) for f in found] == [("blocker", PRIMARY)], found
        assert f"--key '{rule['key']}'" in found[0]["remedy"]
    finally:
        s3.delete_bucket_encryption(Bucket=BUCKETS[PRIMARY])
        put_rule(pair, PRIMARY)


def test_a_canary_that_s3_does_not_replicate_makes_no_table_wait_for_data(pair):
    run_canaries(pair)
    receive = pair.subscribe(STANDBY, {"kind": ["replication-failed"]})
    glue = pair.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
    glue.create_table(DatabaseName="sales", TableInput={
        "Name": "whole_bucket", "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}], "Location": f"s3://{BUCKETS[PRIMARY]}/"}})
    pair.resync()
    s3 = pair.client("s3", STANDBY)
    s3.delete_bucket_replication(Bucket=BUCKETS[STANDBY])
    s3.put_bucket_versioning(
        Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Suspended"})
    try:
        pair.invoke(PRIMARY, "Canary")
        received = wait_for("the alert arrives", lambda: alerts_in(receive()))
        (alert,) = received
        assert alert["subject"].startswith(f"bucket {BUCKETS[PRIMARY]} rule lake")
        assert "canary of Twinlake" in alert["current_state"]
        assert status(pair)["data_pending"] == []
    finally:
        s3.put_bucket_versioning(
            Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Enabled"})
        put_rule(pair, STANDBY)
