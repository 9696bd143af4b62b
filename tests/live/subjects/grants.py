"""Questions about granting and revoking permissions in Lake Formation."""

import concurrent.futures

from live.question import INVALID, NOT_FOUND, OK, NotRun, by_code, by_value, question, right, wrong

EVERYONE = "IAM_ALLOWED_PRINCIPALS"


def table_resource(database, name="t"):
    return {"Table": {"DatabaseName": database, "Name": name}}


def columns(database, **more):
    return {"TableWithColumns": {"DatabaseName": database, "Name": "t", **more}}


def held(run, principal=None, **request):
    """What a listing shows of the role's grants: (resource, permissions) of each entry."""
    principal = principal or run.grantee()
    listed = run.listed(run.client("lakeformation").list_permissions, "PrincipalResourcePermissions", **request)
    return [(one["Resource"], sorted(one["Permissions"])) for one in listed
            if one["Principal"]["DataLakePrincipalIdentifier"] == principal]


def held_in(run, database):
    """What an unfiltered listing and one of tables show of the role's grants below a database."""
    entries = held(run) + held(run, ResourceType="TABLE")
    return [entry for entry in entries if database in str(entry[0])]


@question(
    "LF-08", "What does an administrator receive who grants on a table that does not exist?", needs=["test_role"],
    answers={
        "not-found": right("documented: crates/core/src/call_error.rs"),
        "denied": right("\"denied\" is never taken as proof: crates/core/src/call_error.rs"),
        "accepted": right("grants on missing tables are revoked: crates/core/src/plan/table.rs"),
    },
    judge=by_code("grant", {NOT_FOUND: "not-found", "AccessDeniedException": "denied", OK: "accepted"}))
def grant_on_a_missing_table(run):
    return {"grant": run.grant(table_resource(run.database(), "missing"), ["DESCRIBE"], attempt=True)}


@question(
    "LF-10", "What does the revoke of a permission answer that is not held?", needs=["test_role"],
    answers={
        "no-permissions-revoked": right("crates/aws/src/call_error.rs classifies it as done"),
        "success": right("nothing is to be classified"),
        "other-text": wrong("a repeated revoke would fail: add the text to crates/aws/src/call_error.rs"),
    },
    judge=lambda e: {OK: "success"}.get(e["revoke"]["code"]) or (None if e["revoke"]["code"] != INVALID else (
        "no-permissions-revoked" if e["revoke"]["message"].startswith("No permissions revoked") else "other-text")))
def revoke_of_nothing(run):
    database = run.database()
    run.table(database)
    return {"revoke": run.attempt(
        run.client("lakeformation").revoke_permissions, Resource=table_resource(database), Permissions=["SELECT"],
        Principal={"DataLakePrincipalIdentifier": run.grantee()})}


@question(
    "LF-11", "What does a grant answer to a role that does not exist?",
    answers={
        "invalid-principal": right("crates/aws/src/call_error.rs repeats it, as for a new role (D-9)"),
        "other-invalid-input": wrong("a new role may get this text: add it to crates/aws/src/call_error.rs"),
        "accepted": wrong("grants to unknown principals are kept: crates/core/src/grant/principal.rs must tell them"),
    },
    judge=lambda e: {OK: "accepted"}.get(e["grant"]["code"]) or (None if e["grant"]["code"] != INVALID else (
        "invalid-principal" if "invalid principal" in e["grant"]["message"].lower() else "other-invalid-input")))
def grant_to_a_missing_role(run):
    database = run.database()
    run.table(database)
    missing = f"{run.caller().rsplit(':', 1)[0]}:role/{run.name()}"
    return {"grant": run.grant(table_resource(database), ["DESCRIBE"], principal=missing, attempt=True)}


@question(
    "LF-12", "Do concurrent grants to one principal on one resource conflict?", needs=["test_role"],
    answers={
        "conflict": right("grants of one principal and resource are serial: crates/engine/src/apply/permissions.rs"),
        "none-seen": right("eight grants at once prove nothing; they stay serial"),
    },
    judge=lambda e: {(): "none-seen", ("ConcurrentModificationException",): "conflict"}.get(tuple(e["errors"])))
def concurrent_grants(run):
    database = run.database()
    permissions = ["ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"]
    run.table(database)
    request = {"Principal": {"DataLakePrincipalIdentifier": run.grantee()},
               "Resource": {"Table": {"DatabaseName": database, "Name": "t"}}}
    run.record("grant", "concurrent", request={**request, "Permissions": permissions})
    lf = run.client("lakeformation")

    def grant(number):
        chosen = [permissions[number % len(permissions)]]
        return run.attempt(lf.grant_permissions, **request, Permissions=chosen)["code"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(grant, range(8)))
    return {"errors": sorted(set(codes) - {OK})}


@question(
    "LF-13", "How does a batch of grants tell of an entry that fails?", needs=["test_role"],
    answers={
        "listed": right("failures are read from the answer: crates/aws/src/lib.rs"),
        "fails-whole": right("a batch that fails as a whole is divided: crates/engine/src/apply/permissions.rs"),
        "silent": wrong("a grant may be lost: crates/engine/src/apply/permissions.rs must read it back"),
    },
    judge=lambda e: {(OK, 1): "listed", (OK, 0): "silent"}.get((e["batch"]["code"], e["failures"])) or (
        {INVALID: "fails-whole", NOT_FOUND: "fails-whole"}.get(e["batch"]["code"])))
def failure_in_a_batch(run):
    database = run.database()
    run.table(database)
    principal, permissions = {"DataLakePrincipalIdentifier": run.grantee()}, ["DESCRIBE"]
    for name in ("t", "missing"):
        run.record("grant", "batch", request={
            "Principal": principal, "Resource": table_resource(database, name), "Permissions": permissions})
    entries = [{"Id": name, "Principal": principal, "Permissions": permissions,
                "Resource": table_resource(database, name)} for name in ("t", "missing")]
    done = run.attempt(run.client("lakeformation").batch_grant_permissions, Entries=entries)
    failures = len(done["response"].get("Failures", [])) if done["code"] == OK else 0
    return {"batch": {k: v for k, v in done.items() if k != "response"}, "failures": failures}


@question(
    "LF-14", "Is a grant on one column widened while IAM_ALLOWED_PRINCIPALS has a grant on the table?",
    needs=["test_role"], quirk="column-grant-widens",
    answers={
        "widened": right("such a grant waits: crates/core/src/plan/grants.rs", quirk=True),
        "not-widened": right("waiting is not needed", quirk=False),
        "refused": right("such a grant waits: crates/core/src/plan/grants.rs"),
    },
    judge=lambda e: "refused" if e["grant"]["code"] == INVALID else {
        ("columns",): "not-widened", ("all",): "widened"}.get(tuple(e["listed"])))
def column_grant_beside_everyone(run):
    database = run.database()
    run.table(database)
    run.grant(table_resource(database), ["ALL"], principal=EVERYONE)
    done = run.grant(columns(database, ColumnNames=["c1"]), ["SELECT"], attempt=True)
    # A grant that became one of the whole table cannot be revoked by the column.
    run.record("grant", "widened", request={
        "Principal": {"DataLakePrincipalIdentifier": run.grantee()},
        "Resource": columns(database, ColumnWildcard={}), "Permissions": ["SELECT"]})
    shapes = {"columns" if resource.get("TableWithColumns", {}).get("ColumnNames") else "all"
              for resource, permissions in held(run, Resource=table_resource(database)) if "SELECT" in permissions}
    return {"grant": {k: v for k, v in done.items() if k != "response"}, "listed": sorted(shapes)}


@question(
    "LF-15", "Who may use a new table of a database that was created without CreateTableDefaultPermissions?",
    quirk="absent-default-is-open",
    answers={
        "open": right("the standby's databases always have an empty list: crates/core/src/desired.rs", quirk=True),
        "closed": right("an empty list is not needed", quirk=False),
    },
    judge=lambda e: {(True, False): "open", (False, False): "closed"}.get((e["absent"], e["empty"])))
def default_permissions(run):
    lf = run.client("lakeformation")
    settings = run.must(lf.get_data_lake_settings)["DataLakeSettings"]
    defaults = settings.get("CreateTableDefaultPermissions", [])
    if EVERYONE not in str(defaults):
        raise NotRun("the Region's own default permissions for new tables are closed, so every database is")

    def is_open(**fields):
        database = run.database(**fields)
        run.table(database)
        return bool(held(run, EVERYONE, Resource=table_resource(database)))
    return {"absent": is_open(CreateTableDefaultPermissions=None), "empty": is_open()}


@question(
    "LF-16", "Is a column grant refused while the principal holds SELECT on the table?", needs=["test_role"],
    quirk="column-beside-table-refused",
    answers={
        "refused": right("the wider grant is revoked first: crates/core/src/plan/grants.rs", quirk=True),
        "accepted": right("the wider grant is revoked first: crates/core/src/plan/grants.rs", quirk=False),
    },
    judge=by_code("grant", {OK: "accepted", INVALID: "refused"}))
def column_grant_beside_table_grant(run):
    database = run.database()
    run.table(database)
    run.grant(table_resource(database), ["SELECT"])
    done = run.grant(columns(database, ColumnNames=["c1"]), ["SELECT"], attempt=True)
    return {"grant": {k: v for k, v in done.items() if k != "response"}}


@question(
    "LF-17", "Are a column wildcard without exclusions and one with an empty list one grant?", needs=["test_role"],
    answers={
        "one": right("crates/core/src/grant.rs compares them as equal"),
        "two": wrong("crates/core/src/grant.rs must tell them apart"),
    },
    judge=by_value("entries", {1: "one", 2: "two"}))
def empty_exclusions(run):
    database = run.database()
    run.table(database)
    run.grant(columns(database, ColumnWildcard={}), ["SELECT"])
    run.grant(columns(database, ColumnWildcard={"ExcludedColumnNames": []}), ["SELECT"])
    return {"entries": len(held(run, Resource=table_resource(database)))}


@question(
    "Q-16", "Do grants remain listed when their table is deleted?", needs=["test_role"],
    quirk="grants-outlive-tables",
    answers={
        "remain": right("they are revoked before a table is deleted: crates/core/src/plan/table.rs", quirk=True),
        "gone": right("revoking first is not needed", quirk=False),
    },
    judge=lambda e: {(True, True): "remain", (True, False): "gone"}.get((e["before"], e["after"])))
def grants_of_a_deleted_table(run):
    database = run.database()
    run.table(database)
    run.grant(table_resource(database), ["DESCRIBE"])
    before = bool(held_in(run, database))
    run.must(run.client("glue").delete_table, DatabaseName=database, Name="t")
    return {"before": before, "after": bool(held_in(run, database))}


@question(
    "LF-07", "Is CREATE_DATABASE listed after it was revoked?", needs=["test_role"], quirk="revoked-stays-listed",
    answers={
        "listed": right("a revoke that answers success counts: crates/engine/src/reconcile/session.rs", quirk=True),
        "gone": right("a listing is right at once; a single run does not prove it for always", quirk=False),
    },
    judge=lambda e: {(True, True): "listed", (True, False): "gone"}.get((e["before"], e["after"])))
def revoked_create_database(run):
    def is_listed():
        return any("CREATE_DATABASE" in permissions for resource, permissions in held(run) if "Catalog" in resource)
    if is_listed():
        raise NotRun("TEST_ROLE holds CREATE_DATABASE already, which is not this run's to revoke")
    request = {"Principal": {"DataLakePrincipalIdentifier": run.grantee()}, "Resource": {"Catalog": {}},
               "Permissions": ["CREATE_DATABASE"]}
    run.grant(request["Resource"], request["Permissions"])
    before = is_listed()
    run.must(run.client("lakeformation").revoke_permissions, **request)
    return {"before": before, "after": is_listed()}


@question(
    "LF-27", "Are a location with and without a final slash one registration?", needs=["location_role"],
    answers={
        "one": right("crates/core/src/location.rs compares them as equal"),
        "two": wrong("crates/core/src/location.rs must tell them apart"),
    },
    judge=by_code("again", {"AlreadyExistsException": "one", INVALID: "one", OK: "two"}))
def spelling_of_a_location(run):
    lf, arn = run.client("lakeformation"), f"arn:aws:s3:::{run.bucket()}/p"
    run.record("registration", arn)
    run.must(lf.register_resource, ResourceArn=arn, RoleArn=run.options.location_role)
    run.record("registration", arn + "/")
    done = run.attempt(lf.register_resource, ResourceArn=arn + "/", RoleArn=run.options.location_role)
    return {"again": {k: v for k, v in done.items() if k != "response"}}
