"""`twinlake setup` on a local AWS: for buckets that exist and have other rules and notifications, and where nothing
exists, compared with stacks/storage.yaml and stacks/audit.yaml."""

import json
import subprocess

import pytest

from stack import ACCOUNT, PRIMARY, STANDBY, TARGET
from test_stacks import KEYS, LocalAws, render, storage

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


# Where nothing exists


def as_bucket(s3, name):
    """Returns the properties of a bucket, as a template has them."""
    def lifecycle_rule(rule):
        found = {"Id": rule.pop("ID"), "Status": rule.pop("Status")}
        prefix = rule.pop("Filter")["Prefix"]
        if prefix:
            found["Prefix"] = prefix
        expiration = rule.pop("Expiration", {})
        if "Days" in expiration:
            found["ExpirationInDays"] = expiration.pop("Days")
        return found | expiration | rule

    found = {
        "BucketName": name,
        "VersioningConfiguration": {"Status": s3.get_bucket_versioning(Bucket=name).get("Status")},
        "OwnershipControls": s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"],
        "PublicAccessBlockConfiguration": s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"],
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [
            {name.removeprefix("Apply"): value for name, value in rule.items()}
            for rule in s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]]},
        "LifecycleConfiguration": {"Rules": [
            lifecycle_rule(rule) for rule in s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]]},
    }
    (encryption,) = found["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    # AWS says so of each bucket without a Bucket Key.
    if encryption.get("BucketKeyEnabled") is False:
        del encryption["BucketKeyEnabled"]
    queues = s3.get_bucket_notification_configuration(Bucket=name).get("QueueConfigurations", [])
    if queues:
        found["NotificationConfiguration"] = {"QueueConfigurations": [
            {"Event": event, "Queue": queue["QueueArn"]} for queue in queues for event in queue["Events"]]}
    try:
        replication = s3.get_bucket_replication(Bucket=name)["ReplicationConfiguration"]
    except s3.exceptions.ClientError:
        return found
    rules = [{"Id": rule.pop("ID"), **rule} for rule in replication["Rules"]]
    return found | {"ReplicationConfiguration": {"Role": replication["Role"], "Rules": rules}}


def as_role(iam, name):
    role = iam.get_role(RoleName=name)["Role"]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return {"RoleName": name, "AssumeRolePolicyDocument": role["AssumeRolePolicyDocument"], "Policies": [
        {"PolicyName": policy,
         "PolicyDocument": iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]}
        for policy in names]}


def as_workgroup(athena, name):
    found = athena.get_work_group(WorkGroup=name)["WorkGroup"]
    configuration = found["Configuration"]
    return {"Name": name, "Description": found["Description"],
            # Only CloudFormation's deletion of the workgroup uses it.
            "RecursiveDeleteOption": True,
            "WorkGroupConfiguration": {key: configuration[key] for key in (
                "EnforceWorkGroupConfiguration", "ResultConfiguration")}}


def as_trail(cloudtrail, name):
    found = cloudtrail.get_trail(Name=name)["Trail"]
    selectors = cloudtrail.get_event_selectors(TrailName=name)["EventSelectors"]
    return {"TrailName": name, "IsLogging": cloudtrail.get_trail_status(Name=name)["IsLogging"],
            "EnableLogFileValidation": found["LogFileValidationEnabled"], "KMSKeyId": found["KmsKeyId"],
            **{key: found[key] for key in ("IsMultiRegionTrail", "IncludeGlobalServiceEvents", "S3BucketName")},
            "EventSelectors": [{key: selector[key] for key in ("IncludeManagementEvents", "ReadWriteType")}
                               for selector in selectors]}


def made(aws, region, resource):
    """Returns the properties of what exists in the place of a rendered resource."""
    wanted, client = resource["Properties"], lambda service: aws.client(service, region)
    match resource["Type"]:
        case "AWS::KMS::Key":
            kms, key = client("kms"), KEYS[region]
            return {"Description": kms.describe_key(KeyId=key)["KeyMetadata"]["Description"],
                    "EnableKeyRotation": kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"],
                    "KeyPolicy": json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])}
        case "AWS::KMS::Alias":
            return {"AliasName": wanted["AliasName"], "TargetKeyId": key_of(aws, region, wanted["AliasName"])}
        case "AWS::S3::Bucket":
            return as_bucket(client("s3"), wanted["BucketName"])
        case "AWS::S3::BucketPolicy":
            return {"Bucket": wanted["Bucket"],
                    "PolicyDocument": json.loads(client("s3").get_bucket_policy(Bucket=wanted["Bucket"])["Policy"])}
        case "AWS::IAM::Role":
            return as_role(client("iam"), wanted["RoleName"])
        case "AWS::LakeFormation::Resource":
            listed = client("lakeformation").list_resources()["ResourceInfoList"]
            (found,) = [entry for entry in listed if entry["ResourceArn"] == wanted["ResourceArn"]]
            return {"ResourceArn": found["ResourceArn"], "RoleArn": found["RoleArn"], "UseServiceLinkedRole": False}
        case "AWS::Athena::WorkGroup":
            return as_workgroup(client("athena"), wanted["Name"])
        case "AWS::CloudTrail::Trail":
            return as_trail(client("cloudtrail"), wanted["TrailName"])
    raise AssertionError(resource["Type"])


def key_of(aws, region, alias):
    return aws.client("kms", region).describe_key(KeyId=alias)["KeyMetadata"]["Arn"]


def setup(aws, directory, *args, stdin="", **environment):
    return subprocess.run([str(TARGET / "twinlake"), "setup", *args], input=stdin, text=True, capture_output=True,
                          env=aws.cli_environment() | environment, cwd=directory, timeout=120)


REGIONS = ("--primary", PRIMARY, "--standby", STANDBY)


def assert_as_rendered(aws, region, resources):
    for name, resource in resources.items():
        assert made(aws, region, resource) == resource["Properties"], (region, name)


def test_the_storage_is_what_the_template_makes_and_a_broken_run_is_continued(local_aws, tmp_path, monkeypatch):
    def run(*args, **options):
        return setup(local_aws, tmp_path, "storage", *REGIONS, "--lake-name", "dunes", *args, **options)

    for args, stdin in ((["--dry-run"], ""), ([], "no\n")):
        done = run(*args, stdin=stdin)
        assert done.returncode == 2, done.stdout + done.stderr
        assert f"{STANDBY}: would create the bucket dunes-{ACCOUNT}-{STANDBY}" in done.stdout
    assert not [b for b in local_aws.client("s3", PRIMARY).list_buckets()["Buckets"] if "dunes" in b["Name"]]
    done = run(stdin="yes\n")
    assert done.returncode == 0, done.stdout + done.stderr
    for region in PEER:
        monkeypatch.setitem(KEYS, region, key_of(local_aws, region, "alias/dunes"))
    for region in PEER:
        assert_as_rendered(local_aws, region, storage(region, LakeName="dunes"))
    done = run("--yes")
    assert done.returncode == 0 and "No changes are needed" in done.stdout, done.stdout + done.stderr

    # A run that broke off: parts are missing in one Region. The stack is there meanwhile.
    bucket, s3 = f"dunes-{ACCOUNT}-{STANDBY}", local_aws.client("s3", STANDBY)
    iam, role = local_aws.client("iam", STANDBY), f"dunes-registration-{STANDBY}"
    local_aws.client("kms", STANDBY).delete_alias(AliasName="alias/dunes")
    local_aws.client("kms", STANDBY).disable_key_rotation(KeyId=KEYS[STANDBY])
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.delete_public_access_block(Bucket=bucket)
    s3.delete_bucket_encryption(Bucket=bucket)
    s3.delete_bucket_replication(Bucket=bucket)
    iam.delete_role_policy(RoleName=role, PolicyName="locations")
    local_aws.client("lakeformation", STANDBY).deregister_resource(ResourceArn=f"arn:aws:s3:::{bucket}/raw")
    local_aws.client("athena", STANDBY).delete_work_group(WorkGroup="dunes", RecursiveDeleteOption=True)
    url = local_aws.client("sqs", STANDBY).create_queue(QueueName="dunes-ReplicationQueue-1A2B")["QueueUrl"]
    done = run("--yes", "--stack", "dunes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{PRIMARY}: done" not in done.stdout
    queue = f"arn:aws:sqs:{STANDBY}:{ACCOUNT}:{url.rsplit('/', 1)[1]}"
    # The key is the one that was there.
    assert_as_rendered(local_aws, STANDBY, storage(STANDBY, LakeName="dunes", ReplicationQueueArn=queue))


def test_what_differs_stays_and_a_taken_name_is_refused(local_aws, tmp_path):
    def run(*args):
        return setup(local_aws, tmp_path, "storage", *REGIONS, "--lake-name", "taken", "--yes", *args)

    # A bucket of this name in the other Region, which could be of another account as well.
    s3, bucket = local_aws.client("s3", PRIMARY), f"taken-{ACCOUNT}-{STANDBY}"
    local_aws._create_bucket(s3, PRIMARY, bucket)
    done = run()
    assert done.returncode == 1, done.stdout
    assert f"{bucket}: the name is taken" in done.stderr and "--lake-name" in done.stderr, done.stderr
    assert f"would create the bucket taken-{ACCOUNT}-{PRIMARY}" in done.stdout and "done:" not in done.stdout
    s3.delete_bucket(Bucket=bucket)

    # A bucket of the account that has its own policy keeps it.
    standby = local_aws.client("s3", STANDBY)
    local_aws._create_bucket(standby, STANDBY, bucket)
    theirs = json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:DeleteBucket", "Resource": f"arn:aws:s3:::{bucket}"}]})
    standby.put_bucket_policy(Bucket=bucket, Policy=theirs)
    done = run()
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"not done: set the policy of {bucket}" in done.stdout
    assert json.loads(standby.get_bucket_policy(Bucket=bucket)["Policy"]) == json.loads(theirs)
    assert standby.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"

    # An alias that names another key.
    kms = local_aws.client("kms", PRIMARY)
    kms.create_alias(AliasName="alias/dune-2", TargetKeyId=kms.create_key(Description="theirs")["KeyMetadata"]["KeyId"])
    done = setup(local_aws, tmp_path, "storage", *REGIONS, "--lake-name", "dune-2", "--yes")
    assert done.returncode == 1 and '"theirs"' in done.stderr, done.stderr


def test_time_control_of_new_buckets_is_that_of_the_template_and_is_not_taken_for_there(
        local_aws, tmp_path, monkeypatch):
    def run(name, *args):
        return setup(local_aws, tmp_path, "storage", *REGIONS, "--lake-name", name, "--yes", *args)

    done = run("timed", "--replication-time-control")
    assert done.returncode == 0, done.stdout + done.stderr
    for region in PEER:
        monkeypatch.setitem(KEYS, region, key_of(local_aws, region, "alias/timed"))
    for region in PEER:
        rendered = storage(region, LakeName="timed", ReplicationTimeControl="Enabled")
        assert_as_rendered(local_aws, region, rendered)
    # It stays without the option, and is there with it.
    for args in ([], ["--replication-time-control"]):
        done = run("timed", *args)
        assert done.returncode == 0 and "No changes are needed" in done.stdout, done.stdout + done.stderr
    assert run("untimed").returncode == 0
    done = run("untimed", "--replication-time-control")
    assert done.returncode == 2, done.stdout + done.stderr
    for region in PEER:
        bucket = f"untimed-{ACCOUNT}-{region}"
        assert f"{region}: not done: replicate {bucket}" in done.stdout, done.stdout
    assert "its rules have no Replication Time Control" in done.stdout


def test_a_trail_that_is_not_readable_is_judged_by_the_option_alone(local_aws, tmp_path):
    def run(*args):
        return setup(local_aws, tmp_path, "audit", *REGIONS, "--trail-name", "judged", "--yes", *args)

    trails = {region: local_aws.client("cloudtrail", region) for region in PEER}
    bucket = "unreadable-logs"
    local_aws._create_bucket(local_aws.client("s3", PRIMARY), PRIMARY, bucket)
    for name in ("unreadable-1", "unreadable-2"):
        trails[PRIMARY].create_trail(Name=name, S3BucketName=bucket)
        trails[PRIMARY].start_logging(Name=name)
    arns = [f"arn:aws:cloudtrail:{PRIMARY}:{ACCOUNT}:trail/unreadable-{number}" for number in (1, 2)]
    try:
        # Nothing is decided or made, in neither Region, without the owner's word.
        done = run()
        assert done.returncode == 1, done.stdout
        assert all(f"{arn}: " in done.stderr for arn in arns) and "AccessDenied" in done.stderr, done.stderr
        assert "--unreadable-trail accept" in done.stderr and "done:" not in done.stdout
        done = run("--unreadable-trail", "accept")
        assert done.returncode == 0, done.stdout + done.stderr
        accepted = f"{PRIMARY}: not readable, and accepted as one that logs all management events: {', '.join(arns)}"
        assert accepted in done.stdout, done.stdout
        named = {region: [trail["Name"] for trail in client.describe_trails()["trailList"]]
                 for region, client in trails.items()}
        assert "judged" not in named[PRIMARY] and "judged" in named[STANDBY], named
        done = run("--unreadable-trail", "ignore")
        assert done.returncode == 0, done.stdout + done.stderr
        assert trails[PRIMARY].get_trail_status(Name="judged")["IsLogging"]
        assert "No changes are needed" in run("--unreadable-trail", "ignore").stdout
        # A trail that stopped logs nothing, whatever its selectors are.
        trails[PRIMARY].delete_trail(Name="judged")
        for arn in arns:
            trails[PRIMARY].stop_logging(Name=arn)
        assert "would" in run("--dry-run").stdout
    finally:
        for region, client in trails.items():
            for trail in client.describe_trails()["trailList"]:
                if trail["Name"].startswith(("unreadable", "judged")):
                    client.delete_trail(Name=trail["TrailARN"])


def test_the_trails_are_what_the_template_makes_and_none_is_made_beside_a_suitable_one(
        local_aws, tmp_path, monkeypatch):
    def run(*args):
        return setup(local_aws, tmp_path, "audit", *REGIONS, "--yes", *args)

    cloudtrail = local_aws.client("cloudtrail", PRIMARY)
    local_aws._create_bucket(local_aws.client("s3", PRIMARY), PRIMARY, "audit-logs")
    cloudtrail.create_trail(Name="theirs", S3BucketName="audit-logs")
    cloudtrail.put_event_selectors(TrailName="theirs", EventSelectors=[
        {"IncludeManagementEvents": True, "ReadWriteType": "All"}])
    cloudtrail.start_logging(Name="theirs")
    done = run("--dry-run")
    assert done.returncode == 2 and f"{PRIMARY}: would" not in done.stdout, done.stdout
    assert f"{PRIMARY}: the trail {cloudtrail.get_trail(Name='theirs')['Trail']['TrailARN']} logs" in done.stdout
    # One that does not log is none.
    cloudtrail.stop_logging(Name="theirs")
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr

    def assert_made():
        for region in PEER:
            monkeypatch.setitem(KEYS, region, key_of(local_aws, region, "alias/twinlake-audit"))
            assert_as_rendered(local_aws, region, render("audit", region))

    assert_made()
    done = run()
    assert done.returncode == 0 and "No changes are needed" in done.stdout, done.stdout + done.stderr
    # A run that broke off before the trail logged.
    cloudtrail.stop_logging(Name="twinlake-audit")
    assert run().returncode == 0
    assert_made()
    # A stopped one whose selectors somebody has changed: neither is touched.
    theirs = [{"IncludeManagementEvents": True, "ReadWriteType": "WriteOnly"}]
    made = cloudtrail.get_event_selectors(TrailName="twinlake-audit")["EventSelectors"]
    cloudtrail.put_event_selectors(TrailName="twinlake-audit", EventSelectors=theirs)
    cloudtrail.stop_logging(Name="twinlake-audit")
    done = run()
    assert done.returncode == 2 and "other event selectors, and it is stopped" in done.stdout, done.stdout
    found = cloudtrail.get_event_selectors(TrailName="twinlake-audit")["EventSelectors"]
    assert [selector["ReadWriteType"] for selector in found] == ["WriteOnly"]
    assert not cloudtrail.get_trail_status(Name="twinlake-audit")["IsLogging"]
    cloudtrail.put_event_selectors(TrailName="twinlake-audit", EventSelectors=made)
    assert run().returncode == 0
    assert_made()

    # A bucket of the lake's owner.
    done = run("--trail-name", "attached", "--attach", "audit-logs")
    assert "the trail" in done.stdout and done.returncode == 0, done.stdout
    for region in PEER:
        local_aws.client("cloudtrail", region).delete_trail(Name="twinlake-audit")
    done = run("--trail-name", "attached", "--attach", "audit-logs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert cloudtrail.get_trail(Name="attached")["Trail"]["S3BucketName"] == "audit-logs"
    policy = json.loads(local_aws.client("s3", PRIMARY).get_bucket_policy(Bucket="audit-logs")["Policy"])
    assert len(policy["Statement"]) == 2
    done = run("--trail-name", "attached", "--attach", "no-such-bucket")
    assert done.returncode == 1 and "no such bucket" in done.stderr
