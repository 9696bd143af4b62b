"""Questions about the records of CloudTrail.

They look into the event history of the primary, which needs no trail, and take records of calls that somebody made.
With LIVE_WRITES=yes a missing record is caused by a call on objects of the run, and waited for: it takes minutes. A
record that comes too late is found by the next run.
"""

import json

from live.question import NotRun, question, right, wrong
from live.subjects import data_cells_filters

MAX_PAGES = 10


def history(run, keep, **attribute):
    """The newest records of the event history with this attribute that `keep` accepts."""
    (key, value), = attribute.items()
    request = {"LookupAttributes": [{"AttributeKey": key, "AttributeValue": value}]}
    client, found = run.client("cloudtrail"), []
    for _ in range(MAX_PAGES):
        response = run.must(client.lookup_events, **request)
        records = [json.loads(event["CloudTrailEvent"]) for event in response["Events"]]
        found += [record for record in records if keep(record)]
        if found or not response.get("NextToken"):
            break
        request["NextToken"] = response["NextToken"]
    return found


def records(run, cause=None, keep=lambda record: True, **attribute):
    """The records that `history` finds, or that appear after `cause` was called. Raises NotRun if there are none."""
    found = history(run, keep, **attribute)
    if not found and cause and run.options.may_write:
        cause()
        found = run.wait(lambda: history(run, keep, **attribute), 1200)
    if not found:
        name = next(iter(attribute.values()))
        later = ", or ask again in some minutes" if cause and run.options.may_write else ""
        raise NotRun(f"the event history of 90 days has no such record of {name}: make such a call{later}")
    return found


def parameters(record):
    value = record.get("requestParameters")
    return value if isinstance(value, dict) else {}


@question(
    "Q-06", "How does CloudTrail spell the LF-Tag of a grant?", writes=False, minutes=20,
    answers={
        "lFTag": right("keys are compared without case: crates/core/src/event/cloudtrail_lakeformation.rs"),
        "lfTag": right("keys are compared without case: crates/core/src/event/cloudtrail_lakeformation.rs"),
        "LFTag": right("keys are compared without case: crates/core/src/event/cloudtrail_lakeformation.rs"),
    },
    judge=lambda e: e["keys"][0] if len(e["keys"]) == 1 else None)
def spelling_of_an_lf_tag(run):
    def keys(record):
        return [key for key in parameters(record).get("resource") or {} if key.lower() == "lftag"]

    def cause():
        key = run.lf_tag()
        run.grant({"LFTag": {"TagKey": key, "TagValues": ["a"]}}, ["DESCRIBE"],
                  principal=run.options.test_role or run.caller())
    found = records(run, cause, keys, EventName="GrantPermissions")
    return {"keys": sorted({key for record in found for key in keys(record)})}


def denials(run, **attribute):
    found = records(run, None, lambda record: "denied" in str(record.get("errorCode", "")).lower(), **attribute)
    return {"codes": sorted({record["errorCode"] for record in found})}


def judge_denial(evidence):
    return {("AccessDenied",): "AccessDenied", ("AccessDeniedException",): "AccessDeniedException",
            ("AccessDenied", "AccessDeniedException"): "both"}.get(tuple(evidence["codes"]))


@question(
    "Q-07", "Which errorCode has the record of a denied call of Glue?", writes=False,
    answers={
        "AccessDenied": right("AccessDeniedRule of template.yaml matches both"),
        "AccessDeniedException": right("AccessDeniedRule of template.yaml matches both"),
        "both": right("AccessDeniedRule of template.yaml matches both"),
    },
    judge=judge_denial)
def code_of_a_denied_call(run):
    return denials(run, EventSource="glue.amazonaws.com")


@question(
    "Q-08", "Which errorCode has the record of a denied GetDataAccess?", writes=False,
    answers={
        "AccessDenied": right("DataAccessErrorRule of template.yaml matches any errorCode"),
        "AccessDeniedException": right("DataAccessErrorRule of template.yaml matches any errorCode"),
        "both": right("DataAccessErrorRule of template.yaml matches any errorCode"),
        "other": right("DataAccessErrorRule of template.yaml matches any errorCode"),
    },
    judge=lambda e: judge_denial(e) or ("other" if isinstance(e["codes"], list) and e["codes"] else None))
def code_of_a_denied_data_access(run):
    found = records(run, None, lambda record: record.get("errorCode"), EventName="GetDataAccess")
    return {"codes": sorted({record["errorCode"] for record in found})}


def filter_record(run, event_name, cause):
    found = records(run, cause, lambda record: not record.get("errorCode"), EventName=event_name)
    keys = {key.lower() for record in found for key in parameters(record)}
    data = [value for record in found for key, value in parameters(record).items() if key.lower() == "tabledata"]
    names = sorted({key.lower() for value in data if isinstance(value, dict) for key in value})
    return {"has_parameters": bool(keys), "table_data": names}


def judge_filter(evidence):
    if evidence["has_parameters"] is not True:
        return {False: "no-parameters"}[evidence["has_parameters"]]
    return "names-the-filter" if {"databasename", "tablename", "name"} <= set(evidence["table_data"]) else (
        "lacks-the-filter")


@question(
    "Q-09", "Does the record of CreateDataCellsFilter name the filter?", writes=False, minutes=20,
    answers={
        "names-the-filter": right("the filter is read from the API nevertheless"),
        "lacks-the-filter": right("crates/core/src/event/cloudtrail_lakeformation.rs reads the filters of the table"),
        "no-parameters": right("such a record widens its scope: crates/core/src/event/cloudtrail_lakeformation.rs"),
    },
    judge=judge_filter)
def record_of_a_new_filter(run):
    def cause():
        database = run.database()
        run.table(database)
        data_cells_filters.make(run, database)
    return filter_record(run, "CreateDataCellsFilter", cause)


@question(
    "D-6", "Does the record of UpdateDataCellsFilter name the filter?", writes=False, minutes=20,
    answers={
        "names-the-filter": right("crates/core/src/event/cloudtrail.rs may compare the name"),
        "lacks-the-filter": right("each such own call is a heartbeat: crates/core/src/event/cloudtrail.rs"),
        "no-parameters": right("each such own call is a heartbeat: crates/core/src/event/cloudtrail.rs"),
    },
    judge=judge_filter)
def record_of_a_changed_filter(run):
    def cause():
        database = run.database()
        run.table(database)
        _, data = data_cells_filters.make(run, database)
        found = run.wait(lambda: data_cells_filters.listed(run, database), 150) or [{}]
        run.attempt(run.client("lakeformation").update_data_cells_filter, TableData={
            **data, "ColumnNames": ["c2"], "VersionId": found[0].get("VersionId", "0")})
    return filter_record(run, "UpdateDataCellsFilter", cause)


@question(
    "EV-09", "Where does the record of a role's call have the role's ARN?", writes=False,
    answers={
        "session-issuer": right("crates/core/src/event/cloudtrail.rs reads it there"),
        "elsewhere": wrong("crates/core/src/event/cloudtrail.rs cannot tell own calls from others"),
    },
    judge=lambda e: {True: "session-issuer", False: "elsewhere"}[e["has_issuer"]])
def role_of_a_call(run):
    found = records(run, None, lambda record: record.get("userIdentity", {}).get("type") == "AssumedRole",
                    EventSource="glue.amazonaws.com")
    arns = [record["userIdentity"].get("sessionContext", {}).get("sessionIssuer", {}).get("arn") or ""
            for record in found]
    return {"has_issuer": all(":role/" in arn for arn in arns)}


@question(
    "EV-07", "What stands in the place of parameters over 100 KB?", writes=False, minutes=20,
    answers={
        "omitted": right("a cut record widens its scope: crates/core/src/event/cloudtrail.rs"),
        "absent": right("a record without parameters widens its scope: crates/core/src/event/cloudtrail.rs"),
    },
    judge=lambda e: {("omitted",): "omitted", (): "absent"}.get(tuple(key for key in e["keys"] if key != "reason"
                                                                      and key != "originalSize")))
def cut_parameters(run):
    def is_cut(record):
        is_done = not record.get("errorCode")
        return is_done and ("omitted" in parameters(record) or not record.get("requestParameters"))

    def cause():
        run.table(run.database(), Parameters={f"k{n}": "v" * 60000 for n in range(3)})
    found = records(run, cause, is_cut, EventName="CreateTable")
    return {"keys": sorted(parameters(found[0]))}
