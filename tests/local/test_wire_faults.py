"""A proxy that fails calls in the wire format of each service, and a service that throttles: one
resync afterwards makes the Regions identical."""

import json
import pathlib
import subprocess
import sys
import urllib.request

import pytest

import compare
import fixture_all_kinds as all_kinds
from stack import ACCOUNT, PRIMARY, STANDBY, TARGET, free_port, wait_for
from test_all_kinds import LOCATION_PAIRS, REPLICATE_ALL_KINDS, snapshots
from test_cli import ROLE, CliSandbox

# Each rule fails one call in fifty.
RULES = [
    {"service": service, "probability": 0.02, **fault}
    for service in ("glue", "lakeformation")
    for fault in (
        {"error": {"code": "ThrottlingException", "status": 400, "message": "Rate exceeded"}},
        {"error": {"code": "InternalServiceException", "status": 500, "message": "trouble"}},
        {"reset": True},
        {"response": {"abort_frac": 0.3}},
    )
]


class FaultProxy:
    """The proxy microburst in front of a sandbox."""

    def __init__(self, home, upstream):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = pathlib.Path(sys.executable).parent / "microburst"
        self.log = open(home / "proxy.log", "wb")
        self.process = subprocess.Popen(
            [str(command), "--host", "127.0.0.1", "--port", str(port), "--upstream", upstream],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=home)
        wait_for("the proxy answers", self.is_healthy)

    def control(self, path, method="GET", body=None):
        """Calls a control path of the proxy."""
        request = urllib.request.Request(
            f"{self.url}/_microburst/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read() or b"null")

    def is_healthy(self):
        try:
            self.control("rules")
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@pytest.fixture
def cli(tmp_path):
    running = CliSandbox(tmp_path)
    running.create_sales_orders()
    running.write_policy(REPLICATE_ALL_KINDS)
    all_kinds.create_primary_catalog(running.clients.client("glue", PRIMARY))
    all_kinds.create_stale_standby(running.clients.client("glue", STANDBY))
    yield running
    running.stop()


def resync(cli, url):
    return subprocess.run(
        [str(TARGET / "twinlake"), "resync", "--ledger", "twinlake.ledger", "--policy", "policy.toml",
         "--caller-arn", ROLE, "--json"],
        cwd=cli.home, capture_output=True, text=True, timeout=300,
        env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT, "HOME": str(cli.home),
             "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url})


def assert_one_resync_makes_identical(cli):
    done = resync(cli, cli.url)
    assert done.returncode == 0, done.stdout + done.stderr
    primary, standby = snapshots(cli.clients.client)
    differences = compare.differences(primary, standby, LOCATION_PAIRS)
    assert all_kinds.without_foreign(differences) == []
    all_kinds.assert_foreign_unchanged(cli.clients.client("glue", STANDBY))
    again = json.loads(resync(cli, cli.url).stdout)
    assert again["applied"] == 0, again


def test_one_resync_corrects_what_failed_calls_left_behind(cli):
    proxy = FaultProxy(cli.home, cli.url)
    try:
        proxy.control("rules", "POST", RULES)
        for _ in range(3):
            assert resync(cli, proxy.url).returncode in (0, 2)
        fired = proxy.control("fired?limit=1000")
        fired = fired if isinstance(fired, list) else fired["fired"]
        assert len(fired) > 10, fired
    finally:
        proxy.stop()
    assert_one_resync_makes_identical(cli)


def test_a_resync_completes_with_twenty_calls_per_second(cli):
    cli.clients.control_sandbox("throttle", calls_per_second=20)
    done = resync(cli, cli.url)
    assert done.returncode in (0, 2), done.stderr
    cli.clients.control_sandbox("throttle", calls_per_second=0)
    assert_one_resync_makes_identical(cli)
