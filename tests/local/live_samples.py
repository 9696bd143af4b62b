"""Evidence for each answer of each question of `make live`, made by hand from the documentation and from public
reports that docs/assumptions.md cites. `OTHERS` is evidence that no known answer explains.

SAMPLES[question][answer] is the evidence.
"""

INVALID, MISSING, DENIED = "InvalidInputException", "EntityNotFoundException", "AccessDeniedException"
DUPLICATE, QUOTA = "AlreadyExistsException", "ResourceNumberLimitExceededException"
CONCURRENT = "ConcurrentModificationException"


def c(code="ok", message="a text"):
    """The outcome of a call."""
    return {"code": code} if code == "ok" else {"code": code, "message": message}


def one(step, **answers):
    """Samples that differ by the code of one step. An underscore in an answer's name stands for a hyphen."""
    return {name.replace("_", "-"): {step: c(code)} for name, code in answers.items()}


def value(key, **answers):
    """Samples that differ by one value."""
    return {name.replace("_", "-"): {key: found} for name, found in answers.items()}


DATABASE_CHANGE = "Glue Data Catalog Database State Change"
TABLE_CHANGE = "Glue Data Catalog Table State Change"
CODES = {"AccessDenied": {"codes": ["AccessDenied"]}, "AccessDeniedException": {"codes": [DENIED]},
         "both": {"codes": ["AccessDenied", DENIED]}}
FILTER_RECORDS = {
    "names-the-filter": {"has_parameters": True, "table_data": ["databasename", "name", "rowfilter", "tablename"]},
    "lacks-the-filter": {"has_parameters": True, "table_data": []},
    "no-parameters": {"has_parameters": False, "table_data": []}}

SAMPLES = {
    # Account
    "D-11": {"reduced": {"concurrent": 10}, "enough": {"concurrent": 1000}},
    "D-20": value("same_key", key_of_the_trail=True, other=False),
    "D-24": one("read", denied=DENIED, allowed="ok"),
    "F-22": value("differs", of_the_region=True, of_the_trail=False),
    # CloudFormation
    "D-14": {
        "must-be-deleted": {"status": "ROLLBACK_COMPLETE", "resources": 0, "update": c("ValidationError")},
        "can-be-updated": {"status": "ROLLBACK_COMPLETE", "resources": 0, "update": c()}},
    "D-21": {
        "imports": {"status": "CREATE_COMPLETE", "actions": ["Import"]},
        "adds": {"status": "CREATE_COMPLETE", "actions": ["Add"]},
        "fails": {"status": "FAILED", "actions": [], "reason": "Transforms are not supported with imports"}},
    # CloudTrail
    "Q-06": value("keys", lFTag=["lFTag"], lfTag=["lfTag"], LFTag=["LFTag"]),
    "Q-07": CODES,
    "Q-08": {**CODES, "other": {"codes": ["EntityNotFoundException"]}},
    "Q-09": FILTER_RECORDS,
    "D-6": FILTER_RECORDS,
    "EV-07": value("keys", omitted=["omitted", "originalSize", "reason"], absent=[]),
    "EV-09": value("has_issuer", session_issuer=True, elsewhere=False),
    # EventBridge
    "D-1": value("put", refused="ResourceNotFoundException", accepted="ok"),
    "D-4": {"denied": {"allowed_source": "accepted", "other_source": "denied"},
            "not-evaluated": {"allowed_source": "accepted", "other_source": "accepted"}},
    "D-4-forwarded": {"denied": {"allowed": True, "denied": False}, "not-evaluated": {"allowed": True, "denied": True}},
    "EV-02": {"documented": {"create": [DATABASE_CHANGE], "update": [TABLE_CHANGE]},
              "all-table-changes": {"create": [TABLE_CHANGE], "update": [TABLE_CHANGE]},
              "all-database-changes": {"create": [DATABASE_CHANGE], "update": [DATABASE_CHANGE]}},
    "EV-03": value("changed", as_text="text", as_list="list", absent="absent"),
    "EV-04": value("update", none=False, sent=True),
    "EV-05": {"with-trail": {"trail": True, "arrived": True}, "not-without-trail": {"trail": False, "arrived": False},
              "without-trail-too": {"trail": False, "arrived": True}},
    "EV-06": value("plain", only_with_all_management_events=False, either=True),
    "EV-08": value("region", its_own="source", of_the_bus="bus"),
    # Glue
    "D-2": {"not-found": {"get": c(MISSING), "update": c(MISSING)}, "denied": {"get": c(DENIED), "update": c(MISSING)}},
    "F-8": one("create", accepted="ok", refused=INVALID),
    "F-9": {"kept-and-compared-without-case": {"column": "Id", "grant": c()},
            "kept-and-compared-with-case": {"column": "Id", "grant": c(INVALID)},
            "lowered": {"column": "id", "grant": c()}},
    "F-16": {"gone-at-once": {"delete": c(), "read": c(MISSING)}, "gone-later": {"delete": c(), "read": c()},
             "refused": {"delete": c(INVALID), "read": c()}},
    "GL-01": {"lost": {"update": c(), "kept": 0}, "kept": {"update": c(), "kept": 2},
              "refused": {"update": c(INVALID), "kept": 2}},
    "GL-02": {"absent": {"create": c(), "keys": "missing"}, "empty": {"create": c(), "keys": "empty"},
              "refused": {"create": c(INVALID)}},
    "GL-03": {"columns-or-reference": {"columns": 1, "both": c(INVALID)},
              "columns-and-reference": {"columns": 1, "both": c()}, "no-columns": {"columns": 0, "both": c(INVALID)}},
    "GL-05": {"lowered": {"database_is_lower": True, "table_is_lower": True},
              "kept": {"database_is_lower": False, "table_is_lower": False}, "refused": {"create": c(INVALID)}},
    "GL-13": {"archives-unless-skipped": {"skipped": 0, "plain": 1}, "archives-never": {"skipped": 0, "plain": 0},
              "archives-always": {"skipped": 1, "plain": 1}},
    "Q-13": one("stale", refused=CONCURRENT, accepted="ok"),
    "Q-14": value("left", cleared=[], kept=["Description", "Owner", "Parameters"]),
    # Links and views
    "F-4": {"refused": {"create": c(INVALID, "Storage descriptor may not be defined when creating a validated view")},
            "accepted": {"create": c()}},
    "GL-04": {"operation-not-supported": {"indexes": c(INVALID, "Operation not supported on Multi Dialect views")},
              "empty": {"indexes": c()}},
    "GL-12": value("has_columns", target_fields=True, own_fields=False),
    "GL-12-create": {"in-target": {"create": c(), "in_target": True}, "in-link": {"create": c(), "in_target": False},
                     "refused": {"create": c(INVALID), "in_target": False}},
    "GL-12-update": {"writes-target": {"update": c(), "target_changed": True},
                     "writes-link": {"update": c(), "target_changed": False},
                     "refused": {"update": c(INVALID), "target_changed": False}},
    "LF-24": {"refused": {"grant": c(INVALID)},
              "accepted-on-link": {"grant": c(), "on_link": True, "on_target": False},
              "accepted-on-target": {"grant": c(), "on_link": False, "on_target": True}},
    # Grants
    "LF-07": {"listed": {"before": True, "after": True}, "gone": {"before": True, "after": False}},
    "LF-08": one("grant", not_found=MISSING, denied=DENIED, accepted="ok"),
    "LF-10": {"no-permissions-revoked": {"revoke": c(INVALID, "No permissions revoked. Grantee has none")},
              "success": {"revoke": c()}, "other-text": {"revoke": c(INVALID, "Nothing to revoke")}},
    "LF-11": {"invalid-principal": {"grant": c(INVALID, "Invalid principal, does not exist")},
              "other-invalid-input": {"grant": c(INVALID, "Grantee has no permissions")}, "accepted": {"grant": c()}},
    "LF-12": value("errors", conflict=[CONCURRENT], none_seen=[]),
    "LF-13": {"listed": {"batch": c(), "failures": 1}, "silent": {"batch": c(), "failures": 0},
              "fails-whole": {"batch": c(INVALID), "failures": 0}},
    "LF-14": {"widened": {"grant": c(), "listed": ["all"]}, "not-widened": {"grant": c(), "listed": ["columns"]},
              "refused": {"grant": c(INVALID), "listed": []}},
    "LF-15": {"open": {"absent": True, "empty": False}, "closed": {"absent": False, "empty": False}},
    "LF-16": one("grant", refused=INVALID, accepted="ok"),
    "LF-17": value("entries", one=1, two=2),
    "LF-27": one("again", one=DUPLICATE, two="ok"),
    "Q-16": {"remain": {"before": True, "after": True}, "gone": {"before": True, "after": False}},
    # Callers without permissions
    "D-2-denied": one("get", not_found=MISSING, denied=DENIED),
    "F-3": {"denied": {"list": c(DENIED), "listed": 0}, "empty": {"list": c(), "listed": 0},
            "listed": {"list": c(), "listed": 1}},
    "F-13": {"granted": {"get": c(), "columns": ["c1"]}, "all": {"get": c(), "columns": ["c1", "c2"]},
             "refused": {"get": c(MISSING), "columns": []}},
    "F-14": {"refused": {"alter": c(DENIED), "drop": c(DENIED)}, "allowed": {"alter": c(), "drop": c()},
             "only-one": {"alter": c(), "drop": c(DENIED)}},
    "F-17": {"modelled": {"create": c(DENIED), "is_modelled": True},
             "not-modelled": {"create": c(DENIED), "is_modelled": False}},
    "Q-35": {"not-found": {"get": c(MISSING), "listed": 0}, "denied": {"get": c(DENIED), "listed": 0},
             "shown": {"get": c(), "listed": 1}},
    "Q-35-listing": {"own": {"list": c(), "own": True, "of_others": False},
                     "all": {"list": c(), "own": True, "of_others": True},
                     "denied": {"list": c(DENIED), "own": False, "of_others": False}},
    # LF-Tags
    "F-1": one("again", already_exists=DUPLICATE, invalid_input=INVALID, accepted="ok"),
    "F-1-expression": one("again", already_exists=DUPLICATE, invalid_input=INVALID, accepted="ok"),
    "F-12": value("columns", columns_with_own_tags=["c1"], all_columns=["c1", "c2"], none=[]),
    "F-79": {"refused": {"search": c(MISSING), "found": False}, "found": {"search": c(), "found": True},
             "hidden": {"search": c(), "found": False}},
    "LF-25": {"fifty": {"50": c(), "51": c(INVALID)}, "more": {"50": c(), "51": c()},
              "fewer": {"50": c(INVALID), "51": c(INVALID)}},
    "LF-25-assigned": one("update", refused=INVALID, accepted="ok"),
    "LF-25-inherited": {"unless-only-assigned": {"all": True, "assigned": False},
                        "never": {"all": False, "assigned": False},
                        "always": {"all": True, "assigned": True}},
    "LF-25-update": value("values", changes=["a", "b", "c"], replaces=["c"]),
    # Data cells filters
    "F-6": one("create", accepted="ok", refused=INVALID),
    "LF-26": {"at-once": {"create": c(), "listed": 1}, "later": {"create": c(), "listed": 0}},
    "LF-26-version": {"must": {"without": c(INVALID), "old": c(CONCURRENT)},
                      "may": {"without": c(), "old": c(CONCURRENT)},
                      "ignored": {"without": c(), "old": c()}},
    # Listings
    "D-5": {"same": {"plain": 3, "with": {"code": "ok", "count": 3}},
            "without-has-more": {"plain": 3, "with": {"code": "ok", "count": 0}},
            "with-has-more": {"plain": 3, "with": {"code": "ok", "count": 9}},
            "refused": {"plain": 3, "with": c(INVALID)}},
    "LF-01": value("select_on", apart=["TableWithColumns"], with_the_table=["Table"]),
    "LF-02": value("names", by_name=["ALL_TABLES"], by_wildcard=[""]),
    "LF-03": one("list", refused=INVALID, accepted="ok"),
    "LF-04": {"complete": {"principals": 4, "omitted": 0}, "omits": {"principals": 4, "omitted": 2},
              "refused": {"principals": 4, **c(INVALID)}},
    "LF-05": value("is_listed", computed=True, explicit=False),
    "LF-06": value("permissions", listed=["ALL"], not_listed=[]),
    "LF-09": value("fields", no=["Permissions", "Principal", "Resource"], yes=["PermissionId", "Principal", "Resource"]),
    "LF-20": value("others", only_modelled=[], others=["SUPER_DUPER"]),
    "LF-21": {"known": {"principals": 3, "bare_ids": 0, "unknown": 0},
              "known-and-bare-ids": {"principals": 3, "bare_ids": 1, "unknown": 0}},
    "Q-18": {"explicit": {"by_wildcard": True, "by_table": False}, "computed": {"by_wildcard": True, "by_table": True}},
    "Q-19": {"left-out": {"by_type": True, "unfiltered": False}, "covered": {"by_type": True, "unfiltered": True}},
    "Q-26": value("permissions", literal=["ALL"], expanded=["ALL", "ALTER", "DESCRIBE", "DROP"]),
    "Q-29": one("list", listed="ok", refused=INVALID),
    "Q-30": {"by-path": {"service_linked": 2, "without_role": 0}, "absent": {"service_linked": 0, "without_role": 1}},
    # Partitions, indexes, functions
    "F-2": {"unprocessed": {"first": True, "again": True}, "left-out": {"first": False, "again": False}},
    "F-7": {"regular-expression": {".*": {"code": "ok", "found": 1}, "*": {"code": INVALID, "found": 0}},
            "wildcard": {".*": {"code": "ok", "found": 0}, "*": {"code": "ok", "found": 1}},
            "both": {".*": {"code": "ok", "found": 1}, "*": {"code": "ok", "found": 1}}},
    "F-19": {"fails-batch": {"create": c(INVALID), "errors": 0}, "entry-error": {"create": c(), "errors": 1},
             "accepted": {"create": c(), "errors": 0}},
    "GL-06": {"asynchronous": {"create": c(), "second": c(QUOTA), "state": "CREATING"},
              "at-once": {"create": c(), "second": c(), "state": "ACTIVE"}},
    "GL-06-keys": one("second", refused=DUPLICATE, accepted="ok"),
    "GL-06-limit": {"three": {"3": c(), "4": c(QUOTA)}, "four-or-more": {"3": c(), "4": c()},
                    "fewer": {"3": c(INVALID), "4": c(INVALID)}},
    "GL-08": {"kept": {"create": c(), "errors": 0, "same": True},
              "changed": {"create": c(), "errors": 0, "same": False},
              "refused": {"create": c(INVALID), "errors": 0}},
    # S3
    "D-18": one("put", accepted="ok", refused="InvalidArgument"),
    "D-23": {"absent": {"with_header": "AccessDenied", "without_header": "ok"},
             "present": {"with_header": "AccessDenied", "without_header": "AccessDenied"}},
    "EV-10": value("events", arrives=["s3:TestEvent"], does_not=[]),
    "EV-11": {"both": {"same_version": True, "same_time": True},
              "version-only": {"same_version": True, "same_time": False},
              "neither": {"same_version": False, "same_time": False}},
    "EV-12": {"404-and-403": {"with": "404", "without": "403"}, "404": {"with": "404", "without": "404"},
              "403": {"with": "403", "without": "403"}},
    "F-21": one("put", refused="InvalidRequest", accepted="ok"),
    "F-21-key": one("put", not_checked="ok", refused="InvalidArgument"),
}

# Evidence that no answer explains: of another shape, or with a code that nobody has seen.
OTHERS = [{}, {"code": "ok"}, None, []]


def strange(evidence):
    """Evidence of the right shape, whose codes, texts and numbers nobody has seen."""
    if isinstance(evidence, dict):
        return {key: strange(one) for key, one in evidence.items()}
    return "Never-Seen-Before"
