"""The state machine of a takeover over the deployed template: it fails over while the primary refuses every connection,
and a repeated execution changes nothing."""

import json

import pytest

from stack import ACCOUNT, PRIMARY, STANDBY, wait_for
from test_end_to_end import table_input, wait_until_identical
from test_failover import ALLOWED, BEST_EFFORT, OPEN, defaults, epoch_item


def start(deployment, started_in, name, **request):
    """Starts an execution. Returns its ARN."""
    machine = deployment.outputs[started_in]["TakeoverStateMachine"]
    started = deployment.client("stepfunctions", started_in).start_execution(
        stateMachineArn=machine, name=name, input=json.dumps(request))
    return started["executionArn"]


def ended(deployment, region, execution):
    """Waits for the end of an execution. Returns its status, its output, and its error and cause."""
    client = deployment.client("stepfunctions", region)

    def end():
        found = client.describe_execution(executionArn=execution)
        return found if found["status"] != "RUNNING" else None

    found = wait_for("the execution ends", end)
    output = json.loads(found["output"]) if "output" in found else None
    return found["status"], output, (found.get("error"), found.get("cause"))


def run(deployment, started_in, name, **request):
    return ended(deployment, started_in, start(deployment, started_in, name, **request))


def invoke_by_plan(deployment, activated, execution, **payload):
    """Invokes the function as ARC Region switch documents it: its fields, merged into the payload of the plan."""
    event = {"InvokedBy": "RegionSwitch", "PlanArn": f"arn:aws:arc-region-switch::{ACCOUNT}:plan/lake:abc123",
             "ExecutionId": execution, "StepName": "catalog", **payload}
    response = deployment.client("lambda", activated).invoke(
        FunctionName=deployment.outputs[activated]["TakeoverFunction"], Payload=json.dumps(event))
    return response.get("FunctionError"), json.loads(response["Payload"].read())


@pytest.fixture(scope="module")
def lake(deployment):
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": OPEN})
    glue.create_table(DatabaseName="sales", TableInput=table_input("orders"))
    wait_until_identical(deployment)
    deployment.resync()
    deployment.invoke(PRIMARY, "Heartbeat")
    return deployment


def test_the_state_machine_fails_over_while_the_primary_refuses_every_connection(lake):
    status, output, _ = run(lake, STANDBY, "look", operation="failover", accept_loss=True, validate_only=True)
    assert status == "SUCCEEDED" and output["outcome"] == "validated" and output["epoch"] == 0, output
    assert len(output["steps"]) == 3 and output["recovery_point"]["verified_at"], output

    # What is wrong with the input, and each refusal, is the cause of the failed execution.
    status, _, (error, cause) = run(lake, STANDBY, "no-epoch", operation="failover", accept_loss=True)
    assert (status, error) == ("FAILED", "invalid") and "`expected_epoch` is missing" in cause, cause
    status, _, (error, cause) = run(lake, STANDBY, "loss", operation="failover", expected_epoch=0)
    assert (status, error) == ("FAILED", "refused") and "The gate accepted-loss is closed" in cause, cause
    status, _, (error, cause) = run(lake, STANDBY, "other", operation="failover", expected_epoch=3, accept_loss=True)
    assert (status, error) == ("FAILED", "refused") and "The gate seen-epoch is closed" in cause, cause
    status, _, (error, cause) = run(lake, STANDBY, "undo-nothing", operation="failover", undo=True)
    assert (status, error) == ("FAILED", "refused") and "no failover or switchover is under way" in cause, cause
    assert epoch_item(lake) == "" and defaults(lake, STANDBY) == [], "nothing was written"

    request = {"operation": "failover", "expected_epoch": 0, "accept_loss": True, "region": STANDBY}
    with lake.lost_region(PRIMARY, role="TakeoverRole") as calls:
        status, output, failure = run(lake, STANDBY, "take-over", **request)
        assert status == "SUCCEEDED", failure
        assert output["outcome"] == "completed" and output["epoch"] == 1 and output["attention"] == [], output
        assert output["journal"]["stage"] == "completed" and output["journal"]["restored"] == 1, output
        assert defaults(lake, STANDBY) == OPEN

        # The same name again, and another execution with the same request: nothing is changed.
        item = epoch_item(lake)
        with pytest.raises(lake.client("stepfunctions", STANDBY).exceptions.ExecutionAlreadyExists):
            start(lake, STANDBY, "take-over", **{**request, "force": ["minimum-interval"]})
        status, output, _ = run(lake, STANDBY, "take-over-2", **request)
        assert status == "SUCCEEDED" and output["outcome"] == "already-primary", output
        assert epoch_item(lake) == item
        status, _, (error, cause) = run(lake, STANDBY, "undo", operation="failover", undo=True)
        assert (status, error) == ("FAILED", "refused"), cause
    assert {region for _, _, region in calls} == {STANDBY}, calls
    assert {(service, action) for service, action, _ in calls} <= ALLOWED | BEST_EFFORT, calls
    assert ("glue", "UpdateDatabase", STANDBY) in calls


def test_a_plan_of_region_switch_gets_an_error_for_everything_but_a_primary(lake):
    """The Region is the primary by now."""
    failed, answer = invoke_by_plan(lake, STANDBY, "1", operation="failover", accept_loss=True)
    assert not failed and answer["outcome"] == "already-primary", answer
    failed, answer = invoke_by_plan(lake, STANDBY, "1", operation="switchover", writers_stopped=True)
    assert failed and "SwitchoverByFunction" in answer["errorMessage"], answer
    failed, answer = invoke_by_plan(lake, STANDBY, "2", operation="failover", accept_loss=True, region=PRIMARY)
    assert failed and f"start the state machine in {PRIMARY}" in answer["errorMessage"], answer
    failed, answer = invoke_by_plan(lake, STANDBY, "3", operation="failover", accept_loss=True, Mode="graceful")
    assert failed and "unknown field `Mode`" in answer["errorMessage"], answer
