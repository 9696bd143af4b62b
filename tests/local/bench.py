"""What it costs: calls against the floor that the API allows, start-up, memory, zips.

Calls are exact. The floor is computed from the sizes of the lake and the page and batch limits
of the API; a first sync has two: without, and with, the fresh look at what was written that
ends the loop."""

import http.server
import io
import math
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import zipfile

import stack
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, SECONDARY, ROOT, free_port, wait_for

RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"
DATABASES, TABLES, PARTITIONS, GRANTS = 4, 25, 60, 2


class Lake:
    """The sandbox alone, filled, with the release binary of the command line."""

    def __init__(self, home):
        self.home, self.port = home, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [str(RELEASE / "twinlake"), "sandbox", "--port", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        local = stack.Local()
        local.sandbox = local.aws = self.url
        self.local = local
        wait_for("the sandbox answers", lambda: local._answers(f"{self.url}/_sandbox/health"))
        (home / "policy.toml").write_text(POLICY)
        self.fill()

    def fill(self):
        glue, lake = (self.local.client(s, PRIMARY) for s in ("glue", "lakeformation"))
        for d in range(DATABASES):
            name = f"db{d}"
            glue.create_database(
                DatabaseInput={"Name": name, "CreateTableDefaultPermissions": []})
            for t in range(TABLES):
                place = f"s3://{BUCKETS[PRIMARY]}/{name}/t{t}/"
                glue.create_table(DatabaseName=name, TableInput={
                    "Name": f"t{t}", "PartitionKeys": [{"Name": "dt", "Type": "string"}],
                    "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                                          "Location": place}})
                glue.batch_create_partition(DatabaseName=name, TableName=f"t{t}",
                                            PartitionInputList=[
                    {"Values": [str(n)], "StorageDescriptor": {"Location": f"{place}{n}/"}}
                    for n in range(PARTITIONS)])
                for g in range(GRANTS):
                    lake.grant_permissions(
                        Principal={"DataLakePrincipalIdentifier":
                                   f"arn:aws:iam::{ACCOUNT}:role/R{g}"},
                        Resource={"Table": {"DatabaseName": name, "Name": f"t{t}"}},
                        Permissions=["SELECT"])

    def calls(self):
        return [call["call"] for call in self.local.steer("calls")]

    def twinlake(self, *words):
        self.local.steer("calls")
        start = time.monotonic()
        done = subprocess.run(
            [str(RELEASE / "twinlake"), *words, "--policy", "policy.toml", "--ledger",
             "ledger.json", "--role", ROLE], cwd=self.home, capture_output=True, text=True,
            env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT,
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url})
        assert done.returncode != 1, done.stderr
        return self.calls(), time.monotonic() - start

    def stop(self):
        self.process.terminate()
        self.process.wait()


CENSUS = 5


def pages(items, size):
    return max(1, math.ceil(items / size))


def floors():
    tables = DATABASES * TABLES
    listed = GRANTS * tables
    # Creators' own rights are listed, too: the administrator's in the primary.
    here = pages(listed + tables + DATABASES, 1000)
    reads_here = (pages(DATABASES, 100) + DATABASES * pages(TABLES, 100)
                  + tables * pages(PARTITIONS, 1000) + here + 1)
    reads_there_empty = 1 + 1 + 1
    writes = DATABASES + tables + tables * math.ceil(PARTITIONS / 100)
    writes += math.ceil(listed / 20)
    look_again = 2 * (DATABASES + DATABASES * pages(TABLES, 100)
                      + tables * pages(PARTITIONS, 1000) + DATABASES * here)
    first = reads_here + reads_there_empty + CENSUS + writes
    unchanged = 2 * reads_here + CENSUS
    return first, first + look_again, unchanged


def row(name, calls, floor, note=""):
    print(f"  {name:<34} {calls:>6} calls   floor {floor:>5}   x{calls / floor:.2f}   {note}")


def bench_calls(home):
    lake = Lake(home)
    try:
        first, first_checked, unchanged = floors()
        calls, wall = lake.twinlake("resync")
        print(f"Resync of {DATABASES} databases x {TABLES} tables x {PARTITIONS} partitions, "
              f"{DATABASES * TABLES * GRANTS} grants:")
        row("first sync, bare floor", len(calls), first, f"{wall:.2f} s")
        row("first sync, with the look again", len(calls), first_checked)
        calls, wall = lake.twinlake("resync")
        assert all(call.startswith(("Get", "List")) for call in calls)
        row("unchanged", len(calls), unchanged, f"{wall:.2f} s, no writes")
    finally:
        lake.stop()


def bench_events():
    """Calls that one event costs, on the deployed pair, one event at a time."""
    with stack.Local() as local:
        glue, lake = (local.client(s, PRIMARY) for s in ("glue", "lakeformation"))
        glue2, lake2 = (local.client(s, SECONDARY) for s in ("glue", "lakeformation"))
        who = f"arn:aws:iam::{ACCOUNT}:role/Analyst"
        table = {"Name": "t", "PartitionKeys": [{"Name": "dt", "Type": "string"}],
                 "StorageDescriptor": {"Location": f"s3://{BUCKETS[PRIMARY]}/d/t/",
                                       "Columns": [{"Name": "id", "Type": "int"}]}}
        place = f"s3://{BUCKETS[PRIMARY]}/d/t/1"
        glue.create_database(DatabaseInput={"Name": "d", "CreateTableDefaultPermissions": []})
        glue.create_table(DatabaseName="d", TableInput=table)
        glue.batch_create_partition(DatabaseName="d", TableName="t", PartitionInputList=[
            {"Values": ["1"], "StorageDescriptor": {"Location": place}}])
        wait_for("the table is there", lambda: "'1'" in str(list_partitions(glue2)))
        wait_for("the queues are empty", local.is_quiet)
        # From here on each change is told once, by one event.
        local.steer("sink", forward=False)

        def native(kind, change, **detail):
            local.replay(PRIMARY, {
                "source": "aws.glue", "detail-type": f"Glue Data Catalog {kind} State Change",
                "detail": {"databaseName": "d", "typeOfChange": change, **detail}})

        def update():
            table["StorageDescriptor"]["Columns"].append({"Name": "x", "Type": "int"})
            glue.update_table(DatabaseName="d", TableInput=table)
            native("Table", "UpdateTable", tableName="t")
            return lambda: "'x'" in str(glue2.get_table(DatabaseName="d", Name="t"))

        def create():
            glue.create_table(DatabaseName="d", TableInput={**table, "Name": "u"})
            native("Database", "CreateTable", changedTables=["u"])
            return lambda: "'u'" in str(glue2.get_tables(DatabaseName="d"))

        def grant():
            lake.grant_permissions(
                Principal={"DataLakePrincipalIdentifier": who}, Permissions=["SELECT"],
                Resource={"Table": {"DatabaseName": "d", "Name": "t"}})
            local.replay(PRIMARY, {
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "lakeformation.amazonaws.com",
                           "eventName": "GrantPermissions", "recipientAccountId": ACCOUNT,
                           "requestParameters": {
                               "principal": {"dataLakePrincipalIdentifier": who},
                               "resource": {"table": {"databaseName": "d", "name": "t"}},
                               "permissions": ["SELECT"]}}})
            return lambda: who in str(lake2.list_permissions())

        print("One event, with everything that belongs to the table (bar: 12 calls):")
        for name, act in (("a column is added", update), ("a grant is given", grant),
                          ("a partitioned table is created", create)):
            local.steer("calls")
            wait_for(name, act())
            wait_for("the queues are empty", local.is_quiet)
            calls = [c["call"] for c in local.steer("calls")
                     if ":role/twinlake/" in c["caller"]]
            print(f"  {name:<34} {len(calls):>6} calls")


def list_partitions(glue):
    try:
        return glue.get_partitions(DatabaseName="d", TableName="t")["Partitions"]
    except glue.exceptions.EntityNotFoundException:
        return []


class Runtime(http.server.BaseHTTPRequestHandler):
    """A Lambda runtime API that tells when a function first asks for work."""

    def do_GET(self):
        self.server.asked.set()
        self.server.done.wait(10)

    def log_message(self, *_):
        pass


def bench_start():
    print("Functions (release, x86_64): start to the first /next, resident memory, zip:")
    for binary in stack.FUNCTIONS.values():
        path = RELEASE / binary
        best, resident = None, None
        for _ in range(5):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
            server.asked, server.done = threading.Event(), threading.Event()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            names = ["PEER_REGION", "ACCOUNT", "LEDGER", "PEER_LEDGER", "TOPIC", "QUEUE", "ROLE",
                     "OWN_ROLES", "WRITERS"]
            environment = {f"TWINLAKE_{name}": "x" for name in names}
            environment |= {
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
                "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
                "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
                "AWS_LAMBDA_LOG_GROUP_NAME": "g"}
            start = time.monotonic()
            process = subprocess.Popen([str(path)], env=environment, stdout=subprocess.DEVNULL)
            assert server.asked.wait(10), f"{binary} never asked for work"
            took = (time.monotonic() - start) * 1000
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            kib = int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])
            process.kill()
            process.wait()
            server.done.set()
            server.shutdown()
            best = min(best or took, took)
            resident = max(resident or 0, kib / 1024)
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("bootstrap", path.read_bytes())
        print(f"  {binary:<20} {best:6.1f} ms   {resident:5.1f} MB   "
              f"{len(zipped.getvalue()) / 1e6:4.1f} MB")


def main():
    with tempfile.TemporaryDirectory() as home:
        bench_calls(pathlib.Path(home))
    stack.TARGET = RELEASE
    bench_events()
    bench_start()


if __name__ == "__main__":
    main()
