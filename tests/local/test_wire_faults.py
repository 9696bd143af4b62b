"""Faults on the wire: a proxy that fails calls in the wire format of each service, and a
service that throttles. Afterwards one resync is enough."""

import json
import subprocess
import sys
import pathlib
import urllib.request

import pytest

import compare
import mixed
from stack import ACCOUNT, POLICY, PRIMARY, SECONDARY, TARGET, free_port, wait_for
from test_cli import ROLE, Desk
from test_mixed import EVERYTHING, PAIRS, sides

# One call in fifty, of each kind of trouble.
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


class Proxy:
    def __init__(self, home, upstream):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = pathlib.Path(sys.executable).parent / "microburst"
        (home / "rules.json").write_text(json.dumps(RULES))
        self.log = open(home / "proxy.log", "wb")
        self.process = subprocess.Popen(
            [str(command), "--host", "127.0.0.1", "--port", str(port), "--upstream", upstream],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=home)
        wait_for("the proxy answers", self.answers)

    def ask(self, path, method="GET", body=None):
        request = urllib.request.Request(
            f"{self.url}/_microburst/{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def answers(self):
        try:
            self.ask("rules")
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.log.close()


@pytest.fixture
def desk(tmp_path):
    running = Desk(tmp_path)
    (tmp_path / "policy.toml").write_text(EVERYTHING + POLICY)
    yield running
    running.process.terminate()
    running.process.wait()


def resync(desk, url):
    return subprocess.run(
        [str(TARGET / "twinlake"), "resync", "--ledger", "ledger.json", "--policy", "policy.toml",
         "--role", ROLE, "--json"], cwd=desk.home, capture_output=True, text=True, timeout=300,
        env={"PATH": "/usr/bin:/bin", "AWS_ACCESS_KEY_ID": ACCOUNT, "HOME": str(desk.home),
             "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": url})


def is_identical_after_one_more(desk):
    done = resync(desk, desk.url)
    assert done.returncode == 0, done.stdout + done.stderr
    primary, secondary = sides(desk.local.client)
    assert mixed.without_foreign(compare.differences(primary, secondary, PAIRS)) == []
    assert mixed.untouched(desk.local.client("glue", SECONDARY))
    again = json.loads(resync(desk, desk.url).stdout)
    assert again["applied"] == 0, again


def fill(desk):
    mixed.fill(desk.local.client("glue", PRIMARY))
    mixed.spoil(desk.local.client("glue", SECONDARY))


def test_throttled_failing_and_broken_calls_leave_nothing_wrong(desk):
    fill(desk)
    proxy = Proxy(desk.home, desk.url)
    try:
        proxy.ask("rules", "POST", RULES)
        for _ in range(3):
            assert resync(desk, proxy.url).returncode in (0, 2)
        fired = proxy.ask("fired?limit=1000")
        fired = fired if isinstance(fired, list) else fired["fired"]
        assert len(fired) > 10, fired
    finally:
        proxy.stop()
    is_identical_after_one_more(desk)


def test_twenty_calls_a_second_are_enough(desk):
    fill(desk)
    desk.local.steer("throttle", per_second=20)
    done = resync(desk, desk.url)
    assert done.returncode in (0, 2), done.stderr
    desk.local.steer("throttle", per_second=0)
    is_identical_after_one_more(desk)
