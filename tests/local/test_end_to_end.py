"""End-to-end tests: changes in the primary of a deployment, and what the standby has afterwards."""

import json
import random

import awswrangler as wr
import pandas as pd
import pytest

import compare
from call_rights import refused
from stack import ACCOUNT, BUCKETS, PRIMARY, ROOT, STANDBY, Deployment, wait_for

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]
ROLE = f"arn:aws:iam::{ACCOUNT}:role"


def snapshots(deployment):
    """Returns the snapshots of the primary and of the standby."""
    return [compare.snapshot(deployment.client("glue", region),
                             deployment.client("lakeformation", region))
            for region in (PRIMARY, STANDBY)]


def differences(deployment):
    return compare.differences(*snapshots(deployment), LOCATION_PAIRS)


def wait_until_identical(deployment):
    """Waits until the queues are empty and the Regions are identical."""
    wait_for("the queues are empty", deployment.has_empty_queues)
    found = []

    def is_identical():
        found[:] = differences(deployment)
        return not found

    try:
        wait_for("the Regions are identical", is_identical, every=0.3)
    except AssertionError:
        raise AssertionError("\n".join(found)) from None


def dead_letter_count(deployment):
    """Returns the number of messages in the standby's dead-letter queues."""
    sqs = deployment.client("sqs", STANDBY)
    urls = [u for u in sqs.list_queues(QueueNamePrefix="twinlake-").get("QueueUrls", [])
            if "DeadLetterQueue" in u]
    assert len(urls) == 7
    return sum(int(sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"],
    )["Attributes"]["ApproximateNumberOfMessages"]) for url in urls)


def write_calls(deployment):
    """Returns the writes among the calls since the last call of `drain_calls`."""
    return [c for c in deployment.drain_calls() if not c["call"].startswith(("Get", "List"))]


def table_input(name, database="sales", **more):
    return {
        "Name": name, "TableType": "EXTERNAL_TABLE",
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}, {"Name": "ssn", "Type": "string"}],
            "Location": f"s3://{BUCKETS[PRIMARY]}/{database}/{name}/",
        },
        **more,
    }


def table_resource(name, database="sales"):
    return {"Table": {"DatabaseName": database, "Name": name}}


def grant_request(role, resource, *permissions, option=()):
    return {"Principal": {"DataLakePrincipalIdentifier": f"{ROLE}/{role}"}, "Resource": resource,
            "Permissions": list(permissions), "PermissionsWithGrantOption": list(option)}


@pytest.fixture(scope="module")
def seeded(deployment):
    """A deployment with databases, tables, partitions and grants, replicated to the standby."""
    glue, lf = deployment.client("glue", PRIMARY), deployment.client("lakeformation", PRIMARY)
    for database in ("sales", "hr"):
        glue.create_database(DatabaseInput={
            "Name": database, "Description": "test data", "Parameters": {"owner": "data"},
            "LocationUri": f"s3://{BUCKETS[PRIMARY]}/{database}",
            "CreateTableDefaultPermissions": []})
    for name in ("orders", "items", "keep"):
        glue.create_table(DatabaseName="sales", TableInput=table_input(name))
    glue.create_table(DatabaseName="hr", TableInput=table_input("pay", "hr"))
    glue.create_table(DatabaseName="sales", TableInput={
        "Name": "full", "Description": "every field", "Owner": "hadoop", "Retention": 7,
        "TableType": "EXTERNAL_TABLE", "Parameters": {
            "classification": "orc", "comment": f"see s3://{BUCKETS[PRIMARY]}/x",
            "storage.location.template": f"s3://{BUCKETS[PRIMARY]}/sales/full/${{dt}}"},
        "PartitionKeys": [{"Name": "dt", "Type": "date", "Comment": "day"}],
        "StorageDescriptor": {
            "Columns": [{"Name": "Id", "Type": "bigint", "Comment": "key",
                         "Parameters": {"iceberg.field.id": "1"}}],
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/full/",
            "AdditionalLocations": [f"s3://{BUCKETS[PRIMARY]}/sales/more/"],
            "InputFormat": "i", "OutputFormat": "o", "Compressed": True, "NumberOfBuckets": 4,
            "SerdeInfo": {"Name": "s", "SerializationLibrary": "l",
                          "Parameters": {"path": f"s3://{BUCKETS[PRIMARY]}/sales/full"}},
            "BucketColumns": ["Id"], "SortColumns": [{"Column": "Id", "SortOrder": 1}],
            "Parameters": {"k": "v"}, "StoredAsSubDirectories": True,
            "SkewedInfo": {"SkewedColumnNames": ["Id"], "SkewedColumnValues": ["1"],
                           "SkewedColumnValueLocationMaps": {
                               "1": f"s3://{BUCKETS[PRIMARY]}/sales/full/skew"}}}})
    glue.create_table(DatabaseName="sales", TableInput={
        "Name": "view", "TableType": "VIRTUAL_VIEW", "ViewOriginalText": "/* Presto View: e30= */",
        "ViewExpandedText": "/* Presto View */", "Parameters": {"presto_view": "true"},
        "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}], "Location": ""}})
    days = [f"2026-11-{day:02}" for day in range(1, 31)] + ["a/b=c, [d]#é", " "]
    glue.batch_create_partition(DatabaseName="sales", TableName="orders", PartitionInputList=[
        {"Values": [day], "Parameters": {"rows": "3"}, "StorageDescriptor": {
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/{n}/",
            "Columns": [{"Name": "id", "Type": "int"}]}} for n, day in enumerate(days)])
    lf.grant_permissions(**grant_request("Keeper", table_resource("keep"), "DESCRIBE"))
    lf.grant_permissions(**grant_request("Steward", {"Database": {"Name": "sales"}}, "CREATE_TABLE",
                                   "DESCRIBE", option=["DESCRIBE"]))
    lf.grant_permissions(**grant_request(
        "Loader", table_resource("orders"), "SELECT", "INSERT", "DELETE"))
    lf.grant_permissions(**grant_request(
        "Wild", {"Table": {"DatabaseName": "sales", "TableWildcard": {}}}, "SELECT", "DESCRIBE"))
    columns = {"DatabaseName": "sales", "Name": "items"}
    lf.grant_permissions(**grant_request(
        "Analyst", {"TableWithColumns": {**columns, "ColumnNames": ["id"]}}, "SELECT"))
    lf.grant_permissions(**grant_request(
        "Auditor", {"TableWithColumns": {**columns, "ColumnWildcard": {
            "ExcludedColumnNames": ["ssn"]}}}, "SELECT"))
    wait_until_identical(deployment)
    return deployment


def test_a_resync_after_all_events_writes_nothing(seeded):
    seeded.resync()
    seeded.drain_calls()
    seeded.resync()
    assert write_calls(seeded) == []
    seeded.invoke(STANDBY, "Monitor")
    status = seeded.twinlake("status", "--region", STANDBY)
    assert status.returncode == 0 and "verified as of" in status.stdout, status.stdout


def test_the_comparison_detects_a_change_of_any_single_field(seeded):
    """Tests compare.py itself, with random fields."""
    primary, standby = snapshots(seeded)
    assert compare.differences(primary, standby, LOCATION_PAIRS) == []
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    ignored = set(primary["admins"]) | set(standby["admins"])
    paths = [path for kind in ("databases", "tables", "partitions", "grants")
             for path in compared_paths(standby[kind], (kind,), ignored)]
    assert len(paths) > 300
    for path in rng.sample(paths, 300):
        corrupted = json.loads(json.dumps(standby, default=str))
        corrupt(corrupted, path)
        original = json.loads(json.dumps(primary, default=str))
        found = compare.differences(original, corrupted, LOCATION_PAIRS)
        assert found, f"seed {seed}: the change of {path} was not detected"


def compared_paths(value, path, ignored):
    """Yields the paths of all scalar values that the comparison must read."""
    if path[0] == "grants" and len(path) == 2:
        principal = value["Principal"]["DataLakePrincipalIdentifier"]
        if principal in ignored or ":role/twinlake/" in principal:
            return
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in compare.READ_ONLY | {"LastUpdated"}:
                yield from compared_paths(inner, path + (key,), ignored)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from compared_paths(inner, path + (index,), ignored)
    elif isinstance(value, bool) or (value not in ([], {}, "", None)):
        yield path


def corrupt(root, path):
    """Changes the scalar value at a path."""
    for key in path[:-1]:
        root = root[key]
    value = root[path[-1]]
    if isinstance(value, bool):
        root[path[-1]] = not value
    elif isinstance(value, (int, float)):
        root[path[-1]] = value + 1
    else:
        root[path[-1]] = f"{value}x"


def test_a_revoke_event_before_its_grant_event_leaves_no_grant(seeded):
    lf = seeded.client("lakeformation", PRIMARY)
    grant = grant_request("Late", table_resource("orders"), "SELECT")
    seeded.control_sandbox("event-delivery", enabled=False)
    lf.grant_permissions(**grant)
    lf.revoke_permissions(**grant)
    seeded.control_sandbox("event-delivery", enabled=True)
    for name in ("RevokePermissions", "GrantPermissions"):
        seeded.put_event(PRIMARY, cloudtrail_event(name, grant))
    wait_until_identical(seeded)


def test_an_event_of_a_grant_that_the_primary_does_not_have_grants_nothing(seeded):
    seeded.put_event(PRIMARY, cloudtrail_event(
        "GrantPermissions", grant_request("Nobody", table_resource("orders"), "SELECT")))
    # When a second change is replicated, the first event was handled, too.
    lf = seeded.client("lakeformation", PRIMARY)
    lf.grant_permissions(**grant_request("Second", table_resource("orders"), "DESCRIBE"))
    wait_until_identical(seeded)
    listed = str(seeded.client("lakeformation", STANDBY).list_permissions())
    assert "Second" in listed and "Nobody" not in listed


def cloudtrail_event(name, call):
    def lower_keys(value):
        if isinstance(value, dict):
            return {k[0].lower() + k[1:]: lower_keys(v) for k, v in value.items()}
        return [lower_keys(v) for v in value] if isinstance(value, list) else value

    return {
        "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": "lakeformation.amazonaws.com", "eventName": name,
                   "awsRegion": PRIMARY, "recipientAccountId": ACCOUNT, "readOnly": False,
                   "requestParameters": lower_keys(call)},
    }


def test_one_resync_corrects_what_lost_events_left_behind(seeded):
    glue, lf = seeded.client("glue", PRIMARY), seeded.client("lakeformation", PRIMARY)
    receive = seeded.subscribe(STANDBY, {"kind": ["drift"]})
    seeded.resync()
    seeded.control_sandbox("event-delivery", enabled=False)
    changed = table_input("orders")
    changed["StorageDescriptor"]["Columns"].append({"Name": "note", "Type": "string"})
    glue.update_table(DatabaseName="sales", TableInput=changed)
    glue.delete_table(DatabaseName="sales", Name="view")
    glue.batch_delete_partition(DatabaseName="sales", TableName="orders",
                                PartitionsToDelete=[{"Values": ["2026-11-01"]}])
    lf.revoke_permissions(**grant_request("Loader", table_resource("orders"), "DELETE"))
    lf.grant_permissions(**grant_request("Loader", table_resource("items"), "INSERT"))
    seeded.control_sandbox("event-delivery", enabled=True)
    assert len(differences(seeded)) >= 5
    seeded.resync()
    assert differences(seeded) == []
    (alert,) = wait_for("the drift alert arrives", receive)
    assert alert["MessageAttributes"]["severity"]["Value"] == "warn"
    seeded.drain_calls()
    seeded.resync()
    assert write_calls(seeded) == []


def test_nothing_is_written_with_a_ledger_in_a_file_beside_a_deployment(seeded):
    """Such a ledger knows of no takeover, and no fence stops what is written with it."""
    policy = ("--policy", str(seeded.policy_file))
    file = seeded.home / "own.ledger"
    for command in (("resync",), ("apply", "--yes"), ("approve-deletions", "sales.keep", "--yes")):
        done = seeded.twinlake(*command, *policy, "--ledger", str(file), check=False)
        assert done.returncode == 1, done
        assert f"Twinlake is deployed in {PRIMARY}" in done.stderr and "without --ledger" in done.stderr, done
    assert not file.exists()
    # Reading is no harm.
    seeded.twinlake("plan", *policy, "--ledger", str(file))


def test_bootstrap_refuses_a_ledger_table_that_does_not_exist(seeded):
    bootstrap = ("bootstrap", "--policy", str(seeded.policy_file), "--twinlake-role", f"{ROLE}/New", "--dry-run")
    done = seeded.twinlake(*bootstrap, "--ledger-table", "other", check=False)
    assert done.returncode == 1 and "--ledger-table other: neither Region has this table" in done.stderr, done
    assert seeded.twinlake(*bootstrap).returncode == 2


def test_messages_that_cannot_be_parsed_cause_an_alert_and_block_nothing(seeded):
    receive = seeded.subscribe(STANDBY, {"kind": ["read-failed"]})
    sqs = seeded.client("sqs", STANDBY)
    queues = sqs.list_queues(QueueNamePrefix="twinlake-")["QueueUrls"]
    (catalog_queue,) = [q for q in queues if "CatalogQueue" in q]
    bodies = ["{", "[]", "null", "[" * 5000, '{"source": 7}', "x" * 200_000,
              json.dumps({"source": "aws.glue", "detail": {"databaseName": "\u001b[2J"}})]
    for body in bodies:
        sqs.send_message(QueueUrl=catalog_queue, MessageBody=body)
    glue = seeded.client("glue", PRIMARY)
    glue.create_table(DatabaseName="hr", TableInput=table_input("after", "hr"))
    wait_until_identical(seeded)
    alerts = wait_for("the alert arrives", receive)
    for alert in alerts:
        assert "\u001b" not in alert["Message"] and "could not be understood" in alert["Message"]
    # Concurrent functions may send the alert twice, under one key.
    assert len({json.loads(alert["Message"])["key"] for alert in alerts}) == 1
    assert dead_letter_count(seeded) == 0


def test_a_conflict_causes_an_alert_and_is_resolved(seeded):
    glue, standby_glue = seeded.client("glue", PRIMARY), seeded.client("glue", STANDBY)
    receive_new = seeded.subscribe(STANDBY, {"kind": ["conflict"], "state": ["new"]})
    receive_resolved = seeded.subscribe(STANDBY, {"kind": ["conflict"], "state": ["resolved"]})
    standby_glue.create_table(
        DatabaseName="hr", TableInput=table_input("foreign", "hr", Description="mine"))
    glue.create_table(DatabaseName="hr", TableInput=table_input("foreign", "hr"))
    (message,) = wait_for("the alert arrives", receive_new)
    alert = json.loads(message["Message"])
    assert alert["subject"] == "table hr.foreign"
    wait_for("the queues are empty", seeded.has_empty_queues)
    standby_glue.delete_table(DatabaseName="hr", Name="foreign")
    glue.update_table(
        DatabaseName="hr", TableInput=table_input("foreign", "hr", Description="ours"))
    wait_until_identical(seeded)
    (message,) = wait_for("the alert is resolved", receive_resolved)
    assert json.loads(message["Message"])["key"] == alert["key"]
    assert receive_new() == []


def test_a_failed_job_and_a_denied_call_cause_alerts_in_their_region(seeded):
    def event(name, **detail):
        found = json.loads((ROOT / f"events/{name}.json").read_text())
        return {**found, "detail": {**found["detail"], **detail}}

    receive_jobs = seeded.subscribe(PRIMARY, {"kind": ["job-failed"]})
    receive_denials = seeded.subscribe(
        PRIMARY, {"kind": ["user-access-denied"], "database": ["sales"]})
    for _ in range(3):
        seeded.put_event(PRIMARY, event("glue-job-FAILED"))
        seeded.put_event(PRIMARY, event("ct-lakeformation-GetDataAccess-denied"))
    (job,) = wait_for("the alert about the job arrives", receive_jobs)
    (denial,) = wait_for("the alert about the denied call arrives", receive_denials)
    wait_for("the queues are empty", seeded.has_empty_queues)
    assert job["MessageAttributes"]["state"]["Value"] == "new"
    summary = json.loads(denial["Message"])["summary"]
    assert "role/DataLakeAdmin was denied GetDataAccess" in summary
    assert receive_jobs() == receive_denials() == [], "one message for repeated events"
    seeded.put_event(PRIMARY, event("glue-job-FAILED", state="SUCCEEDED"))
    (message,) = wait_for("the alert about the job is resolved", receive_jobs)
    resolved = json.loads(message["Message"])
    assert (resolved["state"], resolved["total"]) == ("resolved", 3)
    assert resolved["key"] == json.loads(job["Message"])["key"]


def test_a_lost_permission_of_twinlake_deletes_nothing_and_pages(seeded):
    receive = seeded.subscribe(STANDBY, {"severity": ["page"]})
    before = seeded.client("glue", STANDBY).get_tables(DatabaseName="sales")["TableList"]
    assert len(before) > 3
    settings = seeded.client("lakeformation", PRIMARY).get_data_lake_settings()
    for admin in settings["DataLakeSettings"]["DataLakeAdmins"]:
        arn = admin["DataLakePrincipalIdentifier"]
        if ":role/twinlake/" in arn:
            seeded.control_sandbox("remove-access", region=PRIMARY, principal=arn)
    seeded.resync()
    after = seeded.client("glue", STANDBY).get_tables(DatabaseName="sales")["TableList"]
    assert [t["Name"] for t in after] == [t["Name"] for t in before]
    (alert,) = wait_for("the alert arrives", receive)
    assert alert["MessageAttributes"]["kind"]["Value"] == "twinlake-access-denied"
    assert json.loads(alert["Message"])["action"].startswith("Restore the permissions of the role")


def test_a_dataset_is_readable_in_the_standby_while_the_primary_is_down():
    """awswrangler writes and changes a dataset. Then the primary's Glue refuses connections, and
    its bucket is deleted."""
    with Deployment() as deployment:
        session, standby_session = deployment.session(PRIMARY), deployment.session(STANDBY)
        wr.config.s3_endpoint_url = deployment.aws_url
        wr.config.glue_endpoint_url = deployment.sandbox_url
        path = f"s3://{BUCKETS[PRIMARY]}/shop/orders/"
        wr.catalog.create_database("shop", boto3_session=session)
        frame = pd.DataFrame({"id": [1, 2, 3], "amount": [1.5, 2.5, 3.5],
                              "dt": ["2026-11-19", "2026-11-20", "2026-11-20"]})
        write = dict(path=path, dataset=True, database="shop", partition_cols=["dt"],
                     boto3_session=session)
        wr.s3.to_parquet(frame, table="orders", **write)
        wr.s3.to_parquet(frame, table="dropped", **{**write, "path": path + "../dropped/"})
        wait_until_identical(deployment)
        added = frame.assign(note=["a", "b", "c"], dt=["2026-11-21"] * 3)
        wr.s3.to_parquet(added, table="orders", mode="append", **write)
        wr.catalog.delete_partitions("orders", "shop", [["2026-11-19"]], boto3_session=session)
        wr.catalog.delete_table_if_exists("shop", "dropped", boto3_session=session)
        wait_until_identical(deployment)

        deployment.control_sandbox("outage", region=PRIMARY, enabled=True)
        s3 = deployment.client("s3", PRIMARY)
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=BUCKETS[PRIMARY]):
            for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
                s3.delete_object(Bucket=BUCKETS[PRIMARY], Key=version["Key"],
                                 VersionId=version["VersionId"])
        s3.delete_bucket(Bucket=BUCKETS[PRIMARY])
        with pytest.raises(Exception, match="onnection"):
            wr.catalog.table("shop", "orders", boto3_session=session)

        assert not wr.catalog.does_table_exist("shop", "dropped", boto3_session=standby_session)
        partitions = wr.catalog.get_parquet_partitions(
            "shop", "orders", boto3_session=standby_session)
        assert sorted(v for values in partitions.values() for v in values) == [
            "2026-11-20", "2026-11-21"]
        rows = pd.concat([
            wr.s3.read_parquet(
                location, boto3_session=standby_session, dataset=False).assign(dt=values[0])
            for location, values in partitions.items()])
        values = sorted((r.id, r.amount, r.dt, r.note if isinstance(r.note, str) else None)
                        for r in rows.itertuples())
        assert values == sorted([
            (2, 2.5, "2026-11-20", None), (3, 3.5, "2026-11-20", None),
            (1, 1.5, "2026-11-21", "a"), (2, 2.5, "2026-11-21", "b"),
            (3, 3.5, "2026-11-21", "c")])


def test_a_right_that_a_role_lacks_is_seen_in_the_recorded_calls(deployment):
    """The fixture judges all calls of each module. Here each statement that allows a recorded call is taken away."""
    for logical in ("Heartbeat", "Monitor", "Digest", "Readiness", "Canary"):
        deployment.invoke(STANDBY, logical)
    calls, policies = deployment.recorded_calls()
    assert refused(calls, policies, ACCOUNT) == []
    needed = {}
    for role, documents in policies.items():
        for at, document in enumerate(documents):
            for number, statement in enumerate(document["Statement"]):
                if statement["Effect"] != "Allow":
                    continue
                rest = [*documents]
                rest[at] = {**document, "Statement": [
                    other for other in document["Statement"] if other is not statement]}
                missing = refused([call for call in calls if call["role"] == role], {role: rest}, ACCOUNT)
                if missing:
                    needed.setdefault(role, []).append((statement.get("Sid", number), missing[0]))
    # Each role made a call that rests on one statement alone.
    assert needed.keys() == policies.keys()
    functions = {role.rsplit("/", 1)[1].split("-")[-2] for role in needed}
    assert {"CatalogEventRole", "PermissionEventRole", "ResyncRole", "ReadinessRole", "MonitorRole"} <= functions
    statements = {sid for found in needed.values() for sid, _ in found}
    assert {"ReadBothCatalogs", "WriteLocalCatalog", "ReadBothPermissions", "WriteLocalPermissions", "LocalLedger",
            "ReadPeerEpochAndPolicy"} <= statements, needed
