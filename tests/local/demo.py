"""What Twinlake does, in half a minute: the real template and the real binaries, deployed in
two Regions of a local AWS, watched while somebody works in the first one."""

import json
import sys
import time

import compare
from stack import ACCOUNT, BUCKETS, PRIMARY, SECONDARY, Local, wait_for

PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[SECONDARY]}")]
ANALYST = f"arn:aws:iam::{ACCOUNT}:role/Analyst"


def say(text=""):
    print(text, flush=True)


def step(title):
    say(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")


def timed(what, check):
    start = time.monotonic()
    wait_for(what, check)
    say(f"   {time.monotonic() - start:5.2f} s  {what}")


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
    def __init__(self, local):
        self.local = local
        self.glue = local.client("glue", PRIMARY)
        self.lake = local.client("lakeformation", PRIMARY)
        self.glue2 = local.client("glue", SECONDARY)
        self.lake2 = local.client("lakeformation", SECONDARY)

    def table(self):
        try:
            return self.glue2.get_table(DatabaseName="sales", Name="orders")["Table"]
        except self.glue2.exceptions.EntityNotFoundException:
            return None

    def grants(self):
        listed = self.lake2.list_permissions()["PrincipalResourcePermissions"]
        return [g for g in listed if g["Principal"]["DataLakePrincipalIdentifier"] == ANALYST]

    def catalog(self):
        step(f"1. Somebody creates a table in {PRIMARY}. In {SECONDARY}, after:")
        self.glue.create_database(
            DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
        self.glue.create_table(DatabaseName="sales", TableInput=orders_table())
        timed("sales.orders is there", self.table)
        place = self.table()["StorageDescriptor"]["Location"]
        say(f"            at {place}, where S3 replicates its files to")
        self.glue.batch_create_partition(
            DatabaseName="sales", TableName="orders",
            PartitionInputList=[{
                "Values": [day],
                "StorageDescriptor": {
                    "Location": f"s3://{BUCKETS[PRIMARY]}/sales/orders/dt={day}/"},
            } for day in ("2026-11-19", "2026-11-20")])
        timed("its two partitions are there", lambda: len(self.glue2.get_partitions(
            DatabaseName="sales", TableName="orders")["Partitions"]) == 2)

    def permissions(self):
        step(f"2. A grant is given in {PRIMARY}: every column but ssn. In {SECONDARY}, after:")
        grant = {
            "Principal": {"DataLakePrincipalIdentifier": ANALYST},
            "Resource": {"TableWithColumns": {
                "DatabaseName": "sales", "Name": "orders",
                "ColumnWildcard": {"ExcludedColumnNames": ["ssn"]}}},
            "Permissions": ["SELECT"],
        }
        self.lake.grant_permissions(**grant)
        timed("the analyst may read every column but ssn", self.grants)
        self.lake.revoke_permissions(**grant)
        say("   It is revoked again:")
        timed("the analyst may read nothing", lambda: not self.grants())

    def replication(self):
        step("3. S3 cannot replicate an object. The operations team's queue, after:")
        take = self.local.subscribe(SECONDARY, {"kind": ["replication-failed"]})
        s3, there = self.local.client("s3", PRIMARY), self.local.client("s3", SECONDARY)
        there.put_bucket_versioning(
            Bucket=BUCKETS[SECONDARY], VersioningConfiguration={"Status": "Suspended"})
        s3.put_object(Bucket=BUCKETS[PRIMARY], Body=b"x",
                      Key="sales/orders/dt=2026-11-20/part-0.parquet")
        got = []
        timed("an alert that says what to do", lambda: got.extend(take()) or got)
        there.put_bucket_versioning(
            Bucket=BUCKETS[SECONDARY], VersioningConfiguration={"Status": "Enabled"})
        alert = json.loads(got[0]["Message"])
        for label, key in (("happened", "what"), ("now", "now"), ("to do", "todo")):
            say(f"            {label:>8}: {alert[key]}")

    def resync(self):
        step("4. An event is lost: a column is added, and nobody is told.")
        self.local.steer("sink", forward=False)
        table = orders_table()
        table["StorageDescriptor"]["Columns"].append({"Name": "note", "Type": "string"})
        self.glue.update_table(DatabaseName="sales", TableInput=table)
        self.local.steer("sink", forward=True)
        columns = [c["Name"] for c in self.table()["StorageDescriptor"]["Columns"]]
        say(f"   {SECONDARY} still has {', '.join(columns)}. The scheduled resync runs:")
        start = time.monotonic()
        self.local.resync()
        columns = [c["Name"] for c in self.table()["StorageDescriptor"]["Columns"]]
        say(f"   {time.monotonic() - start:5.2f} s  now it has {', '.join(columns)}")

    def heartbeat(self):
        """What the schedules do each minute, so that there is a lag to be seen."""
        for _ in range(2):
            self.local.invoke(PRIMARY, "Heartbeat")
            wait_for("the queues are empty", self.local.is_quiet)
        self.local.invoke(SECONDARY, "Lag")

    def judge(self):
        step("5. An independent judge reads both Regions' raw JSON:")
        wait_for("the queues are empty", self.local.is_quiet)
        found = compare.differences(
            compare.snapshot(self.glue, self.lake), compare.snapshot(self.glue2, self.lake2),
            PAIRS)
        for line in found:
            say(f"   DIFFERENT {line}")
        say(f"   {'different' if found else 'identical'}")
        return not found


def main():
    say(f"Deploying template.yaml in {PRIMARY} and {SECONDARY} of a local AWS ...")
    start = time.monotonic()
    with Local() as local:
        say(f"   {time.monotonic() - start:5.2f} s  deployed, with the policy pushed to both")
        demo = Demo(local)
        demo.catalog()
        demo.permissions()
        demo.replication()
        demo.resync()
        identical = demo.judge()
        demo.heartbeat()
        step("6. What an operator sees:")
        status = local.twinlake("status", "--region", SECONDARY, "--role", ANALYST, "--all")
        for line in status.stdout.splitlines():
            say(f"   {line}")
    say("\nEverything is stopped again, and nothing is left behind.")
    return 0 if identical else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("\nInterrupted; everything is stopped.")
        sys.exit(130)
