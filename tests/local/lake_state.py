"""A data lake in both Regions of a local AWS, and its state, which operations on the stacks must not change."""

import contextlib

import compare
import fixture_permissions as permissions
from fixture_all_kinds import hive_table
from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY

GRANTS = 40
OBJECTS = ("sales/orders/part-0.parquet", "sales/orders/part-1.parquet", "hr/t0/part-0.parquet")


def create_lake(local):
    """Creates databases, tables, partitions, permissions of every kind, and objects in the primary, and in
    the standby a database of somebody else. The buckets are versioned."""
    glue, lf = (local.client(service, PRIMARY) for service in ("glue", "lakeformation"))
    permissions.create_catalog(glue)
    orders = hive_table("sales", "orders")
    glue.create_table(DatabaseName="sales", TableInput=orders)
    glue.batch_create_partition(DatabaseName="sales", TableName="orders", PartitionInputList=[
        {"Values": [f"2026-11-{day}"], "StorageDescriptor": orders["StorageDescriptor"]} for day in range(10, 20)])
    permissions.create_lakeformation_objects(lf)
    permissions.grant_all(lf, permissions.grants()[:GRANTS])
    local.client("glue", STANDBY).create_database(DatabaseInput={"Name": "foreign"})
    for region, bucket in BUCKETS.items():
        s3 = local.client("s3", region)
        local._create_bucket(s3, region, bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        # Overwritten once, so that there are noncurrent versions.
        for body in (b"old", b"new"):
            for key in OBJECTS:
                s3.put_object(Bucket=bucket, Key=key, Body=body)


def is_twinlakes(principal):
    return ":role/twinlake/" in principal


def lake_state(local):
    """Returns catalog, permissions and objects of both Regions as raw JSON, times and versions included,
    without the administrators and grants of Twinlake's own roles."""
    state = {}
    for region, bucket in BUCKETS.items():
        found = compare.snapshot(
            local.client("glue", region), local.client("lakeformation", region),
            lf_kinds=compare.LAKEFORMATION_KINDS)
        found["admins"] = sorted(p for p in found["admins"] if not is_twinlakes(p))
        found["grants"] = [grant for grant in found["grants"]
                           if not is_twinlakes(grant["Principal"]["DataLakePrincipalIdentifier"])]
        listed = local.client("s3", region).list_object_versions(Bucket=bucket)
        found["objects"] = [
            {name: version[name] for name in ("Key", "VersionId", "ETag", "IsLatest", "LastModified")}
            for version in listed["Versions"]]
        found["delete markers"] = listed.get("DeleteMarkers", [])
        state[region] = found
    return state


def assert_same_lake(before, after):
    """Names each kind that differs, with the entries."""
    for region, kinds in before.items():
        for kind, value in kinds.items():
            assert after[region][kind] == value, (region, kind)


@contextlib.contextmanager
def intact_lake(local):
    """Creates a lake, and asserts at the end that its state is the same."""
    create_lake(local)
    before = lake_state(local)
    primary = before[PRIMARY]
    assert len(primary["objects"]) == 2 * len(OBJECTS) and len(primary["partitions"]) == 10
    assert len(primary["tables"]) == 2 * permissions.TABLES + 1 and len(primary["grants"]) >= GRANTS // 2
    yield
    assert_same_lake(before, lake_state(local))
