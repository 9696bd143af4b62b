"""What a deployment costs: from the template's schedules, from calls that are counted in a run,
and from the price table of the code. What AWS does not tell is assumed below, by name; the
README's figures are those that come out."""

import collections
import json
import re

import stack
from stack import ACCOUNT, BUCKETS, FUNCTIONS, PRIMARY, ROOT, SECONDARY, wait_for
from test_end_to_end import settle, table
from test_template import RESOURCES, TEMPLATE, metrics

MONTH = 30 * 24 * 3600
TABLES, DATABASES, PARTITIONS = 10_000, 10, 2
# Lambda keeps so many long polls of 20 seconds open on a queue that is empty.
POLLS = 5
# How long a call to Glue or Lake Formation takes, and how long a function runs besides.
CALL_SECONDS, RUN_SECONDS = 0.05, 0.2
# How often a service's calls are counted by a metric of their own.
SERVICES = 7
# Of so many changes the mean is taken: both events of one may meet in a batch, or not.
CHANGES = 5
HOURS = {"hour": 3600, "hours": 3600, "minute": 60, "minutes": 60, "day": 86400}


def prices():
    code = (ROOT / "crates/core/src/price.rs").read_text()
    names = dict(re.findall(r'pub const (\w+): &str = "([a-z-]+)";', code))
    return {names[name]: float(price) for name, price in re.findall(r"\((\w+), ([\d.]+)\),", code)
            if name in names}


PRICE = prices()


def seconds(function):
    """Between two runs of a function, by its schedule."""
    for event in RESOURCES[function]["Properties"]["Events"].values():
        if event["Type"] == "ScheduleV2":
            expression = event["Properties"]["ScheduleExpression"]
            if "Ref" in expression:
                expression = TEMPLATE["Parameters"][expression["Ref"]]["Default"]
            rate = re.fullmatch(r"rate\((\d+) (\w+)\)", expression)
            # The only cron is daily.
            return int(rate[1]) * HOURS[rate[2]] if rate else 86400


def memory(function):
    default = TEMPLATE["Globals"]["Function"]["MemorySize"]
    return RESOURCES[function]["Properties"].get("MemorySize", default)


def lambda_dollars(function, runs, calls):
    """So many runs, and so many calls to Glue and Lake Formation in all of them."""
    at_once = TEMPLATE["Parameters"]["ParallelCalls"]["Default"]
    busy = runs * RUN_SECONDS + calls * CALL_SECONDS / at_once
    return (runs * PRICE["lambda-million-invocations"]
            + busy * memory(function) / 1024 * PRICE["lambda-million-gb-seconds"]) / 1e6


def is_glue(call):
    lake = ("Permission", "LF", "DataLake", "CellsFilter", "Resource", "LakeFormation")
    return not any(word in call for word in lake) or call in ("GetResourcePolicy",)


def forwarded(calls):
    """Events that cross Regions because of these calls."""
    def names(rule):
        return RESOURCES[rule]["Properties"]["EventPattern"]["detail"]["eventName"]
    glue, lake = names("ForwardCatalogCalls"), names("ForwardPermissionCalls")
    native = sum(call in glue and call not in ("UpdateDatabase", "TagResource") for call in calls)
    return native + sum(call in glue or call in lake for call in calls)


def ledger_counts(local):
    """What the functions counted of themselves, in both Regions."""
    total = collections.Counter()
    for region in (PRIMARY, SECONDARY):
        for item in local.client("dynamodb", region).scan(TableName="twinlake-ledger")["Items"]:
            if item["pk"]["S"] == "hours":
                total.update({name: int(value["N"]) for name, value in item.items()
                              if "N" in value and name != "expires"})
    return total


class Measured:
    """Calls between two moments."""

    def __init__(self, local):
        self.local = local
        local.calls()
        self.before = ledger_counts(local)

    def end(self):
        wait_for("the queues are empty", self.local.is_quiet)
        self.lake = [call["call"] for call in self.local.calls() if "role/twinlake" in call["caller"]]
        self.beside = ledger_counts(self.local) - self.before
        return self

    def dollars(self, function, runs=0):
        """Of the calls and of one event function that handles what came."""
        glue = sum(is_glue(call) for call in self.lake)
        events = forwarded(self.lake)
        return (
            glue * PRICE["glue-million-calls"]
            + self.beside["calls.dynamodb"] * PRICE["dynamodb-million-writes"]
            + (self.beside["calls.sqs"] + 3 * events) * PRICE["sqs-million-calls"]
            + self.beside["calls.sns"] * PRICE["sns-million-messages"]
            + (self.beside["calls.events"] + events) * PRICE["eventbridge-million-events"]
        ) / 1e6 + lambda_dollars(function, runs or self.beside["lambda.invocations"],
                                 len(self.lake))


def resync_of(tables, tmp_path):
    """Calls of a resync that finds so many partitioned tables equal, and the size of the ledger."""
    from bench import Lake as Sandbox
    import bench
    bench.RELEASE = stack.TARGET
    lake = Sandbox(tmp_path / "lake")
    try:
        for number in range(DATABASES):
            for region in (PRIMARY, SECONDARY):
                lake.fill(region, f"db{number}", tables // DATABASES, PARTITIONS)
        lake.twinlake("resync", parallel=16)
        calls, _, _ = lake.twinlake("resync", parallel=16)
        assert all(call.startswith(("Get", "List", "Search", "BatchGet")) for call in calls)
        return calls, (lake.home / "ledger.json").stat().st_size
    finally:
        lake.stop()


def idle(beat, calls, ledger_bytes):
    """Dollars a month by what they are for, of both Regions."""
    glue = sum(is_glue(call) for call in calls)
    resyncs = MONTH / seconds("Resync")
    alarms = [name for name, resource in RESOURCES.items()
              if resource["Type"] == "AWS::CloudWatch::Alarm" and "Condition" not in resource]
    queues = [function for function in FUNCTIONS
              if "Messages" in RESOURCES[function]["Properties"]["Events"]]
    series = len([name for name, of in metrics() if of is None]) + 2 + SERVICES
    hourly = MONTH / seconds("ReplicationEvent")
    return {
        "resyncs": resyncs * (
            glue * PRICE["glue-million-calls"] / 1e6
            + ledger_bytes / 4096 * PRICE["dynamodb-million-reads"] / 1e6
            + lambda_dollars("Resync", 1, len(calls))),
        "heartbeats and the look at them": MONTH / seconds("Heartbeat") * beat,
        "other schedules": 2 * (lambda_dollars("ReplicationEvent", hourly, 0)
                                + lambda_dollars("Digest", MONTH / seconds("Digest"), 0)),
        "queues that Lambda polls": 2 * len(queues) * POLLS * MONTH / 20
        * PRICE["sqs-million-calls"] / 1e6,
        "metrics, alarms, dashboards": 2 * (
            series * PRICE["cloudwatch-metric-month"]
            + len(alarms) * PRICE["cloudwatch-alarm-month"]
            + PRICE["cloudwatch-dashboard-month"]),
    }


def test_the_readme_tells_what_it_costs(tmp_path):
    with stack.Local() as local:
        glue = local.client("glue", PRIMARY)
        glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        glue.create_table(DatabaseName="sales", TableInput=table("orders"))
        settle(local)

        def beats(times):
            for _ in range(times):
                for region in (PRIMARY, SECONDARY):
                    local.invoke(region, "Heartbeat")
                    local.invoke(region, "Lag")
                wait_for("the queues are empty", local.is_quiet)
        beats(2)
        measured = Measured(local)
        beats(5)
        beat = measured.end().dollars("CatalogEvent") / 5
        measured = Measured(local)
        for number in range(CHANGES):
            changed = table("orders", Description=str(number))
            glue.update_table(DatabaseName="sales", TableInput=changed)
            settle(local)
        change = measured.end().dollars("CatalogEvent") / CHANGES
    calls, ledger_bytes = resync_of(TABLES, tmp_path)
    parts = idle(beat, calls, ledger_bytes)
    total = sum(parts.values())
    print(json.dumps({**{k: round(v, 2) for k, v in parts.items()}, "total": round(total, 2),
                      "a thousand changes": round(1000 * change, 3), "resync": len(calls)}))
    readme = (ROOT / "README.md").read_text()
    told = re.search(r"costs about \$(\d+) a month while nothing changes", readme)
    assert told and abs(int(told[1]) - total) <= 0.1 * total, parts
    said = {"metrics, alarms, dashboards": "metrics", "resyncs": "four resyncs a day",
            "heartbeats and the look at them": "heartbeats", "queues that Lambda polls": "the polling"}
    for part, words in said.items():
        told = re.search(rf"\$(\d+)\s+{words}", readme)
        assert told and abs(int(told[1]) - parts[part]) <= 0.6, (part, parts)
    assert parts["other schedules"] < 0.6, "it is not worth a word"
    told = re.search(r"a thousand changed tables about \$(\d+\.\d+)", readme)
    assert told and abs(float(told[1]) - 1000 * change) <= 0.35 * 1000 * change, change
    as_of = re.search(r'AS_OF: &str = "([\d-]+)"', (
        ROOT / "crates/core/src/price.rs").read_text())[1]
    assert f"prices of {as_of}" in readme
    assert BUCKETS and ACCOUNT
