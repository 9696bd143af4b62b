"""The CLI against moto, an emulator of Glue and Lake Formation by another project."""

import json
import os
import pathlib
import subprocess
import sys
import urllib.request

import boto3
import pytest

import compare
import fixture_permissions as permissions
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, STANDBY, TARGET, free_port, wait_for

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"
ANALYST = {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/Analyst"}
# A policy key for moto, which answers every request for column statistics with an error.
NO_STATISTICS = 'column-statistics = "none"\n'


class Moto:
    """A moto server, and a directory with a policy in which the CLI runs."""

    def __init__(self, home):
        self.home = home
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        server = pathlib.Path(__file__).parent / "moto_with_stubs.py"
        self.log = open(home / "moto.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, str(server), str(port)], stdout=self.log,
            stderr=subprocess.STDOUT, cwd=home, env={**os.environ, "MOTO_ACCOUNT_ID": ACCOUNT})
        wait_for("moto answers", self.is_healthy)
        self.write_policy(NO_STATISTICS)

    def write_policy(self, keys):
        """Writes the policy, with additional keys before the tables."""
        (self.home / "policy.toml").write_text(keys + POLICY)

    def is_healthy(self):
        try:
            with urllib.request.urlopen(f"{self.url}/moto-api/data.json", timeout=2):
                return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()

    def client(self, service, region):
        return boto3.client(service, region_name=region, endpoint_url=self.url,
                            aws_access_key_id=ACCOUNT, aws_secret_access_key="x")

    def call_recorder(self, command):
        request = urllib.request.Request(f"{self.url}/moto-api/recorder/{command}", method="POST")
        if command == "download-recording":
            request.method = "GET"
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()

    def recorded_calls(self, act):
        """Calls `act`, and returns the names of the API calls that moto recorded meanwhile."""
        self.call_recorder("reset-recording")
        self.call_recorder("start-recording")
        act()
        self.call_recorder("stop-recording")
        calls = []
        for line in self.call_recorder("download-recording").splitlines():
            if line.strip():
                record = json.loads(line)
                headers = {k.lower(): v for k, v in dict(record["headers"]).items()}
                target = headers.get("x-amz-target")
                path = record["url"].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
                calls.append(target.split(".")[1] if target else path)
        return calls

    def twinlake(self, *args):
        return subprocess.run(
            [str(TARGET / "twinlake"), *args, "--policy", "policy.toml", "--ledger", "twinlake.ledger",
             "--caller-arn", ROLE],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "AWS_ACCESS_KEY_ID": ACCOUNT,
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url},
            cwd=self.home, capture_output=True, text=True, timeout=120)

    def resync(self):
        done = self.twinlake("resync", "--json")
        assert done.returncode != 1, done.stderr
        return json.loads(done.stdout)

    def differences(self):
        # Moto supports neither functions nor column statistics, and lists no partition indexes.
        snapshots = [compare.snapshot(self.client("glue", r), self.client("lakeformation", r), ())
                     for r in (PRIMARY, STANDBY)]
        return compare.differences(*snapshots, LOCATION_PAIRS)


@pytest.fixture
def moto(tmp_path):
    running = Moto(tmp_path)
    yield running
    running.stop()


def is_write(call):
    return not call.removeprefix("Batch").startswith(("Get", "List", "Describe", "Search"))


def create_catalog(moto):
    """Creates a catalog with grants in the primary."""
    glue, lf = moto.client("glue", PRIMARY), moto.client("lakeformation", PRIMARY)
    for region in (PRIMARY, STANDBY):
        moto.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [{"DataLakePrincipalIdentifier": ROLE}],
            "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": []})
    for d in range(3):
        database = f"db{d}"
        glue.create_database(DatabaseInput={
            "Name": database, "LocationUri": f"s3://{BUCKETS[PRIMARY]}/{database}",
            "CreateTableDefaultPermissions": []})
        for t in range(5):
            location = f"s3://{BUCKETS[PRIMARY]}/{database}/t{t}/"
            glue.create_table(DatabaseName=database, TableInput={
                "Name": f"t{t}", "TableType": "EXTERNAL_TABLE", "Parameters": {"k": str(t)},
                "PartitionKeys": [{"Name": "dt", "Type": "string"}],
                "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                                      "Location": location,
                                      "SerdeInfo": {"Parameters": {"a": "b"}}}})
            glue.batch_create_partition(
                DatabaseName=database, TableName=f"t{t}",
                PartitionInputList=[{"Values": [f"{n}"], "Parameters": {"n": str(n)},
                                     "StorageDescriptor": {"Location": f"{location}{n}/"}}
                                    for n in range(20)])
        lf.grant_permissions(
            Principal={"DataLakePrincipalIdentifier": ROLE}, Permissions=["SELECT", "DESCRIBE"],
            Resource={"Table": {"DatabaseName": database, "TableWildcard": {}}})
        lf.grant_permissions(Principal=ANALYST, Resource={"Database": {"Name": database}},
                             Permissions=["DESCRIBE", "CREATE_TABLE"])
        # Without grant options: moto's batch calls read them from another key.
        lf.grant_permissions(
            Principal=ANALYST, Resource={"Table": {"DatabaseName": database, "Name": "t0"}},
            Permissions=["SELECT", "INSERT"])
        lf.grant_permissions(
            Principal=ANALYST, Permissions=["SELECT"], Resource={"TableWithColumns": {
                "DatabaseName": database, "Name": "t1", "ColumnNames": ["id"]}})


def test_the_first_resync_makes_the_standby_identical_and_the_second_writes_nothing(moto):
    create_catalog(moto)
    first = moto.recorded_calls(moto.resync)
    assert moto.differences() == []
    assert sum(map(is_write, first)) > 30
    second = moto.recorded_calls(moto.resync)
    assert [call for call in second if is_write(call)] == []
    assert second, "the recorder did not see the reads"


def test_a_resync_corrects_drift(moto):
    create_catalog(moto)
    moto.resync()
    glue, lf = moto.client("glue", PRIMARY), moto.client("lakeformation", PRIMARY)
    glue.update_table(DatabaseName="db0", TableInput={
        "Name": "t0", "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"},
                                                        {"Name": "new", "Type": "string"}],
                                            "Location": f"s3://{BUCKETS[PRIMARY]}/db0/t0/"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}]})
    glue.delete_table(DatabaseName="db1", Name="t1")
    glue.batch_delete_partition(DatabaseName="db2", TableName="t2",
                                PartitionsToDelete=[{"Values": ["7"]}])
    lf.revoke_permissions(Principal=ANALYST, Permissions=["INSERT"], Resource={
        "Table": {"DatabaseName": "db2", "Name": "t0"}})
    assert moto.differences()
    moto.resync()
    assert moto.differences() == []


def test_the_permissions_that_moto_supports_are_replicated_once(moto):
    create_catalog(moto)
    lf = moto.client("lakeformation", PRIMARY)
    permissions.create_catalog(moto.client("glue", PRIMARY))
    permissions.create_lakeformation_objects(lf, moto=True)
    for database in permissions.DATABASES:
        lf.grant_permissions(
            Principal=permissions.principal_field(ROLE), Permissions=["SELECT", "DESCRIBE"],
            Resource={"Table": {"DatabaseName": database, "TableWildcard": {}}})
    permissions.grant_all(lf, permissions.grants(moto=True))
    kinds = ("lf-tags", "lf-tag-assignments", "registrations")

    def differences():
        return compare.differences(*(
            compare.snapshot(moto.client("glue", r), moto.client("lakeformation", r), (), kinds)
            for r in (PRIMARY, STANDBY)), LOCATION_PAIRS)
    assert len(differences()) > 40
    moto.resync()
    assert differences() == []
    again = moto.recorded_calls(moto.resync)
    assert [call for call in again if is_write(call)] == []
