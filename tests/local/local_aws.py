"""The local AWS: ministack, with the few things that it lacks for Twinlake.

Served by `hypercorn tests/local/local_aws.py:app`. Every patch is pinned to the version
that it was written against.
"""

import contextvars
import datetime
import importlib.metadata

from ministack.app import app  # noqa: F401  (what hypercorn serves)
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import eventbridge, s3
from ministack.services.cloudformation import provisioners

PINNED = "1.5.33"
assert importlib.metadata.version("ministack") == PINNED, f"the patches are for {PINNED}"

# Only AWS itself may put events of aws.* sources. Here the sandbox speaks for AWS.
# It says when an event happened, too, and the event keeps that time.
put_events = eventbridge._put_events
wall_clock = eventbridge._now_ts
happened = contextvars.ContextVar("happened", default=None)
eventbridge._now_ts = lambda: happened.get() or wall_clock()


def put_timed_events(data, **_):
    times = [entry.get("Time") for entry in data.get("Entries", [])]
    if len(times) == 1 and isinstance(times[0], str):
        happened.set(datetime.datetime.fromisoformat(times[0]).timestamp())
    try:
        return put_events(data, allow_aws_source=True)
    finally:
        happened.set(None)


eventbridge._put_events = put_timed_events

# A rule's target may be the bus of another Region; the event keeps its own Region.
to_bus = eventbridge._dispatch_to_event_bus


def to_bus_anywhere(target, event, rule, path, payload=None):
    if (target.account_id, target.region) == (get_account_id(), get_region()):
        return to_bus(target, event, rule, path, payload)
    # One hop, as AWS has it.
    if event.get("_Forwarded"):
        return eventbridge.logger.warning("third Region hop: %s", target)
    forwarded = dict(event, EventBusName=target.resource.split("/", 1)[1], _Forwarded=True)
    forwarded.pop("_DispatchPath", None)
    with request_scope(target.account_id, target.region):
        if forwarded["EventBusName"] not in eventbridge._event_buses:
            return eventbridge.logger.warning("no such bus: %s", target)
        return eventbridge._dispatch_event(forwarded)


eventbridge._dispatch_to_event_bus = to_bus_anywhere

# A replication that fails is told, as AWS tells it.
replicate = s3._maybe_replicate


def replicate_and_tell(bucket, key, obj, data, tags=None):
    replicate(bucket, key, obj, data, tags)
    if obj.get("replication_status") != "FAILED":
        return
    rule, _ = s3._replication_rule_for(bucket, key, tags)
    told = {
        "replicationRuleId": rule.get("ID", ""),
        "destinationBucket": rule["Destination"]["Bucket"],
        "s3Operation": "OBJECT_PUT",
        "failureReason": "DstBucketUnversioned",
    }
    s3._fire_s3_event_async(
        bucket, key, "s3:Replication:OperationFailedReplication",
        obj.get("size", 0), obj.get("etag", ""), record_extra={"replicationEventData": told},
    )


s3._maybe_replicate = replicate_and_tell


# A number that comes through a parameter is text to CloudFormation, and a number again to
# the service; here it stays text.
mapping = provisioners._RESOURCE_HANDLERS["AWS::Lambda::EventSourceMapping"]
create_mapping = mapping["create"]


def create_mapping_with_numbers(logical_id, properties, stack):
    scaling = properties.get("ScalingConfig") or {}
    if "MaximumConcurrency" in scaling:
        scaling["MaximumConcurrency"] = int(scaling["MaximumConcurrency"])
    return create_mapping(logical_id, properties, stack)


mapping["create"] = create_mapping_with_numbers


# A rule that hears of reading calls, too, is an enabled one.
rule = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
create_rule = rule["create"]


def create_enabled_rule(logical_id, properties, stack):
    if properties.get("State") == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS":
        properties = {**properties, "State": "ENABLED"}
    return create_rule(logical_id, properties, stack)


rule["create"] = create_enabled_rule
