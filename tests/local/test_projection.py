"""The calls and the cost that `twinlake init` projects: compared with the calls of a deployment."""

import collections
import re

import pytest

from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY
from test_bare_pair import CALLER, PREFIX, BarePair

TOLERANCE = 0.05


class PairWithCatalog(BarePair):
    """Two Regions without Twinlake at first; the primary has two databases, partitions and grants."""

    def __enter__(self):
        super().__enter__()
        try:
            self.fill()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def fill(self):
        glue, lf = (self.client(service, PRIMARY) for service in ("glue", "lakeformation"))
        for number in range(12):
            self.create_table(glue, "sales", f"t{number}")
        glue.create_database(DatabaseInput={"Name": "hr"})
        storage = self.create_table(glue, "hr", "events", PartitionKeys=[{"Name": "dt", "Type": "string"}])
        values = [str(number) for number in range(130)]
        for start in (0, 100):
            glue.batch_create_partition(DatabaseName="hr", TableName="events", PartitionInputList=[
                {"Values": [value], "StorageDescriptor": storage} for value in values[start:start + 100]])
        for number in range(25):
            lf.grant_permissions(
                Principal={"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/R{number}"},
                Resource={"Table": {"DatabaseName": "sales", "Name": f"t{number % 12}"}}, Permissions=["SELECT"])

    @staticmethod
    def create_table(glue, database, name, **more):
        storage = {"Columns": [{"Name": "id", "Type": "int"}],
                   "Location": f"s3://{BUCKETS[PRIMARY]}/{PREFIX}{database}/{name}/"}
        glue.create_table(
            DatabaseName=database, TableInput={"Name": name, "StorageDescriptor": storage, **more})
        return storage

    def count_calls(self, run):
        """Returns the calls of a resync to Glue and to Lake Formation, by name."""
        self.drain_calls()
        run()
        return collections.Counter(
            call["call"] for call in self.drain_calls() if "ResyncRole" in call["caller"] or CALLER == call["caller"])

    def full_resync(self):
        done = self.twinlake("resync", "--full", "--policy", "policy.toml", "--caller-arn", CALLER)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def pair():
    with PairWithCatalog() as running:
        running.deploy()
        attach = [option for bucket in BUCKETS.values() for option in ("--attach", bucket)]
        done = running.twinlake(
            "setup", "storage", "--policy", "policy.toml", *attach, "--stack", "twinlake", "--yes",
            "--replication-role", f"arn:aws:iam::{ACCOUNT}:role/replication")
        assert done.returncode == 0, done.stdout + done.stderr
        yield running


def init(pair, out="drafted.toml"):
    done = pair.twinlake(
        "init", "--primary", PRIMARY, "--standby", STANDBY, "--caller-arn", CALLER, "--out", out)
    assert done.returncode in (0, 2), done.stderr
    return done.stdout


def projected_calls(text):
    return {name: int(calls) for calls, name in re.findall(r"(?m)^ +(\d+)  (.+) \(\d+ to Glue", text)}


def test_the_projected_calls_are_those_of_the_resyncs(pair):
    text = init(pair)
    assert "holds 2 databases, 14 tables, 130 partitions, " in text, text
    projected = projected_calls(text)
    pair.twinlake("bootstrap", "--policy", "policy.toml", "--twinlake-role", CALLER, *pair.roles())
    pair.twinlake("policy", "push", "policy.toml")
    counted = {
        "first resync": pair.count_calls(pair.resync),
        "resync of an unchanged lake, if no scan is due": pair.count_calls(pair.resync),
        "resync of an unchanged lake, if all scans are due": pair.count_calls(pair.full_resync),
    }
    for name, calls in counted.items():
        total = sum(calls.values())
        print(name, total, projected[name])
        assert abs(projected[name] - total) <= TOLERANCE * total, (name, projected[name], total, calls)
    assert sum(counted["first resync"].values()) > 120


def test_the_cost_names_its_assumptions_and_adds_up(pair):
    text = init(pair, "cost.toml")
    services, total = re.search(r"in US dollars:\n((?:.+\n)+?) +([\d.]+)  in all", text).groups()
    costs = [float(line.split()[0]) for line in services.splitlines()]
    assert len(costs) == 7 and abs(sum(costs) - float(total)) <= 0.03
    # docs/operations.md, Cost: metrics, heartbeats, the polling of queues and the readiness checks are about $30,
    # whatever the lake.
    assert 28 <= float(total) <= 33
    assert "list prices of us-east-1 as of 20" in text and "per TB replicated" in text
    policy = (pair.home / "cost.toml").read_text()
    assert f"#   {STANDBY}: none. `make deploy-audit` makes one" in policy, policy
