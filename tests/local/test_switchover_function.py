"""A switchover by the takeover function, over stacks with its rights: a plan of ARC Region switch revokes the grants to write
in the primary and makes the standby the primary; each further attempt of the plan changes nothing, and the state machine
of the former primary goes back."""

import pytest

from stack import DEPLOYMENT, PRIMARY, STANDBY, Deployment, wait_for
from test_freeze import READS, WRITES, held, set_up_writers
from test_takeover_function import epoch_item, invoke_by_plan, run

WITH_SWITCHOVER = DEPLOYMENT.replace("[parameters]", '[parameters]\nSwitchoverByFunction = "true"')
# No canary runs in this test.
FORCE = ["storage-proof"]


class DeploymentWithSwitchover(Deployment):
    def deploy(self, *args, **options):
        super().deploy(*args, **{"text": WITH_SWITCHOVER, **options})


@pytest.fixture(scope="module")
def deployment():
    with DeploymentWithSwitchover(records_calls=True) as running:
        yield running
        running.assert_calls_are_allowed()


def wait_for_open_gates(deployment, region, primary):
    """Waits until the state machine of a Region finds all gates open. Returns its output."""
    attempts = iter(range(10_000))

    def look():
        # The first heartbeat makes its table, and the next ones change it.
        deployment.invoke(primary, "Heartbeat")
        found = run(deployment, region, f"look-{primary}-{next(attempts)}", operation="switchover", validate_only=True,
                    writers_stopped=True, force=[*FORCE, "minimum-interval"])
        refusals.append(found)
        return found[1] if found[0] == "SUCCEEDED" else None

    refusals = []
    return wait_for("the gates are open", look, every=0.5, detail=lambda: refusals[-1:])


def test_a_plan_switches_over_and_its_repetitions_change_nothing(deployment):
    set_up_writers(deployment)
    output = wait_for_open_gates(deployment, STANDBY, PRIMARY)
    assert output["outcome"] == "validated" and len(output["steps"]) == 6, output
    assert held(deployment, PRIMARY) == WRITES | READS and epoch_item(deployment) == "", "nothing is changed by a look"

    # A gate that is closed is the error of the step.
    failed, answer = invoke_by_plan(deployment, STANDBY, "1", operation="switchover", force=FORCE)
    assert failed and "The gate writers-stopped is closed" in answer["errorMessage"], answer

    # A graceful execution: the first step switches over, the second one finds nothing to do.
    deployment.invoke(PRIMARY, "Heartbeat")
    graceful = {"operation": "switchover", "writers_stopped": True, "force": FORCE}
    failed, answer = invoke_by_plan(deployment, STANDBY, "1", **graceful)
    assert not failed and answer["outcome"] == "completed" and answer["attention"] == [], answer
    assert answer["epoch"] == 1 and answer["journal"]["operation"] == "switchover", answer
    assert held(deployment, PRIMARY) == READS and held(deployment, STANDBY) == WRITES | READS
    item = epoch_item(deployment)
    for payload in ({"operation": "failover", "accept_loss": True}, graceful):
        failed, answer = invoke_by_plan(deployment, STANDBY, "1", **payload)
        assert not failed and answer["outcome"] == "already-primary", answer
    assert epoch_item(deployment) == item

    # Back by the state machine of the former primary, which grants again.
    wait_for("the events are handled", deployment.has_empty_queues)
    deployment.invoke(PRIMARY, "Resync")
    wait_for_open_gates(deployment, PRIMARY, STANDBY)
    request = {"operation": "switchover", "expected_epoch": 1, "writers_stopped": True}
    status, _, (error, cause) = run(deployment, PRIMARY, "back-too-soon", force=FORCE, **request)
    assert (status, error) == ("FAILED", "refused") and "The gate minimum-interval is closed" in cause, cause
    status, output, failure = run(deployment, PRIMARY, "back", force=[*FORCE, "minimum-interval"], **request)
    assert status == "SUCCEEDED" and output["outcome"] == "completed" and output["epoch"] == 2, (output, failure)
    assert held(deployment, PRIMARY) == WRITES | READS and held(deployment, STANDBY) == READS

    # An attempt of the plan that comes late switches nothing, whatever it accepts.
    item = epoch_item(deployment)
    late = {"operation": "failover", "accept_loss": True, "force": ["minimum-interval"]}
    failed, answer = invoke_by_plan(deployment, STANDBY, "1", **late)
    assert failed and "The gate first-execution is closed" in answer["errorMessage"], answer
    assert epoch_item(deployment) == item
    status, _, (error, cause) = run(deployment, STANDBY, "old", operation="failover", expected_epoch=0, accept_loss=True,
                                    force=["minimum-interval"])
    assert (status, error) == ("FAILED", "refused") and "The gate seen-epoch is closed" in cause, cause
