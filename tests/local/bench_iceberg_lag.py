"""How long after the last object of a commit the entry of an Iceberg table in the standby shows the commit.

A deployment in a local AWS, with the delays of the template: the objects arrive when the benchmark writes them, so what is
measured is Twinlake's own part of the lag. Events and S3 replication of AWS take longer than those of the local AWS.
"""

import contextlib
import time

import pyarrow as pa

import stack
from stack import BUCKETS, PRIMARY, SITES, STANDBY, wait_for
from test_iceberg_replication import catalog, keys, pointer, source_of

# Tables whose last object arrives before the event, and tables whose last object is late.
TABLES = 12
# The time between the arrivals of two late objects: together they fall into all parts of a look interval.
SPACING_SECONDS = 5
# The interval of looks, the delays of two messages and the invocations.
MAX_LAG_SECONDS = 75
DELAY, TIMEOUT = "QueueDelaySeconds", "QueueVisibilityTimeoutSeconds"


@contextlib.contextmanager
def delays_of_the_template():
    """Deploys with the delay and the timeout of the queues that the template has by default. Those of tests are shorter."""
    of_tests = dict(stack.OF_TESTS)
    parameters = stack.load_template()["Parameters"]
    stack.OF_TESTS |= {name: str(parameters[name]["Default"]) for name in (DELAY, TIMEOUT)}
    try:
        yield parameters[DELAY]["Default"]
    finally:
        stack.OF_TESTS = of_tests


class LagTables:
    """Tables of one row, each with a commit."""

    def __init__(self, lake):
        self.lake, self.primary, self.standby = lake, catalog(lake, PRIMARY), catalog(lake, STANDBY)
        self.s3 = {region: lake.client("s3", region) for region in (PRIMARY, STANDBY)}
        self.schema = pa.schema([("id", pa.int64())])

    def create(self, name):
        """Creates a table, whose entry has no commit with rows yet."""
        location = f"s3://{BUCKETS[PRIMARY]}/ice/{name}"
        return self.primary.create_table(f"ice.{name}", self.schema, location=location)

    def append(self, table):
        table.append(pa.table({"id": [1]}, self.schema))
        return time.monotonic()

    def arrive(self, name, is_chosen=lambda key: True):
        """Copies the objects of a table that are not in the standby yet."""
        there = keys(self.s3[STANDBY], BUCKETS[STANDBY])
        for key in sorted(keys(self.s3[PRIMARY], BUCKETS[PRIMARY]) - there):
            if key.startswith(f"ice/{name}/") and is_chosen(key):
                body = self.s3[PRIMARY].get_object(Bucket=BUCKETS[PRIMARY], Key=key)["Body"].read()
                self.s3[STANDBY].put_object(Bucket=BUCKETS[STANDBY], Key=key, Body=body)
        return time.monotonic()

    def shows(self, name, table):
        return source_of(pointer(self.standby, f"ice.{name}")) == source_of(table.metadata_location)

    def is_looked_at(self, name):
        """Whether Twinlake has rewritten the manifest of the commit, which it does before it looks for the data files."""
        there = keys(self.s3[STANDBY], BUCKETS[STANDBY])
        return any(key.startswith(f"ice/{name}/_twinlake/") and key.endswith("-m0.avro") for key in there)

    def lags(self, tables, since):
        """The seconds until each table shows its commit, since the time of each. `since` is called again and again."""
        found = {}

        def look():
            started = since()
            for name, table in tables.items():
                if name in started and name not in found and self.shows(name, table):
                    found[name] = time.monotonic() - started[name]
            return len(found) == len(tables)

        wait_for("each table shows its commit", look, seconds=600, every=0.1, detail=lambda: found)
        return sorted(found.values())


def late_objects(tables):
    """The lags of commits whose data files arrive after the first look."""
    named = {f"late{number}": tables.create(f"late{number}") for number in range(TABLES)}
    for name, table in named.items():
        tables.append(table)
        tables.arrive(name, lambda key: "/data/" not in key)
    wait_for("each table waits for its file", lambda: all(map(tables.is_looked_at, named)), every=1)
    wait_for("the queues are empty", tables.lake.has_empty_queues)
    first, arrived = time.monotonic(), {}

    def since():
        due = [name for at, name in enumerate(named) if time.monotonic() >= first + at * SPACING_SECONDS]
        for name in due:
            if name not in arrived:
                arrived[name] = tables.arrive(name)
        return arrived

    return tables.lags(named, since)


def early_objects(tables):
    """The lags of commits all of whose objects arrive at once with them."""
    lags = []
    for number in range(TABLES):
        table = tables.create(f"early{number}")
        tables.append(table)
        started = tables.arrive(f"early{number}")
        lags += tables.lags({f"early{number}": table}, lambda: {f"early{number}": started})
    return sorted(lags)


# How the lags of a commit are measured, by when its last object arrives.
ORDERS = {"with the commit": early_objects, "after the first look": late_objects}


def bench_iceberg_lag(results):
    with delays_of_the_template() as delay, stack.Deployment() as lake:
        print(f"Iceberg commits in a deployment with a queue delay of {delay} s: from the last object's arrival in the "
              "standby until its entry shows the commit:")
        lake.policy_file.write_text('iceberg = "relocate"\n' + SITES)
        lake.twinlake("policy", "push", str(lake.policy_file))
        glue = lake.client("glue", PRIMARY)
        glue.create_database(DatabaseInput={"Name": "ice", "CreateTableDefaultPermissions": []})
        # The objects arrive when the benchmark copies them.
        lake.client("s3", PRIMARY).delete_bucket_replication(Bucket=BUCKETS[PRIMARY])
        tables = LagTables(lake)
        for name, measure in ORDERS.items():
            lags = measure(tables)
            half, most = lags[len(lags) // 2], lags[-1]
            results.add(f"Iceberg lag, last object {name}", seconds=most, median_seconds=half)
            results.judge(f"the last object arrives {name}: {lags[0]:.0f} to {most:.0f} s, half of {TABLES} within {half:.0f} s",
                          most <= MAX_LAG_SECONDS, f"at most {MAX_LAG_SECONDS} s")
