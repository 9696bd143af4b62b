"""A failover over the real command: the primary refuses every connection, and every call is recorded. It is
killed while it waits, and run again. Then the primary returns, and its functions are fenced. What it gives up is
accepted, with an empty ledger there, and it becomes the primary again."""

import concurrent.futures
import contextlib
import http.client
import http.server
import json
import re
import subprocess
import threading
import urllib.parse

import pytest

import compare
from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, STANDBY, TARGET, wait_for
from test_end_to_end import snapshots, table_input, wait_until_identical

# What a failover may call, in the surviving Region only.
ALLOWED = {
    ("dynamodb", "GetItem"), ("dynamodb", "PutItem"), ("dynamodb", "Query"), ("dynamodb", "UpdateItem"),
    ("glue", "GetDatabase"), ("glue", "UpdateDatabase"),
}
# What the command may call there once the takeover is complete, and nothing waits for.
BEST_EFFORT = {
    ("glue", "GetCrawler"), ("glue", "GetCrawlers"), ("glue", "StartCrawlerSchedule"), ("glue", "UpdateCrawlerSchedule"),
    ("glue", "GetTrigger"), ("glue", "GetTriggers"), ("glue", "StartTrigger"), ("glue", "GetJob"),
}
# The functions that a schedule invokes.
SCHEDULED = ("Canary", "Digest", "Heartbeat", "OwnAccess", "Monitor", "Readiness", "Resync")
# What the functions of the surviving Region may call there meanwhile. Of the lost one they ask for the epoch.
FUNCTIONS_MAY_CALL = {
    ("dynamodb", "DeleteItem"), ("dynamodb", "GetItem"), ("dynamodb", "PutItem"), ("dynamodb", "Query"),
    ("dynamodb", "UpdateItem"), ("glue", "GetDatabases"), ("glue", "UpdateTable"),
    ("lakeformation", "BatchGrantPermissions"), ("lakeformation", "CreateDataCellsFilter"),
    ("lakeformation", "GetDataCellsFilter"), ("lakeformation", "GetDataLakeSettings"),
    ("lakeformation", "ListPermissions"), ("lakeformation", "UpdateDataCellsFilter"),
    ("s3", "GetEncryptionConfiguration"), ("s3", "GetReplicationConfiguration"), ("sns", "Publish"),
    ("sqs", "GetQueueAttributes"), ("sqs", "SendMessage"),
    # The address for clients, which nothing waits for.
    ("events", "PutEvents"), ("ssm", "GetParameter"), ("ssm", "PutParameter"),
}
ADDRESS = "/twinlake/address"
OPERATION = f"""
[takeover]
workgroup = "analysts"
wake = ["crawlers", "triggers"]
results = {{ {PRIMARY} = "s3://results-here/", {STANDBY} = "s3://results-there/" }}
[[takeover.link]]
name = "sales"
url = {{ {PRIMARY} = "https://here.example/", {STANDBY} = "https://there.example/" }}
"""
ASKED_OF_THE_LOST = {("dynamodb", "GetItem")}
# The roles of the functions: their grants are not compared.
OWN_ROLES = f"arn:aws:iam::{ACCOUNT}:role/twinlake*"
OPEN = [{"Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"}, "Permissions": ["ALL"]}]
SCOPE = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class RecordingProxy:
    """Forwards requests to one server, records each as (service, action, Region), and closes the connection
    on those to the primary."""

    def __init__(self, url):
        self.calls = []
        upstream = urllib.parse.urlsplit(url).netloc
        calls = self.calls

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_request(self):
                scope = SCOPE.search(self.headers.get("Authorization", ""))
                service, region = (scope["service"], scope["region"]) if scope else ("unsigned", "")
                action = self.headers.get("X-Amz-Target", self.path).rsplit(".", 1)[-1]
                calls.append((service, action, region))
                if region == PRIMARY:
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(upstream, timeout=60)
                connection.request(self.command, self.path, body, dict(self.headers))
                response = connection.getresponse()
                content = response.read()
                self.send_response(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = handle_request

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def proxies(deployment):
    """A proxy before the local AWS, and one before the sandbox."""
    both = RecordingProxy(deployment.aws_url), RecordingProxy(deployment.sandbox_url)
    yield both
    for proxy in both:
        proxy.close()


def start_failover(deployment, proxies, *args):
    aws, sandbox = proxies
    environment = deployment.cli_environment() | {
        "AWS_ENDPOINT_URL": aws.url, "AWS_ENDPOINT_URL_GLUE": sandbox.url,
        "AWS_ENDPOINT_URL_LAKEFORMATION": sandbox.url,
    }
    return subprocess.Popen(
        [str(TARGET / "twinlake"), "failover", "--region", STANDBY, *args], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=deployment.home,
    )


def fail_over(deployment, proxies, *args):
    """Runs the command to its end. Returns its exit code, its output and its errors."""
    process = start_failover(deployment, proxies, *args)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


def defaults(deployment, region):
    database = deployment.client("glue", region).get_database(Name="sales")["Database"]
    return database["CreateTableDefaultPermissions"]


def epoch_item(deployment):
    key = {"pk": {"S": "meta"}, "sk": {"S": "epoch"}}
    found = deployment.client("dynamodb", STANDBY).get_item(TableName="twinlake-ledger", Key=key)
    return found.get("Item", {}).get("body", {}).get("S", "")


def heartbeat(deployment, region):
    glue = deployment.client("glue", region)
    return glue.get_table(DatabaseName="twinlake_heartbeat", Name="heartbeat")["Table"]["Parameters"]


def test_the_standby_takes_over_while_the_primary_refuses_every_connection(deployment, proxies):
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": OPEN})
    glue.create_table(DatabaseName="sales", TableInput=table_input("orders"))
    make_tools_that_run(deployment)
    wait_until_identical(deployment)
    deployment.resync()
    assert tools_awake(deployment, PRIMARY) == {"orders", "nightly", "loads"}
    assert tools_awake(deployment, STANDBY) == set()
    deployment.invoke(PRIMARY, "Heartbeat")
    wait_for("the heartbeat arrives", lambda: has_table(deployment, "twinlake_heartbeat", "heartbeat"))
    assert defaults(deployment, STANDBY) == []
    (deployment.home / "operation.toml").write_text(OPERATION)
    deployment.twinlake("policy", "push", "--operation", "operation.toml", "--region", STANDBY)
    invoke_all(deployment, PRIMARY, ("Monitor",))
    invoke_all(deployment, STANDBY, ("Monitor",))
    assert [address(deployment, region) for region in (PRIMARY, STANDBY)] == [(0, PRIMARY, "s3://results-here/")] * 2

    code, out, _ = fail_over(deployment, proxies, "--accept-loss", "--validate-only")
    assert code == 0 and "holds epoch 0" in out and "verified as of" in out, out
    code, _, errors = fail_over(deployment, proxies, "--yes")
    assert code == 1 and "the gate accepted-loss is closed" in errors, errors
    code, _, errors = fail_over(deployment, proxies, "--undo")
    assert code == 1 and "no failover or switchover is under way" in errors, errors
    assert epoch_item(deployment) == "", "nothing was written"

    # The command dies while it waits.
    check_calls_of_functions(die_while_waiting(deployment, proxies))
    code, _, errors = fail_over(deployment, proxies, "--undo")
    assert code == 1 and "cannot be undone" in errors, errors

    # Another person runs it again, and it goes on.
    code, out, errors = fail_over(deployment, proxies, "--accept-loss", "--yes", "--local-wait", "2")
    assert code == 0, (out, errors)
    assert "2 s instead of 120 s" in errors, errors
    assert "goes on" in out and f"{STANDBY} is the primary by epoch 1" in out, out
    assert defaults(deployment, STANDBY) == OPEN
    assert out.index("is the primary by epoch 1") < out.index("1 crawler is awake since"), "it comes last"
    assert "trigger loads: left asleep: it starts the job load, which uses bookmarks" in out, out
    assert tools_awake(deployment, STANDBY) == {"orders", "nightly"}
    code, out, _ = fail_over(deployment, proxies, "--accept-loss", "--yes")
    assert code == 0 and "primary by epoch 1" in out and "Step" not in out, out

    check_that_waking_comes_last(proxies[1].calls)
    called = {call for proxy in proxies for call in proxy.calls}
    assert {region for _, _, region in called} == {STANDBY}, called
    actions = {(service, action) for service, action, _ in called}
    assert actions <= ALLOWED | BEST_EFFORT and ("glue", "UpdateDatabase") in actions, actions

    check_that_clients_are_told(deployment)
    check_commands_without_the_lost_region(deployment, proxies)
    check_return(deployment)
    assert address(deployment, PRIMARY) == (1, STANDBY, "s3://results-there/"), "its copy follows when it returns"
    check_way_back(deployment)


def make_tools_that_run(deployment):
    """A crawler and two triggers that run by themselves in the primary; one of them starts a job with bookmarks."""
    deployment.policy_file.write_text(POLICY + '[query]\nglue-tools = "copy"\n')
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    glue, cron = deployment.client("glue", PRIMARY), "cron(0 1 * * ? *)"
    glue.create_crawler(Name="orders", Role="crawl", DatabaseName="sales", Schedule=cron,
                        Targets={"S3Targets": [{"Path": f"s3://{BUCKETS[PRIMARY]}/sales/orders/"}]})
    for region in (PRIMARY, STANDBY):
        deployment.client("glue", region).create_job(
            Name="load", Role="r", Command={}, DefaultArguments={"--job-bookmark-option": "job-bookmark-enable"})
    for name, action in (("nightly", {"CrawlerName": "orders"}), ("loads", {"JobName": "load"})):
        glue.create_trigger(Name=name, Type="SCHEDULED", Schedule=cron, StartOnCreation=True, Actions=[action])


def tools_awake(deployment, region):
    """The crawlers and triggers that run by themselves."""
    glue = deployment.client("glue", region)
    crawlers, triggers = glue.get_crawlers()["Crawlers"], glue.get_triggers()["Triggers"]
    awake = {one["Name"] for one in crawlers if one.get("Schedule", {}).get("State") == "SCHEDULED"}
    return awake | {one["Name"] for one in triggers if one["State"] == "ACTIVATED"}


def check_that_waking_comes_last(calls):
    """Nothing that the takeover needs is called after what is best effort."""
    actions = [(service, action) for service, action, _ in calls]
    woken = [index for index, action in enumerate(actions) if action in BEST_EFFORT]
    needed = [index for index, action in enumerate(actions) if action in ALLOWED]
    assert woken and needed and max(needed) < min(woken), actions


def address(deployment, region):
    value = deployment.client("ssm", region).get_parameter(Name=ADDRESS)["Parameter"]["Value"]
    address = json.loads(value)
    return address["epoch"], address["primary"], address["results"]


def check_that_clients_are_told(deployment):
    """By the monitor of the surviving Region, while the primary refuses every connection."""
    assert address(deployment, STANDBY) == (0, PRIMARY, "s3://results-here/"), "not before the databases are open"
    with deployment.lost_region(PRIMARY) as calls:
        deployment.invoke(STANDBY, "Monitor")
    assert ("ssm", "PutParameter", STANDBY) in calls and ("events", "PutEvents", STANDBY) in calls, calls
    check_calls_of_functions(calls, always=set())
    assert address(deployment, STANDBY) == (1, STANDBY, "s3://results-there/")
    assert address(deployment, PRIMARY) == (0, PRIMARY, "s3://results-here/")
    assert '"event_at":' in epoch_item(deployment)


def die_while_waiting(deployment, proxies):
    """The command dies while it waits, and the functions of the surviving Region have run. Returns what they called."""
    dying = start_failover(deployment, proxies, "--accept-loss", "--yes")
    lines = []
    while not any("wait until" in line and line.startswith("Step") for line in lines):
        line = dying.stdout.readline()
        assert line, (lines, dying.stderr.read())
        lines.append(line)
    with deployment.lost_region(PRIMARY) as calls:
        invoke_all(deployment, STANDBY, SCHEDULED)
        deployment.client("glue", STANDBY).create_table(DatabaseName="sales", TableInput=table_in_standby("early"))
        wait_for("the events are handled", deployment.has_empty_queues)
    dying.kill()
    dying.communicate()
    assert '"epoch":1,"primary":"b"' in epoch_item(deployment)
    assert defaults(deployment, STANDBY) == [], "they are restored after the wait"
    return calls


def invoke_all(deployment, region, functions):
    """Invokes functions at once. One that needs the other Region may fail."""
    def invoke(function):
        with contextlib.suppress(AssertionError):
            deployment.invoke(region, function)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(invoke, functions))


def check_calls_of_functions(calls, always=frozenset({("dynamodb", "GetItem", PRIMARY), ("glue", "UpdateTable", STANDBY)})):
    allowed = {(*call, STANDBY) for call in FUNCTIONS_MAY_CALL} | {(*call, PRIMARY) for call in ASKED_OF_THE_LOST}
    assert calls <= allowed, calls - allowed
    assert always <= calls, calls


def table_in_standby(name):
    table = table_input(name)
    table["StorageDescriptor"]["Location"] = f"s3://{BUCKETS[STANDBY]}/sales/{name}/"
    return table


def has_table(deployment, database, table):
    try:
        deployment.client("glue", STANDBY).get_table(DatabaseName=database, Name=table)
    except deployment.client("glue", STANDBY).exceptions.EntityNotFoundException:
        return False
    return True


def check_return(deployment):
    """The former primary returns: its functions write nothing, and the survivor's act as the primary's."""
    former, survivor = heartbeat(deployment, PRIMARY), heartbeat(deployment, STANDBY)
    for region in (PRIMARY, STANDBY):
        for function in ("Heartbeat", "OwnAccess", "Monitor", "Resync"):
            deployment.invoke(region, function)
    assert heartbeat(deployment, PRIMARY) == former
    assert heartbeat(deployment, STANDBY) != survivor

    # What somebody still does there is not replicated, in either direction.
    deployment.client("glue", PRIMARY).create_table(DatabaseName="sales", TableInput=table_input("late"))
    deployment.client("glue", STANDBY).create_table(DatabaseName="sales", TableInput=table_in_standby("new"))
    wait_for("the events are handled", deployment.has_empty_queues)
    for region in (PRIMARY, STANDBY):
        deployment.invoke(region, "Resync")
    assert not has_table(deployment, "sales", "late")
    tables = deployment.client("glue", PRIMARY).get_tables(DatabaseName="sales")["TableList"]
    assert sorted(table["Name"] for table in tables) == ["late", "orders"]

    # A command does not write there, either.
    done = deployment.twinlake("resync", "--region", STANDBY, check=False)
    assert done.returncode == 1 and "fenced" in done.stderr, (done.stdout, done.stderr)
    done = deployment.twinlake("plan", "--region", STANDBY, check=False)
    assert done.returncode == 2, done.stderr


def run_through(deployment, proxies, *args):
    """Runs a command while the former primary refuses every connection."""
    aws, sandbox = proxies
    environment = deployment.cli_environment() | {
        "AWS_ENDPOINT_URL": aws.url, "AWS_ENDPOINT_URL_GLUE": sandbox.url,
        "AWS_ENDPOINT_URL_LAKEFORMATION": sandbox.url,
    }
    return subprocess.run([str(TARGET / "twinlake"), *args], env=environment, text=True, capture_output=True,
                          cwd=deployment.home, timeout=120)


def check_commands_without_the_lost_region(deployment, proxies):
    done = run_through(deployment, proxies, "status", "--region", STANDBY)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert f"{STANDBY} is the primary by epoch 1" in done.stdout, done.stdout
    assert f"The ledger of {PRIMARY}, the standby, cannot be read" in done.stdout, done.stdout
    assert f"Clients: the parameter {ADDRESS} has the new address since" in done.stdout, done.stdout
    done = run_through(deployment, proxies, "resync", "--region", STANDBY)
    assert done.returncode == 1 and "leads without a standby" in done.stderr, done.stderr


def reversed_differences(deployment):
    """Compares the Regions with the former standby as the primary."""
    former, primary = snapshots(deployment)
    pairs = [(f"s3://{BUCKETS[STANDBY]}", f"s3://{BUCKETS[PRIMARY]}")]
    return compare.differences(primary, former, pairs)


def put_object(deployment, region, key, body):
    deployment.client("s3", region).put_object(Bucket=BUCKETS[region], Key=key, Body=body)


def empty_ledger(deployment, region):
    """Deletes every item of a ledger."""
    dynamodb = deployment.client("dynamodb", region)
    items = dynamodb.scan(TableName="twinlake-ledger")["Items"]
    for item in items:
        dynamodb.delete_item(TableName="twinlake-ledger", Key={"pk": item["pk"], "sk": item["sk"]})
    return len(items)


def divergence(deployment, *args, check=True):
    return deployment.twinlake("divergence", "--region", STANDBY, "--ignore-role", OWN_ROLES,
                               *args, check=check)


def check_way_back(deployment):
    """The report of the former primary is accepted, it follows, and becomes the primary again."""
    done = deployment.twinlake("status", "--region", STANDBY)
    assert done.returncode == 2 and f"{PRIMARY} is fenced" in done.stdout, done.stdout
    assert f"Readers still in {PRIMARY}: " in done.stdout, done.stdout
    assert "1 crawler is awake since" in done.stdout, done.stdout
    put_object(deployment, PRIMARY, "sales/orders/there.parquet", b"there")
    for region in (PRIMARY, STANDBY):
        put_object(deployment, region, "sales/orders/both.parquet", region.encode())
        put_object(deployment, region, "sales/orders/same.parquet", b"same")
    report = json.loads(divergence(deployment, "--json").stdout)
    changes = {change["text"]: change["kind"] for change in report["report"]["changes"]}
    late = {text for text, kind in changes.items() if "sales.late" in text and kind == "only-there"}
    assert late == {"create table sales.late", "grant ALL on table sales.late to IAM_ALLOWED_PRINCIPALS"}, changes
    # The buckets of the local AWS replicate to each other at once, so that nothing is given up in them.
    for location in report["report"]["locations"]:
        assert location["counts"] == {} and not location.get("unread"), location

    accept = ("--accept", report["digest"], "--out", "accepted.json")
    check_that_it_is_compared_again_after_the_question(deployment, accept)
    assert empty_ledger(deployment, PRIMARY) > 0
    # Without its ledger, it does not know that it was the primary, nor any policy.
    invoke_all(deployment, PRIMARY, ("Heartbeat", "OwnAccess", "Resync"))
    assert has_table_in(deployment, PRIMARY, "late")
    done = divergence(deployment, *accept, "--yes")
    assert done.returncode == 0, (done.stdout, done.stderr)
    accepted = json.loads((deployment.home / "accepted.json").read_text())
    assert accepted["digest"] == report["digest"]
    late = [change for change in accepted["report"]["changes"] if change["text"] == "create table sales.late"]
    assert late[0]["step"]["table"]["Name"] == "late", "the whole object is in the file"

    # Replication runs the other way.
    deployment.invoke(PRIMARY, "Resync")
    wait_for("it equals the primary", lambda: not reversed_differences(deployment),
             detail=lambda: reversed_differences(deployment))
    assert not has_table_in(deployment, PRIMARY, "late") and has_table_in(deployment, PRIMARY, "new")
    assert tools_awake(deployment, PRIMARY) == set() and tools_awake(deployment, STANDBY) == {"orders", "nightly"}
    deployment.client("glue", STANDBY).create_table(DatabaseName="sales", TableInput=table_in_standby("newer"))
    wait_for("it is replicated back", lambda: has_table_in(deployment, PRIMARY, "newer"))
    go_back(deployment)


def check_that_it_is_compared_again_after_the_question(deployment, accept):
    """What is made while the question stands open refuses the report."""
    command = [str(TARGET / "twinlake"), "divergence", "--region", STANDBY, "--ignore-role", OWN_ROLES, *accept]
    process = subprocess.Popen(command, env=deployment.cli_environment(), text=True, cwd=deployment.home,
                               stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lines = []
    while not any("Type `yes`" in line for line in lines):
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    glue = deployment.client("glue", PRIMARY)
    glue.create_table(DatabaseName="sales", TableInput=table_input("later"))
    _, errors = process.communicate("yes\n", timeout=120)
    assert process.returncode == 1 and "has changed since" in errors, (process.returncode, errors)
    glue.delete_table(DatabaseName="sales", Name="later")


def go_back(deployment):
    """Nothing is switched while an object has not arrived. Then the former primary is the primary again."""
    # S3 replicates from the former primary only, so no canary proves that objects come back.
    command = ("failback", "--region", PRIMARY, "--ignore-role", OWN_ROLES, "--force", "minimum-interval",
               "--force", "storage-proof")
    deployment.invoke(STANDBY, "Heartbeat")

    def refusal():
        return deployment.twinlake(*command, "--validate-only", check=False).stderr

    # The last gate. Until then the heartbeat, or the grants of the new table, are under way.
    wait_for("all gates but one are open", lambda: "the gate writers-stopped is closed" in refusal(), every=0.5,
             detail=refusal)
    switch = (*command, "--writers-stopped", "--yes", "--local-wait", "2")
    done = deployment.twinlake(*switch, check=False)
    assert done.returncode == 1 and "such as sales/orders/both.parquet" in done.stderr, (done.stdout, done.stderr)
    # S3 replicates from the former primary only: an operator copies the object.
    put_object(deployment, PRIMARY, "sales/orders/both.parquet", STANDBY.encode())
    done = deployment.twinlake(*switch)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"{PRIMARY} is the primary by epoch 2" in done.stdout, done.stdout
    assert f"{STANDBY} is the standby, and follows {PRIMARY}" in done.stdout, done.stdout
    assert defaults(deployment, PRIMARY) == OPEN
    # What was woken there sleeps again, before anything is woken here.
    assert tools_awake(deployment, STANDBY) == set()
    assert tools_awake(deployment, PRIMARY) == {"orders", "nightly"}, done.stdout
    deployment.client("glue", PRIMARY).create_table(DatabaseName="sales", TableInput=table_input("home"))
    wait_for("it is replicated", lambda: has_table(deployment, "sales", "home"))
    deployment.resync()
    wait_until_identical(deployment)


def has_table_in(deployment, region, name):
    tables = deployment.client("glue", region).get_tables(DatabaseName="sales")["TableList"]
    return name in [table["Name"] for table in tables]
