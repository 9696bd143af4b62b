"""From a bare pair of Regions to a `twinlake doctor` without a finding, by the commands of docs/deploy.md.

The local AWS has no CloudFormation type for trails, and ignores replication rules in templates, so the trails are
made by their API, and the rules by `twinlake setup storage`.
"""

import json

import pytest

import iam_roles
from stack import ACCOUNT, BUCKETS, PRIMARY, SITES, STANDBY, Deployment

CALLER = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
PREFIX = "curated/"
POLICY = SITES.replace(f'{BUCKETS[PRIMARY]}/"', f'{BUCKETS[PRIMARY]}/{PREFIX}"').replace(
    f'{BUCKETS[STANDBY]}/"', f'{BUCKETS[STANDBY]}/{PREFIX}"')


class BarePair(Deployment):
    """Two Regions with a table in one of them, and nothing of Twinlake."""

    def __enter__(self):
        try:
            self.start()
            self.policy_file.write_text(POLICY)
            for region, bucket in BUCKETS.items():
                self._create_bucket(self.client("s3", region), region, bucket)
            glue = self.client("glue", PRIMARY)
            glue.create_database(DatabaseInput={"Name": "sales"})
            glue.create_table(DatabaseName="sales", TableInput={
                "Name": "orders", "StorageDescriptor": {
                    "Columns": [{"Name": "id", "Type": "int"}],
                    "Location": f"s3://{BUCKETS[PRIMARY]}/{PREFIX}orders/"}})
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def roles(self):
        """The options that name Twinlake's roles."""
        roles = [role for outputs in self.outputs.values() for role in outputs["Roles"].split(",")]
        return [option for role in roles for option in ("--twinlake-role", role)]

    def doctor(self):
        """Returns the exit code, and the checks with a finding that needs attention."""
        done = self.twinlake(
            "doctor", "--policy", "policy.toml", "--caller-arn", CALLER, "--json", *self.roles())
        findings = json.loads(done.stdout)["findings"]
        return done.returncode, {f["check"]: f for f in findings if f["severity"] != "note"}

    def create_trails(self):
        for region in BUCKETS:
            self._create_bucket(self.client("s3", region), region, f"trail-{region}")
            cloudtrail = self.client("cloudtrail", region)
            cloudtrail.create_trail(Name="audit", S3BucketName=f"trail-{region}")
            cloudtrail.start_logging(Name="audit")


@pytest.fixture
def pair():
    with BarePair() as running:
        yield running


def test_each_step_takes_findings_away_until_none_is_left(pair):
    code, findings = pair.doctor()
    assert code == 2
    assert {"versioning", "replication-rule", "trail", "deployment"} <= set(findings)

    pair.create_trails()
    assert "trail" not in pair.doctor()[1]

    pair.deploy()
    code, findings = pair.doctor()
    assert "no policy" in findings["deployment"]["problem"]

    iam_roles.put_replication_role(pair.client("iam", PRIMARY))
    iam_roles.put_creator(pair.client("iam", PRIMARY))
    attach = [option for bucket in BUCKETS.values() for option in ("--attach", bucket)]
    done = pair.twinlake(
        "setup", "storage", "--policy", "policy.toml", *attach, "--stack", "twinlake", "--yes",
        "--replication-role", f"arn:aws:iam::{ACCOUNT}:role/replication")
    assert done.returncode == 0, done.stdout + done.stderr
    code, findings = pair.doctor()
    assert not {"versioning", "replication-rule", "reverse-replication-rule",
                "replication-notifications"} & set(findings), findings

    done = pair.twinlake(
        "bootstrap", "--policy", "policy.toml", "--twinlake-role", CALLER, *pair.roles())
    assert done.returncode == 0, done.stdout + done.stderr
    pair.twinlake("policy", "push", "policy.toml")
    code, findings = pair.doctor()
    assert code == 2 and set(findings) == {"resync", "canary"}, findings

    pair.resync()
    # Each Region looks for the canaries that the other one has listed before.
    for region in (PRIMARY, STANDBY, PRIMARY):
        pair.invoke(region, "Canary")
    assert pair.doctor() == (0, {})
    tables = pair.client("glue", STANDBY).get_tables(DatabaseName="sales")["TableList"]
    assert [table["StorageDescriptor"]["Location"] for table in tables] == [
        f"s3://{BUCKETS[STANDBY]}/{PREFIX}orders/"]
