"""Computes the monthly cost of a deployment and compares it with the documentation.

The cost follows from the schedules of the template, from calls that are counted in a run, and from
the prices in crates/engine/src/cost.rs. The constants below name what AWS does not publish.
"""

import collections
import json
import re

import bench
import stack
from stack import FUNCTIONS, PRIMARY, ROOT, STANDBY, wait_for
from test_end_to_end import table_input, wait_until_identical
from test_template import RESOURCES, TEMPLATE, metrics

MONTH_SECS = 30 * 24 * 3600
TABLES, DATABASES, PARTITIONS_PER_TABLE = 10_000, 10, 2
# The tables that Glue returns in one page.
PAGE_TABLES = 100
# Assumption: Lambda keeps this many long polls of 20 seconds open on an empty queue.
POLLS_PER_QUEUE, POLL_SECS = 5, 20
# Assumptions: the duration of a call to Glue or Lake Formation, and that of an invocation
# without its calls.
CALL_SECS, INVOCATION_SECS = 0.05, 0.2
# Prices of S3 of the same date, for a listing and for a read of an object's metadata.
S3_LIST_DOLLARS, S3_HEAD_DOLLARS = 0.005 / 1000, 0.0004 / 1000
# The number of services whose calls have a metric series of their own.
SERVICES = 7
# The cost of a change is the mean of this many: the two events of one change may or may not
# arrive in one batch.
CHANGES = 5
UNIT_SECS = {"minute": 60, "minutes": 60, "hour": 3600, "hours": 3600, "day": 86400}
COST_SOURCE = (ROOT / "crates/engine/src/cost.rs").read_text()


def read_prices():
    """Returns the prices of the code in US dollars, by name."""
    names = dict(re.findall(r'pub const (\w+): &str = "([a-z0-9-]+)";', COST_SOURCE))
    return {names[constant]: float(price)
            for constant, price in re.findall(r"\((\w+), ([\d.]+)\),", COST_SOURCE)
            if constant in names}


PRICES = read_prices()


def schedule_secs(function):
    """Returns the seconds between two scheduled runs of a function."""
    for event in RESOURCES[function]["Properties"]["Events"].values():
        if event["Type"] == "ScheduleV2":
            expression = event["Properties"]["ScheduleExpression"]
            if "Ref" in expression:
                expression = TEMPLATE["Parameters"][expression["Ref"]]["Default"]
            rate = re.fullmatch(r"rate\((\d+) (\w+)\)", expression)
            # The only cron expression is a daily one.
            return int(rate[1]) * UNIT_SECS[rate[2]] if rate else UNIT_SECS["day"]


def memory_mb(function):
    default = TEMPLATE["Globals"]["Function"]["MemorySize"]
    return RESOURCES[function]["Properties"].get("MemorySize", default)


def lambda_dollars(function, invocations, calls):
    """Returns the Lambda cost of invocations that make this many calls to Glue and Lake Formation
    in total."""
    concurrency = TEMPLATE["Parameters"]["MaxConcurrentCalls"]["Default"]
    seconds = invocations * INVOCATION_SECS + calls * CALL_SECS / concurrency
    return (invocations * PRICES["lambda-million-invocations"]
            + seconds * memory_mb(function) / 1024 * PRICES["lambda-million-gb-seconds"]) / 1e6


def is_glue_call(call):
    """Whether a call is one to Glue. Calls to Lake Formation are free."""
    lf_words = ("Permission", "LF", "DataLake", "CellsFilter", "Resource", "LakeFormation")
    return not any(word in call for word in lf_words) or call == "GetResourcePolicy"


def forwarded_events(calls):
    """Returns the number of events that cross Regions because of these calls."""
    def event_names(rule):
        return RESOURCES[rule]["Properties"]["EventPattern"]["detail"]["eventName"]
    glue = event_names("ForwardCatalogApiCallsRule")
    lf = event_names("ForwardPermissionApiCallsRule")
    native = sum(call in glue and call not in ("UpdateDatabase", "TagResource") for call in calls)
    return native + sum(call in glue or call in lf for call in calls)


def ledger_counters(deployment):
    """Returns the sum of the counters that the functions stored in the ledgers of both Regions."""
    total = collections.Counter()
    for region in (PRIMARY, STANDBY):
        dynamodb = deployment.client("dynamodb", region)
        for item in dynamodb.scan(TableName="twinlake-ledger")["Items"]:
            if item["pk"]["S"] == "hourly_counters":
                total.update({name: int(value["N"]) for name, value in item.items()
                              if "N" in value and name not in ("expires_at", "format")})
    return total


class Measurement:
    """The calls of a deployment between two points in time."""

    def __init__(self, deployment):
        self.deployment = deployment
        deployment.drain_calls()
        self.counters_before = ledger_counters(deployment)

    def end(self):
        wait_for("the queues are empty", self.deployment.has_empty_queues)
        self.calls = [call["call"] for call in self.deployment.drain_calls()
                      if "role/twinlake" in call["caller"]]
        self.counters = ledger_counters(self.deployment) - self.counters_before
        return self

    def dollars(self, function):
        """Returns the cost of the calls, if all invocations are of one function."""
        glue_calls = sum(is_glue_call(call) for call in self.calls)
        events = forwarded_events(self.calls)
        return (
            glue_calls * PRICES["glue-million-calls"]
            + self.counters["calls.dynamodb"] * PRICES["dynamodb-million-writes"]
            + (self.counters["calls.sqs"] + 3 * events) * PRICES["sqs-million-calls"]
            + self.counters["calls.sns"] * PRICES["sns-million-messages"]
            + (self.counters["calls.events"] + events) * PRICES["eventbridge-million-events"]
        ) / 1e6 + lambda_dollars(function, self.counters["lambda.invocations"], len(self.calls))


def measure_unchanged_resync(tmp_path, monkeypatch):
    """Returns the average number of calls of a resync that changes nothing, by name, and the size of
    the file of its ledger in bytes, which is more than the rows have.

    Both grow by the same amount with each further page of tables in each database, so they are
    measured with one page and with two.
    """
    monkeypatch.setattr(bench, "BUILD", stack.TARGET)
    one_page, ledger_of_one = measure_resync_with(tmp_path / "one", PAGE_TABLES)
    two_pages, ledger_of_two = measure_resync_with(tmp_path / "two", 2 * PAGE_TABLES)
    further = TABLES // DATABASES // PAGE_TABLES - 1
    calls = {call: one_page.get(call, 0) + further * (count - one_page.get(call, 0))
             for call, count in two_pages.items()}
    return calls, ledger_of_one + further * (ledger_of_two - ledger_of_one)


def measure_resync_with(home, tables_per_database):
    sandbox = bench.BenchSandbox(home)
    try:
        for number in range(DATABASES):
            for region in (PRIMARY, STANDBY):
                sandbox.bulk_create(
                    region, f"db{number}", tables_per_database, PARTITIONS_PER_TABLE)
        sandbox.twinlake("resync", parallel=16)
        calls, _, _ = sandbox.twinlake("resync", parallel=16)
        all_calls, _, _ = sandbox.twinlake("resync", "--full", parallel=16)
        assert all(call.startswith(("Get", "List", "Search", "BatchGet")) for call in all_calls)
        average = bench.average_calls(calls, all_calls)
        return average, (sandbox.home / "twinlake.ledger").stat().st_size
    finally:
        sandbox.stop()


def constant(path, name):
    return int(re.search(rf"{name}: usize = (\d+);", (ROOT / path).read_text())[1])


def readiness_dollars():
    """Returns the cost of a month of readiness checks, which run in the standby."""
    locations = constant("crates/engine/src/readiness.rs", "MAX_SAMPLED_LOCATIONS")
    # The oldest and the newest objects, in both Regions.
    heads = locations * 2 * 2 * constant("crates/aws/src/infrastructure/buckets.rs", "SAMPLES_PER_END")
    # One call lists the databases, one the functions. In each Region four count what is not replicated.
    sampled = constant("crates/engine/src/readiness/references.rs", "MAX_PARTITIONED_TABLES")
    glue_calls = TABLES / PAGE_TABLES + 1 + 1 + 2 * 4 + sampled
    runs = MONTH_SECS / schedule_secs("Readiness")
    return runs * (
        glue_calls * PRICES["glue-million-calls"] / 1e6
        + locations * S3_LIST_DOLLARS + heads * S3_HEAD_DOLLARS
    ) + lambda_dollars("Readiness", runs, runs * (glue_calls + locations + heads))


def idle_dollars(heartbeat, resync_calls, ledger_bytes):
    """Returns the cost of a month without changes in both Regions, by purpose.

    `heartbeat` is the cost of one run of the heartbeat and the monitor functions.
    """
    glue_calls = sum(count for call, count in resync_calls.items() if is_glue_call(call))
    resyncs = MONTH_SECS / schedule_secs("Resync")
    alarms = [name for name, resource in RESOURCES.items()
              if resource["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in resource]
    queues = [function for function in FUNCTIONS
              if "Messages" in RESOURCES[function]["Properties"].get("Events", {})]
    # The lag has three channels.
    series = len([name for name, dimension in metrics() if dimension is None]) + 3 + SERVICES
    rechecks = MONTH_SECS / schedule_secs("ReplicationEvent")
    digests = MONTH_SECS / schedule_secs("Digest")
    canaries = MONTH_SECS / schedule_secs("Canary")
    return {
        "resyncs": resyncs * (
            glue_calls * PRICES["glue-million-calls"] / 1e6
            + ledger_bytes / 4096 * PRICES["dynamodb-million-reads"] / 1e6
            + lambda_dollars("Resync", 1, sum(resync_calls.values()))),
        "heartbeats": MONTH_SECS / schedule_secs("Heartbeat") * heartbeat,
        "readiness checks": readiness_dollars(),
        "other schedules": 2 * (lambda_dollars("ReplicationEvent", rechecks, 0)
                                + lambda_dollars("Digest", digests, 0)
                                + lambda_dollars("Canary", canaries, 0)),
        "polling": 2 * len(queues) * POLLS_PER_QUEUE * MONTH_SECS / POLL_SECS
        * PRICES["sqs-million-calls"] / 1e6,
        "metrics": 2 * (
            series * PRICES["cloudwatch-metric-month"]
            + len(alarms) * PRICES["cloudwatch-alarm-month"]
            + PRICES["cloudwatch-dashboard-month"]),
    }


def heartbeat_usage(deployment, run_heartbeats):
    """Returns what one run of the heartbeats and monitors of both Regions uses, by the names of
    crates/engine/src/monthly_cost.rs."""
    runs = 5
    measurement = Measurement(deployment)
    run_heartbeats(runs)
    measurement.end()
    events = forwarded_events(measurement.calls)
    glue_calls = sum(is_glue_call(call) for call in measurement.calls)
    counters = measurement.counters
    used = {
        "glue_calls": glue_calls, "lake_formation_calls": len(measurement.calls) - glue_calls,
        "dynamodb_calls": counters["calls.dynamodb"], "sqs_calls": counters["calls.sqs"] + 3 * events,
        "events": counters["calls.events"] + events, "invocations": counters["lambda.invocations"],
    }
    return {name: count / runs for name, count in used.items()}


def assert_projection_agrees(usage):
    """The constants of the projected cost are those of the template and of this run."""
    source = (ROOT / "crates/engine/src/monthly_cost.rs").read_text()
    print(json.dumps(usage))
    for name, used in usage.items():
        projected = float(re.search(rf"\n    {name}: ([\d.]+),", source)[1])
        # The events of one heartbeat may or may not arrive in one batch.
        assert abs(projected - used) <= 0.4 * used, (name, projected, used)
    alarms = [name for name, resource in RESOURCES.items()
              if resource["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in resource]
    queues = [function for function in FUNCTIONS if "Messages" in RESOURCES[function]["Properties"].get("Events", {})]
    series = len([name for name, dimension in metrics() if dimension is None]) + 3 + SERVICES
    locations = constant("crates/engine/src/readiness.rs", "MAX_SAMPLED_LOCATIONS")
    ends = constant("crates/aws/src/infrastructure/buckets.rs", "SAMPLES_PER_END")
    for name, value in {
        "READINESS_GB": memory_mb("Readiness") / 1024, "CANARY_GB": memory_mb("Canary") / 1024,
        "READINESS_S3_LISTINGS": locations, "READINESS_S3_HEADS": locations * 2 * 2 * ends,
        "READINESS_SAMPLED_TABLES": constant(
            "crates/engine/src/readiness/references.rs", "MAX_PARTITIONED_TABLES"),
        "METRICS": series, "ALARMS": len(alarms), "QUEUES": len(queues),
        "CALL_SECS": CALL_SECS, "INVOCATION_SECS": INVOCATION_SECS,
        "MAX_CONCURRENT_CALLS": int(TEMPLATE["Parameters"]["MaxConcurrentCalls"]["Default"]),
        "RESYNC_GB": memory_mb("Resync") / 1024, "HANDLER_GB": memory_mb("CatalogEvent") / 1024,
        "RESYNCS_PER_DAY": 24 * 3600 / schedule_secs("Resync"),
    }.items():
        projected = re.search(rf"const {name}: \w+ = ([\d.]+);", source)[1]
        assert float(projected) == value, (name, projected, value)
    assert schedule_secs("Heartbeat") == 60 and schedule_secs("ReplicationEvent") == 3600
    assert schedule_secs("Readiness") == 1800 and schedule_secs("Canary") == 300


def test_the_documented_cost_is_the_computed_one(tmp_path, monkeypatch):
    with stack.Deployment() as deployment:
        glue = deployment.client("glue", PRIMARY)
        glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        glue.create_table(DatabaseName="sales", TableInput=table_input("orders"))
        wait_until_identical(deployment)

        def run_heartbeats(times):
            for _ in range(times):
                for region in (PRIMARY, STANDBY):
                    deployment.invoke(region, "Heartbeat")
                    deployment.invoke(region, "Monitor")
                wait_for("the queues are empty", deployment.has_empty_queues)
        run_heartbeats(2)
        measurement = Measurement(deployment)
        run_heartbeats(5)
        heartbeat = measurement.end().dollars("CatalogEvent") / 5
        measurement = Measurement(deployment)
        for number in range(CHANGES):
            changed = table_input("orders", Description=str(number))
            glue.update_table(DatabaseName="sales", TableInput=changed)
            wait_until_identical(deployment)
        change = measurement.end().dollars("CatalogEvent") / CHANGES
        usage = heartbeat_usage(deployment, run_heartbeats)
    resync_calls, ledger_bytes = measure_unchanged_resync(tmp_path, monkeypatch)
    purposes = idle_dollars(heartbeat, resync_calls, ledger_bytes)
    total = sum(purposes.values())
    assert_projection_agrees(usage)
    print(json.dumps({**{purpose: round(dollars, 2) for purpose, dollars in purposes.items()},
                      "total": round(total, 2), "a thousand changes": round(1000 * change, 3),
                      "resync calls": round(sum(resync_calls.values()))}))
    pages = {page: " ".join((ROOT / page).read_text().split())
             for page in ("README.md", "docs/operations.md")}
    as_of = re.search(r'AS_OF: &str = "([\d-]+)"', COST_SOURCE)[1]
    for page, text in pages.items():
        documented = re.search(r"about \$(\d+) a month while nothing changes", text, re.I)
        assert documented and abs(int(documented[1]) - total) <= 0.1 * total, (page, purposes)
        documented = re.search(r"a thousand changed tables (?:add )?about \$(\d+\.\d+)", text, re.I)
        assert documented, page
        assert abs(float(documented[1]) - 1000 * change) <= 0.35 * 1000 * change, (page, change)
        assert f"prices of {as_of}" in text, page
    words = {"metrics": "metrics", "resyncs": "four resyncs a day", "heartbeats": "heartbeats",
             "polling": "the polling", "readiness checks": "readiness checks"}
    for purpose, word in words.items():
        documented = re.search(rf"\$(\d+) (?:for )?{word}", pages["docs/operations.md"])
        assert documented, purpose
        # Half a dollar by rounding; the rest are calls that are repeated on a slow machine.
        assert abs(int(documented[1]) - purposes[purpose]) <= 0.8, (purpose, purposes)
    assert purposes["other schedules"] < 0.6, "too small to be documented"
