"""The demo that the README promises."""

import subprocess
import sys

from stack import PRIMARY, ROOT, SECONDARY


def test_the_demo_shows_what_it_says():
    done = subprocess.run([sys.executable, str(ROOT / "tests/local/demo.py")], timeout=180,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert "\n   identical\n" in shown and f"{PRIMARY} -> {SECONDARY}, verified as of" in shown
    assert "S3 did not replicate objects of table sales.orders" in shown
    assert "Lag: catalog" in shown and "nothing is left behind" in shown
