"""Permissions of every kind, from the primary to the secondary: two hundred grants, LF-Tags,
filters, expressions, opt-ins, registrations; by events on the deployed pair, and by a resync."""

import copy
import json
import random

import pytest

import compare
import lake
from stack import ACCOUNT, PRIMARY, SECONDARY, BUCKETS, Local, wait_for
from test_cli import ROLE, Desk
from test_moto import is_write

PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[SECONDARY]}")]


@pytest.fixture(scope="module")
def local():
    with Local() as running:
        yield running


def sides(client, kinds=compare.LAKE):
    return [compare.snapshot(client("glue", r), client("lakeformation", r), (), kinds)
            for r in (PRIMARY, SECONDARY)]


def differences(client):
    return compare.differences(*sides(client), PAIRS)


def test_every_kind_arrives_by_events_and_leaves_again(local):
    glue, service = local.client("glue", PRIMARY), local.client("lakeformation", PRIMARY)
    there = local.client("glue", SECONDARY)
    lake.catalog(glue)
    wait_for("the tables are there", lambda: all(
        any(d["Name"] == name for d in there.get_databases()["DatabaseList"])
        and len(there.get_tables(DatabaseName=name)["TableList"]) == lake.TABLES
        for name in lake.DATABASES), 120)
    lake.govern(service)
    granted = lake.entries()
    assert len(granted) >= 180 and len({json.dumps(g["Resource"]) for g in granted}) > 30
    lake.give(service, granted)
    assert wait_for("both are equal", lambda: differences(local.client) == [] or None, 240)
    counts = {kind: len(side) for kind, side in sides(local.client)[1].items()
              if kind in compare.LAKE}
    assert all(counts.values()), counts

    # Revokes arrive, one by one and in batches; tags, filters and opt-ins go again.
    lake.take(service, granted[::3])
    service.delete_data_cells_filter(
        TableCatalogId=ACCOUNT, DatabaseName="sales", TableName="t1", Name="f0")
    service.remove_lf_tags_from_resource(
        Resource={"Table": lake.on_table("hr", 0)}, LFTags=[{"TagKey": "pii", "TagValues": ["no"]}])
    service.delete_lake_formation_opt_in(
        Principal=lake.who(lake.PRINCIPALS[1]), Resource={"Database": {"Name": "hr"}})
    service.deregister_resource(ResourceArn=lake.place("sales"))
    service.update_lf_tag(TagKey="many", TagValuesToDelete=["v1", "v2"])
    assert wait_for("both are equal again", lambda: differences(local.client) == [] or None, 240)

    # And an unchanged resync writes nothing.
    local.resync()
    assert differences(local.client) == []
    local.calls()
    local.resync()
    writes = [c for c in local.calls() if is_write(c["call"]) and "twinlake" in c["caller"]]
    assert writes == []


@pytest.fixture
def desk(tmp_path):
    running = Desk.__new__(Desk)
    running.start(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait()


def test_a_resync_brings_everything_and_mends_what_drifted(desk):
    glue, service = (desk.local.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    lake.catalog(glue)
    lake.govern(service)
    granted = lake.entries()
    lake.give(service, granted)

    def resync():
        done = desk.at_work("resync", "--ledger", "ledger.json", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)
    resync()
    assert differences(desk.local.client) == []
    assert resync()["applied"] == 0

    # Somebody's hands in the secondary: more grants, other tags, a wider filter.
    away = desk.local.client("lakeformation", SECONDARY)
    away.grant_permissions(Principal=lake.who(lake.role("Stranger")),
                           Resource={"Table": lake.on_table("sales", 0)}, Permissions=["SELECT"])
    away.add_lf_tags_to_resource(Resource={"Table": lake.on_table("hr", 2)},
                                 LFTags=[{"TagKey": "team", "TagValues": ["a"]}])
    version = away.get_data_cells_filter(
        TableCatalogId=ACCOUNT, DatabaseName="sales", TableName="t1", Name="f1"
    )["DataCellsFilter"]
    version["RowFilter"] = {"AllRowsWildcard": {}}
    away.update_data_cells_filter(TableData=version)
    away.delete_lake_formation_opt_in(
        Principal=lake.who(lake.PRINCIPALS[0]), Resource={"Table": lake.on_table("hr", 1)})
    assert differences(desk.local.client) != []
    resync()
    assert differences(desk.local.client) == []


def test_who_may_do_what_is_told_with_the_reason(desk):
    glue, service = (desk.local.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    lake.catalog(glue)
    lake.govern(service)
    analyst = lake.PRINCIPALS[0]
    service.grant_permissions(Principal=lake.who(analyst), Permissions=["SELECT"], Resource={
        "LFTagPolicy": {"ResourceType": "TABLE", "Expression": [
            {"TagKey": "pii", "TagValues": ["no"]}]}})
    service.grant_permissions(Principal=lake.who(analyst), Permissions=["SELECT"], Resource={
        "DataCellsFilter": {"TableCatalogId": ACCOUNT, "DatabaseName": "sales",
                            "TableName": "t1", "Name": "f1"}})
    before = desk.at_work("access", analyst, "sales.t0")
    assert before.returncode == 2, before
    assert "only in the primary: SELECT column id" in before.stdout
    assert desk.at_work("resync", "--ledger", "ledger.json").returncode == 0
    after = desk.at_work("access", analyst, "sales.t0")
    assert after.returncode == 0, after
    assert "Both Regions allow the same" in after.stdout
    assert "SELECT column amount\n      by SELECT on tables with pii=no" in after.stdout
    # The column has a tag of its own.
    assert "SELECT column ssn" not in after.stdout
    rows = desk.at_work("access", analyst, "sales.t1").stdout
    assert "SELECT column note where amount > 10" in rows and "column amount" not in rows
    nobody = desk.at_work("access", lake.role("Nobody"), "sales").stdout
    assert "nothing" in nobody and "\x1b" not in nobody


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in compare.READ_ONLY:
                yield from leaves(inner, path + (key,))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from leaves(inner, path + (at,))
    else:
        yield path


def test_the_judge_sees_any_single_field_of_the_lake_that_is_spoilt(desk):
    glue, service = (desk.local.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    lake.catalog(glue)
    lake.govern(service)
    lake.give(service, lake.entries())
    assert desk.at_work("resync", "--ledger", "ledger.json").returncode == 0
    primary, secondary = sides(desk.local.client)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for kind in compare.LAKE:
        for _ in range(10):
            spoilt = copy.deepcopy(secondary)
            name = chance.choice(sorted(spoilt[kind]))
            value = spoilt[kind][name]
            path = chance.choice(sorted(leaves(value), key=str))
            for step in path[:-1]:
                value = value[step]
            value[path[-1]] = "spoilt"
            assert compare.differences(primary, spoilt, PAIRS), (kind, name, path)


def bootstrap(desk, *words):
    roles = [lake.role("twinlake"), lake.role("twinlake-two")]
    return desk.run("bootstrap", "--policy", "policy.toml",
                    *(w for r in roles for w in ("--for", r)), *words)


def admins(desk, region):
    settings = desk.local.client("lakeformation", region).get_data_lake_settings()
    settings = settings["DataLakeSettings"]
    return ({p["DataLakePrincipalIdentifier"] for p in settings["DataLakeAdmins"]},
            settings["CreateDatabaseDefaultPermissions"],
            settings["CreateTableDefaultPermissions"])


@pytest.mark.parametrize("foreign", [False, True])
def test_bootstrap_prepares_a_lake_twice_and_is_undone(desk, foreign):
    open_to_iam = [{"Principal": lake.who("IAM_ALLOWED_PRINCIPALS"), "Permissions": ["ALL"]}]
    theirs = [lake.role("Admin")] + ([lake.role("Boss"), f"arn:aws:iam::{ACCOUNT}:user/eve"]
                                     if foreign else [])
    for region in (PRIMARY, SECONDARY):
        desk.local.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [lake.who(t) for t in theirs],
            "CreateDatabaseDefaultPermissions": open_to_iam,
            "CreateTableDefaultPermissions": open_to_iam, "Parameters": {"SET_CONTEXT": "TRUE"}})
    lake.catalog(desk.local.client("glue", PRIMARY))
    before = [admins(desk, region) for region in (PRIMARY, SECONDARY)]
    grants = compare.snapshot(*(desk.local.client(s, PRIMARY)
                                for s in ("glue", "lakeformation")), (), ())["grants"]

    dry = bootstrap(desk, "--dry-run")
    assert dry.returncode == 2 and "would make" in dry.stdout, dry
    assert [admins(desk, region) for region in (PRIMARY, SECONDARY)] == before
    assert bootstrap(desk).returncode == 0
    (here, *open_here), (there, *open_there) = (
        admins(desk, region) for region in (PRIMARY, SECONDARY))
    for now in (here, there):
        assert set(theirs) | {lake.role("twinlake"), lake.role("twinlake-two")} == now
    assert open_here == [open_to_iam, open_to_iam], "the primary is left as it is"
    assert open_there == [[], []], "the standby is closed"
    again = bootstrap(desk)
    assert again.returncode == 0 and again.stdout.count("all is as it should be") == 2, again
    # What was hidden is shown.
    done = desk.at_work("plan")
    assert "hidden" not in done.stdout and "+ create table sales.t0" in done.stdout, done

    undone = bootstrap(desk, "--undo")
    assert undone.returncode == 0, undone
    assert [admins(desk, region) for region in (PRIMARY, SECONDARY)] == before
    after = compare.snapshot(*(desk.local.client(s, PRIMARY)
                               for s in ("glue", "lakeformation")), (), ())["grants"]
    assert sorted(map(json.dumps, after)) == sorted(map(json.dumps, grants))
    assert "nothing was done there" in bootstrap(desk, "--undo").stdout


def test_settings_are_reported_and_with_the_policys_word_merged(desk):
    here, there = (desk.local.client("lakeformation", r) for r in (PRIMARY, SECONDARY))
    ours = [lake.role("twinlake"), lake.role("Admin")]

    def put(client, admins, **more):
        client.put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [lake.who(a) for a in admins], "ReadOnlyAdmins": [],
            "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": [],
            "Parameters": {"CROSS_ACCOUNT_VERSION": "4"}, **more})
    put(here, ours + [lake.role("Boss")], TrustedResourceOwners=["444455556666"])
    put(there, ours + [lake.role("Local")])
    told = desk.at_work("plan").stdout
    assert "settings differ in DataLakeAdmins, TrustedResourceOwners" in told, told
    assert admins(desk, SECONDARY)[0] == set(ours) | {lake.role("Local")}

    policy = (desk.home / "policy.toml").read_text()
    (desk.home / "policy.toml").write_text('settings = "merge"\n' + policy)

    def resync():
        done = desk.at_work("resync", "--ledger", "ledger.json", "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)["applied"]
    assert resync() >= 1
    assert admins(desk, SECONDARY)[0] == set(ours) | {lake.role("Local"), lake.role("Boss")}
    merged = there.get_data_lake_settings()["DataLakeSettings"]
    assert merged["TrustedResourceOwners"] == ["444455556666"]
    assert resync() == 0
    # Whoever came from the primary goes with it; whoever is the secondary's own stays.
    put(here, ours)
    assert resync() == 1
    assert admins(desk, SECONDARY)[0] == set(ours) | {lake.role("Local")}
