"""Questions about the listings of Lake Formation: ListPermissions and ListResources."""

import re

from live.question import INVALID, OK, NotRun, by_code, by_value, question, right, wrong
from live.subjects.grants import columns, held, table_resource

# Entries of a listing that questions about what exists already look at, at most.
SAMPLE = 5000
KNOWN_PRINCIPALS = re.compile(
    r"arn:aws[\w-]*:(iam|sts|identitystore|quicksight|organizations):.*|\d{12}|IAM_ALLOWED_PRINCIPALS|"
    r"\d{12}:IAMPrincipals|IAM_ALLOWED_PRINCIPALS_IN_ORG|EVERYONE|ALLIAMPRINCIPALS")


def sign(number):
    return (number > 0) - (number < 0)


def sample(run, **request):
    """The first entries of a listing of what exists already. Raises NotRun if there is none."""
    call, entries = run.client("lakeformation").list_permissions, []
    while len(entries) < SAMPLE:
        response = run.must(call, **request)
        entries += response["PrincipalResourcePermissions"]
        if not response.get("NextToken"):
            break
        request["NextToken"] = response["NextToken"]
    if not entries:
        raise NotRun("the listing shows no grant to look at")
    return entries


def granted_table(run, permissions, resource=None):
    """Makes a table with a grant, and returns its database."""
    database = run.database()
    run.table(database)
    run.grant((resource or table_resource)(database), permissions)
    return database


@question(
    "LF-01", "Is SELECT on a table listed apart from the other permissions?", needs=["test_role"],
    quirk="select-lists-apart",
    answers={
        "apart": right("crates/core/src/grant.rs normalizes both forms", quirk=True),
        "with-the-table": right("crates/core/src/grant.rs normalizes both forms", quirk=False),
    },
    judge=by_value("select_on", {("TableWithColumns",): "apart", ("Table",): "with-the-table"}))
def select_on_a_table(run):
    database = granted_table(run, ["SELECT", "DESCRIBE"])
    entries = held(run, Resource=table_resource(database))
    return {"entries": len(entries), "select_on": sorted(
        {next(iter(resource)) for resource, permissions in entries if "SELECT" in permissions})}


@question(
    "LF-02", "How is a grant on all tables of a database listed?", needs=["test_role"], quirk="wildcard-lists-by-name",
    answers={
        "by-name": right("crates/core/src/grant/entry.rs reads ALL_TABLES as the wildcard", quirk=True),
        "by-wildcard": right("crates/core/src/grant/entry.rs reads TableWildcard", quirk=False),
    },
    judge=by_value("names", {("ALL_TABLES",): "by-name", ("",): "by-wildcard"}))
def all_tables(run):
    database = run.database()
    wildcard = {"Table": {"DatabaseName": database, "TableWildcard": {}}}
    run.grant(wildcard, ["DESCRIBE"])
    return {"names": sorted({resource["Table"].get("Name", "") for resource, _ in held(run, Resource=wildcard)})}


@question(
    "LF-03", "Does ListPermissions take a filter by columns?", needs=["test_role"],
    answers={
        "refused": right("column grants are listed with their table: crates/engine/src/ports/lakeformation.rs"),
        "accepted": right("column grants are listed with their table, too"),
    },
    judge=by_code("list", {INVALID: "refused", "ValidationException": "refused", OK: "accepted"}))
def filter_by_columns(run):
    database = run.database()
    run.table(database)
    run.grant(columns(database, ColumnNames=["c1"]), ["SELECT"])
    done = run.attempt(run.client("lakeformation").list_permissions, Resource=columns(database, ColumnNames=["c1"]))
    return {"list": {k: v for k, v in done.items() if k != "response"}}


@question(
    "LF-05", "Does a listing by principal and table show what follows from a grant on all tables?", needs=["test_role"],
    answers={
        "computed": right("no listing names a principal: crates/engine/src/ports/lakeformation.rs"),
        "explicit": right("no listing names a principal: crates/engine/src/ports/lakeformation.rs"),
    },
    judge=by_value("is_listed", {True: "computed", False: "explicit"}))
def listing_by_principal_and_table(run):
    database = granted_table(run, ["SELECT"], lambda d: {"Table": {"DatabaseName": d, "TableWildcard": {}}})
    entries = held(run, Principal={"DataLakePrincipalIdentifier": run.grantee()}, Resource=table_resource(database))
    return {"is_listed": any("SELECT" in permissions for _, permissions in entries)}


@question(
    "Q-18", "Does a listing by table, without a principal, show what follows from a grant on all tables?",
    needs=["test_role"],
    answers={
        "explicit": right("crates/core/src/snapshot.rs assumes it"),
        "computed": wrong("crates/engine/src/observe/grants.rs would take computed permissions for grants, and grant "
                          "them in the standby"),
    },
    judge=lambda e: {(True, False): "explicit", (True, True): "computed"}.get((e["by_wildcard"], e["by_table"])))
def listing_by_table(run):
    database = run.database()
    run.table(database)
    wildcard = {"Table": {"DatabaseName": database, "TableWildcard": {}}}
    run.grant(wildcard, ["DESCRIBE"])
    run.grant(table_resource(database), ["DROP"])
    by_table = held(run, Resource=table_resource(database))
    return {"by_wildcard": bool(held(run, Resource=wildcard)),
            "by_table": any("DESCRIBE" in permissions and resource.get("Table", {}).get("Name") == "t"
                            for resource, permissions in by_table)}


@question(
    "LF-06", "Are the implicit permissions of a table's creator listed?", quirk="creator-holds-all",
    answers={
        "listed": right("crates/core/src/plan.rs leaves grants of creators and administrators out", quirk=True),
        "not-listed": right("nothing is to be left out", quirk=False),
    },
    judge=by_value("permissions", {("ALL",): "listed", (): "not-listed", (
        "ALL", "ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT", "SELECT"): "listed", (
        "ALL", "ALTER", "DELETE", "DESCRIBE", "DROP", "INSERT"): "listed", ("ALL", "SELECT"): "listed"}))
def creator_of_a_table(run):
    database = run.database()
    run.table(database)
    entries = held(run, run.caller(), Resource=table_resource(database))
    return {"permissions": sorted({one for _, permissions in entries for one in permissions})}


@question(
    "Q-26", "How is a grant of ALL on a table listed?", needs=["test_role"],
    answers={
        "literal": right("crates/core/src/grant/permission.rs compares it literally"),
        "expanded": wrong("ALL never equals its listing, and `conflict` is raised: "
                          "crates/core/src/grant/permission.rs must expand it"),
    },
    judge=lambda e: "literal" if e["permissions"] == ["ALL"] else "expanded" if {"ALTER", "DROP"} <= set(
        e["permissions"]) else None)
def all_on_a_table(run):
    database = granted_table(run, ["ALL"])
    entries = held(run, Resource=table_resource(database))
    return {"permissions": sorted({one for _, permissions in entries for one in permissions})}


@question(
    "Q-19", "Does a listing without a filter have the grants on LF-Tags?", needs=["test_role"],
    quirk="unfiltered-leaves-out",
    answers={
        "left-out": right("a listing by each type is read too: crates/engine/src/observe/prefetch.rs", quirk=True),
        "covered": right("the listings by type are not needed: crates/engine/src/observe/prefetch.rs", quirk=False),
    },
    judge=lambda e: {(True, False): "left-out", (True, True): "covered"}.get((e["by_type"], e["unfiltered"])))
def types_of_a_listing(run):
    key = run.lf_tag()
    run.grant({"LFTag": {"TagKey": key, "TagValues": ["a"]}}, ["DESCRIBE"])

    def is_listed(**request):
        return any(resource.get("LFTag", {}).get("TagKey") == key for resource, _ in held(run, **request))
    return {"by_type": is_listed(ResourceType="LF_TAG"), "unfiltered": is_listed()}


@question(
    "D-5", "Does a listing of the type TABLE differ with IncludeRelated?", writes=False,
    answers={
        "same": right("crates/aws/src/region.rs reads both; the second is not needed"),
        "without-has-more": right("crates/aws/src/region.rs reads both"),
        "with-has-more": right("crates/aws/src/region.rs reads both"),
        "refused": right("crates/aws/src/region.rs has to read only the listing without it"),
    },
    judge=lambda e: "refused" if e["with"]["code"] == INVALID else {
        0: "same", 1: "without-has-more", -1: "with-has-more"}[sign(e["plain"] - e["with"]["count"])])
def include_related(run):
    plain = len(sample(run, ResourceType="TABLE"))
    first = run.attempt(run.client("lakeformation").list_permissions, ResourceType="TABLE", IncludeRelated="TRUE")
    if first["code"] != OK:
        return {"plain": plain, "with": first}
    listed = run.listed(run.client("lakeformation").list_permissions, "PrincipalResourcePermissions",
                        ResourceType="TABLE", IncludeRelated="TRUE")
    return {"plain": plain, "with": {"code": OK, "count": len(listed)}}


@question(
    "LF-04", "Does a listing of one principal show all grants that the whole listing shows of it?", writes=False,
    answers={
        "complete": right("no listing names a principal: crates/engine/src/ports/lakeformation.rs"),
        "omits": right("no listing names a principal: crates/engine/src/ports/lakeformation.rs"),
        "refused": right("no listing names a principal: crates/engine/src/ports/lakeformation.rs"),
    },
    judge=lambda e: "refused" if e.get("code") == INVALID else {True: "omits", False: "complete"}[e["omitted"] > 0]
    if e["principals"] else None)
def listing_by_principal(run):
    counts = {}
    for entry in sample(run):
        principal = entry["Principal"]["DataLakePrincipalIdentifier"]
        counts[principal] = counts.get(principal, 0) + len(entry["Permissions"])
    call, omitted = run.client("lakeformation").list_permissions, 0
    for principal, count in sorted(counts.items())[:10]:
        request = {"Principal": {"DataLakePrincipalIdentifier": principal}}
        first = run.attempt(call, **request)
        if first["code"] != OK:
            return {"principals": len(counts), **first}
        listed = run.listed(call, "PrincipalResourcePermissions", **request)
        omitted += max(0, count - sum(len(one["Permissions"]) for one in listed))
    return {"principals": min(10, len(counts)), "omitted": omitted}


@question(
    "LF-09", "Has an entry of ListPermissions an id?", writes=False,
    answers={
        "no": right("a grant is its principal, resource and permission: crates/core/src/grant.rs"),
        "yes": right("crates/core/src/grant.rs may use it"),
    },
    judge=lambda e: {(True, False): "no", (True, True): "yes"}.get(
        ("Principal" in e["fields"], any(field.lower().endswith("id") for field in e["fields"]))))
def fields_of_an_entry(run):
    return {"fields": sorted({field for entry in sample(run) for field in entry})}


@question(
    "LF-20", "Are permissions listed that the service model lacks?", writes=False,
    answers={
        "only-modelled": right("crates/core/src/grant/permission.rs keeps others as text"),
        "others": right("crates/core/src/grant/permission.rs keeps them as text; compare the list with its own"),
    },
    judge=lambda e: {True: "others", False: "only-modelled"}[e["others"] > []])
def listed_permissions(run):
    model = run.client("lakeformation").meta.service_model.shape_for("Permission").enum
    return {"others": sorted({p for entry in sample(run) for p in entry["Permissions"]} - set(model))}


@question(
    "LF-21", "Which forms do principals have in the listing?", writes=False,
    answers={
        "known": right("crates/core/src/grant/principal.rs reads them"),
        "known-and-bare-ids": right("bare ids are deleted principals: crates/core/src/grant/principal.rs"),
    },
    judge=lambda e: None if e["unknown"] else {True: "known-and-bare-ids", False: "known"}[e["bare_ids"] > 0])
def listed_principals(run):
    principals = {entry["Principal"]["DataLakePrincipalIdentifier"] for entry in sample(run)}
    others = [p for p in principals if not KNOWN_PRINCIPALS.fullmatch(p)]
    bare = [p for p in others if re.fullmatch(r"A[A-Z0-9]{15,127}", p)]
    return {"principals": len(principals), "bare_ids": len(bare), "unknown": len(others) - len(bare)}


@question(
    "Q-29", "May data cells filters be listed without a table?", writes=False,
    answers={
        "listed": right("crates/aws/src/region/lakeformation/data_cells_filters.rs may list them all at once"),
        "refused": right("crates/aws/src/region/lakeformation/data_cells_filters.rs lists them by table"),
    },
    judge=by_code("list", {OK: "listed", INVALID: "refused", "AccessDeniedException": "refused"}))
def filters_without_a_table(run):
    done = run.attempt(run.client("lakeformation").list_data_cells_filter)
    filters = done.get("response", {}).get("DataCellsFilters")
    if filters == []:
        raise NotRun("the primary has no data cells filter, so an empty list proves nothing")
    return {"list": {k: v for k, v in done.items() if k != "response"}}


@question(
    "Q-30", "Does the ARN of the role tell a location that is registered with the service-linked role?", writes=False,
    answers={
        "by-path": right("crates/core/src/catalog/lakeformation.rs looks at the path"),
        "absent": wrong("a location of the service-linked role has no role in the listing: "
                        "crates/aws/src/lakeformation_convert.rs"),
    },
    judge=lambda e: "absent" if e["without_role"] > 0 else "by-path" if e["service_linked"] > 0 else None)
def service_linked_registrations(run):
    listed = run.listed(run.client("lakeformation").list_resources, "ResourceInfoList")
    roles = [one.get("RoleArn", "") for one in listed]
    linked = sum(":role/aws-service-role/lakeformation.amazonaws.com/" in role for role in roles)
    if not linked and all(roles):
        raise NotRun("no location is registered with the service-linked role")
    return {"service_linked": linked, "without_role": sum(not role for role in roles)}
