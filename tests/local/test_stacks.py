"""Checks stacks/storage.yaml, stacks/audit.yaml, stacks/address.yaml and stacks/deploy_lake.py: with the linter, by evaluating the
templates and their policies, and on a local AWS as far as that has the resource types."""

import copy
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tomllib
from unittest import mock

import boto3
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters
import pytest

from stack import ACCOUNT, PRIMARY, ROOT, STANDBY, Deployment, load_template
from test_cli import CliSandbox

import deploy  # noqa: E402
import deploy_lake  # noqa: E402

PREFIXES = ["raw/", "curated/", "analytics/"]
PEER = {PRIMARY: STANDBY, STANDBY: PRIMARY}
KEYS = {region: f"arn:aws:kms:{region}:{ACCOUNT}:key/{region}" for region in PEER}
BUCKETS = {region: f"arn:aws:s3:::lake-{ACCOUNT}-{region}" for region in PEER}
TRAILS = {region: f"arn:aws:cloudtrail:{region}:{ACCOUNT}:trail/twinlake-audit" for region in PEER}
ABSENT = object()


def render(file, region, **parameters):
    """Returns the resources of a template as CloudFormation would make them, by logical name."""
    template = load_template(ROOT / f"stacks/{file}.yaml")
    values = {name: p["Default"] for name, p in template["Parameters"].items() if "Default" in p}
    values |= {"AWS::Region": region, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws"} | parameters
    resources = template["Resources"]

    def reference(name):
        if name in values:
            return values[name]
        properties = resources[name]["Properties"]
        return evaluate(properties.get("BucketName", name))

    def attribute(name, attribute):
        assert attribute == "Arn", (name, attribute)
        match resources[name]["Type"]:
            case "AWS::KMS::Key":
                return KEYS[region]
            case "AWS::IAM::Role":
                return f"arn:aws:iam::{ACCOUNT}:role/{evaluate(resources[name]['Properties']['RoleName'])}"
        raise AssertionError(name)

    def holds(condition):
        return evaluate(template["Conditions"][condition])

    def evaluate(node):
        if isinstance(node, list):
            found = [evaluate(item) for item in node]
            return [item for item in found if item is not ABSENT]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            (name, value), = node.items()
            match name:
                case "Ref":
                    return ABSENT if value == "AWS::NoValue" else reference(value)
                case "Fn::Sub":
                    return re.sub(r"\$\{([A-Za-z:]+)\}", lambda found: str(reference(found.group(1))), value)
                case "Fn::GetAtt":
                    return attribute(*value)
                case "Fn::If":
                    return evaluate(value[1] if holds(value[0]) else value[2])
                case "Fn::Equals":
                    return evaluate(value[0]) == evaluate(value[1])
                case "Fn::Not":
                    return not evaluate(value[0])
            assert not name.startswith("Fn::"), name
        found = {name: evaluate(value) for name, value in node.items()}
        return {name: value for name, value in found.items() if value is not ABSENT}

    return {name: evaluate(resource) for name, resource in resources.items()
            if "Condition" not in resource or holds(resource["Condition"])}


def storage(region, **parameters):
    """Returns the rendered resources of storage.yaml, with the peer unless `PeerKeyArn` is empty."""
    return render("storage", region, **{"PeerRegion": PEER[region], "PeerKeyArn": KEYS[PEER[region]]} | parameters)


def properties(resources, name):
    return resources[name]["Properties"]


def allows(document, action, resource, principal=None, **context):
    """Whether a policy allows a request, as IAM evaluates it. `context` has the condition keys of the request.

    A principal is "AWS:ARN" or "Service:NAME"; without one the policy is that of a role.
    """
    def as_list(value):
        return value if isinstance(value, list) else [value]

    def applies(statement):
        if principal and statement["Principal"] != "*":
            if principal not in [f"{kind}:{name}" for kind, name in statement["Principal"].items()]:
                return False
        if not any(fnmatch.fnmatchcase(action, pattern) for pattern in as_list(statement["Action"])):
            return False
        # A trust policy has no resource.
        resources = resource if action == "sts:AssumeRole" else statement["Resource"]
        if not any(fnmatch.fnmatchcase(resource, pattern) for pattern in as_list(resources)):
            return False
        for operator, tests in statement.get("Condition", {}).items():
            assert operator in ("StringEquals", "StringNotEquals", "StringLike", "Bool", "Null"), operator
            for key, expected in tests.items():
                if operator == "Null":
                    if (key in context) == (expected == "true"):
                        return False
                    continue
                got = context.get(key, "")
                if operator == "StringNotEquals":
                    # A key that the request lacks is not equal.
                    if got in as_list(expected):
                        return False
                    continue
                if not any(fnmatch.fnmatchcase(got, value) if operator == "StringLike" else got == value
                           for value in as_list(expected)):
                    return False
        return True

    assert document["Version"] == "2012-10-17"
    effects = {s["Effect"] for s in document["Statement"] if applies(s)}
    return effects == {"Allow"}


def role_policy(resources, role):
    (policy,) = properties(resources, role)["Policies"]
    return policy["PolicyDocument"]


# Both templates


@pytest.mark.parametrize("file", ["storage", "audit", "address"])
def test_cfn_lint(file):
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "cfn-lint"), "-r", PRIMARY, STANDBY, "--", f"stacks/{file}.yaml"],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    # CloudFormation rejects aliases, and no linter reports them.
    assert not re.search(r"(^|\s)[&*][a-z]", (ROOT / f"stacks/{file}.yaml").read_text())


@pytest.mark.parametrize("file, deleted", [("storage", {"Workgroup"}), ("audit", {"Trail"})])
def test_a_deleted_stack_leaves_the_data_and_what_it_needs(file, deleted):
    for name, resource in load_template(ROOT / f"stacks/{file}.yaml")["Resources"].items():
        # A failed first deployment leaves nothing that hinders the next one.
        policies = (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        assert policies == ((None, None) if name in deleted else ("RetainExceptOnCreate", "Retain")), name


@pytest.mark.parametrize("bucket", [storage(PRIMARY), render("audit", PRIMARY)], ids=["storage", "audit"])
def test_buckets_are_versioned_private_and_reached_by_tls_only(bucket):
    found = properties(bucket, "Bucket")
    assert found["VersioningConfiguration"] == {"Status": "Enabled"}
    assert found["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert found["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"], True)
    policy = properties(bucket, "BucketPolicy")
    assert policy["Bucket"] == found["BucketName"]
    assert policy["PolicyDocument"]["Version"] == "2012-10-17"
    (deny,) = [s for s in policy["PolicyDocument"]["Statement"] if s["Sid"] == "OnlyTls"]
    assert deny["Effect"] == "Deny"
    assert deny["Principal"] == "*"
    arn = f"arn:aws:s3:::{found['BucketName']}"
    everyone = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"}, deny]}
    for action, resource in (("s3:GetObject", f"{arn}/raw/a"), ("s3:ListBucket", arn)):
        assert allows(everyone, action, resource, **{"aws:SecureTransport": "true"})
        assert not allows(everyone, action, resource, **{"aws:SecureTransport": "false"})


@pytest.mark.parametrize("file", ["storage", "audit"])
def test_each_region_has_a_key_of_its_own_which_iam_policies_open(file):
    key = properties(render(file, PRIMARY, PeerRegion=STANDBY), "Key")
    assert key["EnableKeyRotation"] is True and "MultiRegion" not in key
    assert allows(key["KeyPolicy"], "kms:Decrypt", KEYS[PRIMARY], f"AWS:arn:aws:iam::{ACCOUNT}:root")
    assert not allows(key["KeyPolicy"], "kms:Decrypt", KEYS[PRIMARY], "AWS:arn:aws:iam::444455556666:root")


# The name in DNS


def is_in_alarm(alarm, values):
    """Whether CloudWatch has the alarm in ALARM after these values of a minute each; None without enough data."""
    values = values[-alarm["EvaluationPeriods"]:]
    assert alarm["Statistic"] == "Minimum" and alarm["TreatMissingData"] == "missing"
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    if None in values:
        return None
    return all(value >= alarm["Threshold"] for value in values)


def dns_answers(minutes):
    """The answers for the name after each minute, by the values of `IsPrimary` in the standby; None is no value."""
    resources = render("address", STANDBY, HostedZoneId="Z1", RecordName="lake.example.com",
                       PrimaryFrontEnd="here.example.com", StandbyFrontEnd="there.example.com")
    alarm = properties(resources, "ThisRegionIsPrimaryAlarm")
    config = properties(resources, "OtherRegionHealthCheck")["HealthCheckConfig"]
    assert config["AlarmIdentifier"] == {"Name": "ThisRegionIsPrimaryAlarm", "Region": STANDBY}
    assert config["Type"] == "CLOUDWATCH_METRIC" and config["InsufficientDataHealthStatus"] == "LastKnownStatus"
    records = {properties(resources, name)["Failover"]: properties(resources, name)
               for name in ("PrimaryRecord", "StandbyRecord")}
    assert records["PRIMARY"]["HealthCheckId"] == "OtherRegionHealthCheck"
    assert "HealthCheckId" not in records["SECONDARY"], "there is always an answer"
    # A new check is healthy.
    healthy, answers, seen = True, [], []
    for value in minutes:
        seen.append(value)
        in_alarm = is_in_alarm(alarm, seen) if len(seen) >= alarm["EvaluationPeriods"] else None
        healthy = healthy if in_alarm is None else not in_alarm
        (answer,) = records["PRIMARY" if healthy else "SECONDARY"]["ResourceRecords"]
        answers.append(answer)
    return answers


def test_the_name_follows_takeovers_and_not_the_silence_of_a_region():
    here, there = "here.example.com", "there.example.com"
    assert dns_answers([None, 0, 0]) == [here] * 3
    assert dns_answers([0, 0, None, None, None]) == [here] * 5, "the standby is silent"
    assert dns_answers([0, 0, 1, 1, 1]) == [here] * 3 + [there] * 2, "a takeover; the other Region is not asked"
    assert dns_answers([0, 1, 1, None, None]) == [here] * 2 + [there] * 3, "the new primary is silent"
    assert dns_answers([1, 1, 1, 0, 0]) == [here] + [there] * 2 + [here] * 2, "the way back"


# Storage


@pytest.mark.parametrize("region", PEER)
def test_objects_are_encrypted_with_the_key_of_the_region(region):
    (rule,) = properties(storage(region), "Bucket")["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": {
        "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEYS[region]}}


def with_denial(region, sid):
    """Returns a policy that allows everything but what a statement of the bucket's policy denies."""
    (deny,) = [s for s in properties(storage(region), "BucketPolicy")["PolicyDocument"]["Statement"] if s["Sid"] == sid]
    assert deny["Effect"] == "Deny" and deny["Principal"] == "*"
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, deny]}


@pytest.mark.parametrize("region", PEER)
def test_objects_of_the_lake_cannot_be_written_with_another_key(region):
    def may(action, key, **context):
        return allows(with_denial(region, "NoOtherKey"), action, f"{BUCKETS[region]}/{key}", **context)

    header = "s3:x-amz-server-side-encryption-aws-kms-key-id"
    for prefix in PREFIXES:
        assert may("s3:PutObject", f"{prefix}a")
        assert may("s3:PutObject", f"{prefix}a", **{header: KEYS[region]})
        assert not may("s3:PutObject", f"{prefix}a", **{header: KEYS[PEER[region]]})
        # S3 writes replicas with another action.
        assert may("s3:ReplicateObject", f"{prefix}a", **{header: KEYS[PEER[region]]})
    assert may("s3:PutObject", "athena-results/a", **{header: KEYS[PEER[region]]})


@pytest.mark.parametrize("region", PEER)
def test_no_table_can_be_written_among_the_results_which_expire(region):
    """Source: Athena user guide, "Considerations and limitations for CTAS queries" and "Find query output files"."""
    def may(key, action="s3:PutObject"):
        return allows(with_denial(region, "NoTablesAmongResults"), action, f"{BUCKETS[region]}/{key}")

    for folder in ("", "Unsaved/2025/11/30/", "backfill/2025/11/30/"):
        assert not may(f"athena-results/{folder}tables/1a2b/part-0.gz")
        # Results, and the manifest of a table that is elsewhere.
        assert may(f"athena-results/{folder}1a2b.csv") and may(f"athena-results/{folder}tables/1a2b-manifest.csv")
    assert may("curated/tables/1a2b/part-0.gz") and may("athena-results/tables/1a2b/part-0.gz", "s3:DeleteObject")


def test_the_first_pass_makes_no_rules_and_needs_nothing_of_the_peer():
    resources = storage(PRIMARY, PeerKeyArn="")
    assert "ReplicationConfiguration" not in properties(resources, "Bucket")
    assert "ReplicationRole" not in resources
    assert properties(resources, "Bucket")["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("region", PEER)
@pytest.mark.parametrize("time_control", ["Enabled", "Disabled"])
def test_each_prefix_has_a_complete_rule(region, time_control):
    resources = storage(region, ReplicationTimeControl=time_control)
    replication = properties(resources, "Bucket")["ReplicationConfiguration"]
    assert replication["Role"] == f"arn:aws:iam::{ACCOUNT}:role/lake-replication-{region}-to-{PEER[region]}"
    minutes = {"Minutes": 15}
    for number, (rule, prefix) in enumerate(zip(replication["Rules"], PREFIXES, strict=True), start=1):
        assert rule == {
            "Id": prefix.strip("/"), "Status": "Enabled", "Priority": number, "Filter": {"Prefix": prefix},
            "DeleteMarkerReplication": {"Status": "Enabled"},
            "SourceSelectionCriteria": {
                "SseKmsEncryptedObjects": {"Status": "Enabled"}, "ReplicaModifications": {"Status": "Enabled"}},
            "Destination": {
                "Bucket": BUCKETS[PEER[region]],
                "EncryptionConfiguration": {"ReplicaKmsKeyID": KEYS[PEER[region]]},
                **({"Metrics": {"Status": "Enabled", "EventThreshold": minutes},
                    "ReplicationTime": {"Status": "Enabled", "Time": minutes}}
                   if time_control == "Enabled" else {"Metrics": {"Status": "Enabled"}}),
            },
        }


def test_query_results_are_outside_all_rules_and_locations():
    resources = storage(PRIMARY)
    configuration = properties(resources, "Workgroup")["WorkGroupConfiguration"]
    # Otherwise CREATE TABLE AS SELECT could write to the result location only.
    assert configuration["EnforceWorkGroupConfiguration"] is False
    # CloudFormation deletes no workgroup with a history otherwise.
    assert properties(resources, "Workgroup")["RecursiveDeleteOption"] is True
    assert configuration["ResultConfiguration"] == {
        "OutputLocation": f"s3://lake-{ACCOUNT}-{PRIMARY}/athena-results/", "ExpectedBucketOwner": ACCOUNT,
        "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": KEYS[PRIMARY]}}
    # The same name in both Regions, so that clients change only the Region.
    assert properties(storage(STANDBY), "Workgroup")["Name"] == properties(resources, "Workgroup")["Name"] == "lake"
    rules = properties(resources, "Bucket")["ReplicationConfiguration"]["Rules"]
    assert not any("athena-results/".startswith(rule["Filter"]["Prefix"]) for rule in rules)
    locations = [r["Properties"]["ResourceArn"] for r in resources.values()
                 if r["Type"] == "AWS::LakeFormation::Resource"]
    assert not any(f"{BUCKETS[PRIMARY]}/athena-results/".startswith(location) for location in locations)


def test_lifecycle_ends_results_and_old_versions_and_no_current_data():
    resources = storage(PRIMARY, ResultDays=7, NoncurrentVersionDays=60)
    rules = properties(resources, "Bucket")["LifecycleConfiguration"]["Rules"]
    assert all(rule["Status"] == "Enabled" for rule in rules)
    by_prefix = {rule.get("Prefix"): rule for rule in rules}
    assert by_prefix.keys() == {*PREFIXES, "athena-results/", None}
    assert by_prefix["athena-results/"]["ExpirationInDays"] == 7
    assert by_prefix["athena-results/"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert by_prefix[None].keys() == {"Id", "Status", "AbortIncompleteMultipartUpload"}
    for prefix in PREFIXES:
        assert by_prefix[prefix].keys() == {
            "Id", "Status", "Prefix", "NoncurrentVersionExpiration", "ExpiredObjectDeleteMarker"}
        assert by_prefix[prefix]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 60}
        # Without it the delete markers of deleted objects stay for ever.
        assert by_prefix[prefix]["ExpiredObjectDeleteMarker"] is True


def test_replication_notifications_go_to_the_queue_if_there_is_one():
    assert "NotificationConfiguration" not in properties(storage(PRIMARY), "Bucket")
    queue = f"arn:aws:sqs:{PRIMARY}:{ACCOUNT}:twinlake-ReplicationQueue"
    found = properties(storage(PRIMARY, ReplicationQueueArn=queue), "Bucket")["NotificationConfiguration"]
    assert found == {"QueueConfigurations": [{"Event": "s3:Replication:*", "Queue": queue}]}
    # S3 can send to a queue that KMS encrypts only with a key whose policy admits S3, so there is none by default.
    template = load_template()
    queue = template["Resources"]["ReplicationQueue"]["Properties"]
    no_value = {"Ref": "AWS::NoValue"}
    assert queue["SqsManagedSseEnabled"] == {"Fn::If": ["HasMessageKey", no_value, True]}
    assert queue["KmsMasterKeyId"] == {"Fn::If": ["HasMessageKey", {"Ref": "MessageKeyArn"}, no_value]}
    assert template["Conditions"]["HasMessageKey"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "MessageKeyArn"}, ""]}]}
    assert template["Parameters"]["MessageKeyArn"]["Default"] == ""
    assert "ReplicationQueue" in template["Outputs"]


@pytest.mark.parametrize("region", PEER)
def test_the_replication_role_may_do_what_s3_does_with_it_and_no_more(region):
    """Source: S3 user guide, "Setting up permissions for live replication" and "Replicating encrypted objects"."""
    resources, peer = storage(region), PEER[region]
    role = properties(resources, "ReplicationRole")
    assert role["RoleName"] == f"lake-replication-{region}-to-{peer}"
    assert allows(role["AssumeRolePolicyDocument"], "sts:AssumeRole", "", "Service:s3.amazonaws.com")
    policy, source, replica = role_policy(resources, "ReplicationRole"), BUCKETS[region], BUCKETS[peer]
    for action in ("GetReplicationConfiguration", "ListBucket"):
        assert allows(policy, f"s3:{action}", source)
        assert not allows(policy, f"s3:{action}", replica)
    for prefix in PREFIXES:
        for action in ("GetObjectVersionForReplication", "GetObjectVersionAcl", "GetObjectVersionTagging"):
            assert allows(policy, f"s3:{action}", f"{source}/{prefix}a")
            assert not allows(policy, f"s3:{action}", f"{source}/athena-results/a")
            assert not allows(policy, f"s3:{action}", f"{replica}/{prefix}a")
        for action in ("ReplicateObject", "ReplicateDelete", "ReplicateTags"):
            assert allows(policy, f"s3:{action}", f"{replica}/{prefix}a")
            assert not allows(policy, f"s3:{action}", f"{replica}/athena-results/a")
            assert not allows(policy, f"s3:{action}", f"{source}/{prefix}a")
    # The context is the bucket with a Bucket Key, and the object without one.
    for bucket, key, at, actions in (
            (source, KEYS[region], region, ["Decrypt"]),
            (replica, KEYS[peer], peer, ["Encrypt", "GenerateDataKey", "Decrypt"])):
        for action in actions:
            def may(key, at, resource):
                return allows(policy, f"kms:{action}", key, **{
                    "kms:ViaService": f"s3.{at}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": resource})
            assert may(key, at, bucket) and may(key, at, f"{bucket}/raw/a")
            assert not may(key, at, "arn:aws:s3:::other") and not may(key, PEER[at], bucket)
    assert not allows(policy, "kms:Encrypt", KEYS[region], **{
        "kms:ViaService": f"s3.{region}.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": source})


def test_roles_of_the_two_regions_have_different_names():
    """IAM is global: the second stack could not make a role of the same name."""
    names = [r["Properties"]["RoleName"] for region in PEER for r in storage(region).values()
             if r["Type"] == "AWS::IAM::Role"]
    assert len(names) == len(set(names)) == 4


@pytest.mark.parametrize("region", PEER)
def test_the_locations_are_registered_with_a_role_that_can_use_them(region):
    """Source: Lake Formation developer guide, "Requirements for roles used to register locations"."""
    resources = storage(region)
    role = properties(resources, "RegistrationRole")
    assert allows(role["AssumeRolePolicyDocument"], "sts:AssumeRole", "", "Service:lakeformation.amazonaws.com")
    locations = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::LakeFormation::Resource"]
    assert {location["ResourceArn"] for location in locations} == {
        f"{BUCKETS[region]}/{prefix.strip('/')}" for prefix in PREFIXES}
    policy = role_policy(resources, "RegistrationRole")
    assert allows(policy, "s3:ListBucket", BUCKETS[region])
    for location in locations:
        assert location["UseServiceLinkedRole"] is False
        assert location["RoleArn"] == f"arn:aws:iam::{ACCOUNT}:role/lake-registration-{region}"
        for action in ("GetObject", "PutObject", "DeleteObject"):
            assert allows(policy, f"s3:{action}", f"{location['ResourceArn']}/t/a.parquet")
    assert not allows(policy, "s3:GetObject", f"{BUCKETS[region]}/athena-results/a.csv")
    for action in ("Encrypt", "Decrypt", "ReEncryptFrom", "GenerateDataKey", "DescribeKey"):
        assert allows(policy, f"kms:{action}", KEYS[region])
        assert not allows(policy, f"kms:{action}", KEYS[PEER[region]])


# Audit


@pytest.mark.parametrize("region", PEER)
def test_the_trail_is_of_one_region_and_logs_all_management_events(region):
    resources = render("audit", region)
    assert properties(resources, "Trail") == {
        "TrailName": "twinlake-audit", "IsLogging": True, "IsMultiRegionTrail": False,
        "IncludeGlobalServiceEvents": False, "EnableLogFileValidation": True,
        "S3BucketName": f"twinlake-audit-{ACCOUNT}-{region}", "KMSKeyId": KEYS[region],
        "EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]}
    # CloudTrail checks the bucket's policy when the trail is made.
    assert resources["Trail"]["DependsOn"] == "BucketPolicy"
    assert deploy_lake.selects_all_management_events(properties(resources, "Trail"))
    (rule,) = properties(render("audit", region, LogDays=30), "Bucket")["LifecycleConfiguration"]["Rules"]
    assert rule == {"Id": "log-files", "Status": "Enabled", "ExpirationInDays": 30,
                    "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    # With the key as the bucket's default, S3 would use it with another encryption context than CloudTrail's.
    assert properties(resources, "Bucket")["BucketEncryption"] == {"ServerSideEncryptionConfiguration": [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}


@pytest.mark.parametrize("region", PEER)
def test_only_this_trail_may_write_to_the_bucket_and_use_the_key(region):
    """Source: CloudTrail user guide, "Amazon S3 bucket policy for CloudTrail" and "Configure AWS KMS key policies"."""
    resources, service = render("audit", region), "Service:cloudtrail.amazonaws.com"
    bucket, key = properties(resources, "BucketPolicy")["PolicyDocument"], properties(resources, "Key")["KeyPolicy"]
    arn = f"arn:aws:s3:::twinlake-audit-{ACCOUNT}-{region}"
    owner_acl = {"s3:x-amz-acl": "bucket-owner-full-control"}
    of_the_account = {"kms:EncryptionContext:aws:cloudtrail:arn": TRAILS[region]}
    for document, action, resource, context in (
            (bucket, "s3:GetBucketAcl", arn, {}),
            (bucket, "s3:PutObject", f"{arn}/AWSLogs/{ACCOUNT}/CloudTrail/a.json.gz", owner_acl),
            (key, "kms:GenerateDataKey", KEYS[region], of_the_account),
            (key, "kms:DescribeKey", KEYS[region], {})):
        own = {"aws:SourceArn": TRAILS[region], "aws:SecureTransport": "true", **context}
        assert allows(document, action, resource, service, **own), action
        assert not allows(document, action, resource, service, **own | {"aws:SourceArn": TRAILS[PEER[region]]}), action
        for name in context:
            assert not allows(document, action, resource, service, **own | {name: "other"}), (action, name)
    assert not allows(bucket, "s3:PutObject", f"{arn}/AWSLogs/444455556666/a", service, **{
        "aws:SourceArn": TRAILS[region], **owner_acl})


# The script


class FakeAws:
    """Records the deployments. A deployed stack has outputs.

    `trails` has status and selectors, or a ClientError, by Region and ARN.
    """

    def __init__(self, outputs=None, trails=None):
        self.stacks, self.found_trails, self.deployed = outputs or {}, trails or {}, []
        self.buckets = set()

    def outputs(self, region, stack):
        return self.stacks.get((region, stack), {})

    def bucket_of_account(self, region, prefix):
        bucket = f"{prefix}-{ACCOUNT}-{region}"
        return bucket if bucket in self.buckets else None

    def deploy(self, region, stack, template, parameters):
        self.deployed.append((region, stack, template, parameters))
        self.stacks[region, stack] = {"Key": KEYS[region]} if template == "storage.yaml" else {"Trail": TRAILS[region]}

    def trails(self, region):
        return list(self.found_trails.get(region, {}))

    def read_trail(self, region, arn):
        found = self.found_trails[region][arn]
        if isinstance(found, ClientError):
            raise found
        return found


def test_the_makefile_passes_the_parameters():
    makefile = (ROOT / "Makefile").read_text()
    values = {"PRIMARY": PRIMARY, "STANDBY": STANDBY, "STORAGE_PARAMETERS": "LakeName=sales ResultDays=7",
              "AUDIT_PARAMETERS": ""}
    commands = re.findall(r"^\t\$\(PY\) stacks/deploy_lake\.py (.*)$", makefile, re.M)
    parsed = [deploy_lake.parse_arguments(re.sub(r"\$\((\w+)\)", lambda found: values[found.group(1)], command).split())
              for command in commands]
    assert [(args.what, args.primary, args.standby) for args, _ in parsed] == [
        ("storage", PRIMARY, STANDBY), ("audit", PRIMARY, STANDBY)]
    assert [parameters for _, parameters in parsed] == [{"LakeName": "sales", "ResultDays": "7"}, {}]


@pytest.mark.parametrize("arguments", [
    ["storage", "--primary", PRIMARY, "--standby", PRIMARY],
    ["storage", "--primary", PRIMARY, "--standby", STANDBY, "LakeName"],
    ["storage", "--primary", PRIMARY],
])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as refused:
        deploy_lake.parse_arguments(arguments)
    assert refused.value.code == 2


def run_storage(aws):
    aws.deployed.clear()
    deploy_lake.deploy_storage(aws, PRIMARY, STANDBY, "s", None, {"LakeName": "sales"})
    return [(region, parameters.get("PeerKeyArn")) for region, _, _, parameters in aws.deployed]


def test_storage_is_deployed_in_three_passes_and_then_in_two():
    aws = FakeAws()
    both_ways = [(STANDBY, KEYS[PRIMARY]), (PRIMARY, KEYS[STANDBY])]
    assert run_storage(aws) == [(PRIMARY, None), *both_ways]
    assert all(d[1:3] == ("s", "storage.yaml") and d[3]["LakeName"] == "sales" and d[3]["PeerRegion"] == PEER[d[0]]
               for d in aws.deployed)
    # No pass takes away the primary's rules again.
    assert run_storage(aws) == both_ways
    # After an interruption between the passes, the rest is done.
    del aws.stacks[STANDBY, "s"]
    assert run_storage(aws) == both_ways


def test_each_bucket_notifies_the_queue_of_its_region():
    queues = {(region, "twinlake"): {"ReplicationQueue": f"arn:aws:sqs:{region}:{ACCOUNT}:q"} for region in PEER}
    aws = FakeAws(outputs=dict(queues))
    run_storage(aws)
    assert [d[3]["ReplicationQueueArn"] for d in aws.deployed] == [
        f"arn:aws:sqs:{region}:{ACCOUNT}:q" for region in (PRIMARY, STANDBY, PRIMARY)]
    # A queue that the operator names is kept, and without a Twinlake stack there is none.
    aws.deployed.clear()
    deploy_lake.deploy_storage(aws, PRIMARY, STANDBY, "s", None, {"ReplicationQueueArn": "mine"})
    assert {d[3]["ReplicationQueueArn"] for d in aws.deployed} == {"mine"}
    aws = FakeAws()
    run_storage(aws)
    assert all("ReplicationQueueArn" not in d[3] for d in aws.deployed)


def test_a_stack_with_the_region_in_its_name_is_found_and_a_missing_one_is_said(capsys):
    queue = f"arn:aws:sqs:{PRIMARY}:{ACCOUNT}:q"
    aws = FakeAws(outputs={(PRIMARY, f"twinlake-{PRIMARY}"): {"ReplicationQueue": queue}})
    run_storage(aws)
    assert [d[3].get("ReplicationQueueArn") for d in aws.deployed] == [queue, None, queue]
    said = capsys.readouterr().out
    assert f"{STANDBY}: there is no stack twinlake or twinlake-{STANDBY} with a queue" in said and "again" in said
    assert f"{PRIMARY}:" not in said
    # One that the operator names must be there, in both Regions, before anything is deployed.
    aws.deployed.clear()
    with pytest.raises(deploy_lake.Refused, match=f"{PRIMARY}: there is no stack other or other-{PRIMARY} "):
        deploy_lake.deploy_storage(aws, PRIMARY, STANDBY, "s", "other", {})
    assert aws.deployed == []


def test_a_stack_over_what_a_removed_one_left_is_refused_before_anything_is_deployed():
    for what, parameter, prefix in (("audit", "TrailName", "twinlake-audit"), ("storage", "LakeName", "lake")):
        def run(aws, parameters):
            if what == "audit":
                deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "s", parameters)
            else:
                deploy_lake.deploy_storage(aws, PRIMARY, STANDBY, "s", None, parameters)

        aws = FakeAws()
        aws.buckets = {f"{prefix}-{ACCOUNT}-{STANDBY}"}
        with pytest.raises(deploy_lake.Refused) as refused:
            run(aws, {})
        assert f"the bucket {prefix}-{ACCOUNT}-{STANDBY} exists" in str(refused.value)
        assert f"{parameter}={prefix}-2" in str(refused.value) and aws.deployed == []
        run(aws, {parameter: f"{prefix}-2"})
        assert {d[0] for d in aws.deployed} == {PRIMARY, STANDBY}
        # What a stack has is its own.
        aws.buckets = {f"{prefix}-2-{ACCOUNT}-{region}" for region in PEER}
        run(aws, {parameter: f"{prefix}-2"})


def test_a_stack_whose_creation_failed_is_deleted_first(capsys):
    for status, is_deleted in (("ROLLBACK_COMPLETE", True), ("UPDATE_ROLLBACK_COMPLETE", False)):
        cloudformation = mock.Mock()
        cloudformation.describe_stacks.return_value = {"Stacks": [{"StackStatus": status, "StackId": "id"}]}
        deploy_lake.delete_failed_creation(cloudformation, PRIMARY, "s")
        assert cloudformation.delete_stack.called == is_deleted
        assert cloudformation.get_waiter.called == is_deleted
    assert capsys.readouterr().out == f"{PRIMARY}: deleting the stack s, whose creation failed\n"


ALL = {"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]}


def advanced(*fields):
    return {"AdvancedEventSelectors": [{"Name": "n", "FieldSelectors": [
        {"Field": "eventCategory", "Equals": ["Management"]}, *fields]}]}


@pytest.mark.parametrize("selectors, logs_all", [
    (ALL, True),
    ({"EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "WriteOnly"}]}, False),
    ({"EventSelectors": [{"IncludeManagementEvents": False, "ReadWriteType": "All"}]}, False),
    ({"EventSelectors": [ALL["EventSelectors"][0] | {"ExcludeManagementEventSources": ["kms.amazonaws.com"]}]}, True),
    ({"EventSelectors": [ALL["EventSelectors"][0] | {"ExcludeManagementEventSources": ["glue.amazonaws.com"]}]}, False),
    (advanced(), True),
    (advanced({"Field": "eventSource", "NotEquals": ["kms.amazonaws.com", "rdsdata.amazonaws.com"]}), True),
    (advanced({"Field": "eventSource", "NotEquals": ["lakeformation.amazonaws.com"]}), False),
    (advanced({"Field": "eventSource", "Equals": ["glue.amazonaws.com"]}), False),
    (advanced({"Field": "readOnly", "Equals": ["false"]}), False),
    ({"AdvancedEventSelectors": [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Data"]}]}]}, False),
    ({}, False),
])
def test_which_event_selectors_log_all_management_events(selectors, logs_all):
    assert deploy_lake.selects_all_management_events(selectors) is logs_all


def test_a_region_with_a_suitable_trail_gets_no_second_one(capsys):
    other = f"arn:aws:cloudtrail:{PRIMARY}:{ACCOUNT}:trail/all"
    aws = FakeAws(trails={PRIMARY: {other: ({"IsLogging": True}, ALL)}, STANDBY: {other: ({"IsLogging": False}, ALL)}})
    deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "a", {"LogDays": "90"})
    # A trail that does not log is none.
    assert aws.deployed == [(STANDBY, "a", "audit.yaml", {"LogDays": "90"})]
    assert f"{PRIMARY}: the trail {other}" in capsys.readouterr().out
    # The stack's own trail is updated, though it is a suitable one.
    aws.deployed.clear()
    aws.found_trails[STANDBY] = {TRAILS[STANDBY]: ({"IsLogging": True}, ALL)}
    deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "a", {})
    assert [d[0] for d in aws.deployed] == [STANDBY]


DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, "GetEventSelectors")
ORGANIZATION_TRAIL = f"arn:aws:cloudtrail:{PRIMARY}:444455556666:trail/organization"


def test_a_trail_that_cannot_be_read_asks_for_a_choice(capsys):
    own = {TRAILS[PRIMARY]: ({"IsLogging": True}, ALL)}
    trails = {PRIMARY: own | {ORGANIZATION_TRAIL: DENIED}, STANDBY: {ORGANIZATION_TRAIL: DENIED}}
    aws = FakeAws(trails=trails)
    with pytest.raises(deploy_lake.UnreadableTrails) as refused:
        deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "a", {})
    # Only where no other trail is suitable, and before anything is deployed.
    assert str(refused.value).startswith(f"{STANDBY}: ") and ORGANIZATION_TRAIL in str(refused.value)
    assert "--unreadable-trail accept" in str(refused.value) and "not authorized" in str(refused.value)
    assert aws.deployed == []
    deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "a", {}, "accept")
    assert aws.deployed == [] and f"{STANDBY}: the trail {ORGANIZATION_TRAIL}" in capsys.readouterr().out
    deploy_lake.deploy_audit(aws, PRIMARY, STANDBY, "a", {}, "ignore")
    assert [d[0] for d in aws.deployed] == [STANDBY]


def test_the_choice_reaches_the_deployment():
    args, parameters = deploy_lake.parse_arguments(
        ["audit", "--primary", PRIMARY, "--standby", STANDBY, *"LogDays=90 --unreadable-trail accept".split()])
    assert args.unreadable_trail == "accept" and parameters == {"LogDays": "90"}


# docs/deploy.md

GUIDE = (ROOT / "docs/deploy.md").read_text()


def blocks(language):
    """Returns the blocks of the guide in a language, without the indentation of lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", GUIDE, re.M | re.S)
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, text in found]


def test_the_shell_can_read_the_commands_of_the_guide():
    for block in blocks("sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert done.returncode == 0, block + done.stderr


def test_the_role_options_of_the_guide(tmp_path):
    """`aws` is a program that prints an output as the AWS CLI does."""
    (tmp_path / "aws").write_text('#!/bin/sh\necho "arn:$4:one,arn:$4:two"\n')
    (tmp_path / "twinlake").write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    for program in ("aws", "twinlake"):
        (tmp_path / program).chmod(0o755)
    (command,) = [text for text in blocks("sh") if "twinlake doctor" in text]
    done = subprocess.run(["bash", "-c", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
                          capture_output=True, text=True, check=True)
    roles = [f"arn:{region}:{name}" for region in PEER for name in ("one", "two")]
    assert done.stdout.split() == ["doctor", "--region", STANDBY,
                                   *(word for role in roles for word in ("--twinlake-role", role))]


def test_with_the_policy_of_the_guide_the_registrations_of_both_regions_are_equal(tmp_path):
    cli = CliSandbox(tmp_path)
    try:
        for region in PEER:
            resources = storage(region)
            for location in resources.values():
                if location["Type"] == "AWS::LakeFormation::Resource":
                    cli.clients.client("lakeformation", region).register_resource(
                        ResourceArn=location["Properties"]["ResourceArn"], RoleArn=location["Properties"]["RoleArn"])
        policy, _ = blocks("toml")
        (tmp_path / "policy.toml").write_text(policy)
        assert cli.run("policy", "check", "policy.toml").returncode == 0
        done = cli.run_with_policy("plan")
        assert done.returncode == 0, done.stdout + done.stderr
        # Without the pair of roles the plan reports the standby's registrations.
        (tmp_path / "policy.toml").write_text(policy[:policy.index("[[principal]]")])
        assert "unmanaged" in cli.run_with_policy("plan").stdout
    finally:
        cli.stop()


def test_the_deployment_file_of_the_guide_fits_its_policy(tmp_path):
    policy, deployment = blocks("toml")
    (tmp_path / "policy.toml").write_text(policy)
    (tmp_path / "deploy.toml").write_text(deployment)
    template = load_template()
    stacks = deploy.read_deployment(tmp_path / "deploy.toml", template).stacks
    assert [stack.region for stack in stacks] == [PRIMARY, STANDBY]
    standby = stacks[1].parameters
    assert standby["RegistrationRoleArns"] == properties(storage(STANDBY), "RawLocation")["RoleArn"]
    assert standby["ReplicaBucketArns"] == BUCKETS[STANDBY]
    rules = properties(storage(PRIMARY), "Bucket")["ReplicationConfiguration"]["Rules"]
    for stack in stacks:
        assert stack.parameters["S3ReplicationRuleId"] in [rule["Id"] for rule in rules]
        assert f"arn:aws:s3:::{stack.parameters['S3SourceBucket']}" == BUCKETS[PRIMARY]
        assert f"arn:aws:s3:::{stack.parameters['S3DestinationBucket']}" == BUCKETS[STANDBY]


def test_each_replicated_prefix_is_a_pair_of_the_policy():
    policy, _ = blocks("toml")
    pairs = {(pair["a"], pair["b"]) for pair in tomllib.loads(policy)["location"]}
    names = {region: BUCKETS[region].removeprefix("arn:aws:s3:::") for region in PEER}
    assert pairs == {(f"s3://{names[PRIMARY]}/{prefix}", f"s3://{names[STANDBY]}/{prefix}") for prefix in PREFIXES}


def test_the_guide_names_what_the_stacks_make():
    for region in PEER:
        resources = storage(region)
        for name in (properties(resources, "Bucket")["BucketName"], properties(resources, "RegistrationRole")["RoleName"]):
            assert name in GUIDE, name
    parameters = load_template(ROOT / "stacks/storage.yaml")["Parameters"]
    # deploy_lake.py sets the others.
    for name in parameters.keys() - {"PeerRegion", "PeerKeyArn", "ReplicationQueueArn"}:
        row = re.search(rf"^\| `{name}` \| `?([^`|]+?)`? \|", GUIDE, re.M)
        assert row and row.group(1) == str(parameters[name]["Default"]), name


# On a local AWS


class LocalAws(Deployment):
    """The local AWS and the sandbox, with nothing deployed."""

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self


@pytest.fixture(scope="module")
def local_aws():
    with LocalAws() as running:
        yield running


@pytest.fixture
def aws_environment(local_aws, monkeypatch):
    """Lets boto3 and `sam` find the local AWS."""
    for name, value in {**local_aws.cli_environment(), "SAM_CLI_TELEMETRY": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", raising=False)
    return local_aws


def test_the_passes_work_with_sam(aws_environment, tmp_path, monkeypatch):
    """The local AWS lacks the type AWS::LakeFormation::Resource, and ignores the rules of a bucket."""
    template = load_template(ROOT / "stacks/storage.yaml")
    template["Resources"] = {name: resource for name, resource in template["Resources"].items()
                             if resource["Type"] != "AWS::LakeFormation::Resource"}
    (tmp_path / "storage.yaml").write_text(json.dumps(template))
    monkeypatch.setattr(deploy_lake, "STACKS", tmp_path)
    aws = deploy_lake.Aws()
    assert aws.outputs(PRIMARY, "twinlake-storage") == {}
    for _ in range(2):
        deploy_lake.deploy_storage(aws, PRIMARY, STANDBY, "twinlake-storage", None, {"LakeName": "passes"})
    for region, peer in PEER.items():
        outputs = aws.outputs(region, "twinlake-storage")
        assert outputs.pop("Key").startswith(f"arn:aws:kms:{region}:")
        assert outputs == {"Bucket": f"passes-{ACCOUNT}-{region}", "Workgroup": "passes",
                           "RegistrationRole": f"arn:aws:iam::{ACCOUNT}:role/passes-registration-{region}"}
        found = aws_environment.client("cloudformation", region).describe_stacks(StackName="twinlake-storage")
        values = {p["ParameterKey"]: p["ParameterValue"] for p in found["Stacks"][0]["Parameters"]}
        assert values["PeerKeyArn"] == aws.outputs(peer, "twinlake-storage")["Key"]
        assert aws_environment.client("iam", region).get_role(RoleName=f"passes-replication-{region}-to-{peer}")


def test_trails_are_found_with_their_selectors(aws_environment):
    cloudtrail = aws_environment.client("cloudtrail", PRIMARY)
    aws_environment._create_bucket(aws_environment.client("s3", PRIMARY), PRIMARY, "trail-logs")
    cloudtrail.create_trail(Name="all", S3BucketName="trail-logs")
    assert deploy_lake.suitable_trail(deploy_lake.Aws(), PRIMARY) is None
    cloudtrail.start_logging(Name="all")
    cloudtrail.put_event_selectors(TrailName="all", EventSelectors=ALL["EventSelectors"])
    assert deploy_lake.suitable_trail(deploy_lake.Aws(), PRIMARY).endswith(":trail/all")


def as_api_input(configuration):
    """Returns a ReplicationConfiguration of CloudFormation in the form of PutBucketReplication."""
    configuration = copy.deepcopy(configuration)
    for rule in configuration["Rules"]:
        rule["ID"] = rule.pop("Id")
    return configuration


def test_the_batch_replication_of_the_guide_is_a_request_of_the_api():
    (command,) = [text for text in blocks("sh") if "create-job" in text]
    options = dict(re.findall(r"--(operation|report|manifest-generator) '(.*?)'", command, re.S))
    client = boto3.client("s3control", region_name=PRIMARY)
    validate_parameters({
        "AccountId": ACCOUNT, "Priority": 1, "RoleArn": "BATCH_ROLE_ARN", "ClientRequestToken": "t",
        "ConfirmationRequired": False, "Operation": json.loads(options["operation"]),
        "Report": json.loads(options["report"]), "ManifestGenerator": json.loads(options["manifest-generator"]),
    }, client.meta.service_model.operation_model("CreateJob").input_shape)


@pytest.mark.parametrize("time_control", ["Disabled", "Enabled"])
def test_s3_accepts_the_rules_and_replicates_both_ways(local_aws, time_control):
    lake = f"lake-{time_control.lower()}"
    names = {region: f"{lake}-{ACCOUNT}-{region}" for region in PEER}
    for region, name in names.items():
        s3 = local_aws.client("s3", region)
        local_aws._create_bucket(s3, region, name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for region, name in names.items():
        bucket = properties(storage(region, LakeName=lake, ReplicationTimeControl=time_control), "Bucket")
        local_aws.client("s3", region).put_bucket_replication(
            Bucket=name, ReplicationConfiguration=as_api_input(bucket["ReplicationConfiguration"]))
    for region, peer in PEER.items():
        s3, peer_s3 = local_aws.client("s3", region), local_aws.client("s3", peer)

        def replicas():
            listed = peer_s3.list_objects_v2(Bucket=names[peer])["Contents"]
            return sorted(o["Key"] for o in listed if o["Key"].endswith(region))

        for prefix in (*PREFIXES, "athena-results/"):
            s3.put_object(Bucket=names[region], Key=f"{prefix}{region}", Body=b"1")
        assert replicas() == sorted(f"{prefix}{region}" for prefix in PREFIXES)
        # The delete marker is replicated.
        s3.delete_object(Bucket=names[region], Key=f"raw/{region}")
        assert replicas() == [f"analytics/{region}", f"curated/{region}"]


def test_the_doctor_finds_nothing_about_the_storage_of_the_guide(local_aws, monkeypatch):
    for region in PEER:
        key = local_aws.client("kms", region).create_key()["KeyMetadata"]["Arn"]
        monkeypatch.setitem(KEYS, region, key)
        s3 = local_aws.client("s3", region)
        bucket = properties(storage(region), "Bucket")
        local_aws._create_bucket(s3, region, bucket["BucketName"])
        s3.put_bucket_versioning(
            Bucket=bucket["BucketName"], VersioningConfiguration=bucket["VersioningConfiguration"])
    for region in PEER:
        s3, resources = local_aws.client("s3", region), storage(region)
        bucket = properties(resources, "Bucket")
        name = bucket["BucketName"]
        (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [{
            "BucketKeyEnabled": rule["BucketKeyEnabled"],
            "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}]})
        s3.put_bucket_replication(
            Bucket=name, ReplicationConfiguration=as_api_input(bucket["ReplicationConfiguration"]))
        role, iam = properties(resources, "ReplicationRole"), local_aws.client("iam", region)
        iam.create_role(RoleName=role["RoleName"],
                        AssumeRolePolicyDocument=json.dumps(role["AssumeRolePolicyDocument"]))
        for policy in role["Policies"]:
            iam.put_role_policy(RoleName=role["RoleName"], PolicyName=policy["PolicyName"],
                                PolicyDocument=json.dumps(policy["PolicyDocument"]))
        sqs = local_aws.client("sqs", region)
        url = sqs.create_queue(QueueName="twinlake-ReplicationQueue-1A2B")["QueueUrl"]
        queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        notifications = properties(storage(region, ReplicationQueueArn=queue), "Bucket")["NotificationConfiguration"]
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": [
            {"QueueArn": entry["Queue"], "Events": [entry["Event"]]}
            for entry in notifications["QueueConfigurations"]]})
        for location in resources.values():
            if location["Type"] == "AWS::LakeFormation::Resource":
                local_aws.client("lakeformation", region).register_resource(
                    ResourceArn=location["Properties"]["ResourceArn"], RoleArn=location["Properties"]["RoleArn"])
        s3.put_object(Bucket=name, Key=f"raw/check/{region}", Body=b"1")
        s3.delete_object(Bucket=name, Key=f"raw/check/{region}")
    local_aws.policy_file.write_text(blocks("toml")[0])
    done = local_aws.twinlake("doctor", "--policy", str(local_aws.policy_file), "--ledger", "doctor.json")
    found = set(re.findall(r"^(?:BLOCKER|WARNING|UNKNOWN) (\S+)", done.stdout, re.M))
    # Nobody is an administrator, and another test makes the trail of one Region.
    assert {"administrators", "trail"} <= found <= {"administrators", "trail", "table-locations"}, done.stdout
