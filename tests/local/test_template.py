"""The template agrees with the events, with the calls that the adapters make, and with the
linters."""

import os
import pathlib
import re
import subprocess
import sys

from stack import ROOT, load_template

BIN = pathlib.Path(sys.executable).parent
TEMPLATE = load_template()
RESOURCES = TEMPLATE["Resources"]



def run(*command, **environment):
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True,
                          cwd=ROOT, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


def test_cfn_lint():
    run("cfn-lint", "-r", "us-east-1", "ap-south-1", "--", "template.yaml")


def test_sam_validate(tmp_path):
    run("sam", "validate", "--lint", "--template", "template.yaml", "--region", "us-east-1",
        SAM_CLI_TELEMETRY="0", HOME=str(tmp_path))


def test_it_holds_no_yaml_aliases():
    """CloudFormation refuses them, and no linter says so."""
    assert not re.search(r"(^|\s)[&*][a-z]", (ROOT / "template.yaml").read_text())


def test_every_event_name_has_a_file():
    names = {name for rule in rules() for name in rule.get("detail", {}).get("eventName", [])}
    assert len(names) > 10
    files = [path.name for path in (ROOT / "events").glob("ct-*.json")]
    for name in names:
        assert any(f"-{name}" in file for file in files), f"no file in events/ for {name}"
    types = {t for rule in rules() for t in rule.get("detail-type", [])}
    text = "".join(path.read_text() for path in (ROOT / "events").glob("*.json"))
    for kind in types:
        assert f'"{kind}"' in text, f"no file in events/ for {kind}"


def rules():
    return [r["Properties"]["EventPattern"] for r in RESOURCES.values()
            if r["Type"] == "AWS::Events::Rule"]


def test_forwarding_is_one_hop():
    """Rules of the own bus hear only the peer, and lead only to queues."""
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Events::Rule":
            continue
        properties = resource["Properties"]
        targets = [str(target["Arn"]) for target in properties["Targets"]]
        if "EventBusName" in properties:
            assert properties["EventPattern"]["region"] == [{"Ref": "PeerRegion"}], name
            assert all("Queue" in target for target in targets), name
        elif name in ("StandingRule", "RunsRule", "RefusalsRule", "DataAccessRule"):
            # They hear of what happens here, and nothing leaves by them.
            assert properties["EventPattern"]["region"] == [{"Ref": "AWS::Region"}]
            queue = "StandingQueue" if name == "StandingRule" else "OperationsQueue"
            assert all(queue in target for target in targets)
        else:
            assert all("event-bus" in target for target in targets), name
            assert all("DeadLetterConfig" in t and "RoleArn" in t for t in properties["Targets"])


def statements(function):
    role = RESOURCES[f"{function}Role"]["Properties"]
    documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
    for managed in role.get("ManagedPolicyArns", []):
        documents.append(RESOURCES[managed["Ref"]]["Properties"]["PolicyDocument"])
    for document in documents:
        for statement in document["Statement"]:
            actions = statement["Action"]
            yield statement, [actions] if isinstance(actions, str) else actions


def allowed(function):
    return {action for _, actions in statements(function) for action in actions}


def called():
    """Every call of the adapters, as the IAM action that it needs."""
    found = set()
    for path in (ROOT / "crates/aws/src").rglob("*.rs"):
        code = path.read_text().split("#[cfg(test)]")[0]
        for method in re.findall(
                r"\.(glue|lake|client)\s*\.([a-z_]+)\(\)", code):
            client, call = method
            name = "".join(word.capitalize() for word in call.split("_"))
            name = name.replace("Lf", "LF")
            service = {"glue": "glue", "lake": "lakeformation"}.get(client)
            if service is None:
                service = "dynamodb" if "ledger" in str(path) else {
                    "Publish": "sns", "SendMessage": "sqs"}[name]
            found.add(f"{service}:{name}")
    return found


# What the platform does on a function's behalf.
PLATFORM = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:ReceiveMessage",
            "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# What one function alone may do, with a role of its own.
SETTINGS = {"lakeformation:PutDataLakeSettings"}
# What only a resync counts.
CENSUS = {"glue:GetConnections", "glue:GetCatalogs", "glue:GetDataCatalogEncryptionSettings",
          "glue:GetResourcePolicy", "glue:BatchGetTableOptimizer"}


def test_every_call_is_allowed_and_none_besides():
    calls = called()
    assert len(calls) > 25, calls
    assert allowed("Resync") == (calls - SETTINGS) | PLATFORM
    for function in ("CatalogEvent", "PermissionEvent"):
        assert allowed(function) == (calls - CENSUS - SETTINGS) | PLATFORM
    # Only this one writes the settings, and it revokes and changes nothing else.
    assert allowed("Standing") == SETTINGS | PLATFORM | {
        "glue:GetDatabases", "lakeformation:GetDataLakeSettings", "lakeformation:ListPermissions",
        "lakeformation:BatchGrantPermissions", "sns:Publish", "dynamodb:GetItem",
        "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "sqs:SendMessage"}
    # This one only publishes, and notes that it did.
    assert allowed("ReplicationEvent") == PLATFORM | {
        "sns:Publish", "dynamodb:GetItem", "dynamodb:PutItem"}
    # This one tells what is over, too.
    assert allowed("OperationsEvent") == PLATFORM | {
        "sns:Publish", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem",
        "dynamodb:DeleteItem"}


def test_no_role_writes_the_peer_and_stars_are_fenced():
    writes = re.compile(r":(Create|Update|Delete|Add|Remove|Register|Deregister|Put|Send"
                        r"|Batch(Create|Update|Delete|Grant|Revoke|Write))")
    for function in ("CatalogEvent", "PermissionEvent", "ReplicationEvent", "OperationsEvent",
                     "Resync", "Standing"):
        for statement, actions in statements(function):
            assert not any(action.endswith("*") for action in actions), function
            text = str(statement["Resource"])
            if any(writes.search(action) for action in actions):
                assert "PeerRegion" not in text, (function, actions)
                assert "PeerRegion" not in str(statement.get("Condition", {})), (function, actions)
            if statement["Resource"] == "*":
                assert "aws:RequestedRegion" in str(statement.get("Condition")), (function, actions)
                assert all(action.startswith("lakeformation:") for action in actions)


def test_functions_and_queues_fit_together():
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        source = resource["Properties"]["Events"]["Messages"]["Properties"]
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        queue = RESOURCES[source["Queue"]["Fn::GetAtt"][0]]["Properties"]
        assert queue["RedrivePolicy"]["maxReceiveCount"] >= 5, name
    defaults = TEMPLATE["Parameters"]
    assert defaults["EventVisibility"]["Default"] >= 6 * defaults["EventTimeout"]["Default"]
    resync = RESOURCES["Resync"]["Properties"]["Timeout"]
    assert RESOURCES["ResyncQueue"]["Properties"]["VisibilityTimeout"] >= 6 * resync


def test_every_binary_is_a_function_and_the_other_way_round():
    binaries = {path.stem for path in (ROOT / "crates/lambda/src/bin").glob("*.rs")}
    functions = {re.search(r"lambda/([a-z-]+)/", r["Properties"]["CodeUri"]).group(1)
                 for r in RESOURCES.values() if r["Type"] == "AWS::Serverless::Function"}
    assert binaries == functions


def test_every_name_of_the_environment_is_set():
    config = (ROOT / "crates/lambda/src/config.rs").read_text()
    needed = set(re.findall(r'need\("(TWINLAKE_[A-Z_]+)"\)', config))
    shared = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Serverless::Function":
            own = set(resource["Properties"]["Environment"]["Variables"])
            assert needed <= own | shared, name


def test_only_lake_formation_is_handed_the_roles_of_locations():
    policy = RESOURCES["RegistrationPolicy"]["Properties"]
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = statement["Action"]
        fenced = str(statement.get("Condition", "")) + str(statement["Resource"])
        assert "lakeformation.amazonaws.com" in fenced, actions
        assert statement["Resource"] != "*" and "*" not in str(actions)
    assert policy["Roles"] == [{"Ref": "PermissionEventRole"}, {"Ref": "ResyncRole"}]
