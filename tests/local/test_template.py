"""The template agrees with the events, with the calls that the adapters make, and with the
linters."""

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
        elif not name.startswith("Forward"):
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
            statement = statement.get("Fn::If", [None, statement])[1]
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
                service = "dynamodb" if "ledger" in str(path) else BESIDE[name]
            found.add(f"{service}:{name}")
    return found


# Calls of the adapters beside the ledger's and the catalog's.
BESIDE = {"Publish": "sns", "SendMessage": "sqs", "PutEvents": "events", "HeadObject": "s3",
          "GetQueueAttributes": "sqs", "ReceiveMessage": "sqs", "DeleteMessage": "sqs"}
# Those that only functions with a role of their own make.
OPERATIONS = {"events:PutEvents", "s3:HeadObject"}


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
    assert BESIDE.keys() <= {call.split(":")[1] for call in calls}
    calls -= OPERATIONS
    assert allowed("Resync") == (calls - SETTINGS) | PLATFORM
    for function in ("CatalogEvent", "PermissionEvent"):
        assert allowed(function) == (calls - CENSUS - SETTINGS) | PLATFORM
    # Only this one writes the settings, and it revokes and changes nothing else.
    assert allowed("Standing") == SETTINGS | PLATFORM | {
        "glue:GetDatabases", "lakeformation:GetDataLakeSettings", "lakeformation:ListPermissions",
        "lakeformation:BatchGrantPermissions", "sns:Publish", "dynamodb:GetItem",
        "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "sqs:SendMessage", "events:PutEvents"}
    # These touch no catalog: they tell people, and note that they did.
    tells = PLATFORM | {
        "sns:Publish", "sqs:SendMessage", "events:PutEvents", "dynamodb:GetItem",
        "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem"}
    assert allowed("OperationsEvent") == tells
    # HeadObject is allowed by GetObject; of an object that is not there, ListBucket says so.
    assert allowed("ReplicationEvent") == tells | {
        "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    logs = {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert allowed("Lag") == logs | {
        "sns:Publish", "events:PutEvents", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
        "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem",
        "dynamodb:DeleteItem"}
    assert allowed("Digest") == logs | {
        "sqs:SendMessage", "sns:Publish", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem",
        "dynamodb:UpdateItem"}
    # The only one that writes a primary's catalog, and there only its own table.
    assert allowed("Heartbeat") == logs | {
        "glue:CreateDatabase", "glue:CreateTable", "glue:UpdateTable", "dynamodb:GetItem",
        "dynamodb:UpdateItem", "lakeformation:CreateDataCellsFilter",
        "lakeformation:GetDataCellsFilter", "lakeformation:UpdateDataCellsFilter",
        "lakeformation:BatchGrantPermissions"}
    for statement, actions in statements("Heartbeat"):
        if any(action.startswith("glue:") for action in actions):
            ends = [arn["Fn::Sub"].split("}:")[-1] for arn in statement["Resource"]]
            assert ends == ["catalog", "database/twinlake_heartbeat",
                            "table/twinlake_heartbeat/beat"]
    for function in FUNCTIONS:
        for statement, actions in statements(function):
            if "events:PutEvents" in actions:
                assert statement["Condition"] == {
                    "StringEquals": {"events:source": "twinlake"}}, function


def test_no_role_writes_the_peer_and_stars_are_fenced():
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
                assert all(action.startswith("lakeformation:") for action in actions)


def test_functions_and_queues_fit_together():
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        events = resource["Properties"]["Events"]
        if "Messages" not in events:
            # Only the clock starts it.
            assert name in ("Heartbeat", "Lag", "Digest")
            continue
        source = events["Messages"]["Properties"]
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
        statement = statement.get("Fn::If", [None, statement])[1]
        actions = statement["Action"]
        fenced = str(statement.get("Condition", "")) + str(statement["Resource"])
        assert "lakeformation.amazonaws.com" in fenced, actions
        assert statement["Resource"] != "*" and "*" not in str(actions)
    assert policy["Roles"] == [{"Ref": "PermissionEventRole"}, {"Ref": "ResyncRole"}]


def metrics():
    """The metrics of the code: name, and dimension if there is one."""
    code = (ROOT / "crates/core/src/metric.rs").read_text()
    names = re.findall(r'Self::(\w+) => "(\w+)",', code[code.index("fn as_str"):])
    names = {name for variant, name in names if variant == name}
    dimensions = dict(re.findall(r'Self::(\w+) => Some\("(\w+)"\)', code))
    return {(name, dimensions.get(name)) for name in names}


def shown():
    """What the dashboard and the alarms name in our namespace."""
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


def test_every_metric_is_shown_and_every_shown_one_is_emitted():
    assert len(metrics()) == 13
    assert metrics() == shown()


def alarms():
    return {name: r["Properties"] for name, r in RESOURCES.items()
            if r["Type"] == "AWS::CloudWatch::Alarm"}


def test_each_alarm_is_told_once():
    heard = RESOURCES["AlarmsRule"]["Properties"]["EventPattern"]["detail"]["alarmName"]
    heard = [name["Fn::Sub"] for name in heard]
    by_function, direct, by_lag = set(), set(), set()
    watched = str(RESOURCES["Lag"]["Properties"]["Environment"])
    for name, alarm in alarms().items():
        assert alarm["AlarmName"]["Fn::Sub"].startswith("${AWS::StackName}-"), name
        if "AlarmActions" in alarm:
            assert alarm["OKActions"] == alarm["AlarmActions"], name
            direct.add(name)
        elif alarm["AlarmName"]["Fn::Sub"] in heard:
            by_function.add(name)
        else:
            assert f"${{{name.removesuffix('Alarm')}}}" in watched, name
            by_lag.add(name)
    # Those that watch what would tell of the others.
    assert direct == {"LagAlarm", "OperationsDeadLettersAlarm"}
    assert len(by_function) == len(heard) == 4 and len(by_lag) == 6
    assert not any("lag-function" in name or "dead-letters" in name for name in heard)
    assert RESOURCES["LagAlarm"]["Properties"]["TreatMissingData"] == "breaching"
    queues = {name for name in RESOURCES if name.endswith("DeadLetters")}
    assert {f"{queue}Alarm" for queue in queues} <= RESOURCES.keys()
    assert all(f"${{{queue}}}" in watched for queue in queues)


def test_s3_is_watched_by_its_own_figures():
    """The names and dimensions are those of S3's user guide, `Amazon S3 CloudWatch metrics`."""
    found = {alarm["MetricName"]: alarm for alarm in alarms().values()
             if alarm["Namespace"] == "AWS/S3"}
    assert found.keys() == {"ReplicationLatency", "OperationsPendingReplication",
                            "OperationsFailedReplication"}
    for alarm in found.values():
        assert {d["Name"] for d in alarm["Dimensions"]} == {
            "SourceBucket", "DestinationBucket", "RuleId"}
        # No traffic is no trouble.
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    # Each of the stacks may watch them: of some there are no figures in one of the Regions.
    assert found["ReplicationLatency"]["Threshold"] == {"Ref": "S3LatencyLimit"}
    assert found["OperationsPendingReplication"]["Threshold"] == {"Ref": "S3PendingLimit"}
    failed = found["OperationsFailedReplication"]
    assert (failed["Statistic"], failed["Threshold"]) == ("Sum", 0)


def test_only_our_rules_may_fill_a_queue_and_what_they_give_up_is_kept():
    """A body in a queue is believed to be an event, or a scope of our own."""
    may = {}
    for resource in RESOURCES.values():
        if resource["Type"] == "AWS::SQS::QueuePolicy":
            (queue,) = resource["Properties"]["Queues"]
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                condition = statement["Condition"]
                if statement["Principal"]["Service"] == "events.amazonaws.com":
                    arns = condition["ArnEquals"]["aws:SourceArn"]
                    may[queue["Ref"]] = {arn["Fn::GetAtt"][0] for arn in arns}
                else:
                    assert queue["Ref"] == "ReplicationQueue" and "AccountId" in str(condition)
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::Events::Rule":
            for target in resource["Properties"]["Targets"]:
                dead = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
                assert name in may.get(dead), name
                if "event-bus" not in str(target["Arn"]):
                    queue = target["Arn"]["Fn::GetAtt"][0]
                    assert name in may[queue], name
                    assert dead == queue.replace("Queue", "DeadLetters"), "it goes back there"
    rules_of_ours = {n for n, r in RESOURCES.items() if r["Type"] == "AWS::Events::Rule"}
    assert set().union(*may.values()) == rules_of_ours


def test_what_the_clock_starts_is_not_lost_in_silence():
    """A scheduled run that fails goes to dead letters, or an alarm watches that there are runs."""
    for name, resource in RESOURCES.items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        properties = resource["Properties"]
        events = properties["Events"].values()
        if any(event["Type"] == "ScheduleV2" for event in events):
            config = properties["EventInvokeConfig"]
            if name in ("Heartbeat", "Lag"):
                # The lag tells of the one, and an alarm of the other.
                assert config["MaximumRetryAttempts"] == 0
            else:
                queue = config["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
                assert queue.endswith("DeadLetters"), name
                sends = [str(s["Resource"]) for s, actions in statements(name)
                         if "sqs:SendMessage" in actions]
                assert any(queue in resource for resource in sends), name
