"""Questions about databases and tables of the Glue Data Catalog."""

from live.question import INVALID, NOT_FOUND, OK, by_code, by_value, question, right, wrong
from live.run import table_input

ICEBERG = {"table_type": "ICEBERG", "metadata_location": "s3://twinlake-live-no-bucket/m.json"}


def update(run, database, table, **more):
    return run.attempt(run.client("glue").update_table, DatabaseName=database, TableInput=table, **more)


def read(run, database, name="t"):
    return run.must(run.client("glue").get_table, DatabaseName=database, Name=name)["Table"]


@question(
    "GL-01", "Does an update of a table with Iceberg's parameters keep those that it leaves out?",
    answers={
        "lost": right("crates/core/src/catalog.rs always sends them"),
        "kept": right("nothing breaks; the rule in crates/core/src/catalog.rs is not needed"),
        "refused": right("crates/core/src/catalog.rs always sends them"),
    },
    judge=lambda e: {"ok": {0: "lost", 2: "kept"}.get(e["kept"]), INVALID: "refused"}.get(e["update"]["code"]))
def iceberg_parameters(run):
    database = run.database()
    run.table(database, Parameters=ICEBERG)
    done = update(run, database, table_input("t", Parameters={"k": "v"}))
    kept = ICEBERG.keys() & read(run, database).get("Parameters", {}).keys()
    return {"update": done, "kept": len(kept)}


@question(
    "GL-02", "How is a table read that was created without a list of partition keys?",
    answers={
        "absent": right("an empty list is sent: crates/aws/src/glue_convert.rs"),
        "empty": right("an empty list and a missing one are the same"),
        "refused": right("an empty list is always sent: crates/aws/src/glue_convert.rs"),
    },
    judge=lambda e: "refused" if e["create"]["code"] == INVALID else (
        {"missing": "absent", "empty": "empty"}[e["keys"]] if e["create"]["code"] == OK else None))
def no_partition_keys(run):
    database = run.database()
    done = run.attempt(run.client("glue").create_table, DatabaseName=database,
                       TableInput=table_input("t", PartitionKeys=None))
    if done["code"] != OK:
        return {"create": done}
    keys = read(run, database).get("PartitionKeys")
    return {"create": {"code": OK}, "keys": "missing" if keys is None else "empty" if keys == [] else "some"}


@question(
    "GL-03", "Is a table with a schema reference read with the schema's columns, and may a write have both?",
    answers={
        "columns-or-reference": right("the columns are written without the reference: crates/core/src/desired.rs"),
        "columns-and-reference": right("a write may have both; the columns alone are still right"),
        "no-columns": wrong("a copy would have no columns: crates/core/src/desired.rs must read the schema"),
    },
    judge=lambda e: "no-columns" if not e["columns"] else {
        INVALID: "columns-or-reference", OK: "columns-and-reference"}.get(e["both"]["code"]))
def schema_reference(run):
    glue, registry = run.client("glue"), run.name()
    run.record("registry", registry)
    run.must(glue.create_registry, RegistryName=registry)
    schema = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "int"}]}
    run.must(glue.create_schema, RegistryId={"RegistryName": registry}, SchemaName="s", DataFormat="AVRO",
             Compatibility="NONE", SchemaDefinition=str(schema).replace("'", '"'))
    reference = {"SchemaId": {"RegistryName": registry, "SchemaName": "s"}, "SchemaVersionNumber": 1}
    database = run.database()
    run.table(database, StorageDescriptor={"SchemaReference": reference})
    columns = read(run, database).get("StorageDescriptor", {}).get("Columns", [])
    both = update(run, database, table_input("t", StorageDescriptor={
        "SchemaReference": reference, "Columns": [{"Name": "id", "Type": "int"}]}))
    return {"columns": len(columns), "both": both}


@question(
    "GL-05", "In which case are the names of a database and a table kept?",
    answers={
        "lowered": right("names are compared in lower case: crates/core/src/name.rs"),
        "refused": right("names are compared in lower case: crates/core/src/name.rs"),
        "kept": wrong("two names may differ only by case: crates/core/src/name.rs must compare them as they are"),
    },
    judge=lambda e: "refused" if e.get("create", {}).get("code") == INVALID else {
        (True, True): "lowered", (False, False): "kept"}.get((e["database_is_lower"], e["table_is_lower"])))
def case_of_names(run):
    database = run.name() + "_Upper"
    run.record("database", database.lower())
    glue = run.client("glue")
    done = run.attempt(glue.create_database, DatabaseInput={"Name": database, "CreateTableDefaultPermissions": []})
    if done["code"] != OK:
        return {"create": done}
    run.table(database, "Upper")
    listed = run.listed(glue.get_tables, "TableList", DatabaseName=database)
    return {"database_is_lower": all(table["DatabaseName"].islower() for table in listed),
            "table_is_lower": all(table["Name"].islower() for table in listed)}


@question(
    "F-8", "May the name of a table have a dot and a slash?",
    answers={
        "accepted": right("such names are quoted and compared: crates/core/src/name.rs"),
        "refused": right("no such name can be met; crates/core/src/name.rs allows more than AWS"),
    },
    judge=by_code("create", {OK: "accepted", INVALID: "refused", "ValidationException": "refused"}))
def wide_names(run):
    database = run.database()
    done = run.attempt(run.client("glue").create_table, DatabaseName=database, TableInput=table_input("a.b/c"))
    return {"create": {**done, "response": None}}


@question(
    "F-9", "Is the case of a column kept, and may Lake Formation name the column in another case?",
    needs=["test_role"],
    answers={
        "kept-and-compared-without-case": right("crates/core/src/name.rs compares columns without case"),
        "lowered": right("crates/core/src/name.rs compares columns without case"),
        "kept-and-compared-with-case": wrong(
            "columns that differ by case are two columns of a grant: crates/core/src/name.rs must tell them apart"),
    },
    judge=lambda e: "lowered" if e["column"] == "id" else {
        OK: "kept-and-compared-without-case", INVALID: "kept-and-compared-with-case",
        NOT_FOUND: "kept-and-compared-with-case"}.get(e["grant"]["code"]))
def case_of_columns(run):
    database = run.database()
    run.table(database, StorageDescriptor={
        "Columns": [{"Name": "Id", "Type": "int"}], "Location": "s3://twinlake-live-no-bucket/t/", "SerdeInfo": {}})
    column = read(run, database)["StorageDescriptor"]["Columns"][0]["Name"]
    grant = run.grant({"TableWithColumns": {"DatabaseName": database, "Name": "t", "ColumnNames": ["id"]}},
                      ["SELECT"], attempt=True)
    return {"column": column, "grant": grant}


@question(
    "GL-13", "Does an update archive the old version unless SkipArchive is set?",
    answers={
        "archives-unless-skipped": right("crates/aws/src/region/write.rs sets SkipArchive"),
        "archives-never": right("SkipArchive is not needed"),
        "archives-always": wrong("versions count against a quota: crates/aws/src/region/write.rs must delete old ones"),
    },
    judge=lambda e: {(0, 1): "archives-unless-skipped", (0, 0): "archives-never", (1, 1): "archives-always"}.get(
        (e["skipped"], e["plain"])))
def archived_versions(run):
    glue, database = run.client("glue"), run.database()
    run.table(database)

    def versions():
        return len(run.listed(glue.get_table_versions, "TableVersions", DatabaseName=database, TableName="t"))

    def added(text, **more):
        before = versions()
        run.must(glue.update_table, DatabaseName=database, TableInput=table_input("t", Description=text), **more)
        return versions() - before
    return {"skipped": added("1", SkipArchive=True), "plain": added("2")}


@question(
    "Q-13", "Is an update with an old VersionId refused?",
    answers={
        "refused": right("VersionId works as an optimistic lock: crates/core/src/step.rs. Whether it holds against a "
                         "writer at the same moment is not asked"),
        "accepted": right("VersionId is no lock; safety does not rest on it"),
    },
    judge=by_code("stale", {OK: "accepted", "ConcurrentModificationException": "refused",
                            "VersionMismatchException": "refused", INVALID: "refused"}))
def stale_version(run):
    database = run.database()
    run.table(database)
    version = read(run, database).get("VersionId", "0")
    run.must(run.client("glue").update_table, DatabaseName=database, TableInput=table_input("t", Description="1"),
             VersionId=version)
    return {"stale": update(run, database, table_input("t", Description="2"), VersionId=version)}


@question(
    "Q-14", "Does an update clear the fields that it leaves out?",
    answers={
        "cleared": right("the whole input is always sent: crates/core/src/step.rs"),
        "kept": wrong("a field that the primary no longer has would stay: crates/aws/src/glue_convert.rs must send it "
                      "empty"),
    },
    judge=by_value("left", {(): "cleared", ("Description", "Owner", "Parameters"): "kept"}))
def cleared_fields(run):
    database = run.database()
    run.table(database, Description="d", Owner="o", Parameters={"k": "v"})
    run.must(run.client("glue").update_table, DatabaseName=database, TableInput=table_input("t"))
    table = read(run, database)
    left = [f for f in ("Description", "Owner") if table.get(f)]
    return {"left": left + (["Parameters"] if "k" in table.get("Parameters", {}) else [])}


@question(
    "D-2", "What does an administrator receive for a table that does not exist?",
    answers={
        "not-found": right("documented; crates/engine/src/heartbeat.rs creates its table"),
        "denied": right("crates/engine/src/heartbeat.rs creates its table on this answer too; an absence is proven "
                        "another way: docs/guarantees.md"),
    },
    judge=lambda e: {(NOT_FOUND, NOT_FOUND): "not-found"}.get(
        (e["get"]["code"], e["update"]["code"]),
        "denied" if {e["get"]["code"], e["update"]["code"]} <= {NOT_FOUND, "AccessDeniedException"} else None))
def missing_table(run):
    glue, database = run.client("glue"), run.database()
    return {"get": run.attempt(glue.get_table, DatabaseName=database, Name="missing"),
            "update": update(run, database, table_input("missing"))}


@question(
    "F-16", "Are the tables of a database gone once DeleteDatabase has returned?",
    answers={
        "gone-at-once": right("crates/core/src/plan/database.rs deletes the content first"),
        "gone-later": right("crates/core/src/plan/database.rs deletes the content first"),
        "refused": right("crates/core/src/plan/database.rs deletes the content first"),
    },
    judge=lambda e: "refused" if e["delete"]["code"] == INVALID else (
        {NOT_FOUND: "gone-at-once", OK: "gone-later"}.get(e["read"]["code"]) if e["delete"]["code"] == OK else None))
def deleted_database(run):
    glue, database = run.client("glue"), run.database()
    run.table(database)
    done = run.attempt(glue.delete_database, Name=database)
    found = run.attempt(glue.get_table, DatabaseName=database, Name="t")
    return {"delete": done, "read": {"code": found["code"]}}
