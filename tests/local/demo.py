"""A demonstration of about half a minute.

Deploys the real template with the compiled functions in two Regions of a local AWS, changes the
primary, and shows what happens in the standby. Exits with 1 if the Regions differ at the end.
"""

import json
import sys
import time

import compare
from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY, Deployment, wait_for

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]
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


def orders_table():
    return {
        "Name": "orders", "TableType": "EXTERNAL_TABLE",
        "Parameters": {"classification": "parquet"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": name, "Type": kind} for name, kind in
                        [("id", "bigint"), ("amount", "decimal(10,2)"), ("ssn", "string")]],
            "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/",
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
        show_title(f"1. A table is created in {PRIMARY}. Replicated to {STANDBY} after:")
        self.glue.create_database(
            DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        self.glue.create_table(DatabaseName="sales", TableInput=orders_table())
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
        show_title(f"2. SELECT on every column but ssn is granted in {PRIMARY}. "
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
        show_title("3. S3 fails to replicate an object. In the operations team's queue after:")
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
        show_title("4. A column is added while no events are delivered.")
        self.deployment.control_sandbox("event-delivery", enabled=False)
        table = orders_table()
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
        show_title("5. An independent comparison of both Regions' raw JSON:")
        wait_for("the queues are empty", self.deployment.has_empty_queues)
        differences = compare.differences(
            compare.snapshot(self.glue, self.lf),
            compare.snapshot(self.standby_glue, self.standby_lf), LOCATION_PAIRS)
        for line in differences:
            show(f"   DIFFERENT {line}")
        show(f"   {'different' if differences else 'identical'}")
        return not differences


def main():
    show(f"Deploying template.yaml in {PRIMARY} and {STANDBY} of a local AWS ...")
    start = time.monotonic()
    with Deployment() as deployment:
        show(f"   {time.monotonic() - start:5.2f} s  deployed, and the policy pushed to both")
        demo = Demo(deployment)
        demo.replicate_catalog()
        demo.replicate_permissions()
        demo.report_replication_failure()
        demo.correct_drift()
        is_identical = demo.compare_regions()
        demo.measure_lag()
        show_title("6. The output of `twinlake status --all`:")
        status = deployment.twinlake("status", "--region", STANDBY, "--all")
        for line in status.stdout.splitlines():
            show(f"   {line}")
    show("\nThe local AWS is stopped, and its files are removed.")
    return 0 if is_identical else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        show("\nInterrupted. The local AWS is stopped, and its files are removed.")
        sys.exit(130)
