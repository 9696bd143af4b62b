"""Iceberg tables that are legal and unusual: names, orders and frames that no common writer makes, and some do."""

import io
import pathlib

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from iceberg_zoo import FILE_PATH, POSITION, CraftedTable, Readers, entry_schema


def long(number):
    """A number in Avro."""
    rest, out = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes(out + bytes([rest]))


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return long(len(value)) + value


def odd_frame(content):
    """An Avro file with its header in another order and in several blocks, of which one tells its size, and with empty
    blocks between and behind the others."""
    reader = fastavro.block_reader(io.BytesIO(content))
    header = {key: value.encode() for key, value in reader.metadata.items()}
    if reader.codec == "null":
        # A file without a codec is not compressed.
        header.pop("avro.codec")
    pairs = [text(key) + text(value) for key, value in sorted(header.items(), reverse=True)]
    first, second = pairs[:1], b"".join(pairs[1:])
    sync = content[-16:]
    out = b"Obj\x01" + long(1) + first[0] + long(-len(pairs[1:])) + long(len(second)) + second + long(0) + sync
    empty = long(0) + text(b"\x03\x00" if reader.codec == "deflate" else b"") + sync
    position = content.index(sync) + 16
    out += empty
    for part in content[position:].split(sync)[:-1]:
        out += part + sync + empty
    return out


class OddlyFramedTable(CraftedTable):
    def avro(self, path, schema, records, header):
        super().avro(path, schema, records, header)
        path.write_bytes(odd_frame(path.read_bytes()))


def framed_table(root, codec="deflate"):
    table = OddlyFramedTable(root, "framed", 2, codec=codec, readers=Readers(False, False))
    one = table.data_file("a.parquet", [1, 2, 3, 4])
    added = table.manifest("m1.avro", [(1, None, one)])
    table.commit([added])
    deletes = table.position_deletes("d.parquet", [(one, 1)])
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    return table


class ReorderedTable(CraftedTable):
    """Fields of entries in another order, with names of their own: the ids say what they are. The partition has fields that
    are named as those of files are."""

    def avro(self, path, schema, records, header):
        if schema["name"] == "manifest_entry":
            schema = entry_schema(self.version)
            file = schema["fields"][-1]["type"]
            partition = next(field for field in file["fields"] if field["field-id"] == 102)
            partition["type"]["fields"][0]["name"] = "file_path"
            file["fields"].reverse()
            schema["fields"].reverse()
            records = [record | {"data_file": record["data_file"] | {
                "partition": {"file_path": record["data_file"]["partition"]["part"]}}} for record in records]
            for field in file["fields"]:
                if field["name"] in ("file_path", "referenced_data_file", "unknown_to_all"):
                    field["name"] = f"x_{field['name']}"
            records = [record | {"data_file": {f"x_{key}" if key in (
                "file_path", "referenced_data_file", "unknown_to_all") else key: value
                for key, value in record["data_file"].items()}} for record in records]
        super().avro(path, schema, records, header)


def reordered_table(root):
    """Version 3 with row ids in entries, and a file that one snapshot removes and an earlier one has."""
    table = ReorderedTable(root, "reordered", 3, readers=Readers(False, False))
    one, two = table.data_file("a.parquet", [1, 2, 3, 4]), table.data_file("b.parquet", [5, 6])
    added = table.manifest("m1.avro", [(1, None, one), (1, None, two)])
    table.commit([added])
    [vector] = table.vectors("dv.puffin", [(one, [0])])
    deletes = table.manifest("m2.avro", [(1, None, vector)], content="deletes")
    table.commit([added, deletes])
    kept = table.manifest("m3.avro", [(0, 1, one | {"first_row_id": 100}), (2, 1, two | {"first_row_id": 104})])
    removed = table.manifest("m4.avro", [(2, 2, vector)], content="deletes")
    table.commit([kept, removed])
    return table


class TwoSpecsTable(CraftedTable):
    """Files of a partition spec and of one without fields, each in manifests of its own."""

    spec_id = 0

    def avro(self, path, schema, records, header):
        if schema["name"] == "manifest_entry" and self.spec_id == 1:
            file = schema["fields"][-1]["type"]
            partition = next(field for field in file["fields"] if field["field-id"] == 102)
            partition["type"]["fields"] = []
            records = [record | {"data_file": record["data_file"] | {"partition": {}}} for record in records]
            header = header | {"partition-spec": "[]", "partition-spec-id": "1"}
        super().avro(path, schema, records, header)

    def manifest(self, name, entries, content="data"):
        listed = super().manifest(name, entries, content)
        return listed | ({"partition_spec_id": 1, "partitions": []} if self.spec_id else {})


def two_specs_table(root):
    table = TwoSpecsTable(root, "specs", 2)
    one = table.data_file("a.parquet", [1, 2])
    first = table.manifest("m1.avro", [(1, None, one)])
    table.commit([first])
    table.spec_id = 1
    two = table.data_file("b.parquet", [3, 4])
    second = table.manifest("m2.avro", [(1, None, two)])
    deletes = table.manifest("m3.avro", [(1, None, table.position_deletes("d.parquet", [(one, 1), (two, 0)]))], "deletes")
    # Two snapshots share manifests, in another order.
    table.commit([first, second])
    table.commit([deletes, second, first])
    table.metadata_extra = {"default-spec-id": 1, "partition-specs": [
        {"spec-id": 0, "fields": table.spec()}, {"spec-id": 1, "fields": []}]}
    return table


def outside_table(root):
    """Data and delete files outside the table, as `write.data.path` says."""
    table = CraftedTable(root, "outside", 2)
    place = pathlib.Path(root) / "x1" / "files"
    one = table.data_file("a.parquet", [1, 2, 3, 4], directory=place)
    added = table.manifest("m1.avro", [(1, None, one)])
    table.commit([added])
    deletes = table.position_deletes("d.parquet", [(one, 1)])
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    table.metadata_extra = {"properties": {"write.data.path": table.uri(place), "write.object-storage.path": table.uri(place)}}
    return table


def odd_names_table(root, scheme=""):
    """Names with spaces, percent signs, and letters of other alphabets, each a name as it stands."""
    table = CraftedTable(root, "odd names \u00e9", 2, scheme=scheme)
    one = table.data_file("a%20b c+\u00e9=\u65e5%2F'.parquet", [1, 2, 3, 4], directory=table.directory / "data" / "p=a%3Ab \u00fc")
    added = table.manifest("m 1%20\u00e9.avro", [(1, None, one)])
    table.commit([added])
    deletes = table.position_deletes("d %41\u00e9.parquet", [(one, 1)])
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    return table


class DoubleSlashTable(CraftedTable):
    """Keys of S3 with an empty part, at a location that ends with a slash, in the scheme of Hadoop."""

    def uri(self, path):
        return super().uri(path).replace("/data/", "/data//")


def double_slash_table(root, scheme):
    table = DoubleSlashTable(root, "double", 2, scheme=scheme)
    one = table.data_file("a.parquet", [1, 2, 3, 4])
    added = table.manifest("m1.avro", [(1, None, one)])
    table.commit([added])
    deletes = table.position_deletes("d.parquet", [(one, 1)])
    table.commit([added, table.manifest("m2.avro", [(1, None, deletes)], content="deletes")])
    table.metadata_extra = {"location": f"{table.uri(table.directory)}/"}
    return table


def slash_table(root):
    """A location that ends with a slash, and a branch whose snapshot is gone."""
    table = CraftedTable(root, "slash", 2, readers=Readers(pyiceberg=False))
    added = table.manifest("m1.avro", [(1, None, table.data_file("a.parquet", [1, 2]))])
    table.commit([added])
    table.metadata_extra = {"location": f"{table.uri(table.directory)}/"}
    table.refs = {"expired": {"snapshot-id": 4711, "type": "branch"}}
    return table


def empty_table(root):
    """Delete files without rows, with and without a row group; a manifest without entries; a snapshot without manifests.
    DuckDB ends at the delete file without row groups."""
    table = CraftedTable(root, "empty", 2, readers=Readers(duckdb=False))
    one = table.data_file("a.parquet", [1, 2])
    added = table.manifest("m1.avro", [(1, None, one)])
    schema = pa.schema([pa.field("file_path", pa.string(), False, {b"PARQUET:field_id": str(FILE_PATH).encode()}),
                        pa.field("pos", pa.int64(), False, {b"PARQUET:field_id": str(POSITION).encode()})])
    files = []
    for name, groups in (("none.parquet", 0), ("one.parquet", 1)):
        path = table.directory / "data" / name
        with pq.ParquetWriter(path, schema) as writer:
            for _ in range(groups):
                writer.write_table(schema.empty_table())
        files.append((1, None, table.file(path, 1, "PARQUET", 0) | {"column_sizes": None, "split_offsets": None}))
    deletes = table.manifest("m2.avro", files, content="deletes")
    table.commit([added, deletes])
    table.commit([added, table.manifest("m3.avro", [])])
    table.commit([])
    return table


class NamedTable(CraftedTable):
    """With a metadata file of another name."""

    metadata_name = None

    def finish(self):
        path = super().finish()
        named = path.with_name(self.metadata_name)
        path.rename(named)
        return named


def hadoop_names_table(root, name="v3.gz.metadata.json"):
    table = NamedTable(root, "hadoop", 2, compress=True, readers=Readers(pyiceberg=False))
    table.metadata_name = name
    table.commit([table.manifest("m1.avro", [(1, None, table.data_file("a.parquet", [1, 2]))])])
    return table


def old_gzip_name_table(root):
    table = hadoop_names_table(root, "v3.metadata.json.gz")
    table.readers = Readers(False, False)
    return table


ODD = {"framed": framed_table, "framed_null": lambda root: framed_table(root, "null"), "reordered": reordered_table,
       "outside": outside_table, "odd_names": odd_names_table, "slash": slash_table, "empty": empty_table,
       "hadoop": hadoop_names_table, "old_gzip_name": old_gzip_name_table, "specs": two_specs_table}
