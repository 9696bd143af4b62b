"""What it costs: calls against the floor that the API allows, memory, start-up, zips.

Calls are exact. The floor is computed from the sizes of the lake and the page and batch limits
of the API; a first sync has two: without, and with, the look again at what was written that
ends the loop. Walls are of one run here, with the round trips that stand beside them."""

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
DATABASES, TABLES, PARTITIONS, GRANTS = 10, 100, 50, 2
BIG = 10_000
HERE, THERE = f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[SECONDARY]}"


def grant(database, table, role, permission="SELECT"):
    return {"Principal": {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/R{role}"},
            "Resource": {"Table": {"DatabaseName": f"db{database}", "Name": f"t{table}"}},
            "Permissions": [permission]}


class Lake:
    """The sandbox alone, with the release binary of the command line."""

    def __init__(self, home, policy=POLICY, latency=0):
        self.home, self.port = home, free_port()
        home.mkdir(exist_ok=True)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [str(RELEASE / "twinlake"), "sandbox", "--port", str(self.port),
             "--shown-to", ROLE],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        local = stack.Local()
        local.sandbox = local.aws = self.url
        self.local = local
        wait_for("the sandbox answers", lambda: local._answers(f"{self.url}/_sandbox/health"))
        (home / "policy.toml").write_text(policy)

    def fill(self, region, database, tables, partitions):
        self.local.steer("fill", region=region, database=database, tables=tables,
                         partitions=partitions, root=HERE if region == PRIMARY else THERE)

    def grants(self, roles, tables=TABLES):
        """SELECT on each table for so many roles."""
        lake = self.local.client("lakeformation", PRIMARY)
        entries = [
            {"Id": f"{d}-{t}-{g}", **grant(d, t, g)}
            for d in range(DATABASES) for t in range(tables) for g in range(roles)]
        for at in range(0, len(entries), 20):
            lake.batch_grant_permissions(Entries=entries[at:at + 20])

    def twinlake(self, *words, parallel=4):
        """The calls of a command, its wall in seconds and its peak memory in MB."""
        self.local.steer("calls")
        start = time.monotonic()
        process = subprocess.Popen(
            [str(RELEASE / "twinlake"), *words, "--policy", "policy.toml", "--ledger",
             "ledger.json", "--role", ROLE, "--parallel", str(parallel)], cwd=self.home,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT,
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url})
        out, err = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        assert os.waitstatus_to_exitcode(status) != 1, out + err
        wall = time.monotonic() - start
        calls = [call["call"] for call in self.local.steer("calls")]
        return calls, wall, usage.ru_maxrss / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


# On each side: what is only counted or compared (connections, catalogs, the encryption, the
# resource policy), and what the catalog has once (functions, LF-Tags, saved expressions,
# registrations, opt-ins, settings).
SURVEY, OF_CATALOG = 4, 6
# The types of resource of which the grants are listed beside those of all.
TYPES = 9


def pages(items, size):
    return max(1, math.ceil(items / size))


def listing(grants, tables=0, databases=0):
    """Both readings of all grants of a Region: those on tables, and those that our own role has
    on what it made."""
    own = tables + databases
    return pages(grants + own, 1000) + pages(grants + tables, 1000) + TYPES - 1


def floors():
    tables = DATABASES * TABLES + 1
    databases = DATABASES + 1
    listed = GRANTS * DATABASES * TABLES
    partition_pages = DATABASES * TABLES * pages(PARTITIONS, 1000) + pages(BIG, 1000)
    table_pages = DATABASES * pages(TABLES, 100) + 1
    here, there = listing(listed), listing(listed, tables, databases)
    # Indexes, statistics and filters are asked for table by table: no listing has them all.
    parts = 3 * tables
    once = pages(databases, 100) + OF_CATALOG + SURVEY
    contents = table_pages + partition_pages + parts
    writes = databases + tables
    writes += DATABASES * TABLES * math.ceil(PARTITIONS / 100) + math.ceil(BIG / 100)
    # A batch of grants holds those of one database.
    writes += DATABASES * math.ceil(GRANTS * TABLES / 20)
    first = 2 * once + contents + here + listing(0) + writes
    # What the primary holds of it by now, and what the secondary holds but for partitions,
    # which it has confirmed one by one.
    again = 2 * table_pages + 2 * databases + here + there
    again += DATABASES * TABLES + pages(BIG, 1000)
    unchanged = 2 * (once + contents) + here + there
    return first, first + again, unchanged


def row(name, calls, floor, note=""):
    print(f"  {name:<34} {calls:>6} calls   floor {floor:>5}   x{calls / floor:.2f}   {note}")


def bench_calls(home):
    lake = Lake(home)
    try:
        for d in range(DATABASES):
            lake.fill(PRIMARY, f"db{d}", TABLES, PARTITIONS)
        lake.fill(PRIMARY, "big", 1, BIG)
        lake.grants(GRANTS)
        first, checked, unchanged = floors()
        print(f"Resync of {DATABASES} databases x {TABLES} tables x {PARTITIONS} partitions, one "
              f"table of {BIG} partitions, {DATABASES * TABLES * GRANTS} grants:")
        calls, wall, memory = lake.twinlake("resync")
        row("first sync, bare floor", len(calls), first, f"{wall:.1f} s, {memory:.0f} MB")
        row("first sync, with the look again", len(calls), checked)
        calls, wall, memory = lake.twinlake("resync")
        assert all(c.removeprefix("Batch").startswith(("Get", "List")) for c in calls)
        row("unchanged", len(calls), unchanged, f"{wall:.1f} s, {memory:.0f} MB, no writes")
        for milliseconds in (10, 200):
            lake.local.steer("latency", milliseconds=milliseconds)
            for parallel in (4, 16):
                _, wall, _ = lake.twinlake("resync", parallel=parallel)
                print(f"  unchanged, round trips of {milliseconds:>3} ms, {parallel:>2} at once: "
                      f"{wall:>6.1f} s")
    finally:
        lake.stop()


def bench_grants(home):
    print("Calls about grants alone, in a resync (bare floor: two readings of each Region, and the "
          "writes; the other one: read again after them)")
    policy = 'statistics = "none"\n' + POLICY
    for tables, roles in ((10, 1), (TABLES, 1), (TABLES, 10), (TABLES, 100)):
        count = roles * DATABASES * tables
        print(f"  {count} grants on {DATABASES * tables} tables in {DATABASES} databases:")
        lake = Lake(home / f"grants{count}", policy)
        try:
            for d in range(DATABASES):
                lake.fill(PRIMARY, f"db{d}", tables, 0)
            lake.grants(roles, tables)
            client = lake.local.client("lakeformation", PRIMARY)
            here = listing(count)
            there = listing(count, DATABASES * tables, DATABASES)
            batches = DATABASES * pages(tables * roles, 20)
            steps = [
                ("first", lambda: None, here + listing(0), batches, here + there),
                ("unchanged", lambda: None, here + there, 0, 0),
                # The table alone is read again, on both sides.
                ("one changed", lambda: client.grant_permissions(**grant(3, 3, 0, "ALTER")),
                 here + there, 1, 2),
                # Until the service says that nothing is left of it.
                ("one revoked", lambda: client.revoke_permissions(**grant(3, 3, 0)),
                 here + there, 2, 2),
            ]
            for name, act, reads, writes, again in steps:
                act()
                calls, wall, memory = lake.twinlake("resync")
                about = [c for c in calls if c == "ListPermissions" or c.endswith("Permissions")]
                wrote = [c for c in about if c != "ListPermissions"]
                row(name, len(about), reads + writes,
                    f"x{len(about) / (reads + writes + again):.2f} of {reads + writes + again}, "
                    f"{len(wrote)} of them write; {len(calls)} in all, {wall:.1f} s, "
                    f"{memory:.0f} MB")
        finally:
            lake.stop()


def bench_memory(home):
    print("Peak memory of an unchanged resync:")
    lake = Lake(home / "partitions")
    try:
        lake.fill(PRIMARY, "big", 1, 1)
        lake.twinlake("resync")
        for region in (PRIMARY, SECONDARY):
            lake.fill(region, "big", 1, 1_000_000)
        for name in ("adopted", "unchanged"):
            calls, wall, memory = lake.twinlake("resync")
        print(f"  one table of 1,000,000 partitions: {memory:.0f} MB, {len(calls)} calls, "
              f"{wall:.0f} s")
    finally:
        lake.stop()
    for databases in (10, 100):
        policy = 'statistics = "none"\nfilters = "granted"\n' + POLICY
        lake = Lake(home / f"tables{databases}", policy)
        try:
            for d in range(databases):
                for region in (PRIMARY, SECONDARY):
                    lake.fill(region, f"db{d}", 1000, 0)
            lake.twinlake("resync")
            calls, wall, memory = lake.twinlake("resync")
            print(f"  {databases * 1000:>7} tables in {databases} databases: {memory:.0f} MB, "
                  f"{len(calls)} calls, {wall:.0f} s")
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

        def recorded(name):
            local.replay(PRIMARY, {
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "lakeformation.amazonaws.com",
                           "eventName": name, "recipientAccountId": ACCOUNT,
                           "requestParameters": {
                               "principal": {"dataLakePrincipalIdentifier": who},
                               "resource": {"table": {"databaseName": "d", "name": "t"}},
                               "permissions": ["SELECT"]}}})

        select = {"Principal": {"DataLakePrincipalIdentifier": who}, "Permissions": ["SELECT"],
                  "Resource": {"Table": {"DatabaseName": "d", "Name": "t"}}}

        def give():
            lake.grant_permissions(**select)
            recorded("GrantPermissions")
            return lambda: who in str(lake2.list_permissions())

        def take():
            lake.revoke_permissions(**select)
            recorded("RevokePermissions")
            return lambda: who not in str(lake2.list_permissions())

        def large(partitions, region):
            local.steer("fill", region=region, database="big", tables=1, partitions=partitions,
                        root=HERE if region == PRIMARY else THERE)

        large(1, PRIMARY)
        # The primary's own function lets ours see all of a new database.
        local.replay(PRIMARY, {
            "source": "aws.glue", "detail-type": "Glue Data Catalog Database State Change",
            "detail": {"databaseName": "big", "typeOfChange": "CreateDatabase"}})
        wait_for("our role may see it", lambda: "'big'" in str(lake.list_permissions(
            Resource={"Table": {"DatabaseName": "big", "TableWildcard": {}}})))
        local.replay(PRIMARY, {
            "source": "aws.glue", "detail-type": "Glue Data Catalog Database State Change",
            "detail": {"databaseName": "big", "typeOfChange": "CreateTable",
                       "changedTables": ["t0"]}})
        wait_for("the large table is there", lambda: list_partitions(glue2, "big", "t0"))
        wait_for("the queues are empty", local.is_quiet)
        for region in (PRIMARY, SECONDARY):
            large(1_000_000, region)

        def change():
            place = f"s3://{BUCKETS[PRIMARY]}/big/t0/elsewhere"
            glue.update_partition(DatabaseName="big", TableName="t0",
                                  PartitionValueList=["0000007"], PartitionInput={
                                      "Values": ["0000007"],
                                      "StorageDescriptor": {"Location": place}})
            local.replay(PRIMARY, {
                "source": "aws.glue", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "glue.amazonaws.com", "eventName": "UpdatePartition",
                           "recipientAccountId": ACCOUNT, "requestParameters": {
                               "databaseName": "big", "tableName": "t0",
                               "partitionValueList": ["0000007"],
                               "partitionInput": {"values": ["0000007"]}}}})
            return lambda: "elsewhere" in str(glue2.get_partition(
                DatabaseName="big", TableName="t0", PartitionValues=["0000007"]))

        print("One event, with everything that belongs to the table (bar: 12 calls):")
        for name, act in (("a column is added", update), ("a grant is given", give),
                          ("it is revoked", take), ("a partitioned table is created", create),
                          ("one partition of a million changes", change)):
            local.steer("calls")
            wait_for(name, act())
            wait_for("the queues are empty", local.is_quiet)
            calls = [c["call"] for c in local.steer("calls")
                     if ":role/twinlake/" in c["caller"]]
            print(f"  {name:<34} {len(calls):>6} calls")


def list_partitions(glue, database="d", table="t"):
    try:
        return glue.get_partitions(DatabaseName=database, TableName=table)["Partitions"]
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
        bench_calls(pathlib.Path(home) / "calls")
        bench_grants(pathlib.Path(home))
        bench_memory(pathlib.Path(home))
    stack.TARGET = RELEASE
    bench_events()
    bench_start()


if __name__ == "__main__":
    main()
