"""Iceberg tables that the functions follow: pyiceberg commits in the primary, and reads and commits in the standby
while the primary answers nothing."""

import contextlib
import json
import threading

import pyarrow as pa
import pytest

from stack import BUCKETS, EVERY_RESYNC, PRIMARY, SITES, STANDBY, wait_for


def catalog(deployment, region):
    from pyiceberg.catalog.glue import GlueCatalog

    return GlueCatalog("lake", client=deployment.client("glue", region), **{
        "s3.endpoint": deployment.aws_url, "s3.region": region, "s3.access-key-id": "111122223333",
        "s3.secret-access-key": "local", "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"})


def keys(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"] for page in pages for entry in page.get("Contents", [])}


@contextlib.contextmanager
def s3_replication(deployment, source, target):
    """Copies each new object, as S3 does, until the context ends; then what is left."""
    end = threading.Event()
    clients = {region: deployment.client("s3", region) for region in (source, target)}
    copied = set()

    def copy():
        for key in sorted(keys(clients[source], BUCKETS[source]) - copied):
            body = clients[source].get_object(Bucket=BUCKETS[source], Key=key)["Body"].read()
            clients[target].put_object(Bucket=BUCKETS[target], Key=key, Body=body)
            copied.add(key)

    def run():
        while not end.wait(0.02):
            copy()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(30)
        copy()


def rows(table, **scan):
    return sorted(row["id"] for row in table.scan(**scan).to_arrow().to_pylist())


@pytest.fixture(scope="module")
def lake(deployment):
    deployment.policy_file.write_text('iceberg = "relocate"\n' + EVERY_RESYNC + SITES)
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "ice", "CreateTableDefaultPermissions": []})
    return deployment


def pointer(standby, name):
    with contextlib.suppress(Exception):
        return standby.load_table(name).metadata_location


def source_of(location):
    """The version and UUID in the name of a metadata file, which the relocated file keeps."""
    return location and location.rsplit("/", 1)[1][-len("00000-00000000-0000-0000-0000-000000000000.metadata.json"):]


def follows(lake, standby, table, name):
    """Waits until the standby shows the commit."""
    wait_for("the standby shows the commit",
             lambda: source_of(pointer(standby, name)) == source_of(table.metadata_location),
             detail=lambda: f"{pointer(standby, name)}, {lake.twinlake('status', '--region', STANDBY).stdout}")
    wait_for("everything is handled", lake.has_empty_queues)


def reached(table):
    """The keys of the files that the metadata.json of a table reaches."""
    paths = {table.metadata_location}
    for snapshot in table.metadata.snapshots:
        paths.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            paths.add(manifest.manifest_path)
            paths |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)}
    return {path.split("/", 3)[3] for path in paths}


def let_a_day_pass(lake, name):
    """Moves what the ledger knows of unneeded files of a table a day back. Returns their keys."""
    ledger = lake.client("dynamodb", STANDBY)
    items = ledger.scan(TableName="twinlake-ledger")["Items"]
    [item] = [item for item in items
              if item["pk"]["S"] == "relocations" and item["table"]["S"] == name]
    body = json.loads(item["body"]["S"])
    since = body["memory"]["unneeded"]["since"]
    body["memory"]["unneeded"]["since"] = {path: at - 24 * 3600 - 1 for path, at in since.items() if at}
    item["body"]["S"] = json.dumps(body)
    ledger.put_item(TableName="twinlake-ledger", Item=item)
    return {path.split("/", 3)[3] for path, at in since.items() if at}


def test_rewritten_files_that_no_shown_commit_reaches_are_removed_after_a_day_and_nothing_else(lake):
    primary, standby = catalog(lake, PRIMARY), catalog(lake, STANDBY)
    schema = pa.schema([("id", pa.int64())])
    s3 = lake.client("s3", STANDBY)
    own = "/_twinlake/"
    with s3_replication(lake, PRIMARY, STANDBY):
        table = primary.create_table("ice.events", schema, location=f"s3://{BUCKETS[PRIMARY]}/ice/events")
        for number in range(3):
            table.append(pa.table({"id": [number]}, schema))
            follows(lake, standby, table, "ice.events")
        table.delete("id = 1")
        expired = [snapshot.snapshot_id for snapshot in table.metadata.snapshots[:2]]
        table.maintenance.expire_snapshots().by_ids(expired).commit()
        follows(lake, standby, table, "ice.events")
        # The next look finds that the entry shows it, and removes nothing.
        table.append(pa.table({"id": [10]}, schema))
        follows(lake, standby, table, "ice.events")
        before = keys(s3, BUCKETS[STANDBY])
        due = let_a_day_pass(lake, "events")
        # Of the first commits the metadata.json and manifest lists, and the manifests that only they name.
        assert len(due) >= 5 and due <= before and all(own in key for key in due), due
        assert due.isdisjoint(reached(standby.load_table("ice.events")))
        table.append(pa.table({"id": [11]}, schema))
        follows(lake, standby, table, "ice.events")
        wait_for("the unneeded files are removed", lambda: due.isdisjoint(keys(s3, BUCKETS[STANDBY])))
    assert before - keys(s3, BUCKETS[STANDBY]) == due
    replica = standby.load_table("ice.events")
    needed = reached(replica)
    assert needed <= keys(s3, BUCKETS[STANDBY])
    assert {one.snapshot_id: rows(replica, snapshot_id=one.snapshot_id) for one in replica.metadata.snapshots} \
        == {one.snapshot_id: rows(table, snapshot_id=one.snapshot_id) for one in table.metadata.snapshots}
    assert rows(replica) == [0, 2, 10, 11]
    done = lake.twinlake("iceberg", "check", replica.metadata_location, "--region", STANDBY)
    assert done.returncode == 0, done.stdout
    # The bucket has versions: a removal adds a marker, and what was there can be had again.
    versions = s3.list_object_versions(Bucket=BUCKETS[STANDBY])
    assert {marker["Key"] for marker in versions.get("DeleteMarkers", [])} == due
    assert due <= {version["Key"] for version in versions["Versions"]}
    # Nothing of the primary is touched.
    assert not any(own in key for key in keys(lake.client("s3", PRIMARY), BUCKETS[PRIMARY]))


def test_commits_are_followed_and_the_standby_reads_and_writes_without_the_primary(lake):
    from pyiceberg.table import StaticTable
    from pyiceberg.types import LongType

    primary, standby = catalog(lake, PRIMARY), catalog(lake, STANDBY)

    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    with s3_replication(lake, PRIMARY, STANDBY):
        table = primary.create_table("ice.orders", schema, location=f"s3://{BUCKETS[PRIMARY]}/ice/orders")
        table.append(pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}, schema))
        follows(lake, standby, table, "ice.orders")
        table.append(pa.table({"id": [4, 5], "name": ["d", "e"]}, schema))
        table.delete("id = 2")
        with table.update_schema() as change:
            change.add_column("price", LongType())
        follows(lake, standby, table, "ice.orders")
    expected = {snapshot.snapshot_id: rows(table, snapshot_id=snapshot.snapshot_id)
                for snapshot in table.metadata.snapshots}
    parameters = lake.client("glue", STANDBY).get_table(DatabaseName="ice", Name="orders")["Table"]
    assert [column["Name"] for column in parameters["StorageDescriptor"]["Columns"]] == ["id", "name", "price"]
    assert BUCKETS[PRIMARY] not in str(parameters)

    # The primary is gone.
    lake.control_sandbox("outage", region=PRIMARY, enabled=True)
    s3 = lake.client("s3", PRIMARY)
    for key in keys(s3, BUCKETS[PRIMARY]):
        s3.delete_object(Bucket=BUCKETS[PRIMARY], Key=key)
    replica = standby.load_table("ice.orders")
    assert {one.snapshot_id: rows(replica, snapshot_id=one.snapshot_id)
            for one in replica.metadata.snapshots} == expected
    assert rows(replica) == [1, 3, 4, 5]
    done = lake.twinlake("iceberg", "check", replica.metadata_location, "--region", STANDBY)
    assert done.returncode == 0, done.stdout

    # It is written in place, and its commits go back.
    replica.append(pa.table({"id": [6], "name": ["f"], "price": [1]},
                            pa.schema([*schema, ("price", pa.int64())])))
    replica = standby.load_table("ice.orders")
    assert rows(replica) == [1, 3, 4, 5, 6]
    with s3_replication(lake, STANDBY, PRIMARY):
        pass
    back = lake.twinlake("iceberg", "relocate", replica.metadata_location, "--map",
                         f"s3://{BUCKETS[STANDBY]}=s3://{BUCKETS[PRIMARY]}", "--region", PRIMARY, "--json")
    assert back.returncode == 0, back.stdout + back.stderr
    location = json.loads(back.stdout)["metadata_location"]
    s3 = lake.client("s3", STANDBY)
    for key in keys(s3, BUCKETS[STANDBY]):
        s3.delete_object(Bucket=BUCKETS[STANDBY], Key=key)
    returned = StaticTable.from_metadata(location, {
        "s3.endpoint": lake.aws_url, "s3.region": PRIMARY, "s3.access-key-id": "111122223333",
        "s3.secret-access-key": "local"})
    assert rows(returned) == [1, 3, 4, 5, 6]
    lake.control_sandbox("outage", region=PRIMARY, enabled=False)
