"""Two ledgers that hold one epoch with different primaries, which no command writes: what the commands say, and the
correction of docs/takeover.md."""

import json
import re
import shlex

import pytest

from stack import PRIMARY, ROOT, STANDBY
from test_doctor import LEDGER, ROLE, Pair

EPOCH_KEY = {"pk": {"S": "meta"}, "sk": {"S": "epoch"}}


@pytest.fixture(scope="module")
def pair():
    with Pair() as running:
        yield running


def command_of_page():
    """The arguments of the command under the heading about two ledgers that disagree."""
    page = (ROOT / "docs/takeover.md").read_text().split("### Two ledgers that disagree", 1)[1]
    command = shlex.split(re.search(r"```sh\n(.*?)```", page, re.DOTALL)[1].replace("\\\n", ""))
    assert command[:3] == ["aws", "dynamodb", "update-item"], command
    return dict(zip(command[3::2], command[4::2]))


def test_two_ledgers_that_disagree_fence_both_regions_until_one_is_corrected(pair):
    for region, site in ((PRIMARY, "a"), (STANDBY, "b")):
        pair.client("dynamodb", region).put_item(TableName=LEDGER, Item={
            **EPOCH_KEY, "version": {"N": "4"}, "body": {"S": json.dumps({"epoch": 3, "primary": site})}})
    for region in (PRIMARY, STANDBY):
        done = pair.twinlake("status", "--region", region, check=False)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "hold epoch 3 with different primaries" in done.stdout, done.stdout
        assert json.loads(pair.twinlake("status", "--region", region, "--json").stdout)["fenced"] is True
        refused = pair.twinlake("divergence", "--region", region, "--caller-arn", ROLE, check=False)
        assert refused.returncode == 1 and "with different primaries" in refused.stderr, refused.stderr
        led = pair.twinlake("failover", "--region", region, "--accept-loss", "--yes", check=False)
        assert led.returncode == 0 and f"{region} is the primary by epoch 3" in led.stdout, led.stdout + led.stderr
    command = command_of_page()
    assert (command["--region"], command["--table-name"]) == (PRIMARY, LEDGER)
    assert json.loads(command["--key"]) == EPOCH_KEY
    pair.client("dynamodb", PRIMARY).update_item(
        TableName=LEDGER, Key=EPOCH_KEY, UpdateExpression=command["--update-expression"],
        ExpressionAttributeValues=json.loads(command["--expression-attribute-values"]))
    done = pair.twinlake("status", "--region", STANDBY, check=False)
    assert done.returncode == 2 and f"{PRIMARY} is fenced: it was the primary" in done.stdout, done.stdout
    report = pair.twinlake("divergence", "--region", STANDBY, "--caller-arn", ROLE, check=False)
    assert report.returncode in (0, 2) and "Digest: " in report.stdout, report.stdout + report.stderr
