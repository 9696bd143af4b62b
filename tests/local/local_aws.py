"""The local AWS: ministack, with patches for behaviour that Twinlake needs and ministack lacks.

Served by `hypercorn tests/local/local_aws.py:app`. The patches are written for one version.
"""

import asyncio
import contextvars
import datetime
import http.client
import importlib.metadata
import json
import os
import pathlib

from ministack.app import app as ministack_app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import athena, eventbridge, iam, lambda_svc, s3
from ministack.services.cloudformation import changesets, engine, provisioners

import s3_control

PATCHED_VERSION = "1.5.33"
assert importlib.metadata.version("ministack") == PATCHED_VERSION, (
    f"the patches are for ministack {PATCHED_VERSION}")

# Only AWS services may put events with a source of `aws.`; here the sandbox acts as Glue and Lake
# Formation. The events keep the time that the sandbox gives them.
original_put_events = eventbridge._put_events
original_now = eventbridge._now_ts
event_time = contextvars.ContextVar("event_time", default=None)
eventbridge._now_ts = lambda: event_time.get() or original_now()


def put_events_with_time(data, **_):
    times = [entry.get("Time") for entry in data.get("Entries", [])]
    if len(times) == 1 and isinstance(times[0], str):
        event_time.set(datetime.datetime.fromisoformat(times[0]).timestamp())
    try:
        return original_put_events(data, allow_aws_source=True)
    finally:
        event_time.set(None)


eventbridge._put_events = put_events_with_time

# The target of a rule may be an event bus in another Region. The event keeps its Region.
original_dispatch_to_bus = eventbridge._dispatch_to_event_bus


def dispatch_to_any_region(target, event, rule, path, payload=None):
    if (target.account_id, target.region) == (get_account_id(), get_region()):
        return original_dispatch_to_bus(target, event, rule, path, payload)
    # AWS forwards an event to another Region only once.
    if event.get("_Forwarded"):
        return eventbridge.logger.warning("not forwarded to a third Region: %s", target)
    forwarded = dict(event, EventBusName=target.resource.split("/", 1)[1], _Forwarded=True)
    forwarded.pop("_DispatchPath", None)
    with request_scope(target.account_id, target.region):
        if forwarded["EventBusName"] not in eventbridge._event_buses:
            return eventbridge.logger.warning("no such event bus: %s", target)
        return eventbridge._dispatch_event(forwarded)


eventbridge._dispatch_to_event_bus = dispatch_to_any_region

# A failed S3 replication sends the event notification that AWS sends.
original_replicate = s3._maybe_replicate


def replicate_with_notification(bucket, key, obj, data, tags=None):
    # An object may say that it was written long ago.
    age = obj["metadata"].get("x-amz-meta-local-age-seconds")
    if age:
        written = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=int(age))
        obj["last_modified"] = written.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    original_replicate(bucket, key, obj, data, tags)
    if obj.get("replication_status") != "FAILED":
        return
    rule, _ = s3._replication_rule_for(bucket, key, tags)
    event_data = {
        "replicationRuleId": rule.get("ID", ""),
        "destinationBucket": rule["Destination"]["Bucket"],
        "s3Operation": "OBJECT_PUT",
        "failureReason": "DstBucketUnversioned",
    }
    s3._fire_s3_event_async(
        bucket, key, "s3:Replication:OperationFailedReplication",
        obj.get("size", 0), obj.get("etag", ""), record_extra={"replicationEventData": event_data},
    )


s3._maybe_replicate = replicate_with_notification


# CloudFormation passes parameters as text. Services convert them to numbers; ministack does not.
mapping_handler = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
original_create_mapping = mapping_handler["create"]
original_update_mapping = mapping_handler["update"]


def with_numbers(properties):
    scaling = properties.get("ScalingConfig") or {}
    if "MaximumConcurrency" in scaling:
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
    return properties


def create_mapping_with_numbers(logical_id, properties, stack):
    return original_create_mapping(logical_id, with_numbers(properties), stack)


def update_mapping_with_numbers(physical_id, old, new, stack):
    return original_update_mapping(physical_id, old, with_numbers(new), stack)


mapping_handler["create"] = create_mapping_with_numbers
mapping_handler["update"] = update_mapping_with_numbers


# A rule that also matches read-only calls is an enabled rule; ministack does not know the state.
rule_handler = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
original_create_rule = rule_handler["create"]


def create_enabled_rule(logical_id, properties, stack):
    refuse_missing_bus(properties)
    if properties.get("State") == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS":
        properties = {**properties, "State": "ENABLED"}
    return original_create_rule(logical_id, properties, stack)


def refuse_missing_bus(properties):
    """Refuses a rule whose target is an event bus that does not exist, as AWS may do (D-1)."""
    if os.environ.get("TWINLAKE_ALLOW_MISSING_BUS"):
        return
    for target in properties.get("Targets", []):
        _, _, service, region, account, resource = target["Arn"].split(":", 5)
        if service == "events":
            with request_scope(account, region):
                if resource.split("/", 1)[1] not in eventbridge._event_buses:
                    raise ValueError(f"the target {target['Arn']} does not exist")


rule_handler["create"] = create_enabled_rule


# A statement of an event bus's resource policy. ministack does not know the type.
def create_bus_policy(logical_id, properties, stack):
    bus = properties.get("EventBusName", "default")
    statements = BUS_POLICIES.setdefault((get_account_id(), get_region(), bus), {})
    statements[properties["StatementId"]] = properties["Statement"]
    return f"{bus}|{properties['StatementId']}", {}


def delete_bus_policy(physical_id, properties):
    bus, statement = physical_id.split("|")
    BUS_POLICIES.get((get_account_id(), get_region(), bus), {}).pop(statement, None)


# By account, Region and bus: the statements by id. Nothing here evaluates them.
BUS_POLICIES = {}
provisioners._RESOURCE_HANDLERS["AWS::Events::EventBusPolicy"] = {
    "create": create_bus_policy,
    "update": lambda physical_id, old, new, stack: create_bus_policy(None, new, stack),
    "delete": delete_bus_policy,
}


# A resource whose condition does not hold does not exist, so a change of its condition is a change of the
# stack. ministack compares the text of the resource.
original_resolve = changesets._resolve_props_for_diff


def resolve_present_resources(template, params, stack_name, stack_id):
    resolved = original_resolve(template, params, stack_name, stack_id)
    conditions = engine._evaluate_conditions(template, params) if template else {}
    resources = resolved.get("Resources", {})
    present = {name: resource for name, resource in resources.items()
               if conditions.get(resource.get("Condition"), True)}
    return {**resolved, "Resources": present}


changesets._resolve_props_for_diff = resolve_present_resources


# A simulated call is of the principal that it names, in the Region and with the keys of its context. ministack
# simulates with the Region of the request alone, and answers for principals that do not exist.
def simulate_principal_policy(params):
    principal = iam._p(params, "PolicySourceArn")
    kind, name = principal.split(":")[5].split("/", 1)
    name = name.rsplit("/", 1)[-1]
    entities, gather = {
        "role": (iam._roles, iam_evaluator._gather_role_policies),
        "user": (iam._users, iam_evaluator._gather_user_policies)}[kind]
    entity = entities.get(name)
    if entity is None or entity["Arn"] != principal:
        return iam._error(404, "NoSuchEntity", f"{principal} does not exist")
    actions, resource = iam._extract_simulate_params(params)
    keys = {}
    while (key := iam._p(params, f"ContextEntries.member.{len(keys) + 1}.ContextKeyName")):
        entry = f"ContextEntries.member.{len(keys) + 1}.ContextKeyValues.member.1"
        keys[key.lower()] = iam._p(params, entry)
    results = ""
    for action in actions:
        context = iam_evaluator.EvalContext(
            principal_arn=principal, principal_type="User", principal_account=get_account_id(),
            action=action, resource_arn=resource,
            region=keys.get("aws:requestedregion", get_region()), service_context=keys)
        decision = iam_evaluator.evaluate(context, gather(name, get_account_id())).decision
        decision = {"Allow": "allowed", "Deny": "explicitDeny"}.get(decision, "implicitDeny")
        results += (f"<member><EvalActionName>{action}</EvalActionName>"
                    f"<EvalResourceName>{resource}</EvalResourceName>"
                    f"<EvalDecision>{decision}</EvalDecision></member>")
    return iam._xml(
        200, "SimulatePrincipalPolicyResponse",
        f"<SimulatePrincipalPolicyResult><EvaluationResults>{results}</EvaluationResults>"
        "<IsTruncated>false</IsTruncated></SimulatePrincipalPolicyResult>", ns="iam")


iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = simulate_principal_policy


# Service Quotas, which ministack lacks: every quota is 1000 until an increase is requested, which is granted.
QUOTAS = {}
QUOTA_TARGET = "ServiceQuotasV20190624."


def service_quota(region, operation, request):
    quota = (region, request["ServiceCode"], request["QuotaCode"])
    if operation == "RequestServiceQuotaIncrease":
        QUOTAS[quota] = request["DesiredValue"]
        return 200, {"RequestedQuota": {"Status": "CASE_CLOSED"}}
    if operation == "GetServiceQuota" and quota not in QUOTAS:
        return 400, {"__type": "NoSuchResourceException", "Message": "no value of the account"}
    value = QUOTAS[quota] if operation == "GetServiceQuota" else 1000.0
    return 200, {"Quota": {"QuotaCode": request["QuotaCode"], "Value": value}}


# What Athena has of prepared statements, saved queries and capacity reservations, and ministack lacks.
def athena_call(region, account, operation, request):
    if operation == "ListCapacityReservations":
        return 200, {"CapacityReservations": []}
    with request_scope(account, region):
        statements = athena._prepared_statements
        if operation == "BatchGetPreparedStatement":
            keys = {name: f"{request['WorkGroup']}/{name}" for name in request["PreparedStatementNames"]}
            return 200, {
                "PreparedStatements": [statements[key] for key in keys.values() if key in statements],
                "UnprocessedPreparedStatementNames": [
                    {"StatementName": name, "ErrorCode": "STATEMENT_NOT_FOUND"}
                    for name, key in keys.items() if key not in statements]}
        changed, fields = {
            "UpdatePreparedStatement": (
                statements.get(f"{request.get('WorkGroup')}/{request.get('StatementName')}"),
                ("QueryStatement", "Description")),
            "UpdateNamedQuery": (
                athena._named_queries.get(request.get("NamedQueryId")), ("Name", "Description", "QueryString")),
        }[operation]
        if changed is None:
            return 400, {"__type": "InvalidRequestException", "Message": "it does not exist"}
        changed.update({field: request[field] for field in fields if field in request})
        return 200, {}


ATHENA_TARGETS = {f"AmazonAthena.{name}": name for name in (
    "BatchGetPreparedStatement", "ListCapacityReservations", "UpdatePreparedStatement", "UpdateNamedQuery")}


# A trail of another account, such as that of an organization, denies its selectors to the account: those whose name
# begins with `unreadable`.
def is_denied(target, body):
    operation = target.removeprefix("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.").removeprefix(
        "CloudTrail_20131101.")
    return operation == "GetEventSelectors" and json.loads(body)["TrailName"].rsplit("/", 1)[-1].startswith("unreadable")


DENIAL = {"__type": "AccessDeniedException", "Message": "not authorized to perform: cloudtrail:GetEventSelectors"}


# The calls of the functions, for call_rights.py. A function carries the ARN of its role as its session token, which
# nothing else reads here, and calls the services of the sandbox through this server.
CALL_LOG = os.environ.get("TWINLAKE_CALL_LOG")
SANDBOX_URL = os.environ.get("TWINLAKE_SANDBOX_URL")
# While this file names a Region, that Region answers no function.
LOST_REGION_FILE = pathlib.Path(CALL_LOG).with_name("lost-region") if CALL_LOG else None
original_credentials = lambda_svc.execution_credentials


def credentials_with_role(config):
    return {**original_credentials(config), "AWS_SESSION_TOKEN": config["Role"]}


if CALL_LOG:
    lambda_svc.execution_credentials = credentials_with_role
    lambda_runtime.execution_credentials = credentials_with_role


def record_call(scope, headers, body):
    """Appends a call to the log. Returns its service and its Region."""
    _, _, region, service, _ = headers["authorization"].split("Credential=")[1].split(",")[0].split("/")
    query = scope.get("query_string", b"").decode()
    call = {"role": headers["x-amz-security-token"], "service": service, "region": region,
            "method": scope["method"], "url": scope["raw_path"].decode() + (f"?{query}" if query else ""),
            "headers": {name: headers[name] for name in ("x-amz-target", "content-type") if name in headers},
            "body": body.decode(errors="replace")}
    with open(CALL_LOG, "a") as log:
        log.write(json.dumps(call, sort_keys=True) + "\n")
    return service, region


def is_lost(region):
    return LOST_REGION_FILE.exists() and LOST_REGION_FILE.read_text() == region


def ask_sandbox(method, path, headers, body):
    """Sends a request on to the sandbox."""
    sandbox = http.client.HTTPConnection(SANDBOX_URL.removeprefix("http://"), timeout=120)
    try:
        sandbox.request(method, path, body, {name: value for name, value in headers.items() if name != "host"})
        answer = sandbox.getresponse()
        return answer.status, answer.getheaders(), answer.read()
    finally:
        sandbox.close()


async def read_body(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def replay(body, receive):
    """Returns a `receive` that begins with a body that was read."""
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive_again():
        return next(messages, None) or await receive()

    return receive_again


async def answer(send, status, headers, body):
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def app(scope, receive, send):
    headers = {name.decode(): value.decode() for name, value in scope.get("headers", [])}
    if CALL_LOG and headers.get("x-amz-security-token", "").startswith("arn:"):
        body = await read_body(receive)
        service, region = record_call(scope, headers, body)
        if is_lost(region):
            # No SDK takes this for an answer of AWS.
            return await answer(send, 503, [], b"")
        if service in ("glue", "lakeformation", "redshift-data"):
            status, found, content = await asyncio.to_thread(
                ask_sandbox, scope["method"], scope["raw_path"].decode(), headers, body)
            left_out = ("transfer-encoding", "content-length", "connection")
            return await answer(send, status, [(name.encode(), value.encode()) for name, value in found
                                               if name.lower() not in left_out], content)
        receive = replay(body, receive)
    if s3_control.is_request(scope.get("path", "")):
        body = await read_body(receive)
        query = scope["query_string"].decode()
        status, found = s3_control.respond(scope["method"], scope["path"], query, headers, body)
        return await answer(send, status, [(b"content-type", b"application/xml")], found)
    target = headers.get("x-amz-target", "")
    if "CloudTrail_20131101" in target:
        body = await read_body(receive)
        if is_denied(target, body):
            return await answer(send, 400, [(b"content-type", b"application/x-amz-json-1.1")],
                                json.dumps(DENIAL).encode())
        receive = replay(body, receive)
    if target in ATHENA_TARGETS:
        body = await read_body(receive)
        account, _, region = headers["authorization"].split("Credential=")[1].split("/")[:3]
        status, found = athena_call(region, account, ATHENA_TARGETS[target], json.loads(body))
        return await answer(send, status, [(b"content-type", b"application/x-amz-json-1.1")],
                            json.dumps(found).encode())
    if not target.startswith(QUOTA_TARGET):
        return await ministack_app(scope, receive, send)
    body = await read_body(receive)
    region = headers["authorization"].split("Credential=")[1].split("/")[2]
    status, found = service_quota(region, target.removeprefix(QUOTA_TARGET), json.loads(body))
    await answer(send, status, [(b"content-type", b"application/x-amz-json-1.1")], json.dumps(found).encode())
