"""A demonstration of about half a minute.

Begins with a lake in one Region of a local AWS, whose bucket S3 replicates to the other. Drafts the
policy, deploys the real template with the compiled functions in both Regions, and runs the setup
until `twinlake doctor` has no finding. Then changes the primary, and prints what happens in the
standby. Exits with 1 if `doctor` has a finding or the Regions differ at the end.
"""

import json
import re
import sys
import time

import compare
import iam_roles
from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY, Deployment, wait_for

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]
CALLER = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
REPLICATION_ROLE = f"arn:aws:iam::{ACCOUNT}:role/replication"
ANALYST = f"arn:aws:iam::{ACCOUNT}:role/Analyst"


def show(text=""):
    print(text, flush=True)


def show_title(title):
    show(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


def show_time_until(description, check):
    """Waits until `check` is true, and prints how long it took."""
    start = time.monotonic()
    wait_for(description, check)
    show(f"   {time.monotonic() - start:5.2f} s  {description}")


def lake_table(name):
    return {
        "Name": name, "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "parquet"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": name, "Type": kind} for name, kind in
                        [("id", "bigint"), ("amount", "decimal(10,2)"), ("ssn", "string")]],
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/{name}/",
            "InputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
            "OutputFormat": "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary":
                          "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"},
        },
    }


class Demo:
    def __init__(self, deployment):
        self.deployment = deployment
        self.glue = deployment.client("glue", PRIMARY)
        self.lf = deployment.client("lakeformation", PRIMARY)
        self.standby_glue = deployment.client("glue", STANDBY)
        self.standby_lf = deployment.client("lakeformation", STANDBY)

    def standby_table(self):
        try:
            return self.standby_glue.get_table(DatabaseName="sales", Name="orders")["Table"]
        except self.standby_glue.exceptions.EntityNotFoundException:
            return None

    def standby_grants(self):
        listed = self.standby_lf.list_permissions()["PrincipalResourcePermissions"]
        return [g for g in listed if g["Principal"]["DataLakePrincipalIdentifier"] == ANALYST]

    def replicate_catalog(self):
        show_title(f"4. A table is created in {PRIMARY}. Replicated to {STANDBY} after:")
        self.glue.create_table(DatabaseName="sales", TableInput=lake_table("orders"))
        show_time_until("table sales.orders exists", self.standby_table)
        location = self.standby_table()["StorageDescriptor"]["Location"]
        show(f"            at {location}, to which S3 replicates its files")
        self.glue.batch_create_partition(
            DatabaseName="sales", TableName="orders",
            PartitionInputList=[{
                "Values": [day],
                "StorageDescriptor": {
                    "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/dt={day}/"},
            } for day in ("2026-11-19", "2026-11-20")])
        show_time_until("its two partitions exist", lambda: len(self.standby_glue.get_partitions(
            DatabaseName="sales", TableName="orders")["Partitions"]) == 2)

    def replicate_permissions(self):
        show_title(f"5. SELECT on every column but ssn is granted in {PRIMARY}. "
                   f"In {STANDBY} after:")
        grant = {
            "Principal": {"DataLakePrincipalIdentifier": ANALYST},
            "Resource": {"TableWithColumns": {
                "DatabaseName": "sales", "Name": "orders",
                "ColumnWildcard": {"ExcludedColumnNames": ["ssn"]}}},
            "Permissions": ["SELECT"],
        }
        self.lf.grant_permissions(**grant)
        show_time_until("the analyst has SELECT on every column but ssn", self.standby_grants)
        self.lf.revoke_permissions(**grant)
        show("   The grant is revoked:")
        show_time_until("the analyst has no grants", lambda: not self.standby_grants())

    def report_replication_failure(self):
        show_title("6. S3 fails to replicate an object. In the operations team's queue after:")
        receive = self.deployment.subscribe(STANDBY, {"kind": ["replication-failed"]})
        s3, standby_s3 = (self.deployment.client("s3", region) for region in (PRIMARY, STANDBY))
        standby_s3.put_bucket_versioning(
            Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Suspended"})
        s3.put_object(Bucket=BUCKETS[PRIMARY], Body=b"x",
                      Key="sales/orders/dt=2026-11-20/part-0.parquet")
        received = []
        show_time_until("an alert arrives", lambda: received.extend(receive()) or received)
        standby_s3.put_bucket_versioning(
            Bucket=BUCKETS[STANDBY], VersioningConfiguration={"Status": "Enabled"})
        alert = json.loads(received[0]["Message"])
        labels = {"summary": "what happened", "current_state": "current state",
                  "action": "what to do"}
        for key, label in labels.items():
            show(f"            {label:>13}: {alert[key]}")

    def correct_drift(self):
        show_title("7. A column is added while no events are delivered.")
        self.deployment.control_sandbox("event-delivery", enabled=False)
        table = lake_table("orders")
        table["StorageDescriptor"]["Columns"].append({"Name": "note", "Type": "string"})
        self.glue.update_table(DatabaseName="sales", TableInput=table)
        self.deployment.control_sandbox("event-delivery", enabled=True)
        columns = [c["Name"] for c in self.standby_table()["StorageDescriptor"]["Columns"]]
        show(f"   {STANDBY} still has the columns {', '.join(columns)}. The resync runs:")
        start = time.monotonic()
        self.deployment.resync()
        columns = [c["Name"] for c in self.standby_table()["StorageDescriptor"]["Columns"]]
        show(f"   {time.monotonic() - start:5.2f} s  the columns are {', '.join(columns)}")

    def measure_lag(self):
        """Runs the functions that the schedules run each minute, so that a lag is measured."""
        for _ in range(2):
            self.deployment.invoke(PRIMARY, "Heartbeat")
            wait_for("the queues are empty", self.deployment.has_empty_queues)
        self.deployment.invoke(STANDBY, "Monitor")

    def compare_regions(self):
        """Prints whether the Regions are identical, and returns it."""
        show_title("8. An independent comparison of both Regions' raw JSON:")
        wait_for("the queues are empty", self.deployment.has_empty_queues)
        differences = compare.differences(
            compare.snapshot(self.glue, self.lf),
            compare.snapshot(self.standby_glue, self.standby_lf), LOCATION_PAIRS)
        for line in differences:
            show(f"   DIFFERENT {line}")
        show(f"   {'different' if differences else 'identical'}")
        return not differences


class LakeWithoutTwinlake(Deployment):
    """A lake in the primary, with trails and with replication to the standby, and nothing of Twinlake."""

    def __enter__(self):
        try:
            self.start()
            self.policy_file.unlink()
            self._create_lake()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _create_lake(self):
        iam = self.client("iam", PRIMARY)
        iam_roles.put_replication_role(iam)
        iam_roles.put_creator(iam)
        for region, bucket in BUCKETS.items():
            s3, cloudtrail = (self.client(service, region) for service in ("s3", "cloudtrail"))
            self._create_bucket(s3, region, bucket)
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            self._create_bucket(s3, region, f"trail-{region}")
            cloudtrail.create_trail(Name="audit", S3BucketName=f"trail-{region}")
            cloudtrail.start_logging(Name="audit")
        self.client("s3", PRIMARY).put_bucket_replication(
            Bucket=BUCKETS[PRIMARY], ReplicationConfiguration={"Role": REPLICATION_ROLE, "Rules": [{
                "ID": "sales", "Status": "Enabled", "Priority": 1, "Filter": {"Prefix": "sales/"},
                "DeleteMarkerReplication": {"Status": "Enabled"},
                "SourceSelectionCriteria": {"ReplicaModifications": {"Status": "Enabled"}},
                "Destination": {"Bucket": f"arn:aws:s3:::{BUCKETS[STANDBY]}", "Metrics": {"Status": "Enabled"}},
            }]})
        glue = self.client("glue", PRIMARY)
        glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        glue.create_table(DatabaseName="sales", TableInput=lake_table("customers"))

    def run(self, *args):
        """Runs a command, and returns its output. Raises AssertionError if its exit code is not 0."""
        done = self.twinlake(*args)
        if done.returncode != 0:
            raise AssertionError(f"twinlake {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def show_doctor(self):
        """Prints the findings of `twinlake doctor` other than notes. Returns whether its exit code is 0."""
        roles = [role for outputs in self.outputs.values() for role in outputs["Roles"].split(",")]
        options = [option for role in roles for option in ("--twinlake-role", role)]
        done = self.twinlake(
            "doctor", "--policy", "policy.toml", "--caller-arn", CALLER, "--json", *options)
        findings = [f for f in json.loads(done.stdout)["findings"] if f["severity"] != "note"]
        checks = sorted({finding["check"] for finding in findings})
        show(f"   twinlake doctor: {', '.join(checks) or 'no finding'}")
        return done.returncode == 0

    def draft_policy(self):
        show_title("1. `twinlake init` drafts the policy from the replication rules, and estimates calls and cost:")
        text = self.run("init", "--primary", PRIMARY, "--standby", STANDBY, "--caller-arn", CALLER)
        for line in text.splitlines():
            if re.match(r"The primary holds|.*(first resync|on average) \(|.* in all$", line):
                unit = " (US dollars a month)" if line.endswith(" in all") else ""
                show(f"   {line.strip()}{unit}")
        self.show_doctor()

    def deploy_and_prepare(self):
        show_title("2. template.yaml is deployed in both Regions, the policy is pushed, and the buckets are attached:")
        start = time.monotonic()
        self.deploy()
        show(f"   {time.monotonic() - start:5.2f} s  deployed")
        # Before any event is sent: a message that is handled without a policy returns only after the visibility timeout.
        self.run("policy", "push", "policy.toml")
        attach = [option for bucket in BUCKETS.values() for option in ("--attach", bucket)]
        text = self.run("setup", "storage", "--policy", "policy.toml", *attach, "--yes",
                        "--replication-role", REPLICATION_ROLE)
        for line in text.splitlines():
            if line.startswith("  would"):
                show(f"   {line.strip()}")
        self.show_doctor()

    def bootstrap(self):
        show_title("3. Twinlake's roles become administrators, and the first resync runs:")
        roles = [role for outputs in self.outputs.values() for role in outputs["Roles"].split(",")]
        options = [option for role in roles for option in ("--twinlake-role", role)]
        self.run("bootstrap", "--policy", "policy.toml", "--twinlake-role", CALLER, *options)
        start = time.monotonic()
        self.resync()
        show(f"   {time.monotonic() - start:5.2f} s  table sales.customers exists in {STANDBY}")
        # What the schedules run every 5 (Canary) and 30 (Readiness) minutes. Each Region looks for the canaries
        # that the other one listed before.
        for region in (PRIMARY, STANDBY, PRIMARY):
            self.invoke(region, "Canary")
        self.invoke(STANDBY, "Readiness")
        return self.show_doctor()


def main():
    show(f"A lake in {PRIMARY} of a local AWS, and nothing of Twinlake.")
    with LakeWithoutTwinlake() as deployment:
        deployment.draft_policy()
        deployment.deploy_and_prepare()
        is_sound = deployment.bootstrap()
        demo = Demo(deployment)
        demo.replicate_catalog()
        demo.replicate_permissions()
        demo.report_replication_failure()
        demo.correct_drift()
        is_identical = demo.compare_regions()
        demo.measure_lag()
        show_title("9. The output of `twinlake status --all`:")
        status = deployment.twinlake("status", "--region", STANDBY, "--all")
        for line in status.stdout.splitlines():
            show(f"   {line}")
    show("\nThe local AWS is stopped, and its files are removed.")
    return 0 if is_sound and is_identical else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        show("\nInterrupted. The local AWS is stopped, and its files are removed.")
        sys.exit(130)
