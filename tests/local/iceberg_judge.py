"""Judges a relocated Iceberg table file by file, without an Iceberg library and without Twinlake's code.

Every file that the original names is compared with its counterpart. What is allowed to differ is listed here; all
else must be equal: paths by the map, lengths of rewritten files, and statistics of rewritten delete files.
"""

import collections
import gzip
import io
import json
import pathlib
import re
import struct

import fastavro
import pyarrow.parquet as pq

FILE_PATH, POSITION = 2147483546, 2147483545
LOCATIONS = {"write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"}
KNOWN_BLOBS = {"apache-datasketches-theta-v1", "presto-sum-data-size-bytes-v1"}
OWN_NAME = re.compile(r"^[0-9a-f]{16}-(.+)$")


class Wrong(AssertionError):
    pass


def expect(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(part) for part in what))


def local(path):
    return pathlib.Path(re.sub(r"^file:(//)?", "", path))


def by_known_names(reader):
    """The records of a file. Fields of files have the names of the specification, whatever the file calls them."""
    known = {100: "file_path", 143: "referenced_data_file"}
    files = [field["type"] for field in reader.writer_schema["fields"] if field["name"] == "data_file"]
    fields = {field["name"]: known[field["field-id"]] for file in files for field in file["fields"]
              if field.get("field-id") in known}
    return [record | {"data_file": {fields.get(key, key): value for key, value in record["data_file"].items()}}
            if files else record for record in reader]


class Judge:
    """Compares a table below `backup`, which holds the original files, with its relocation.

    `pairs`: (place of the primary, place of the standby) as local paths. The files of the primary are read at
    `backup` + their path, since the primary is gone.
    """

    def __init__(self, pairs, backup):
        self.pairs = sorted(pairs, key=lambda pair: -len(pair[0]))
        self.backup, self.judged = backup, collections.Counter()

    def original(self, path):
        return pathlib.Path(f"{self.backup}{local(path)}")

    def mapped(self, path):
        scheme = re.match(r"^(file:(//)?)?", path).group()
        rest = path[len(scheme):]
        for source, target in self.pairs:
            if rest == source or rest.startswith(source + "/"):
                return scheme + target + rest[len(source):]
        raise Wrong("no pair covers", path)

    def rewritten(self, before, after, location):
        """Checks the path of a rewritten file, and that it is in the own prefix of the table."""
        expect(after.startswith(f"{location.rstrip('/')}/_twinlake/"), after, "is not in the own prefix of", location)
        name = OWN_NAME.match(after.rsplit("/", 1)[1])
        expect(name and name.group(1) == before.rsplit("/", 1)[1], after, "has not the name of", before)
        expect(local(after).is_file(), after, "does not exist")

    def same(self, before, after, where):
        expect(before == after and type(before) is type(after), where, ":", before, "became", after)

    def judge(self, metadata_before, metadata_after):
        """Judges a whole table: paths of its two metadata files."""
        before_bytes = self.original(metadata_before).read_bytes()
        after_bytes = local(metadata_after).read_bytes()
        names_of_gzip = (".gz.metadata.json", ".metadata.json.gz")
        compressed = metadata_before.endswith(names_of_gzip)
        expect(metadata_after.endswith(names_of_gzip) == compressed, "the name says another codec")
        if compressed:
            before_bytes, after_bytes = gzip.decompress(before_bytes), gzip.decompress(after_bytes)
        keep = {"object_pairs_hook": lambda pairs: ("object", pairs), "parse_float": lambda text: ("number", text),
                "parse_int": lambda text: ("number", text)}
        before, after = json.loads(before_bytes, **keep), json.loads(after_bytes, **keep)
        self.location = self.mapped(dict(before[1])["location"])
        self.same([key for key, _ in before[1]], [key for key, _ in after[1]], "keys of metadata.json")
        after_by_key = dict(after[1])
        self.manifests, self.lists = {}, []
        for key, value in before[1]:
            self.member(key, value, after_by_key[key])
        # White space, too, is what it was.
        strip = re.compile(rb'"(?:\\.|[^"\\])*"')
        if "statistics" not in after_by_key:
            self.same(strip.sub(b'""', before_bytes), strip.sub(b'""', after_bytes), "metadata.json but strings")
        for before_path, after_path in self.lists:
            self.manifest_list(before_path, after_path)
        for before_path, after_path in self.manifests.items():
            self.manifest(before_path, after_path)
        self.judged["metadata"] += 1

    def member(self, key, before, after):
        if key == "location":
            self.same(self.mapped(before), after, key)
        elif key == "snapshots":
            self.same(len(before), len(after), key)
            for one, other in zip(before, after):
                self.fields(one, other, {"manifest-list": self.list_path, "manifests": self.inline})
        elif key == "metadata-log":
            for one, other in zip(before, after, strict=True):
                self.fields(one, other, {"metadata-file": self.plain})
        elif key in ("statistics", "partition-statistics"):
            kept = [file for file in before if all(
                dict(blob[1])["type"] in KNOWN_BLOBS for blob in dict(file[1]).get("blob-metadata", []))]
            for one, other in zip(kept, after, strict=True):
                self.fields(one, other, {"statistics-path": self.plain})
        elif key == "properties":
            self.fields(before, after, {name: self.plain for name in LOCATIONS})
        else:
            self.same(before, after, key)

    def fields(self, before, after, special):
        self.same([key for key, _ in before[1]], [key for key, _ in after[1]], "keys")
        for (key, one), (_, other) in zip(before[1], after[1]):
            (special[key] if key in special else lambda a, b: self.same(a, b, key))(one, other)

    def plain(self, before, after):
        self.same(self.mapped(before), after, "path")

    def list_path(self, before, after):
        self.rewritten(before, after, self.location)
        self.lists.append((before, after))

    def inline(self, before, after):
        for one, other in zip(before, after, strict=True):
            self.add_manifest(one, other)

    def add_manifest(self, before, after):
        self.rewritten(before, after, self.location)
        expect(self.manifests.setdefault(before, after) == after, before, "has two counterparts")

    def avro(self, before, after):
        """The records of both files, after comparing headers and sync markers."""
        frames = []
        for content in (before, after):
            reader = fastavro.block_reader(io.BytesIO(content))
            blocks = list(reader)
            records = by_known_names(fastavro.reader(io.BytesIO(content)))
            # The bytes before the first block: magic, header, sync marker.
            header = content[:content.index(content[-16:]) + 16]
            frames.append((header, [block.num_records for block in blocks], reader.codec, records))
        for part, what in enumerate(("header", "blocks", "codec")):
            self.same(frames[0][part], frames[1][part], what)
        return frames[0][3], frames[1][3]

    def manifest_list(self, before_path, after_path):
        before, after = self.avro(self.original(before_path).read_bytes(), local(after_path).read_bytes())
        for one, other in zip(before, after, strict=True):
            self.add_manifest(one["manifest_path"], other["manifest_path"])
            self.same(local(other["manifest_path"]).stat().st_size, other["manifest_length"], "manifest_length")
            rest = dict(one, manifest_path=other["manifest_path"], manifest_length=other["manifest_length"])
            self.same(rest, other, f"entry of {after_path}")
        self.judged["manifest list"] += 1

    def manifest(self, before_path, after_path):
        before, after = self.avro(self.original(before_path).read_bytes(), local(after_path).read_bytes())
        for one, other in zip(before, after, strict=True):
            expected = dict(one, data_file=self.data_file(one, other["data_file"]))
            self.same(expected, other, f"entry of {after_path}")
        self.judged["manifest"] += 1

    def data_file(self, entry, after):
        """What the data_file of an entry must be."""
        before = entry["data_file"]
        expected = dict(before)
        if before.get("referenced_data_file"):
            expected["referenced_data_file"] = self.mapped(before["referenced_data_file"])
        if before.get("content", 0) != 1:
            return expected | {"file_path": self.mapped(before["file_path"])}
        if entry["status"] == 2:
            path = self.mapped(before["file_path"])
            return expected | {"file_path": path} | self.bounds(before, *self.removed_bounds(before))
        self.rewritten(before["file_path"], after["file_path"], self.location)
        size = local(after["file_path"]).stat().st_size
        expected |= {"file_path": after["file_path"], "file_size_in_bytes": size}
        if before["file_format"] == "PUFFIN":
            self.vectors(before, after)
            path = expected["referenced_data_file"].encode()
            return expected | self.bounds(before, path, path)
        return expected | self.position_deletes(before, after)

    def removed_bounds(self, before):
        """The bounds of a removed file: mapped if they are one whole path."""
        found = [dict((item["key"], item["value"]) for item in before.get(key) or []).get(FILE_PATH)
                 for key in ("lower_bounds", "upper_bounds")]
        if found[0] is None or found[0] != found[1]:
            return None, None
        path = self.mapped(found[0].decode()).encode()
        return path, path

    @staticmethod
    def bounds(before, lower, upper):
        changed = {}
        for key, bound in (("lower_bounds", lower), ("upper_bounds", upper)):
            if before.get(key) is not None:
                items = [dict(item, value=bound) if item["key"] == FILE_PATH else item for item in before[key]]
                changed[key] = [item for item in items if item["value"] is not None]
        return changed

    def position_deletes(self, before, after):
        one = pq.ParquetFile(self.original(before["file_path"]))
        other = pq.ParquetFile(local(after["file_path"]))
        self.same(str(one.schema_arrow), str(other.schema_arrow), "schema of delete file")
        for left, right in zip(one.schema_arrow, other.schema_arrow, strict=True):
            expect(left.equals(right, check_metadata=True), "field ids of", left)
        self.same(one.schema_arrow.metadata, other.schema_arrow.metadata, "metadata of delete file")
        self.same(one.metadata.num_row_groups, other.metadata.num_row_groups, "row groups")
        for group in range(one.metadata.num_row_groups):
            for column in range(one.metadata.num_columns):
                left, right = (file.metadata.row_group(group).column(column) for file in (one, other))
                self.same(left.compression, right.compression, "codec of delete file")
        rows = [dict(row, file_path=self.mapped(row["file_path"])) for row in one.read().to_pylist()]
        rows.sort(key=lambda row: (row["file_path"].encode(), row["pos"]))
        self.same(rows, other.read().to_pylist(), "rows of delete file")
        sizes = collections.Counter()
        offsets = []
        for group in range(other.metadata.num_row_groups):
            found = other.metadata.row_group(group)
            first = found.column(0)
            starts = [first.dictionary_page_offset, first.data_page_offset]
            offsets.append(min(start for start in starts if start is not None))
            for column in range(other.metadata.num_columns):
                name = found.column(column).path_in_schema
                sizes[name] += found.column(column).total_compressed_size
        names = {FILE_PATH: "file_path", POSITION: "pos"}
        changed = {}
        if before["column_sizes"] is not None:
            changed["column_sizes"] = [dict(item, value=sizes[names[item["key"]]]) for item in before["column_sizes"]]
        if before["split_offsets"] is not None:
            changed["split_offsets"] = offsets
        paths = [row["file_path"].encode() for row in rows]
        return changed | self.bounds(before, min(paths, default=None), max(paths, default=None))

    def vectors(self, before, after):
        one, other = self.original(before["file_path"]).read_bytes(), local(after["file_path"]).read_bytes()
        footers = []
        for content in (one, other):
            size, flags, magic = struct.unpack("<i4s4s", content[-12:])
            expect(magic == b"PFA1" and flags == bytes(4), "trailer of the Puffin file")
            expect(content[-16 - size:-12 - size] == b"PFA1", "footer of the Puffin file")
            footers.append((content[:-12 - size], json.loads(content[-12 - size:-12])))
        self.same(footers[0][0], footers[1][0], "blobs of the Puffin file")
        expected = footers[0][1]
        for blob in expected["blobs"]:
            blob["properties"]["referenced-data-file"] = self.mapped(blob["properties"]["referenced-data-file"])
        self.same(expected, footers[1][1], "footer of the Puffin file")
