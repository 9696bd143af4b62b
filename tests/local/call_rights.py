"""The calls of the functions, judged by the policies of their roles.

The local AWS records each call of a function with the role of that function (local_aws.py). Here each becomes the
actions and resources that AWS checks, and IAM's evaluation of them: an allowing statement and no denying one.
"""

import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

from ministack.core import iam_actions, iam_evaluator

# Actions whose names are not those of the operations, where the local AWS does not know it.
RENAMED = {
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycle": "s3:GetLifecycleConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketNotificationConfiguration": "s3:GetBucketNotification",
    "s3:HeadBucket": "s3:ListBucket", "s3:ListObjectsV2": "s3:ListBucket", "s3:HeadObject": "s3:GetObject",
}
# The sub-resource of a bucket, and the action that reads it.
BUCKET_READS = {
    "versioning": "s3:GetBucketVersioning", "replication": "s3:GetReplicationConfiguration",
    "encryption": "s3:GetEncryptionConfiguration", "lifecycle": "s3:GetLifecycleConfiguration",
    "notification": "s3:GetBucketNotification", "versions": "s3:ListBucketVersions",
}


# The id of the session of a function's role.
USER_ID = "AROAEXAMPLE:function"


def read_calls(path):
    """Returns the recorded calls, each once."""
    if not path.exists():
        return []
    return [json.loads(line) for line in sorted(set(path.read_text().splitlines()))]


def glue_resources(action, prefix, request):
    """Returns the ARNs that Glue checks for a request: the object and all that it is in."""
    if "ResourceArn" in request:
        return [request["ResourceArn"]]
    tool = re.search(r":(?:Get|Create|Update|Delete|Stop|List)(Classifier|Crawler|Trigger|Job|Workflow|Security)", action)
    if tool:
        kind = tool.group(1).lower()
        name = request.get("Name") or request.get("CrawlerName") or request.get("JobName")
        has_resource = kind in ("trigger", "job", "workflow") or (kind == "crawler" and not action.endswith("CreateCrawler"))
        return [f"{prefix}:{kind}/{name}"] if name and has_resource else ["*"]
    if action.endswith("BatchGetWorkflows"):
        return [f"{prefix}:workflow/{name}" for name in request["Names"]]
    names = [f"{prefix}:catalog"]
    if re.search(r":(Get|Create|Update|Delete)Connection$", action):
        name = request.get("Name") or request.get("ConnectionName") or request["ConnectionInput"]["Name"]
        return [*names, f"{prefix}:connection/{name}"]
    database = (request.get("DatabaseName") or request.get("DatabaseInput", {}).get("Name")
                or (request.get("Name") if re.search(r"(Get|Update|Delete)Database$", action) else None))
    if not database:
        return names
    names.append(f"{prefix}:database/{database}")
    if "UserDefinedFunction" in action:
        function = request.get("FunctionName") or request.get("FunctionInput", {}).get("FunctionName") or "any"
        return [*names, f"{prefix}:userDefinedFunction/{database}/{function}"]
    if "Database" not in action:
        table = request.get("TableName") or request.get("TableInput", {}).get("Name") or request.get("Name") or "any"
        names.append(f"{prefix}:table/{database}/{table}")
    return names


def athena_resource(action, prefix, request):
    """Returns the ARN that Athena checks for a request. A request by the id of a saved query names no workgroup."""
    if action.startswith("athena:List") and "WorkGroup" not in request and "ResourceARN" not in request:
        return "*"
    if "ResourceARN" in request:
        return request["ResourceARN"]
    if action.endswith("DataCatalog"):
        return f"{prefix}:datacatalog/{request['Name']}"
    name = request.get("WorkGroup") or (request.get("Name") if action.endswith("WorkGroup") else None)
    return f"{prefix}:workgroup/{name or 'any'}"


def warehouse_checks(action, region, account, request):
    """Returns the actions and resources of a call of the Redshift Data API: those of the login for one that submits. The
    ARN of a workgroup has its id, for which its name stands here."""
    if action != "redshift-data:ExecuteStatement":
        return [(action, "*")]
    if "WorkgroupName" in request:
        warehouse = f"arn:aws:redshift-serverless:{region}:{account}:workgroup/{request['WorkgroupName']}"
        login = [("redshift-serverless:GetCredentials", warehouse)]
    else:
        name, prefix = request["ClusterIdentifier"], f"arn:aws:redshift:{region}:{account}"
        warehouse = f"{prefix}:cluster:{name}"
        database = f"{prefix}:dbname:{name}/{request['Database']}"
        login = [("redshift:GetClusterCredentialsWithIAM", database)]
        if "DbUser" in request:
            resources = [database, f"{prefix}:dbuser:{name}/{request['DbUser']}"]
            login = [("redshift:GetClusterCredentials", resource) for resource in resources]
    if "SecretArn" in request:
        login = [("secretsmanager:GetSecretValue", request["SecretArn"])]
    return [(action, warehouse), *login]


def checks(call, account):
    """Returns the actions and resources that AWS checks for a call."""
    service, region = call["service"], call["region"]
    body, headers = call["body"].encode(), call["headers"]
    url = urlsplit(call["url"])
    query = parse_qs(url.query, keep_blank_values=True)
    if service == "lakeformation":
        return [(f"lakeformation:{url.path.strip('/')}", "*")]
    if service == "glue":
        action = "glue:" + headers["x-amz-target"].split(".")[1]
        return [(action, arn) for arn in glue_resources(action, f"arn:aws:glue:{region}:{account}", json.loads(body))]
    if service == "athena":
        action = "athena:" + headers["x-amz-target"].split(".")[1]
        return [(action, athena_resource(action, f"arn:aws:athena:{region}:{account}", json.loads(body)))]
    if service == "redshift-data":
        action = "redshift-data:" + headers["x-amz-target"].split(".")[1]
        return warehouse_checks(action, region, account, json.loads(body))
    if service == "servicequotas":
        return [("servicequotas:" + headers["x-amz-target"].split(".")[1], "*")]
    if service == "s3":
        parts = unquote(url.path).strip("/").split("/", 1)
        if len(parts) == 1:
            reads = [action for name, action in BUCKET_READS.items() if name in query]
            if call["method"] in ("GET", "HEAD"):
                return [((reads or ["s3:ListBucket"])[0], f"arn:aws:s3:::{parts[0]}")]
    merged = query | (parse_qs(call["body"]) if "form" in headers.get("content-type", "") else {})
    action = iam_actions.extract_iam_action(service, call["method"], url.path, headers, body, merged)
    action = RENAMED.get(action, action)
    if action == "events:PutEvents":
        return [(action, arn) for arn in iam_actions.eventbridge_resource_arns(body, region, account)]
    if service == "iam" and action:
        # The caller reads other principals, or itself.
        arn = (merged.get("PolicySourceArn") or [f"arn:aws:iam::{account}:role/" + merged.get("RoleName", ["any"])[0]])[0]
        return [(action, arn)]
    arn = iam_actions.extract_resource_arn(service, call["method"], url.path, headers, body, merged, region, account)
    if service == "dynamodb":
        moved = iam_actions.dynamodb_transaction_checks(action, body, region, account)
        return moved or [(action, arn)]
    return [(action, arn)]


def condition_keys(call):
    """Returns the keys of a call that conditions of the policies name, in small letters."""
    if call["service"] == "redshift-data":
        # A function follows its own statements alone.
        return {"redshift-data:statement-owner-iam-userid": USER_ID}
    if call["service"] not in ("dynamodb", "events", "s3"):
        return {}
    if call["service"] == "s3":
        query = parse_qs(urlsplit(call["url"]).query)
        return {"s3:prefix": query["prefix"]} if "prefix" in query else {}
    request = json.loads(call["body"])
    if call["service"] == "events":
        entries = request["Entries"]
        return {"events:source": [entry["Source"] for entry in entries],
                "events:detail-type": [entry["DetailType"] for entry in entries]}
    items = [request.get("Key"), request.get("Item")]
    for table in request.get("RequestItems", {}).values():
        if isinstance(table, dict):
            items += table.get("Keys", [])
        else:
            items += [part["Key"] if name == "DeleteRequest" else part["Item"]
                      for entry in table for name, part in entry.items()]
    values = request.get("ExpressionAttributeValues", {})
    named = re.search(r"pk = (:\w+)", request.get("KeyConditionExpression", ""))
    keys = [item["pk"]["S"] for item in items if item] + ([values[named.group(1)]["S"]] if named else [])
    return {"dynamodb:leadingkeys": sorted(set(keys))} if keys else {}


def role_policies(iam, arns):
    """Returns the documents of each role, by its ARN."""
    found = {}
    for arn in arns:
        name = arn.rsplit("/", 1)[1]
        documents = [iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
                     for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]]
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            version = iam.get_policy(PolicyArn=attached["PolicyArn"])["Policy"]["DefaultVersionId"]
            documents.append(iam.get_policy_version(
                PolicyArn=attached["PolicyArn"], VersionId=version)["PolicyVersion"]["Document"])
        found[arn] = [document if isinstance(document, dict) else json.loads(document) for document in documents]
    return found


def is_allowed(documents, call, action, resource, account):
    context = iam_evaluator.EvalContext(
        principal_arn=call["role"], principal_type="AssumedRole", principal_account=account, action=action,
        resource_arn=resource, region=call["region"], service_context=condition_keys(call))
    # The evaluation knows no variables of policies.
    documents = [json.loads(json.dumps(document).replace("${aws:userid}", USER_ID)) for document in documents]
    statements = [iam_evaluator.parse_policy_document(document) for document in documents]
    return iam_evaluator.evaluate(context, statements).decision == "Allow"


def refused(calls, policies, account):
    """Returns role, action and resource of each recorded call that the policies do not allow."""
    found = set()
    for call in calls:
        role = call["role"]
        for action, resource in checks(call, account):
            if not is_allowed(policies[role], call, action, resource, account):
                found.add((role.rsplit("/", 1)[1], action, resource))
    return sorted(found, key=str)
