"""Questions about data cells filters."""

from live.question import INVALID, NOT_FOUND, OK, by_code, question, right


def make(run, database, name="f", **fields):
    data = {"TableCatalogId": run.account, "DatabaseName": database, "TableName": "t", "Name": name,
            "RowFilter": {"AllRowsWildcard": {}}, "ColumnNames": ["c1"], **fields}
    run.record("filter", f"{database}.t.{name}", request={
        "TableCatalogId": run.account, "DatabaseName": database, "TableName": "t", "Name": name})
    return run.attempt(run.client("lakeformation").create_data_cells_filter, TableData=data), data


def listed(run, database):
    return run.listed(run.client("lakeformation").list_data_cells_filter, "DataCellsFilters", Table={
        "CatalogId": run.account, "DatabaseName": database, "Name": "t"})


@question(
    "LF-26", "Is a data cells filter listed at once after its creation?", quirk="filters-take-their-time",
    answers={
        "at-once": right("crates/aws/src/region/lakeformation/data_cells_filters.rs reads it at once", quirk=False),
        "later": right("a filter that is not yet listed is read again: crates/engine/src/reconcile", quirk=True),
    },
    judge=lambda e: {(OK, 1): "at-once", (OK, 0): "later"}.get((e["create"]["code"], e["listed"])))
def new_filter(run):
    database = run.database()
    run.table(database)
    done, _ = make(run, database)
    return {"create": {"code": done["code"]}, "listed": len(listed(run, database))}


@question(
    "LF-26-version", "Must an update of a data cells filter name its version?", entry="LF-26", minutes=3,
    answers={
        "must": right("crates/aws/src/region/lakeformation/data_cells_filters.rs sends it"),
        "may": right("crates/aws/src/region/lakeformation/data_cells_filters.rs sends it; an old one is refused"),
        "ignored": right("the version is no lock; safety does not rest on it"),
    },
    judge=lambda e: {(False, False): "must", (True, False): "may", (True, True): "ignored"}.get(
        (e["without"]["code"] == OK, e["old"]["code"] == OK)) if {e["without"]["code"], e["old"]["code"]} <= {
            OK, INVALID, "ConcurrentModificationException"} else None)
def version_of_a_filter(run):
    database, lf = run.database(), run.client("lakeformation")
    run.table(database)
    _, data = make(run, database)
    found = run.wait(lambda: listed(run, database), 150) or [{}]
    version = found[0].get("VersionId", "0")
    run.attempt(lf.update_data_cells_filter, TableData={**data, "ColumnNames": ["c2"], "VersionId": version})
    update = {**data, "ColumnNames": ["c1", "c2"]}
    return {"old": run.attempt(lf.update_data_cells_filter, TableData={**update, "VersionId": version}),
            "without": run.attempt(lf.update_data_cells_filter, TableData=update)}


@question(
    "F-6", "May a filter name a nested column as \"c\".\"zip\"?",
    answers={
        "accepted": right("crates/core/src/catalog/lakeformation.rs keeps such names"),
        "refused": right("such a name cannot be met"),
    },
    judge=by_code("create", {OK: "accepted", INVALID: "refused", NOT_FOUND: "refused"}))
def nested_column(run):
    database = run.database()
    run.table(database, StorageDescriptor={
        "Columns": [{"Name": "c", "Type": "struct<zip:string,city:string>"}, {"Name": "c1", "Type": "int"}],
        "Location": "s3://twinlake-live-no-bucket/t/", "SerdeInfo": {}})
    done, _ = make(run, database, ColumnNames=['"c"."zip"'])
    return {"create": done}
