"""Questions about resource links and Data Catalog views."""

from live.question import INVALID, OK, NotRun, by_value, question, right, wrong
from live.run import table_input
from live.subjects.glue import read, update


def link_to_table(run):
    """Makes a table and a link to it. Returns the target's database and the link's."""
    target, database = run.database(), run.database()
    run.table(target, Description="of the target")
    run.must(run.client("glue").create_table, DatabaseName=database, TableInput={
        "Name": "link", "TargetTable": {"CatalogId": run.account, "DatabaseName": target, "Name": "t"}})
    return target, database


@question(
    "GL-12", "Does a read of a resource link return the fields of its target?", quirk="links-show-their-target",
    answers={
        "target-fields": right("crates/core/src/catalog/link.rs recognises links first", quirk=True),
        "own-fields": right("crates/core/src/catalog/link.rs needs only the fields of the link", quirk=False),
    },
    judge=by_value("has_columns", {True: "target-fields", False: "own-fields"}))
def fields_of_a_link(run):
    _, database = link_to_table(run)
    table = read(run, database, "link")
    return {"has_columns": bool(table.get("StorageDescriptor", {}).get("Columns")),
            "has_target": bool(table.get("TargetTable"))}


@question(
    "GL-12-update", "Does an update of a resource link write its target?", entry="GL-12",
    answers={
        "writes-target": right("links are created and deleted, never updated: crates/core/src/catalog/link.rs"),
        "writes-link": right("links are created and deleted, never updated: crates/core/src/catalog/link.rs"),
        "refused": right("links are created and deleted, never updated: crates/core/src/catalog/link.rs"),
    },
    judge=lambda e: {("ok", True): "writes-target", ("ok", False): "writes-link", (INVALID, False): "refused"}.get(
        (e["update"]["code"], e["target_changed"])))
def update_of_a_link(run):
    target, database = link_to_table(run)
    done = update(run, database, table_input("link", Description="through the link"))
    return {"update": done, "target_changed": read(run, target).get("Description") == "through the link"}


@question(
    "GL-12-create", "Where is a table created whose database is a resource link?", entry="GL-12",
    answers={
        "in-target": right("nothing is created in a link database: crates/engine/src/reconcile/safeguards.rs"),
        "in-link": wrong("a link database may have tables of its own: they are not replicated"),
        "refused": right("nothing is created in a link database: crates/engine/src/reconcile/safeguards.rs"),
    },
    judge=lambda e: {("ok", True): "in-target", ("ok", False): "in-link", (INVALID, False): "refused",
                     ("AccessDeniedException", False): "refused"}.get((e["create"]["code"], e["in_target"])))
def table_in_a_link_database(run):
    glue, target, link = run.client("glue"), run.database(), run.name()
    run.record("database", link)
    run.must(glue.create_database, DatabaseInput={
        "Name": link, "TargetDatabase": {"CatalogId": run.account, "DatabaseName": target}})
    done = run.attempt(glue.create_table, DatabaseName=link, TableInput=table_input("t"))
    found = run.attempt(glue.get_table, DatabaseName=target, Name="t")
    return {"create": done, "in_target": found["code"] == OK}


@question(
    "LF-24", "May SELECT be granted on a resource link?", needs=["test_role"],
    answers={
        "refused": right("only DESCRIBE and DROP are granted on links: crates/aws/src/region/write.rs"),
        "accepted-on-link": wrong("links may have more grants than crates/aws/src/region/write.rs writes"),
        "accepted-on-target": wrong("a grant on a link opens its target: crates/engine/src/observe/grants.rs must read "
                                    "it there"),
    },
    judge=lambda e: "refused" if e["grant"]["code"] == INVALID else {
        (True, False): "accepted-on-link", (False, True): "accepted-on-target"}.get((e["on_link"], e["on_target"])))
def grant_on_a_link(run):
    target, database = link_to_table(run)
    done = run.grant({"Table": {"DatabaseName": database, "Name": "link"}}, ["SELECT"], attempt=True)
    if done["code"] != OK:
        return {"grant": done}

    def is_granted(where, name):
        listed = run.listed(run.client("lakeformation").list_permissions, "PrincipalResourcePermissions",
                            Resource={"Table": {"DatabaseName": where, "Name": name}})
        return any("SELECT" in one["Permissions"] for one in listed
                   if one["Principal"]["DataLakePrincipalIdentifier"] == run.grantee())
    return {"grant": {"code": OK}, "on_link": is_granted(database, "link"), "on_target": is_granted(target, "t")}


@question(
    "GL-04", "What does GetPartitionIndexes answer for a multi-dialect view that exists?", writes=False,
    answers={
        "operation-not-supported": right("crates/aws/src/call_error.rs classifies it as unsupported"),
        "empty": right("such a view has no indexes"),
    },
    judge=lambda e: {OK: "empty"}.get(e["indexes"]["code"]) or (
        "operation-not-supported" if e["indexes"]["code"] == INVALID and "not supported" in e["indexes"]["message"]
        else None))
def indexes_of_a_view(run):
    glue = run.client("glue")
    for database in run.listed(glue.get_databases, "DatabaseList")[:50]:
        if database.get("TargetDatabase"):
            continue
        for table in run.listed(glue.get_tables, "TableList", DatabaseName=database["Name"]):
            if table.get("IsMultiDialectView") or table.get("ViewDefinition"):
                return {"indexes": run.attempt(
                    glue.get_partition_indexes, DatabaseName=database["Name"], TableName=table["Name"])}
    raise NotRun("no multi-dialect view exists in the first 50 databases of the primary")


@question(
    "F-4", "May the input of a view of the ATHENA dialect have a storage descriptor?", needs=["definer_role"],
    quirk="views-are-validated",
    answers={
        "refused": right("crates/core/src/catalog/view.rs sends none", quirk=True),
        "accepted": right("crates/core/src/catalog/view.rs sends none, which is accepted too", quirk=False),
    },
    judge=lambda e: {OK: "accepted"}.get(e["create"]["code"]) or (
        "refused" if e["create"]["code"] == INVALID and "storage descriptor" in e["create"]["message"].lower()
        else None))
def storage_of_a_view(run):
    database = run.database()
    run.table(database)
    return {"create": run.attempt(run.client("glue").create_table, DatabaseName=database, TableInput={
        "Name": "v", "TableType": "VIRTUAL_VIEW", "PartitionKeys": [],
        "StorageDescriptor": {"Columns": [{"Name": "c1", "Type": "int"}]},
        "ViewDefinition": {
            "IsProtected": True, "Definer": run.options.definer_role,
            "SubObjects": [f"arn:aws:glue:{run.region}:{run.account}:table/{database}/t"],
            "Representations": [{"Dialect": "ATHENA", "DialectVersion": "3",
                                 "ViewOriginalText": f'SELECT c1 FROM "{database}"."t"'}]}})}
