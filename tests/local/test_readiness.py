"""The readiness function on a deployed pair: a check that passes, a single fault, reads that fail, an old
result; each as the status, the report, the metrics and the alerts show it."""

import json
import re

import pytest

import iam_roles
from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY, wait_for
from test_bare_pair import CALLER, BarePair

KEY = {"pk": {"S": "readiness"}, "sk": {"S": "latest"}}
COULD = f"Takeover: {STANDBY} could take over now: no blocker, no warning; checked "


class ReadyPair(BarePair):
    """A deployed pair in which `twinlake doctor` finds nothing."""

    def __enter__(self):
        super().__enter__()
        try:
            self.create_trails()
            self.deploy()
            iam_roles.put_replication_role(self.client("iam", PRIMARY))
            iam_roles.put_creator(self.client("iam", PRIMARY))
            attach = [option for bucket in BUCKETS.values() for option in ("--attach", bucket)]
            self.twinlake(
                "setup", "storage", "--policy", "policy.toml", *attach, "--stack", "twinlake", "--yes",
                "--replication-role", f"arn:aws:iam::{ACCOUNT}:role/replication")
            self.twinlake(
                "bootstrap", "--policy", "policy.toml", "--twinlake-role", CALLER, *self.roles())
            self.twinlake("policy", "push", "policy.toml")
            self.resync()
            # Each Region looks for the canaries that the other one has listed before.
            for region in (PRIMARY, STANDBY, PRIMARY):
                self.invoke(region, "Canary")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def check(self):
        """Runs the readiness function as its schedule does, and returns what the status says."""
        self.invoke(STANDBY, "Readiness")
        return self.status()

    def status(self):
        done = self.twinlake("status", "--region", STANDBY, "--json")
        return json.loads(done.stdout)["readiness"]

    def line(self):
        """The line of the status about a takeover."""
        lines = self.twinlake("status", "--region", STANDBY).stdout.splitlines()
        (line,) = [line for line in lines if line.startswith("Takeover: ")]
        return line

    def item(self, region):
        return self.client("dynamodb", region).get_item(TableName="twinlake-ledger", Key=KEY).get("Item")

    def make_older(self, seconds):
        """Changes the times of the stored result."""
        item = self.item(STANDBY)
        body = json.loads(item["body"]["S"])
        for run in (body["report"], body["known"]):
            run["checked_at"] -= seconds
        self.client("dynamodb", STANDBY).put_item(
            TableName="twinlake-ledger", Item=item | {"body": {"S": json.dumps(body)}})

    def metrics(self):
        """Runs the monitor function, and returns the metrics of the readiness that it emits."""
        start = len(self.log_text())
        self.invoke(STANDBY, "Monitor")

        def emitted():
            found = re.findall(r'"(Readiness\w+)":(\d+)', self.log_text()[start:])
            return {name: int(value) for name, value in found}
        return wait_for("the metrics are in the log", emitted)


@pytest.fixture(scope="module")
def pair():
    with ReadyPair() as running:
        yield running


@pytest.fixture
def receive(pair):
    received = pair.subscribe(STANDBY, {"kind": ["readiness-lost", "readiness-unknown"]})

    def alerts():
        return [json.loads(message["Message"]) for message in received()]
    return alerts


def test_a_check_of_a_sound_pair_passes_and_runs_only_in_the_standby(pair, receive):
    assert "the readiness function has not run yet; next: `twinlake doctor --region" in pair.line()
    assert pair.metrics()["ReadinessUnknown"] == 1, "no check is no pass"
    pair.invoke(PRIMARY, "Readiness")
    assert pair.item(PRIMARY) is None
    assert "this Region is not the standby" in pair.log_text()

    readiness = pair.check()
    assert readiness["state"] == "possible", readiness
    assert readiness["counts"] == {"blockers": 0, "warnings": 0, "unknown": 0, "notes": 0}, readiness
    assert 0 <= readiness["age_seconds"] < 60
    assert pair.line().startswith(COULD)
    assert pair.metrics() == {
        "ReadinessBlockers": 0, "ReadinessWarnings": 0, "ReadinessUnknown": 0}
    item = pair.item(STANDBY)
    assert item.keys() == {"pk", "sk", "format", "body", "version"}
    assert receive() == []


def test_a_fault_is_one_alert_until_a_check_that_could_read_everything_sees_it_gone(pair, receive):
    pair.check()
    cloudtrail = pair.client("cloudtrail", STANDBY)
    cloudtrail.stop_logging(Name="audit")
    readiness = pair.check()
    pair.check()
    (alert,) = wait_for("the alert arrives", receive)
    assert receive() == [], "one message for repeated checks"
    assert (alert["kind"], alert["state"], alert["severity"]) == ("readiness-lost", "new", "warn")
    (sample,) = alert["samples"]
    assert f"-> aws cloudtrail start-logging --region {STANDBY}" in sample
    assert readiness["state"] == "blocked" and readiness["counts"]["blockers"] == 1
    assert f"{STANDBY} could not take over: 1 blocker (trail); checked" in pair.line()
    done = pair.twinlake("status", "--region", STANDBY)
    assert done.returncode == 2 and "1 blocker of a takeover was found" in done.stdout, done.stdout
    pair.twinlake("report", "--region", STANDBY, "--out", "page.html")
    page = (pair.home / "page.html").read_text()
    assert f"{STANDBY} could not take over: 1 blocker (trail)" in page and "start-logging" in page
    assert pair.metrics()["ReadinessBlockers"] == 1

    # The fault is gone, and the primary does not answer.
    cloudtrail.start_logging(Name="audit")
    pair.control_sandbox("outage", region=PRIMARY, enabled=True)
    try:
        readiness = pair.check()
    finally:
        pair.control_sandbox("outage", region=PRIMARY, enabled=False)
    assert readiness["state"] == "unknown" and readiness["counts"]["unknown"] > 0, readiness
    assert "table-locations" in readiness["unknown_checks"], readiness
    assert readiness["last_known"]["counts"]["blockers"] == 1
    assert "it is not known whether" in pair.line() and "could take over now" not in pair.line()
    assert pair.metrics()["ReadinessUnknown"] == readiness["counts"]["unknown"]
    assert receive() == [], "a check that cannot read resolves nothing"

    assert pair.check()["state"] == "possible"
    (resolved,) = wait_for("the alert is resolved", receive)
    assert (resolved["state"], resolved["key"]) == ("resolved", alert["key"])
    assert pair.line().startswith(COULD)


def test_an_old_result_says_nothing_of_now(pair, receive):
    assert pair.check()["state"] == "possible"
    pair.make_older(2 * 3600)
    assert pair.status()["state"] == "outdated"
    assert "could take over now" not in pair.line() and "the last check is 2 h old" in pair.line()
    assert pair.metrics()["ReadinessUnknown"] == 1
    (alert,) = wait_for("the alert arrives", receive)
    assert (alert["kind"], alert["state"]) == ("readiness-unknown", "new")
    assert re.search(r"not been known for 1[2-9]\d minutes: the last check began at", alert["summary"])
    pair.check()
    pair.metrics()
    (resolved,) = wait_for("the alert is resolved", receive)
    assert (resolved["state"], resolved["key"]) == ("resolved", alert["key"])
