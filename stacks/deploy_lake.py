"""Deploys stacks/storage.yaml or stacks/audit.yaml in two Regions. Uses `sam deploy`; may be repeated.

    python stacks/deploy_lake.py storage --primary us-east-1 --standby ap-south-1 LakeName=lake
    python stacks/deploy_lake.py audit --primary us-east-1 --standby ap-south-1

storage: S3 accepts a replication rule only if the destination bucket exists and is versioned, and a rule names the
key of the destination. So the primary's stack is made without rules, then the standby's with them, then the primary's
again with them. If a Region has a Twinlake stack, NAME or NAME-REGION, S3 sends its replication notifications to that
stack's queue; if not, the program says so, and with --twinlake-stack it stops.

audit: leaves out a Region in which another trail logs all management events. CloudTrail charges for each further copy.
A member account may not read the event selectors of its organization's trail. If such a trail decides whether one is
made, --unreadable-trail says what it counts as.
"""

import argparse
import pathlib
import subprocess
import sys

import boto3
from botocore.exceptions import ClientError

from stack_outputs import describe_stack, outputs_of

STACKS = pathlib.Path(__file__).resolve().parent
# The trail may leave these out: they are no services whose events Twinlake reads.
EXCLUDABLE_SOURCES = {"kms.amazonaws.com", "rdsdata.amazonaws.com"}


class Aws:
    """The AWS calls of this script."""

    def outputs(self, region, stack):
        """Returns the outputs of a stack by name; none if there is no such stack."""
        return outputs_of(describe_stack(boto3.client("cloudformation", region_name=region), stack))

    def bucket_of_account(self, region, prefix):
        """Returns the name of the bucket PREFIX-ACCOUNT-REGION if this account has it, else None."""
        account = boto3.client("sts", region_name=region).get_caller_identity()["Account"]
        bucket = f"{prefix}-{account}-{region}"
        try:
            boto3.client("s3", region_name=region).head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404):
                return None
            raise
        return bucket

    def deploy(self, region, stack, template, parameters):
        """Creates or updates a stack, and waits until it is done. Raises CalledProcessError and ClientError."""
        delete_failed_creation(boto3.client("cloudformation", region_name=region), region, stack)
        subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "sam"), "deploy", "--template-file",
             str(STACKS / template), "--stack-name", stack, "--region", region,
             "--capabilities", "CAPABILITY_NAMED_IAM", "--no-fail-on-empty-changeset",
             *(["--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items())]
               if parameters else [])],
            check=True,
        )

    def trails(self, region):
        """Returns the ARNs of the trails that log events of a Region."""
        found = boto3.client("cloudtrail", region_name=region).describe_trails(includeShadowTrails=True)
        return [trail["TrailARN"] for trail in found["trailList"]]

    def read_trail(self, region, arn):
        """Returns the status and the event selectors of a trail. Raises ClientError."""
        cloudtrail = boto3.client("cloudtrail", region_name=region)
        return cloudtrail.get_trail_status(Name=arn), cloudtrail.get_event_selectors(TrailName=arn)


def delete_failed_creation(cloudformation, region, stack):
    """Deletes a stack whose creation failed: CloudFormation does not update it. It has no resources."""
    found = describe_stack(cloudformation, stack)
    if found and found["StackStatus"] == "ROLLBACK_COMPLETE":
        print(f"{region}: deleting the stack {stack}, whose creation failed")
        cloudformation.delete_stack(StackName=stack)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=found["StackId"])


class Refused(Exception):
    """Nothing was deployed. The text says why, and what to do."""


def refuse_leftovers(aws, region, parameter, name):
    """Refuses to make a stack over the bucket that a removed one left: CloudFormation could not create it."""
    bucket = aws.bucket_of_account(region, name)
    if bucket:
        raise Refused(
            f"{region}: the bucket {bucket} exists, and no stack of this name has it: a removed stack left it with its "
            f"key and alias, or `twinlake setup` made it. Choose another name, as in {parameter}={name}-2, or import what "
            "is there as docs/deploy.md says")


class UnreadableTrails(Exception):
    """No readable trail is suitable, and others could not be read. The text names them and the choice."""


DEFAULT_TWINLAKE_STACK = "twinlake"


def notification_queue(aws, region, twinlake_stack):
    """Returns the queue of the Twinlake stack NAME or NAME-REGION in a Region, or None, which it says. A stack that
    the operator names must be there."""
    name = twinlake_stack or DEFAULT_TWINLAKE_STACK
    for stack in (name, f"{name}-{region}"):
        queue = aws.outputs(region, stack).get("ReplicationQueue")
        if queue:
            return queue
    missing = f"{region}: there is no stack {name} or {name}-{region} with a queue for replication notifications"
    if twinlake_stack:
        raise Refused(f"{missing}; correct --twinlake-stack, or leave it out")
    print(f"{missing}, so the bucket sends none. After `make deploy`, run this command again")
    return None


def deploy_storage(aws, primary, standby, stack, twinlake_stack, parameters):
    """Deploys the buckets of both Regions, with replication both ways."""
    # Both Regions are examined before one is changed.
    for region in (primary, standby):
        if "Key" not in aws.outputs(region, stack):
            refuse_leftovers(aws, region, "LakeName", parameters.get("LakeName", "lake"))
    queues = {region: parameters.get("ReplicationQueueArn") or notification_queue(aws, region, twinlake_stack)
              for region in (primary, standby)}

    def parameters_of(region, peer, peer_key):
        values = {**parameters, "PeerRegion": peer}
        if queues[region]:
            values["ReplicationQueueArn"] = queues[region]
        if peer_key:
            values["PeerKeyArn"] = peer_key
        return values

    if "Key" not in aws.outputs(primary, stack):
        aws.deploy(primary, stack, "storage.yaml", parameters_of(primary, standby, None))
    for region, peer in ((standby, primary), (primary, standby)):
        peer_key = aws.outputs(peer, stack)["Key"]
        aws.deploy(region, stack, "storage.yaml", parameters_of(region, peer, peer_key))


def selects_all_management_events(selectors):
    """Whether a trail's event selectors log all management events of the services that Twinlake reads."""
    for selector in selectors.get("EventSelectors") or []:
        if (selector.get("IncludeManagementEvents") and selector.get("ReadWriteType") == "All"
                and set(selector.get("ExcludeManagementEventSources", [])) <= EXCLUDABLE_SOURCES):
            return True
    for selector in selectors.get("AdvancedEventSelectors") or []:
        fields = {field["Field"]: field for field in selector["FieldSelectors"]}
        category, source = fields.pop("eventCategory", {}), fields.pop("eventSource", {})
        excluded = source.get("NotEquals", [])
        narrowed = fields or set(source) - {"Field", "NotEquals"} or not set(excluded) <= EXCLUDABLE_SOURCES
        if category.get("Equals") == ["Management"] and not narrowed:
            return True
    return False


def suitable_trail(aws, region, unreadable=None):
    """Returns the ARN of a trail that logs all management events of a Region, or None.

    `unreadable` says what trails count as that cannot be read: "accept" for suitable, "ignore" for not suitable.
    Without it they raise UnreadableTrails, unless another trail is suitable.
    """
    errors = {}
    for arn in aws.trails(region):
        try:
            status, selectors = aws.read_trail(region, arn)
        except ClientError as error:
            errors[arn] = error
            continue
        if status["IsLogging"] and selects_all_management_events(selectors):
            return arn
    if not errors or unreadable == "ignore":
        return None
    if unreadable == "accept":
        return next(iter(errors))
    listed = "\n".join(f"  {arn}: {error}" for arn, error in errors.items())
    raise UnreadableTrails(
        f"{region}: it is unknown whether these trails log all management events, read-only ones too:\n{listed}\n"
        "Ask their owner. Then add `--unreadable-trail accept` if one does, or `--unreadable-trail ignore` to make a "
        "trail of this account, which CloudTrail charges for if it is a further copy. With make: "
        'AUDIT_PARAMETERS="--unreadable-trail accept"')


def deploy_audit(aws, primary, standby, stack, parameters, unreadable=None):
    """Deploys a trail in each Region that has no suitable one. The stack's own trail is updated."""
    # Both Regions are examined before one is changed.
    others = {}
    for region in (primary, standby):
        own = aws.outputs(region, stack).get("Trail")
        others[region] = None if own else suitable_trail(aws, region, unreadable)
        if not own and not others[region]:
            refuse_leftovers(aws, region, "TrailName", parameters.get("TrailName", "twinlake-audit"))
    for region, other in others.items():
        if other:
            print(f"{region}: the trail {other} logs all management events. No trail is made.")
        else:
            aws.deploy(region, stack, "audit.yaml", parameters)


def parse_arguments(arguments):
    """Returns the options, and the parameters of the template. Exits with 2 if they are not valid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["storage", "audit"])
    parser.add_argument("--primary", required=True, metavar="REGION")
    parser.add_argument("--standby", required=True, metavar="REGION")
    parser.add_argument("--stack", metavar="NAME", help="the name of the stacks; default twinlake-storage or twinlake-audit")
    parser.add_argument("--twinlake-stack", metavar="NAME",
                        help="the stack of template.yaml, NAME or NAME-REGION, whose queue receives replication "
                        f"notifications; default {DEFAULT_TWINLAKE_STACK}, if it is there")
    parser.add_argument("--unreadable-trail", choices=["accept", "ignore"],
                        help="what a trail that cannot be read counts as: one that logs all management events, or none")
    parser.add_argument("parameters", nargs="*", metavar="Name=value", help="parameters of the template, for both Regions")
    # The parameters follow the options.
    args = parser.parse_intermixed_args(arguments)
    if args.primary == args.standby:
        parser.error("the primary and the standby are the same Region; name two")
    parameters = {}
    for parameter in args.parameters:
        name, equals, value = parameter.partition("=")
        if not equals:
            parser.error(f"{parameter!r} is not of the form Name=value")
        parameters[name] = value
    return args, parameters


def main():
    args, parameters = parse_arguments(sys.argv[1:])
    stack = args.stack or f"twinlake-{args.what}"
    try:
        if args.what == "storage":
            deploy_storage(Aws(), args.primary, args.standby, stack, args.twinlake_stack, parameters)
        else:
            deploy_audit(Aws(), args.primary, args.standby, stack, parameters, args.unreadable_trail)
    except (Refused, UnreadableTrails) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"sam deploy failed with exit code {error.returncode}; its output says why")
    except ClientError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
