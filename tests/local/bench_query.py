"""The part `query` of the benchmark: the calls of a resync of the query tools against their lower bound.

The CLI calls the local AWS (local_aws.py), which serves Athena, sends Glue and the Redshift Data API on to the sandbox,
and records each call.
"""

import collections
import json
import math
import subprocess
import time

import stack
from stack import ACCOUNT, BUCKETS, PRIMARY, SITES, STANDBY

CALLER = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
# Saved queries and prepared statements are those of each workgroup.
WORKGROUPS, QUERIES, STATEMENTS, CATALOGS = 20, 10, 3, 5
CLASSIFIERS, SECURITY, CONNECTIONS, JOBS, WORKFLOWS, CRAWLERS, TRIGGERS, SCHEMAS = 10, 10, 10, 20, 30, 40, 10, 10
# The largest pages and batches, by the service models: ListWorkGroups, ListDataCatalogs, ListNamedQueries and
# ListPreparedStatements; BatchGetNamedQuery; BatchGetPreparedStatement; GetClassifiers, GetSecurityConfigurations,
# GetJobs and GetCrawlers; GetTriggers; GetConnections; ListWorkflows and
# BatchGetWorkflows.
ATHENA_PAGE, QUERY_BATCH, STATEMENT_BATCH, GLUE_PAGE, TRIGGER_PAGE, CONNECTION_PAGE, WORKFLOW_PAGE = 50, 50, 256, 1000, 200, 100, 25
# A statement that reads: its submission, a description that waits for its end, and a page of its result.
READ_CALLS = 3
# A statement that writes: its submission, and a description that waits for its end.
WRITE_CALLS = 2
# The statements that read the external schemas of a warehouse: the schemas, and the grants on them.
SCHEMA_READS = 2 * READ_CALLS

POLICY = SITES + f"""
[query]
glue-tools = "copy"
[[query.result-location]]
a = "s3://results-{PRIMARY}/"
b = "s3://results-{STANDBY}/"
[[query.warehouse]]
name = "reports"
a = {{ workgroup = "reports", database = "dev" }}
b = {{ cluster = "reports", database = "lake", db-user = "twinlake" }}
"""
WAREHOUSES = {PRIMARY: {"WorkgroupName": "reports", "Database": "dev"},
              STANDBY: {"ClusterIdentifier": "reports", "Database": "lake", "DbUser": "twinlake"}}


def pages(items, size):
    """The number of calls for a listing; at least one."""
    return max(1, math.ceil(items / size))


def reading_bound(workgroups, catalogs):
    """The fewest calls that read a Region with this number of workgroups, beside `primary`, and of data catalogs, beside
    AwsDataCatalog; and how they add up. A batch of saved queries is of one workgroup: one whose queries may not be read
    holds back no others."""
    groups = workgroups + 1
    athena = pages(groups, ATHENA_PAGE) + groups + pages(catalogs + 1, ATHENA_PAGE) + catalogs
    queries = groups * pages(QUERIES, ATHENA_PAGE) + workgroups * math.ceil(QUERIES / QUERY_BATCH)
    statements = groups * pages(STATEMENTS, ATHENA_PAGE) + workgroups * math.ceil(STATEMENTS / STATEMENT_BATCH)
    glue = sum(pages(items, GLUE_PAGE) for items in (CLASSIFIERS, SECURITY, JOBS, CRAWLERS))
    glue += pages(TRIGGERS, TRIGGER_PAGE) + pages(CONNECTIONS, CONNECTION_PAGE)
    workflows = WORKFLOWS if workgroups else 0
    glue += pages(workflows, WORKFLOW_PAGE) + math.ceil(workflows / WORKFLOW_PAGE)
    text = (f"workgroups and data catalogs {athena}, saved queries {queries}, prepared statements {statements}, "
            f"Glue {glue}, warehouse {SCHEMA_READS}")
    return athena + queries + statements + glue + SCHEMA_READS, text


def resync_bounds():
    """The lower bounds of a first and of an unchanged resync, each with how it adds up, and what the bar allows beside
    it, with the reason."""
    whole, derivation = reading_bound(WORKGROUPS, CATALOGS)
    empty, _ = reading_bound(0, 0)
    # Capacity reservations are counted in the primary.
    both = whole + 1 + whole
    writes = WORKGROUPS * (1 + QUERIES + STATEMENTS) + CATALOGS + CLASSIFIERS + SECURITY + CONNECTIONS + JOBS + WORKFLOWS + CRAWLERS + TRIGGERS
    # Each schema has an owner and a grant, and is read once between its creation and these: its id tells it from one
    # that somebody else makes.
    writes += SCHEMAS * (3 * WRITE_CALLS + SCHEMA_READS)
    canaries = SCHEMAS * READ_CALLS
    print(f"  a reading of a Region: {whole} calls ({derivation}); of an empty one {empty}")
    mixed = WORKGROUPS * math.ceil(QUERIES / QUERY_BATCH) - math.ceil(WORKGROUPS * QUERIES / QUERY_BATCH)
    print(f"  each batch of saved queries is of one workgroup; batches of several would be {mixed} fewer in a reading")
    # The time of its creation tells a workgroup, classifier, security configuration, connection, job, workflow or
    # crawler from one that somebody else makes.
    timed = WORKGROUPS + CLASSIFIERS + SECURITY + CONNECTIONS + JOBS + WORKFLOWS + CRAWLERS
    # No run reads AwsDataCatalog for its content; each reading does.
    return {
        "first": (whole + 1 + empty + writes + both + canaries,
                  f"readings {whole} + {empty} + 1, writes {writes}, closing readings {both}, canary queries {canaries}",
                  SCHEMAS * SCHEMA_READS + 4 + timed,
                  "a reading of the warehouse after the last statement of each schema, AwsDataCatalog in 4 readings, the time "
                  "of creation of each workgroup, classifier, security configuration, connection, job, workflow and crawler"),
        "unchanged": (both + canaries, f"readings {both}, canary queries {canaries}", 2, "AwsDataCatalog in 2 readings"),
    }


def make_athena_objects(athena):
    for g in range(WORKGROUPS):
        athena.create_work_group(Name=f"g{g}", Configuration={
            "ResultConfiguration": {"OutputLocation": f"s3://results-{PRIMARY}/g{g}/"}})
        for q in range(QUERIES):
            athena.create_named_query(Name=f"q{q}", Database="sales", QueryString=f"SELECT {q}", WorkGroup=f"g{g}")
        for s in range(STATEMENTS):
            athena.create_prepared_statement(StatementName=f"s{s}", WorkGroup=f"g{g}", QueryStatement=f"SELECT {s}")
    for c in range(CATALOGS):
        athena.create_data_catalog(Name=f"c{c}", Type="LAMBDA", Parameters={
            "function": f"arn:aws:lambda:{PRIMARY}:{ACCOUNT}:function:f{c}"})


def make_glue_objects(glue):
    for c in range(CLASSIFIERS):
        glue.create_classifier(JsonClassifier={"Name": f"c{c}", "JsonPath": "$[*]"})
    for s in range(SECURITY):
        glue.create_security_configuration(Name=f"s{s}", EncryptionConfiguration={
            "S3Encryption": [{"S3EncryptionMode": "SSE-S3"}]})
    for j in range(JOBS):
        glue.create_job(Name=f"j{j}", Role="load", SecurityConfiguration=f"s{j % SECURITY}", Command={
            "Name": "glueetl", "ScriptLocation": f"s3://{BUCKETS[PRIMARY]}/{j}.py"})
    for c in range(CONNECTIONS):
        glue.create_connection(ConnectionInput={"Name": f"n{c}", "ConnectionType": "NETWORK",
                                                "ConnectionProperties": {}})
    for w in range(WORKFLOWS):
        glue.create_workflow(Name=f"w{w}")
    for c in range(CRAWLERS):
        glue.create_crawler(Name=f"c{c}", Role="crawl", DatabaseName="sales", Schedule="cron(0 1 * * ? *)",
                            Classifiers=[f"c{c % CLASSIFIERS}"],
                            CrawlerSecurityConfiguration=f"s{c % SECURITY}",
                            Targets={"S3Targets": [{"Path": f"s3://{BUCKETS[PRIMARY]}/{c}/"}]})
    for t in range(TRIGGERS):
        glue.create_trigger(Name=f"t{t}", Type="SCHEDULED", Schedule="cron(0 2 * * ? *)", StartOnCreation=True,
                            Actions=[{"CrawlerName": f"c{t}"}])


def make_external_schemas(deployment):
    for region, warehouse in WAREHOUSES.items():
        # A page of a result of the service holds all of this.
        deployment.control_sandbox("statement-pages", region=region, rows=1000)
        client = deployment.client("redshift-data", region)
        statements = ['CREATE USER "etl"', 'CREATE GROUP "analysts"']
        for s in range(SCHEMAS if region == PRIMARY else 0):
            statements += [
                f"CREATE EXTERNAL SCHEMA \"s{s}\" FROM DATA CATALOG DATABASE 'sales' IAM_ROLE DEFAULT",
                f'ALTER SCHEMA "s{s}" OWNER TO "etl"', f'GRANT USAGE ON SCHEMA "s{s}" TO GROUP "analysts"']
        for statement in statements:
            client.execute_statement(Sql=statement, **warehouse)


def is_write(call):
    """Whether a recorded call changes something."""
    name = call["name"]
    if name == "ExecuteStatement":
        return not json.loads(call["body"])["Sql"].startswith("SELECT")
    return not name.removeprefix("Batch").startswith(("Get", "List", "Describe"))


def resync(deployment):
    """Runs `twinlake resync --domain query`. Returns its calls, its output and its seconds."""
    log = deployment.home / "calls.jsonl"
    start = log.stat().st_size if log.exists() else 0
    # The token marks the calls that the local AWS records; it sends some on to the sandbox.
    environment = {**deployment.cli_environment(), "AWS_SESSION_TOKEN": CALLER}
    environment = {name: value for name, value in environment.items() if not name.startswith("AWS_ENDPOINT_URL_")}
    began = time.monotonic()
    done = subprocess.run(
        [str(stack.TARGET / "twinlake"), "resync", "--domain", "query", "--policy", "policy.toml", "--ledger",
         "twinlake.ledger", "--no-deployment", "--caller-arn", CALLER],
        env=environment, cwd=deployment.home, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stdout + done.stderr
    with open(log) as lines:
        lines.seek(start)
        calls = [json.loads(line) for line in lines]
    return [{**call, "name": call["headers"]["x-amz-target"].split(".")[1]} for call in calls], done.stdout, seconds


def bench_query(_, results):
    """Prints the calls of a first and of an unchanged resync of the query tools."""
    print(f"Resync of {WORKGROUPS} workgroups x ({QUERIES} saved queries, {STATEMENTS} prepared statements), {CATALOGS} data "
          f"catalogs, {CLASSIFIERS} classifiers, {SECURITY} security configurations, {CONNECTIONS} connections, {JOBS} jobs, {WORKFLOWS} workflows, {CRAWLERS} crawlers, {TRIGGERS} triggers, {SCHEMAS} external schemas:")
    with stack.Deployment(records_calls=True).started() as deployment:
        deployment.policy_file.write_text(POLICY)
        make_athena_objects(deployment.client("athena", PRIMARY))
        make_glue_objects(deployment.client("glue", PRIMARY))
        make_external_schemas(deployment)
        for name, (bound, derivation, allowed, reason) in resync_bounds().items():
            calls, out, seconds = resync(deployment)
            writes = sum(map(is_write, calls))
            results.add(f"query tools, {name} resync", calls=len(calls), writes=writes, seconds=seconds)
            print(f"  {name}: {len(calls)} calls, {writes} of them write, {seconds:.1f} s; lower bound {bound} "
                  f"({derivation}): x{len(calls) / bound:.2f}")
            counts = collections.Counter(call["name"] for call in calls)
            print("    " + ", ".join(f"{call} {count}" for call, count in counts.most_common()))
            results.judge(f"query tools, {name}: {len(calls)} calls", len(calls) <= bound + allowed,
                          f"at most {bound} + {allowed}: {reason}")
            if name == "unchanged":
                results.judge(f"query tools, {name}: {writes} writes", writes == 0 and "0 changes were applied" in out,
                              "no writes")
