"""The command line, as an operator uses it, against the sandbox alone."""

import json
import subprocess

import pytest

import stack
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, ROOT, SECONDARY, TARGET, free_port, wait_for

ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"


class Desk:
    """A sandbox, and a folder with a policy in it."""

    def __init__(self, home):
        self.start(home)
        self.glue.create_database(
            DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        self.create("orders")

    def start(self, home):
        self.home, port = home, free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [str(TARGET / "twinlake"), "sandbox", "--port", str(port), "--shown-to", ROLE],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.local = stack.Local()
        self.local.sandbox = self.local.aws = self.url
        wait_for("the sandbox answers",
                 lambda: self.local._answers(f"{self.url}/_sandbox/health"))
        (home / "policy.toml").write_text(POLICY)
        self.glue = self.local.client("glue", PRIMARY)

    def create(self, name):
        self.glue.create_table(DatabaseName="sales", TableInput={
            "Name": name, "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "int"}],
                "Location": f"s3://{BUCKETS[PRIMARY]}/sales/{name}/"}})

    def run(self, *words, stdin=""):
        return subprocess.run(
            [str(TARGET / "twinlake"), *words], cwd=self.home, capture_output=True, text=True,
            input=stdin, timeout=60,
            env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT, "HOME": str(self.home),
                 "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url})

    def at_work(self, *words, **more):
        return self.run(*words, "--policy", "policy.toml", "--role", ROLE, **more)


@pytest.fixture
def desk(tmp_path):
    running = Desk(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait()


def test_plan_needs_nothing_deployed_and_writes_nothing(desk):
    desk.local.calls()
    done = desk.at_work("plan")
    assert done.returncode == 2, done.stderr
    assert "+ create table sales.orders" in done.stdout
    assert "Plan: 2 to create" in done.stdout
    assert all(c["call"].startswith(("Get", "List", "BatchGet")) for c in desk.local.calls())
    as_json = json.loads(desk.at_work("plan", "--json").stdout)
    assert [step["step"] for step in as_json["steps"]] == ["create-database", "create-table"]


def test_a_stored_plan_is_applied_once_and_refused_when_something_moved(desk):
    ledger = ("--ledger", "ledger.json")
    assert desk.at_work("plan", "--out", "plan.json", *ledger).returncode == 2
    desk.create("later")
    moved = desk.at_work("apply", "--plan", "plan.json", "--yes", *ledger)
    assert moved.returncode == 1 and "has moved since" in moved.stderr, moved
    assert desk.at_work("plan", "--out", "plan.json", *ledger).returncode == 2
    (desk.home / "policy.toml").write_text('deletions = "retain"\n' + POLICY)
    changed = desk.at_work("apply", "--plan", "plan.json", "--yes", *ledger)
    assert changed.returncode == 1 and "policy or the primary has changed" in changed.stderr
    (desk.home / "policy.toml").write_text(POLICY)
    unsure = desk.at_work("apply", "--plan", "plan.json", *ledger, stdin="no\n")
    assert unsure.returncode == 2
    done = desk.at_work("apply", "--plan", "plan.json", "--yes", *ledger)
    assert done.returncode == 0 and "3 created" in done.stdout, done
    assert desk.at_work("plan", *ledger).returncode == 0
    assert desk.at_work("diff", *ledger).stdout == "The Regions do not differ.\n"


def test_diff_names_the_fields(desk):
    ledger = ("--ledger", "ledger.json")
    assert desk.at_work("resync", *ledger).returncode == 0
    desk.glue.update_table(DatabaseName="sales", TableInput={
        "Name": "orders", "Description": "new", "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}],
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/"}})
    done = desk.at_work("diff", "sales.orders", *ledger)
    assert done.returncode == 2
    assert 'Description: (none) -> "new"' in done.stdout, done.stdout
    status = desk.at_work("status", *ledger)
    # A database, a table, and what Lake Formation keeps beside them.
    assert status.returncode == 0 and "7 current" in status.stdout


def test_the_brake_is_released_by_a_person(desk):
    (desk.home / "policy.toml").write_text(
        "brake = { share = 0.0, minimum = 0 }\n" + POLICY)
    ledger = ("--ledger", "ledger.json")
    desk.create("keep")
    assert desk.at_work("resync", *ledger).returncode == 0
    desk.glue.delete_table(DatabaseName="sales", Name="orders")
    held = desk.at_work("resync", *ledger)
    assert held.returncode == 2 and "VETO it deletes more than the brake lets pass" in held.stdout
    assert "held" in desk.at_work("status", *ledger).stdout
    refused = desk.at_work("apply", "--yes", *ledger)
    assert refused.returncode == 1 and "nothing of it was applied" in refused.stderr
    status = desk.at_work("status", *ledger).stdout
    assert "The brake holds deletions of 1;" in status, status
    released = desk.at_work("release", "--yes", *ledger)
    assert released.returncode == 0 and "1 deleted" in released.stdout
    nothing = desk.at_work("release", "--yes", *ledger)
    assert nothing.stdout == "The brake holds nothing.\n"


def test_resync_wants_a_ledger_and_says_so(desk):
    done = desk.at_work("resync")
    assert done.returncode == 1 and "--ledger FILE" in done.stderr


def test_policy_errors_name_line_and_key(desk):
    (desk.home / "bad.toml").write_text('iceberg = "copy"\n' + POLICY)
    done = desk.run("policy", "check", "bad.toml")
    assert done.returncode == 1
    assert "policy line 1, key `iceberg`" in done.stderr, done.stderr
    assert desk.run("policy", "check", "policy.toml").returncode == 0
    missing = desk.run("policy", "check", "nowhere.toml")
    assert missing.returncode == 1 and "nowhere.toml" in missing.stderr


def test_policy_explain_maps_places_both_ways(desk):
    def ask(what):
        return desk.run("policy", "explain", what, "--policy", "policy.toml").stdout

    here, there = f"s3://{BUCKETS[PRIMARY]}/x/", f"s3://{BUCKETS[SECONDARY]}/x/"
    assert f"{here} in {PRIMARY} is {there} in {SECONDARY}." in ask(here)
    assert f"{there} in {SECONDARY} is {here} in {PRIMARY}." in ask(there)
    assert "is replicated" in ask("sales.orders")
    assert "No [[location]] pair" in ask("s3://elsewhere/x")


def test_explain_says_where_an_event_leads(desk):
    events = ROOT / "events"
    done = desk.run("explain", str(events / "ct-lakeformation-RevokePermissions.json"))
    assert "Look at table sales.orders" in done.stdout
    assert "Revoke, unless the primary holds it: SELECT on table sales.orders" in done.stdout
    done = desk.run("explain", str(events / "s3-Replication-OperationFailedReplication-kms.json"))
    assert "Alert: [WARN] Twinlake replication-failed" in done.stdout
    (desk.home / "junk.json").write_text('{"source": "\\u001b[2J"}')
    junk = desk.run("explain", "junk.json")
    assert junk.returncode == 1 and "\u001b" not in junk.stderr, junk


def test_help_teaches(desk):
    done = desk.run("--help")
    assert done.returncode == 0 and "neither writes anything" in " ".join(done.stdout.split())
    for word in ("plan", "diff", "apply", "resync", "status", "explain", "policy", "scenario",
                 "sandbox"):
        assert word in done.stdout
