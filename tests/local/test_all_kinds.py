"""Glue objects of every kind, with stale and foreign objects in the standby: one resync makes the
Regions identical, and a second one writes nothing."""

import copy
import json
import random

import pytest

import compare
import fixture_all_kinds as all_kinds
from stack import BUCKETS, PRIMARY, STANDBY
from test_cli import LEDGER, CliSandbox
from test_moto import NO_STATISTICS, ROLE, Moto, is_write

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]
# Policy keys with which every kind is replicated.
REPLICATE_ALL_KINDS = 'iceberg = "pointer"\nglue-tags = "copy"\n'


@pytest.fixture(scope="module")
def cli(tmp_path_factory):
    running = CliSandbox(tmp_path_factory.mktemp("cli"))
    running.create_sales_orders()
    running.write_policy(REPLICATE_ALL_KINDS)
    yield running
    running.stop()


def snapshots(client, kinds=compare.GLUE_KINDS):
    """Returns the snapshots of the primary and of the standby."""
    return [compare.snapshot(client("glue", r), client("lakeformation", r), kinds)
            for r in (PRIMARY, STANDBY)]


def test_every_kind_is_identical_after_one_resync(cli):
    client = cli.clients.client
    all_kinds.create_primary_catalog(client("glue", PRIMARY))
    all_kinds.create_stale_standby(client("glue", STANDBY))
    done = cli.run_with_policy("resync", "--json", *LEDGER)
    assert done.returncode == 0, done.stdout + done.stderr
    primary, standby = snapshots(client)
    differences = compare.differences(primary, standby, LOCATION_PAIRS)
    assert all_kinds.without_foreign(differences) == []
    all_kinds.assert_foreign_unchanged(client("glue", STANDBY))
    counts = {kind: len(primary[kind]) for kind in ("databases", "tables", "partitions",
                                                    *compare.GLUE_KINDS)}
    assert all(counts.values()) and counts["tables"] >= 30 and counts["partitions"] >= 180
    cli.clients.drain_calls()
    again = cli.run_with_policy("resync", "--json", *LEDGER)
    assert again.returncode == 0 and json.loads(again.stdout)["applied"] == 0
    writes = [c for c in cli.clients.drain_calls() if is_write(c["call"])]
    assert writes == []


def leaf_paths(value, path=()):
    """Yields the path of every scalar value in an object that is not empty."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaf_paths(inner, path + (key,))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaf_paths(inner, path + (index,))
    elif value not in (None, ""):
        yield path


def test_the_comparison_detects_a_change_of_any_single_field(cli):
    """Tests compare.py itself, with random fields of each kind."""
    primary, standby = snapshots(cli.clients.client)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    before = compare.differences(primary, standby, LOCATION_PAIRS)
    for kind in ("databases", "tables", "partitions", *compare.GLUE_KINDS):
        names = [name for name in standby[kind] if all_kinds.FOREIGN not in name]
        fields = [(name, path) for name in names
                  for path in leaf_paths(compare.without_link_target_fields(standby[kind][name]))
                  if path[0] not in compare.READ_ONLY and "transient_lastDdlTime" not in path
                  and (kind, path[0]) != ("databases", "CreateTableDefaultPermissions")]
        assert fields, kind
        for name, path in rng.sample(fields, min(40, len(fields))):
            corrupted = copy.copy(standby)
            corrupted[kind] = {**standby[kind], name: copy.deepcopy(standby[kind][name])}
            inner = corrupted[kind][name]
            for key in path[:-1]:
                inner = inner[key]
            old = inner[path[-1]]
            inner[path[-1]] = (not old if isinstance(old, bool) else
                               old + 1 if isinstance(old, (int, float)) else f"{old}x")
            differences = compare.differences(primary, corrupted, LOCATION_PAIRS)
            assert differences != before, f"seed {seed}: {kind} {name} {path}"
        without_one = {**standby, kind: {k: v for k, v in standby[kind].items()
                                         if k != fields[0][0]}}
        assert compare.differences(primary, without_one, LOCATION_PAIRS) != before, kind


def test_the_kinds_that_moto_supports_are_identical_over_moto(tmp_path):
    moto = Moto(tmp_path)
    try:
        # Moto supports neither functions, partition indexes nor column statistics.
        kinds = ("glue-tags",)
        moto.write_policy(NO_STATISTICS + REPLICATE_ALL_KINDS)
        for region in (PRIMARY, STANDBY):
            moto.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
                "DataLakeAdmins": [{"DataLakePrincipalIdentifier": ROLE}],
                "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": []})
        all_kinds.create_primary_catalog(moto.client("glue", PRIMARY), kinds)
        for database in moto.client("glue", PRIMARY).get_databases()["DatabaseList"]:
            moto.client("lakeformation", PRIMARY).grant_permissions(
                Principal={"DataLakePrincipalIdentifier": ROLE}, Permissions=["SELECT", "DESCRIBE"],
                Resource={"Table": {"DatabaseName": database["Name"], "TableWildcard": {}}})
        all_kinds.create_stale_standby(moto.client("glue", STANDBY), functions=False)
        first = moto.recorded_calls(moto.resync)
        assert any(map(is_write, first))
        primary, standby = snapshots(moto.client, kinds)
        differences = compare.differences(primary, standby, LOCATION_PAIRS)
        assert all_kinds.without_foreign(differences) == []
        all_kinds.assert_foreign_unchanged(moto.client("glue", STANDBY), functions=False)
        second = moto.recorded_calls(moto.resync)
        assert [c for c in second if is_write(c)] == []
    finally:
        moto.stop()
