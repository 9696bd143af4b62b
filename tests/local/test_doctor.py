"""`twinlake doctor` against the local AWS: no finding on a sound pair, and one for each single fault."""

import json
import time
import urllib.request

import pytest

import iam_roles
from stack import ACCOUNT, BUCKETS, PRIMARY, SITES, STANDBY, Deployment, load_template

LEDGER = "twinlake-ledger"
POLICY_KEY = {"pk": {"S": "meta"}, "sk": {"S": "policy"}}
VERIFIED_KEY = {"pk": {"S": "meta"}, "sk": {"S": "verified_at"}}
PREFIX = "curated/"
POLICY = SITES.replace(f'{BUCKETS[PRIMARY]}/"', f'{BUCKETS[PRIMARY]}/{PREFIX}"').replace(
    f'{BUCKETS[STANDBY]}/"', f'{BUCKETS[STANDBY]}/{PREFIX}"')
ROLE = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
PEER = {PRIMARY: STANDBY, STANDBY: PRIMARY}
CLOSED = {
    "DataLakeAdmins": [{"DataLakePrincipalIdentifier": ROLE}],
    "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": [],
}


class Pair(Deployment):
    """Two Regions with buckets, keys, trails and a table, without a deployment of Twinlake."""

    def __enter__(self):
        try:
            self._prepare()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _prepare(self):
        self.start()
        self.policy_file.write_text(POLICY)
        self.keys, self.queues = {}, {}
        for region, bucket in BUCKETS.items():
            self._create_bucket(self.client("s3", region), region, bucket)
            key = self.client("kms", region).create_key(Description="lake")["KeyMetadata"]
            self.keys[region] = key["Arn"]
            self.queues[region] = self._create_queue(region)
            trail_bucket = f"trail-{region}"
            self._create_bucket(self.client("s3", region), region, trail_bucket)
            self.client("cloudtrail", region).create_trail(Name="audit", S3BucketName=trail_bucket)
        glue = self.client("glue", PRIMARY)
        glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        self.create_table("orders", f"s3://{BUCKETS[PRIMARY]}/{PREFIX}orders/")
        # Without it, Lake Formation hides columns from the role.
        self.client("lakeformation", PRIMARY).grant_permissions(
            Principal={"DataLakePrincipalIdentifier": ROLE},
            Resource={"Table": {"DatabaseName": "sales", "TableWildcard": {}}},
            Permissions=["DESCRIBE", "SELECT"])
        self.iam = self.client("iam", PRIMARY)
        self.make_sound()
        self.client("lakeformation", PRIMARY).grant_permissions(
            Principal={"DataLakePrincipalIdentifier": iam_roles.READER_ARN},
            Resource={"Table": {"DatabaseName": "sales", "Name": "orders"}}, Permissions=["SELECT"])
        self.put_object(f"{PREFIX}orders/1.parquet")
        self._create_ledgers()
        self.key_policy = self.client("kms", STANDBY).get_key_policy(
            KeyId=self.keys[STANDBY], PolicyName="default")["Policy"]

    def _create_ledgers(self):
        """Creates the ledgers as a deployment does, and fills the standby."""
        ledger = load_template()["Resources"]["Ledger"]["Properties"]
        names = ["BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"]
        for region in BUCKETS:
            self.client("dynamodb", region).create_table(
                TableName=LEDGER, **{name: ledger[name] for name in names})
        self.fill_ledgers()

    def fill_ledgers(self):
        """Pushes the policy, and runs a resync."""
        self.twinlake("policy", "push", "policy.toml")
        done = self.twinlake("resync", "--policy", "policy.toml", "--caller-arn", ROLE)
        assert done.returncode == 0, done.stdout
        # No function runs here; test_canaries.py has them.
        seen = {"sent": {"at": 0, "canaries": []}, "received": {"at": time.time(), "canaries": []}}
        for region in BUCKETS:
            self.client("dynamodb", region).put_item(TableName=LEDGER, Item={
                "pk": {"S": "meta"}, "sk": {"S": "canaries"}, "body": {"S": json.dumps(seen)}})

    def _create_queue(self, region):
        sqs = self.client("sqs", region)
        url = sqs.create_queue(QueueName="twinlake-ReplicationQueue-1A2B")["QueueUrl"]
        arn = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        statement = {"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
                     "Action": "sqs:SendMessage", "Resource": arn}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        return arn

    def create_table(self, name, location, **parameters):
        self.client("glue", PRIMARY).create_table(DatabaseName="sales", TableInput={
            "Name": name, "Parameters": parameters, "StorageDescriptor": {
                "Columns": [{"Name": "id", "Type": "int"}], "Location": location}})

    def put_object(self, key, region=PRIMARY):
        self.client("s3", region).put_object(
            Bucket=BUCKETS[region], Key=key, Body=b"x", ServerSideEncryption="aws:kms",
            SSEKMSKeyId=self.keys[region])

    def delete_objects(self, prefix):
        """Deletes all versions of the objects with a prefix, and of their replicas."""
        for region, bucket in BUCKETS.items():
            s3 = self.client("s3", region)
            for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                found = page.get("Versions", []) + page.get("DeleteMarkers", [])
                versions = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in found]
                if versions:
                    s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})

    def delete_replica(self, key):
        """Deletes all versions of a replica."""
        s3 = self.client("s3", STANDBY)
        for version in s3.list_object_versions(Bucket=BUCKETS[STANDBY], Prefix=key)["Versions"]:
            s3.delete_object(Bucket=BUCKETS[STANDBY], Key=key, VersionId=version["VersionId"])

    def rule(self, region):
        """A sound rule of the bucket in a Region."""
        return {
            "ID": "lake", "Status": "Enabled", "Priority": 1, "Filter": {"Prefix": PREFIX},
            "DeleteMarkerReplication": {"Status": "Enabled"},
            "SourceSelectionCriteria": {
                "SseKmsEncryptedObjects": {"Status": "Enabled"},
                "ReplicaModifications": {"Status": "Enabled"}},
            "Destination": {
                "Bucket": f"arn:aws:s3:::{BUCKETS[PEER[region]]}",
                "EncryptionConfiguration": {"ReplicaKmsKeyID": self.keys[PEER[region]]},
                "Metrics": {"Status": "Enabled"}},
        }

    def put_rule(self, region, change=lambda rule: None):
        rule = self.rule(region)
        change(rule)
        self.client("s3", region).put_bucket_replication(
            Bucket=BUCKETS[region], ReplicationConfiguration={
                "Role": f"arn:aws:iam::{ACCOUNT}:role/replication", "Rules": [rule]})

    def put_notification(self, region, events=("s3:Replication:*",)):
        queues = [{"QueueArn": self.queues[region], "Events": list(events)}]
        self.client("s3", region).put_bucket_notification_configuration(
            Bucket=BUCKETS[region], NotificationConfiguration={"QueueConfigurations": queues})

    def put_settings(self, region, **changes):
        self.client("lakeformation", region).put_data_lake_settings(
            DataLakeSettings=CLOSED | changes)

    def register(self, region):
        lake_formation = self.client("lakeformation", region)
        if not lake_formation.list_resources()["ResourceInfoList"]:
            lake_formation.register_resource(
                ResourceArn=f"arn:aws:s3:::{BUCKETS[region]}/curated", UseServiceLinkedRole=True)

    def put_lifecycle(self, rule, region=STANDBY):
        self.client("s3", region).put_bucket_lifecycle_configuration(
            Bucket=BUCKETS[region], LifecycleConfiguration={"Rules": [
                {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, **rule}]})

    def select_events(self, region, read_write_type):
        self.client("cloudtrail", region).put_event_selectors(TrailName="audit", EventSelectors=[
            {"ReadWriteType": read_write_type, "IncludeManagementEvents": True}])

    def make_sound(self):
        """Puts everything in order that a fault of a test may have changed."""
        iam_roles.put_replication_role(self.iam, self.keys.items())
        iam_roles.put_reader(self.iam)
        iam_roles.put_creator(self.iam)
        for region, bucket in BUCKETS.items():
            s3 = self.client("s3", region)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [
                {"ApplyServerSideEncryptionByDefault": {
                    "SSEAlgorithm": "aws:kms", "KMSMasterKeyID": self.keys[region]}}]})
            s3.delete_bucket_lifecycle(Bucket=bucket)
            self.put_notification(region)
            self.put_settings(region)
            self.register(region)
            self.client("kms", region).enable_key(KeyId=self.keys[region])
            self.client("cloudtrail", region).start_logging(Name="audit")
            self.select_events(region, "All")
        for region in BUCKETS:
            self.put_rule(region)

    def doctor(self, policy="policy.toml"):
        """Runs the command, and returns its exit code and its findings."""
        done = self.twinlake(
            "doctor", "--policy", policy, "--caller-arn", ROLE, "--twinlake-role", ROLE, "--json")
        return done.returncode, json.loads(done.stdout)["findings"]


@pytest.fixture(scope="module")
def pair():
    with Pair() as running:
        yield running


def test_a_sound_pair_has_no_finding(pair):
    pair.make_sound()
    assert pair.doctor() == (0, [])


def test_the_findings_are_printed_for_people(pair):
    pair.make_sound()
    pair.client("cloudtrail", PRIMARY).stop_logging(Name="audit")
    done = pair.twinlake(
        "doctor", "--policy", "policy.toml", "--caller-arn", ROLE, "--twinlake-role", ROLE)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert lines[0].startswith("BLOCKER trail · us-east-1 · arn:aws:cloudtrail:us-east-1:")
    assert "aws cloudtrail start-logging --region us-east-1" in lines[2]
    assert "not ready for a takeover. Blockers: 1" in lines[-1]


def set_status(field, status):
    """A change of a rule: the status of a setting, by its path."""
    def change(rule):
        *path, last = field.split(".")
        for name in path:
            rule = rule[name]
        rule[last] = {"Status": status} if last != "Status" else status
    return change


def without_metrics(rule):
    del rule["Destination"]["Metrics"]


def without_kms(rule):
    del rule["SourceSelectionCriteria"]["SseKmsEncryptedObjects"]
    del rule["Destination"]["EncryptionConfiguration"]


def to_archive(rule):
    rule["Destination"]["StorageClass"] = "DEEP_ARCHIVE"


def with_tags(rule):
    rule["Filter"] = {"And": {"Prefix": PREFIX, "Tags": [{"Key": "k", "Value": "v"}]}}
    rule["DeleteMarkerReplication"]["Status"] = "Disabled"


def narrower(rule):
    rule["Filter"]["Prefix"] = f"{PREFIX}other/"


def write_unreplicated(pair):
    """An object that was written while there was no rule."""
    pair.client("s3", PRIMARY).delete_bucket_replication(Bucket=BUCKETS[PRIMARY])
    pair.put_object(f"{PREFIX}orders/0.parquet")
    pair.put_rule(PRIMARY)


def write_failed(pair):
    """An object that could not be replicated, since the other bucket kept no versions."""
    s3 = pair.client("s3", STANDBY)
    s3.delete_bucket_replication(Bucket=BUCKETS[STANDBY])
    s3.put_bucket_versioning(
        Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Suspended"})
    pair.put_object(f"{PREFIX}orders/0.parquet")
    s3.put_bucket_versioning(
        Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Enabled"})
    pair.put_rule(STANDBY)


def suspend_versioning(pair):
    """S3 refuses to suspend the versioning of a bucket with rules."""
    s3 = pair.client("s3", STANDBY)
    s3.delete_bucket_replication(Bucket=BUCKETS[STANDBY])
    s3.put_bucket_versioning(
        Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Suspended"})


def deregister(pair):
    lake_formation = pair.client("lakeformation", STANDBY)
    for found in lake_formation.list_resources()["ResourceInfoList"]:
        lake_formation.deregister_resource(ResourceArn=found["ResourceArn"])


def put_foreign_key_policy(pair):
    """A policy that only another account's principals may use."""
    pair.client("kms", STANDBY).put_key_policy(
        KeyId=pair.keys[STANDBY], PolicyName="default", Policy=json.dumps({"Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999988887777:root"},
            "Action": "kms:*", "Resource": "*"}]}))


def put_quota(pair, region, value):
    pair.client("service-quotas", region).request_service_quota_increase(
        ServiceCode="athena", QuotaCode="L-FC5F6546", DesiredValue=value)


def create_iceberg_table_with_optimizer(pair):
    pair.create_table(
        "outside", f"s3://{BUCKETS[PRIMARY]}/{PREFIX}outside/", table_type="ICEBERG")
    pair.client("glue", STANDBY).create_table_optimizer(
        CatalogId=ACCOUNT, DatabaseName="sales", TableName="outside", Type="compaction",
        TableOptimizerConfiguration={"roleArn": ROLE, "enabled": True})


def create_partition_outside(pair):
    glue = pair.client("glue", PRIMARY)
    glue.create_table(DatabaseName="sales", TableInput={
        "Name": "daily", "PartitionKeys": [{"Name": "day", "Type": "string"}],
        "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                              "Location": f"s3://{BUCKETS[PRIMARY]}/{PREFIX}daily/"}})
    glue.create_partition(DatabaseName="sales", TableName="daily", PartitionInput={
        "Values": ["1"], "StorageDescriptor": {"Location": "s3://elsewhere/daily/1/"}})


OPEN = [{"Principal": {"DataLakePrincipalIdentifier": "IAM_ALLOWED_PRINCIPALS"},
         "Permissions": ["ALL"]}]
# Each fault with the checks, and their Regions, that find it.
FAULTS = {
    "rule disabled": (
        lambda p: p.put_rule(PRIMARY, set_status("Status", "Disabled")),
        {("replication-rule", PRIMARY)}),
    "rule for a part": (lambda p: p.put_rule(PRIMARY, narrower), {("replication-rule", PRIMARY)}),
    "rule for tags": (lambda p: p.put_rule(PRIMARY, with_tags), {("replication-rule", PRIMARY)}),
    "no rule": (
        lambda p: p.client("s3", PRIMARY).delete_bucket_replication(Bucket=BUCKETS[PRIMARY]),
        {("replication-rule", PRIMARY)}),
    "no rule back": (
        lambda p: p.client("s3", STANDBY).delete_bucket_replication(Bucket=BUCKETS[STANDBY]),
        {("reverse-replication-rule", STANDBY)}),
    "delete markers": (
        lambda p: p.put_rule(PRIMARY, set_status("DeleteMarkerReplication", "Disabled")),
        {("delete-markers", PRIMARY)}),
    "replica modifications": (
        lambda p: p.put_rule(
            STANDBY, set_status("SourceSelectionCriteria.ReplicaModifications", "Disabled")),
        {("replica-modifications", STANDBY)}),
    "metrics": (
        lambda p: p.put_rule(PRIMARY, without_metrics), {("replication-metrics", PRIMARY)}),
    "notification of other events": (
        lambda p: p.put_notification(PRIMARY, ["s3:ObjectCreated:*"]),
        {("replication-notifications", PRIMARY)}),
    "encrypted objects": (
        lambda p: p.put_rule(PRIMARY, without_kms), {("kms-objects", PRIMARY)}),
    "replicas in an archive": (
        lambda p: p.put_rule(PRIMARY, to_archive), {("storage-class", PRIMARY)}),
    "replica deleted": (
        lambda p: p.delete_replica(f"{PREFIX}orders/1.parquet"), {("object-status", PRIMARY)}),
    "longer kept": (
        lambda p: p.put_lifecycle({"Expiration": {"Days": 30}}, PRIMARY), {("lifecycle", STANDBY)}),
    "key disabled": (
        lambda p: p.client("kms", STANDBY).disable_key(KeyId=p.keys[STANDBY]),
        {("replica-key", STANDBY)}),
    "versioning suspended": (
        suspend_versioning, {("versioning", STANDBY), ("reverse-replication-rule", STANDBY)}),
    "old object": (write_unreplicated, {("object-status", PRIMARY)}),
    "failed object": (write_failed, {("object-status", PRIMARY)}),
    "expiration": (
        lambda p: p.put_lifecycle({"Expiration": {"Days": 30}}), {("lifecycle", STANDBY)}),
    "archive": (
        lambda p: p.put_lifecycle({"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]}),
        {("lifecycle", STANDBY)}),
    "table outside": (
        lambda p: p.create_table("outside", "s3://elsewhere/outside/"),
        {("table-locations", PRIMARY)}),
    "trail stopped": (
        lambda p: p.client("cloudtrail", STANDBY).stop_logging(Name="audit"),
        {("trail", STANDBY)}),
    "trail without reads": (
        lambda p: p.select_events(PRIMARY, "WriteOnly"), {("trail", PRIMARY)}),
    "trail without writes": (
        lambda p: p.select_events(PRIMARY, "ReadOnly"), {("trail", PRIMARY)}),
    "not an administrator": (
        lambda p: p.put_settings(PRIMARY, DataLakeAdmins=[
            {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/other"}]),
        {("administrators", PRIMARY), ("table-locations", PRIMARY)}),
    "open by default": (
        lambda p: p.put_settings(STANDBY, CreateTableDefaultPermissions=OPEN),
        {("default-permissions", STANDBY)}),
    "no policy": (
        lambda p: p.client("dynamodb", STANDBY).delete_item(
            TableName=LEDGER, Key=POLICY_KEY),
        {("deployment", STANDBY)}),
    "no resync": (
        lambda p: p.client("dynamodb", STANDBY).delete_item(
            TableName=LEDGER, Key=VERIFIED_KEY),
        {("resync", STANDBY)}),
    "Iceberg table": (
        lambda p: p.create_table(
            "outside", f"s3://{BUCKETS[PRIMARY]}/{PREFIX}outside/", table_type="ICEBERG"),
        {("iceberg-tables", STANDBY)}),
    "not registered": (deregister, {("registrations", STANDBY)}),
    "replication role deleted": (
        lambda p: iam_roles.delete_role(p.iam, iam_roles.REPLICATION),
        {("replication-role", PRIMARY), ("replication-role", STANDBY)}),
    "replication role of another service": (
        lambda p: p.iam.update_assume_role_policy(
            RoleName=iam_roles.REPLICATION, PolicyDocument=iam_roles.trust("ec2.amazonaws.com")),
        {("replication-role", PRIMARY), ("replication-role", STANDBY)}),
    "replication role without keys": (
        lambda p: iam_roles.put_policy(
            p.iam, iam_roles.REPLICATION, iam_roles.replication_statements()),
        {("replication-role", PRIMARY), ("replication-role", STANDBY)}),
    "replication role without the standby's key": (
        lambda p: iam_roles.put_replication_role(p.iam, [(PRIMARY, p.keys[PRIMARY])]),
        {("replication-role", PRIMARY), ("replication-role", STANDBY)}),
    "key policy": (put_foreign_key_policy, {("key-policy", STANDBY)}),
    "reader of one Region": (
        lambda p: iam_roles.put_policy(p.iam, iam_roles.READER, [
            statement | {"Condition": {"StringEquals": {"aws:RequestedRegion": PRIMARY}}}
            for statement in iam_roles.reader_statements()]),
        {("user-access", STANDBY)}),
    "reader of tables of one Region": (
        lambda p: iam_roles.put_policy(p.iam, iam_roles.READER, [
            iam_roles.allow(["lakeformation:GetDataAccess", "athena:*"]),
            iam_roles.allow(["glue:Get*"], f"arn:aws:glue:{PRIMARY}:{ACCOUNT}:*")]),
        {("user-access", STANDBY)}),
    "reader deleted": (
        lambda p: iam_roles.delete_role(p.iam, iam_roles.READER),
        {("deleted-principals", PRIMARY)}),
    "quota": (
        lambda p: put_quota(p, PRIMARY, 5000), {("quotas", STANDBY)}),
    "Identity Center": (
        lambda p: p.client("lakeformation", PRIMARY)
        .create_lake_formation_identity_center_configuration(InstanceArn="arn:aws:sso:::instance/1"),
        {("identity-center", STANDBY)}),
    "optimizer": (
        create_iceberg_table_with_optimizer,
        {("iceberg-tables", STANDBY), ("iceberg-maintenance", STANDBY)}),
    "function outside": (
        lambda p: p.client("glue", PRIMARY).create_user_defined_function(
            DatabaseName="sales", FunctionInput={
                "FunctionName": "f", "ClassName": "F", "OwnerName": "o", "OwnerType": "USER",
                "ResourceUris": [{"ResourceType": "JAR", "Uri": "s3://elsewhere/f.jar"}]}),
        {("references", PRIMARY)}),
    "link to nothing": (
        lambda p: p.client("glue", PRIMARY).create_table(DatabaseName="sales", TableInput={
            "Name": "link", "TargetTable": {
                "CatalogId": ACCOUNT, "DatabaseName": "sales", "Name": "gone"}}),
        {("references", PRIMARY)}),
    "partition outside": (create_partition_outside, {("partition-locations", PRIMARY)}),
}


def undo(pair, fault):
    """Takes back a fault that `make_sound` does not."""
    glue, kms = pair.client("glue", PRIMARY), pair.client("kms", STANDBY)
    if fault == "key policy":
        kms.put_key_policy(KeyId=pair.keys[STANDBY], PolicyName="default", Policy=pair.key_policy)
    elif fault == "quota":
        put_quota(pair, STANDBY, 5000)
    elif fault == "Identity Center":
        pair.client("lakeformation", PRIMARY).delete_lake_formation_identity_center_configuration()
    elif fault == "function outside":
        glue.delete_user_defined_function(DatabaseName="sales", FunctionName="f")
    elif fault == "link to nothing":
        glue.delete_table(DatabaseName="sales", Name="link")
    elif fault == "partition outside":
        glue.delete_table(DatabaseName="sales", Name="daily")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_single_fault_has_its_own_finding(pair, fault):
    pair.make_sound()
    apply, expected = FAULTS[fault]
    try:
        apply(pair)
        code, findings = pair.doctor()
        assert {(f["check"], f["region"]) for f in findings} == expected, findings
        assert code == 2
    finally:
        pair.delete_objects(f"{PREFIX}orders/0.parquet")
        if fault == "replica deleted":
            pair.make_sound()
            pair.put_object(f"{PREFIX}orders/1.parquet")
        if expected & {("deployment", STANDBY), ("resync", STANDBY)}:
            pair.fill_ledgers()
        if fault in ("table outside", "Iceberg table", "optimizer"):
            pair.client("glue", PRIMARY).delete_table(DatabaseName="sales", Name="outside")
        undo(pair, fault)


def test_an_old_object_of_any_table_is_found(pair):
    """A listing of the whole location pair begins with a thousand objects of another table."""
    pair.make_sound()
    location = f"{PREFIX}zzz/"
    many = [f"{PREFIX}orders/n{number:04}.parquet" for number in range(1001)]
    pair.create_table("zzz", f"s3://{BUCKETS[PRIMARY]}/{location}")
    try:
        pair.client("s3", PRIMARY).delete_bucket_replication(Bucket=BUCKETS[PRIMARY])
        pair.put_object(f"{location}old.parquet")
        pair.make_sound()
        for key in many:
            pair.client("s3", PRIMARY).put_object(Bucket=BUCKETS[PRIMARY], Key=key, Body=b"")
        _, findings = pair.doctor()
        assert [f["check"] for f in findings] == ["object-status"]
        assert f"{location}old.parquet" in findings[0]["problem"]
    finally:
        pair.client("glue", PRIMARY).delete_table(DatabaseName="sales", Name="zzz")
        pair.delete_objects(f"{location}old.parquet")
        # The doctor looks at the oldest and the newest objects only. Those of later tests are to be among them.
        pair.delete_objects(f"{PREFIX}orders/n")


def fix(pair, role, *options, answer="", check=True):
    """Runs `doctor --fix batch`, with an answer to its question."""
    return pair.twinlake(
        "doctor", "--policy", "policy.toml", "--caller-arn", ROLE, "--twinlake-role", ROLE, "--fix", "batch",
        "--batch-role", f"arn:aws:iam::{ACCOUNT}:role/{role}", *options, answer=answer, check=check)


def batch_jobs(pair, job=None, status=""):
    """Returns the jobs of S3 Batch Operations by ID, after the status of one was set."""
    path, data = (f"/{job}", status.encode()) if job else ("", None)
    with urllib.request.urlopen(f"{pair.aws_url}/_s3control/jobs{path}", data, timeout=10) as response:
        return json.load(response)


def test_a_batch_job_is_made_once_and_replicates_what_the_finding_names(pair):
    pair.make_sound()
    try:
        assert "call for no batch job" in fix(pair, "batch", "--yes").stdout
        write_unreplicated(pair)
        # Nothing is made without a confirmation, and each refusal is told with its code.
        declined = fix(pair, "batch", answer="y\n")
        assert declined.returncode == 2 and "Type `yes` to confirm" in declined.stderr
        for role, code in (("denied", "AccessDenied"), ("not-passed", "InvalidRequest")):
            refused = fix(pair, role, "--yes", check=False)
            assert refused.returncode == 1 and f"CreateJob" in refused.stderr and code in refused.stderr
        no_role = pair.twinlake("doctor", "--policy", "policy.toml", "--fix", "batch", "--batch-role", "batch",
                                check=False)
        assert no_role.returncode == 1 and "--batch-role batch: not the ARN of a role" in no_role.stderr
        assert batch_jobs(pair) == {}

        made = fix(pair, "batch", answer="yes\n")
        assert made.returncode == 2 and "job job-1 was made" in made.stdout
        request = batch_jobs(pair)["job-1"]["request"]
        assert len(request.pop("ClientRequestToken")) == 64
        assert request.pop("Description").endswith(f": arn:aws:s3:::{BUCKETS[PRIMARY]}/{PREFIX}")
        assert request == {
            "ConfirmationRequired": False, "Operation": {"S3ReplicateObject": {}}, "Priority": 1,
            "Report": {"Enabled": False}, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/batch",
            "ManifestGenerator": {"S3JobManifestGenerator": {
                "ExpectedBucketOwner": ACCOUNT, "SourceBucket": f"arn:aws:s3:::{BUCKETS[PRIMARY]}",
                "EnableManifestOutput": False,
                "Filter": {"EligibleForReplication": True, "ObjectReplicationStatuses": ["NONE"],
                           "KeyNameConstraint": {"MatchAnyPrefix": [PREFIX]}}}}}
        # While it is under way, no second one is made; not even a question is asked.
        batch_jobs(pair, "job-1", "Active")
        again = fix(pair, "batch")
        assert "job job-1 is under way (Active)" in again.stdout and "confirm" not in again.stderr
        assert list(batch_jobs(pair)) == ["job-1"]
        # The objects are still missing after it: a further job, whose token is another one.
        batch_jobs(pair, "job-1", "Failed")
        assert "job job-2 was made" in fix(pair, "batch", "--yes").stdout
        # The listing has two pages now.
        assert "job job-2 is under way" in fix(pair, "batch", "--yes").stdout
        assert len(batch_jobs(pair)) == 2
    finally:
        pair.delete_objects(f"{PREFIX}orders/0.parquet")


def test_two_policies_in_the_ledgers_are_a_finding(pair):
    pair.make_sound()
    table = pair.client("dynamodb", STANDBY)
    item = table.get_item(TableName=LEDGER, Key=POLICY_KEY)["Item"]
    other = {**item, "value": {"S": 'exclude = ["x"]\n' + item["value"]["S"]}}
    try:
        table.put_item(TableName=LEDGER, Item=other)
        code, findings = pair.doctor()
        assert code == 2
        assert {(f["check"], f["region"]) for f in findings} == {("deployment", STANDBY)}
    finally:
        pair.fill_ledgers()


def test_a_bucket_that_does_not_exist_is_found(pair):
    pair.make_sound()
    (pair.home / "other.toml").write_text(
        POLICY + f'\n[[location]]\na = "s3://missing-a/"\nb = "s3://missing-b/"\n')
    code, findings = pair.doctor("other.toml")
    assert code == 2
    assert {(f["check"], f["subject"]) for f in findings} == {
        ("bucket", "missing-a"), ("bucket", "missing-b"), ("deployment", "ledger")}


def test_init_drafts_a_policy_that_the_doctor_passes(pair):
    pair.make_sound()
    drafted = pair.home / "drafted.toml"
    done = pair.twinlake(
        "init", "--primary", PRIMARY, "--standby", STANDBY, "--caller-arn", ROLE, "--out", "drafted.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'a = "s3://{BUCKETS[PRIMARY]}/{PREFIX}"' in drafted.read_text()
    assert f'b = "s3://{BUCKETS[STANDBY]}/{PREFIX}"' in drafted.read_text()
    assert pair.doctor("drafted.toml") == (0, [])
    # A file is never overwritten.
    before = drafted.read_text()
    again = pair.twinlake(
        "init", "--primary", PRIMARY, "--standby", STANDBY, "--caller-arn", ROLE, "--out", "drafted.toml", check=False)
    assert again.returncode == 1 and "it exists" in again.stderr
    assert drafted.read_text() == before


def test_init_names_the_tables_outside_and_the_rules_that_do_not_reach_the_standby(pair):
    pair.make_sound()
    pair.put_rule(PRIMARY, set_status("Status", "Disabled"))
    done = pair.twinlake(
        "init", "--primary", PRIMARY, "--standby", STANDBY, "--caller-arn", ROLE, "--out", "outside.toml")
    text = (pair.home / "outside.toml").read_text()
    assert done.returncode == 2
    assert f"# Rule lake of the bucket {BUCKETS[PRIMARY]} is disabled." in text
    assert f"#   {BUCKETS[PRIMARY]}: 1 table, no rule for them: sales.orders" in text
    assert pair.twinlake("policy", "check", "outside.toml").returncode == 0


def test_init_says_that_tables_may_be_hidden_from_its_caller(pair):
    pair.make_sound()
    done = pair.twinlake(
        "init", "--primary", PRIMARY, "--standby", STANDBY, "--out", "hidden.toml",
        "--caller-arn", f"arn:aws:iam::{ACCOUNT}:role/other")
    assert done.returncode == 2
    assert "Lake Formation may hide databases and tables from it" in " ".join(done.stderr.split())
    assert (pair.home / "hidden.toml").exists()
