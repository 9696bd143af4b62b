"""`twinlake setup storage` against buckets of a local AWS that exist and have other rules and notifications."""

import json
import subprocess

import pytest

from stack import ACCOUNT, PRIMARY, STANDBY, TARGET
from test_stacks import LocalAws

PEER = {PRIMARY: STANDBY, STANDBY: PRIMARY}
ROLE = f"arn:aws:iam::{ACCOUNT}:role/replication"
OTHER_RULE = {
    "ID": "logs", "Status": "Enabled", "Priority": 4, "Filter": {"And": {
        "Prefix": "logs/", "Tags": [{"Key": "keep", "Value": "yes"}]}},
    "DeleteMarkerReplication": {"Status": "Disabled"},
    "Destination": {"Bucket": "arn:aws:s3:::other", "StorageClass": "STANDARD_IA"},
}


@pytest.fixture(scope="module")
def local_aws():
    with LocalAws() as running:
        for region in PEER:
            running._create_bucket(running.client("s3", region), region, f"other-{region}")
        s3 = running.client("s3", PRIMARY)
        running._create_bucket(s3, PRIMARY, "other")
        s3.put_bucket_versioning(Bucket="other", VersioningConfiguration={"Status": "Enabled"})
        yield running


class Lake:
    """A bucket in each Region, which KMS encrypts, and a queue of a stack in each Region."""

    def __init__(self, aws, name, directory):
        self.aws, self.directory = aws, directory
        self.buckets = {region: f"{name}-{region}" for region in PEER}
        self.keys, self.queues = {}, {}
        for region, bucket in self.buckets.items():
            s3 = aws.client("s3", region)
            aws._create_bucket(s3, region, bucket)
            self.keys[region] = aws.client("kms", region).create_key()["KeyMetadata"]["Arn"]
            s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [{
                "ApplyServerSideEncryptionByDefault": {
                    "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": self.keys[region]}}]})
            self.queues[region] = self.create_queue(region, f"{name}-ReplicationQueue-1A2B")
        (directory / "policy.toml").write_text("".join(
            f'[[region]]\nid = "{site}"\nregion = "{region}"\naccount = "{ACCOUNT}"\n'
            for site, region in zip("ab", PEER)) + (
            f'[[location]]\na = "s3://{self.buckets[PRIMARY]}/warehouse"\n'
            f'b = "s3://{self.buckets[STANDBY]}/warehouse"\n'))
        self.stack = name

    def create_queue(self, region, name):
        sqs = self.aws.client("sqs", region)
        url = sqs.create_queue(QueueName=name)["QueueUrl"]
        return sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def start_setup(self, *args):
        """Starts the command for both buckets and returns its running process."""
        attach = [option for bucket in self.buckets.values() for option in ("--attach", bucket)]
        return subprocess.Popen(
            [str(TARGET / "twinlake"), "setup", "storage", "--policy", "policy.toml", "--stack", self.stack,
             "--replication-role", ROLE, *attach, *args],
            env=self.aws.cli_environment(), cwd=self.directory, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def setup(self, *args, stdin=""):
        process = self.start_setup(*args)
        stdout, stderr = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def configuration(self):
        """Returns versioning, rules and notifications of both buckets."""
        found = {}
        for region, bucket in self.buckets.items():
            s3 = self.aws.client("s3", region)
            notifications = s3.get_bucket_notification_configuration(Bucket=bucket)
            notifications.pop("ResponseMetadata")
            try:
                replication = s3.get_bucket_replication(Bucket=bucket)["ReplicationConfiguration"]
            except s3.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "ReplicationConfigurationNotFoundError"
                replication = None
            found[region] = {"versioning": s3.get_bucket_versioning(Bucket=bucket).get("Status"),
                             "replication": replication, "notifications": notifications}
        return json.loads(json.dumps(found))

    def keys_in(self, region):
        listed = self.aws.client("s3", region).list_objects_v2(Bucket=self.buckets[region])
        return sorted(entry["Key"] for entry in listed.get("Contents", []))


@pytest.fixture
def lake(local_aws, request, tmp_path):
    name = request.node.name.replace("_", "-").removeprefix("test-")[:30].strip("-")
    return Lake(local_aws, name, tmp_path)


def rule(lake, region, priority=1):
    return {
        "ID": "twinlake-warehouse/", "Status": "Enabled", "Priority": priority, "Filter": {"Prefix": "warehouse/"},
        "DeleteMarkerReplication": {"Status": "Enabled"},
        "SourceSelectionCriteria": {
            "SseKmsEncryptedObjects": {"Status": "Enabled"}, "ReplicaModifications": {"Status": "Enabled"}},
        "Destination": {"Bucket": f"arn:aws:s3:::{lake.buckets[PEER[region]]}",
                        "EncryptionConfiguration": {"ReplicaKmsKeyID": lake.keys[PEER[region]]},
                        "Metrics": {"Status": "Enabled"}},
    }


def notification(lake, region):
    return {"Id": "twinlake", "QueueArn": lake.queues[region], "Events": ["s3:Replication:*"]}


def test_bare_buckets_replicate_both_ways_and_a_second_run_changes_nothing(lake):
    before = lake.configuration()
    for args, stdin in ((["--dry-run"], ""), ([], "no\n")):
        done = lake.setup(*args, stdin=stdin)
        assert done.returncode == 2, done.stderr
        assert done.stdout.count("would turn on versioning") == done.stdout.count("would send") == 2
        assert lake.configuration() == before
    done = lake.setup(stdin="yes\n")
    assert done.returncode == 0, done.stdout + done.stderr
    after = lake.configuration()
    for region in PEER:
        assert after[region] == {
            "versioning": "Enabled", "replication": {"Role": ROLE, "Rules": [rule(lake, region)]},
            "notifications": {"QueueConfigurations": [notification(lake, region)]}}
    done = lake.setup("--yes")
    assert done.returncode == 0 and done.stdout.count("no changes are needed") == 2, done.stdout
    assert lake.configuration() == after
    for region in PEER:
        for key in (f"warehouse/{region}", f"athena-results/{region}"):
            lake.aws.client("s3", region).put_object(Bucket=lake.buckets[region], Key=key, Body=b"1")
    for region in PEER:
        assert lake.keys_in(region) == sorted(
            [f"athena-results/{region}", f"warehouse/{PRIMARY}", f"warehouse/{STANDBY}"])


def test_rules_and_notifications_of_others_stay(lake):
    other_queue = lake.create_queue(PRIMARY, "other-queue")
    other_topic = lake.aws.client("sns", PRIMARY).create_topic(Name="other")["TopicArn"]
    bucket, s3 = lake.buckets[PRIMARY], lake.aws.client("s3", PRIMARY)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_replication(
        Bucket=bucket, ReplicationConfiguration={"Role": f"{ROLE}-other", "Rules": [OTHER_RULE]})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={
        "QueueConfigurations": [{"Id": "q", "QueueArn": other_queue, "Events": ["s3:ObjectCreated:*"], "Filter": {
            "Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}, {"Name": "suffix", "Value": ".csv"}]}}}],
        "TopicConfigurations": [{"Id": "t", "TopicArn": other_topic, "Events": ["s3:ObjectRemoved:Delete"]}],
        "EventBridgeConfiguration": {}})
    before = lake.configuration()[PRIMARY]
    done = lake.setup("--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    after = lake.configuration()[PRIMARY]
    # A bucket has one role for all its rules.
    assert after["replication"] == {
        "Role": f"{ROLE}-other", "Rules": [*before["replication"]["Rules"], rule(lake, PRIMARY, priority=5)]}
    expected = before["notifications"]
    expected["QueueConfigurations"].append(notification(lake, PRIMARY))
    assert after["notifications"] == expected


def test_what_contradicts_a_rule_or_a_notification_is_not_added(lake):
    other_queue = lake.create_queue(PRIMARY, "failures")
    bucket, s3 = lake.buckets[PRIMARY], lake.aws.client("s3", PRIMARY)
    for region in PEER:
        lake.aws.client("s3", region).put_bucket_versioning(
            Bucket=lake.buckets[region], VersioningConfiguration={"Status": "Enabled"})
    paused = {**rule(lake, PRIMARY), "ID": "paused", "Status": "Disabled"}
    s3.put_bucket_replication(Bucket=bucket, ReplicationConfiguration={"Role": ROLE, "Rules": [paused]})
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [
        {"Id": "q", "QueueArn": other_queue, "Events": ["s3:Replication:OperationFailedReplication"]}]})
    before = lake.configuration()[PRIMARY]
    done = lake.setup("--yes")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The rule paused" in done.stdout and "is disabled" in done.stdout
    assert f"replication events to {other_queue}" in done.stdout
    assert lake.configuration()[PRIMARY] == before
    # The other bucket is attached.
    assert lake.configuration()[STANDBY]["replication"]["Rules"] == [rule(lake, STANDBY)]


def test_nothing_is_changed_if_a_bucket_changes_before_the_confirmation(lake):
    process = lake.start_setup()
    assert "Type `yes`" in process.stderr.readline()
    s3 = lake.aws.client("s3", PRIMARY)
    s3.put_bucket_versioning(
        Bucket=lake.buckets[PRIMARY], VersioningConfiguration={"Status": "Enabled"})
    before = lake.configuration()
    _, stderr = process.communicate("yes\n", timeout=60)
    assert process.returncode == 1 and "have changed" in stderr
    assert lake.configuration() == before


def test_time_control_and_a_named_key(lake):
    key = lake.aws.client("kms", STANDBY).create_key()["KeyMetadata"]["Arn"]
    done = lake.setup("--yes", "--replication-time-control", "--replica-key", key)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = lake.configuration()[PRIMARY]["replication"]["Rules"]
    minutes = {"Minutes": 15}
    assert found["Destination"] == {
        "Bucket": f"arn:aws:s3:::{lake.buckets[STANDBY]}", "EncryptionConfiguration": {"ReplicaKmsKeyID": key},
        "Metrics": {"Status": "Enabled", "EventThreshold": minutes},
        "ReplicationTime": {"Status": "Enabled", "Time": minutes}}


def test_a_bucket_outside_the_policy_is_refused(lake):
    done = lake.setup("--yes", "--attach", "other")
    assert done.returncode == 1
    assert '"other"' in done.stderr and "[[location]]" in done.stderr
    assert lake.configuration()[PRIMARY]["versioning"] is None
