"""Lake Formation objects and grants of every kind: replicated by events in a deployment, and by a
resync against the sandbox."""

import copy
import json
import random

import pytest

import compare
import fixture_permissions as permissions
from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY, wait_for
from test_cli import LEDGER, CliSandbox
from test_moto import is_write

LOCATION_PAIRS = [(f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}")]


def snapshots(client, kinds=compare.LAKEFORMATION_KINDS):
    """Returns the snapshots of the primary and of the standby."""
    return [compare.snapshot(client("glue", r), client("lakeformation", r), (), kinds)
            for r in (PRIMARY, STANDBY)]


def differences(client):
    return compare.differences(*snapshots(client), LOCATION_PAIRS)


def test_objects_and_grants_of_every_kind_are_replicated_by_events(deployment):
    glue, lf = deployment.client("glue", PRIMARY), deployment.client("lakeformation", PRIMARY)
    standby_glue = deployment.client("glue", STANDBY)
    permissions.create_catalog(glue)
    wait_for("the tables are replicated", lambda: all(
        any(d["Name"] == name for d in standby_glue.get_databases()["DatabaseList"])
        and len(standby_glue.get_tables(DatabaseName=name)["TableList"]) == permissions.TABLES
        for name in permissions.DATABASES), detail=lambda: deployment.log_text()[-20000:])
    permissions.create_lakeformation_objects(lf)
    granted = permissions.grants()
    assert len(granted) >= 180 and len({json.dumps(g["Resource"]) for g in granted}) > 30
    permissions.grant_all(lf, granted)
    wait_for("the Regions are identical", lambda: differences(deployment.client) == [],
             detail=lambda: differences(deployment.client))
    counts = {kind: len(objects) for kind, objects in snapshots(deployment.client)[1].items()
              if kind in compare.LAKEFORMATION_KINDS}
    assert all(counts.values()), counts

    # Revokes are replicated, and deletions of LF-Tag values, filters, opt-ins and registrations.
    permissions.revoke_all(lf, granted[::3])
    lf.delete_data_cells_filter(
        TableCatalogId=ACCOUNT, DatabaseName="sales", TableName="t1", Name="f0")
    lf.remove_lf_tags_from_resource(
        Resource={"Table": permissions.table_of("hr", 0)},
        LFTags=[{"TagKey": "pii", "TagValues": ["no"]}])
    lf.delete_lake_formation_opt_in(
        Principal=permissions.principal_field(permissions.PRINCIPALS[1]),
        Resource={"Database": {"Name": "hr"}})
    lf.deregister_resource(ResourceArn=permissions.location_arn("sales"))
    lf.update_lf_tag(TagKey="many", TagValuesToDelete=["v1", "v2"])
    wait_for("the Regions are identical again", lambda: differences(deployment.client) == [],
             detail=lambda: differences(deployment.client))

    # A resync without changes writes nothing.
    deployment.resync()
    assert differences(deployment.client) == []
    deployment.drain_calls()
    deployment.resync()
    writes = [c for c in deployment.drain_calls()
              if is_write(c["call"]) and "twinlake" in c["caller"]]
    assert writes == []


@pytest.fixture
def cli(tmp_path):
    running = CliSandbox(tmp_path)
    yield running
    running.stop()


def test_a_resync_replicates_everything_and_corrects_drift(cli):
    glue, lf = (cli.clients.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    permissions.create_catalog(glue)
    permissions.create_lakeformation_objects(lf)
    granted = permissions.grants()
    permissions.grant_all(lf, granted)

    def resync():
        done = cli.run_with_policy("resync", *LEDGER, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)
    resync()
    assert differences(cli.clients.client) == []
    assert resync()["applied"] == 0

    # Out-of-band changes in the standby: a grant, an LF-Tag, a wider filter, a deleted opt-in.
    standby_lf = cli.clients.client("lakeformation", STANDBY)
    standby_lf.grant_permissions(
        Principal=permissions.principal_field(permissions.role("Stranger")),
        Resource={"Table": permissions.table_of("sales", 0)}, Permissions=["SELECT"])
    standby_lf.add_lf_tags_to_resource(
        Resource={"Table": permissions.table_of("hr", 2)},
        LFTags=[{"TagKey": "team", "TagValues": ["a"]}])
    data_filter = standby_lf.get_data_cells_filter(
        TableCatalogId=ACCOUNT, DatabaseName="sales", TableName="t1", Name="f1"
    )["DataCellsFilter"]
    data_filter["RowFilter"] = {"AllRowsWildcard": {}}
    standby_lf.update_data_cells_filter(TableData=data_filter)
    standby_lf.delete_lake_formation_opt_in(
        Principal=permissions.principal_field(permissions.PRINCIPALS[0]),
        Resource={"Table": permissions.table_of("hr", 1)})
    assert differences(cli.clients.client) != []
    resync()
    assert differences(cli.clients.client) == []


def test_access_lists_permissions_with_their_grants(cli):
    glue, lf = (cli.clients.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    permissions.create_catalog(glue)
    permissions.create_lakeformation_objects(lf)
    analyst = permissions.PRINCIPALS[0]
    principal = permissions.principal_field(analyst)
    lf.grant_permissions(Principal=principal, Permissions=["SELECT"], Resource={
        "LFTagPolicy": {"ResourceType": "TABLE", "Expression": [
            {"TagKey": "pii", "TagValues": ["no"]}]}})
    lf.grant_permissions(Principal=principal, Permissions=["SELECT"], Resource={
        "DataCellsFilter": {"TableCatalogId": ACCOUNT, "DatabaseName": "sales",
                            "TableName": "t1", "Name": "f1"}})
    before = cli.run_with_policy("access", analyst, "sales.t0")
    assert before.returncode == 2, before
    assert "only in the primary: SELECT column id" in before.stdout
    assert cli.run_with_policy("resync", *LEDGER).returncode == 0
    after = cli.run_with_policy("access", analyst, "sales.t0")
    assert after.returncode == 0, after
    assert "Both Regions allow the same" in after.stdout
    assert "SELECT column amount\n      by SELECT on tables with pii=no" in after.stdout
    # The column ssn has an LF-Tag of its own, pii=yes.
    assert "SELECT column ssn" not in after.stdout
    rows = cli.run_with_policy("access", analyst, "sales.t1").stdout
    assert "SELECT column note where amount > 10" in rows and "column amount" not in rows
    nobody = cli.run_with_policy("access", permissions.role("Nobody"), "sales").stdout
    assert "no permissions" in nobody and "\x1b" not in nobody


def leaf_paths(value, path=()):
    """Yields the path of every scalar value in an object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in compare.READ_ONLY:
                yield from leaf_paths(inner, path + (key,))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaf_paths(inner, path + (index,))
    else:
        yield path


def test_the_comparison_detects_a_change_of_any_single_field(cli):
    """Tests compare.py itself, with random fields of each kind."""
    glue, lf = (cli.clients.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    permissions.create_catalog(glue)
    permissions.create_lakeformation_objects(lf)
    permissions.grant_all(lf, permissions.grants())
    assert cli.run_with_policy("resync", *LEDGER).returncode == 0
    primary, standby = snapshots(cli.clients.client)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    for kind in compare.LAKEFORMATION_KINDS:
        for _ in range(10):
            corrupted = copy.deepcopy(standby)
            name = rng.choice(sorted(corrupted[kind]))
            value = corrupted[kind][name]
            path = rng.choice(sorted(leaf_paths(value), key=str))
            for key in path[:-1]:
                value = value[key]
            value[path[-1]] = "corrupted"
            assert compare.differences(primary, corrupted, LOCATION_PAIRS), (kind, name, path)


def bootstrap(cli, *args):
    roles = [permissions.role("twinlake"), permissions.role("twinlake-two")]
    return cli.run("bootstrap", "--policy", "policy.toml",
                   *(arg for role in roles for arg in ("--twinlake-role", role)), *args)


def access_settings(cli, region):
    """Returns the data lake administrators and the default permissions of a Region."""
    settings = cli.clients.client("lakeformation", region).get_data_lake_settings()
    settings = settings["DataLakeSettings"]
    return ({p["DataLakePrincipalIdentifier"] for p in settings["DataLakeAdmins"]},
            settings["CreateDatabaseDefaultPermissions"],
            settings["CreateTableDefaultPermissions"])


def primary_grants(cli):
    """Returns all grants of the primary, as sorted JSON."""
    clients = (cli.clients.client(s, PRIMARY) for s in ("glue", "lakeformation"))
    return sorted(map(json.dumps, compare.snapshot(*clients, (), ())["grants"]))


@pytest.mark.parametrize("has_other_admins", [False, True])
def test_bootstrap_can_be_repeated_and_undone(cli, has_other_admins):
    open_defaults = [{"Principal": permissions.principal_field("IAM_ALLOWED_PRINCIPALS"),
                      "Permissions": ["ALL"]}]
    admins = [permissions.role("Admin")]
    if has_other_admins:
        admins += [permissions.role("Boss"), f"arn:aws:iam::{ACCOUNT}:user/eve"]
    for region in (PRIMARY, STANDBY):
        cli.clients.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [permissions.principal_field(admin) for admin in admins],
            "CreateDatabaseDefaultPermissions": open_defaults,
            "CreateTableDefaultPermissions": open_defaults,
            "Parameters": {"SET_CONTEXT": "TRUE"}})
    permissions.create_catalog(cli.clients.client("glue", PRIMARY))
    settings_before = [access_settings(cli, region) for region in (PRIMARY, STANDBY)]
    grants_before = primary_grants(cli)

    dry_run = bootstrap(cli, "--dry-run")
    assert dry_run.returncode == 2 and "would make" in dry_run.stdout, dry_run
    assert [access_settings(cli, region) for region in (PRIMARY, STANDBY)] == settings_before
    assert bootstrap(cli).returncode == 0
    (primary_admins, *primary_defaults), (standby_admins, *standby_defaults) = (
        access_settings(cli, region) for region in (PRIMARY, STANDBY))
    expected = set(admins) | {permissions.role("twinlake"), permissions.role("twinlake-two")}
    assert primary_admins == standby_admins == expected
    assert primary_defaults == [open_defaults, open_defaults], "the primary's are unchanged"
    assert standby_defaults == [[], []], "the standby's are cleared"
    again = bootstrap(cli)
    assert again.returncode == 0 and again.stdout.count("no changes are needed") == 2, again
    # Lake Formation no longer hides columns from Twinlake's roles.
    done = cli.run_with_policy("plan")
    assert "hidden" not in done.stdout and "+ create table sales.t0" in done.stdout, done

    elsewhere = bootstrap(cli, "--undo", "--record", "elsewhere.json")
    assert elsewhere.returncode == 1 and "elsewhere.json: " in elsewhere.stderr, elsewhere
    assert "--record FILE" in elsewhere.stderr and not elsewhere.stdout, elsewhere
    undo_dry_run = bootstrap(cli, "--undo", "--dry-run")
    assert undo_dry_run.returncode == 2 and "would remove" in undo_dry_run.stdout, undo_dry_run
    undone = bootstrap(cli, "--undo")
    assert undone.returncode == 0, undone
    assert [access_settings(cli, region) for region in (PRIMARY, STANDBY)] == settings_before
    assert primary_grants(cli) == grants_before
    assert "no changes are recorded" in bootstrap(cli, "--undo").stdout


def test_uninstall_takes_the_roles_out_and_says_what_is_left(cli):
    own = f"arn:aws:iam::{ACCOUNT}:role/twinlake/twinlake-ResyncRole-1"
    lost = f"arn:aws:iam::{ACCOUNT}:role/twinlake/twinlake-Lost-1"
    admins = [permissions.role("Admin"), lost]
    open_defaults = [{"Principal": permissions.principal_field("IAM_ALLOWED_PRINCIPALS"),
                      "Permissions": ["ALL"]}]
    for region in (PRIMARY, STANDBY):
        cli.clients.client("lakeformation", region).put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [permissions.principal_field(admin) for admin in admins],
            "CreateDatabaseDefaultPermissions": open_defaults,
            "CreateTableDefaultPermissions": open_defaults})
    permissions.create_catalog(cli.clients.client("glue", PRIMARY))
    before, grants_before = access_settings(cli, STANDBY), primary_grants(cli)

    def uninstall(*args):
        return cli.run("uninstall", "--policy", "policy.toml", *args)

    nothing = uninstall()
    assert nothing.returncode == 1 and "twinlake-bootstrap.json" in nothing.stderr, nothing
    done = cli.run("bootstrap", "--policy", "policy.toml", "--twinlake-role", own)
    assert done.returncode == 0 and access_settings(cli, STANDBY)[1:] == ([], []), done
    dry_run = uninstall("--dry-run")
    assert dry_run.returncode == 2 and "would remove 1 administrator and" in dry_run.stdout, dry_run
    assert own in access_settings(cli, PRIMARY)[0]

    # The record does not name the role of a stack of earlier.
    left = uninstall()
    assert left.returncode == 2 and f"--twinlake-role {lost}" in left.stdout, left
    assert "delete-stack" not in left.stdout
    assert access_settings(cli, STANDBY) == before and primary_grants(cli) == grants_before
    done = uninstall("--twinlake-role", lost)
    assert done.returncode == 0, done
    for region in (PRIMARY, STANDBY):
        assert access_settings(cli, region)[0] == {permissions.role("Admin")}
        assert f"delete-stack --region {region} --stack-name twinlake\n" in done.stdout + "\n", done
    assert "twinlake-ledger stays" in done.stdout


def test_data_lake_settings_are_reported_or_merged_as_the_policy_says(cli):
    primary_lf, standby_lf = (cli.clients.client("lakeformation", r) for r in (PRIMARY, STANDBY))
    common = [permissions.role("twinlake"), permissions.role("Admin")]

    def put_settings(client, admins, **more):
        client.put_data_lake_settings(DataLakeSettings={
            "DataLakeAdmins": [permissions.principal_field(admin) for admin in admins],
            "ReadOnlyAdmins": [], "CreateDatabaseDefaultPermissions": [],
            "CreateTableDefaultPermissions": [],
            "Parameters": {"CROSS_ACCOUNT_VERSION": "4"}, **more})

    def standby_admins():
        return access_settings(cli, STANDBY)[0]

    def resync():
        done = cli.run_with_policy("resync", "--json", *LEDGER)
        assert done.returncode == 0, done
        return json.loads(done.stdout)["applied"]

    put_settings(primary_lf, common + [permissions.role("Boss")],
                 TrustedResourceOwners=["444455556666"])
    put_settings(standby_lf, common + [permissions.role("Local")])
    plan = cli.run_with_policy("plan").stdout
    assert "settings differ in DataLakeAdmins, TrustedResourceOwners" in plan, plan
    assert standby_admins() == set(common) | {permissions.role("Local")}

    cli.write_policy('data-lake-settings = "merge"\n')
    assert resync() >= 1
    assert standby_admins() == set(common) | {permissions.role("Local"), permissions.role("Boss")}
    merged = standby_lf.get_data_lake_settings()["DataLakeSettings"]
    assert merged["TrustedResourceOwners"] == ["444455556666"]
    assert resync() == 0
    # Administrators from the primary are removed with it; those of the standby itself stay.
    put_settings(primary_lf, common)
    assert resync() == 1
    assert standby_admins() == set(common) | {permissions.role("Local")}
