"""Stops every call that a run may not make, before it is sent.

A call is a read by its name, or it is in WRITES, which says where its parameters name what it changes. All of these
names must begin with the prefix of the run. Anything else is refused, whatever a question or a bug wants.
"""

import re

import jmespath

READS = ("Get", "List", "Describe", "Head", "BatchGet", "Search", "Lookup")
# Calls that change nothing, though their names say otherwise.
OTHER_READS = {"sts.AssumeRole"}
PREFIX = re.compile(r"twinlake[-_]live[-_][0-9a-f]{8}")

_RESOURCE = ("{0}.Database.Name, {0}.Table.DatabaseName, {0}.TableWithColumns.DatabaseName, {0}.LFTag.TagKey, "
             "{0}.LFTagPolicy.Expression[].TagKey, {0}.DataCellsFilter.DatabaseName, "
             "contains(keys({0}), 'Catalog') && 'Catalog'")
_ENTRIES = "[Entries[].[" + _RESOURCE.format("Resource") + "]]"
_RESOURCES = "[" + _RESOURCE.format("Resource") + "]"
_TABLE = "[DatabaseName, TableInput.TargetTable.DatabaseName]"

# Where the parameters of a write name what it changes: JMESPath, by service and operation.
WRITES = {
    "glue.CreateDatabase": "[DatabaseInput.Name, DatabaseInput.TargetDatabase.DatabaseName]",
    "glue.UpdateDatabase": "[Name, DatabaseInput.Name]",
    "glue.DeleteDatabase": "Name",
    "glue.CreateTable": _TABLE,
    "glue.UpdateTable": _TABLE,
    "glue.DeleteTable": "DatabaseName",
    "glue.CreatePartitionIndex": "DatabaseName",
    "glue.BatchCreatePartition": "DatabaseName",
    "glue.CreateUserDefinedFunction": "DatabaseName",
    "glue.CreateRegistry": "RegistryName",
    "glue.CreateSchema": "RegistryId.RegistryName",
    "glue.DeleteRegistry": "RegistryId.RegistryName",
    "lakeformation.GrantPermissions": _RESOURCES,
    "lakeformation.RevokePermissions": _RESOURCES,
    "lakeformation.BatchGrantPermissions": _ENTRIES,
    "lakeformation.CreateLFTag": "TagKey",
    "lakeformation.UpdateLFTag": "TagKey",
    "lakeformation.DeleteLFTag": "TagKey",
    "lakeformation.CreateLFTagExpression": "[Name, Expression[].TagKey]",
    "lakeformation.DeleteLFTagExpression": "Name",
    "lakeformation.AddLFTagsToResource": "[LFTags[].TagKey, " + _RESOURCE.format("Resource") + "]",
    "lakeformation.CreateDataCellsFilter": "TableData.DatabaseName",
    "lakeformation.UpdateDataCellsFilter": "TableData.DatabaseName",
    "lakeformation.DeleteDataCellsFilter": "DatabaseName",
    "lakeformation.RegisterResource": "ResourceArn",
    "lakeformation.DeregisterResource": "ResourceArn",
    "s3.CreateBucket": "Bucket",
    "s3.DeleteBucket": "Bucket",
    "s3.PutObject": "Bucket",
    "s3.DeleteObject": "Bucket",
    "s3.PutBucketPolicy": "Bucket",
    "s3.PutBucketVersioning": "Bucket",
    "s3.PutBucketReplication": "[Bucket, ReplicationConfiguration.Rules[].Destination.Bucket]",
    "s3.PutBucketNotificationConfiguration": "[Bucket, NotificationConfiguration.QueueConfigurations[].QueueArn]",
    "sqs.CreateQueue": "QueueName",
    "sqs.DeleteQueue": "QueueUrl",
    "sqs.SetQueueAttributes": "QueueUrl",
    "sqs.ReceiveMessage": "QueueUrl",
    "events.CreateEventBus": "Name",
    "events.DeleteEventBus": "Name",
    "events.PutPermission": "EventBusName",
    "events.PutRule": "Name",
    "events.DeleteRule": "Name",
    "events.PutTargets": "Rule",
    "events.RemoveTargets": "Rule",
    "events.PutEvents": "Entries[].EventBusName",
    "dynamodb.CreateTable": "TableName",
    "dynamodb.DeleteTable": "TableName",
    "cloudformation.CreateChangeSet": "StackName",
    "cloudformation.CreateStack": "StackName",
    "cloudformation.UpdateStack": "StackName",
    "cloudformation.DeleteStack": "StackName",
}


class WriteRefused(Exception):
    """A question wanted a call that this run may not make."""


def is_read(service, operation):
    return operation.startswith(READS) or f"{service}.{operation}" in OTHER_READS


def last_part(name):
    """The name in a queue's URL, in an ARN, or the text itself."""
    if name.startswith(("http://", "https://")):
        return name.rsplit("/", 1)[-1]
    return re.split(r"[:/]", name.removeprefix("arn:aws:s3:::"))[-1 if ":sqs:" in name else 0]


def has_prefix(name, prefix):
    """Whether a name, a queue's URL or an ARN is of the run with this prefix. Services that do not allow an
    underscore in names get a hyphen."""
    return last_part(name).replace("-", "_").startswith(prefix.replace("-", "_"))


def named_by(service, operation, parameters):
    """The names that a write changes, or None if the write is not known."""
    path = WRITES.get(f"{service}.{operation}")
    if path is None:
        return None

    def flat(value):
        if isinstance(value, list):
            return [name for part in value for name in flat(part)]
        return [value] if value else []
    return flat(jmespath.search(path, parameters))


def check(service, operation, parameters, *, prefix, may_write, catalog_grantee=None):
    """Raises WriteRefused unless the call is a read, or a write of what begins with the prefix.

    Of the whole catalog, CREATE_DATABASE may be granted to `catalog_grantee` and revoked.
    """
    if is_read(service, operation):
        return
    call = f"{service}.{operation}"
    if not may_write:
        raise WriteRefused(f"{call} writes: set LIVE_WRITES=yes")
    names = named_by(service, operation, parameters)
    if names is None:
        raise WriteRefused(f"{call} is not a known write")
    if names == ["Catalog"]:
        principal = parameters.get("Principal", {}).get("DataLakePrincipalIdentifier")
        if parameters.get("Permissions") == ["CREATE_DATABASE"] and principal and principal == catalog_grantee:
            return
    if not names or not all(has_prefix(name, prefix) for name in names):
        raise WriteRefused(f"{call} of {names or 'nothing that is named'}: not of this run, {prefix}")
