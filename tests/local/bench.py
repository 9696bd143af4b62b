"""Benchmark: API calls against their lower bound, wall times, memory, start-up times, zip sizes.

Prints all of it, and writes it as JSON to target/bench.json or the file that BENCH_JSON names. Where there is a bar, it
prints whether it is met; the exit code is 1 if one is missed.

The numbers of calls are exact. A lower bound is the smallest number of calls that the page sizes
and batch sizes of the APIs allow for the objects. The first resync has two of them: without and
with the verification reads, which follow the writes. Wall times and memory are of one run on this
machine.
"""

import collections
import http.server
import io
import math
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import botocore.config

import bench_iceberg
import bench_iceberg_lag
import bench_query
import stack
from bench_results import Results
from stack import ACCOUNT, BUCKETS, PRIMARY, ROOT, SITES, STANDBY, free_port, wait_for

# The build that is measured: BENCH_BUILD=debug tries a part without a release build. Counts of calls are the same in both.
BUILD = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("BENCH_BUILD", "release")
ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"
# Tables are per database, partitions and grants per table.
DATABASES, TABLES, PARTITIONS, GRANTS = 10, 100, 50, 2
# Partitions of the one large table.
LARGE_TABLE_PARTITIONS = 10_000
# Partitions of the very large table.
MILLION = 1_000_000
# Where the measurements are written, for `make bench-compare`.
OUTPUT = pathlib.Path(os.environ.get("BENCH_JSON", ROOT / "target/bench.json"))
RESULTS = Results()


def bucket_uri(region):
    return f"s3://{BUCKETS[region]}"


def grant_request(database, table, role, permission="SELECT"):
    """Returns a grant on a table. The database, the table and the role are numbers."""
    return {"Principal": {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/R{role}"},
            "Resource": {"Table": {"DatabaseName": f"db{database}", "Name": f"t{table}"}},
            "Permissions": [permission]}


class BenchSandbox:
    """A sandbox process, and the release build of the CLI with its policy and ledger in files."""

    def __init__(self, home, policy=SITES):
        self.home = home
        home.mkdir(exist_ok=True)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [str(BUILD / "twinlake"), "sandbox", "--port", str(port), "--reader-role", ROLE],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.clients = stack.Deployment()
        self.clients.sandbox_url = self.clients.aws_url = self.url
        wait_for("the sandbox answers",
                 lambda: self.clients.is_healthy(f"{self.url}/_sandbox/health"))
        (home / "policy.toml").write_text(policy)

    def bulk_create(self, region, database, tables, partitions, grants=0):
        """Creates a database with tables; `partitions` and `grants` are the numbers for each table."""
        self.clients.control_sandbox(
            "bulk-create", region=region, database=database, tables=tables,
            partitions_per_table=partitions, grants_per_table=grants, location=bucket_uri(region))

    def grant_select(self, roles, tables=TABLES):
        """Grants SELECT on every table to this number of roles."""
        lf = self.clients.client("lakeformation", PRIMARY)
        entries = [
            {"Id": f"{d}-{t}-{r}", **grant_request(d, t, r)}
            for d in range(DATABASES) for t in range(tables) for r in range(roles)]
        for start in range(0, len(entries), 20):
            lf.batch_grant_permissions(Entries=entries[start:start + 20])

    def twinlake(self, *args, parallel=4, seconds=None):
        """Runs a command, or the first seconds of it. Returns its API calls, its wall time in seconds
        and its peak memory in MB."""
        self.clients.drain_calls()
        start = time.monotonic()
        process = subprocess.Popen(
            [str(BUILD / "twinlake"), *args, "--policy", "policy.toml", "--ledger",
             "twinlake.ledger", "--caller-arn", ROLE, "--parallel", str(parallel)], cwd=self.home,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT,
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url})
        if seconds is not None:
            threading.Timer(seconds, process.terminate).start()
        out, err = process.stdout.read(), process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        is_stopped = seconds is not None and os.waitstatus_to_exitcode(status) == -signal.SIGTERM
        assert is_stopped or os.waitstatus_to_exitcode(status) in (0, 2), out + err
        wall = time.monotonic() - start
        calls = [call["call"] for call in self.clients.drain_calls()]
        return calls, wall, usage.ru_maxrss / 1024

    def stop(self):
        self.process.terminate()
        self.process.wait()


# Calls of each Region that are independent of its size: the inventory of what is not replicated
# (connections, catalogs, encryption settings, resource policy), and the listings of the whole
# catalog (functions, LF-Tags, named LF-Tag expressions, registrations, opt-ins, settings).
INVENTORY_CALLS, CATALOG_LISTINGS = 4, 6
# Resource types whose grants are listed separately, in addition to the listing of all grants.
SEPARATE_GRANT_LISTINGS = 9


def page_count(items, page_size):
    """The number of calls for a listing or for batches; at least one."""
    return max(1, math.ceil(items / page_size))


def grant_listing_bound(grants, tables=0, databases=0):
    """The calls that read all grants of a Region twice: once all of them, once by resource type.

    `grants` are grants on tables. `tables` and `databases` are the objects that Twinlake's role
    created, on which it has implicit grants.
    """
    implicit = tables + databases
    return (page_count(grants + implicit, 1000) + page_count(grants + tables, 1000)
            + SEPARATE_GRANT_LISTINGS - 1)


def resync_bounds():
    """The lower bounds of a first resync without and with the verification reads, and of an
    unchanged one."""
    tables = DATABASES * TABLES + 1
    databases = DATABASES + 1
    grants = GRANTS * DATABASES * TABLES
    partition_pages = (DATABASES * TABLES * page_count(PARTITIONS, 1000)
                       + page_count(LARGE_TABLE_PARTITIONS, 1000))
    table_pages = DATABASES * page_count(TABLES, 100) + 1
    primary_grants = grant_listing_bound(grants)
    standby_grants = grant_listing_bound(grants, tables, databases)
    # Partition indexes, column statistics and filters have no listing across tables.
    attachments = 3 * tables
    region = page_count(databases, 100) + CATALOG_LISTINGS + INVENTORY_CALLS
    contents = table_pages + partition_pages + attachments
    writes = databases + tables
    writes += (DATABASES * TABLES * page_count(PARTITIONS, 100)
               + page_count(LARGE_TABLE_PARTITIONS, 100))
    # A batch of grants contains grants of one database only.
    writes += DATABASES * page_count(GRANTS * TABLES, 20)
    first = 2 * region + contents + primary_grants + grant_listing_bound(0) + writes
    # Verification reads the primary again. In the standby it reads everything but the partitions,
    # whose writes are confirmed one by one.
    verification = 2 * table_pages + 2 * databases + primary_grants + standby_grants
    verification += DATABASES * TABLES + page_count(LARGE_TABLE_PARTITIONS, 1000)
    unchanged = 2 * (region + contents) + primary_grants + standby_grants
    return first, first + verification, unchanged


# Resyncs within a scan interval of the policy's default, by the call that the interval is of.
RESYNCS_PER_INTERVAL = {
    "GetPartitions": 4,
    "GetPartitionIndexes": 28,
    "GetColumnStatisticsForTable": 28,
    "ListDataCellsFilter": 28,
}


def average_calls(calls, all_calls):
    """Returns the average number of calls of a resync over a week of four a day, by name.

    `calls` are those of a resync in which no table is due, `all_calls` those of a full one.
    """
    average = collections.Counter(calls)
    for call, count in collections.Counter(all_calls).items():
        average[call] += (count - average[call]) / RESYNCS_PER_INTERVAL.get(call, 1)
    return average


def print_row(name, calls, bound, note=""):
    print(f"  {name:<40} {calls:>6} calls   lower bound {bound:>5}   x{calls / bound:.2f}   {note}")


def bench_calls(home):
    sandbox = BenchSandbox(home)
    try:
        for d in range(DATABASES):
            sandbox.bulk_create(PRIMARY, f"db{d}", TABLES, PARTITIONS)
        sandbox.bulk_create(PRIMARY, "big", 1, LARGE_TABLE_PARTITIONS)
        sandbox.grant_select(GRANTS)
        first, first_verified, unchanged = resync_bounds()
        grants = DATABASES * TABLES * GRANTS
        print(f"Resync of {DATABASES} databases x {TABLES} tables x {PARTITIONS} partitions, one "
              f"table of {LARGE_TABLE_PARTITIONS} partitions, {grants} grants:")
        calls, wall, memory = sandbox.twinlake("resync")
        RESULTS.add("first resync", calls=len(calls), seconds=wall, megabytes=memory)
        print_row("first, without verification reads", len(calls), first,
                  f"{wall:.1f} s, {memory:.0f} MB")
        print_row("first, with verification reads", len(calls), first_verified)
        none_due, wall, memory = sandbox.twinlake("resync")
        RESULTS.add("unchanged resync, no table is due", calls=len(none_due), seconds=wall, megabytes=memory)
        print(f"  unchanged, no table is due: {len(none_due)} calls, {wall:.1f} s, "
              f"{memory:.0f} MB")
        calls, wall, memory = sandbox.twinlake("resync", "--full")
        assert all(c.removeprefix("Batch").startswith(("Get", "List", "Search")) for c in calls)
        RESULTS.add("unchanged full resync", calls=len(calls), seconds=wall, megabytes=memory)
        print_row("unchanged, full", len(calls), unchanged,
                  f"{wall:.1f} s, {memory:.0f} MB, no writes")
        average = sum(average_calls(none_due, calls).values())
        print(f"  unchanged, average of a week of four resyncs a day: {average:.0f} calls")
        for milliseconds in (10, 200):
            sandbox.clients.control_sandbox("latency", milliseconds=milliseconds)
            for parallel in (4, 16):
                _, wall, _ = sandbox.twinlake("resync", "--full", parallel=parallel)
                RESULTS.add(f"unchanged full resync, {milliseconds} ms, {parallel} at once", seconds=wall)
                print(f"  unchanged, full, {milliseconds:>3} ms for each call, {parallel:>2} calls at "
                      f"once: {wall:>6.1f} s")
    finally:
        sandbox.stop()


# Databases and tables of the lake whose average is judged; each table has a partition and a grant.
WEEK_DATABASES, WEEK_TABLES, WEEK_BAR = 100, 100, 8000


def bench_week(home):
    """Prints the calls of a resync on average over a week of four a day, of a lake that does not change."""
    count = WEEK_DATABASES * WEEK_TABLES
    print(f"Resyncs of {count:,} unchanged tables in {WEEK_DATABASES} databases, four a day:")
    sandbox = BenchSandbox(home / "week")
    try:
        for d in range(WEEK_DATABASES):
            for region in (PRIMARY, STANDBY):
                sandbox.bulk_create(region, f"db{d}", WEEK_TABLES, 1, 1)
        # What the standby has already is adopted.
        sandbox.twinlake("resync", parallel=16)
        none_due, _, _ = sandbox.twinlake("resync", parallel=16)
        full, _, memory = sandbox.twinlake("resync", "--full", parallel=16)
        writes = [c for c in none_due + full
                  if not c.removeprefix("Batch").startswith(("Get", "List", "Search"))]
        average = average_calls(none_due, full)
        total = sum(average.values())
        print(f"  no table is due: {len(none_due)} calls; everything: {len(full)} calls, {memory:.0f} MB")
        print("  average: " + ", ".join(f"{name} {count:.0f}" for name, count in average.most_common(6)))
        RESULTS.add(f"{count} unchanged tables", calls=len(none_due), full_calls=len(full), average_calls=total)
        RESULTS.judge(f"{count:,} unchanged tables: {total:.0f} calls a resync on average over a week", total <= WEEK_BAR,
                      f"at most {WEEK_BAR:,}")
        RESULTS.judge(f"{count:,} unchanged tables: {len(writes)} writes", not writes, "no writes")
    finally:
        sandbox.stop()


# The reference lake has this many databases, tables of each, partitions of each table, and grants.
SMALL_LAKE = (3, 10, 20, 55)


def fill_small_lake(sandbox, with_lf_tags):
    """Creates the reference lake in the primary. With LF-Tags, the databases and every second table have one, and every
    tenth table has a data cells filter."""
    databases, tables, partitions, grants = SMALL_LAKE
    glue, lf = (sandbox.clients.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    for d in range(databases):
        sandbox.bulk_create(PRIMARY, f"db{d}", tables, partitions)
    if with_lf_tags:
        add_lf_tags(glue, lf)
    entries = [{"Id": f"{n}", **grant_request(n % databases, n // databases % tables, n)} for n in range(grants)]
    for start in range(0, len(entries), 20):
        lf.batch_grant_permissions(Entries=entries[start:start + 20])


def add_lf_tags(glue, lf):
    databases, tables, _, _ = SMALL_LAKE
    for key, values in (("team", ["finance", "sales"]), ("class", ["open", "secret"])):
        lf.create_lf_tag(TagKey=key, TagValues=values)
    for d in range(databases):
        lf.add_lf_tags_to_resource(Resource={"Database": {"Name": f"db{d}"}},
                                   LFTags=[{"TagKey": "team", "TagValues": ["sales"]}])
        for t in range(0, tables, 2):
            lf.add_lf_tags_to_resource(
                Resource={"Table": {"DatabaseName": f"db{d}", "Name": f"t{t}"}},
                LFTags=[{"TagKey": "class", "TagValues": ["secret"]}])
        columns = glue.get_table(DatabaseName=f"db{d}", Name="t0")["Table"]["StorageDescriptor"]
        lf.create_data_cells_filter(TableData={
            "TableCatalogId": ACCOUNT, "DatabaseName": f"db{d}", "TableName": "t0", "Name": "rows",
            "ColumnNames": [columns["Columns"][0]["Name"]], "RowFilter": {"AllRowsWildcard": {}}})


def small_lake_bounds(with_lf_tags):
    """The lower bounds of the resyncs of the reference lake, by their name: the calls, and how they add up."""
    databases, tables = SMALL_LAKE[0], SMALL_LAKE[0] * SMALL_LAKE[1]
    tags, tagged, filters = (2, databases + tables // 2, databases) if with_lf_tags else (0, 0, 0)
    region = 1 + CATALOG_LISTINGS + INVENTORY_CALLS + 1 + SEPARATE_GRANT_LISTINGS
    # Tables by database; partitions, indexes, statistics and filters of each. LF-Tags of databases and tables only if
    # there are LF-Tags.
    contents = databases + 4 * tables + (databases + tables if with_lf_tags else 0)
    # LF-Tags, databases, tables, partitions, assigned LF-Tags, filters, and grants by database.
    writes = tags + databases + tables + tables + tagged + filters + databases
    # What was written is read again in both Regions, partitions in the primary only. Grants on databases and
    # tables are three listings.
    closing = 2 * (1 + databases + 3 + filters + tagged + filters) + tables
    # Each LF-Tag is searched instead of the LF-Tags of the databases and tables.
    unchanged = databases + tags
    return {
        "first": (2 * region + contents + writes + closing,
                  f"listings 2 x {region}, contents of the primary {contents}, writes {writes}, closing reads {closing}"),
        "unchanged": (2 * (region + unchanged),
                      f"listings 2 x {region}; tables and searches by LF-Tags 2 x {unchanged}"),
        "full": (2 * (region + contents), f"listings 2 x {region}, contents 2 x {contents}"),
    }


def bench_round_trips(home):
    databases, tables, partitions, grants = SMALL_LAKE
    lake = f"{databases} databases x {tables} tables x {partitions} partitions, {grants} grants"
    for with_lf_tags in (False, True):
        name = "reference lake with LF-Tags" if with_lf_tags else "reference lake"
        print(f"Round trips of 10 ms to the primary and of 200 ms to the standby, of {lake}"
              f"{', LF-Tags and filters' if with_lf_tags else ''}:")
        for resync, (bound, derivation) in small_lake_bounds(with_lf_tags).items():
            print(f"  lower bound of {resync}: {bound} calls ({derivation})")
        for parallel in (4, 16):
            resync_small_lake(home / f"{with_lf_tags}{parallel}", name, with_lf_tags, parallel)
    print_test("round_trips::a_resync_takes_as_long_as_its_longest_chain_of_calls", "round trips deep")


def resync_small_lake(home, name, with_lf_tags, parallel):
    bounds = small_lake_bounds(with_lf_tags)
    sandbox = BenchSandbox(home)
    try:
        fill_small_lake(sandbox, with_lf_tags)
        for region, milliseconds in ((PRIMARY, 10), (STANDBY, 200)):
            sandbox.clients.control_sandbox("latency", milliseconds=milliseconds, region=region)
        for resync, options in (("first", ()), ("unchanged", ()), ("full", ("--full",))):
            calls, wall, _ = sandbox.twinlake("resync", *options, parallel=parallel)
            writes = [c for c in calls
                      if not c.removeprefix("Batch").startswith(("Get", "List", "Search"))]
            # What is read in turn has a moment of its own, by the name of the table.
            turn = [c for c in calls if resync == "unchanged" and c in RESYNCS_PER_INTERVAL]
            RESULTS.add(f"{name}, {resync} resync, {parallel} at once", calls=len(calls), turn=len(turn),
                        writes=len(writes), seconds=wall)
            print(f"  {resync:<10} {parallel:>2} calls at once: {wall:>5.1f} s, {len(calls)} calls "
                  f"(x{len(calls) / bounds[resync][0]:.2f}), {len(turn)} of them of the turn, {len(writes)} writes")
            if parallel == 16:
                judge_small_lake(name, resync, (calls, turn, writes, wall), with_lf_tags)
    finally:
        sandbox.stop()


def judge_small_lake(name, resync, measured, with_lf_tags):
    calls, turn, writes, wall = measured
    title = f"{name}, {resync}"
    if resync == "first":
        RESULTS.judge(f"{title}: {wall:.1f} s", wall <= 4, "at most 4 s")
        if not with_lf_tags:
            RESULTS.judge(f"{title}: {len(calls)} calls", len(calls) <= 330, "at most 330 calls")
    if resync == "unchanged":
        RESULTS.judge(f"{title}: {wall:.1f} s", wall <= 2.5, "at most 2.5 s")
        RESULTS.judge(f"{title}: {len(calls) - len(turn)} calls and {len(turn)} of the turn", len(calls) - len(turn) <= 60,
                      "at most 60 calls and those of the turn")
        RESULTS.judge(f"{title}: {len(writes)} writes", not writes, "no writes")


def print_test(name, *marks, ignored=False, timeout=None):
    """Runs an integration test, prints the lines of its output that have one of the marks, and judges whether it
    passes: it asserts the bar."""
    command = ["cargo", "test", "--workspace", "--locked", "--test", "integration", "--", "--nocapture",
               "--test-threads", "1", *(["--ignored"] if ignored else []), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout)
    lines = [line for line in done.stdout.splitlines() if any(mark in line for mark in marks)]
    print("\n".join(f"  {line.strip()}" for line in lines))
    assert "0 passed" not in done.stdout or done.returncode, f"no test has the name {name}"
    if done.returncode:
        print("\n".join((done.stdout + done.stderr).splitlines()[-20:]))
    RESULTS.judge(f"{name.split('::')[-1].replace('_', ' ')}", done.returncode == 0, "the test asserts it")


class Production:
    """Somebody else's calls to Glue in the primary, ten a second, that are never repeated."""

    PER_SECOND = 10

    def __init__(self, sandbox):
        retries = botocore.config.Config(retries={"max_attempts": 0, "mode": "standard"})
        self.glue = sandbox.clients.client("glue", PRIMARY, config=retries)
        self.answers = []
        self.started = time.monotonic()
        self.is_running = True
        self.threads = [threading.Thread(target=self.run) for _ in range(4)]
        self.due = 0
        self.lock = threading.Lock()
        for thread in self.threads:
            thread.start()

    def run(self):
        while self.is_running:
            with self.lock:
                at = self.started + self.due / self.PER_SECOND
                self.due += 1
            time.sleep(max(0.0, at - time.monotonic()))
            try:
                self.glue.get_database(Name="db0")
                is_refused = False
            except self.glue.exceptions.ClientError as error:
                is_refused = error.response["Error"]["Code"] == "ThrottlingException"
                assert is_refused, error
            self.answers.append((time.monotonic() - self.started, is_refused))

    def stop(self):
        """Returns the calls, and the refused ones, after the first ten seconds."""
        self.is_running = False
        for thread in self.threads:
            thread.join()
        later = [is_refused for at, is_refused in self.answers if at > 10]
        return len(later), sum(later)


def bench_throttling(home):
    seconds = 60
    print(f"Production calls Glue {Production.PER_SECOND} times a second, while full resyncs run for "
          f"{seconds} s; the service answers 20 calls a second, a burst of 20, to all together:")
    sandbox = BenchSandbox(home)
    try:
        for d in range(DATABASES):
            sandbox.bulk_create(PRIMARY, f"db{d}", 30, 1)
        sandbox.twinlake("resync", parallel=16)
        sandbox.clients.control_sandbox("latency", milliseconds=10)
        sandbox.clients.control_sandbox("throttle", calls_per_second=20, shared=True)
        for name, options in (("no ceiling", ()),
                              ("--max-calls-per-second 8", ("--max-calls-per-second", "8"))):
            production = Production(sandbox)
            end = time.monotonic() + seconds
            calls = 0
            while time.monotonic() < end:
                sent, _, _ = sandbox.twinlake(
                    "resync", "--full", *options, parallel=16, seconds=end - time.monotonic())
                calls += sum(call != "GetDatabase" for call in sent)
            answered, refused = production.stop()
            RESULTS.add(f"production beside full resyncs, {name}", refused_percent=100 * refused / answered,
                        varying_calls=calls)
            print(f"  {name:<26} {refused:>3} of {answered} calls of production refused "
                  f"({100 * refused / answered:.1f}%); Twinlake: {calls / seconds:.1f} calls a second")
            percent = 0 if options else 2
            RESULTS.judge(f"{name}: {100 * refused / answered:.1f}% of the calls of production refused after 10 s",
                          100 * refused <= percent * answered, f"at most {percent}%" if percent else "none")
    finally:
        sandbox.stop()


def bench_grants(home):
    print("Grant calls of a resync. Each row has two lower bounds: two reads of all grants of each "
          "Region and the writes; and the same with the verification reads.")
    policy = 'column-statistics = "none"\n' + SITES
    for tables, roles in ((10, 1), (TABLES, 1), (TABLES, 10), (TABLES, 100)):
        count = roles * DATABASES * tables
        print(f"  {count} grants on {DATABASES * tables} tables in {DATABASES} databases:")
        sandbox = BenchSandbox(home / f"grants{count}", policy)
        try:
            for d in range(DATABASES):
                sandbox.bulk_create(PRIMARY, f"db{d}", tables, 0)
            sandbox.grant_select(roles, tables)
            lf = sandbox.clients.client("lakeformation", PRIMARY)
            primary = grant_listing_bound(count)
            standby = grant_listing_bound(count, DATABASES * tables, DATABASES)
            batches = DATABASES * page_count(tables * roles, 20)
            cases = [
                ("first", lambda: None, primary + grant_listing_bound(0), batches,
                 primary + standby),
                ("unchanged", lambda: None, primary + standby, 0, 0),
                # Verification reads only the grants of the table, in both Regions.
                ("one grant changed",
                 lambda: lf.grant_permissions(**grant_request(3, 3, 0, "ALTER")),
                 primary + standby, 1, 2),
                # A revoke is repeated until the service reports that no grant is left.
                ("one grant revoked", lambda: lf.revoke_permissions(**grant_request(3, 3, 0)),
                 primary + standby, 2, 2),
            ]
            for name, act, reads, writes, verification in cases:
                act()
                calls, wall, memory = sandbox.twinlake("resync")
                grant_calls = [c for c in calls if c.endswith("Permissions")]
                write_calls = [c for c in grant_calls if c != "ListPermissions"]
                verified = reads + writes + verification
                RESULTS.add(f"{count} grants, {name}", grant_calls=len(grant_calls), calls=len(calls),
                            seconds=wall, megabytes=memory)
                print_row(name, len(grant_calls), reads + writes,
                          f"x{len(grant_calls) / verified:.2f} of {verified} with verification; "
                          f"{len(write_calls)} writes; {len(calls)} calls in all, {wall:.1f} s, "
                          f"{memory:.0f} MB")
        finally:
            sandbox.stop()


def bench_memory(home):
    print("Peak memory of an unchanged full resync:")
    sandbox = BenchSandbox(home / "partitions")
    try:
        sandbox.bulk_create(PRIMARY, "big", 1, 1)
        sandbox.twinlake("resync")
        for region in (PRIMARY, STANDBY):
            sandbox.bulk_create(region, "big", 1, MILLION)
        # The first of these resyncs pairs the partitions.
        for _ in range(2):
            calls, wall, memory = sandbox.twinlake("resync", "--full")
        RESULTS.add(f"unchanged full resync, {MILLION} partitions", calls=len(calls), seconds=wall,
                    megabytes=memory)
        print(f"  one table of {MILLION:,} partitions: {memory:.0f} MB, {len(calls)} calls, "
              f"{wall:.0f} s", flush=True)
        RESULTS.judge(f"{MILLION:,} partitions: {memory:.0f} MB", memory <= 256, "at most 256 MB")
    finally:
        sandbox.stop()
    for databases in (10, 100):
        policy = 'column-statistics = "none"\ndata-cells-filter-scan = "granted"\n' + SITES
        sandbox = BenchSandbox(home / f"tables{databases}", policy)
        try:
            for d in range(databases):
                for region in (PRIMARY, STANDBY):
                    sandbox.bulk_create(region, f"db{d}", 1000, 0)
            sandbox.twinlake("resync")
            calls, wall, memory = sandbox.twinlake("resync", "--full")
            RESULTS.add(f"unchanged full resync, {databases * 1000} tables", calls=len(calls),
                        seconds=wall, megabytes=memory)
            print(f"  {databases * 1000:>7} tables in {databases} databases: {memory:.0f} MB, "
                  f"{len(calls)} calls, {wall:.0f} s")
        finally:
            sandbox.stop()


def bench_scale(home):
    """Prints calls, times, memory and the ledger of the laptop's path on a large lake, with BENCH_SCALE times
    as many databases."""
    factor = float(os.environ.get("BENCH_SCALE", "1"))
    policy = 'column-statistics = "none"\ndata-cells-filter-scan = "granted"\n' + SITES
    for name, databases, grants in (("tables", 1000, 0), ("grants", 100, 100)):
        databases = max(1, round(databases * factor))
        kind = f"{databases * 100} tables in {databases} databases, {databases * 100 * grants} grants"
        print(f"{kind}, by `twinlake resync`, without round trips:")
        sandbox = BenchSandbox(home / f"scale-{name}", policy)
        try:
            # What the standby has already is adopted by the first one: a million grants take hours to make.
            regions = (PRIMARY, STANDBY) if grants else (PRIMARY,)
            for d in range(databases):
                for region in regions:
                    sandbox.bulk_create(region, f"db{d}", 100, 0, grants)
            for run in ("first", "unchanged"):
                calls, wall, memory = sandbox.twinlake("resync", parallel=16)
                ledger = (sandbox.home / "twinlake.ledger").stat().st_size / 1e6
                RESULTS.add(f"{kind}, {run}", calls=len(calls), seconds=wall, megabytes=memory)
                print(f"  {run:<10} {len(calls):>8} calls, {wall:.0f} s, {memory:.0f} MB; "
                      f"the ledger has {ledger:.0f} MB", flush=True)
                RESULTS.judge(f"{kind}, {run}: {memory:.0f} MB", memory <= 256, "at most 256 MB")
        finally:
            sandbox.stop()


def bench_functions():
    """Prints the resyncs of large lakes by the functions, on a clock that only calls advance."""
    print("Resyncs of large lakes by the function, 10 ms to the primary and 200 ms to the standby; each "
          "invocation has to end before its timeout:")
    for name in ("a_hundred_thousand_tables", "large_databases", "a_million_partitions_of_one_table", "a_million_grants"):
        print_test(f"scale::{name}", "resynchronized by", "invocations", ignored=True)


def database_event(database, change, **detail):
    """Returns a native Glue event about a database."""
    return {"source": "aws.glue", "detail-type": "Glue Data Catalog Database State Change",
            "detail": {"databaseName": database, "typeOfChange": change, **detail}}


def bench_events():
    """Prints the calls that one event costs in a deployment, one event at a time."""
    with stack.Deployment() as deployment:
        glue, lf = (deployment.client(s, PRIMARY) for s in ("glue", "lakeformation"))
        standby_glue = deployment.client("glue", STANDBY)
        standby_lf = deployment.client("lakeformation", STANDBY)
        principal = f"arn:aws:iam::{ACCOUNT}:role/Analyst"
        table = {"Name": "t", "PartitionKeys": [{"Name": "dt", "Type": "string"}],
                 "StorageDescriptor": {"Location": f"{bucket_uri(PRIMARY)}/d/t/",
                                       "Columns": [{"Name": "id", "Type": "int"}]}}
        glue.create_database(DatabaseInput={"Name": "d", "CreateTableDefaultPermissions": []})
        glue.create_table(DatabaseName="d", TableInput=table)
        glue.batch_create_partition(DatabaseName="d", TableName="t", PartitionInputList=[
            {"Values": ["1"],
             "StorageDescriptor": {"Location": f"{bucket_uri(PRIMARY)}/d/t/1"}}])
        wait_for("the table is replicated", lambda: "'1'" in str(list_partitions(standby_glue)))
        wait_for("the queues are empty", deployment.has_empty_queues)
        # From here on, each change causes exactly one event, which the benchmark sends itself.
        deployment.control_sandbox("event-delivery", enabled=False)

        def put_lf_event(name):
            deployment.put_event(PRIMARY, {
                "source": "aws.lakeformation", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "lakeformation.amazonaws.com",
                           "eventName": name, "recipientAccountId": ACCOUNT,
                           "requestParameters": {
                               "principal": {"dataLakePrincipalIdentifier": principal},
                               "resource": {"table": {"databaseName": "d", "name": "t"}},
                               "permissions": ["SELECT"]}}})

        # Each of these functions makes one change and sends its event. The function that it returns
        # checks whether the standby has the change.

        def add_column():
            table["StorageDescriptor"]["Columns"].append({"Name": "x", "Type": "int"})
            glue.update_table(DatabaseName="d", TableInput=table)
            deployment.put_event(PRIMARY, {
                "source": "aws.glue", "detail-type": "Glue Data Catalog Table State Change",
                "detail": {"databaseName": "d", "typeOfChange": "UpdateTable", "tableName": "t"}})
            return lambda: "'x'" in str(standby_glue.get_table(DatabaseName="d", Name="t"))

        def create_table():
            glue.create_table(DatabaseName="d", TableInput={**table, "Name": "u"})
            deployment.put_event(PRIMARY, database_event("d", "CreateTable", changedTables=["u"]))
            return lambda: "'u'" in str(standby_glue.get_tables(DatabaseName="d"))

        select = {"Principal": {"DataLakePrincipalIdentifier": principal},
                  "Permissions": ["SELECT"],
                  "Resource": {"Table": {"DatabaseName": "d", "Name": "t"}}}

        def grant():
            lf.grant_permissions(**select)
            put_lf_event("GrantPermissions")
            return lambda: principal in str(standby_lf.list_permissions())

        def revoke():
            lf.revoke_permissions(**select)
            put_lf_event("RevokePermissions")
            return lambda: principal not in str(standby_lf.list_permissions())

        def create_large_table(region, partitions):
            deployment.control_sandbox(
                "bulk-create", region=region, database="big", tables=1,
                partitions_per_table=partitions, location=bucket_uri(region))

        create_large_table(PRIMARY, 1)
        # The primary's own-access function grants Twinlake's roles SELECT on new databases' tables.
        deployment.put_event(PRIMARY, database_event("big", "CreateDatabase"))
        wait_for("Twinlake's roles have SELECT", lambda: "'big'" in str(lf.list_permissions(
            Resource={"Table": {"DatabaseName": "big", "TableWildcard": {}}})))
        deployment.put_event(PRIMARY, database_event("big", "CreateTable", changedTables=["t0"]))
        wait_for("the large table is replicated",
                 lambda: list_partitions(standby_glue, "big", "t0"))
        wait_for("the queues are empty", deployment.has_empty_queues)
        for region in (PRIMARY, STANDBY):
            create_large_table(region, MILLION)

        def update_partition():
            location = f"{bucket_uri(PRIMARY)}/big/t0/elsewhere"
            glue.update_partition(DatabaseName="big", TableName="t0",
                                  PartitionValueList=["0000007"], PartitionInput={
                                      "Values": ["0000007"],
                                      "StorageDescriptor": {"Location": location}})
            deployment.put_event(PRIMARY, {
                "source": "aws.glue", "detail-type": "AWS API Call via CloudTrail",
                "detail": {"eventSource": "glue.amazonaws.com", "eventName": "UpdatePartition",
                           "recipientAccountId": ACCOUNT, "requestParameters": {
                               "databaseName": "big", "tableName": "t0",
                               "partitionValueList": ["0000007"],
                               "partitionInput": {"values": ["0000007"]}}}})
            return lambda: "elsewhere" in str(standby_glue.get_partition(
                DatabaseName="big", TableName="t0", PartitionValues=["0000007"]))

        print("Calls of one event, with everything that belongs to the table (target for a change "
              "of a table: 12 calls):")
        for name, act in (("a column is added", add_column), ("a grant is created", grant),
                          ("the grant is revoked", revoke),
                          ("a partitioned table is created", create_table),
                          ("one of a million partitions is changed", update_partition)):
            deployment.drain_calls()
            wait_for(name, act())
            wait_for("the queues are empty", deployment.has_empty_queues)
            calls = [c["call"] for c in deployment.drain_calls()
                     if ":role/twinlake/" in c["caller"]]
            # What one event causes may be spread over several invocations, which read more.
            RESULTS.add(f"event, {name}", varying_calls=len(calls))
            print(f"  {name:<40} {len(calls):>6} calls")


# A burst: tables of these databases are updated within ten seconds.
BURST_DATABASES, BURST_TABLES, BURST_SECONDS = 4, 250, 10


def bench_burst():
    """Prints when the changes of a burst are in the standby of a deployment."""
    count = BURST_DATABASES * BURST_TABLES
    print(f"{count:,} tables in {BURST_DATABASES} databases are updated within {BURST_SECONDS} s, "
          "with round trips of 10 ms to the primary and of 200 ms to the standby:")
    with stack.Deployment() as deployment:
        for d in range(BURST_DATABASES):
            deployment.control_sandbox(
                "bulk-create", region=PRIMARY, database=f"db{d}", tables=BURST_TABLES,
                partitions_per_table=0, location=bucket_uri(PRIMARY))
        deployment.invoke(PRIMARY, "OwnAccess")
        deployment.resync()
        glue, standby = (deployment.client("glue", region) for region in (PRIMARY, STANDBY))

        def described():
            """The number of tables in the standby that have the change."""
            found = 0
            for d in range(BURST_DATABASES):
                pages = standby.get_paginator("get_tables").paginate(DatabaseName=f"db{d}")
                tables = [table for page in pages for table in page["TableList"]]
                found += sum(table.get("Description") == "burst" for table in tables)
            return found

        names = [(d, t) for t in range(BURST_TABLES) for d in range(BURST_DATABASES)]
        inputs = {}
        for d in range(BURST_DATABASES):
            pages = glue.get_paginator("get_tables").paginate(DatabaseName=f"db{d}")
            for table in (table for page in pages for table in page["TableList"]):
                inputs[d, table["Name"]] = {
                    key: table[key] for key in ("Name", "StorageDescriptor", "PartitionKeys",
                                                "TableType", "Parameters") if key in table}
        for region, milliseconds in ((PRIMARY, 10), (STANDBY, 200)):
            deployment.control_sandbox("latency", milliseconds=milliseconds, region=region)
        deployment.drain_calls()
        started = time.monotonic()
        for number, (d, t) in enumerate(names):
            time.sleep(max(0.0, started + number * BURST_SECONDS / count - time.monotonic()))
            table = {**inputs[d, f"t{t}"], "Description": "burst"}
            glue.update_table(DatabaseName=f"db{d}", TableInput=table)
        sent = time.monotonic()
        print(f"  sent within {sent - started:.1f} s; in the standby then: {described()}")
        wait_for("all changes are in the standby", lambda: described() == count, 300, every=1)
        waited = time.monotonic() - sent
        calls = collections.Counter(
            c["call"] for c in deployment.drain_calls() if ":role/twinlake/" in c["caller"])
        RESULTS.add(f"burst of {count} tables", seconds=waited, varying_calls=sum(calls.values()))
        print(f"  all in the standby {waited:.0f} s after the last one; {sum(calls.values())} calls")
        RESULTS.judge(f"{count} tables in step {sent - started + waited:.0f} s after the first update",
                      sent - started + waited <= 60, "at most 60 s")
        print("  " + ", ".join(f"{name} {number}" for name, number in calls.most_common(8)))


def list_partitions(glue, database="d", table="t"):
    try:
        return glue.get_partitions(DatabaseName=database, TableName=table)["Partitions"]
    except glue.exceptions.EntityNotFoundException:
        return []


class LambdaRuntimeApi(http.server.BaseHTTPRequestHandler):
    """A Lambda runtime API that records the first request of a function and never answers it."""

    def do_GET(self):
        self.server.requested.set()
        self.server.finished.wait(10)

    def log_message(self, *_):
        pass


def bench_start():
    print("Functions (release build, x86_64): time from start to the first request for an event, "
          "resident memory, zip size:")
    for binary in stack.FUNCTIONS.values():
        path = BUILD / binary
        fastest, resident = None, None
        for _ in range(5):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LambdaRuntimeApi)
            server.requested, server.finished = threading.Event(), threading.Event()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            names = ["PEER_REGION", "ACCOUNT", "LEDGER_TABLE", "PEER_LEDGER_TABLE",
                     "ALERT_TOPIC_ARN", "RETRY_QUEUE_URL", "FUNCTION_ROLE_ARN", "ROLE_ARNS",
                     "WRITER_ROLE_ARNS"]
            environment = {f"TWINLAKE_{name}": "x" for name in names}
            environment |= {
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_port}",
                "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
                "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
                "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_LOG_STREAM_NAME": "s",
                "AWS_LAMBDA_LOG_GROUP_NAME": "g"}
            start = time.monotonic()
            process = subprocess.Popen([str(path)], env=environment, stdout=subprocess.DEVNULL)
            assert server.requested.wait(10), f"{binary} never requested an event"
            elapsed = (time.monotonic() - start) * 1000
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            kib = int(next(line for line in status.splitlines() if "VmRSS" in line).split()[1])
            process.kill()
            process.wait()
            server.finished.set()
            server.shutdown()
            fastest = min(fastest or elapsed, elapsed)
            resident = max(resident or 0, kib / 1024)
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.writestr("bootstrap", path.read_bytes())
        RESULTS.add(f"function {binary}", milliseconds=fastest, megabytes=resident,
                    zip_megabytes=len(zipped.getvalue()) / 1e6)
        print(f"  {binary:<20} {fastest:6.1f} ms   {resident:5.1f} MB   "
              f"{len(zipped.getvalue()) / 1e6:4.1f} MB")


# The parts of the benchmark, by the names that select them.
PARTS = {
    "calls": bench_calls, "week": bench_week, "round-trips": bench_round_trips, "throttling": bench_throttling,
    "grants": bench_grants, "memory": bench_memory, "scale": bench_scale,
    "query": lambda home: bench_query.bench_query(home, RESULTS),
    "functions": lambda _: bench_functions(), "events": lambda _: bench_events(),
    "burst": lambda _: bench_burst(), "start": lambda _: bench_start(),
    "iceberg": lambda home: bench_iceberg.bench_iceberg(RESULTS, home),
    "iceberg-lag": lambda _: bench_iceberg_lag.bench_iceberg_lag(RESULTS),
}


def main():
    """Runs the parts that the arguments name, or all."""
    unknown = set(sys.argv[1:]) - set(PARTS)
    if unknown:
        sys.exit(f"No part of the benchmark: {', '.join(sorted(unknown))}. The parts: {', '.join(PARTS)}.")
    stack.TARGET = BUILD
    with tempfile.TemporaryDirectory() as directory:
        for name, part in PARTS.items():
            if name in (sys.argv[1:] or PARTS):
                home = pathlib.Path(directory) / name
                home.mkdir()
                part(home)
    RESULTS.write(OUTPUT)
    print(f"The measurements are in {OUTPUT}. {len(RESULTS.bars) - len(RESULTS.missed())} of {len(RESULTS.bars)} bars are "
          "met.")
    for missed in RESULTS.missed():
        print(f"MISSED: {missed}")
    sys.exit(1 if RESULTS.missed() else 0)


if __name__ == "__main__":
    main()
