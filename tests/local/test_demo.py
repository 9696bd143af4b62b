"""The demo runs without an AWS account and shows what README.md says."""

import subprocess
import sys

from stack import PRIMARY, ROOT, STANDBY


def test_the_demo_replicates_alerts_and_corrects_drift():
    done = subprocess.run([sys.executable, str(ROOT / "tests/local/demo.py")], timeout=180,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    output = done.stdout
    # Before the deployment, before the bootstrap, and at the end of the first part.
    doctor = [line for line in output.splitlines() if line.startswith("   twinlake doctor: ")]
    assert len(doctor) == 3 and "deployment" in doctor[0] and "no finding" in doctor[2], doctor
    assert "The primary holds 1 database, 1 table, " in output and "first resync (" in output
    assert "\n   identical\n" in output and f"Primary {PRIMARY}, standby {STANDBY}, verified as of" in output
    assert "S3 did not replicate objects of table sales.orders" in output
    assert f"Takeover: {STANDBY} could take over now" in output and "storage not measured" not in output
    assert "Lag: catalog" in output and "its files are removed" in output
