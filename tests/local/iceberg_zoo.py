"""Iceberg tables for tests: by pyiceberg, and made by hand to the specification where pyiceberg writes no such table.

Each table holds traps: values, bounds and partition values that look like paths of the table and are data.
"""

import dataclasses
import gzip
import io
import json
import pathlib
import struct
import uuid
import zlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

FILE_PATH, POSITION = 2147483546, 2147483545


def field(name, field_id, avro_type, optional=True):
    found = {"name": name, "type": ["null", avro_type] if optional else avro_type, "field-id": field_id}
    return found | ({"default": None} if optional else {})


def number_map(name, field_id, key_id, value_id, value_type):
    record = {"type": "record", "name": f"k{key_id}_v{value_id}",
              "fields": [field("key", key_id, "int", False), field("value", value_id, value_type, False)]}
    return field(name, field_id, {"type": "array", "items": record, "logicalType": "map"})


def entry_schema(version):
    """The Avro schema of a manifest entry, with a field that no specification names."""
    partition = {"type": "record", "name": "r102", "fields": [field("part", 1000, "string")]}
    data_file = [
        field("content", 134, "int", False), field("file_path", 100, "string", False),
        field("file_format", 101, "string", False), field("partition", 102, partition, False),
        field("record_count", 103, "long", False), field("file_size_in_bytes", 104, "long", False),
        number_map("column_sizes", 108, 117, 118, "long"), number_map("value_counts", 109, 119, 120, "long"),
        number_map("lower_bounds", 125, 126, 127, "bytes"), number_map("upper_bounds", 128, 129, 130, "bytes"),
        field("key_metadata", 131, "bytes"),
        field("split_offsets", 132, {"type": "array", "items": "long", "element-id": 133}),
        field("equality_ids", 135, {"type": "array", "items": "int", "element-id": 136}),
        field("sort_order_id", 140, "int"), field("referenced_data_file", 143, "string"),
        field("unknown_to_all", 990, {"type": "fixed", "name": "four", "size": 4}),
    ]
    if version >= 3:
        data_file += [field("first_row_id", 142, "long"), field("content_offset", 144, "long"),
                      field("content_size_in_bytes", 145, "long")]
    if version == 1:
        data_file = data_file[1:]
    fields = [field("status", 0, "int", False), field("snapshot_id", 1, "long")]
    if version >= 2:
        fields += [field("sequence_number", 3, "long"), field("file_sequence_number", 4, "long")]
    record = {"type": "record", "name": "r2", "fields": data_file}
    return {"type": "record", "name": "manifest_entry", "fields": fields + [field("data_file", 2, record, False)]}


def list_schema(version):
    fields = [field("manifest_path", 500, "string", False), field("manifest_length", 501, "long", False),
              field("partition_spec_id", 502, "int", False)]
    if version >= 2:
        fields += [field("content", 517, "int", False), field("sequence_number", 515, "long", False),
                   field("min_sequence_number", 516, "long", False)]
    required = version >= 2
    fields += [field("added_snapshot_id", 503, "long", False)]
    fields += [field(name, field_id, kind, not required) for name, field_id, kind in (
        ("added_files_count", 504, "int"), ("existing_files_count", 505, "int"), ("deleted_files_count", 506, "int"),
        ("added_rows_count", 512, "long"), ("existing_rows_count", 513, "long"), ("deleted_rows_count", 514, "long"))]
    summary = {"type": "record", "name": "r508", "fields": [
        field("contains_null", 509, "boolean", False), field("lower_bound", 510, "bytes"),
        field("upper_bound", 511, "bytes")]}
    fields += [field("partitions", 507, {"type": "array", "items": summary, "element-id": 508}),
               field("key_metadata", 519, "bytes")]
    if version >= 3:
        fields.append(field("first_row_id", 520, "long"))
    return {"type": "record", "name": "manifest_file", "fields": fields}


def puffin(vectors):
    """A Puffin file of deletion vectors: `vectors` maps data files to positions. Returns bytes and places."""
    import pyroaring

    out, blobs, places = bytearray(b"PFA1"), [], {}
    for path, positions in vectors.items():
        bitmap = struct.pack("<qi", 1, 0) + pyroaring.BitMap(positions).serialize()
        content = b"\xd1\xd3\x39\x64" + bitmap
        blob = struct.pack(">i", len(content)) + content + struct.pack(">I", zlib.crc32(content))
        places[path] = (len(out), len(blob), len(positions))
        blobs.append({"type": "deletion-vector-v1", "fields": [2147483645], "snapshot-id": -1, "sequence-number": -1,
                      "offset": len(out), "length": len(blob),
                      "properties": {"referenced-data-file": path, "cardinality": str(len(positions))}})
        out += blob
    footer = json.dumps({"blobs": blobs, "properties": {"created-by": "by hand"}}).encode()
    out += b"PFA1" + footer + struct.pack("<i", len(footer)) + bytes(4) + b"PFA1"
    return bytes(out), places


@dataclasses.dataclass
class Readers:
    """Which engines read a table."""

    pyiceberg: bool = True
    duckdb: bool = True


class CraftedTable:
    """A table that is made by hand. Paths in it begin with `uri`, which is how `root` is written."""

    def __init__(self, root, name, version, codec="deflate", compress=False, scheme="file://", readers=Readers()):
        self.version, self.codec, self.compress, self.readers, self.name = version, codec, compress, readers, name
        self.root, self.scheme = pathlib.Path(root), scheme
        self.directory = self.root / "wh" / name
        (self.directory / "data").mkdir(parents=True)
        (self.directory / "metadata").mkdir()
        self.snapshots, self.metadata_extra, self.refs = [], {}, {}
        self.rows = 0

    def uri(self, path):
        return f"{self.scheme}{path}"

    def trap(self):
        """A value of a column that looks like a file of the table."""
        return self.uri(self.directory / "data" / "trap")

    def data_file(self, name, ids, directory=None):
        path = (directory or self.directory / "data") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = pa.schema([pa.field("id", pa.int64(), metadata={b"PARQUET:field_id": b"1"}),
                            pa.field("origin", pa.string(), metadata={b"PARQUET:field_id": b"2"}),
                            pa.field("part", pa.string(), metadata={b"PARQUET:field_id": b"3"})])
        rows = pa.table({"id": ids, "origin": [self.trap()] * len(ids), "part": [self.trap()] * len(ids)}, schema=schema)
        pq.write_table(rows, path)
        bound = self.trap().encode()
        found = self.file(path, 0, "PARQUET", len(ids)) | {
            "lower_bounds": [{"key": 1, "value": struct.pack("<q", min(ids))}, {"key": 2, "value": bound}],
            "upper_bounds": [{"key": 1, "value": struct.pack("<q", max(ids))}, {"key": 2, "value": bound}]}
        if self.version >= 3:
            found["first_row_id"] = None
        self.rows += len(ids)
        return found

    def file(self, path, content, file_format, count):
        found = {"content": content, "file_path": self.uri(path), "file_format": file_format,
                 "partition": {"part": self.trap()}, "record_count": count,
                 "file_size_in_bytes": path.stat().st_size, "column_sizes": [{"key": 1, "value": 64}],
                 "split_offsets": [4], "unknown_to_all": b"\x00\xff\x00\xff"}
        return found

    def position_deletes(self, name, rows, bounds="whole", compression="zstd", with_row=False, row_group_size=2):
        """`rows`: (data file, position), sorted. `bounds`: whole, cut or none."""
        path = self.directory / "data" / name
        fields = [pa.field("file_path", pa.string(), False, {b"PARQUET:field_id": str(FILE_PATH).encode()}),
                  pa.field("pos", pa.int64(), False, {b"PARQUET:field_id": str(POSITION).encode()})]
        columns = [[file["file_path"] for file, _ in rows], [position for _, position in rows]]
        if with_row:
            inner = pa.struct([pa.field("id", pa.int64(), metadata={b"PARQUET:field_id": b"1"}), pa.field(
                "tags", pa.list_(pa.field("element", pa.string(), metadata={b"PARQUET:field_id": b"5"})),
                metadata={b"PARQUET:field_id": b"4"})])
            fields.append(pa.field("row", inner, metadata={b"PARQUET:field_id": b"2147483544"}))
            columns.append([None if at % 3 == 0 else {"id": at, "tags": [f"t{n}" for n in range(at % 4)]}
                            for at in range(len(rows))])
        schema = pa.schema(fields, metadata={b"delete-type": b"position"})
        pq.write_table(pa.table(columns, schema=schema), path, compression=compression, row_group_size=row_group_size)
        paths = [row[0]["file_path"].encode() for row in rows]
        lower, upper = min(paths), max(paths)
        if bounds == "cut":
            lower, upper = lower[:16], upper[:15] + bytes([upper[15] + 1])
        positions = [struct.pack("<q", row[1]) for row in rows]
        found = self.file(path, 1, "PARQUET", len(rows))
        found["column_sizes"] = [{"key": POSITION, "value": 1}, {"key": FILE_PATH, "value": 2}]
        if bounds != "none":
            found["lower_bounds"] = [{"key": FILE_PATH, "value": lower}, {"key": POSITION, "value": min(positions)}]
            found["upper_bounds"] = [{"key": FILE_PATH, "value": upper}, {"key": POSITION, "value": max(positions)}]
        if len(set(paths)) == 1:
            found["referenced_data_file"] = paths[0].decode()
        return found

    def equality_deletes(self, name, ids):
        path = self.directory / "data" / name
        schema = pa.schema([pa.field("id", pa.int64(), False, {b"PARQUET:field_id": b"1"})])
        pq.write_table(pa.table({"id": ids}, schema=schema), path)
        return self.file(path, 2, "PARQUET", len(ids)) | {"equality_ids": [1]}

    def vectors(self, name, deleted):
        """Entries of deletion vectors in one Puffin file; `deleted`: (data file, positions)."""
        path = self.directory / "data" / name
        content, places = puffin({file["file_path"]: positions for file, positions in deleted})
        path.write_bytes(content)
        for file, _ in deleted:
            offset, length, count = places[file["file_path"]]
            yield self.file(path, 1, "PUFFIN", count) | {
                "referenced_data_file": file["file_path"], "content_offset": offset, "content_size_in_bytes": length}

    def avro(self, path, schema, records, header):
        out = io.BytesIO()
        fastavro.writer(out, schema, records, codec=self.codec, metadata=header, sync_interval=2000)
        path.write_bytes(out.getvalue())

    def manifest(self, name, entries, content="data"):
        """`entries`: (status, sequence number or None, file). The snapshot is the next one."""
        snapshot = len(self.snapshots) + 1
        path = self.directory / "metadata" / name
        records = []
        for status, sequence, file in entries:
            record = {"status": status, "snapshot_id": snapshot, "data_file": file}
            if self.version >= 2:
                record |= {"sequence_number": sequence, "file_sequence_number": sequence}
            records.append(record)
        header = {"schema": json.dumps(self.schema()), "schema-id": "0", "partition-spec": json.dumps(self.spec()),
                  "partition-spec-id": "0", "format-version": str(self.version), "content": content,
                  "unknown-to-all": "kept"}
        self.avro(path, entry_schema(self.version), records, header)
        counts = [sum(1 for entry in entries if entry[0] == status) for status in (1, 0, 2)]
        listed = {"manifest_path": self.uri(path), "manifest_length": path.stat().st_size, "partition_spec_id": 0,
                  "added_snapshot_id": snapshot, "added_files_count": counts[0], "existing_files_count": counts[1],
                  "deleted_files_count": counts[2], "added_rows_count": 0, "existing_rows_count": 0,
                  "deleted_rows_count": 0,
                  "partitions": [{"contains_null": False, "lower_bound": self.trap().encode(),
                                  "upper_bound": self.trap().encode()}]}
        if self.version >= 2:
            listed |= {"content": 1 if content == "deletes" else 0, "sequence_number": snapshot,
                       "min_sequence_number": snapshot}
        if self.version >= 3 and content == "data":
            listed["first_row_id"] = 100 * snapshot
        return listed

    def commit(self, manifests, inline=False):
        number = len(self.snapshots) + 1
        snapshot = {"snapshot-id": number, "timestamp-ms": 1700000000000 + number,
                    "summary": {"operation": "append", "added-files-size": "1.50", "note": self.trap()}, "schema-id": 0}
        if number > 1:
            snapshot["parent-snapshot-id"] = number - 1
        if self.version >= 2:
            snapshot["sequence-number"] = number
        if self.version >= 3:
            snapshot |= {"first-row-id": 100 * number, "added-rows": self.rows}
        if inline:
            snapshot["manifests"] = [listed["manifest_path"] for listed in manifests]
        else:
            path = self.directory / "metadata" / f"snap-{number}-1-{uuid.uuid4()}.avro"
            header = {"snapshot-id": str(number), "sequence-number": str(number), "format-version": str(self.version)}
            self.avro(path, list_schema(self.version), manifests, header)
            snapshot["manifest-list"] = self.uri(path)
        self.snapshots.append(snapshot)

    @staticmethod
    def schema():
        names = [("id", "long"), ("origin", "string"), ("part", "string")]
        return {"type": "struct", "schema-id": 0, "fields": [
            {"id": at, "name": name, "required": False, "type": kind} for at, (name, kind) in enumerate(names, 1)]}

    @staticmethod
    def spec():
        return [{"source-id": 3, "field-id": 1000, "transform": "identity", "name": "part"}]

    def finish(self):
        """Writes the metadata.json, and returns its path."""
        number = len(self.snapshots)
        suffix = ".gz.metadata.json" if self.compress else ".metadata.json"
        path = self.directory / "metadata" / f"{number:05}-{uuid.uuid4()}{suffix}"
        metadata = {
            "format-version": self.version, "table-uuid": str(uuid.uuid4()), "location": self.uri(self.directory),
            "last-sequence-number": number, "last-updated-ms": 1700000000000 + number, "last-column-id": 3,
            "schema": self.schema(), "current-schema-id": 0, "schemas": [self.schema()], "partition-spec": self.spec(),
            "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": self.spec()}],
            "last-partition-id": 1000, "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
            "properties": {"write.data.path": self.uri(self.directory / "data"), "comment": self.trap(),
                           "ratio": "1.0"},
            "current-snapshot-id": number, "snapshots": self.snapshots,
            "snapshot-log": [{"snapshot-id": s["snapshot-id"], "timestamp-ms": s["timestamp-ms"]}
                             for s in self.snapshots],
            "metadata-log": [{"timestamp-ms": 1699999999999,
                              "metadata-file": self.uri(self.directory / "metadata" / "00000-gone.metadata.json")}],
            "refs": {"main": {"snapshot-id": number, "type": "branch"}} | self.refs,
            "unknown-to-all": {"a number": 12345678901234567890123, "a path": self.trap()},
        } | self.metadata_extra
        if self.version >= 3:
            metadata["next-row-id"] = 10000
        # Numbers and spaces that a JSON library would write differently.
        text = json.dumps(metadata, indent=1).replace("12345678901234567890123", "1.50e+02")
        content = text.encode()
        path.write_bytes(gzip.compress(content) if self.compress else content)
        return path


def position_deletes_table(root, scheme="file://"):
    """Version 2: whole, cut and missing bounds, a `row` column, a removed delete file that is gone."""
    table = CraftedTable(root, "positions", 2, scheme=scheme)
    one, two = table.data_file("a.parquet", [1, 2, 3, 4]), table.data_file("b.parquet", [5, 6, 7, 8])
    added = table.manifest("m1.avro", [(1, None, one), (1, None, two)])
    table.commit([added])
    gone = table.position_deletes("gone.parquet", [(one, 0)])
    first = table.position_deletes("d1.parquet", [(one, 0), (one, 2), (two, 3)], bounds="cut", with_row=True)
    second = table.position_deletes("d2.parquet", [(two, 1)], compression="snappy")
    deletes = table.manifest("m2.avro", [(1, None, first), (1, 2, second), (2, 1, gone)], content="deletes")
    pathlib.Path(gone["file_path"].removeprefix(scheme)).unlink()
    table.commit([added, deletes])
    third = table.position_deletes("d3.parquet", [(one, 1)], bounds="none", compression="gzip")
    table.commit([added, deletes, table.manifest("m3.avro", [(1, None, third)], content="deletes")])
    table.refs = {"before": {"snapshot-id": 1, "type": "tag"}, "side": {"snapshot-id": 2, "type": "branch"}}
    return table


def equality_deletes_table(root):
    table = CraftedTable(root, "equality", 2, readers=Readers(pyiceberg=False))
    added = table.manifest("m1.avro", [(1, None, table.data_file("a.parquet", [1, 2, 3, 4]))])
    table.commit([added])
    deletes = table.equality_deletes("eq.parquet", [2, 3])
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    return table


def deletion_vectors_table(root):
    """Version 3: two vectors in one file, and statistics."""
    table = CraftedTable(root, "vectors", 3)
    one, two = table.data_file("a.parquet", [1, 2, 3, 4]), table.data_file("b.parquet", [5, 6, 7, 8])
    added = table.manifest("m1.avro", [(1, None, one), (1, None, two)])
    table.commit([added])
    vectors = table.vectors("dv.puffin", [(one, [0, 3]), (two, [1])])
    table.commit([added, table.manifest("m2.avro", [(1, None, vector) for vector in vectors], content="deletes")])
    table.refs = {"before": {"snapshot-id": 1, "type": "tag"}}
    statistics = []
    for name, blob in (("known.stats", "apache-datasketches-theta-v1"), ("other.stats", "deletion-vector-v1")):
        path = table.directory / "metadata" / name
        path.write_bytes(b"PFA1 statistics")
        statistics.append({"snapshot-id": 1, "statistics-path": table.uri(path), "file-size-in-bytes": 15,
                           "file-footer-size-in-bytes": 4,
                           "blob-metadata": [{"type": blob, "snapshot-id": 1, "sequence-number": 1, "fields": [1]}]})
    table.metadata_extra = {"statistics": statistics, "partition-statistics": [
        {"snapshot-id": 1, "statistics-path": statistics[0]["statistics-path"], "file-size-in-bytes": 15}]}
    return table


def inline_manifests_table(root):
    """Version 1: a snapshot that names its manifests itself. No reader at hand reads it."""
    table = CraftedTable(root, "inline", 1, codec="null", scheme="file:", readers=Readers(False, False))
    added = table.manifest("m1.avro", [(1, None, table.data_file("a.parquet", [1, 2]))])
    table.commit([added], inline=True)
    table.commit([added, table.manifest("m2.avro", [(1, None, table.data_file("b.parquet", [3]))])])
    return table


def compressed_table(root, name="compressed", codec="deflate", compress=True, readers=Readers()):
    """Many entries, in several blocks."""
    table = CraftedTable(root, name, 2, codec, compress, readers=readers)
    files = [(1, None, table.data_file(f"f{n}.parquet", [n, n + 1])) for n in range(60)]
    table.commit([table.manifest("m1.avro", files)])
    return table


def snappy_table(root):
    """No reader at hand knows the codec."""
    return compressed_table(root, "snappy", "snappy", False, Readers(False, False))


def zstandard_table(root):
    """DuckDB does not know the codec."""
    return compressed_table(root, "zstandard", "zstandard", False, Readers(duckdb=False))


def reversed_table(root):
    """Delete rows over two directories whose order the map reverses."""
    table = CraftedTable(root, "reversed", 2)
    one = table.data_file("a.parquet", [1, 2, 3, 4], directory=pathlib.Path(root) / "x1")
    two = table.data_file("b.parquet", [5, 6, 7, 8], directory=pathlib.Path(root) / "x2")
    added = table.manifest("m1.avro", [(1, None, one), (1, None, two)])
    table.commit([added])
    rows = [(one, 0), (one, 2), (one, 3), (two, 1), (two, 2)]
    deletes = table.position_deletes("d.parquet", rows, with_row=True, compression="lz4")
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    return table


CRAFTED = {"positions": position_deletes_table, "equality": equality_deletes_table, "vectors": deletion_vectors_table,
           "inline": inline_manifests_table, "compressed": compressed_table, "reversed": reversed_table, "snappy": snappy_table,
           "zstandard": zstandard_table}


class PyicebergTable:
    """Commits of pyiceberg: appends, an overwrite, a delete, another schema, a tag and a branch."""

    name, readers = "pyiceberg", Readers()

    def __init__(self, root):
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.types import LongType

        warehouse = pathlib.Path(root) / "wh"
        warehouse.mkdir(parents=True, exist_ok=True)
        catalog = SqlCatalog("zoo", uri="sqlite:///:memory:", warehouse=f"file://{warehouse}")
        catalog.create_namespace("zoo")
        rows = pa.table({"id": [1, 2, 3], "origin": [f"file://{warehouse}/{n}" for n in "abc"]})
        table = catalog.create_table("zoo.pyiceberg", schema=rows.schema, properties={
            "write.metadata.previous-versions-max": "3", "format-version": "2"})
        table.append(rows)
        table.manage_snapshots().create_tag(table.current_snapshot().snapshot_id, "first").commit()
        table.append(rows)
        table.delete("id = 2")
        with table.update_schema() as update:
            update.rename_column("origin", "source")
            update.add_column("more", LongType())
        table.append(pa.table({"id": [9], "source": ["x"], "more": [7]}))
        table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "side").commit()
        table.overwrite(pa.table({"id": [10], "source": ["y"], "more": [8]}))
        self.metadata = pathlib.Path(table.metadata_location.removeprefix("file://"))

    def finish(self):
        return self.metadata
