"""The journal of what a run makes, and its removal.

An entry is written, and flushed to the disk, before its resource is made, so a run that was killed leaves nothing that
the journal lacks. The entries are JSON, one a line.
"""

import json
import os
import pathlib

from botocore.exceptions import BotoCoreError, ClientError

from live import guard

GONE = {"EntityNotFoundException", "NoSuchBucket", "ResourceNotFoundException", "404",
        "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NoSuchEntity"}


def _delete_bucket(client, entry):
    s3, bucket = client("s3"), entry["name"]
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for version in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    s3.delete_bucket(Bucket=bucket)


def _delete_queue(client, entry):
    sqs = client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=entry["name"])["QueueUrl"])


def _delete_rule(client, entry):
    events, rule = client("events"), {"EventBusName": entry.get("bus", "default")}
    targets = events.list_targets_by_rule(Rule=entry["name"], **rule)["Targets"]
    if targets:
        events.remove_targets(Rule=entry["name"], Ids=[target["Id"] for target in targets], **rule)
    events.delete_rule(Name=entry["name"], **rule)


def _delete_stack(client, entry):
    # CloudFormation answers success for a stack that does not exist.
    client("cloudformation").delete_stack(StackName=entry["name"])


def _revoke(client, entry):
    try:
        client("lakeformation").revoke_permissions(**entry["request"])
    except ClientError as error:
        # Nothing is held: the grant was never made, or has gone with its resource.
        if error.response["Error"]["Code"] != "InvalidInputException":
            raise
        if not error.response["Error"].get("Message", "").startswith("No permissions revoked"):
            raise


# How a resource of each kind is removed. `client` makes a client of the entry's Region.
REMOVE = {
    "bucket": _delete_bucket,
    "database": lambda client, entry: client("glue").delete_database(Name=entry["name"]),
    "dynamodb-table": lambda client, entry: client("dynamodb").delete_table(TableName=entry["name"]),
    "event-bus": lambda client, entry: client("events").delete_event_bus(Name=entry["name"]),
    "filter": lambda client, entry: client("lakeformation").delete_data_cells_filter(**entry["request"]),
    "grant": _revoke,
    "lf-tag": lambda client, entry: client("lakeformation").delete_lf_tag(TagKey=entry["name"]),
    "lf-tag-expression": lambda client, entry: client("lakeformation").delete_lf_tag_expression(Name=entry["name"]),
    "queue": _delete_queue,
    "registration": lambda client, entry: client("lakeformation").deregister_resource(ResourceArn=entry["name"]),
    "registry": lambda client, entry: client("glue").delete_registry(RegistryId={"RegistryName": entry["name"]}),
    "rule": _delete_rule,
    "stack": _delete_stack,
}


class Journal:
    """The journal of one or more runs, in a file. Each entry has the account and the prefix of its run."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def entries(self):
        """What may exist still, newest first."""
        open_entries = {}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                if number == len(lines):
                    break  # The run was killed as it wrote the line, and so before it made the resource.
                raise ValueError(f"{self.path}, line {number}: not JSON") from None
            if "removed" in entry:
                open_entries.pop(entry["removed"], None)
            else:
                open_entries[entry["id"]] = entry
        return list(open_entries.values())[::-1]

    def add(self, entry):
        """Records a resource that is about to be made."""
        assert entry["kind"] in REMOVE, entry
        self._append(entry)

    def remove(self, entry, client, account):
        """Removes a resource. Returns the reason if it could not be removed: the entry then stays."""
        name, prefix = entry.get("name", ""), entry.get("prefix", "")
        if not guard.PREFIX.fullmatch(prefix):
            return f"the entry {entry.get('id')} has no prefix of a run"
        if entry.get("account") != account:
            return f"{entry['kind']} {name} is in another account"
        principal = entry.get("request", {}).get("Principal", {}).get("DataLakePrincipalIdentifier")
        try:
            REMOVE[entry["kind"]](lambda service: client(
                service, entry["region"], prefix=prefix, catalog_grantee=principal), entry)
        except ClientError as error:
            found = error.response["Error"]
            # A local service that has no deletion has not made it either.
            is_unknown = found.get("Message", "").startswith("unknown operation")
            if found["Code"] not in GONE and not is_unknown:
                return f"{entry['kind']} {name}: {error}"
        except (BotoCoreError, guard.WriteRefused) as error:
            return f"{entry['kind']} {name}: {error}"
        self._append({"removed": entry["id"]})
        return None

    def remove_all(self, client, account):
        """Removes all that may exist still. Returns the reasons for what is left, and deletes an empty journal."""
        left = []
        for entry in self.entries():
            reason = self.remove(entry, client, account)
            if reason:
                left.append(reason)
        if not left:
            self.path.unlink(missing_ok=True)
        return left

    def _append(self, entry):
        # A line that a killed run wrote in part is ended first.
        is_cut = self.path.exists() and self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n")
        if is_cut:
            kept = self.path.read_bytes().rpartition(b"\n")
            self.path.write_bytes(kept[0] + kept[1])
        with open(self.path, "a") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
