"""External schemas of Redshift over the wire: the deployed resync and the CLI against the Redshift Data API of the
sandbox, whatever a statement comes to."""

import json

import pytest

from stack import ACCOUNT, DEPLOYMENT, POLICY, PRIMARY, STANDBY
from test_cli import LEDGER, CliSandbox

ROLE = f"arn:aws:iam::{ACCOUNT}:role/spectrum"
OTHER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/other"
WAREHOUSES = {
    PRIMARY: {"WorkgroupName": "reports", "Database": "dev"},
    STANDBY: {"ClusterIdentifier": "reports", "Database": "lake", "DbUser": "twinlake"},
}
WAREHOUSE_POLICY = """
[query]
[[query.warehouse]]
name = "reports"
a = { workgroup = "reports", database = "dev" }
b = { cluster = "reports", database = "lake", db-user = "twinlake" }
"""
WAREHOUSE_ARNS = [
    f"arn:aws:redshift-serverless:{PRIMARY}:{ACCOUNT}:workgroup/reports",
    *(f"arn:aws:redshift:{STANDBY}:{ACCOUNT}:{name}" for name in (
        "cluster:reports", "dbname:reports/lake", "dbuser:reports/twinlake")),
]
OPTIONS = {"IAM_ROLE": ROLE, "REGION": STANDBY}
# A schema that stays: a listing without it would not prove that another one was dropped.
WITNESS = "witness"


class Warehouses:
    """The warehouses of both Regions, by way of the Redshift Data API."""

    def __init__(self, clients):
        self.clients = clients

    def execute(self, region, sql, **login):
        """Runs a statement in the warehouse of a Region. Returns its rows."""
        client = self.clients.client("redshift-data", region)
        statement = client.execute_statement(Sql=sql, **{**WAREHOUSES[region], **login})["Id"]
        found = client.describe_statement(Id=statement, WaitTimeSeconds=5)
        assert found["Status"] == "FINISHED", found
        rows, page = [], client.get_statement_result(Id=statement)
        while True:
            rows += page["Records"]
            if "NextToken" not in page:
                return rows
            page = client.get_statement_result(Id=statement, NextToken=page["NextToken"])

    def add_users(self):
        for region in (PRIMARY, STANDBY):
            self.execute(region, 'CREATE USER "etl"')
            self.execute(region, 'CREATE GROUP "analysts"')

    def create(self, name, region=PRIMARY, database="sales"):
        self.execute(region, f"""CREATE EXTERNAL SCHEMA "{name}" FROM DATA CATALOG DATABASE '{database}'
            IAM_ROLE '{ROLE}'""")

    def create_shared(self, name):
        """Creates a schema of the primary that has an owner and a grant."""
        self.create(name)
        self.execute(PRIMARY, f'ALTER SCHEMA "{name}" OWNER TO "etl"')
        self.execute(PRIMARY, f'GRANT USAGE ON SCHEMA "{name}" TO GROUP "analysts"')

    def drop(self, name, region=PRIMARY):
        self.execute(region, f'DROP SCHEMA "{name}" RESTRICT')

    def schemas(self, region=STANDBY):
        """Returns database, options and owner of each external schema but the witness."""
        rows = self.execute(region, "select from svv_external_schemas")
        return {row[3]["stringValue"]: (row[5]["stringValue"], json.loads(row[6]["stringValue"]), row[7]["stringValue"])
                for row in rows if row[3].get("stringValue", WITNESS) != WITNESS}

    def grantees(self, name, region=STANDBY):
        """Returns who may use a schema."""
        rows = self.execute(region, "select from svv_schema_privileges")
        return sorted(row[2]["stringValue"] for row in rows if row[0]["stringValue"] == name)

    def decide(self, containing, fate, region=STANDBY, **options):
        """Decides what becomes of the next statement that contains a text."""
        self.clients.control_sandbox("statement-fate", region=region, containing=containing, fate=fate, **options)


class DeployedWarehouses(Warehouses):
    """Warehouses whose external schemas the deployed resync keeps equal."""

    def __init__(self, deployment):
        super().__init__(deployment)
        self.deployment = deployment

    def age_intents(self):
        """Makes it an hour since earlier runs were about to create something: they cannot be at work any more."""
        dynamodb = self.clients.client("dynamodb", STANDBY)
        for item in dynamodb.scan(TableName="twinlake-ledger")["Items"]:
            row = json.loads(item["body"]["S"]) if item["pk"]["S"] == "query_rows" else {}
            for intent in row.get("intents", []):
                intent["at"] -= 3600
            if row.get("intents"):
                dynamodb.put_item(TableName="twinlake-ledger", Item={**item, "body": {"S": json.dumps(row)}})

    def resync(self, ages_intents=True):
        """Runs the resync function, an hour after the last time. Returns the statements that it sent to the standby and
        that write."""
        if ages_intents:
            self.age_intents()
        log = self.deployment.home / "calls.jsonl"
        start = log.stat().st_size if log.exists() else 0
        self.deployment.resync()
        with open(log) as calls:
            calls.seek(start)
            calls = [json.loads(line) for line in calls]
        sent = [(call["region"], json.loads(call["body"])["Sql"]) for call in calls
                if call["service"] == "redshift-data" and call["headers"]["x-amz-target"].endswith("ExecuteStatement")]
        writes = [(region, sql) for region, sql in sent if not sql.startswith("SELECT")]
        assert all(region == STANDBY for region, _ in writes), writes
        assert sent, "the warehouses were asked"
        return [sql for _, sql in writes]

    def status(self):
        """Returns whether all is in order, the rows that are not in sync, and the findings that need attention."""
        done = self.deployment.twinlake("status", "--domain", "query", "--region", STANDBY, "--json")
        found = json.loads(done.stdout)
        assert (done.returncode == 0) == (not found["problems"]), done
        rows = {row["description"]: row.get("reason") for row in found["rows"] if row["state"] != "in-sync"}
        findings = [f"{one['object']}: {one['detail']}" for one in found["findings"] if one["kind"] != "note"]
        return done.returncode == 0, rows, findings

    def assert_healthy(self):
        assert self.status() == (True, {}, [])

    def assert_told(self, name, *texts):
        """Asserts that exactly one object is not in sync, with a reason that has each text."""
        is_healthy, rows, _ = self.status()
        assert not is_healthy and list(rows) == [described(name)], rows
        for text in texts:
            assert text in rows[described(name)], rows

    def clear(self):
        for name in self.schemas(PRIMARY):
            self.drop(name)
        self.resync()
        for name in self.schemas():
            self.drop(name, STANDBY)


def described(name):
    return f"external schema {name} of warehouse reports"


def expected_writes(name):
    return [f"""CREATE EXTERNAL SCHEMA "{name}" FROM DATA CATALOG DATABASE 'sales' REGION '{STANDBY}' IAM_ROLE '{ROLE}'""",
            f'ALTER SCHEMA "{name}" OWNER TO "etl"',
            f'GRANT USAGE ON SCHEMA "{name}" TO GROUP "analysts"']


@pytest.fixture(scope="module")
def deployed(deployment):
    head = f"[parameters]\nWarehouseArns = {json.dumps(WAREHOUSE_ARNS)}\n"
    deployment.deploy(text=DEPLOYMENT.replace("[parameters]\n", head))
    deployment.policy_file.write_text("deletion-limit = { fraction = 1.0, minimum = 1000 }\n" + POLICY + WAREHOUSE_POLICY)
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    warehouses = DeployedWarehouses(deployment)
    warehouses.add_users()
    warehouses.create(WITNESS)
    warehouses.resync()
    return warehouses


@pytest.fixture
def warehouses(deployed):
    """The warehouses of a deployment, without external schemas and in order."""
    yield deployed
    deployed.clear()
    deployed.resync()
    deployed.assert_healthy()


def test_a_schema_stands_in_the_standby_with_owner_and_grants_and_changes_follow(warehouses):
    warehouses.create_shared("spectrum")
    warehouses.create("plain")
    assert warehouses.resync() == [expected_writes("plain")[0], *expected_writes("spectrum")]
    assert warehouses.schemas() == {"spectrum": ("sales", OPTIONS, "etl"), "plain": ("sales", OPTIONS, "twinlake")}
    assert warehouses.grantees("spectrum") == ["analysts"] and warehouses.grantees("plain") == []
    warehouses.assert_healthy()
    assert warehouses.resync() == [], "an unchanged resync writes nothing"

    warehouses.execute(PRIMARY, f"""ALTER EXTERNAL SCHEMA "spectrum" IAM_ROLE '{OTHER_ROLE}'""")
    warehouses.execute(PRIMARY, 'REVOKE USAGE ON SCHEMA "spectrum" FROM GROUP "analysts"')
    warehouses.execute(PRIMARY, 'GRANT USAGE ON SCHEMA "plain" TO "etl" WITH GRANT OPTION')
    warehouses.execute(STANDBY, 'GRANT USAGE ON SCHEMA "spectrum" TO PUBLIC')
    assert warehouses.resync() == [
        'REVOKE USAGE ON SCHEMA "spectrum" FROM GROUP "analysts"',
        'REVOKE USAGE ON SCHEMA "spectrum" FROM PUBLIC',
        'GRANT USAGE ON SCHEMA "plain" TO "etl" WITH GRANT OPTION',
        f"""ALTER EXTERNAL SCHEMA "spectrum" IAM_ROLE '{OTHER_ROLE}'"""]
    assert warehouses.grantees("spectrum") == [] and warehouses.grantees("plain") == ["etl"]
    assert warehouses.schemas()["spectrum"] == ("sales", {**OPTIONS, "IAM_ROLE": OTHER_ROLE}, "etl")
    assert warehouses.resync() == []

    warehouses.drop("plain")
    assert warehouses.resync() == ['DROP SCHEMA "plain" RESTRICT']
    assert set(warehouses.schemas()) == {"spectrum"}


def test_a_schema_of_somebody_else_with_the_same_name_is_left_alone_and_told(warehouses):
    alerts = warehouses.deployment.subscribe(STANDBY)
    warehouses.create("shared")
    warehouses.create("shared", STANDBY, database="theirs")
    warehouses.create("theirs", STANDBY)
    before = warehouses.schemas()
    for _ in range(2):
        assert warehouses.resync() == []
        assert warehouses.schemas() == before
        warehouses.assert_told("shared", "another object of this name, which Twinlake does not manage")
    assert any(described("shared") in str(alert) for alert in alerts())
    # Gone in the primary, too, it stays: it was never Twinlake's.
    warehouses.drop("shared")
    assert warehouses.resync() == [] and warehouses.schemas() == before
    warehouses.assert_healthy()


FATES = {
    "SUBMITTED": "did not end in time; it was cancelled",
    "PICKED": "did not end in time; it was cancelled",
    "STARTED": "did not end in time; it was cancelled",
    "ABORTED": "was stopped before its end",
    "FAILED": "the statement failed: out of slots",
}


@pytest.mark.parametrize("at", range(3), ids=["create", "owner", "grant"])
@pytest.mark.parametrize("fate", FATES)
def test_whatever_status_a_statement_ends_in_what_is_there_decides(warehouses, fate, at):
    warehouses.create_shared("spectrum")
    expected = expected_writes("spectrum")
    warehouses.decide(expected[at], fate, takes_effect=False, error="out of slots")
    # What does not rest on it is done all the same.
    assert warehouses.resync() == (expected if at else expected[:1])
    warehouses.assert_told("spectrum", expected[at], FATES[fate])
    # A later run does what is left, and nothing twice.
    assert warehouses.resync() == (expected[at:at + 1] if at else expected)
    warehouses.assert_healthy()
    assert warehouses.schemas() == {"spectrum": ("sales", OPTIONS, "etl")}
    assert warehouses.grantees("spectrum") == ["analysts"]

    warehouses.create_shared("effective")
    expected = expected_writes("effective")
    warehouses.decide(expected[at], fate, takes_effect=True, error="out of slots")
    assert warehouses.resync() == expected
    warehouses.assert_healthy()
    assert warehouses.resync() == []


def test_a_creation_that_another_run_may_be_making_is_waited_for_and_told(warehouses):
    warehouses.create("spectrum")
    warehouses.decide("CREATE EXTERNAL", "FAILED", error="out of slots")
    assert warehouses.resync() == expected_writes("spectrum")[:1]
    assert warehouses.resync(ages_intents=False) == []
    warehouses.assert_told("spectrum", "another run of Twinlake may be creating it")
    assert warehouses.resync() == expected_writes("spectrum")[:1]


def test_a_statement_that_finishes_without_effect_is_told_and_a_slow_one_is_waited_for(warehouses):
    warehouses.create_shared("spectrum")
    expected = expected_writes("spectrum")
    warehouses.decide("OWNER TO", "INEFFECTIVE")
    for text in expected[:1] + expected[2:] + ["svv_external_schemas", "svv_schema_privileges"]:
        warehouses.decide(text, "SLOW")
    assert warehouses.resync() == expected
    warehouses.assert_told("spectrum", expected[1], "it finished, and the external schema is not what it should be")
    assert warehouses.resync() == expected[1:2]
    warehouses.assert_healthy()


@pytest.mark.parametrize("times", [1, 9], ids=["repeated", "never-answered"])
@pytest.mark.parametrize("at", range(3), ids=["create", "owner", "grant"])
def test_a_statement_whose_answer_is_lost_takes_effect_once(warehouses, times, at):
    warehouses.create_shared("spectrum")
    expected = expected_writes("spectrum")
    warehouses.decide(expected[at], "ANSWER_LOST", times=times)
    sent = warehouses.resync()
    # The SDK repeats the submission with its token, so that it is no second statement.
    assert sent.count(expected[at]) > 1 and list(dict.fromkeys(sent)) == expected, sent
    warehouses.assert_healthy()
    assert warehouses.schemas() == {"spectrum": ("sales", OPTIONS, "etl")}
    assert warehouses.grantees("spectrum") == ["analysts"]
    assert warehouses.resync() == []


def test_all_statements_that_fail_are_told_and_the_others_take_effect(warehouses):
    warehouses.create_shared("spectrum")
    warehouses.create("other")
    warehouses.execute(PRIMARY, 'CREATE USER "anna"')
    warehouses.execute(PRIMARY, 'CREATE GROUP "guests"')
    warehouses.execute(PRIMARY, 'GRANT USAGE ON SCHEMA "spectrum" TO "anna"')
    warehouses.execute(PRIMARY, 'GRANT USAGE ON SCHEMA "spectrum" TO GROUP "guests"')
    failed = ['GRANT USAGE ON SCHEMA "spectrum" TO "anna"', 'GRANT USAGE ON SCHEMA "spectrum" TO GROUP "guests"']
    sent = warehouses.resync()
    assert set(failed) < set(sent) and len(sent) == 6, sent
    warehouses.assert_told("spectrum", *failed, 'user "anna" does not exist', 'group "guests" does not exist')
    assert warehouses.grantees("spectrum") == ["analysts"]
    assert warehouses.schemas()["spectrum"][2] == "etl" and "other" in warehouses.schemas()
    warehouses.execute(STANDBY, 'CREATE GROUP "guests"')
    assert sorted(warehouses.resync()) == failed
    warehouses.assert_told("spectrum", failed[0])
    warehouses.execute(STANDBY, 'CREATE USER "anna"')
    assert warehouses.resync() == failed[:1]
    warehouses.assert_healthy()


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("region", [PRIMARY, STANDBY])
def test_a_list_that_cannot_be_read_changes_nothing_and_is_told(warehouses, region, fate):
    warehouses.create_shared("spectrum")
    warehouses.resync()
    warehouses.drop("spectrum")
    warehouses.create("new")
    for query in ("svv_external_schemas", "svv_schema_privileges"):
        warehouses.decide(query, fate, region=region, error="out of slots")
        assert warehouses.resync() == []
        is_healthy, _, findings = warehouses.status()
        listed = "the primary" if region == PRIMARY else "the standby"
        told = [one for one in findings if one.startswith("each external schema of warehouse reports: ")]
        assert not is_healthy and len(told) == 1 and listed in told[0] and FATES[fate] in told[0], findings
        assert set(warehouses.schemas()) == {"spectrum"}
    # The witness was not seen to be in sync before the other was missed where the standby's list failed: a person decides.
    if region == PRIMARY:
        assert warehouses.resync() == [expected_writes("new")[0], 'DROP SCHEMA "spectrum" RESTRICT']
    else:
        assert warehouses.resync() == expected_writes("new")[:1]
        assert warehouses.resync() == []
        warehouses.assert_told("spectrum", "if it was dropped, drop that of the standby yourself")
        warehouses.drop("spectrum", STANDBY)
        assert warehouses.resync() == []
    warehouses.assert_healthy()


@pytest.mark.parametrize(("region", "user", "login"), [
    (PRIMARY, "IAMR:twinlake", {"SecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:admin"}),
    (STANDBY, "twinlake", {"DbUser": "admin"})])
def test_a_user_that_is_no_superuser_any_more_sees_no_absence(warehouses, region, user, login):
    warehouses.create_shared("spectrum")
    warehouses.resync()
    warehouses.execute(region, f'ALTER USER "{user}" NOCREATEUSER', **login)
    assert warehouses.resync() == []
    is_healthy, _, findings = warehouses.status()
    assert not is_healthy and f"the database user {user} is no superuser" in str(findings), findings
    warehouses.execute(region, f'ALTER USER "{user}" CREATEUSER', **login)
    assert set(warehouses.schemas()) == {"spectrum"}
    assert warehouses.resync() == []
    warehouses.assert_healthy()


def test_a_drop_that_fails_is_told_and_repeated(warehouses):
    warehouses.create_shared("spectrum")
    warehouses.resync()
    warehouses.drop("spectrum")
    warehouses.decide("DROP SCHEMA", "FAILED", error="view v depends on it")
    assert warehouses.resync() == ['DROP SCHEMA "spectrum" RESTRICT']
    warehouses.assert_told("spectrum", "view v depends on it")
    assert set(warehouses.schemas()) == {"spectrum"}
    warehouses.decide("DROP SCHEMA", "FAILED", error="view v depends on it", takes_effect=True)
    assert warehouses.resync() == ['DROP SCHEMA "spectrum" RESTRICT']
    warehouses.assert_healthy()
    assert warehouses.schemas() == {}


def test_a_creation_that_takes_effect_after_its_run_is_taken_over_and_not_repeated(warehouses):
    warehouses.create_shared("spectrum")
    warehouses.create("other")
    expected = expected_writes("spectrum")
    warehouses.decide(expected[0], "LATE")
    assert warehouses.resync() == [expected_writes("other")[0], expected[0]], "it holds nothing else back"
    warehouses.assert_told("spectrum", "did not end in time; cancelling it failed")
    warehouses.deployment.control_sandbox("finish-late-statements", region=STANDBY)
    assert warehouses.schemas()["spectrum"][2] == "twinlake"
    assert warehouses.resync() == expected[1:]
    warehouses.assert_healthy()
    # It is Twinlake's: what the primary drops is dropped.
    warehouses.drop("spectrum")
    assert warehouses.resync() == ['DROP SCHEMA "spectrum" RESTRICT']


class WarehouseCommands(CliSandbox):
    def query(self, command):
        return self.run_with_policy(command, "--domain", "query", *LEDGER)


@pytest.fixture
def commands(tmp_path):
    sandbox = WarehouseCommands(tmp_path)
    (tmp_path / "policy.toml").write_text(POLICY + WAREHOUSE_POLICY)
    yield sandbox
    sandbox.stop()


def test_the_commands_plan_make_keep_and_drop_external_schemas(commands):
    warehouses = Warehouses(commands.clients)
    warehouses.add_users()
    warehouses.create_shared("spectrum")
    for name in ("second", "third"):
        warehouses.create(name)
    plan = commands.query("plan")
    assert plan.stdout.count("+ create external schema") == 3, plan
    assert "awsdatacatalog of warehouse reports" in plan.stdout and "needs nothing" in plan.stdout
    assert warehouses.schemas() == {}

    resync = commands.query("resync")
    # Athena is not served here: its listings are findings, and hold nothing back.
    assert "3 changes were applied" in resync.stdout, resync
    assert warehouses.schemas() == {
        "spectrum": ("sales", OPTIONS, "etl"),
        "second": ("sales", OPTIONS, "twinlake"),
        "third": ("sales", OPTIONS, "twinlake")}
    assert warehouses.grantees("spectrum") == ["analysts"]
    again = commands.query("resync")
    assert "0 changes were applied; 3 query tools are paired" in again.stdout, again

    warehouses.drop("third")
    warehouses.execute(STANDBY, 'GRANT USAGE ON SCHEMA "second" TO PUBLIC')
    warehouses.decide("DROP SCHEMA", "ABORTED")
    failed = commands.query("resync")
    assert failed.returncode == 2 and f"failed: {described('third')}" in failed.stdout, failed
    assert "was stopped before its end" in failed.stdout and warehouses.grantees("second") == []
    assert "was stopped before its end" in commands.query("status").stdout
    resync = commands.query("resync")
    assert "- delete external schema third of warehouse reports" in resync.stdout, resync
    assert set(warehouses.schemas()) == {"spectrum", "second"}
