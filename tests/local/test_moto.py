"""Over moto: somebody else's reading of Glue and Lake Formation, through the real adapters and
the command line with its ledger in a file."""

import json
import subprocess
import sys
import urllib.request
import pathlib

import boto3
import pytest

import compare
import lake
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, SECONDARY, TARGET, free_port, wait_for

PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[SECONDARY]}")]
ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"


class Moto:
    def __init__(self, home):
        self.home = home
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        server = pathlib.Path(__file__).parent / "moto_lake.py"
        self.log = open(home / "moto.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, str(server), str(port)], stdout=self.log,
            stderr=subprocess.STDOUT, cwd=home)
        wait_for("moto answers", self.answers)
        # It answers every question for statistics with an error.
        (home / "policy.toml").write_text('statistics = "none"\n' + POLICY)

    def answers(self):
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

    def recorder(self, order):
        request = urllib.request.Request(f"{self.url}/moto-api/recorder/{order}", method="POST")
        if order == "download-recording":
            request.method = "GET"
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()

    def recorded(self, act):
        """The calls that an act makes, by name, as moto's own recorder saw them."""
        self.recorder("reset-recording")
        self.recorder("start-recording")
        act()
        self.recorder("stop-recording")
        calls = []
        for line in self.recorder("download-recording").splitlines():
            if line.strip():
                record = json.loads(line)
                headers = {k.lower(): v for k, v in dict(record["headers"]).items()}
                target = headers.get("x-amz-target")
                path = record["url"].split("?")[0].rstrip("/").rsplit("/", 1)[-1]
                calls.append(target.split(".")[1] if target else path)
        return calls

    def resync(self):
        done = subprocess.run(
            [str(TARGET / "twinlake"), "resync", "--policy", "policy.toml", "--ledger",
             "ledger.json", "--role", ROLE, "--json"],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "AWS_ACCESS_KEY_ID": ACCOUNT,
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url},
            cwd=self.home, capture_output=True, text=True, timeout=120)
        assert done.returncode != 1, done.stderr
        return json.loads(done.stdout)

    def differences(self):
        # Moto knows no functions, no statistics, and of indexes none but an empty list.
        sides = [compare.snapshot(self.client("glue", r), self.client("lakeformation", r), ())
                 for r in (PRIMARY, SECONDARY)]
        return compare.differences(*sides, PAIRS)


@pytest.fixture
def moto(tmp_path):
    running = Moto(tmp_path)
    yield running
    running.stop()


def is_write(call):
    return not call.removeprefix("Batch").startswith(("Get", "List", "Describe", "Search"))


def fill(moto):
    glue, service = moto.client("glue", PRIMARY), moto.client("lakeformation", PRIMARY)
    for region in (PRIMARY, SECONDARY):
        moto.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [{"DataLakePrincipalIdentifier": ROLE}],
            "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": []})
    for d in range(3):
        database = f"db{d}"
        glue.create_database(DatabaseInput={
            "Name": database, "LocationUri": f"s3://{BUCKETS[PRIMARY]}/{database}",
            "CreateTableDefaultPermissions": []})
        for t in range(5):
            place = f"s3://{BUCKETS[PRIMARY]}/{database}/t{t}/"
            glue.create_table(DatabaseName=database, TableInput={
                "Name": f"t{t}", "TableType": "EXTERNAL_TABLE", "Parameters": {"k": str(t)},
                "PartitionKeys": [{"Name": "dt", "Type": "string"}],
                "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                                      "Location": place, "SerdeInfo": {"Parameters": {"a": "b"}}}})
            glue.batch_create_partition(
                DatabaseName=database, TableName=f"t{t}",
                PartitionInputList=[{"Values": [f"{n}"], "Parameters": {"n": str(n)},
                                     "StorageDescriptor": {"Location": f"{place}{n}/"}}
                                    for n in range(20)])
        service.grant_permissions(
            Principal={"DataLakePrincipalIdentifier": ROLE}, Permissions=["SELECT", "DESCRIBE"],
            Resource={"Table": {"DatabaseName": database, "TableWildcard": {}}})
        who = {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/Analyst"}
        service.grant_permissions(Principal=who, Resource={"Database": {"Name": database}},
                               Permissions=["DESCRIBE", "CREATE_TABLE"])
        # Without grant options: moto's batch calls look for them under another key.
        service.grant_permissions(
            Principal=who, Resource={"Table": {"DatabaseName": database, "Name": "t0"}},
            Permissions=["SELECT", "INSERT"])
        service.grant_permissions(
            Principal=who, Permissions=["SELECT"], Resource={"TableWithColumns": {
                "DatabaseName": database, "Name": "t1", "ColumnNames": ["id"]}})


def test_the_first_sync_is_identical_and_the_second_writes_nothing(moto):
    fill(moto)
    first = moto.recorded(moto.resync)
    assert moto.differences() == []
    assert sum(map(is_write, first)) > 30
    second = moto.recorded(moto.resync)
    assert [call for call in second if is_write(call)] == []
    assert second, "the recorder saw the reads"


def test_drift_is_mended(moto):
    fill(moto)
    moto.resync()
    glue, service = moto.client("glue", PRIMARY), moto.client("lakeformation", PRIMARY)
    glue.update_table(DatabaseName="db0", TableInput={
        "Name": "t0", "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"},
                                                        {"Name": "new", "Type": "string"}],
                                            "Location": f"s3://{BUCKETS[PRIMARY]}/db0/t0/"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}]})
    glue.delete_table(DatabaseName="db1", Name="t1")
    glue.batch_delete_partition(DatabaseName="db2", TableName="t2",
                                PartitionsToDelete=[{"Values": ["7"]}])
    who = {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/Analyst"}
    service.revoke_permissions(Principal=who, Permissions=["INSERT"], Resource={
        "Table": {"DatabaseName": "db2", "Name": "t0"}})
    assert moto.differences()
    moto.resync()
    assert moto.differences() == []


def test_the_permissions_that_moto_holds_are_identical_and_written_once(moto):
    fill(moto)
    service = moto.client("lakeformation", PRIMARY)
    lake.catalog(moto.client("glue", PRIMARY))
    lake.govern(service, moto=True)
    for database in lake.DATABASES:
        service.grant_permissions(
            Principal=lake.who(ROLE), Permissions=["SELECT", "DESCRIBE"],
            Resource={"Table": {"DatabaseName": database, "TableWildcard": {}}})
    lake.give(service, lake.entries(moto=True))
    kinds = ("lf-tags", "assigned", "locations")

    def differences():
        return compare.differences(*(
            compare.snapshot(moto.client("glue", r), moto.client("lakeformation", r), (), kinds)
            for r in (PRIMARY, SECONDARY)), PAIRS)
    assert len(differences()) > 40
    moto.resync()
    assert differences() == []
    again = moto.recorded(moto.resync)
    assert [call for call in again if is_write(call)] == []
