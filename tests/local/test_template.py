"""Checks template.yaml against the code (events, API calls, metrics, environment variables), and
with the linters. Needs no deployment."""

import json
import os
import pathlib
import re
import subprocess
import sys

from stack import FUNCTIONS, ROOT, load_template

BIN = pathlib.Path(sys.executable).parent
TEMPLATE = load_template()
RESOURCES = TEMPLATE["Resources"]

# Calls of the adapters to other services than Glue, Lake Formation and DynamoDB.
OTHER_SERVICES = {"Publish": "sns", "SendMessage": "sqs", "PutEvents": "events",
                  "GetParameter": "ssm", "PutParameter": "ssm",
                  "HeadObject": "s3", "GetQueueAttributes": "sqs", "ReceiveMessage": "sqs",
                  "DeleteMessage": "sqs"}
# Actions of the function that relocates Iceberg tables.
ICEBERG_ACTIONS = {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "kms:GenerateDataKey",
                   "kms:Decrypt"}
# Actions of the adapters that reconciliation does not use.
OPERATIONAL_ACTIONS = {"events:PutEvents", "s3:HeadObject", "ssm:GetParameter", "ssm:PutParameter",
                       "lakeformation:DescribeLakeFormationIdentityCenterConfiguration"}
# Actions by which commands, and the takeover function, wake crawlers and triggers after a takeover.
WAKE_ACTIONS = {"glue:UpdateCrawlerSchedule", "glue:StartCrawlerSchedule", "glue:StartTrigger"}
# Actions that Lambda performs with a function's role.
PLATFORM_ACTIONS = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:ReceiveMessage",
                    "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
# What the readiness function reads, of both Regions.
READINESS_READS = {
    "glue:GetDatabases", "glue:GetTables", "glue:GetPartitions", "glue:GetUserDefinedFunctions",
    "glue:GetConnections", "glue:GetCatalogs", "glue:GetDataCatalogEncryptionSettings",
    "glue:GetResourcePolicy", "glue:BatchGetTableOptimizer",
    "lakeformation:DescribeLakeFormationIdentityCenterConfiguration",
    "lakeformation:GetDataLakeSettings", "lakeformation:ListPermissions", "lakeformation:ListResources",
    "servicequotas:GetServiceQuota", "servicequotas:GetAWSDefaultServiceQuota",
    "iam:GetRole", "iam:GetUser", "iam:SimulatePrincipalPolicy",
    "cloudtrail:DescribeTrails", "cloudtrail:GetTrailStatus", "cloudtrail:GetEventSelectors",
    "kms:DescribeKey", "kms:GetKeyPolicy", "s3:ListBucket", "s3:GetBucketVersioning",
    "s3:GetReplicationConfiguration",
    "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetBucketNotification",
    "s3:GetObject", "dynamodb:GetItem", "dynamodb:Query"}
# Actions that only the own-access function may perform.
SETTINGS_ACTIONS = {"lakeformation:PutDataLakeSettings"}
# Actions that a grant on a named object needs beside the grant itself (D-3).
GRANT_ACTIONS = {"glue:GetDatabase", "glue:GetTable"}
# Actions with which a resync counts objects that are not replicated.
INVENTORY_ACTIONS = {"glue:GetConnections", "glue:GetCatalogs",
                     "glue:GetDataCatalogEncryptionSettings", "glue:GetResourcePolicy",
                     "glue:BatchGetTableOptimizer"}


def run(*command, **environment):
    done = subprocess.run([str(BIN / command[0]), *command[1:]], capture_output=True, text=True,
                          cwd=ROOT, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr


def test_cfn_lint():
    run("cfn-lint", "-r", "us-east-1", "ap-south-1", "--", "template.yaml")


def test_sam_validate(tmp_path):
    run("sam", "validate", "--lint", "--template", "template.yaml", "--region", "us-east-1",
        SAM_CLI_TELEMETRY="0", HOME=str(tmp_path))


def test_the_template_has_no_yaml_aliases():
    """CloudFormation rejects them, and no linter reports them."""
    assert not re.search(r"(^|\s)[&*][a-z]", (ROOT / "template.yaml").read_text())


def test_every_event_name_of_a_rule_has_an_example_file():
    names = {name for rule in rules() for name in rule.get("detail", {}).get("eventName", [])}
    assert len(names) > 10
    files = [path.name for path in (ROOT / "events").glob("ct-*.json")]
    for name in names:
        assert any(f"-{name}" in file for file in files), f"no file in events/ for {name}"
    types = {t for rule in rules() for t in rule.get("detail-type", [])}
    text = "".join(path.read_text() for path in (ROOT / "events").glob("*.json"))
    for kind in types:
        assert f'"{kind}"' in text, f"no file in events/ for {kind}"


# Of the tools of Glue. GetConnections is also for the catalog.
GLUE_TOOLS_WITHOUT_RESOURCE = {f"glue:{action}" for action in (
    "GetClassifiers", "GetClassifier", "GetCrawlers", "GetTriggers", "GetJobs", "ListWorkflows",
    "GetSecurityConfigurations", "GetSecurityConfiguration", "CreateSecurityConfiguration",
    "DeleteSecurityConfiguration", "CreateClassifier", "UpdateClassifier", "DeleteClassifier", "CreateCrawler")}
GLUE_TOOL_ACTIONS = GLUE_TOOLS_WITHOUT_RESOURCE | {f"glue:{action}" for action in (
    "GetConnection", "CreateConnection", "UpdateConnection", "DeleteConnection", "GetJob", "CreateJob", "UpdateJob", "DeleteJob", "GetWorkflow", "BatchGetWorkflows", "CreateWorkflow",
    "UpdateWorkflow", "DeleteWorkflow", "GetCrawler", "GetTrigger", "UpdateCrawler", "DeleteCrawler", "StopCrawlerSchedule",
    "CreateTrigger", "UpdateTrigger", "DeleteTrigger", "StopTrigger")}


def rules():
    """Returns the event patterns of all rules."""
    return [r["Properties"]["EventPattern"] for r in RESOURCES.values()
            if r["Type"] == "AWS::Events::Rule"]


def test_events_are_forwarded_only_once():
    """Rules of Twinlake's event bus match only the peer's events, and their targets are queues."""
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Events::Rule":
            continue
        properties = resource["Properties"]
        targets = [str(target["Arn"]) for target in properties["Targets"]]
        if "EventBusName" in properties:
            assert properties["EventPattern"]["region"] == [{"Ref": "PeerRegion"}], name
            assert all("Queue" in target for target in targets), name
        elif not name.startswith("Forward"):
            # Rules for local events forward nothing.
            assert properties["EventPattern"]["region"] == [{"Ref": "AWS::Region"}]
            queue = "OwnAccessQueue" if name == "DatabaseCreatedRule" else "OperationsQueue"
            assert all(queue in target for target in targets)
        else:
            assert all("event-bus" in target for target in targets), name
            assert all("DeadLetterConfig" in t and "RoleArn" in t for t in properties["Targets"])


def statements(function):
    """Yields the policy statements of a function's role, each with its list of actions."""
    role = RESOURCES[f"{function}Role"]["Properties"]
    documents = [policy["PolicyDocument"] for policy in role.get("Policies", [])]
    for managed in role.get("ManagedPolicyArns", []):
        # The others are optional policies of AWS.
        if "Ref" in managed:
            documents.append(RESOURCES[managed["Ref"]]["Properties"]["PolicyDocument"])
    for document in documents:
        for statement in document["Statement"]:
            statement = statement.get("Fn::If", [None, statement])[1]
            actions = statement["Action"]
            yield statement, [actions] if isinstance(actions, str) else actions


def allowed_actions(function):
    return {action for _, actions in statements(function) for action in actions}


def called_actions():
    """Returns the IAM action of every call in the AWS adapters."""
    actions = set()
    for path in (ROOT / "crates/aws/src").rglob("*.rs"):
        code = path.read_text().split("#[cfg(test)]")[0]
        for method in re.findall(
                r"\.(glue|lakeformation|athena|client)\s*\.([a-z_]+)\(\)", code):
            client, call = method
            name = "".join(word.capitalize() for word in call.split("_"))
            name = name.replace("Lf", "LF")
            service = client if client != "client" else None
            if service is None:
                service = "dynamodb" if "ledger" in str(path) else OTHER_SERVICES[name]
            actions.add(f"{service}:{name}")
    return actions


def test_every_call_is_allowed_and_no_other():
    called = called_actions()
    assert len(called) > 25, called
    assert OTHER_SERVICES.keys() <= {action.split(":")[1] for action in called}
    called -= OPERATIONAL_ACTIONS
    assert WAKE_ACTIONS <= called
    called -= WAKE_ACTIONS
    assert allowed_actions("Resync") == (called - SETTINGS_ACTIONS) | PLATFORM_ACTIONS
    query_actions = {action for action in called if action.startswith("athena:")} | GLUE_TOOL_ACTIONS
    assert GLUE_TOOL_ACTIONS <= called
    for function, others in (("CatalogEvent", ICEBERG_ACTIONS), ("PermissionEvent", set())):
        assert allowed_actions(function) == (
            called - INVENTORY_ACTIONS - SETTINGS_ACTIONS - query_actions) | PLATFORM_ACTIONS | others
    # The only function that writes the data lake settings. It revokes nothing.
    assert allowed_actions("OwnAccess") == SETTINGS_ACTIONS | PLATFORM_ACTIONS | GRANT_ACTIONS | {
        "glue:GetDatabases", "lakeformation:GetDataLakeSettings", "lakeformation:ListPermissions",
        "lakeformation:BatchGrantPermissions", "sns:Publish", "dynamodb:GetItem",
        "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "sqs:SendMessage", "events:PutEvents"}
    # These functions publish and record alerts; they have no access to a catalog.
    alerting = PLATFORM_ACTIONS | {
        "sns:Publish", "sqs:SendMessage", "events:PutEvents", "dynamodb:GetItem",
        "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem"}
    assert allowed_actions("OperationsEvent") == alerting
    # GetObject allows HeadObject. With ListBucket, S3 answers 404 for a missing object.
    assert allowed_actions("ReplicationEvent") == alerting | {
        "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert allowed_actions("Monitor") == logs | {
        "sns:Publish", "events:PutEvents", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
        "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem", "ssm:GetParameter", "ssm:PutParameter"}
    for statement, actions in statements("Monitor"):
        if any(action.startswith("ssm:") for action in actions):
            assert statement["Resource"]["Fn::Sub"].endswith(
                ":ssm:${AWS::Region}:${AWS::AccountId}:parameter/twinlake/address")
    assert allowed_actions("Digest") == logs | {
        "sqs:SendMessage", "sns:Publish", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem",
        "dynamodb:UpdateItem"}
    # The only function that writes the primary's catalog, and only to its own table.
    assert allowed_actions("Heartbeat") == logs | GRANT_ACTIONS | {
        "glue:CreateDatabase", "glue:CreateTable", "glue:UpdateTable", "dynamodb:GetItem",
        "dynamodb:UpdateItem", "lakeformation:CreateDataCellsFilter",
        "lakeformation:GetDataCellsFilter", "lakeformation:UpdateDataCellsFilter",
        "lakeformation:BatchGrantPermissions"}
    for statement, actions in statements("Heartbeat"):
        if any(action.startswith("glue:") for action in actions):
            resources = [arn["Fn::Sub"].split("}:")[-1] for arn in statement["Resource"]]
            assert resources == ["catalog", "database/twinlake_heartbeat",
                                 "table/twinlake_heartbeat/heartbeat"]
    # It writes only canaries. Without s3:DeleteObject it makes no delete marker.
    assert allowed_actions("Canary") == logs | {
        "sns:Publish", "events:PutEvents", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem",
        "dynamodb:UpdateItem", "dynamodb:DeleteItem", "s3:GetReplicationConfiguration",
        "s3:GetEncryptionConfiguration", "s3:ListBucketVersions", "s3:PutObject", "s3:GetObject",
        "s3:GetObjectVersion", "s3:DeleteObjectVersion", "kms:GenerateDataKey", "kms:Decrypt"}
    for statement, actions in statements("Canary"):
        if any("Object" in action for action in actions):
            end, variables = statement["Resource"]["Fn::Split"][1]["Fn::Sub"]
            assert end == "${Buckets}/*_twinlake_canary/*"
            assert variables == {"Buckets": {"Fn::Join": [
                "/*_twinlake_canary/*,", {"Ref": "CanaryBucketArns"}]}}
        elif "s3:ListBucketVersions" in actions:
            assert statement["Condition"] == {"StringLike": {"s3:prefix": "*_twinlake_canary/*"}}
        elif any(action.startswith("kms:") for action in actions):
            assert statement["Condition"] == {"StringEquals": {
                "kms:ViaService": {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com"}}}
    for function in FUNCTIONS:
        for statement, actions in statements(function):
            if "events:PutEvents" in actions:
                # D-4: the key has several values, and ForAllValues also matches none.
                assert statement["Condition"] == {
                    "ForAllValues:StringEquals": {"events:source": "twinlake"},
                    "Null": {"events:source": "false"}}, function


def test_only_what_twinlake_wrote_of_an_iceberg_table_is_written():
    buckets = {"Ref": "IcebergBucketArns"}

    def objects(end):
        return {"Fn::Split": [",", {"Fn::Sub": ["${Buckets}" + end, {"Buckets": {"Fn::Join": [end + ",", buckets]}}]}]}

    seen = {}
    for statement, actions in statements("CatalogEvent"):
        for action in actions:
            if action.startswith("s3:"):
                seen[action] = statement["Resource"]
            elif action.startswith("kms:") and "ViaService" in str(statement.get("Condition")):
                seen[action] = statement["Condition"]
    key = {"StringEquals": {"kms:ViaService": {"Fn::Sub": "s3.${AWS::Region}.amazonaws.com"}}}
    assert seen == {"s3:ListBucket": buckets, "s3:GetObject": objects("/*"),
                    "s3:PutObject": objects("/*_twinlake/*"), "s3:DeleteObject": objects("/*_twinlake/*"),
                    "kms:GenerateDataKey": key, "kms:Decrypt": key}
    # Without the buckets, the role has none of these rights.
    policy = RESOURCES["CatalogEventRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    for statement in policy:
        if "Fn::If" not in statement:
            assert "s3:" not in str(statement["Action"]) and "kms:" not in str(statement["Action"])
    # The functions that find such a table have it relocated by the one with the rights.
    for function in ("PermissionEvent", "Resync"):
        variables = RESOURCES[function]["Properties"]["Environment"]["Variables"]
        assert variables["TWINLAKE_CATALOG_QUEUE_URL"] == {"Ref": "CatalogQueue"}
        queue = {"Fn::GetAtt": ["CatalogQueue", "Arn"]}
        assert any("sqs:SendMessage" in actions and statement["Resource"] == queue
                   for statement, actions in statements(function)), function
    assert "TWINLAKE_CATALOG_QUEUE_URL" not in str(RESOURCES["CatalogEvent"])


def test_no_role_writes_to_the_peer_and_wildcards_are_restricted():
    writes = re.compile(r":(Create|Update|Delete|Add|Remove|Register|Deregister|Put|Send"
                        r"|Batch(Create|Update|Delete|Grant|Revoke|Write))")
    for function in FUNCTIONS:
        for statement, actions in statements(function):
            assert not any(action.endswith("*") for action in actions), function
            text = str(statement["Resource"])
            if any(writes.search(action) for action in actions):
                assert "PeerRegion" not in text, (function, actions)
                assert "PeerRegion" not in str(statement.get("Condition", {})), (function, actions)
            if statement["Resource"] == "*":
                assert "aws:RequestedRegion" in str(statement.get("Condition")), (function, actions)
                # These have no resource-level permissions.
                assert all(action.startswith(("lakeformation:", "servicequotas:Get", "athena:List"))
                           or action == "cloudtrail:DescribeTrails" or action in GLUE_TOOLS_WITHOUT_RESOURCE
                           for action in actions)


def test_the_takeover_function_calls_what_a_failover_needs_in_its_region_alone():
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    # What a failover calls, what proves that an object is gone whose grant fails, and what wakes crawlers and triggers.
    assert allowed_actions("Takeover") == logs | {
        "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem",
        "glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:UpdateDatabase",
        "lakeformation:GetDataLakeSettings", "lakeformation:ListPermissions", "lakeformation:BatchGrantPermissions",
    } | WAKE_ACTIONS | {"glue:GetJob", "glue:GetCrawlers", "glue:GetCrawler", "glue:GetTriggers", "glue:GetTrigger"}
    for statement, _ in statements("Takeover"):
        assert "PeerRegion" not in str(statement), statement
    for function in FUNCTIONS:
        woken = WAKE_ACTIONS & allowed_actions(function)
        assert bool(woken) == (function == "Takeover"), function
    assert "TakeoverRole" in str(TEMPLATE["Outputs"]["Roles"]["Value"]), "grants need an administrator"
    # F-14: an administrator may not alter a database that another role created.
    writers = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["TWINLAKE_WRITER_ROLE_ARNS"]
    assert "TakeoverRole" in str(writers)
    # Nothing starts it but people and their plans.
    properties = RESOURCES["Takeover"]["Properties"]
    assert "Events" not in properties and properties["Timeout"] == 900
    assert not [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Lambda::Permission"]


def test_the_rights_of_a_switchover_are_optional_and_the_only_ones_in_the_other_region():
    assert TEMPLATE["Parameters"]["SwitchoverByFunction"]["Default"] == "false"
    role = RESOURCES["TakeoverRole"]["Properties"]
    assert role["ManagedPolicyArns"] == [
        {"Fn::If": ["SwitchesOverByFunction", {"Ref": policy}, {"Ref": "AWS::NoValue"}]}
        for policy in ("ReconcilePolicy", "SwitchoverPolicy")]
    policy = RESOURCES["SwitchoverPolicy"]
    assert policy["Condition"] == "SwitchesOverByFunction"
    writes = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        statement = statement.get("Fn::If", [None, statement])[1]
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            if not re.search(r":(Get|BatchGet(Item|Table)|List|Query)", action):
                writes[action] = (statement["Resource"], statement.get("Condition"))
    ledger = {"Fn::Sub": "arn:${AWS::Partition}:dynamodb:${PeerRegion}:${AWS::AccountId}:table/${LedgerTableName}"}
    peer = {"StringEquals": {"aws:RequestedRegion": {"Ref": "PeerRegion"}}}
    assert writes == {
        **dict.fromkeys(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem"],
                        (ledger, None)),
        "lakeformation:BatchGrantPermissions": ("*", peer), "lakeformation:BatchRevokePermissions": ("*", peer)}
    variables = RESOURCES["Takeover"]["Properties"]["Environment"]["Variables"]
    assert variables["TWINLAKE_SWITCHOVER"] == {"Ref": "SwitchoverByFunction"}


def test_the_state_machine_invokes_the_function_until_it_has_an_end():
    machine = RESOURCES["TakeoverStateMachine"]["Properties"]
    states = machine["Definition"]["States"]
    run, decide = states["Run"], states["Decide"]
    assert run["Parameters"] == {
        "FunctionName": {"Fn::GetAtt": ["Takeover", "Arn"]},
        # The same name of the execution and the same input at each invocation.
        "Payload": {"execution.$": "$$.Execution.Id", "input.$": "$$.Execution.Input"}}
    assert run["TimeoutSeconds"] > RESOURCES["Takeover"]["Properties"]["Timeout"]
    assert run["Retry"][0]["ErrorEquals"] == ["States.ALL"]
    assert machine["Definition"]["TimeoutSeconds"] > 20 * run["TimeoutSeconds"]
    # Each outcome of the code has its place: what is no end, and what is a success. The others end in a failure.
    code = (ROOT / "crates/lambda/src/handlers/takeover/answer.rs").read_text()
    code = code[code.index("fn outcome"):code.index("fn is_primary")]
    outcomes = set(re.findall(r'=> "([a-z-]+)"', code))
    nexts = {choice["StringEquals"]: choice["Next"] for choice in decide["Choices"]}
    assert outcomes - nexts.keys() == {"refused", "failed"} and nexts.keys() <= outcomes
    assert nexts.pop("continue") == "Run" and set(nexts.values()) == {"Done"}
    assert decide["Default"] == "NotDone" and states["NotDone"] == {
        "Type": "Fail", "ErrorPath": "$.outcome", "CausePath": "$.message"}
    role = RESOURCES["TakeoverStateMachineRole"]["Properties"]
    (policy,) = role["Policies"]
    assert policy["PolicyDocument"]["Statement"] == [{
        "Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": {"Fn::GetAtt": ["Takeover", "Arn"]}}]


def test_the_readiness_function_reads_both_regions_and_writes_only_its_results():
    writes = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"}
    own = {"logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "sns:Publish"}
    assert allowed_actions("Readiness") == READINESS_READS | writes | own
    for statement, actions in statements("Readiness"):
        if set(actions) & writes:
            assert set(actions) == writes
            # Not the epoch and the policy in `meta`, and no rows. ForAllValues also matches no key (D-4).
            assert statement["Condition"] == {
                "ForAllValues:StringLike": {
                    "dynamodb:LeadingKeys": ["readiness", "incidents", "hourly_counters", "reserved_calls#*"]},
                "Null": {"dynamodb:LeadingKeys": "false"}}
        elif set(actions) & own:
            text = str(statement["Resource"])
            assert any(name in text for name in (
                "ReadinessLogs", "OperationsDeadLetterQueue", "AlertTopic")), statement
        if any(action.startswith("s3:") for action in actions):
            assert statement["Resource"] in (
                {"Ref": "LakeBucketArns"}, {"Ref": "LakeObjectArns"}), statement
    properties = RESOURCES["Readiness"]["Properties"]
    assert properties["Events"]["ScheduledRun"]["Properties"]["ScheduleExpression"] == "rate(30 minutes)"
    roles = str(TEMPLATE["Outputs"]["Roles"]["Value"])
    assert "ReadinessRole" in roles, "Lake Formation hides tables from all but administrators"


def test_the_roles_of_the_readiness_function_allow_what_its_code_calls():
    own = (ROOT / "crates/aws/src").glob("infrastructure/*.rs")
    code = "".join(path.read_text() for path in (ROOT / "crates/aws/src/infrastructure.rs", *own))
    called = {"".join(word.capitalize() for word in call.split("_"))
              for call in re.findall(r"\.((?:get|batch_get|head|list|describe|simulate)_[a-z0-9_]+)\(\)", code)}
    # The names of the rights, where they differ from those of the calls.
    rights = {"GetAwsDefaultServiceQuota": "GetAWSDefaultServiceQuota", "HeadBucket": "ListBucket", "HeadObject": "GetObject", "ListObjectsV2": "ListBucket",
              "GetBucketReplication": "GetReplicationConfiguration",
              "GetBucketEncryption": "GetEncryptionConfiguration",
              "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
              "GetBucketNotificationConfiguration": "GetBucketNotification"}
    called = {rights.get(call, call) for call in called}
    assert len(called) >= 11, called
    assert called <= {action.split(":")[1] for action in READINESS_READS}


def test_query_tools_are_read_in_both_regions_written_in_one_and_never_run():
    reads = ("athena:Get", "athena:List", "athena:BatchGet")
    found = [(statement, actions) for statement, actions in statements("Resync")
             if any(action.startswith("athena:") for action in actions)]
    assert len(found) == 3
    for statement, actions in found:
        text = json.dumps(statement["Resource"])
        if all(action.startswith(reads) for action in actions):
            assert "Condition" in statement or ("${PeerRegion}" in text and "${AWS::Region}" in text)
        else:
            assert "PeerRegion" not in text and "${AWS::Region}" in text
    # No call that runs a query, or makes what costs.
    actions = " ".join(allowed_actions("Resync"))
    assert "Execution" not in actions and "CreateCapacity" not in actions and "Session" not in actions
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Serverless::Function" and name != "Resync":
            assert not any(action.startswith("athena:") for action in allowed_actions(name)), name


def test_glue_tools_are_read_in_both_regions_written_in_one_and_never_woken():
    found = [(statement, actions) for statement, actions in statements("Resync")
             if GLUE_TOOL_ACTIONS & set(actions)]
    assert len(found) == 4
    for statement, actions in found:
        reads = all(action.startswith(("glue:Get", "glue:List", "glue:BatchGet")) for action in actions)
        text = json.dumps([statement["Resource"], statement.get("Condition")])
        assert reads == ("PeerRegion" in text), actions
        assert "AWS::Region" in text
    # No call that starts, schedules or activates anything.
    allowed = " ".join(allowed_actions("Resync"))
    assert not re.search(r"glue:(Start|Run|Resume|UpdateCrawlerSchedule)",
                         allowed)


def test_the_roles_of_crawlers_are_passed_to_glue_by_what_makes_and_what_wakes_crawlers():
    assert TEMPLATE["Parameters"]["GlueToolRoleArns"]["Default"] == ""
    policy = RESOURCES["GlueToolRolePolicy"]
    assert policy["Condition"] == "HasGlueToolRoles"
    assert policy["Properties"]["Roles"] == [{"Ref": "ResyncRole"}, {"Ref": "TakeoverRole"}]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "iam:PassRole"
    assert statement["Resource"] == {"Ref": "GlueToolRoleArns"}
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "glue.amazonaws.com"}}


def test_statements_run_in_the_warehouses_that_the_stack_names_by_the_resync_alone():
    for name in ("WarehouseArns", "WarehouseSecretArns"):
        assert TEMPLATE["Parameters"][name]["Default"] == ""
    policy = RESOURCES["WarehousePolicy"]
    assert policy["Condition"] == "HasWarehouses"
    assert policy["Properties"]["Roles"] == [{"Ref": "ResyncRole"}]
    found = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        condition, statement = (statement["Fn::If"][0], statement["Fn::If"][1]) if "Fn::If" in statement \
            else (None, statement)
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            found[action] = (condition, statement)
    code = (ROOT / "crates/aws/src/redshift_data.rs").read_text().split("#[cfg(test)]")[0]
    calls = re.findall(r"\.(?:reader|writer)\s*\.([a-z_]+)\(\)", code)
    called = {"redshift-data:" + "".join(word.capitalize() for word in call.split("_")) for call in calls}
    logins = {"redshift:GetClusterCredentials", "redshift:GetClusterCredentialsWithIAM",
              "redshift-serverless:GetCredentials"}
    assert len(called) == 4 and set(found) == called | logins | {"secretsmanager:GetSecretValue"}
    for action in logins | {"redshift-data:ExecuteStatement"}:
        assert found[action][1]["Resource"] == {"Ref": "WarehouseArns"}, action
    for action in called - {"redshift-data:ExecuteStatement"}:
        condition = found[action][1]["Condition"]["StringEquals"]
        assert condition["redshift-data:statement-owner-iam-userid"] == "${aws:userid}", action
    condition, statement = found["secretsmanager:GetSecretValue"]
    assert condition == "HasWarehouseSecrets" and statement["Resource"] == {"Ref": "WarehouseSecretArns"}
    # Statements are all that is done there: nothing of a warehouse itself is changed.
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Serverless::Function":
            assert not any(action.startswith("redshift") for action in allowed_actions(name)), name


def test_queues_suit_the_functions_that_read_them():
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        events = resource["Properties"].get("Events", {})
        if "Messages" not in events:
            # Started by a schedule only, or by people.
            assert name in ("Heartbeat", "Monitor", "Digest", "Readiness", "Canary", "Takeover")
            continue
        source = events["Messages"]["Properties"]
        assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name
        queue = RESOURCES[source["Queue"]["Fn::GetAtt"][0]]["Properties"]
        # D-11: a throttled invocation counts as a receive.
        assert queue["RedrivePolicy"]["maxReceiveCount"] >= 10, name
    defaults = TEMPLATE["Parameters"]
    visibility_timeout = defaults["QueueVisibilityTimeoutSeconds"]["Default"]
    assert visibility_timeout >= 6 * defaults["EventFunctionTimeoutSeconds"]["Default"]
    resync_timeout = RESOURCES["Resync"]["Properties"]["Timeout"]
    assert RESOURCES["ResyncQueue"]["Properties"]["VisibilityTimeout"] >= 6 * resync_timeout


def test_binaries_and_functions_are_the_same():
    binaries = {path.stem for path in (ROOT / "crates/lambda/src/bin").glob("*.rs")}
    functions = {re.search(r"lambda/([a-z-]+)/", r["Properties"]["CodeUri"]).group(1)
                 for r in RESOURCES.values() if r["Type"] == "AWS::Serverless::Function"}
    assert binaries == functions


def test_every_required_environment_variable_is_set():
    config = (ROOT / "crates/lambda/src/config.rs").read_text()
    required = set(re.findall(r'require\("(TWINLAKE_[A-Z_]+)"\)', config))
    shared = set(TEMPLATE["Globals"]["Function"]["Environment"]["Variables"])
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Serverless::Function":
            own = set(resource["Properties"]["Environment"]["Variables"])
            assert required <= own | shared, name


def test_registration_roles_are_passed_only_to_lakeformation():
    policy = RESOURCES["LocationRegistrationPolicy"]["Properties"]
    for statement in policy["PolicyDocument"]["Statement"]:
        statement = statement.get("Fn::If", [None, statement])[1]
        actions = statement["Action"]
        restriction = str(statement.get("Condition", "")) + str(statement["Resource"])
        assert "lakeformation.amazonaws.com" in restriction, actions
        assert statement["Resource"] != "*" and "*" not in str(actions)
    # Each role that may register a location also has what IAM asks of it for that, and no other role has it.
    registering = [f"{f}Role" for f in FUNCTIONS if "lakeformation:RegisterResource" in allowed_actions(f)]
    assert registering == [role["Ref"] for role in policy["Roles"]]
    assert registering == ["CatalogEventRole", "PermissionEventRole", "ResyncRole"]


def test_every_limited_call_of_a_function_counts_in_the_limits_of_its_process():
    """Clients of a second connection would have limits of their own, and pass the ceiling of calls. The takeover function
    has no ceiling: like the commands, it makes few calls, which nothing else must hold up."""
    adapters = re.compile(r"\b(AwsRegion|QueryToolsRegion|AwsInfrastructure)::new\(")
    using = {path.name: path.read_text() for path in (ROOT / "crates/lambda/src").rglob("*.rs")
             if adapters.search(path.read_text())}
    assert using.keys() == {"runtime.rs", "readiness.rs", "takeover.rs", "both_regions.rs"}
    assert "Clients::connect" not in using["readiness.rs"]


def metrics():
    """Returns the metrics of the code: the name of each, and its dimension or None."""
    code = (ROOT / "crates/core/src/metric.rs").read_text()
    names = re.findall(r'Self::(\w+) => "(\w+)",', code[code.index("fn as_str"):])
    names = {name for variant, name in names if variant == name}
    dimensions = dict(re.findall(r'Self::(\w+) => Some\("(\w+)"\)', code))
    return {(name, dimensions.get(name)) for name in names}


def metrics_in_template():
    """Returns the metrics that the dashboard and the alarms name, as `metrics` does."""
    found = set()
    body = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name in re.findall(r"\$\{([A-Za-z:]+)\}", body):
        assert name.startswith("AWS::") or name in TEMPLATE["Parameters"], name
    body = json.loads(re.sub(r"\$\{[A-Za-z:]+\}", "1", body))
    for widget in body["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if isinstance(metric[0], dict):
                search = re.search(r"\{Twinlake,(\w+)\} MetricName=\"(\w+)\"",
                                   metric[0]["expression"])
                found.add((search.group(2), search.group(1)))
            else:
                assert metric[0] == "Twinlake"
                found.add((metric[1], metric[2] if len(metric) > 2 else None))
    for resource in RESOURCES.values():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::CloudWatch::Alarm" and properties["Namespace"] == "Twinlake":
            found.add((properties["MetricName"], None))
    return found


def test_the_template_names_exactly_the_metrics_of_the_code():
    assert len(metrics()) == 20
    assert metrics() == metrics_in_template()


def alarms():
    return {name: r["Properties"] for name, r in RESOURCES.items()
            if r["Type"] == "AWS::CloudWatch::Alarm"}


def test_each_alarm_is_reported_in_exactly_one_way():
    reported = RESOURCES["AlarmStateRule"]["Properties"]["EventPattern"]["detail"]["alarmName"]
    reported = [name["Fn::Sub"] for name in reported]
    by_operations_function, by_topic, by_monitor = set(), set(), set()
    monitored = str(RESOURCES["Monitor"]["Properties"]["Environment"])
    for name, alarm in alarms().items():
        assert alarm["AlarmName"]["Fn::Sub"].startswith("${AWS::StackName}-"), name
        if "AlarmActions" in alarm:
            assert alarm["OKActions"] == alarm["AlarmActions"], name
            by_topic.add(name)
        elif alarm["AlarmName"]["Fn::Sub"] in reported:
            by_operations_function.add(name)
        else:
            # The monitor function publishes an alert about the dead-letter queue itself, and the readiness
            # and monitor functions about the readiness.
            assert name.startswith("Readiness") or (
                f"${{{name.removesuffix('Alarm')}}}" in monitored), name
            by_monitor.add(name)
    # Alarms about the functions that report the other alarms.
    assert by_topic == {"MonitorAlarm", "OperationsDeadLetterQueueAlarm"}
    assert len(by_operations_function) == len(reported) == 4 and len(by_monitor) == 8
    assert not any("monitor-function" in name or "dead-letters" in name for name in reported)
    assert RESOURCES["MonitorAlarm"]["Properties"]["TreatMissingData"] == "breaching"
    queues = {name for name in RESOURCES if name.endswith("DeadLetterQueue")}
    assert {f"{queue}Alarm" for queue in queues} <= RESOURCES.keys()
    assert all(f"${{{queue}}}" in monitored for queue in queues)


def test_alarms_on_s3_metrics_have_the_documented_names_and_dimensions():
    """Source: the S3 user guide, "Amazon S3 CloudWatch metrics"."""
    found = {alarm["MetricName"]: alarm for alarm in alarms().values()
             if alarm["Namespace"] == "AWS/S3"}
    assert found.keys() == {"ReplicationLatency", "OperationsPendingReplication",
                            "OperationsFailedReplication"}
    for alarm in found.values():
        assert {d["Name"] for d in alarm["Dimensions"]} == {
            "SourceBucket", "DestinationBucket", "RuleId"}
        # Without traffic there are no data points.
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    # Both stacks may have these alarms: S3 publishes each metric in one of the Regions only.
    assert found["ReplicationLatency"]["Threshold"] == {"Ref": "S3LatencyLimitSeconds"}
    assert found["OperationsPendingReplication"]["Threshold"] == {"Ref": "S3PendingOperationsLimit"}
    failed = found["OperationsFailedReplication"]
    assert (failed["Statistic"], failed["Threshold"]) == ("Sum", 0)


def test_only_rules_of_the_stack_may_send_and_their_failures_go_to_dead_letters():
    """The functions trust the messages of their queues."""
    senders = {}
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::SQS::QueuePolicy":
            (queue,) = resource["Properties"]["Queues"]
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                condition = statement["Condition"]
                if statement["Principal"]["Service"] == "events.amazonaws.com":
                    arns = condition["ArnEquals"]["aws:SourceArn"]
                    senders[queue["Ref"]] = {arn["Fn::GetAtt"][0] for arn in arns}
                else:
                    assert queue["Ref"] == "ReplicationQueue" and "AccountId" in str(condition)
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Events::Rule":
            for target in resource["Properties"]["Targets"]:
                dead_letters = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
                assert name in senders.get(dead_letters), name
                if "event-bus" not in str(target["Arn"]):
                    queue = target["Arn"]["Fn::GetAtt"][0]
                    assert name in senders[queue], name
                    assert dead_letters == queue.replace("Queue", "DeadLetterQueue"), name
    rule_names = {n for n, r in RESOURCES.items() if r["Type"] == "AWS::Events::Rule"}
    assert set().union(*senders.values()) == rule_names


def test_failed_scheduled_runs_are_reported():
    """The record of a failed run goes to a dead-letter queue, or missing runs cause an alert."""
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        events = properties.get("Events", {}).values()
        if any(event["Type"] == "ScheduleV2" for event in events):
            config = properties["EventInvokeConfig"]
            if name in ("Heartbeat", "Monitor", "Canary"):
                # Missing heartbeats and canaries cause an alert about the lag; MonitorAlarm covers the monitor.
                assert config["MaximumRetryAttempts"] == 0
            else:
                queue = config["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
                assert queue.endswith("DeadLetterQueue"), name
                send_resources = [str(s["Resource"]) for s, actions in statements(name)
                         if "sqs:SendMessage" in actions]
                assert any(queue in resource for resource in send_resources), name


# The rows of docs/assumptions.md about deployment


def test_d1_rules_that_name_the_peers_bus_have_a_condition_and_so_has_what_names_them():
    """The stack that is deployed first must not need anything of the other one."""
    conditional = {name for name, resource in RESOURCES.items()
                   if resource.get("Condition") == "ForwardsEvents"}
    assert TEMPLATE["Conditions"]["ForwardsEvents"] == {
        "Fn::Equals": [{"Ref": "ForwardEvents"}, "true"]}
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Events::Rule" and "event-bus" in str(resource):
            assert name in conditional, name
        if name not in conditional:
            text = str(resource)
            assert not any(f"'{other}'" in text or f"${{{other}" in text for other in conditional), name
    assert len([name for name in conditional if name.endswith("Rule")]) == 4


def test_d1_the_bus_names_its_own_account():
    allow, _ = RESOURCES["PeerEventBus"]["Properties"]["Policy"]["Statement"]
    assert allow["Effect"] == "Allow" and allow["Action"] == "events:PutEvents"
    assert allow["Principal"] == {
        "AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}


def test_d4_only_twinlakes_roles_put_events_with_its_source():
    _, on_peer_bus = RESOURCES["PeerEventBus"]["Properties"]["Policy"]["Statement"]
    on_default_bus = RESOURCES["DefaultEventBusPolicy"]["Properties"]["Statement"]
    assert "EventBusName" not in RESOURCES["DefaultEventBusPolicy"]["Properties"]
    roles = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/twinlake/*"
    for statement in (on_peer_bus, on_default_bus):
        assert statement["Effect"] == "Deny" and statement["Principal"] == "*"
        assert statement["Condition"] == {
            "ForAnyValue:StringEquals": {"events:source": "twinlake"},
            "ArnNotLike": {"aws:PrincipalArn": {"Fn::Sub": roles}}}
    # Every role that puts such events has this path.
    senders = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::Role"
               and "events:PutEvents" in str(resource)]
    assert "ForwardRole" in senders and len(senders) == 6
    for name in senders:
        assert RESOURCES[name]["Properties"]["Path"] == "/twinlake/", name


def test_d3_every_function_that_grants_may_read_what_it_grants_on():
    granting = [f for f in FUNCTIONS if "lakeformation:BatchGrantPermissions" in allowed_actions(f)]
    assert len(granting) == 6
    for function in granting:
        reads = [str(statement["Resource"]) for statement, actions in statements(function)
                 if GRANT_ACTIONS <= set(actions)]
        assert reads, function
        for kind in ("catalog", "database/", "table/"):
            assert any(f"${{AWS::Region}}:${{AWS::AccountId}}:{kind}" in text for text in reads), (
                function, kind)


def test_d7_exactly_the_functions_that_send_to_their_own_queue_may_loop():
    for function in FUNCTIONS:
        properties = RESOURCES[function]["Properties"]
        source = properties.get("Events", {}).get("Messages")
        queue = source and source["Properties"]["Queue"]
        loops = any("sqs:SendMessage" in actions and statement["Resource"] == queue
                    for statement, actions in statements(function))
        assert properties.get("RecursiveLoop") == ("Allow" if loops else None), function


def test_d10_the_default_threshold_exceeds_the_lag_of_one_lost_heartbeat():
    """The scheduler's precision is 60 s, so two heartbeats that are sent may be 179 s apart."""
    code = (ROOT / "crates/engine/src/operation_document.rs").read_text()
    threshold = int(re.search(r"DEFAULT_CATALOG_LAG_SECS: i64 = (\d+);", code).group(1))
    interval = TEMPLATE["Parameters"]["HeartbeatIntervalSeconds"]["Default"]
    assert threshold > 3 * interval - 1 - interval


def test_d13_no_arn_has_a_fixed_partition():
    text = (ROOT / "template.yaml").read_text()
    assert not re.search(r"arn:aws[a-z-]*:", text.replace("arn:aws[a-z-]*:kms", ""))


def test_f4_view_definers_are_passed_to_glue_and_lakeformation():
    (statement,) = RESOURCES["ViewDefinerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "iam:PassRole"
    assert statement["Resource"] == {"Ref": "ViewDefinerRoleArns"}
    assert statement["Condition"]["StringEquals"]["iam:PassedToService"] == [
        "glue.amazonaws.com", "lakeformation.amazonaws.com"]


def test_f5_the_rights_for_grants_to_other_accounts_are_optional():
    assert TEMPLATE["Parameters"]["AllowCrossAccountGrants"]["Default"] == "false"
    policy = "arn:${AWS::Partition}:iam::aws:policy/AWSLakeFormationCrossAccountManager"
    optional = {"Fn::If": ["AllowsCrossAccountGrants", {"Fn::Sub": policy}, {"Ref": "AWS::NoValue"}]}
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::IAM::Role":
            is_reconciling = name in ("CatalogEventRole", "PermissionEventRole", "ResyncRole")
            managed = resource["Properties"].get("ManagedPolicyArns", [])
            assert (optional in managed) == is_reconciling, name


def test_f11_a_function_outlives_one_slow_call_of_lake_formation():
    code = (ROOT / "crates/aws/src/clients.rs").read_text()
    assert re.search(r"LAKE_FORMATION_TIMEOUTS.*?response: Duration::from_secs\(LONGEST_ATTEMPT_SECS\)", code, re.S)
    code = (ROOT / "crates/core/src/topology.rs").read_text()
    longest = re.search(r"LONGEST_ATTEMPT_SECS: u64 = (\d+);", code)
    timeout = TEMPLATE["Parameters"]["EventFunctionTimeoutSeconds"]
    assert timeout["MinValue"] >= int(longest.group(1)) + 15
    assert timeout["MaxValue"] >= timeout["Default"] >= timeout["MinValue"]


def test_f11_a_resync_starts_nothing_that_a_slow_call_could_keep_beyond_its_timeout():
    code = (ROOT / "crates/aws/src/clients.rs").read_text()
    call = re.search(r"LAKE_FORMATION_TIMEOUTS.*?call: Duration::from_secs\((\d+)\)", code, re.S)
    wait = re.search(r"MAX_WAIT: Duration = Duration::from_secs\((\d+)\)", (ROOT / "crates/aws/src/call_limits.rs").read_text())
    handlers = (ROOT / "crates/lambda/src/handlers.rs").read_text()
    margin = int(re.search(r"RESYNC_SHUTDOWN_MARGIN_SECS: i64 = (\d+);", handlers)[1])
    assert margin >= int(call[1]) + int(wait[1])
    assert "stop_at = before(invocation.deadline, RESYNC_SHUTDOWN_MARGIN_SECS)" in handlers
    # What follows the jobs of a batch that are given up has some seconds, too.
    batch = int(re.search(r" SHUTDOWN_MARGIN_SECS: i64 = (\d+);", handlers)[1])
    grace = (ROOT / "crates/engine/src/event_batch.rs").read_text()
    assert batch >= int(re.search(r"GRACE_SECS: i64 = (\d+);", grace)[1]) + 5


def test_the_age_limit_of_the_alarm_and_of_the_commands_have_one_default():
    code = (ROOT / "crates/engine/src/operation_document.rs").read_text()
    limit = re.search(r"DEFAULT_VERIFIED_AGE_LIMIT_SECS: i64 = ([\d_]+);", code)[1]
    assert TEMPLATE["Parameters"]["VerifiedAgeLimitSeconds"]["Default"] == int(limit.replace("_", ""))


def test_the_topic_and_every_queue_take_the_optional_key():
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::SQS::Queue", "AWS::SNS::Topic"):
            assert resource["Properties"]["KmsMasterKeyId"] == {"Fn::If": [
                "HasMessageKey", {"Ref": "MessageKeyArn"}, {"Ref": "AWS::NoValue"}]}, name
        if resource["Type"] == "AWS::SQS::Queue":
            assert resource["Properties"]["SqsManagedSseEnabled"] == {"Fn::If": [
                "HasMessageKey", {"Ref": "AWS::NoValue"}, True]}, name
    policy = RESOURCES["MessageKeyPolicy"]
    assert policy["Condition"] == "HasMessageKey"
    roles = {role["Ref"] for role in policy["Properties"]["Roles"]}
    users = {f"{f}Role" for f in FUNCTIONS if {"sqs:SendMessage", "sqs:ReceiveMessage", "sns:Publish"}
             & allowed_actions(f)}
    assert roles == users


def test_exactly_the_roles_that_read_or_write_a_catalog_use_its_keys_and_only_through_glue():
    """Source: Athena user guide, "Configure access from Athena to encrypted metadata in the AWS Glue Data Catalog"."""
    policy = RESOURCES["CatalogKeyPolicy"]
    assert policy["Condition"] == "HasCatalogKeys"
    assert TEMPLATE["Parameters"]["CatalogKeyArns"]["Default"] == ""
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "UseCatalogKeysThroughGlue", "Effect": "Allow", "Resource": {"Ref": "CatalogKeyArns"},
        "Action": ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"],
        "Condition": {"StringEquals": {"kms:ViaService": [
            {"Fn::Sub": "glue.${PeerRegion}.amazonaws.com"}, {"Fn::Sub": "glue.${AWS::Region}.amazonaws.com"}]}}}
    roles = [role["Ref"] for role in policy["Properties"]["Roles"]]
    assert roles == [f"{f}Role" for f in FUNCTIONS if any(a.startswith("glue:") for a in allowed_actions(f))]


def test_the_monitor_alarm_fires_at_no_schedule_that_is_allowed():
    """The scheduler starts a run within the minute that it is due (D-10)."""
    alarm = RESOURCES["MonitorAlarm"]["Properties"]
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]
    slowest = int(re.search(r"MAX_HEARTBEAT_SECS = (\d+)", (ROOT / "stacks/deploy.py").read_text())[1])
    assert alarm["Period"] * alarm["DatapointsToAlarm"] > slowest + 60


# CloudFormation takes a resource of another logical ID for a new one, and cannot create it while the one of the same
# name exists: an upgrade with a renamed ID fails.
NAMED = {
    "Ledger": "TableName", "TakeoverStateMachine": "StateMachineName", "PeerEventBus": "Name", "DefaultEventBusPolicy": "StatementId", "Dashboard": "DashboardName",
    **dict.fromkeys([
        "MonitorAlarm", "VerifiedAgeAlarm", "ReadinessBlockersAlarm", "ReadinessUnknownAlarm", "S3LatencyAlarm",
        "S3PendingAlarm", "S3FailedAlarm", "ForwardDeadLetterQueueAlarm", "CatalogDeadLetterQueueAlarm",
        "PermissionDeadLetterQueueAlarm", "ReplicationDeadLetterQueueAlarm", "OperationsDeadLetterQueueAlarm",
        "ResyncDeadLetterQueueAlarm", "OwnAccessDeadLetterQueueAlarm"], "AlarmName"),
}
NAMED_SCHEDULES = {
    "ReplicationEvent": "replicas", "Resync": "resync", "OwnAccess": "own-access", "Heartbeat": "heartbeat",
    "Monitor": "monitor", "Digest": "digest", "Canary": "canary", "Readiness": "readiness"}


def test_resources_with_names_keep_their_logical_ids():
    names = {"AlarmName", "BucketName", "DashboardName", "FunctionName", "LogGroupName", "ManagedPolicyName", "Name",
             "QueueName", "RoleName", "StateMachineName", "StatementId", "TableName", "TopicName"}
    found = {name: (names & resource["Properties"].keys()).pop() for name, resource in RESOURCES.items()
             if names & resource["Properties"].keys()}
    assert found == NAMED
    # SAM makes the logical ID of a schedule of those of the function and the event.
    schedules = {}
    for name, resource in RESOURCES.items():
        for event, source in resource["Properties"].get("Events", {}).items():
            if source["Type"] == "ScheduleV2":
                assert event == "ScheduledRun", name
                schedules[name] = source["Properties"]["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
    assert schedules == NAMED_SCHEDULES


def test_the_ledger_is_kept_when_a_stack_is_deleted_or_upgraded():
    """Another key schema or name would replace the table."""
    ledger = RESOURCES["Ledger"]
    assert ledger["DeletionPolicy"] == "RetainExceptOnCreate"
    assert ledger["UpdateReplacePolicy"] == "Retain"
    assert ledger["Properties"]["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    assert ledger["Properties"]["TableName"] == {"Ref": "LedgerTableName"}
    assert TEMPLATE["Parameters"]["LedgerTableName"]["Default"] == "twinlake-ledger"


def test_what_a_function_makes_outside_of_the_stack_is_in_the_list_of_what_stays():
    """The address for clients: with a new ledger its older epoch would win until somebody deletes it."""
    code = (ROOT / "crates/core/src/client_address.rs").read_text()
    parameter = re.search(r'ADDRESS_PARAMETER: &str = "([^"]+)"', code)[1]
    remove = (ROOT / "docs/operations.md").read_text().split("\n## Remove\n")[1].split("\n## ")[0]
    assert parameter in remove
