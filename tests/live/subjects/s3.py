"""Questions about S3: replication rules, replicas and notifications. REPLICATION_ROLE is a role that S3 may assume to
replicate between buckets whose names begin with `twinlake-live-`."""

import json

from live.question import OK, NotRun, by_code, question, right, wrong

REFUSED = ("InvalidRequest", "InvalidArgument", "MalformedXML", "ValidationError")


def without_response(done):
    return {key: value for key, value in done.items() if key != "response"}


def versioned_pair(run):
    """Makes a bucket with versions in each Region."""
    buckets = run.bucket(), run.bucket(run.peer)
    for bucket, region in zip(buckets, (run.region, run.peer)):
        run.must(run.client("s3", region).put_bucket_versioning, Bucket=bucket,
                 VersioningConfiguration={"Status": "Enabled"})
    return buckets


def rule(destination, priority=1, version=2, **more):
    """A replication rule, of version 2 unless it is said."""
    target = {"Bucket": f"arn:aws:s3:::{destination}", **more.pop("target", {})}
    made = {"ID": f"r{priority}", "Status": "Enabled", "Destination": target, **more}
    if version == 1:
        return {**made, "Prefix": f"v1-{priority}/"}
    return {**made, "Priority": priority, "Filter": {"Prefix": f"v2-{priority}/"},
            "DeleteMarkerReplication": {"Status": "Disabled"}}


def put_rules(run, bucket, *rules):
    configuration = {"Role": run.options.replication_role, "Rules": list(rules)}
    return without_response(run.attempt(
        run.client("s3").put_bucket_replication, Bucket=bucket, ReplicationConfiguration=configuration))


def refused_or(accepted):
    return {OK: accepted, **{code: "refused" for code in REFUSED}}


@question(
    "F-21", "May rules of version 1 and 2 stand in one replication configuration?", needs=["replication_role"],
    answers={
        "refused": wrong("`twinlake setup storage --attach` fails on a bucket with rules of version 1: "
                         "crates/aws/src/bucket_setup.rs must convert them"),
        "accepted": right("`twinlake setup storage --attach` adds rules of version 2: crates/aws/src/bucket_setup.rs"),
    },
    judge=by_code("put", refused_or("accepted")))
def mixed_versions(run):
    bucket, destination = versioned_pair(run)
    return {"put": put_rules(run, bucket, rule(destination), rule(destination, 2, version=1))}


@question(
    "F-21-key", "Is the key of a replication rule checked when the rule is stored?", entry="F-21",
    needs=["replication_role"],
    answers={
        "not-checked": right("the doctor looks at the key: crates/core/src/readiness/encryption.rs"),
        "refused": right("a rule with a key that does not exist cannot be met"),
    },
    judge=by_code("put", refused_or("not-checked")))
def key_of_a_rule(run):
    bucket, destination = versioned_pair(run)
    key = f"arn:aws:kms:{run.peer}:{run.account}:key/00000000-0000-0000-0000-000000000000"
    return {"put": put_rules(run, bucket, rule(
        destination, target={"EncryptionConfiguration": {"ReplicaKmsKeyID": key}},
        SourceSelectionCriteria={"SseKmsEncryptedObjects": {"Status": "Enabled"}}))}


@question(
    "D-18", "Are replication metrics accepted without Replication Time Control?", needs=["replication_role"],
    answers={
        "accepted": right("stacks/storage.yaml sets metrics alone"),
        "refused": wrong("stacks/storage.yaml must set Replication Time Control with metrics"),
    },
    judge=by_code("put", refused_or("accepted")))
def metrics_alone(run):
    bucket, destination = versioned_pair(run)
    return {"put": put_rules(run, bucket, rule(destination, target={"Metrics": {"Status": "Enabled"}}))}


@question(
    "EV-11", "Does a replica keep the version id and the time of its source?", needs=["replication_role"], minutes=15,
    answers={
        "both": right("crates/aws/src/s3_replicas.rs compares them"),
        "version-only": wrong("the age of a replica is not that of its source: crates/aws/src/s3_replicas.rs"),
        "neither": wrong("a replica cannot be told from a write: crates/aws/src/s3_replicas.rs"),
    },
    judge=lambda e: {(True, True): "both", (True, False): "version-only", (False, False): "neither"}.get(
        (e["same_version"], e["same_time"])))
def replica(run):
    bucket, destination = versioned_pair(run)
    run.must(run.client("s3").put_bucket_replication, Bucket=bucket, ReplicationConfiguration={
        "Role": run.options.replication_role, "Rules": [rule(destination)]})
    s3, key = run.client("s3"), "v2-1/object"
    run.must(s3.put_object, Bucket=bucket, Key=key, Body=b"twinlake")
    source = run.must(s3.head_object, Bucket=bucket, Key=key)

    def replica_head():
        found = run.attempt(run.client("s3", run.peer).head_object, Bucket=destination, Key=key)
        return found["response"] if found["code"] == OK else None
    found = run.wait(replica_head, 900)
    if not found:
        raise NotRun("the object was not replicated in 15 minutes; see the rights of REPLICATION_ROLE")
    return {"same_version": found.get("VersionId") == source.get("VersionId"),
            "same_time": found["LastModified"] == source["LastModified"]}


@question(
    "EV-10", "Does an s3:TestEvent arrive when notifications of replication are set?", minutes=2,
    answers={
        "arrives": right("it is acknowledged and ignored: crates/core/src/event/s3_replication.rs"),
        "does-not": right("nothing is to be ignored"),
    },
    judge=lambda e: {("s3:TestEvent",): "arrives", (): "does-not"}.get(tuple(e["events"])))
def test_event(run):
    bucket = run.bucket()
    url, arn = run.queue()
    sqs = run.client("sqs")
    run.must(sqs.set_queue_attributes, QueueUrl=url, Attributes={"Policy": json.dumps({
        "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": arn, "Condition": {"StringEquals": {"aws:SourceAccount": run.account}}}]})})
    run.must(run.client("s3").put_bucket_notification_configuration, Bucket=bucket, NotificationConfiguration={
        "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:Replication:OperationFailedReplication"]}]})
    messages = run.wait(lambda: run.must(
        sqs.receive_message, QueueUrl=url, WaitTimeSeconds=1).get("Messages"), 60) or []
    return {"events": sorted({json.loads(message["Body"]).get("Event", "other") for message in messages})}


@question(
    "EV-12", "What does HEAD of a missing object answer with and without s3:ListBucket?",
    answers={
        "404-and-403": right("the functions have s3:ListBucket: template.yaml"),
        "404": right("s3:ListBucket is not needed for HEAD"),
        "403": wrong("a missing object cannot be told from a denied one: crates/aws/src/s3_replicas.rs"),
    },
    judge=lambda e: {("404", "403"): "404-and-403", ("404", "404"): "404", ("403", "403"): "403"}.get(
        (e["with"], e["without"])))
def head_of_a_missing_object(run):
    bucket, s3 = run.bucket(), run.client("s3")

    def head():
        return run.attempt(s3.head_object, may_be_denied=True, Bucket=bucket, Key="missing")["code"]
    with_right = head()
    deny(run, bucket, {"Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"})
    run.wait(lambda: head() == "403", 60)
    return {"with": with_right, "without": head()}


def deny(run, bucket, statement):
    """Denies something in the bucket's policy, to everybody."""
    run.must(run.client("s3").put_bucket_policy, Bucket=bucket, Policy=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Sid": "live", "Effect": "Deny", "Principal": "*", **statement}]}))


@question(
    "D-23", "Is the condition key of the KMS key absent if the bucket's default encryption applies?",
    answers={
        "absent": right("the policy of stacks/storage.yaml lets such writes pass"),
        "present": wrong("the policy of stacks/storage.yaml would deny writes without the header"),
    },
    judge=lambda e: {(OK, "AccessDenied"): "absent", ("AccessDenied", "AccessDenied"): "present"}.get(
        (e["without_header"], e["with_header"])))
def key_in_the_header(run):
    bucket, s3 = run.bucket(), run.client("s3")
    deny(run, bucket, {"Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/*", "Condition": {
        "Null": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "false"}}})
    key = f"arn:aws:kms:{run.region}:{run.account}:alias/aws/s3"

    def put(**more):
        return run.attempt(s3.put_object, may_be_denied=True, Bucket=bucket, Key="o", Body=b"t", **more)["code"]

    def put_with_header():
        return put(ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    run.wait(lambda: put_with_header() == "AccessDenied", 60)
    return {"with_header": put_with_header(), "without_header": put()}
