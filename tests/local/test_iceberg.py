"""`twinlake iceberg`: real and handcrafted tables are relocated, the primary is deleted, and pyiceberg, DuckDB and a
raw judge look at what is left. Single corruptions of what the command wrote must be seen by the judge."""

import copy
import functools
import gzip
import io
import json
import os
import pathlib
import shutil
import struct
import subprocess
import urllib.request

import boto3
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import iceberg_judge
import iceberg_odd_tables
import iceberg_zoo

TWINLAKE = pathlib.Path(__file__).resolve().parents[2] / "target" / "debug" / "twinlake"
BUILDERS = dict(iceberg_zoo.CRAFTED | iceberg_odd_tables.ODD, pyiceberg=iceberg_zoo.PyicebergTable)


def twinlake(*args):
    return subprocess.run([TWINLAKE, "iceberg", *map(str, args)], capture_output=True, text=True, timeout=120)


@functools.cache
def duckdb_connection():
    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    connection = duckdb.connect()
    for package in (duckdb_extension_avro, duckdb_extension_iceberg):
        found = next(pathlib.Path(package.__file__).parent.rglob("*.duckdb_extension"))
        connection.execute(f"LOAD '{found}'")
    return connection


def by_duckdb(metadata, snapshot):
    query = f"SELECT * FROM iceberg_scan('{metadata}', snapshot_from_id = {snapshot})"
    return sorted(map(str, duckdb_connection().execute(query).fetchall()))


def by_pyiceberg(metadata, snapshot):
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(f"file://{metadata}")
    return sorted(map(str, table.scan(snapshot_id=snapshot).to_arrow().to_pylist()))


def by_pyiceberg_reference(metadata, name):
    from pyiceberg.table import StaticTable

    table = StaticTable.from_metadata(f"file://{metadata}")
    return sorted(map(str, table.scan().use_ref(name).to_arrow().to_pylist()))


def content(metadata):
    raw = metadata.read_bytes()
    return json.loads(gzip.decompress(raw) if metadata.name.endswith((".gz.metadata.json", ".json.gz")) else raw)


def read_all(table, metadata):
    """Rows of each snapshot, branch and tag by each reader."""
    found = {}
    parsed = content(metadata)
    for snapshot in parsed["snapshots"]:
        number = snapshot["snapshot-id"]
        if table.readers.duckdb:
            found["duckdb", number] = by_duckdb(metadata, number)
        if table.readers.pyiceberg:
            found["pyiceberg", number] = by_pyiceberg(metadata, number)
    if table.readers.pyiceberg:
        for name in parsed.get("refs", {}):
            found["reference", name] = by_pyiceberg_reference(metadata, name)
    return found


class Lake:
    """A table of the zoo in a primary, its replica in a standby, and a backup of the primary for the judge."""

    def __init__(self, directory, builder):
        self.primary, self.standby, self.backup = (directory / name for name in ("primary", "standby", "backup"))
        self.table = builder(self.primary)
        self.source = self.table.finish()
        self.before = read_all(self.table, self.source)
        # x1 and x2 change their order.
        self.pairs = [(f"{self.primary}/x1", f"{self.standby}/z"), (f"{self.primary}/x2", f"{self.standby}/a"),
                      (str(self.primary), str(self.standby / "lake"))]
        for source, target in self.pairs:
            if pathlib.Path(source).exists():
                shutil.copytree(source, target, dirs_exist_ok=True)
        shutil.copytree(self.primary, f"{self.backup}{self.primary}")
        self.replica = pathlib.Path(str(self.source).replace(self.pairs[2][0], self.pairs[2][1]))

    def maps(self):
        return [f"--map={source}={target}" for source, target in self.pairs]

    def relocate(self):
        done = twinlake("relocate", self.replica, *self.maps(), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        self.metadata = iceberg_judge.local(report["metadata_location"])
        return report

    def lose_primary(self):
        shutil.rmtree(self.primary)

    def check(self):
        done = twinlake("check", self.metadata, f"--allow-location={self.standby}", "--json")
        assert done.returncode in (0, 2), done.stdout + done.stderr
        return {finding["kind"] for finding in json.loads(done.stdout)}

    def judge(self):
        judge = iceberg_judge.Judge(self.pairs, self.backup)
        judge.judge(self.uri(self.source), self.uri(self.metadata))
        return judge.judged

    def uri(self, path):
        return f"file://{path}"

    def own_files(self):
        return sorted(path for path in self.standby.rglob("_twinlake/*/*"))


@pytest.fixture(params=sorted(BUILDERS))
def lake(request, tmp_path):
    return Lake(tmp_path, BUILDERS[request.param])


def test_a_relocated_table_reads_the_same_with_the_primary_gone(lake):
    lake.relocate()
    lake.lose_primary()
    assert read_all(lake.table, lake.metadata) == lake.before
    assert lake.before or not (lake.table.readers.pyiceberg or lake.table.readers.duckdb)
    judged = lake.judge()
    assert judged["manifest"] > 0 and judged["metadata"] == 1
    assert lake.check() == set()


def test_a_repetition_writes_nothing_and_damage_is_healed(lake):
    first = lake.relocate()
    files = {path: path.read_bytes() for path in lake.own_files()}
    again = lake.relocate()
    assert (again["written"], again["metadata_location"]) == (0, first["metadata_location"])
    lost = lake.own_files()[::2]
    for path in lost:
        path.unlink()
    assert lake.relocate()["written"] == len(lost)
    assert {path: path.read_bytes() for path in lake.own_files()} == files


def test_only_the_own_prefix_is_written(lake):
    def others():
        return {path: path.read_bytes() for path in lake.standby.rglob("*")
                if path.is_file() and "_twinlake" not in path.parts}

    before = others()
    lake.relocate()
    assert others() == before


def test_there_and_back(lake):
    """After the way back through files below `_twinlake`, the table reads the same at its first place."""
    lake.relocate()
    lake.lose_primary()
    for source, target in lake.pairs:
        if pathlib.Path(target).exists():
            shutil.copytree(target, source, dirs_exist_ok=True)
    home = str(lake.metadata).replace(str(lake.standby / "lake"), str(lake.primary))
    maps = [f"--map={target}={source}" for source, target in lake.pairs]
    done = twinlake("relocate", home, *maps, "--json", "--pairing-id=back")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(lake.standby)
    metadata = iceberg_judge.local(json.loads(done.stdout)["metadata_location"])
    assert read_all(lake.table, metadata) == lake.before


def positions(tmp_path):
    return Lake(tmp_path, iceberg_zoo.position_deletes_table)


def test_missing_data_is_pending_and_no_metadata_is_written(tmp_path):
    lake = positions(tmp_path)
    data = lake.standby / "lake" / "wh" / "positions" / "data" / "b.parquet"
    kept = data.read_bytes()
    for state in ("missing", "short"):
        data.write_bytes(kept[:-1]) if state == "short" else data.unlink()
        done = twinlake("relocate", lake.replica, *lake.maps())
        assert done.returncode == 2 and "data-pending: 1 file has" in done.stdout and "b.parquet" in done.stdout
        assert not [path for path in lake.own_files() if path.name.endswith(".metadata.json")]
    data.write_bytes(kept)
    lake.relocate()
    lake.judge()


def test_a_missing_delete_file_is_pending(tmp_path):
    lake = positions(tmp_path)
    (lake.standby / "lake" / "wh" / "positions" / "data" / "d1.parquet").unlink()
    done = twinlake("relocate", lake.replica, *lake.maps())
    assert done.returncode == 2 and "d1.parquet: missing" in done.stdout
    assert not [path for path in lake.own_files() if path.name.endswith(".metadata.json")]


def test_originals_can_be_read_instead_of_replicas(tmp_path):
    lake = positions(tmp_path)
    first = lake.relocate()
    shutil.rmtree(lake.replica.parent)
    done = twinlake("relocate", lake.source, *lake.maps(), "--from-originals", "--json")
    report = json.loads(done.stdout)
    assert (report["written"], report["metadata_location"]) == (0, first["metadata_location"])


def test_the_newest_metadata_of_a_location_is_taken(tmp_path):
    lake = positions(tmp_path)
    first = lake.relocate()
    done = twinlake("relocate", lake.replica.parents[1], *lake.maps(), "--json")
    assert json.loads(done.stdout)["metadata_location"] == first["metadata_location"]
    shown = twinlake("show", lake.metadata)
    assert shown.returncode == 0 and "3 manifests, 3 relocated" in shown.stdout and "tag before" in shown.stdout


def test_an_outside_path_is_refused_by_name(tmp_path):
    lake = positions(tmp_path)
    done = twinlake("relocate", lake.replica, f"--map={lake.primary}/wh/positions/metadata={lake.standby}/m")
    assert done.returncode == 1 and "outside-pairs" in done.stderr and "no location pair covers" in done.stderr


REFUSED = {
    "unsupported-format": lambda metadata: metadata | {"format-version": 4},
    "encrypted": lambda metadata: metadata | {"snapshots": [metadata["snapshots"][0] | {"key-id": "k"}]},
    "malformed": lambda metadata: metadata | {"snapshots": [{"snapshot-id": "one"}]},
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_unknown_metadata_is_refused(tmp_path, kind):
    lake = positions(tmp_path)
    lake.replica.write_text(json.dumps(REFUSED[kind](json.loads(lake.replica.read_text()))))
    done = twinlake("relocate", lake.replica, *lake.maps())
    assert done.returncode == 1 and f"the table is refused: {kind}: " in done.stderr
    assert not lake.own_files()


REFUSED_FILES = {
    "unknown-file-type": {"file_format": "lance"},
    "unsupported-delete-file": {"file_format": "ORC"},
    "encrypted": {"key_metadata": b"key"},
}


@pytest.mark.parametrize("kind", sorted(REFUSED_FILES))
def test_unknown_files_are_refused(tmp_path, kind):
    lake = positions(tmp_path)
    path = lake.standby / "lake" / "wh" / "positions" / "metadata" / "m2.avro"
    edit_avro(path, lambda records, _: records[0]["data_file"].update(REFUSED_FILES[kind]))
    # A list that names another length would make it a file that has not arrived.
    def correct_length(records, _):
        for record in records:
            if record["manifest_path"].endswith("/m2.avro"):
                record["manifest_length"] = path.stat().st_size
    lists = [one for one in path.parent.glob("*.avro") if "manifest_path" in one.read_bytes()[:4000].decode("latin-1")]
    assert lists
    for one in lists:
        edit_avro(one, correct_length)
    done = twinlake("relocate", lake.replica, *lake.maps())
    assert done.returncode == 1 and f"the table is refused: {kind}: " in done.stderr and "entry 0" in done.stderr


# Corruptions ---------------------------------------------------------------------------------------------------

def edit_avro(path, edit, codec=None):
    """Edits the records and the header of an Avro file. All else stays, the sync marker included."""
    raw = path.read_bytes()
    reader = fastavro.reader(io.BytesIO(raw))
    header = {key: value for key, value in reader.metadata.items() if not key.startswith("avro.")}
    records, schema = list(reader), json.loads(reader.metadata["avro.schema"])
    used = edit(records, (header, schema)) or records
    out = io.BytesIO()
    fastavro.writer(out, schema, used, codec=codec or reader.codec, metadata=header, sync_marker=raw[-16:],
                    sync_interval=2000)
    path.write_bytes(out.getvalue())


def named(lake, ending):
    found = [path for path in lake.own_files() if path.name.endswith(ending)]
    assert len(found) == 1, found
    return found[0]


def edit_manifest(ending, edit, codec=None):
    """Edits a manifest, and corrects its length in the manifest lists."""
    def corrupt(lake):
        path = named(lake, ending)
        edit_avro(path, lambda records, header: edit(lake, records, *header), codec)

        def correct(records, _):
            for record in records:
                if record["manifest_path"].endswith(path.name):
                    record["manifest_length"] = path.stat().st_size

        for snapshot_list in lake.own_files():
            if "-snap-" in snapshot_list.name:
                edit_avro(snapshot_list, correct)
    return corrupt


def edit_file(at, **values):
    """Sets fields of a data_file; a value may be a function of the lake and the old value."""
    def edit(lake, records, _header, _schema):
        for key, value in values.items():
            file = records[at]["data_file"]
            file[key] = value(lake, file[key]) if callable(value) else value
    return edit


def edit_entry(at, **values):
    return lambda _lake, records, _header, _schema: records[at].update(values)


def edit_list(edit):
    def corrupt(lake):
        path = [path for path in lake.own_files() if "-snap-" in path.name][-1]
        edit_avro(path, lambda records, _: edit(lake, records))
    return corrupt


def edit_metadata(old, new):
    def corrupt(lake):
        text = lake.metadata.read_text()
        before, after = (part(lake) if callable(part) else part for part in (old, new))
        assert before in text, before
        lake.metadata.write_text(text.replace(before, after, 1))
    return corrupt


def edit_delete_rows(edit, schema_of=lambda schema: schema):
    """Edits the first delete file, and corrects the size of its entry, its column sizes and its offsets."""
    def corrupt(lake):
        path = named(lake, "-d1.parquet")
        source = pq.ParquetFile(path)
        rows = edit(lake, source.read().to_pylist())
        pq.write_table(pa.Table.from_pylist(rows, schema=schema_of(source.schema_arrow)), path, compression="zstd",
                       row_group_size=2)
        edit_manifest("-m2.avro", edit_file(0, file_size_in_bytes=path.stat().st_size))(lake)
    return corrupt


def to_primary(lake, path):
    return path.replace(str(lake.standby / "lake"), str(lake.primary))


def to_standby(lake, value):
    if isinstance(value, bytes):
        return to_standby(lake, value.decode()).encode()
    return value.replace(str(lake.primary), str(lake.standby / "lake"))


def changed_bounds(change, key_id):
    def edit(lake, items):
        return [dict(item, value=change(lake, item["value"])) if item["key"] == key_id else item for item in items]
    return edit


def left_in_rows(lake, rows):
    return [dict(row, file_path=to_primary(lake, row["file_path"])) for row in rows]


def without_field_ids(schema):
    return pa.schema([field.remove_metadata() for field in schema], metadata=schema.metadata)


def corrupt_puffin(edit):
    """Edits the footer of the Puffin file, and corrects the sizes of its entries."""
    def corrupt(lake):
        path = named(lake, "-dv.puffin")
        raw = path.read_bytes()
        size = struct.unpack("<i", raw[-12:-8])[0]
        blobs, footer = edit(lake, raw[:-12 - size], raw[-12 - size:-12])
        path.write_bytes(blobs + footer + struct.pack("<i", len(footer)) + raw[-8:])
        for at in (0, 1):
            edit_manifest("-m2.avro", edit_file(at, file_size_in_bytes=path.stat().st_size))(lake)
    return corrupt


def lose_logical_type(_lake, _records, _header, schema):
    for found in schema["fields"][-1]["type"]["fields"]:
        if found["name"] == "lower_bounds":
            del found["type"][1]["logicalType"]


def decompressed(lake):
    lake.metadata.write_bytes(gzip.decompress(lake.metadata.read_bytes()))


D2 = "wh/positions/data/d2.parquet"
# Name: table, corruption, and what `twinlake iceberg check` calls it; None if only a comparison with the source shows it.
CORRUPTIONS = {
    "manifest length": ("positions", edit_list(lambda _, r: r[0].update(manifest_length=r[0]["manifest_length"] - 1)),
                        "wrong-manifest-length"),
    "manifest path left": ("positions", edit_list(
        lambda lake, r: r[0].update(manifest_path=f"file://{lake.primary}/wh/positions/metadata/m1.avro")),
        "foreign-path"),
    "partition summary mapped": ("positions", edit_list(
        lambda lake, r: r[0]["partitions"][0].update(lower_bound=to_standby(lake, r[0]["partitions"][0]["lower_bound"]))),
        None),
    "count of the list": ("positions", edit_list(lambda _, r: r[0].update(added_files_count=7)), "wrong-counts"),
    "size of a delete file": ("positions", edit_manifest("-m2.avro", edit_file(0, file_size_in_bytes=9)),
                              "wrong-file-size"),
    "delete rows left": ("positions", edit_delete_rows(left_in_rows), "foreign-delete-rows"),
    "delete rows unsorted": ("positions", edit_delete_rows(lambda _, rows: rows[::-1]), "unsorted-delete-rows"),
    "delete row lost": ("positions", edit_delete_rows(lambda _, rows: rows[:-1]), "wrong-record-count"),
    "position changed": ("positions", edit_delete_rows(lambda _, rows: [dict(rows[0], pos=1)] + rows[1:]), None),
    "row column lost": ("positions", edit_delete_rows(lambda _, rows: [dict(row, row=None) for row in rows]), None),
    "field ids of deletes": ("positions", edit_delete_rows(lambda _, rows: rows, without_field_ids), "lost-field-ids"),
    "lower path bound left": ("positions", edit_manifest("-m2.avro", edit_file(
        0, lower_bounds=changed_bounds(lambda lake, v: to_primary(lake, v.decode()).encode(), 2147483546))),
        "wrong-delete-bounds"),
    "upper path bound cut": ("positions", edit_manifest("-m2.avro", edit_file(
        0, upper_bounds=changed_bounds(lambda _, v: v[:-3], 2147483546))), "wrong-delete-bounds"),
    "referenced file left": ("positions", edit_manifest("-m2.avro", edit_file(1, referenced_data_file=to_primary)),
                             "foreign-path"),
    "data path left": ("positions", edit_manifest("-m1.avro", edit_file(0, file_path=to_primary)), "foreign-path"),
    "delete path is the replica": ("positions", edit_manifest("-m2.avro", edit_file(
        1, file_path=lambda lake, _: f"file://{lake.standby}/lake/{D2}",
        file_size_in_bytes=lambda lake, _: (lake.standby / "lake" / D2).stat().st_size)), "foreign-delete-rows"),
    "user bounds mapped": ("positions", edit_manifest("-m1.avro", edit_file(
        0, lower_bounds=changed_bounds(to_standby, 2))), None),
    "partition value mapped": ("positions", edit_manifest("-m1.avro", edit_file(
        0, partition=lambda lake, value: {"part": to_standby(lake, value["part"])})), None),
    "status": ("positions", edit_manifest("-m1.avro", edit_entry(0, status=0)), "wrong-counts"),
    "sequence number filled in": ("positions", edit_manifest("-m1.avro", edit_entry(0, sequence_number=1)), None),
    "sequence number lost": ("positions", edit_manifest("-m2.avro", edit_entry(2, sequence_number=None)),
                             "lost-sequence-number"),
    "snapshot id": ("positions", edit_manifest("-m1.avro", edit_entry(0, snapshot_id=77)), None),
    "header key lost": ("positions", edit_manifest("-m1.avro", lambda _l, _r, header, _s: header.pop("partition-spec")
                                                   and None), "lost-header-key"),
    "unknown header key lost": ("positions", edit_manifest(
        "-m1.avro", lambda _l, _r, header, _s: header.pop("unknown-to-all") and None), None),
    "logical type lost": ("positions", edit_manifest("-m1.avro", lose_logical_type), "lost-logical-type"),
    "unknown field": ("positions", edit_manifest("-m1.avro", edit_file(0, unknown_to_all=b"\x00\xff\x00\x00")), None),
    "codec of a manifest": ("positions", edit_manifest("-m1.avro", lambda *_: None, codec="null"), None),
    "column sizes stale": ("positions", edit_manifest("-m2.avro", edit_file(
        1, column_sizes=lambda _, items: [dict(item, value=1) for item in items])), None),
    "split offsets stale": ("positions", edit_manifest("-m2.avro", edit_file(0, split_offsets=[4])), None),
    "removed entry left": ("positions", edit_manifest("-m2.avro", edit_file(2, file_path=to_primary)), "foreign-path"),
    "location left": ("positions", edit_metadata(
        lambda lake: f'"location": "file://{lake.standby}/lake', lambda lake: f'"location": "file://{lake.primary}'),
        "foreign-path"),
    "metadata log left": ("positions", edit_metadata(
        lambda lake: f"{lake.standby}/lake/wh/positions/metadata/00000-gone",
        lambda lake: f"{lake.primary}/wh/positions/metadata/00000-gone"), "foreign-path"),
    "property left": ("positions", edit_metadata(
        lambda lake: f'"write.data.path": "file://{lake.standby}/lake',
        lambda lake: f'"write.data.path": "file://{lake.primary}'), "foreign-path"),
    "free text mapped": ("positions", edit_metadata(
        lambda lake: f'"comment": "file://{lake.primary}', lambda lake: f'"comment": "file://{lake.standby}/lake'), None),
    "number rewritten": ("positions", edit_metadata("1.50e+02", "150.0"), None),
    "unknown key lost": ("positions", edit_metadata('"unknown-to-all"', '"known"'), None),
    "puffin footer left": ("vectors", corrupt_puffin(
        lambda lake, blobs, footer: (blobs, to_primary(lake, footer.decode()).encode())), "foreign-path"),
    "vector damaged": ("vectors", corrupt_puffin(
        lambda _, blobs, footer: (blobs[:20] + bytes([blobs[20] ^ 1]) + blobs[21:], footer)), "wrong-deletion-vector"),
    "vector offset": ("vectors", edit_manifest("-m2.avro", edit_file(0, content_offset=5)), "wrong-deletion-vector"),
    "vector of another file": ("vectors", edit_manifest("-m2.avro", edit_file(
        0, referenced_data_file=lambda _, path: path.replace("a.parquet", "b.parquet"))), "wrong-referenced-file"),
    "vector's file left": ("vectors", edit_manifest("-m2.avro", edit_file(0, referenced_data_file=to_primary)),
                           "foreign-path"),
    "first row id lost": ("vectors", edit_list(lambda _, r: r[0].update(first_row_id=None)), "lost-first-row-id"),
    "statistics path left": ("vectors", edit_metadata(
        lambda lake: f"{lake.standby}/lake/wh/vectors/metadata/known", lambda lake: f"{lake.primary}/wh/vectors/metadata/known"),
        "foreign-path"),
    "gzip lost": ("compressed", decompressed, "name-contradicts-content"),
}


@pytest.fixture(scope="module")
def relocated(tmp_path_factory):
    """Relocated tables, each copied afresh by its user."""
    @functools.cache
    def make(name):
        lake = Lake(tmp_path_factory.mktemp(name), BUILDERS[name])
        lake.relocate()
        return lake, {path: path.read_bytes() for path in lake.standby.rglob("*") if path.is_file()}

    def fresh(name):
        lake, files = make(name)
        for path, kept in files.items():
            path.write_bytes(kept)
        return copy.copy(lake)
    return fresh


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_corruption_is_seen(relocated, name):
    table, corrupt, kind = CORRUPTIONS[name]
    lake = relocated(table)
    corrupt(lake)
    with pytest.raises((iceberg_judge.Wrong, gzip.BadGzipFile)):
        lake.judge()
    found = lake.check()
    assert kind in found if kind else not found, found


def test_an_edit_that_changes_nothing_is_not_seen(relocated):
    """The corruptions are seen for what they change, and not for how they are written."""
    lake = relocated("positions")
    edit_manifest("-m1.avro", lambda *_: None)(lake)
    edit_manifest("-m2.avro", lambda *_: None)(lake)
    lake.judge()
    assert lake.check() == set()


class S3Lake:
    """A table in a simulated S3, replicated to the bucket `standby`. The bucket `primary` does not exist."""

    def __init__(self, endpoint, directory, builder=iceberg_zoo.position_deletes_table, scheme="s3://primary"):
        self.environment = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        self.s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="x",
                               aws_secret_access_key="x")
        self.s3.create_bucket(Bucket="standby", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
        table = builder(directory, scheme=scheme)
        self.key = str(table.finish()).lstrip("/")
        for path in directory.rglob("*"):
            if path.is_file():
                key = table.uri(path).removeprefix(scheme).lstrip("/")
                self.s3.put_object(Bucket="standby", Key=key, Body=path.read_bytes())

    def run(self, command, path, *args):
        return subprocess.run([TWINLAKE, "iceberg", command, path, "--region=us-west-2", *args], text=True, timeout=120,
                              capture_output=True, env=os.environ | self.environment)

    def relocate(self):
        return self.run("relocate", f"s3://primary/{self.key}", "--map=s3://primary=s3://standby", "--json")

    def keys(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket="standby")
        return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


@pytest.fixture
def s3_endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # Servers of one process share their buckets.
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    yield endpoint
    server.stop()


@pytest.fixture
def s3_lake(s3_endpoint, tmp_path):
    return S3Lake(s3_endpoint, tmp_path)


def test_a_table_in_s3_is_relocated_and_checked(s3_lake):
    before = s3_lake.keys()
    done = s3_lake.relocate()
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    after = s3_lake.keys()
    new = set(after) - set(before)
    assert before.items() <= after.items() and len(new) == report["written"] > 5
    assert all("/wh/positions/_twinlake/" in key for key in new)
    checked = s3_lake.run("check", report["metadata_location"])
    assert checked.returncode == 0 and "Nothing is wrong." in checked.stdout, checked.stdout + checked.stderr
    # The replica's own metadata still names the primary.
    foreign = s3_lake.run("check", f"s3://standby/{s3_lake.key}", "--json")
    assert foreign.returncode == 2 and "foreign-path" in foreign.stdout
    again = json.loads(s3_lake.relocate().stdout)
    assert (again["written"], again["metadata_location"]) == (0, report["metadata_location"])
    assert s3_lake.keys() == after


@pytest.mark.parametrize("builder", [iceberg_odd_tables.odd_names_table, iceberg_odd_tables.double_slash_table])
@pytest.mark.parametrize("scheme", ["s3a://primary", "s3://primary"])
def test_odd_keys_and_schemes_are_those_of_s3(s3_endpoint, tmp_path, builder, scheme):
    lake = S3Lake(s3_endpoint, tmp_path, builder, scheme)
    before = lake.keys()
    done = lake.relocate()
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    new = set(lake.keys()) - set(before)
    assert len(new) == report["written"] == 6 and all("/_twinlake/" in key and "//" not in key for key in new), new
    assert report["metadata_location"].startswith(scheme.replace("primary", "standby") + "/")
    checked = lake.run("check", report["metadata_location"])
    assert checked.returncode == 0 and "Nothing is wrong." in checked.stdout, checked.stdout + checked.stderr
    assert json.loads(lake.relocate().stdout)["written"] == 0
    for path in (key for key in before if key.endswith("/a.parquet") or "c+" in key):
        lake.s3.delete_object(Bucket="standby", Key=path)
        assert json.loads(lake.relocate().stdout)["pending"] == [f"{scheme.replace('primary', 'standby')}/{path}"]


def test_a_table_in_s3_waits_for_its_data(s3_lake):
    missing = next(key for key in s3_lake.keys() if key.endswith("/b.parquet"))
    s3_lake.s3.delete_object(Bucket="standby", Key=missing)
    done = s3_lake.relocate()
    assert done.returncode == 2 and json.loads(done.stdout)["pending"] == [f"s3://standby/{missing}"]
    assert not [key for key in s3_lake.keys() if "/_twinlake/" in key and key.endswith(".metadata.json")]


def test_a_bucket_that_does_not_exist_is_an_error(s3_lake):
    done = s3_lake.run("relocate", f"s3://primary/{s3_lake.key}", "--map=s3://primary=s3://other")
    assert done.returncode == 1 and "NoSuchBucket" in done.stderr, done.stdout + done.stderr


def test_files_of_s3_need_a_region():
    done = twinlake("check", "s3://bucket/t/metadata/v1.metadata.json")
    assert done.returncode == 1 and "--region" in done.stderr


if os.environ.get("ICEBERG_ZOO"):
    # For a look at the tables by hand.
    for name, builder in BUILDERS.items():
        builder(pathlib.Path(os.environ["ICEBERG_ZOO"]) / name).finish()
