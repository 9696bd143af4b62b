"""A switchover and a failback over the real commands, with `freeze = "grants"`: the grants to write are revoked in the
former primary, kept in the new one whatever the functions are told, and granted again at the failback."""

from stack import ACCOUNT, PRIMARY, STANDBY, wait_for
from test_end_to_end import table_input, wait_until_identical

OWN_ROLES = f"arn:aws:iam::{ACCOUNT}:role/twinlake*"
TABLE = {"Table": {"DatabaseName": "sales", "Name": "orders"}}
WRITES, READS = {("Etl", "INSERT", True), ("Etl", "ALTER", False)}, {("Analyst", "SELECT", False)}


def principal(role):
    return {"DataLakePrincipalIdentifier": f"arn:aws:iam::{ACCOUNT}:role/{role}"}


def set_up_writers(deployment):
    """A table with grants to write and to read in both Regions, and an operation document with a freeze."""
    glue, lf = deployment.client("glue", PRIMARY), deployment.client("lakeformation", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
    glue.create_table(DatabaseName="sales", TableInput=table_input("orders"))
    for role, permission, option in WRITES | READS:
        lf.grant_permissions(Principal=principal(role), Resource=TABLE, Permissions=[permission],
                             PermissionsWithGrantOption=[permission] if option else [])
    wait_until_identical(deployment)
    deployment.resync()
    (deployment.home / "freeze.toml").write_text('[takeover]\nfreeze = "grants"\n')
    for region in (PRIMARY, STANDBY):
        deployment.twinlake("policy", "push", "--operation", "freeze.toml", "--region", region)


def held(deployment, region):
    """The grants on the table, each as role, permission and grant option, but for those of Twinlake."""
    listed = deployment.client("lakeformation", region).list_permissions(ResourceType="TABLE", Resource=TABLE)
    found = set()
    for entry in listed["PrincipalResourcePermissions"]:
        role = entry["Principal"]["DataLakePrincipalIdentifier"].rsplit("/", 1)[-1]
        for permission in entry["Permissions"]:
            found.add((role, permission, permission in entry["PermissionsWithGrantOption"]))
    return {one for one in found if one[0] in ("Etl", "Analyst")}


def run(deployment, command, region, *args, check=True):
    return deployment.twinlake(command, "--region", region, "--ignore-role", OWN_ROLES, "--force", "minimum-interval",
                               "--force", "storage-proof", *args, check=check)


def wait_for_the_last_gate(deployment, command, region, primary):
    def refusal():
        # The first heartbeat makes its table, and the next ones change it.
        deployment.invoke(primary, "Heartbeat")
        return run(deployment, command, region, "--validate-only", check=False).stderr

    wait_for("all gates but one are open", lambda: "the gate writers-stopped is closed" in refusal(), every=0.5,
             detail=refusal)
    assert "whom a revoke does not stop" in refusal()


def test_writers_lose_their_grants_in_the_former_primary_until_the_failback(deployment):
    set_up_writers(deployment)

    wait_for_the_last_gate(deployment, "switchover", STANDBY, PRIMARY)
    done = run(deployment, "switchover", STANDBY, "--writers-stopped", "--validate-only")
    assert f"2 grants to write of 1 principal are revoked in {PRIMARY}" in done.stdout, done.stdout
    assert held(deployment, PRIMARY) == WRITES | READS, "nothing is revoked by a look"
    done = run(deployment, "switchover", STANDBY, "--writers-stopped", "--yes", "--local-wait", "2", check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"2 grants to write are revoked in {PRIMARY} until it is the primary again" in done.stdout, done.stdout
    assert held(deployment, PRIMARY) == READS and held(deployment, STANDBY) == WRITES | READS

    status = deployment.twinlake("status", "--region", STANDBY, check=False).stdout
    assert f"2 grants to write are revoked in {PRIMARY}, which was the primary before" in status, status
    assert "Frozen:" not in status, status

    # The functions have got the events of the revokes by then.
    wait_for("the events are handled", deployment.has_empty_queues)
    deployment.invoke(PRIMARY, "Resync")
    wait_for("the queues are empty", deployment.has_empty_queues)
    assert held(deployment, PRIMARY) == READS and held(deployment, STANDBY) == WRITES | READS

    # What is revoked where it counts is not given back.
    deployment.client("lakeformation", STANDBY).revoke_permissions(
        Principal=principal("Etl"), Resource=TABLE, Permissions=["ALTER"])
    wait_for_the_last_gate(deployment, "failback", PRIMARY, STANDBY)
    done = run(deployment, "failback", PRIMARY, "--writers-stopped", "--yes", "--local-wait", "2", check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"1 grant to write, revoked when {PRIMARY} was the primary before, is granted again" in done.stdout, done.stdout
    left = {("Etl", "INSERT", True)} | READS
    assert held(deployment, PRIMARY) == left and held(deployment, STANDBY) == READS
    wait_for("the events are handled", deployment.has_empty_queues)
    deployment.resync()
    assert held(deployment, PRIMARY) == left and held(deployment, STANDBY) == READS
