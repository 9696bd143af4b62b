"""Questions about CloudFormation: how a deployment takes over a table, and how it fails."""

import json

from live.question import INVALID, OK, NotRun, question, right, wrong

ENDED = ("COMPLETE", "FAILED")


def ledger(name, deletion_policy="Retain"):
    return {"Type": "AWS::DynamoDB::Table", "DeletionPolicy": deletion_policy, "UpdateReplacePolicy": "Retain",
            "Properties": {"TableName": name, "BillingMode": "PAY_PER_REQUEST",
                           "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
                           "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}]}}


def make_table(run):
    """Makes a DynamoDB table, and returns its name."""
    name, dynamodb = run.name("-"), run.client("dynamodb")
    run.record("dynamodb-table", name)
    run.must(dynamodb.create_table, **ledger(name)["Properties"])
    run.wait(lambda: run.must(dynamodb.describe_table, TableName=name)["Table"]["TableStatus"] == "ACTIVE", 120)
    return name


@question(
    "D-21", "Does a change set with the SAM transform import a table that exists?", minutes=3,
    answers={
        "imports": right("`make deploy` takes over the ledger: stacks/deploy.py"),
        "fails": wrong("a deployment beside a retained ledger fails: stacks/deploy.py"),
        "adds": wrong("the deployment would try to create the ledger: stacks/deploy.py"),
    },
    judge=lambda e: "fails" if e["status"] == "FAILED" else {("Import",): "imports", ("Add",): "adds"}.get(
        tuple(e["actions"])))
def import_with_transform(run):
    table, stack, client = make_table(run), run.name("-"), run.client("cloudformation")
    template = {"AWSTemplateFormatVersion": "2010-09-09", "Transform": "AWS::Serverless-2016-10-31",
                "Resources": {"Ledger": ledger(table)}}
    run.record("stack", stack)
    done = run.attempt(client.create_change_set, StackName=stack, ChangeSetName="live", ChangeSetType="CREATE",
                       TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_AUTO_EXPAND"],
                       ImportExistingResources=True)
    if done["code"] != OK:
        return {"status": "FAILED", "reason": done["message"], "actions": []}

    def ended():
        read = run.must(client.describe_change_set, StackName=stack, ChangeSetName="live")
        return read if read["Status"].endswith(ENDED) else None
    read = run.wait(ended, 180)
    if not read:
        raise NotRun("the change set was not made in 3 minutes")
    return {"status": read["Status"], "reason": read.get("StatusReason", ""),
            "actions": sorted({change["ResourceChange"]["Action"] for change in read.get("Changes", [])})}


@question(
    "D-14", "Can a stack be deployed again whose creation failed?", minutes=5,
    answers={
        "must-be-deleted": right("`make deploy` deletes it first: stacks/deploy.py"),
        "can-be-updated": right("deleting it first is not needed"),
    },
    judge=lambda e: {("ROLLBACK_COMPLETE", 0, "refused"): "must-be-deleted",
                     ("ROLLBACK_COMPLETE", 0, OK): "can-be-updated"}.get(
        (e["status"], e["resources"], "refused" if e["update"]["code"] in ("ValidationError", INVALID)
         else e["update"]["code"])))
def failed_creation(run):
    stack, client = run.name("-"), run.client("cloudformation")
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    # Nothing signals the condition, so the creation fails after a second.
    template = {"Resources": {"Handle": handle, "Never": {
        "Type": "AWS::CloudFormation::WaitCondition", "Properties": {"Handle": {"Ref": "Handle"}, "Timeout": "1"}}}}
    run.record("stack", stack)
    run.must(client.create_stack, StackName=stack, TemplateBody=json.dumps(template))

    def ended():
        status = run.must(client.describe_stacks, StackName=stack)["Stacks"][0]["StackStatus"]
        return status if status.endswith(ENDED) else None
    status = run.wait(ended, 300)
    if not status:
        raise NotRun("the creation did not end in 5 minutes")
    resources = run.must(client.list_stack_resources, StackName=stack)["StackResourceSummaries"]
    update = run.attempt(client.update_stack, StackName=stack, TemplateBody=json.dumps(
        {"Resources": {"Other": handle}}))
    return {"status": status, "update": {k: v for k, v in update.items() if k != "response"},
            "resources": sum(one["ResourceStatus"] != "DELETE_COMPLETE" for one in resources)}
