"""The CLI against the sandbox alone: no deployment, the ledger in a file."""

import json
import os
import pty
import re
import subprocess

import pytest

import stack
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, ROOT, STANDBY, TARGET, free_port, wait_for

ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake"
LEDGER = ("--ledger", "twinlake.ledger")


class CliSandbox:
    """A sandbox process, and a directory with a policy in which the CLI runs."""

    def __init__(self, home):
        self.home = home
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [str(TARGET / "twinlake"), "sandbox", "--port", str(port), "--reader-role", ROLE],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.clients = stack.Deployment()
        self.clients.sandbox_url = self.clients.aws_url = self.url
        wait_for("the sandbox answers",
                 lambda: self.clients.is_healthy(f"{self.url}/_sandbox/health"))
        self.write_policy()
        self.glue = self.clients.client("glue", PRIMARY)

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def write_policy(self, keys=""):
        """Writes the policy, with additional keys before the tables."""
        (self.home / "policy.toml").write_text(keys + POLICY)

    def create_sales_orders(self):
        """Creates the database `sales` with the table `orders`."""
        self.glue.create_database(
            DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        self.create_table("orders")

    def create_table(self, name):
        self.glue.create_table(DatabaseName="sales", TableInput={
            "Name": name, "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "int"}],
                "Location": f"s3://{BUCKETS[PRIMARY]}/sales/{name}/"}})

    def environment(self):
        return {"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT, "HOME": str(self.home),
                "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": self.url, "TERM": "xterm"}

    def run(self, *args, stdin=""):
        return subprocess.run(
            [str(TARGET / "twinlake"), *args], cwd=self.home, capture_output=True, text=True,
            input=stdin, timeout=60, env=self.environment())

    def run_on_terminal(self, *args):
        """Runs a command whose standard error is a terminal. Returns what the terminal received."""
        terminal, stderr = pty.openpty()
        with subprocess.Popen(
                [str(TARGET / "twinlake"), *args], cwd=self.home, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=stderr, env=self.environment()):
            os.close(stderr)
            received = b""
            try:
                while chunk := os.read(terminal, 4096):
                    received += chunk
            except OSError:
                pass  # The command has ended.
        os.close(terminal)
        return received.decode()

    def run_with_policy(self, *args, **options):
        """Runs a command with the policy and, if it calls the Regions, with the role as its caller."""
        caller = () if args[0] in ("status", "report", "pending") else ("--caller-arn", ROLE)
        return self.run(*args, "--policy", "policy.toml", *caller, **options)


@pytest.fixture
def cli(tmp_path):
    running = CliSandbox(tmp_path)
    running.create_sales_orders()
    yield running
    running.stop()


def test_plan_needs_no_deployment_and_writes_nothing(cli):
    cli.clients.drain_calls()
    done = cli.run_with_policy("plan")
    assert done.returncode == 2, done.stderr
    assert "+ create table sales.orders" in done.stdout
    assert "Plan: 2 to create" in done.stdout
    calls = cli.clients.drain_calls()
    assert all(c["call"].startswith(("Get", "List", "BatchGet")) for c in calls)
    assert done.stdout.endswith("Plan: 2 to create, 0 to change, 0 to delete, 0 to grant, 0 to revoke.\n"), done
    plan = json.loads(cli.run_with_policy("plan", "--json").stdout)
    assert [step["step"] for step in plan["steps"]] == ["create-database", "create-table"]


def test_a_stored_plan_is_applied_once_and_refused_after_a_change(cli):
    assert cli.run_with_policy("plan", "--out", "plan.json", *LEDGER).returncode == 2
    cli.create_table("later")
    outdated = cli.run_with_policy("apply", "--plan", "plan.json", "--yes", *LEDGER)
    assert outdated.returncode == 1 and "has changed since the plan" in outdated.stderr, outdated
    assert cli.run_with_policy("plan", "--out", "plan.json", *LEDGER).returncode == 2
    cli.write_policy('deletions = "retain"\n')
    other_policy = cli.run_with_policy("apply", "--plan", "plan.json", "--yes", *LEDGER)
    assert other_policy.returncode == 1
    assert "policy or the primary has changed" in other_policy.stderr
    cli.write_policy()
    unconfirmed = cli.run_with_policy("apply", "--plan", "plan.json", *LEDGER, stdin="no\n")
    assert unconfirmed.returncode == 2
    done = cli.run_with_policy("apply", "--plan", "plan.json", "--yes", *LEDGER)
    assert done.returncode == 0 and "3 created" in done.stdout, done
    assert cli.run_with_policy("plan", *LEDGER).returncode == 0
    assert cli.run_with_policy("diff", *LEDGER).stdout == (
        "Equal in both Regions: 1 database, 2 tables.\nNothing to do.\n")


def test_a_summary_is_the_end_of_the_plan(cli):
    whole = cli.run_with_policy("plan", *LEDGER)
    summary = cli.run_with_policy("plan", "--summary", *LEDGER)
    assert summary.returncode == whole.returncode == 2
    assert whole.stdout.endswith("\n" + summary.stdout) and "+ create" not in summary.stdout, summary
    assert summary.stdout.startswith("Changes by kind "), summary
    done = cli.run_with_policy("plan", "--summary", "--json", *LEDGER)
    fields = json.loads(done.stdout)
    assert fields["verdict"] == "changes" and fields["deletions_and_revokes"] == [], fields
    assert fields["changes"]["tables"]["create"] == 1, fields
    # Nothing but the plan is printed where standard error is no terminal.
    assert done.stderr == "", done


def test_without_the_rights_a_plan_says_so_once(cli):
    for number in range(5):
        cli.create_table(f"t{number}")
    other = f"arn:aws:iam::{ACCOUNT}:role/other"
    command = f"`twinlake bootstrap --policy policy.toml --twinlake-role {other} --dry-run`"
    for options in ((), ("--summary",)):
        done = cli.run("plan", "--policy", "policy.toml", "--caller-arn", other, *options)
        assert done.returncode == 2, done
        missing = [line for line in done.stdout.splitlines() if "Missing rights" in line]
        assert len(missing) == 1 and command in missing[0], done
        assert f"is no data lake administrator in {PRIMARY}" in missing[0], done
        assert "has no SELECT on 6 whole tables" in missing[0] and "sales.t1" not in done.stdout, done
    summary = cli.run("plan", "--policy", "policy.toml", "--caller-arn", other, "--summary", "--json")
    groups = json.loads(summary.stdout)["findings"]
    assert [group["kind"] for group in groups] == ["hidden-columns"] and groups[0]["count"] == 6
    # A resync has one line for all six tables, too.
    resync = cli.run("resync", "--policy", "policy.toml", "--caller-arn", other, *LEDGER)
    assert resync.stdout.count("columns may be hidden") == 2, resync
    assert "  ! table sales.orders, table sales.t0, table sales.t1 and 3 more: " in resync.stdout, resync


def test_a_standby_that_is_not_verified_names_the_command(cli):
    assert cli.run_with_policy("apply", "--yes", *LEDGER).returncode == 0
    status = cli.run_with_policy("status", *LEDGER)
    next_command = "Next: run `twinlake resync --policy policy.toml --ledger twinlake.ledger`."
    assert status.returncode == 2 and next_command in status.stdout, status
    fields = json.loads(cli.run_with_policy("status", "--json", *LEDGER).stdout)
    assert "`twinlake plan OBJECT" in fields["next"]["in-sync"], fields


def test_a_terminal_shows_counts_and_the_time_left_of_long_work(cli):
    for number in range(12):
        cli.create_table(f"t{number}")
    # The ceiling makes the command take longer than two seconds.
    received = cli.run_on_terminal("plan", "--policy", "policy.toml", "--caller-arn", ROLE, *LEDGER,
                                   "--max-calls-per-second", "8")
    counts = r"Comparing the Regions: 0/1 databases, \d+/26 reads of tables, about \d+ s left"
    assert re.search(counts, received), received


def test_diff_names_the_changed_fields(cli):
    assert cli.run_with_policy("resync", *LEDGER).returncode == 0
    cli.glue.update_table(DatabaseName="sales", TableInput={
        "Name": "orders", "Description": "new", "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}],
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/"}})
    done = cli.run_with_policy("diff", "sales.orders", *LEDGER)
    assert done.returncode == 2
    assert 'Description: (none) -> "new"' in done.stdout, done.stdout
    status = cli.run_with_policy("status", *LEDGER)
    # A database, a table, and five Lake Formation subjects.
    assert status.returncode == 0 and "7 in-sync" in status.stdout


def test_deletions_over_the_limit_need_approval(cli):
    cli.write_policy("deletion-limit = { fraction = 0.0, minimum = 0 }\n")
    cli.create_table("keep")
    assert cli.run_with_policy("resync", *LEDGER).returncode == 0
    cli.glue.delete_table(DatabaseName="sales", Name="orders")
    held = cli.run_with_policy("resync", *LEDGER)
    assert held.returncode == 2
    assert "REJECTED it deletes more than the deletion limit allows" in held.stdout
    assert "on-hold" in cli.run_with_policy("status", *LEDGER).stdout
    refused = cli.run_with_policy("apply", "--yes", *LEDGER)
    command = "run `twinlake approve-deletions --policy policy.toml --ledger twinlake.ledger`"
    assert refused.returncode == 2 and command in refused.stdout, refused
    status = cli.run_with_policy("status", *LEDGER).stdout
    assert "Held deletions: 1." in status, status
    assert "on-hold (1). Next: `twinlake plan OBJECT --policy policy.toml" in status, status
    table = cli.run_with_policy("status", "sales.orders", *LEDGER).stdout
    assert "or run `twinlake approve-deletions sales.orders --policy policy.toml" in table, table
    unconfirmed = cli.run_with_policy("approve-deletions", *LEDGER, stdin="no\n")
    assert unconfirmed.returncode == 2, unconfirmed
    assert "whole plan of these objects follows" in unconfirmed.stdout, unconfirmed
    # The deletions and the verdict come last, next to the question.
    assert unconfirmed.stdout.endswith(
        "Deletions and revokes (1):\n  - delete table sales.orders\n"
        "Plan: 0 to create, 0 to change, 1 to delete, 0 to grant, 0 to revoke.\n"), unconfirmed
    approved = cli.run_with_policy("approve-deletions", "--yes", *LEDGER)
    assert approved.returncode == 0 and "1 deleted" in approved.stdout
    nothing_held = cli.run_with_policy("approve-deletions", "--yes", *LEDGER)
    assert nothing_held.stdout == "No deletions are held.\n"


def test_resync_without_a_ledger_fails_and_names_the_option(cli):
    done = cli.run_with_policy("resync")
    assert done.returncode == 1 and "--ledger FILE" in done.stderr
    # A command that fails without a ledger does not first offer an option that it does not have.
    assert "--primary" not in done.stderr, done
    status = cli.run_with_policy("status")
    assert status.returncode == 1 and "run `twinlake plan`" in status.stderr, status
    other_primary = cli.run_with_policy("plan", "--primary", STANDBY)
    assert f"{STANDBY} is taken as the primary" in other_primary.stderr, other_primary


def test_policy_errors_name_the_line_and_the_key(cli):
    (cli.home / "bad.toml").write_text('iceberg = "copy"\n' + POLICY)
    done = cli.run("policy", "check", "bad.toml")
    assert done.returncode == 1
    assert "policy line 1, key `iceberg`" in done.stderr, done.stderr
    assert cli.run("policy", "check", "policy.toml").returncode == 0
    missing = cli.run("policy", "check", "nowhere.toml")
    assert missing.returncode == 1 and "nowhere.toml" in missing.stderr


def test_output_that_cannot_be_written_is_an_error_and_a_closed_pipe_is_none(cli):
    def run(stdout):
        command = [str(TARGET / "twinlake"), "policy", "check", "policy.toml"]
        return subprocess.run(command, cwd=cli.home, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)

    with open("/dev/full", "w") as full:
        done = run(stdout=full)
    assert done.returncode == 1 and "standard output" in done.stderr, done
    reader, writer = os.pipe()
    os.close(reader)
    closed = run(stdout=writer)
    os.close(writer)
    assert closed.returncode == 0 and closed.stderr == "", closed


def test_a_pair_that_s3_cannot_copy_is_neither_checked_nor_stored(cli):
    pair = '\n[[location]]\na = "s3://x/raw"\nb = "s3://y/dr/raw"\n'
    (cli.home / "moved.toml").write_text(POLICY + pair)
    for command in ("check", "push"):
        done = cli.run("policy", command, "moved.toml")
        assert done.returncode == 1
        assert "key `location`: S3 replication copies each object" in " ".join(done.stderr.split())
    (cli.home / "moved.toml").write_text(POLICY + pair + 'copied-by = "other"\n')
    assert cli.run("policy", "check", "moved.toml").returncode == 0


def test_policy_explain_maps_locations_in_both_directions(cli):
    def explain(name):
        return cli.run("policy", "explain", name, "--policy", "policy.toml").stdout

    primary, standby = f"s3://{BUCKETS[PRIMARY]}/x/", f"s3://{BUCKETS[STANDBY]}/x/"
    assert f"{primary} in {PRIMARY} is {standby} in {STANDBY}." in explain(primary)
    assert f"{standby} in {STANDBY} is {primary} in {PRIMARY}." in explain(standby)
    assert "is replicated" in explain("sales.orders")
    assert "No [[location]] pair" in explain("s3://elsewhere/x")


def test_explain_shows_what_an_event_leads_to(cli):
    events = ROOT / "events"
    done = cli.run("explain", str(events / "ct-lakeformation-RevokePermissions.json"))
    assert "Reads table sales.orders" in done.stdout
    assert ("Revokes, unless the primary still grants it: SELECT on table sales.orders"
            in done.stdout)
    done = cli.run("explain", str(events / "s3-Replication-OperationFailedReplication-kms.json"))
    assert "Alert: [WARN] Twinlake replication-failed" in done.stdout
    # With a policy, too: the notification states no Region, and the heartbeat is no ordinary change.
    done = cli.run("explain", str(events / "s3-Replication-OperationFailedReplication-kms.json"),
                   "--policy", "policy.toml")
    assert "Alert: [WARN] Twinlake replication-failed" in done.stdout, done
    done = cli.run("explain", str(events / "glue-native-table-UpdateTable-heartbeat.json"))
    assert "lag of the catalog channel" in done.stdout, done
    (cli.home / "unknown.json").write_text('{"source": "\\u001b[2J"}')
    unknown = cli.run("explain", "unknown.json")
    assert unknown.returncode == 1 and "\u001b" not in unknown.stderr, unknown


def test_help_lists_the_commands_and_says_which_write_nothing(cli):
    done = cli.run("--help")
    assert done.returncode == 0 and "none writes anything in AWS" in " ".join(done.stdout.split())
    for word in ("plan", "diff", "apply", "resync", "status", "explain", "policy", "scenario",
                 "sandbox"):
        assert word in done.stdout


def test_help_lists_only_the_options_that_a_command_uses(cli):
    for command in (("scenario",), ("sandbox",), ("policy", "check")):
        assert "--ledger" not in cli.run(*command, "--help").stdout, command
    plan = cli.run("plan", "--help").stdout
    assert "Policy and ledger:" in plan and "required unless --policy is given" in plan, plan
    # Exit code 2 means that attention is needed, so an error in the arguments has another one.
    wrong = cli.run("plan", "--no-such-option")
    assert wrong.returncode == 1 and "--no-such-option" in wrong.stderr, wrong
