"""Questions about partitions, partition indexes and functions."""

from live.question import INVALID, OK, NotRun, by_code, question, right, wrong
from live.run import table_input

# The codes of "only one index can be created or deleted at a time".
BUSY_TABLE = ("ResourceNumberLimitExceededException", "ConcurrentModificationException")
KEYS = [{"Name": f"k{n}", "Type": "string"} for n in range(5)]


def partition(values):
    return {"Values": values, "StorageDescriptor": {
        "Columns": [], "Location": "s3://twinlake-live-no-bucket/t/p/", "SerdeInfo": {}}}


def add_partitions(run, database, *inputs):
    return run.attempt(run.client("glue").batch_create_partition, DatabaseName=database, TableName="t",
                       PartitionInputList=list(inputs))


@question(
    "GL-08", "Are partition values with separators, blanks and other scripts kept as they are?",
    answers={
        "kept": right("values are never joined: crates/core/src/catalog.rs"),
        "changed": wrong("crates/core/src/catalog.rs must compare values as AWS stores them"),
        "refused": right("such values cannot be met"),
    },
    judge=lambda e: {(INVALID, 0, None): "refused", (OK, 1, False): "refused", (OK, 0, True): "kept",
                     (OK, 0, False): "changed"}.get((e["create"]["code"], e["errors"], e.get("same"))))
def odd_values(run):
    database, values = run.database(), ["a/b#c,d", " é|\\ %2F="]
    run.table(database, PartitionKeys=KEYS[:2])
    done = add_partitions(run, database, partition(values))
    if done["code"] != OK:
        return {"create": done, "errors": 0}
    read = run.listed(run.client("glue").get_partitions, "Partitions", DatabaseName=database, TableName="t")
    return {"create": {"code": OK}, "errors": len(done["response"].get("Errors", [])),
            "same": [one["Values"] for one in read] == [values]}


@question(
    "F-2", "Does BatchGetPartition return a partition that does not exist as unprocessed?",
    quirk="missing-partitions-stay-unprocessed",
    answers={
        "unprocessed": right("keys that a call leaves are read one by one: crates/aws/src/region/partitions.rs",
                             quirk=True),
        "left-out": right("UnprocessedKeys means only that a call has to be repeated", quirk=False),
    },
    judge=lambda e: {(True, True): "unprocessed", (False, False): "left-out"}.get((e["first"], e["again"])))
def missing_partition(run):
    glue, database = run.client("glue"), run.database()
    run.table(database, PartitionKeys=KEYS[:1])
    add_partitions(run, database, partition(["here"]))

    def is_unprocessed():
        keys = [{"Values": ["here"]}, {"Values": ["missing"]}]
        response = run.must(glue.batch_get_partition, DatabaseName=database, TableName="t", PartitionsToGet=keys)
        return {"Values": ["missing"]} in response.get("UnprocessedKeys", [])
    return {"first": is_unprocessed(), "again": is_unprocessed()}


@question(
    "F-19", "Does one partition with a wrong number of values fail its whole batch?",
    quirk="invalid-partition-fails-batch",
    answers={
        "fails-batch": right("a batch is divided: crates/engine/src/apply/partition_batches.rs", quirk=True),
        "entry-error": right("the entry's own error is reported", quirk=False),
        "accepted": right("nothing is rejected", quirk=False),
    },
    judge=lambda e: "fails-batch" if e["create"]["code"] == INVALID else {
        1: "entry-error", 0: "accepted"}.get(e["errors"]))
def invalid_partition(run):
    database = run.database()
    run.table(database, PartitionKeys=KEYS[:1])
    done = add_partitions(run, database, partition(["a"]), partition(["a", "b"]))
    errors = len(done["response"].get("Errors", [])) if done["code"] == OK else 0
    return {"create": {k: v for k, v in done.items() if k != "response"}, "errors": errors}


def index(name, *keys):
    return {"IndexName": name, "Keys": list(keys)}


def add_index(run, database, name, *keys):
    done = run.attempt(run.client("glue").create_partition_index, may_reach_quota=True, DatabaseName=database,
                       TableName="t", PartitionIndex=index(name, *keys))
    return {key: value for key, value in done.items() if key != "response"}


def index_states(run, database):
    listed = run.listed(run.client("glue").get_partition_indexes, "PartitionIndexDescriptorList",
                        DatabaseName=database, TableName="t")
    return {one["IndexName"]: one["IndexStatus"] for one in listed}


@question(
    "GL-06", "Is a partition index created asynchronously?", quirk="indexes-take-their-time",
    answers={
        "asynchronous": right("crates/engine/src/apply/attachments.rs waits for the end", quirk=True),
        "at-once": right("waiting ends at once", quirk=False),
    },
    judge=lambda e: None if e["create"]["code"] != OK else (
        "asynchronous" if e["state"] == "CREATING" or e["second"]["code"] in BUSY_TABLE else
        "at-once" if (e["state"], e["second"]["code"]) == ("ACTIVE", OK) else None))
def index_creation(run):
    database = run.database()
    run.table(database, PartitionKeys=KEYS)
    done = add_index(run, database, "i", "k0")
    second = add_index(run, database, "j", "k1")
    return {"create": done, "second": second, "state": index_states(run, database).get("i")}


@question(
    "GL-06-limit", "How many partition indexes does CreateTable take?", entry="GL-06",
    answers={
        "three": right("crates/core/src/plan/attachment.rs creates three with the table"),
        "four-or-more": right("three with the table is still right"),
        "fewer": wrong("crates/core/src/plan/attachment.rs must create fewer with the table"),
    },
    judge=lambda e: {(OK, OK): "four-or-more", (OK, "refused"): "three", ("refused", "refused"): "fewer"}.get(
        tuple("refused" if e[n]["code"] in (INVALID, BUSY_TABLE[0]) else e[n]["code"] for n in ("3", "4"))))
def indexes_with_a_table(run):
    glue = run.client("glue")

    def create(count):
        database = run.database()
        indexes = [index(f"i{n}", f"k{n}") for n in range(count)]
        done = run.attempt(
            glue.create_table, may_reach_quota=True, DatabaseName=database, PartitionIndexes=indexes,
            TableInput=table_input("t", PartitionKeys=KEYS))
        return {k: v for k, v in done.items() if k != "response"}
    return {"3": create(3), "4": create(4)}


@question(
    "GL-06-keys", "May two partition indexes of a table have the same keys?", entry="GL-06", minutes=15,
    answers={
        "refused": right("an index is deleted before one with the same keys is created: "
                         "crates/core/src/plan/attachment.rs"),
        "accepted": right("the order is not needed"),
    },
    judge=by_code("second", {OK: "accepted", INVALID: "refused", "AlreadyExistsException": "refused"}))
def indexes_with_the_same_keys(run):
    database = run.database()
    run.table(database, PartitionKeys=KEYS)
    add_index(run, database, "first", "k0")
    run.wait(lambda: index_states(run, database).get("first") == "ACTIVE", 600)

    def second():
        index_states(run, database)
        done = add_index(run, database, "second", "k0")
        return None if done["code"] in BUSY_TABLE else done
    found = run.wait(second, 300)
    if not found:
        raise NotRun("the first index was still being built after 15 minutes")
    return {"second": found}


@question(
    "F-7", "Is the pattern of GetUserDefinedFunctions a regular expression or a wildcard pattern?",
    quirk="function-pattern-is-regex",
    answers={
        "regular-expression": right("crates/aws/src/region/function_pattern.rs learns it", quirk=True),
        "wildcard": right("crates/aws/src/region/function_pattern.rs learns it", quirk=False),
        "both": right("crates/aws/src/region/function_pattern.rs accepts either"),
    },
    judge=lambda e: {(OK, 1, INVALID, 0): "regular-expression", (OK, 1, OK, 0): "regular-expression",
                     (OK, 0, OK, 1): "wildcard", (INVALID, 0, OK, 1): "wildcard", (OK, 1, OK, 1): "both"}.get(
        (e[".*"]["code"], e[".*"]["found"], e["*"]["code"], e["*"]["found"])))
def function_pattern(run):
    glue, database = run.client("glue"), run.database()
    run.must(glue.create_user_defined_function, DatabaseName=database, FunctionInput={
        "FunctionName": "f", "ClassName": "twinlake.F", "OwnerName": "o", "OwnerType": "USER"})

    def ask(pattern):
        done = run.attempt(glue.get_user_defined_functions, DatabaseName=database, Pattern=pattern)
        return {"code": done["code"], "found": len(done.get("response", {}).get("UserDefinedFunctions", []))}
    return {pattern: ask(pattern) for pattern in (".*", "*")}
