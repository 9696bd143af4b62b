"""Questions about the account: quotas and trails."""

from live.question import DENIED, OK, NotRun, by_code, question, right, wrong


@question(
    "D-11", "How many functions may run at once in this account?", writes=False,
    answers={
        "reduced": right("`make deploy` warns below 50: ask AWS for a higher quota before you deploy"),
        "enough": right("the functions of template.yaml have room"),
    },
    judge=lambda e: "reduced" if e["concurrent"] < 50 else "enough")
def concurrency(run):
    limit = run.must(run.client("lambda").get_account_settings)["AccountLimit"]
    return {"concurrent": limit["ConcurrentExecutions"]}


def trails(run, keep):
    listed = run.must(run.client("cloudtrail").describe_trails, includeShadowTrails=True)["trailList"]
    found = [trail for trail in listed if keep(trail)]
    if not found:
        raise NotRun("the primary shows no trail of this kind")
    return found


@question(
    "F-22", "Does GetTrailStatus of a trail of all Regions speak of the Region that is called?", writes=False,
    answers={
        "of-the-region": right("crates/aws/src/infrastructure/trails.rs asks in each Region"),
        "of-the-trail": wrong("the doctor cannot see one Region of a trail: crates/aws/src/infrastructure/trails.rs"),
    },
    judge=lambda e: {True: "of-the-region", False: "of-the-trail"}[e["differs"]])
def status_of_a_trail(run):
    for trail in trails(run, lambda one: one.get("IsMultiRegionTrail")):
        statuses = [run.attempt(run.client("cloudtrail", region).get_trail_status, may_be_denied=True,
                                Name=trail["TrailARN"]) for region in (run.region, run.peer)]
        if all(status["code"] == OK for status in statuses):
            first, second = ({k: str(v) for k, v in status["response"].items() if k.startswith("Latest")}
                             for status in statuses)
            return {"differs": first != second}
    raise NotRun("the status of no trail of all Regions could be read in both Regions")


@question(
    "D-20", "With which key does CloudTrail encrypt the digest files of a trail with a key?", writes=False,
    answers={
        "key-of-the-trail": right("the key policy of stacks/audit.yaml suffices"),
        "other": right("the bucket's default encryption applies: the key policy of stacks/audit.yaml allows both"),
    },
    judge=lambda e: {True: "key-of-the-trail", False: "other"}[e["same_key"]])
def key_of_digests(run):
    for trail in trails(run, lambda one: one.get("KmsKeyId") and one.get("LogFileValidationEnabled")):
        s3 = run.client("s3", trail["HomeRegion"])
        prefix = f"{trail['S3KeyPrefix']}/" if trail.get("S3KeyPrefix") else ""
        listed = run.attempt(s3.list_objects_v2, may_be_denied=True, Bucket=trail["S3BucketName"], MaxKeys=1,
                             Prefix=f"{prefix}AWSLogs/{run.account}/CloudTrail-Digest/")
        for digest in listed.get("response", {}).get("Contents", []):
            head = run.attempt(s3.head_object, may_be_denied=True, Bucket=trail["S3BucketName"], Key=digest["Key"])
            if head["code"] == OK:
                return {"same_key": head["response"].get("SSEKMSKeyId") == trail["KmsKeyId"]}
    raise NotRun("no digest file of a trail with a key could be read")


@question(
    "D-24", "May a member account read the event selectors of its organization's trail?", writes=False,
    answers={
        "denied": right("such a trail counts as unknown: stacks/deploy_lake.py"),
        "allowed": right("the selectors are read: stacks/deploy_lake.py"),
    },
    judge=lambda e: "denied" if e["read"]["code"] in DENIED + ("TrailNotFoundException",) else by_code(
        "read", {OK: "allowed"})(e))
def selectors_of_an_organization_trail(run):
    trail = trails(run, lambda one: one.get("IsOrganizationTrail") and f":{run.account}:" not in one["TrailARN"])[0]
    done = run.attempt(run.client("cloudtrail", trail["HomeRegion"]).get_event_selectors, may_be_denied=True,
                       TrailName=trail["TrailARN"])
    return {"read": {"code": done["code"]}}
