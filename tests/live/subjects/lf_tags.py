"""Questions about LF-Tags, their expressions and their assignments."""

from live.question import INVALID, OK, by_code, by_value, question, right, wrong


def without_response(done):
    return {key: value for key, value in done.items() if key != "response"}


def assign(run, resource, key, value):
    return run.must(run.client("lakeformation").add_lf_tags_to_resource, Resource=resource,
                    LFTags=[{"TagKey": key, "TagValues": [value]}])


@question(
    "F-1", "What does the creation of an LF-Tag answer whose key exists?", quirk="duplicate-lf-tag-is-invalid",
    answers={
        "already-exists": right("crates/aws/src/region/lakeformation/lf_tags.rs then updates it", quirk=False),
        "invalid-input": right("crates/aws/src/region/lakeformation/lf_tags.rs tries the update once", quirk=True),
        "accepted": wrong("a creation may overwrite: crates/aws/src/region/lakeformation/lf_tags.rs must read first"),
    },
    judge=by_code("again", {"AlreadyExistsException": "already-exists", INVALID: "invalid-input", OK: "accepted"}))
def duplicate_tag(run):
    key = run.lf_tag()
    return {"again": run.attempt(run.client("lakeformation").create_lf_tag, TagKey=key, TagValues=["a", "b"])}


@question(
    "F-1-expression", "What does the creation of an LF-Tag expression answer whose name exists?", entry="F-1",
    answers={
        "already-exists": right("crates/aws/src/region/lakeformation.rs then updates it"),
        "invalid-input": right("crates/aws/src/region/lakeformation.rs tries the update once"),
        "accepted": wrong("a creation may overwrite: crates/aws/src/region/lakeformation.rs must read first"),
    },
    judge=by_code("again", {"AlreadyExistsException": "already-exists", INVALID: "invalid-input", OK: "accepted"}))
def duplicate_expression(run):
    key, name, lf = run.lf_tag(), run.name(), run.client("lakeformation")
    run.record("lf-tag-expression", name)
    request = {"Name": name, "Expression": [{"TagKey": key, "TagValues": ["a"]}]}
    run.must(lf.create_lf_tag_expression, **request)
    return {"again": without_response(run.attempt(lf.create_lf_tag_expression, **request))}


@question(
    "LF-25", "How many values does CreateLFTag take?",
    answers={
        "fifty": right("crates/aws/src/region/lakeformation/lf_tags.rs sends 50 in a call"),
        "more": right("crates/aws/src/region/lakeformation/lf_tags.rs sends 50 in a call"),
        "fewer": wrong("crates/aws/src/region/lakeformation/lf_tags.rs must send fewer in a call"),
    },
    judge=lambda e: {(OK, OK): "more", (OK, "refused"): "fifty", ("refused", "refused"): "fewer"}.get(
        tuple("refused" if e[n]["code"] in (INVALID, "ValidationException") else e[n]["code"] for n in ("50", "51"))))
def values_of_a_tag(run):
    def create(count):
        key = run.name()
        run.record("lf-tag", key)
        values = [f"v{n}" for n in range(count)]
        return without_response(run.attempt(
            run.client("lakeformation").create_lf_tag, TagKey=key, TagValues=values))
    return {"50": create(50), "51": create(51)}


@question(
    "LF-25-update", "Does UpdateLFTag change single values, or replace all?", entry="LF-25",
    answers={
        "changes": right("crates/aws/src/region/lakeformation/lf_tags.rs sends what differs"),
        "replaces": wrong("crates/aws/src/region/lakeformation/lf_tags.rs must send all values"),
    },
    judge=by_value("values", {("a", "b", "c"): "changes", ("c",): "replaces"}))
def update_of_a_tag(run):
    key, lf = run.lf_tag(), run.client("lakeformation")
    run.must(lf.update_lf_tag, TagKey=key, TagValuesToAdd=["c"])
    return {"values": sorted(run.must(lf.get_lf_tag, TagKey=key)["TagValues"])}


@question(
    "LF-25-assigned", "Is the deletion of a value refused that is assigned?", entry="LF-25",
    answers={
        "refused": right("assignments are removed first: crates/core/src/plan"),
        "accepted": wrong("the deletion of a value may open or close resources: crates/core/src/plan must judge it as "
                          "the removal of its assignments"),
    },
    judge=by_code("update", {INVALID: "refused", OK: "accepted", "ConcurrentModificationException": "refused"}))
def deletion_of_an_assigned_value(run):
    key, database = run.lf_tag(), run.database()
    assign(run, {"Database": {"Name": database}}, key, "a")
    return {"update": without_response(run.attempt(
        run.client("lakeformation").update_lf_tag, TagKey=key, TagValuesToDelete=["a"]))}


@question(
    "LF-25-inherited", "Does GetResourceLFTags of a table show the LF-Tags of its database?", entry="LF-25",
    answers={
        "unless-only-assigned": right(
            "crates/aws/src/region/lakeformation/lf_tag_assignments.rs sets ShowAssignedLFTags"),
        "never": right("ShowAssignedLFTags is not needed"),
        "always": wrong("inherited LF-Tags would be assigned in the standby: "
                        "crates/aws/src/region/lakeformation/lf_tag_assignments.rs must compare with the database's"),
    },
    judge=lambda e: {(True, False): "unless-only-assigned", (False, False): "never", (True, True): "always"}.get(
        (e["all"], e["assigned"])))
def inherited_tags(run):
    key, database, lf = run.lf_tag(), run.database(), run.client("lakeformation")
    run.table(database)
    assign(run, {"Database": {"Name": database}}, key, "a")

    def is_shown(only_assigned):
        read = run.must(lf.get_resource_lf_tags, ShowAssignedLFTags=only_assigned,
                        Resource={"Table": {"DatabaseName": database, "Name": "t"}})
        return key in str(read)
    return {"all": is_shown(False), "assigned": is_shown(True)}


@question(
    "F-12", "Which columns does SearchTablesByLFTags list in LFTagsOnColumns?", minutes=5,
    answers={
        "columns-with-own-tags": right("crates/core/src/plan/lf_tag_policy_grants.rs reads the columns too"),
        "all-columns": right("crates/core/src/plan/lf_tag_policy_grants.rs reads the columns too"),
        "none": right("crates/core/src/plan/lf_tag_policy_grants.rs reads the columns too"),
    },
    judge=by_value("columns", {("c1",): "columns-with-own-tags", ("c1", "c2"): "all-columns", (): "none"}))
def searched_columns(run):
    key, database, lf = run.lf_tag(), run.database(), run.client("lakeformation")
    run.table(database)
    table = {"DatabaseName": database, "Name": "t"}
    assign(run, {"Table": table}, key, "a")
    assign(run, {"TableWithColumns": {**table, "ColumnNames": ["c1"]}}, key, "b")

    def search():
        found = run.must(lf.search_tables_by_lf_tags, Expression=[{"TagKey": key, "TagValues": ["a"]}])["TableList"]
        return [one for one in found if one["Table"]["DatabaseName"] == database]
    found = run.wait(search, 300) or []
    return {"found": len(found), "columns": sorted(
        column["Name"] for one in found for column in one.get("LFTagsOnColumns", []))}


@question(
    "F-79", "Is a search refused that names a value of an LF-Tag which does not exist?", minutes=5,
    answers={
        "refused": right("crates/engine/src/observe/lakeformation.rs searches for the values that exist"),
        "found": right("crates/engine/src/observe/lakeformation.rs need not search again"),
        "hidden": wrong("crates/engine/src/observe/lakeformation.rs must leave such values out before it searches"),
    },
    judge=lambda e: {("EntityNotFoundException", False): "refused", (OK, True): "found", (OK, False): "hidden"}.get(
        (e["search"]["code"], e["found"])))
def search_for_a_missing_value(run):
    key, database, lf = run.lf_tag(), run.database(), run.client("lakeformation")
    run.table(database)
    assign(run, {"Table": {"DatabaseName": database, "Name": "t"}}, key, "a")

    def search(*values):
        return run.attempt(lf.search_tables_by_lf_tags, Expression=[{"TagKey": key, "TagValues": list(values)}])

    def shows(answer):
        tables = answer.get("response", {}).get("TableList", [])
        return any(one["Table"]["DatabaseName"] == database for one in tables)
    run.wait(lambda: shows(search("a")), 300)
    with_missing = search("a", "not-a-value")
    return {"search": without_response(with_missing), "found": shows(with_missing)}
