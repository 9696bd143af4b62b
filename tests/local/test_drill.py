"""A drill on a deployed pair: STS gives each role its credentials, and a stub of Athena answers each query by the
role and the statement, in every state that a query may end in."""

import http.server
import json
import re
import subprocess
import threading

import pytest

from stack import ACCOUNT, PRIMARY, STANDBY, TARGET
from test_end_to_end import table_input, wait_until_identical

ROLES = {name: f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("analyst", "intern", "stranger", "ghost")}
SCOPE = re.compile(r"Credential=(?P<key>[^/]+)/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")
HIDDEN = "COLUMN_NOT_FOUND: line 1:8: Column 'id' cannot be resolved or requester is not authorized to access requested resources"
# The state of a query, its reason, and the value of a count: by the role and whether it counts.
ENDS = {
    ("analyst", False): ("SUCCEEDED", None, None), ("analyst", True): ("SUCCEEDED", None, {PRIMARY: "7", STANDBY: "7"}),
    ("intern", False): ("FAILED", HIDDEN, None), ("intern", True): ("CANCELLED", "Bytes scanned limit was exceeded", None),
    ("stranger", True): ("FAILED", "Query exhausted resources at this scale factor", None),
}


class Stub:
    """STS, which assumes every role but `ghost`, and Athena in both Regions."""

    def __init__(self):
        self.calls, self.limit, self.queries = [], 100_000_000, {}
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                scope = SCOPE.search(self.headers["Authorization"])
                answer = stub.sts(body, scope) if scope["service"] == "sts" else stub.athena(
                    self.headers["X-Amz-Target"].split(".")[1], json.loads(body), scope)
                status, kind, content = answer
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sts(self, body, scope):
        if "GetCallerIdentity" in body:
            return 200, "text/xml", (
                f"<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{ACCOUNT}:user/operator</Arn>"
                "</GetCallerIdentityResult></GetCallerIdentityResponse>")
        name = re.search(r"role%2F(\w+)", body)[1]
        self.calls.append(("AssumeRole", name, scope["region"]))
        if name == "ghost":
            return 403, "text/xml", ("<ErrorResponse><Error><Code>AccessDenied</Code><Message>not trusted</Message>"
                                     "</Error></ErrorResponse>")
        return 200, "text/xml", (
            "<AssumeRoleResponse><AssumeRoleResult><Credentials>"
            f"<AccessKeyId>key{name}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
            "<SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>")

    def athena(self, action, request, scope):
        role, region = scope["key"].removeprefix("key"), scope["region"]
        if action == "GetWorkGroup":
            settings = {"EnforceWorkGroupConfiguration": True}
            if self.limit:
                settings["BytesScannedCutoffPerQuery"] = self.limit
            return self.json({"WorkGroup": {"Name": request["WorkGroup"], "State": "ENABLED", "Configuration": settings}})
        self.calls.append((action, role, region))
        if action == "StartQueryExecution":
            if role == "stranger" and "count" not in request["QueryString"]:
                return 400, "application/x-amz-json-1.1", json.dumps(
                    {"__type": "AccessDeniedException", "message": "no right on the workgroup"})
            assert request["WorkGroup"] == "drill"
            number = str(len(self.queries))
            self.queries[number] = (role, request["QueryString"], region)
            return self.json({"QueryExecutionId": number})
        role, sql, region = self.queries[request["QueryExecutionId"]]
        state, reason, counts = ENDS[(role, "count" in sql)]
        if action == "GetQueryExecution":
            # The first look finds it running.
            looks = sum(call == ("GetQueryExecution", role, region) for call in self.calls)
            status = {"State": "RUNNING"} if looks == 1 else {"State": state, "StateChangeReason": reason or "done"}
            return self.json({"QueryExecution": {"Status": status}})
        rows = [{"Data": [{"VarCharValue": value}]} for value in ("_col0", counts[region] if counts else "1")]
        return self.json({"ResultSet": {"Rows": rows}})

    @staticmethod
    def json(value):
        return 200, "application/x-amz-json-1.1", json.dumps(value)


@pytest.fixture
def stub():
    running = Stub()
    yield running
    running.server.shutdown()
    running.server.server_close()


def check(role, query, expect):
    return f'[[drill.check]]\nrole = "{ROLES[role]}"\ntable = "sales.orders"\n{query}\nexpect = "{expect}"\n'


COLUMN, COUNT, COMPARE = 'columns = ["id"]', 'rows = "count"', 'rows = "compare"'
CHECKS = [
    ("analyst", COLUMN, "allowed", "passed", "answered"),
    ("analyst", COMPARE, "allowed", "passed", "counted 7 rows in both Regions"),
    ("analyst", COLUMN, "denied", "failed", "sees what it should not"),
    ("analyst", 'columns = ["none"]', "denied", "unknown", "has no column none"),
    ("intern", COLUMN, "denied", "passed", "refused: COLUMN_NOT_FOUND"),
    ("intern", COLUMN, "allowed", "failed", "refused"),
    ("intern", COUNT, "denied", "unknown", "cancelled: Bytes scanned"),
    ("stranger", COLUMN, "denied", "unknown", "not started"),
    ("stranger", COUNT, "denied", "unknown", "failed for another reason"),
    ("ghost", COUNT, "denied", "unknown", "could not be assumed"),
]


def run_drill(deployment, stub, *args):
    environment = deployment.cli_environment() | {
        "AWS_ENDPOINT_URL_ATHENA": stub.url, "AWS_ENDPOINT_URL_STS": stub.url}
    return subprocess.run([str(TARGET / "twinlake"), "drill", "--region", STANDBY, *args], env=environment, text=True,
                          capture_output=True, cwd=deployment.home, timeout=120)


def push(deployment, checks):
    text = '[drill]\nworkgroup = "drill"\n' + "".join(check(*row[:3]) for row in checks)
    (deployment.home / "operation.toml").write_text(text)
    deployment.twinlake("policy", "push", "--operation", "operation.toml", "--region", STANDBY)


def test_a_drill_asks_as_real_roles_and_leaves_a_chain_of_reports(deployment, stub):
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales"})
    glue.create_table(DatabaseName="sales", TableInput=table_input("orders"))
    wait_until_identical(deployment)
    push(deployment, CHECKS)
    done = run_drill(deployment, stub, "--json")
    assert done.returncode == 2, done.stderr
    first = json.loads(done.stdout)
    results = first["report"]["results"]
    assert len(results) == len(CHECKS)
    for result, (role, query, expect, outcome, detail) in zip(results, CHECKS, strict=True):
        assert result["outcome"] == outcome and detail in result["detail"], (role, query, expect, result)
    assert first["verdict"] == "failed" and first["report"]["previous"] is None
    assert first["report"]["takeover"]["refusal"] is None
    # Only the count that is compared is asked in the primary, and STS in the same Region.
    assert {(action, role) for action, role, region in stub.calls if region == PRIMARY} == {
        (action, "analyst") for action in ("AssumeRole", "StartQueryExecution", "GetQueryExecution", "GetQueryResults")}
    assert all(sql.startswith(("SELECT count(*) FROM ", 'SELECT "id" FROM ')) for _, sql, _ in stub.queries.values())
    assert deployment.client("dynamodb", STANDBY).get_item(
        TableName="twinlake-ledger", Key={"pk": {"S": "meta"}, "sk": {"S": "epoch"}}).get("Item") is None

    second = json.loads(run_drill(deployment, stub, "--no-queries", "--json").stdout)
    assert second["report"]["previous"] == first["digest"]
    check_workgroup_without_a_limit(deployment, stub, second)
    check_history(deployment, stub)


def check_workgroup_without_a_limit(deployment, stub, before):
    stub.limit, asked = None, len(stub.queries)
    done = run_drill(deployment, stub)
    assert done.returncode == 2 and "has no limit of at most" in done.stdout, (done.stdout, done.stderr)
    assert len(stub.queries) == asked, "no query is made"
    files = sorted((deployment.home / "twinlake-drills").iterdir())
    assert [path.suffix for path in files] == [".html", ".json"] * 3
    assert json.loads(files[-1].read_text())["report"]["previous"] == before["digest"]
    page = files[0].read_text()
    assert "COLUMN_NOT_FOUND" in page and "DORA, Article 11(6)" in page, page


def check_history(deployment, stub):
    done = run_drill(deployment, stub, "--verify-history")
    assert done.returncode == 0 and "3 reports" in done.stdout, (done.stdout, done.stderr)
    path = sorted((deployment.home / "twinlake-drills").glob("*.json"))[1]
    path.write_text(path.read_text().replace('"incomplete"', '"passed"').replace('"failed"', '"passed"'))
    done = run_drill(deployment, stub, "--verify-history")
    assert done.returncode == 1 and "was changed" in done.stderr, (done.stdout, done.stderr)
    done = run_drill(deployment, stub, "--no-queries")
    assert done.returncode == 1 and "--history DIRECTORY" in done.stderr, (done.stdout, done.stderr)
