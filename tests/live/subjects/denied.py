"""Questions about callers without permissions. TEST_ROLE needs IAM rights to read Glue and Lake Formation, and no
permission in Lake Formation; it must be one that the caller may assume."""

from live.question import DENIED, INVALID, NOT_FOUND, OK, NotRun, question, right, wrong
from live.run import table_input
from live.subjects import data_cells_filters
from live.subjects.grants import columns, table_resource

NEEDS = ["test_role"]


def refuse_iam_denials(done):
    """Raises NotRun if it was IAM that denied the call, and not Lake Formation."""
    message = done.get("message", "")
    if done["code"] in DENIED and "is not authorized to perform" in message and "Lake Formation" not in message:
        raise NotRun(f"TEST_ROLE lacks an IAM right: {message}")
    return done


def ask_as_role(run, service, call, **parameters):
    client = run.client(service, as_role=True)
    return refuse_iam_denials(run.attempt(getattr(client, call), may_be_denied=True, **parameters))


def code_of(done):
    return "denied" if done["code"] in DENIED else done["code"]


@question(
    "Q-35", "What does a read of a table answer to a caller without permissions on it?", needs=NEEDS,
    quirk="lost-rights-look-absent",
    answers={
        "not-found": right("\"not found\" alone proves nothing: crates/core/src/snapshot.rs", quirk=True),
        "denied": right("the code is right under both; \"not found\" is then better evidence", quirk=False),
        "shown": right("catalog objects are visible without permissions", quirk=False),
    },
    judge=lambda e: {(NOT_FOUND, 0): "not-found", ("denied", 0): "denied", (OK, 1): "shown"}.get(
        (code_of(e["get"]), e["listed"])))
def read_without_permissions(run):
    database = run.database()
    run.table(database)
    get = ask_as_role(run, "glue", "get_table", DatabaseName=database, Name="t")
    all_tables = ask_as_role(run, "glue", "get_tables", DatabaseName=database)
    return {"get": {"code": get["code"]}, "listed": len(all_tables.get("response", {}).get("TableList", []))}


def others_in(entries, run):
    """The roles and users of a listing, without TEST_ROLE. Groups are left out: TEST_ROLE may belong to them."""
    principals = {entry["Principal"]["DataLakePrincipalIdentifier"] for entry in entries}
    return {principal for principal in principals if ":iam:" in principal} - {run.grantee()}


@question(
    "Q-35-listing", "Which grants does ListPermissions show to a caller who is no administrator?", entry="Q-35",
    needs=NEEDS, quirk="others-list-their-own",
    answers={
        "own": right("absence from a listing is proof only for administrators: crates/core/src/snapshot.rs",
                     quirk=True),
        "all": right("a listing is complete for each caller", quirk=False),
        "denied": right("a denied listing is unknown", quirk=False),
    },
    judge=lambda e: "denied" if code_of(e["list"]) == "denied" else {
        (True, False): "own", (True, True): "all"}.get((e["own"], e["of_others"])))
def listing_without_permissions(run):
    database = run.database()
    run.table(database)
    run.grant(table_resource(database), ["DESCRIBE"])
    if not others_in(run.listed(
            run.client("lakeformation").list_permissions, "PrincipalResourcePermissions", ResourceType="TABLE"), run):
        raise NotRun("no other role or user has a grant on a table")
    done = ask_as_role(run, "lakeformation", "list_permissions", ResourceType="TABLE")
    entries, token = [], None
    while done["code"] == OK:
        entries += done["response"]["PrincipalResourcePermissions"]
        token = done["response"].get("NextToken")
        if not token:
            break
        done = ask_as_role(run, "lakeformation", "list_permissions", ResourceType="TABLE", NextToken=token)
    return {"list": {"code": done["code"]}, "of_others": bool(others_in(entries, run)), "own": any(
        entry["Principal"]["DataLakePrincipalIdentifier"] == run.grantee() for entry in entries)}


@question(
    "D-2-denied", "What does a caller without permissions receive for a table that does not exist?", entry="D-2",
    needs=NEEDS,
    answers={
        "not-found": right("crates/engine/src/heartbeat.rs creates its table on either"),
        "denied": right("crates/engine/src/heartbeat.rs creates its table on either"),
    },
    judge=lambda e: {NOT_FOUND: "not-found", "denied": "denied"}.get(code_of(e["get"])))
def missing_table_without_permissions(run):
    return {"get": ask_as_role(run, "glue", "get_table", DatabaseName=run.database(), Name="missing")}


@question(
    "F-3", "May a caller without SELECT list the data cells filters of a table?", needs=NEEDS,
    answers={
        "denied": right("the functions' roles are administrators: crates/engine/src/own_access.rs"),
        "empty": right("an empty list proves nothing to a caller who is no administrator: crates/core/src/snapshot.rs"),
        "listed": right("reading needs no permission"),
    },
    judge=lambda e: {("denied", 0): "denied", (OK, 0): "empty", (OK, 1): "listed", (INVALID, 0): "denied",
                     (NOT_FOUND, 0): "denied"}.get((code_of(e["list"]), e["listed"])))
def filters_without_permissions(run):
    database = run.database()
    run.table(database)
    data_cells_filters.make(run, database)
    run.wait(lambda: data_cells_filters.listed(run, database), 150)
    done = ask_as_role(run, "lakeformation", "list_data_cells_filter", Table={
        "CatalogId": run.account, "DatabaseName": database, "Name": "t"})
    return {"list": {"code": done["code"]},
            "listed": len(done.get("response", {}).get("DataCellsFilters", []))}


@question(
    "F-13", "Which columns of a table does a reader see who has SELECT on one?", needs=NEEDS,
    answers={
        "granted": right("a table with hidden columns is not replicated: crates/core/src/plan/column_visibility.rs"),
        "all": right("columns are not hidden"),
        "refused": right("such a read fails and is unknown"),
    },
    judge=lambda e: "refused" if code_of(e["get"]) in ("denied", NOT_FOUND) else {
        ("c1",): "granted", ("c1", "c2"): "all"}.get(tuple(e["columns"])))
def columns_of_a_reader(run):
    database = run.database()
    run.table(database)
    run.grant(columns(database, ColumnNames=["c1"]), ["SELECT"])
    done = ask_as_role(run, "glue", "get_table", DatabaseName=database, Name="t")
    table = done.get("response", {}).get("Table", {})
    return {"get": {"code": done["code"]}, "columns": sorted(
        column["Name"] for column in table.get("StorageDescriptor", {}).get("Columns", []))}


@question(
    "F-14", "May an administrator alter and drop a table that another role created?", needs=NEEDS,
    answers={
        "refused": right("`bootstrap` grants both to the writing roles: crates/core/src/plan/writer_roles.rs"),
        "allowed": right("these grants are not needed"),
        "only-one": wrong("see the evidence; crates/core/src/plan/writer_roles.rs grants both"),
    },
    judge=lambda e: {("denied", "denied"): "refused", (OK, OK): "allowed", ("denied", OK): "only-one",
                     (OK, "denied"): "only-one"}.get((code_of(e["alter"]), code_of(e["drop"]))))
def table_of_another_role(run):
    database, glue = run.database(), run.client("glue")
    run.grant({"Database": {"Name": database}}, ["CREATE_TABLE", "DESCRIBE"])
    made = ask_as_role(run, "glue", "create_table", DatabaseName=database, TableInput=table_input("t"))
    if made["code"] != OK:
        raise NotRun(f"TEST_ROLE could not create a table: {made['message']}")
    alter = refuse_iam_denials(run.attempt(
        glue.update_table, may_be_denied=True, DatabaseName=database, TableInput=table_input("t", Description="d")))
    drop = refuse_iam_denials(run.attempt(
        glue.delete_table, may_be_denied=True, DatabaseName=database, Name="t"))
    # Its creator may drop it, so that nothing is left that the caller may not remove.
    ask_as_role(run, "glue", "delete_table", DatabaseName=database, Name="t")
    return {step: {k: v for k, v in done.items() if k != "response"}
            for step, done in (("alter", alter), ("drop", drop))}


@question(
    "F-17", "With which code does Glue deny a call, and is it modelled for the call?", needs=NEEDS,
    answers={
        "not-modelled": right("it is told by its code: crates/aws/src/call_error.rs"),
        "modelled": right("it is told by its code: crates/aws/src/call_error.rs"),
    },
    judge=lambda e: {("denied", True): "modelled", ("denied", False): "not-modelled"}.get(
        (code_of(e["create"]), e["is_modelled"])))
def code_of_a_denial(run):
    database = run.database()
    done = ask_as_role(run, "glue", "create_table", DatabaseName=database, TableInput=table_input("t"))
    model = run.client("glue").meta.service_model.operation_model("CreateTable")
    return {"create": {k: v for k, v in done.items() if k != "response"},
            "is_modelled": done["code"] in {shape.name for shape in model.error_shapes}}
