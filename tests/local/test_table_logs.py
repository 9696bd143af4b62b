"""The log of a Delta table that delta-rs writes in the primary: what the functions find in its replica."""

import json

import pyarrow as pa
import pytest

from stack import BUCKETS, EVERY_RESYNC, PRIMARY, SITES, STANDBY, wait_for

SCHEMA = pa.schema([("id", pa.int64()), ("part", pa.string())])


@pytest.fixture(scope="module")
def lake(deployment):
    deployment.policy_file.write_text('iceberg = "relocate"\n' + EVERY_RESYNC + SITES)
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "logs", "CreateTableDefaultPermissions": []})
    return deployment


class Table:
    """A Delta table in a local directory, whose files arrive in the standby when a test says so."""

    def __init__(self, lake, directory, name):
        self.lake, self.directory, self.name = lake, directory / name, name
        self.s3 = lake.client("s3", STANDBY)
        self.version = 0

    def write(self, *ids, **options):
        from deltalake import write_deltalake

        rows = pa.table({"id": list(ids), "part": [f"a b/{one % 2}" for one in ids]}, SCHEMA)
        write_deltalake(str(self.directory), rows, mode="append", partition_by=["part"], **options)

    def open(self):
        from deltalake import DeltaTable

        return DeltaTable(str(self.directory))

    def files(self):
        return {str(path.relative_to(self.directory)) for path in self.directory.rglob("*") if path.is_file()}

    def arrive(self, names):
        for name in names:
            self.s3.upload_file(str(self.directory / name), BUCKETS[STANDBY], f"logs/{self.name}/{name}")

    def forget(self, name):
        self.s3.delete_object(Bucket=BUCKETS[STANDBY], Key=f"logs/{self.name}/{name}")

    def commit(self):
        """Registers the entry, or changes it as a commit of a crawler does."""
        location = f"s3://{BUCKETS[PRIMARY]}/logs/{self.name}"
        glue = self.lake.client("glue", PRIMARY)
        call = glue.update_table if self.version else glue.create_table
        self.version += 1
        call(DatabaseName="logs", TableInput={
            "Name": self.name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": [],
            "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "bigint"}], "Location": location},
            "Parameters": {"spark.sql.sources.provider": "delta", "version": str(self.version)}})

    def row(self):
        """The row of the table in the ledger."""
        items = self.lake.client("dynamodb", STANDBY).scan(TableName="twinlake-ledger")["Items"]
        bodies = [json.loads(item["body"]["S"]) for item in items if "body" in item]
        rows = [body for body in bodies if isinstance(body, dict) and f'"{self.name}"' in json.dumps(body.get("subject"))]
        return rows[0] if rows else {}

    def expect(self, state, *parts):
        """Waits for a state, with a reason that has these parts."""
        def is_so():
            row = self.row()
            return row.get("state") == state and all(part in (row.get("reason") or "") for part in parts)

        wait_for(f"{self.name} is {state} {parts}", is_so, detail=self.row)


@pytest.fixture
def new_table(lake, tmp_path):
    return lambda name: Table(lake, tmp_path, name)


def newest_file(table):
    """The name of a data file of the newest commit, as it stands on the disk."""
    version = table.open().version()
    commit = (table.directory / f"_delta_log/{version:020}.json").read_text()
    size = next(json.loads(line)["add"]["size"] for line in commit.splitlines() if '"add"' in line)
    files = [path for path in table.directory.rglob("part-*") if path.stat().st_size == size]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    return str(newest.relative_to(table.directory))


def test_a_log_ahead_of_its_files_waits_for_them_and_a_whole_replica_is_in_sync(new_table):
    table = new_table("ahead")
    for number in range(4):
        table.write(number)
    table.open().create_checkpoint()
    table.write(20)
    late, names = newest_file(table), table.files()
    assert "_delta_log/_last_checkpoint" in names and "%" in late, names
    table.arrive(names - {late})
    table.commit()
    table.expect("data-pending", late)
    status = table.lake.twinlake("status", "logs.ahead", "--region", STANDBY).stdout
    assert "next: wait: Twinlake looks again by itself" in status and "pending dismiss" not in status, status
    table.arrive([late])
    table.commit()
    table.expect("in-sync")
    # A commit that was overtaken by a later one.
    table.write(21)
    table.write(22)
    gap = f"_delta_log/{table.open().version() - 1:020}.json"
    table.arrive(table.files() - {gap})
    table.commit()
    table.expect("data-pending", gap)


def absolute_add(table, path):
    """Adds a file by its full path, as delta-rs lets a caller do."""
    from deltalake.transaction import AddAction

    action = AddAction(path, 5, {"part": "0"}, 1, True, "{}")
    table.open().create_write_transaction([action], mode="append", schema=table.open().schema(), partition_by=["part"])


def test_absolute_paths_in_commits_and_in_a_checkpoint_are_blocked_until_they_are_gone(new_table):
    table = new_table("clone")
    table.write(1, 2)
    path = "s3://somewhere-else/part-0.parquet"
    absolute_add(table, path)
    version = table.open().version()
    table.arrive(table.files())
    table.commit()
    table.expect("blocked", f"{version:020}.json", path)
    # Only the checkpoint has it, once later commits hide the first one.
    table.open().create_checkpoint()
    for number in range(12):
        table.write(number)
    table.arrive(table.files())
    table.commit()
    table.expect("blocked", f"{version:020}.checkpoint.parquet", path)


def checkpoint_rows(table, version):
    import pyarrow.parquet as parquet

    return parquet.read_table(table.directory / f"_delta_log/{version:020}.checkpoint.parquet")


def replace_checkpoint(table, version, files):
    """Writes the files of a checkpoint in place of that of delta-rs, for which all commits before it are gone."""
    import pyarrow.parquet as parquet

    log = table.directory / "_delta_log"
    (log / f"{version:020}.checkpoint.parquet").unlink()
    (log / "_last_checkpoint").unlink()
    for name, rows in files.items():
        (log / name).parent.mkdir(exist_ok=True)
        parquet.write_table(rows, log / name)


def with_checkpoint(table):
    """Writes a table whose checkpoint has an absolute path that no commit that is read has; its version."""
    table.write(1, 2)
    absolute_add(table, "s3://somewhere-else/part-0.parquet")
    version = table.open().version()
    table.open().create_checkpoint()
    for number in range(12):
        table.write(number)
    return version


def test_a_checkpoint_in_parts_is_read_in_each_part(new_table):
    table = new_table("parts")
    version = with_checkpoint(table)
    rows = checkpoint_rows(table, version)
    parts = {f"{version:020}.checkpoint.{part + 1:010}.{rows.num_rows:010}.parquet": rows.slice(part, 1)
             for part in range(rows.num_rows)}
    replace_checkpoint(table, version, parts)
    table.arrive(table.files())
    table.commit()
    table.expect("blocked", "s3://somewhere-else/part-0.parquet", f"{rows.num_rows:010}.parquet")


def test_a_checkpoint_with_sidecars_is_read_with_them_and_waits_for_one_that_is_late(new_table):
    table = new_table("sidecars")
    version = with_checkpoint(table)
    rows = checkpoint_rows(table, version)
    is_file = rows["add"].is_valid()
    sidecar = "_sidecars/016ae953-37a9-438e-8683-9a9a4a79a395.parquet"
    replace_checkpoint(table, version, {sidecar: rows.filter(is_file).select(["add", "remove"])})
    size = (table.directory / "_delta_log" / sidecar).stat().st_size
    import pyarrow.compute as compute

    top = rows.filter(compute.invert(is_file)).select(["metaData", "protocol"]).to_pylist()
    named = {"path": sidecar.split("/")[1], "sizeInBytes": size, "modificationTime": 1}
    top = [*[row | {"sidecar": None} for row in top], {"metaData": None, "protocol": None, "sidecar": named}]
    schema = pa.schema([*rows.select(["metaData", "protocol"]).schema,
                        ("sidecar", pa.struct([("path", pa.string()), ("sizeInBytes", pa.int64()), ("modificationTime", pa.int64())]))])
    import pyarrow.parquet as parquet

    name = f"_delta_log/{version:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet"
    parquet.write_table(pa.Table.from_pylist(top, schema), table.directory / name)
    sidecar = f"_delta_log/{sidecar}"
    table.arrive(table.files() - {sidecar})
    table.commit()
    table.expect("data-pending", sidecar)
    table.arrive([sidecar])
    table.commit()
    table.expect("blocked", "s3://somewhere-else/part-0.parquet", sidecar)


def test_a_deletion_vector_that_is_late_or_absolute_is_found(new_table):
    table = new_table("vectors")
    table.write(2)
    data = json.loads(next(line for line in (table.directory / "_delta_log/00000000000000000000.json").read_text().splitlines()
                           if '"add"' in line))["add"]
    vector = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40, "cardinality": 1}

    def delete_rows(version, vector):
        lines = [{"remove": {"path": data["path"], "deletionTimestamp": 1, "dataChange": True}},
                 {"add": {**data, "deletionVector": vector}}]
        log = table.directory / f"_delta_log/{version:020}.json"
        log.write_text("\n".join(json.dumps(line) for line in lines))

    delete_rows(1, vector)
    table.arrive(table.files())
    table.commit()
    name = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    table.expect("data-pending", name)
    (table.directory / "ab").mkdir()
    (table.directory / name).write_bytes(bytes(44))
    table.arrive([name])
    table.commit()
    table.expect("in-sync")
    delete_rows(2, vector | {"storageType": "p", "pathOrInlineDv": f"s3://somewhere-else/{name}"})
    table.arrive(table.files())
    table.commit()
    table.expect("blocked", f"s3://somewhere-else/{name}")


def test_a_checkpoint_that_is_too_long_is_said_to_be_unread(new_table, lake):
    import os

    table = new_table("long")
    version = with_checkpoint(table)
    rows = checkpoint_rows(table, version)
    # Statistics of random text are not compressed.
    adds = rows["add"].to_pylist()
    adds = [add and add | {"stats": os.urandom(35 << 20).hex()} for add in adds]
    rows = rows.set_column(rows.schema.get_field_index("add"), rows.schema.field("add"),
                           pa.array(adds, rows.schema.field("add").type))
    name = f"{version:020}.checkpoint.parquet"
    replace_checkpoint(table, version, {name: rows})
    assert (table.directory / "_delta_log" / name).stat().st_size > 64 << 20
    table.arrive(table.files())
    table.commit()
    plan = lake.twinlake("plan", "--policy", str(lake.policy_file), check=False)
    wait_for("the plan says what was not read",
             lambda: name in lake.twinlake("plan", "--policy", str(lake.policy_file), check=False).stdout,
             detail=lambda: f"{table.row()} {plan.stdout}")
