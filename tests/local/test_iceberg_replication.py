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


@pytest.fixture
def lake(deployment):
    deployment.policy_file.write_text('iceberg = "relocate"\n' + EVERY_RESYNC + SITES)
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "ice", "CreateTableDefaultPermissions": []})
    return deployment


def test_commits_are_followed_and_the_standby_reads_and_writes_without_the_primary(lake):
    from pyiceberg.table import StaticTable
    from pyiceberg.types import LongType

    primary, standby = catalog(lake, PRIMARY), catalog(lake, STANDBY)

    def pointer():
        with contextlib.suppress(Exception):
            return standby.load_table("ice.orders").metadata_location

    def source_of(location):
        """The version and UUID in the name of a metadata file, which the relocated file keeps."""
        return location and location.rsplit("/", 1)[1][-len("00000-00000000-0000-0000-0000-000000000000.metadata.json"):]

    def follows(table):
        wait_for("the standby shows the commit",
                 lambda: source_of(pointer()) == source_of(table.metadata_location), seconds=130,
                 detail=lambda: f"{pointer()}, {lake.twinlake('status', '--region', STANDBY).stdout}")

    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    with s3_replication(lake, PRIMARY, STANDBY):
        table = primary.create_table("ice.orders", schema, location=f"s3://{BUCKETS[PRIMARY]}/ice/orders")
        table.append(pa.table({"id": [1, 2, 3], "name": ["a", "b", "c"]}, schema))
        follows(table)
        table.append(pa.table({"id": [4, 5], "name": ["d", "e"]}, schema))
        table.delete("id = 2")
        with table.update_schema() as change:
            change.add_column("price", LongType())
        follows(table)
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
