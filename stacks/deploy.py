"""Deploys template.yaml in both Regions of a deployment.

    python3 stacks/deploy.py deploy.toml        (make deploy)

The file names the account, both Regions and the parameters of the template:

    account = "111122223333"         # the credentials must be of this account
    architecture = "arm64"           # that of `make build`; or "x86_64"
    policy = "policy.toml"           # optional: must name the same Regions and account; gives LakeBucketArns,
                                     # CanaryBucketArns and, with iceberg = "relocate", IcebergBucketArns

    [parameters]                     # of both stacks
    ResyncSchedule = "rate(12 hours)"
    VerifiedAgeLimitSeconds = 50400  # two hours more than the schedule, or more

    [[region]]                       # as in the policy: "a" first
    region = "us-east-1"

    [[region]]
    region = "ap-south-1"
    parameters = { ViewDefinerRoleArns = ["arn:aws:iam::111122223333:role/Definer"] }

A parameter that the file does not name gets its default. `stack` names other stacks than `twinlake`,
at the top or for a Region.

A rule that forwards events may need its target, the event bus of the other stack, to exist (D-1). So a
stack is deployed without these rules if the bus is missing, and once more when the other stack is there:
three passes for a new deployment, two for an upgrade, which never removes the rules. A deployment that
broke is repeated with the same command.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import pathlib
import re
import shlex
import sys
import time
import tomllib
import zipfile

import boto3
import botocore.exceptions
import yaml

from policy_sizes import oversized
from stack_outputs import describe_stack, outputs_of

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Parameters that this program sets itself.
OWN_PARAMETERS = {"PeerRegion", "ForwardEvents", "Architecture"}
# The values of e_machine in the header of an ELF file.
ELF_MACHINES = {0xB7: "arm64", 0x3E: "x86_64"}
# Below this, the functions may be throttled so often that messages reach the dead-letter queues (D-11).
MIN_CONCURRENCY = 50
# CloudFormation's limit for the value of a parameter.
MAX_PARAMETER_BYTES = 4096
# What a resync may take beyond its schedule: a part that failed is tried again after 90 minutes.
RESYNC_ALLOWANCE_SECS = 2 * 3600
UNIT_SECS = {"minute": 60, "hour": 3600, "day": 86400}
# The alarm on the monitor function, which runs on the schedule of the heartbeat, rests on it.
MAX_HEARTBEAT_SECS = 300
REPEAT = "Correct the cause, then run the same command again: what was deployed stays as it is."


class Problem(Exception):
    """Something that the operator has to correct. The text says what, where and how."""


@dataclasses.dataclass
class Stack:
    """One of the two stacks."""

    region: str
    name: str
    # Values by name, without those of `OWN_PARAMETERS`.
    parameters: dict


@dataclasses.dataclass
class Deployment:
    """What a deployment file says."""

    account: str
    architecture: str
    stacks: list
    policy: str = "policy.toml"

    def peer(self, stack):
        return self.stacks[1 - self.stacks.index(stack)]


def load_template(path=ROOT / "template.yaml"):
    """Returns the template as plain data, with intrinsic functions in their long form."""

    # The parser of libyaml is ten times as fast, where PyYAML was built with it.
    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        pass

    def intrinsic(loader, suffix, node):
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        if suffix == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}

    Loader.add_multi_constructor("!", intrinsic)
    return yaml.load(path.read_text(), Loader)


# The deployment file


def read_toml(path, remedy="correct `policy` in the deployment file, or remove it"):
    """Returns the contents of a TOML file. `remedy` says what to do if there is no such file."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Problem(f"{path}: {error.strerror}; {remedy}") from error
    except tomllib.TOMLDecodeError as error:
        raise Problem(f"{path}: {error}") from error


def check_keys(where, table, types):
    """Refuses keys that are not in `types`, and values of another type than stands there."""
    for key, value in table.items():
        if key not in types:
            raise Problem(f"{where}: unknown key `{key}`; the keys are {', '.join(sorted(types))}")
        if not isinstance(value, types[key]):
            kind = {str: "a text", dict: "a table", list: "written as [[region]] tables"}[types[key]]
            raise Problem(f"{where}: `{key}` must be {kind}")


def region_tables(where, file):
    """Returns the [[region]] tables of a deployment file or a policy."""
    tables = file.get("region", [])
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise Problem(f"{where}: `region` must be written as [[region]] tables")
    return tables


def parameter_text(where, name, value):
    """Returns a value as CloudFormation takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise Problem(f"{where}: the value of `{name}` must be a text, a number or a list of texts")


def read_parameters(where, table, template):
    known = template["Parameters"]
    for name in table:
        if name in OWN_PARAMETERS:
            raise Problem(f"{where}: leave out `{name}`; it follows from the rest of the file")
        if name not in known:
            raise Problem(f"{where}: template.yaml has no parameter `{name}`")
    return {name: parameter_text(where, name, value) for name, value in table.items()}


def check_regions(path, regions):
    """Refuses Regions outside of the partition `aws`, where no deployment was tried (D-13)."""
    if len(regions) != 2 or regions[0] == regions[1]:
        raise Problem(f"{path}: name two different Regions, each in a [[region]] table")
    session = boto3.Session()
    for region in regions:
        try:
            partition = session.get_partition_for_region(region)
        except botocore.exceptions.UnknownRegionError as error:
            raise Problem(f"{path}: `{region}` is not a Region") from error
        if partition != "aws":
            raise Problem(
                f"{path}: {region} belongs to the partition `{partition}`, and the stacks are "
                "deployed in `aws` only: they need EventBridge to route events between the Regions, "
                "which was tried neither in China nor in GovCloud. The commands work there without a "
                "deployment: `twinlake plan`, `apply` and `resync`, with --policy FILE and --ledger "
                "FILE.")


def check_policy(path, policy_path, account, regions):
    """Compares the file with the policy: the functions apply no policy of other Regions."""
    policy = read_toml(policy_path)
    sites = region_tables(policy_path, policy)
    named = [(site.get("region"), site.get("account")) for site in sites]
    expected = [(region, account) for region in regions]
    if sorted(named, key=str) != sorted(expected, key=str):
        def text(sites):
            return " and ".join(f"{region} of account {owner}" for region, owner in sites)
        raise Problem(f"{path} is for {text(expected)}, and {policy_path} for {text(named)}; "
                      "correct one of them")
    check_copied_keys(policy_path, policy)


def check_copied_keys(policy_path, policy):
    """Refuses, as `twinlake policy check` does, pairs of two paths that S3 replication is to copy."""
    def path(location):
        return re.sub("^(s3[an]?://|arn:[^:]*:s3:::)", "", str(location)).partition("/")[2].strip("/")

    pairs = policy.get("location")
    pairs = pairs if isinstance(pairs, list) else []
    for pair in (pair for pair in pairs if isinstance(pair, dict)):
        a, b = pair.get("a"), pair.get("b")
        if pair.get("copied-by", "s3") == "s3" and path(a) != path(b):
            raise Problem(f"{policy_path}: S3 replication copies each object under its own key, and "
                          f"the paths of {a} and {b} differ; give both the same path, or add "
                          'copied-by = "other" if something else copies the objects')


def lake_parameters(policy_path):
    """Returns the parameters that name the buckets of the policy's location pairs, which the readiness
    function reads: LakeBucketArns and LakeObjectArns."""
    by_region = buckets_by_region(policy_path, lambda pair: True)
    arns = sorted({arn for buckets in by_region.values() for arn in buckets})
    values = {"LakeBucketArns": ",".join(arns), "LakeObjectArns": ",".join(f"{arn}/*" for arn in arns)}
    for name, value in values.items():
        if len(value.encode()) > MAX_PARAMETER_BYTES:
            raise Problem(f"{policy_path}: the {len(arns)} buckets of the location pairs are too many for "
                          f"`{name}`; write LakeBucketArns and LakeObjectArns below [parameters] of the "
                          "deployment file, with * for what their names have in common")
    return values


def buckets_by_region(policy_path, is_counted):
    """Returns the ARNs of the buckets of the location pairs that `is_counted` selects, by Region."""
    policy = read_toml(policy_path)
    sites = [(site.get("id"), site["region"]) for site in region_tables(policy_path, policy)]
    arns = {region: set() for _, region in sites}
    pairs = policy.get("location", [])
    # `twinlake policy check` judges what is no table.
    for pair in pairs if isinstance(pairs, list) else []:
        if not isinstance(pair, dict) or not is_counted(pair):
            continue
        # `twinlake policy check` judges what is no location in S3.
        for site, region in sites:
            bucket = re.match(r"(?:s3[an]?://|arn:aws:s3:::)([A-Za-z0-9._-]+)(?:/|$)", str(pair.get(site)))
            if bucket:
                arns[region].add(f"arn:aws:s3:::{bucket[1]}")
    return {region: sorted(buckets) for region, buckets in arns.items()}


def bucket_parameters(policy_path):
    """Returns the parameters that name buckets of one Region, by Region and name."""
    values = {"CanaryBucketArns": buckets_by_region(
        policy_path, lambda pair: pair.get("copied-by", "s3") == "s3")}
    # Without relocation, the function gets no right on a bucket. What copied the files does not matter.
    if read_toml(policy_path).get("iceberg") == "relocate":
        values["IcebergBucketArns"] = buckets_by_region(policy_path, lambda pair: True)
    regions = values["CanaryBucketArns"]
    return {region: {name: ",".join(buckets[region]) for name, buckets in values.items()} for region in regions}


def set_bucket_parameters(policy_path, stacks):
    """Sets the parameters that name buckets where the deployment file does not name them."""
    values = bucket_parameters(policy_path)
    for stack in stacks:
        for name, value in values[stack.region].items():
            if name in stack.parameters:
                continue
            stack.parameters[name] = value
            if len(value.encode()) > MAX_PARAMETER_BYTES:
                raise Problem(f"{policy_path}: the buckets of the location pairs in {stack.region} are too many for "
                              f"`{name}`; write {name} as `parameters` of the [[region]] table of the deployment "
                              "file, with * for what their names have in common")


def schedule_secs(expression):
    """Returns the seconds between two runs of a rate expression; None for other schedules."""
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression.strip())
    return int(rate[1]) * UNIT_SECS[rate[2]] if rate else None


def seconds(path, stack, values, name):
    """Returns a parameter that is a number of seconds."""
    value = str(values[name])
    if not re.fullmatch(r"[0-9]+", value):
        raise Problem(f"{path}: {name} = \"{value}\" in {stack.region} is no whole number of seconds")
    return int(value)


def check_times(path, stack, values):
    """Refuses schedules that do not fit the limits which alarms and alerts rest on. The interval of a cron expression is
    not checked."""
    limit = seconds(path, stack, values, "VerifiedAgeLimitSeconds")
    interval = seconds(path, stack, values, "HeartbeatIntervalSeconds")
    resync = schedule_secs(values["ResyncSchedule"])
    if resync is not None and limit < resync + RESYNC_ALLOWANCE_SECS:
        raise Problem(f"{path}: with ResyncSchedule = \"{values['ResyncSchedule']}\" in {stack.region}, "
                      f"VerifiedAgeLimitSeconds must be at least {resync + RESYNC_ALLOWANCE_SECS} (two hours more than "
                      "the schedule, since a part of a resync that failed waits for 90 minutes); it is "
                      f"{limit}")
    heartbeat = schedule_secs(values["HeartbeatSchedule"])
    if heartbeat is not None and heartbeat > MAX_HEARTBEAT_SECS:
        raise Problem(f"{path}: HeartbeatSchedule = \"{values['HeartbeatSchedule']}\" in {stack.region} is too rare; "
                      f"at least every {MAX_HEARTBEAT_SECS // 60} minutes is right")
    if heartbeat is not None and heartbeat != interval:
        raise Problem(f"{path}: HeartbeatSchedule = \"{values['HeartbeatSchedule']}\" in {stack.region} needs "
                      f"HeartbeatIntervalSeconds = {heartbeat}, and it is {interval}; the lag is computed with it")


def check_policy_sizes(path, template, deployment, stack, values):
    """Refuses lists of ARNs with which IAM would refuse a policy."""
    pseudo = {"AWS::Region": stack.region, "AWS::AccountId": deployment.account, "AWS::Partition": "aws",
              "AWS::StackName": stack.name}
    for name, size, limit, lists in oversized(template, values, pseudo, stack.name):
        raise Problem(f"{path}: {name} in {stack.region} would have {size} characters of policies, and IAM takes "
                      f"little more than {limit}; write {', '.join(lists)} as `parameters` of the [[region]] table of "
                      "the deployment file, with * for what the names have in common")


def values_of(template, deployment, stack, forwards):
    """Returns every parameter of the template with its value."""
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in template["Parameters"].items()}
    values = defaults | stack.parameters | {
        "PeerRegion": deployment.peer(stack).region,
        "ForwardEvents": "true" if forwards else "false",
        "Architecture": deployment.architecture,
    }
    return {name: values[name] for name in defaults}


def read_deployment(path, template):
    """Reads and checks a deployment file."""
    path = pathlib.Path(path)
    file = read_toml(path, "write the deployment file as the head of stacks/deploy.py shows, or name it with CONFIG=FILE")
    check_keys(path, file, {"account": str, "architecture": str, "policy": str, "stack": str,
                            "parameters": dict, "region": list})
    account = file.get("account", "")
    if not (len(account) == 12 and account.isdigit()):
        raise Problem(f'{path}: write the account, as in account = "111122223333"')
    architecture = file.get("architecture", "arm64")
    if architecture not in ELF_MACHINES.values():
        raise Problem(f'{path}: `architecture` is "arm64" or "x86_64"')
    tables = region_tables(path, file)
    shared = read_parameters(f"{path} [parameters]", file.get("parameters", {}), template)
    stacks = []
    for table in tables:
        check_keys(f"{path} [[region]]", table, {"region": str, "stack": str, "parameters": dict})
        region = table.get("region", "")
        own = read_parameters(f"{path} {region}", table.get("parameters", {}), template)
        name = table.get("stack", file.get("stack", "twinlake"))
        stacks.append(Stack(region, name, shared | own))
    regions = [stack.region for stack in stacks]
    check_regions(path, regions)
    for name in ("LedgerTableName", "EventBusName"):
        default = template["Parameters"][name]["Default"]
        if len({stack.parameters.get(name, default) for stack in stacks}) != 1:
            raise Problem(f"{path}: `{name}` must be the same in both Regions; write it below "
                          "[parameters]")
    if "policy" in file:
        policy = path.parent / file["policy"]
        check_policy(path, policy, account, regions)
        names = ("LakeBucketArns", "LakeObjectArns")
        for stack in stacks:
            given = [name for name in names if name in stack.parameters]
            if len(given) == 1:
                raise Problem(f"{path}: {given[0]} in {stack.region} stands without the other one of "
                              f"{' and '.join(names)}; write both, or neither: they come from the policy then")
        without = [stack for stack in stacks if not stack.parameters.keys() & set(names)]
        if without:
            values = lake_parameters(policy)
            for stack in without:
                stack.parameters |= values
        set_bucket_parameters(policy, stacks)
    deployment = Deployment(account, architecture, stacks, str(path.parent / file.get("policy", "policy.toml")))
    for stack in stacks:
        values = values_of(template, deployment, stack, True)
        check_times(path, stack, values)
        check_policy_sizes(path, template, deployment, stack, values)
    return deployment


# The deployment


def built_zip(code_uri):
    """Returns the zip of a function that `make build` made."""
    path = ROOT / code_uri
    if not path.exists():
        raise Problem(f"{code_uri} is missing; run `make build` first")
    return path.read_bytes()


def zip_architecture(content):
    """Returns the architecture of the binary in a zip, or None if it is another one."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        header = archive.open("bootstrap").read(20)
    return ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))


def client_of(service, region):
    return boto3.client(service, region_name=region)


class Deployer:
    """Deploys the stacks. `client(service, region)` makes clients, `code(code_uri)` returns zips."""

    def __init__(self, template, client=client_of, code=built_zip, say=print, poll_seconds=5.0):
        self.template = template
        self.client = client
        self.code = code
        self.say = say
        self.poll_seconds = poll_seconds

    def run(self, deployment):
        """Deploys both stacks. Returns the outputs of each, by Region."""
        self.check_account(deployment)
        urls = {stack.region: self._upload(deployment, stack) for stack in deployment.stacks}
        # The stack of site "b", which is the standby at first, is ready before events are sent to it.
        without_rules = []
        for stack in reversed(deployment.stacks):
            forwards = self._has_bus(deployment.peer(stack))
            self._apply(deployment, stack, urls[stack.region], forwards)
            if not forwards:
                without_rules.append(stack)
        for stack in without_rules:
            self._apply(deployment, stack, urls[stack.region], True)
        return {stack.region: self._outputs(stack) for stack in deployment.stacks}

    def check_account(self, deployment):
        region = deployment.stacks[0].region
        found = self.client("sts", region).get_caller_identity()["Account"]
        if found != deployment.account:
            raise Problem(f"the credentials are of account {found}, and the deployment file is for "
                          f"{deployment.account}; use other credentials, or correct `account`")
        for stack in deployment.stacks:
            try:
                limits = self.client("lambda", stack.region).get_account_settings()["AccountLimit"]
            except botocore.exceptions.ClientError as error:
                self.say(f"{stack.region}: Lambda's concurrency was not checked: {error}")
                continue
            if limits["ConcurrentExecutions"] < MIN_CONCURRENCY:
                self.say(f"{stack.region}: Lambda runs only {limits['ConcurrentExecutions']} functions "
                         f"at the same time in this account. Ask AWS for {MIN_CONCURRENCY} or more "
                         "(Service Quotas, Lambda, Concurrent executions), or messages may fail.")

    # Code and template

    def _upload(self, deployment, stack):
        """Uploads the code and the template of a stack. Returns the URL of the template."""
        s3 = self.client("s3", stack.region)
        bucket = f"twinlake-code-{deployment.account}-{stack.region}"
        self._create_bucket(s3, bucket, stack.region, deployment.account)
        template = json.loads(json.dumps(self.template))
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Serverless::Function":
                properties = resource["Properties"]
                content = self.code(properties["CodeUri"])
                built_for = zip_architecture(content)
                if built_for is None:
                    raise Problem(f"{properties['CodeUri']} holds no program for {' or '.join(ELF_MACHINES.values())}; "
                                  f"run `make build ARCH={deployment.architecture}`")
                if built_for != deployment.architecture:
                    raise Problem(
                        f"{properties['CodeUri']} was built for {built_for}, and the deployment "
                        f"file says {deployment.architecture}; run `make build "
                        f"ARCH={deployment.architecture}`, or correct `architecture`")
                key = self._put(s3, bucket, content, "zip", deployment.account)
                properties["CodeUri"] = {"Bucket": bucket, "Key": key}
        ledger = template["Resources"]["Ledger"]
        # CloudFormation imports the table of an earlier deployment only by a literal name.
        table = self._values(deployment, stack, True)["LedgerTableName"]
        ledger["Properties"]["TableName"] = table
        if self._has_table(stack.region, table):
            # Nothing deletes it, not even the rollback of a creation that imports it.
            ledger["DeletionPolicy"] = "Retain"
        content = json.dumps(template, sort_keys=True).encode()
        key = self._put(s3, bucket, content, "json", deployment.account)
        return f"{s3.meta.endpoint_url}/{bucket}/{key}"

    @staticmethod
    def _create_bucket(s3, bucket, region, account):
        try:
            s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=account)
            return
        except botocore.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise Problem(f"the bucket {bucket} cannot be used: {error}") from error
        # us-east-1 takes no location.
        location = {} if region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, **location)
        s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True,
            "BlockPublicPolicy": True, "RestrictPublicBuckets": True})

    @staticmethod
    def _put(s3, bucket, content, suffix, account):
        """Stores an object under its hash, unless it is there. Returns its key."""
        key = f"{hashlib.sha256(content).hexdigest()}.{suffix}"
        try:
            s3.head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account)
        except botocore.exceptions.ClientError:
            s3.put_object(Bucket=bucket, Key=key, Body=content, ExpectedBucketOwner=account)
        return key

    # Stacks

    def _values(self, deployment, stack, forwards):
        return values_of(self.template, deployment, stack, forwards)

    def _has_bus(self, stack):
        """Whether the event bus of a stack exists."""
        default = self.template["Parameters"]["EventBusName"]["Default"]
        events = self.client("events", stack.region)
        try:
            events.describe_event_bus(Name=stack.parameters.get("EventBusName", default))
            return True
        except events.exceptions.ResourceNotFoundException:
            return False

    def _has_table(self, region, table):
        dynamodb = self.client("dynamodb", region)
        try:
            dynamodb.describe_table(TableName=table)
            return True
        except dynamodb.exceptions.ResourceNotFoundException:
            return False

    def _describe(self, stack):
        """Returns the description of a stack, or None if it does not exist."""
        return describe_stack(self.client("cloudformation", stack.region), stack.name)

    def _outputs(self, stack):
        return outputs_of(self._describe(stack))

    def _change_set_type(self, stack):
        """Returns whether a stack is created or updated. Deletes what a failed creation left."""
        found = self._describe(stack)
        status = found["StackStatus"] if found else "DELETE_COMPLETE"
        where = f"the stack {stack.name} in {stack.region} is in the state {status}"
        if status in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS"):
            return "CREATE"
        if status == "ROLLBACK_COMPLETE":
            # It has no resources: those that it created are gone, and a ledger that was there
            # before is kept by its deletion policy.
            self.say(f"{stack.region}: deleting the stack {stack.name}, whose creation failed")
            cloudformation = self.client("cloudformation", stack.region)
            cloudformation.delete_stack(StackName=stack.name)
            self._wait(stack, "stack_delete_complete", StackName=found["StackId"])
            return "CREATE"
        if status.endswith("_IN_PROGRESS"):
            raise Problem(f"{where}: another deployment is under way. Wait until it has ended, then "
                          "run the same command again.")
        if status.endswith("_FAILED"):
            raise Problem(
                f"{where}. See why in its events; then, if it failed in an update, run `aws "
                f"cloudformation continue-update-rollback --region {stack.region} --stack-name "
                f"{stack.name}`, else delete it (the ledger stays), and run the same command again.")
        return "UPDATE"

    def _wait(self, stack, waiter, **arguments):
        waiter = self.client("cloudformation", stack.region).get_waiter(waiter)
        # Half an hour in steps of five seconds.
        waiter.wait(**arguments, WaiterConfig={"Delay": self.poll_seconds, "MaxAttempts": 360})

    def _apply(self, deployment, stack, url, forwards):
        """Deploys a stack once, with or without the rules that forward events."""
        change_type = self._change_set_type(stack)
        verb = {"CREATE": "creating", "UPDATE": "updating"}[change_type]
        rules = "" if forwards else ", without the rules that forward events"
        self.say(f"{stack.region}: {verb} the stack {stack.name}{rules}")
        cloudformation = self.client("cloudformation", stack.region)
        values = self._values(deployment, stack, forwards)
        name = f"deploy-{time.time_ns()}"
        created = cloudformation.create_change_set(
            StackName=stack.name, ChangeSetName=name, ChangeSetType=change_type, TemplateURL=url,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
            # The ledger of an earlier deployment is taken over.
            **({"ImportExistingResources": True} if change_type == "CREATE" else {}),
        )
        change_set = {"ChangeSetName": created["Id"], "StackName": created["StackId"]}
        try:
            self._wait(stack, "change_set_create_complete", **change_set)
        except botocore.exceptions.WaiterError as error:
            reason = cloudformation.describe_change_set(**change_set).get("StatusReason", str(error))
            cloudformation.delete_change_set(**change_set)
            # CloudFormation tells an empty change set by these texts only.
            if any(text in reason for text in ("didn't contain changes", "No updates are to be")):
                self.say(f"{stack.region}: nothing to change")
                return
            raise Problem(f"{stack.region}: CloudFormation refused the stack {stack.name}: {reason}. "
                          f"{REPEAT}") from error
        cloudformation.execute_change_set(**change_set)
        try:
            waiter = f"stack_{change_type.lower()}_complete"
            self._wait(stack, waiter, StackName=created["StackId"])
        except botocore.exceptions.WaiterError as error:
            raise Problem(f"{stack.region}: {verb} the stack {stack.name} failed:\n"
                          f"{self._failures(created['StackId'], stack.region)}\n{REPEAT}") from error

    def _failures(self, stack_id, region):
        """Returns the failures of the last operation on a stack, one a line."""
        pages = self.client("cloudformation", region).get_paginator("describe_stack_events")
        lines = []
        # The newest event comes first.
        for event in pages.paginate(StackName=stack_id).search("StackEvents[]"):
            is_start = (event["LogicalResourceId"] == event["StackName"]
                        and event["ResourceStatus"] in ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS"))
            if event["ResourceStatus"].endswith("_FAILED"):
                reason = event.get("ResourceStatusReason", "no reason")
                lines.append(f"  {event['LogicalResourceId']}: {reason}")
            if is_start:
                break
        return "\n".join(reversed(lines)) or "  see the events of the stack"


def next_steps(policy, outputs, age_limits=()):
    """What is left to do after a deployment. `age_limits` has the values of VerifiedAgeLimitSeconds that are not the
    default."""
    roles = [role for region in outputs.values() for role in region["Roles"].split(",")]
    lines = ["Both stacks are deployed. After a first deployment, give their roles the Lake Formation rights:", "",
             f"twinlake bootstrap --policy {shlex.quote(policy)} \\"]
    lines += [f"    --twinlake-role {role} \\" for role in roles[:-1]]
    lines.append(f"    --twinlake-role {roles[-1]}")
    lines.append("")
    for region, values in outputs.items():
        lines.append(f"{region}: alerts are sent to {values['AlertTopic']}")
        lines.append(f"{region}: S3 replication notifications go to {values['ReplicationQueue']}")
    if age_limits:
        lines += ["", "For the commands and the readiness checks, write the limit of the alarm in the operation document, "
                  f"too: verified-age-limit-seconds = {max(age_limits, key=int)}; then push it with `twinlake policy push "
                  f"--operation FILE --region {min(outputs)}`."]
    return "\n".join(lines)


def changed_age_limits(deployment, template):
    """Returns the values of VerifiedAgeLimitSeconds that are not the template's default."""
    name = "VerifiedAgeLimitSeconds"
    default = str(template["Parameters"][name]["Default"])
    return {stack.parameters[name] for stack in deployment.stacks if stack.parameters.get(name, default) != default}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Deploys template.yaml in both Regions.")
    parser.add_argument("config", help="the deployment file")
    options = parser.parse_args(arguments)
    template = load_template()
    try:
        deployment = read_deployment(options.config, template)
        outputs = Deployer(template).run(deployment)
        print(next_steps(deployment.policy, outputs, changed_age_limits(deployment, template)))
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        print(f"error: {error}. {REPEAT}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
