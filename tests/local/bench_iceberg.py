"""What the work on Iceberg tables takes: entries of manifests a second on one core, processor time and peak memory of
whole tables, beside the same tables rewritten in pure Python in the same run.

`crates/engine/benches/iceberg_relocation.rs` does the work, with the profile of the functions, in a process of its own for
each measurement. Of several runs, the shortest time and the largest memory count. The tables hold metadata only: the
program is told which data files there are. Reading from and writing to S3 is not measured.
"""

import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import time

import fastavro
import fastavro._read_py
import fastavro._write_py
import pyarrow as pa
import pyarrow.parquet as pq

from iceberg_zoo import FILE_PATH, POSITION, field, list_schema, number_map
from stack import ROOT

# The size of each data file; the program has the same.
DATA_BYTES = 134_217_728
COLUMNS = 10
# Writers of Avro begin a new block after so many bytes.
BLOCK_BYTES = 64_000
# Columns of which the engine counts values that are not a number.
FLOAT_COLUMNS = 2
RUNS = 3
MAX_MEGABYTES = 256
# The bars of entries a second, by codec, and of seconds of processor time.
MIN_ENTRIES = {"null": 300_000, "deflate": 100_000}
MAX_NEW_TABLE_SECONDS, MAX_COMMIT_SECONDS = 4, 2
TABLE_UUID = "b9c8e3a0-0000-4000-8000-000000000001"


def entry_schema():
    """The schema of a manifest of format version 2, with the metrics that engines write by default."""
    partition = {"type": "record", "name": "r102", "fields": [field("dt", 1000, "string")]}
    data_file = [
        field("content", 134, "int", False), field("file_path", 100, "string", False),
        field("file_format", 101, "string", False), field("partition", 102, partition, False),
        field("record_count", 103, "long", False), field("file_size_in_bytes", 104, "long", False),
        number_map("column_sizes", 108, 117, 118, "long"), number_map("value_counts", 109, 119, 120, "long"),
        number_map("null_value_counts", 110, 121, 122, "long"), number_map("nan_value_counts", 137, 138, 139, "long"),
        number_map("lower_bounds", 125, 126, 127, "bytes"), number_map("upper_bounds", 128, 129, 130, "bytes"),
        field("key_metadata", 131, "bytes"),
        field("split_offsets", 132, {"type": "array", "items": "long", "element-id": 133}),
        field("equality_ids", 135, {"type": "array", "items": "int", "element-id": 136}),
        field("sort_order_id", 140, "int")]
    record = {"type": "record", "name": "r2", "fields": data_file}
    return {"type": "record", "name": "manifest_entry", "fields": [
        field("status", 0, "int", False), field("snapshot_id", 1, "long"), field("sequence_number", 3, "long"),
        field("file_sequence_number", 4, "long"), field("data_file", 2, record, False)]}


ENTRY_SCHEMA = fastavro.parse_schema(entry_schema())
LIST_SCHEMA = fastavro.parse_schema(list_schema(2))


def entry(location, number, snapshot):
    """An added data file with metrics of ten columns: half of them texts, whose bounds have 16 characters."""
    def values(of):
        return [{"key": column, "value": of(column)} for column in range(1, COLUMNS + 1)]

    def bound(column):
        if column % 2:
            return struct.pack("<q", number * 1000 + column)
        return f"customer-{number * 7919 % 10_000_000:07}".encode()

    file = {"content": 0, "file_path": f"{location}/data/{number:08}.parquet", "file_format": "PARQUET",
            "partition": {"dt": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}"},
            "record_count": 1_000_000 + number % 997, "file_size_in_bytes": DATA_BYTES,
            "column_sizes": values(lambda column: 4_000_000 + number * column % 1_000_003),
            "value_counts": values(lambda column: 1_000_000 + number % 997),
            "null_value_counts": values(lambda column: number * column % 101),
            "nan_value_counts": [{"key": column, "value": 0} for column in range(1, FLOAT_COLUMNS + 1)],
            "lower_bounds": values(bound), "upper_bounds": values(bound),
            "key_metadata": None, "split_offsets": [4, 67_108_868], "equality_ids": None, "sort_order_id": 0}
    return {"status": 1, "snapshot_id": snapshot, "sequence_number": None, "file_sequence_number": None,
            "data_file": file}


def avro(schema, records, codec, header):
    out = io.BytesIO()
    fastavro.writer(out, schema, records, codec=codec, metadata=header, sync_interval=BLOCK_BYTES)
    return out.getvalue()


def manifest(location, first, count, snapshot, codec):
    header = {"schema": "{}", "schema-id": "0", "partition-spec": "[]", "partition-spec-id": "0", "format-version": "2",
              "content": "data"}
    entries = (entry(location, number, snapshot) for number in range(first, first + count))
    return avro(ENTRY_SCHEMA, entries, codec, header)


class BenchTable:
    """A table whose replica of metadata is in a directory, with the paths of the primary."""

    def __init__(self, home, entries_per_manifest):
        self.source, self.target = str(home / "primary"), str(home / "standby")
        self.entries_per_manifest, self.snapshots, self.listed = entries_per_manifest, [], []
        self.memory = home / "memory.json"
        self.own = home / "standby/_twinlake"
        (home / "standby/metadata").mkdir(parents=True)

    def write(self, name, content):
        """Writes the replica of a file of the metadata, and returns the path of the original."""
        pathlib.Path(self.target, "metadata", name).write_bytes(content)
        return f"{self.source}/metadata/{name}"

    def add_manifest(self, snapshot):
        count = self.entries_per_manifest
        content = manifest(self.source, len(self.listed) * count, count, snapshot, "deflate")
        self.listed.append({
            "manifest_path": self.write(f"m{len(self.listed):05}.avro", content), "manifest_length": len(content),
            "partition_spec_id": 0, "content": 0, "sequence_number": snapshot, "min_sequence_number": snapshot,
            "added_snapshot_id": snapshot, "added_files_count": count, "existing_files_count": 0,
            "deleted_files_count": 0, "added_rows_count": 1, "existing_rows_count": 0, "deleted_rows_count": 0,
            "partitions": [{"contains_null": False, "lower_bound": b"2026-01-01", "upper_bound": b"2026-12-28"}]})

    def commit(self, manifests, is_last=True):
        """Adds a snapshot with further manifests. The last one of several is written with its metadata.json, whose path in
        the primary is returned."""
        snapshot = len(self.snapshots) + 1
        for _ in range(manifests):
            self.add_manifest(snapshot)
        header = {"snapshot-id": str(snapshot), "sequence-number": str(snapshot), "format-version": "2"}
        path = self.write(f"snap-{snapshot}.avro", avro(LIST_SCHEMA, self.listed, "deflate", header))
        self.snapshots.append({"snapshot-id": snapshot, "timestamp-ms": 1_700_000_000_000 + snapshot,
                               "sequence-number": snapshot, "manifest-list": path})
        return self.write_metadata(snapshot) if is_last else None

    def write_metadata(self, snapshot):
        # Maintenance removed the metadata files before the last 100.
        log = [{"timestamp-ms": 1_700_000_000_000 + one, "metadata-file": f"{self.source}/metadata/{one:05}-x.metadata.json"}
               for one in range(max(1, snapshot - 100), snapshot)]
        metadata = {"format-version": 2, "table-uuid": TABLE_UUID, "location": self.source,
                    "last-sequence-number": snapshot, "current-snapshot-id": snapshot, "snapshots": self.snapshots,
                    "metadata-log": log, "properties": {}}
        return self.write(f"{snapshot:05}-x.metadata.json", json.dumps(metadata).encode())

    def relocate(self, program, metadata):
        """Returns the files that were written, the seconds of processor time and the peak memory in MB."""
        files = len(self.listed) * self.entries_per_manifest
        return run(program, "relocate", metadata, str(files), str(self.memory), self.source, self.target)

    def relocate_from_nothing(self, program, metadata):
        """As `relocate`, without what earlier runs wrote."""
        shutil.rmtree(self.own, ignore_errors=True)
        self.memory.unlink(missing_ok=True)
        return self.relocate(program, metadata)

    def rewritten(self, name):
        """The rewritten file of a file of the metadata."""
        [path] = self.own.glob(f"*/*-{name}")
        return path.read_bytes()


def build():
    """Builds the program alone, with the profile of the functions, and returns its path."""
    command = ["cargo", "build", "--release", "--locked", "--package", "twinlake-engine", "--bench", "iceberg_relocation",
               "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    return next(message["executable"] for message in messages
                if message.get("target", {}).get("name") == "iceberg_relocation" and message.get("executable"))


def run(*command):
    """Runs the program. Returns what it counted, its processor time in seconds and its peak memory in MB, which it reads
    itself: the system counts the memory of the process that starts it, too."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    counted, kib = map(int, output.split())
    return counted, usage.ru_utime + usage.ru_stime, kib / 1024


def best(measure, expected):
    """The shortest time and the largest memory of several runs, each of which counts what is expected."""
    runs = [measure() for _ in range(RUNS)]
    assert all(counted == expected for counted, _, _ in runs), (runs, expected)
    return min(seconds for _, seconds, _ in runs), max(megabytes for _, _, megabytes in runs)


def rewrite_in_python(content, source, target, edit):
    """An Avro file whose records are edited, as a rewriter in pure Python writes it."""
    reader = fastavro._read_py.reader(io.BytesIO(content))
    records = []
    for record in reader:
        edit(record, lambda path: target + path.removeprefix(source))
        records.append(record)
    out = io.BytesIO()
    header = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
    fastavro._write_py.writer(out, reader.writer_schema, records, codec=reader.codec, metadata=header,
                              sync_interval=BLOCK_BYTES)
    return out.getvalue()


def edit_entry(record, mapped):
    record["data_file"]["file_path"] = mapped(record["data_file"]["file_path"])


def rewrite_table_in_python(table):
    """The rewritten manifests by their names, and the seconds of processor time of the whole table."""
    started, directory = time.process_time(), pathlib.Path(table.target, "metadata")
    manifests = {path.name: rewrite_in_python(path.read_bytes(), table.source, table.target, edit_entry)
                 for path in sorted(directory.glob("m*.avro"))}

    def edit_listed(record, mapped):
        name = pathlib.PurePath(record["manifest_path"]).name
        record["manifest_path"] = mapped(record["manifest_path"])
        record["manifest_length"] = len(manifests[name])

    for path in directory.glob("snap-*.avro"):
        rewrite_in_python(path.read_bytes(), table.source, table.target, edit_listed)
    metadata = json.loads(max(directory.glob("*.metadata.json")).read_bytes())
    for snapshot in metadata["snapshots"]:
        snapshot["manifest-list"] = table.target + snapshot["manifest-list"].removeprefix(table.source)
    json.dumps(metadata)
    return manifests, time.process_time() - started


def records(content):
    return list(fastavro.reader(io.BytesIO(content)))


def judge_memory(results, what, megabytes):
    results.judge(f"peak memory of {what}: {megabytes:.0f} MB", megabytes < MAX_MEGABYTES, f"less than {MAX_MEGABYTES} MB")


def bench_manifests(results, home, program):
    entries, times = 10_000, 20
    source, target = "/lake/primary/orders", "/lake/standby/orders"
    print(f"A manifest of {entries:,} data files with metrics of {COLUMNS} columns, read and rewritten on one core:")
    for codec, bar in MIN_ENTRIES.items():
        content = manifest(source, 0, entries, 1, codec)
        path, output = home / f"{codec}.avro", home / f"{codec}.out"
        path.write_bytes(content)
        arguments = ("read-and-rewrite", str(path), str(times), str(output), source, target)
        seconds, megabytes = best(lambda: run(program, *arguments), entries)
        started = time.process_time()
        in_python = rewrite_in_python(content, source, target, edit_entry)
        python_seconds = time.process_time() - started
        assert records(output.read_bytes()) == records(in_python), "the two rewriters differ"
        rate, python_rate = entries * times / seconds, entries / python_seconds
        results.add(f"manifest entries, codec {codec}", seconds=seconds / times, megabytes=megabytes,
                    python_ratio=rate / python_rate)
        results.judge(f"{rate:,.0f} entries a second, {len(content) / entries:.0f} bytes each, with codec {codec}; "
                      f"{python_rate:,.0f} in pure Python, x{rate / python_rate:.0f}",
                      rate >= bar, f"at least {bar:,}")


def bench_java(home):
    """Prints how fast Iceberg's Java library rewrites the same manifest, if ICEBERG_JARS names a directory with its jars: they
    are no part of the Python environment. Nothing is judged."""
    jars = os.environ.get("ICEBERG_JARS")
    if not jars:
        print("  Iceberg's Java library is not measured: ICEBERG_JARS names no directory with its jars.")
        return
    entries, source, target = 10_000, "/lake/primary/orders", "/lake/standby/orders"
    output, classes = home / "java.avro", f"{home}{os.pathsep}{jars}/*"
    compiler = ["javac", "-cp", classes, "-d", str(home), str(pathlib.Path(__file__).with_name("RewriteManifest.java"))]
    subprocess.run(compiler, check=True)
    program = ["java", "-XX:+UseSerialGC", "-cp", classes, "org.apache.iceberg.RewriteManifest"]
    arguments = [str(home / "deflate.avro"), str(output), "20", str(COLUMNS), str(entries), source, target]
    done = subprocess.run(program + arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seconds = list(map(float, done.stdout.split()))
    expected = [record["data_file"]["file_path"] for record in records((home / "deflate.out").read_bytes())]
    assert [record["data_file"]["file_path"] for record in records(output.read_bytes())] == expected
    print(f"  Iceberg's Java library, codec deflate: {entries / seconds[0]:,.0f} entries a second of processor time the first "
          f"time, {entries / min(seconds):,.0f} the fastest of {len(seconds)} times in one process")


def bench_new_table(results, home, program):
    manifests, snapshots = 200, 20
    print(f"A table of {manifests} manifests of 1,000 entries, with codec deflate, and {snapshots} snapshots, from nothing:")
    home.mkdir()
    table = BenchTable(home, 1000)
    for number in range(1, snapshots + 1):
        metadata = table.commit(manifests // snapshots, number == snapshots)
    # The manifests, the lists and the metadata.json.
    seconds, megabytes = best(lambda: table.relocate_from_nothing(program, metadata), manifests + snapshots + 1)
    in_python, python_seconds = rewrite_table_in_python(table)
    for name in list(in_python)[::20]:
        assert records(table.rewritten(name)) == records(in_python[name]), name
    results.add("Iceberg table of 200,000 data files", seconds=seconds, megabytes=megabytes,
                python_ratio=python_seconds / seconds)
    results.judge(f"{seconds:.2f} s of processor time; {python_seconds:.0f} s in pure Python, "
                  f"x{python_seconds / seconds:.0f}", seconds < MAX_NEW_TABLE_SECONDS,
                  f"less than {MAX_NEW_TABLE_SECONDS} s")
    judge_memory(results, "this table", megabytes)


def bench_commit(results, home, program):
    manifests = 7000
    print(f"A table of {manifests:,} manifests of 10 entries, and a commit that adds one:")
    home.mkdir()
    table = BenchTable(home, 10)
    metadata = table.commit(manifests)
    written, seconds, megabytes = table.relocate(program, metadata)
    assert written == manifests + 1 + 1, written
    results.add("Iceberg table of 7,000 manifests", seconds=seconds, megabytes=megabytes)
    judge_memory(results, f"the table from nothing ({seconds:.2f} s of processor time)", megabytes)
    commits = iter([table.commit(1) for _ in range(RUNS)])
    # A manifest, a list and the metadata.json.
    measured = [table.relocate(program, metadata) for metadata in commits]
    assert all(written == 3 for written, _, _ in measured), measured
    seconds = min(seconds for _, seconds, _ in measured)
    megabytes = max(megabytes for _, _, megabytes in measured)
    results.add("Iceberg commit beside 7,000 manifests", seconds=seconds, megabytes=megabytes)
    results.judge(f"{seconds:.2f} s of processor time for the commit", seconds < MAX_COMMIT_SECONDS,
                  f"less than {MAX_COMMIT_SECONDS} s")
    judge_memory(results, "the commit", megabytes)


def bench_large_files(results, home, program):
    """The memory that single large files take."""
    print("Single large files:")
    home.mkdir()
    table = BenchTable(home, 30_000)
    metadata = table.commit(1)
    length = table.listed[0]["manifest_length"]
    _, megabytes = best(lambda: table.relocate_from_nothing(program, metadata), 3)
    results.add("Iceberg table of one large manifest", megabytes=megabytes)
    judge_memory(results, f"a manifest of {length / 1e6:.1f} MB with 30,000 entries", megabytes)
    rows = 1_000_000
    paths = [f"{table.source}/data/{number:08}.parquet" for number in range(1000) for _ in range(rows // 1000)]
    schema = pa.schema([pa.field("file_path", pa.string(), False, {b"PARQUET:field_id": str(FILE_PATH).encode()}),
                        pa.field("pos", pa.int64(), False, {b"PARQUET:field_id": str(POSITION).encode()})])
    positions = [number * 7 for _ in range(1000) for number in range(rows // 1000)]
    deletes, output = home / "deletes.parquet", home / "deletes.out"
    pq.write_table(pa.table([paths, positions], schema=schema), deletes, compression="zstd", row_group_size=rows)
    arguments = ("rewrite-deletes", str(deletes), str(output), table.source, table.target)
    _, seconds, megabytes = run(program, *arguments)
    assert pq.read_table(output)["file_path"][rows - 1].as_py() == table.target + paths[-1].removeprefix(table.source)
    results.add("Iceberg position deletes", seconds=seconds, megabytes=megabytes)
    judge_memory(results, f"position deletes of {rows:,} rows in one row group ({seconds:.2f} s of processor time)", megabytes)
    snapshots = 20_000
    table.snapshots = [dict(table.snapshots[0], **{"snapshot-id": number + 1, "summary": {
        "operation": "append", "added-data-files": "30000", "total-records": str(number), "trap": "x" * 400}})
        for number in range(snapshots)]
    metadata = table.write_metadata(snapshots)
    length = max(pathlib.Path(table.target, "metadata").glob("*.metadata.json")).stat().st_size
    _, megabytes = best(lambda: table.relocate_from_nothing(program, metadata), 3)
    results.add("Iceberg table of a large metadata.json", megabytes=megabytes)
    judge_memory(results, f"a metadata.json of {length / 1e6:.1f} MB with {snapshots:,} snapshots", megabytes)


def bench_iceberg(results, home):
    program = build()
    bench_manifests(results, home, program)
    bench_java(home)
    bench_new_table(results, home / "new", program)
    bench_commit(results, home / "commit", program)
    bench_large_files(results, home / "large", program)
