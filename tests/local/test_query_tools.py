"""The query tools over a local AWS: the deployed resync keeps Athena of the standby equal, and a saved query of the
standby reads the standby's data while the primary refuses. Glue's crawlers and triggers follow asleep. Workgroups,
data catalogs, crawlers and triggers also over moto."""

import io
import pathlib
import tomllib

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stack import ACCOUNT, BUCKETS, POLICY, PRIMARY, STANDBY
from test_moto import Moto

QUERY_POLICY = f"""
[query]
[[query.result-location]]
a = "s3://results-{PRIMARY}/"
b = "s3://results-{STANDBY}/"
[[query.kms-key]]
a = "alias/results-{PRIMARY}"
b = "alias/results-{STANDBY}"
"""
TEXT = "SELECT region, sum(amount) AS total FROM sales.orders GROUP BY region ORDER BY region"


def configuration(region):
    return {"ResultConfiguration": {
        "OutputLocation": f"s3://results-{region}/etl/",
        "EncryptionConfiguration": {"EncryptionOption": "SSE_KMS", "KmsKey": f"alias/results-{region}"}},
        "EnforceWorkGroupConfiguration": True, "BytesScannedCutoffPerQuery": 10_000_000}


@pytest.fixture(scope="module")
def replicated(deployment):
    """A deployment in which a workgroup, a saved query and a table of the primary were resynced."""
    deployment.policy_file.write_text(POLICY + QUERY_POLICY)
    deployment.twinlake("policy", "push", str(deployment.policy_file))
    table = pa.table({"region": ["eu", "us", "eu"], "amount": [1, 2, 3]})
    data = io.BytesIO()
    pq.write_table(table, data)
    deployment.client("s3", PRIMARY).put_object(
        Bucket=BUCKETS[PRIMARY], Key="orders/part-0.parquet", Body=data.getvalue())
    glue = deployment.client("glue", PRIMARY)
    glue.create_database(DatabaseInput={"Name": "sales", "CreateTableDefaultPermissions": []})
    glue.create_table(DatabaseName="sales", TableInput={
        "Name": "orders", "TableType": "EXTERNAL_TABLE", "StorageDescriptor": {
            "Columns": [{"Name": "region", "Type": "string"}, {"Name": "amount", "Type": "bigint"}],
            "Location": f"s3://{BUCKETS[PRIMARY]}/orders/"}})
    athena = deployment.client("athena", PRIMARY)
    athena.create_work_group(Name="etl", Description="for reports", Configuration=configuration(PRIMARY))
    athena.create_named_query(Name="totals", Database="sales", QueryString=TEXT, WorkGroup="etl")
    athena.create_named_query(
        Name="make", Database="sales", WorkGroup="etl",
        QueryString=f"CREATE EXTERNAL TABLE x (a int)\nLOCATION 's3://{BUCKETS[PRIMARY]}/x/'")
    athena.create_named_query(
        Name="bad", Database="sales", WorkGroup="etl",
        QueryString=f"SELECT 1\nFROM t WHERE \"$path\" LIKE 's3://{BUCKETS[PRIMARY]}/%'")
    athena.create_data_catalog(Name="functions", Type="LAMBDA", Parameters={
        "function": f"arn:aws:lambda:{PRIMARY}:{ACCOUNT}:function:f"})
    deployment.resync()
    return deployment


def saved_queries(deployment, region):
    athena = deployment.client("athena", region)
    ids = athena.list_named_queries(WorkGroup="etl")["NamedQueryIds"]
    found = athena.batch_get_named_query(NamedQueryIds=ids)["NamedQueries"]
    return {query["Name"]: query for query in found}


def test_the_deployed_resync_makes_workgroups_queries_and_catalogs(replicated):
    athena = replicated.client("athena", STANDBY)
    workgroup = athena.get_work_group(WorkGroup="etl")["WorkGroup"]
    found = workgroup["Configuration"]
    assert found["ResultConfiguration"] == configuration(STANDBY)["ResultConfiguration"]
    assert found["BytesScannedCutoffPerQuery"] == 10_000_000
    assert workgroup["Description"] == "for reports"
    queries = saved_queries(replicated, STANDBY)
    # The one that compares locations is held back, and the others are not.
    assert set(queries) == {"totals", "make"}
    assert queries["totals"]["QueryString"] == TEXT
    assert queries["make"]["QueryString"].endswith(f"LOCATION 's3://{BUCKETS[STANDBY]}/x/'")
    catalog = athena.get_data_catalog(Name="functions")["DataCatalog"]
    assert catalog["Parameters"] == {"function": f"arn:aws:lambda:{STANDBY}:{ACCOUNT}:function:f"}
    status = replicated.twinlake("status", "--domain", "query", "--region", STANDBY)
    assert status.returncode == 2
    assert "saved query" in status.stdout and "line 2 names a location in S3" in status.stdout, status.stdout


def test_an_unchanged_resync_changes_nothing_and_a_deletion_follows(replicated):
    before = saved_queries(replicated, STANDBY)
    replicated.resync()
    assert saved_queries(replicated, STANDBY) == before
    primary = replicated.client("athena", PRIMARY)
    identity = saved_queries(replicated, PRIMARY)["make"]["NamedQueryId"]
    primary.delete_named_query(NamedQueryId=identity)
    plan = replicated.twinlake("plan", "--domain", "query", "--region", STANDBY)
    assert plan.returncode == 2 and "- delete saved query" in plan.stdout, plan
    replicated.resync()
    assert set(saved_queries(replicated, STANDBY)) == {"totals"}


def test_a_saved_query_reads_the_standbys_data_while_the_primary_refuses(replicated):
    expected = [("eu", 4), ("us", 2)]
    replicated.control_sandbox("outage", region=PRIMARY, enabled=True)
    try:
        # Nothing below names the primary: text, table and files are those of the standby.
        text = saved_queries(replicated, STANDBY)["totals"]["QueryString"]
        glue = replicated.client("glue", STANDBY)
        table = glue.get_table(DatabaseName="sales", Name="orders")["Table"]
        bucket, _, prefix = table["StorageDescriptor"]["Location"].removeprefix("s3://").partition("/")
        assert bucket == BUCKETS[STANDBY]
        s3 = replicated.client("s3", STANDBY)
        files = replicated.home / "standby-files"
        files.mkdir()
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            name = pathlib.PurePosixPath(entry["Key"]).name
            (files / name).write_bytes(s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
        connection = duckdb.connect()
        connection.execute("CREATE SCHEMA sales")
        connection.execute(f"CREATE VIEW sales.orders AS SELECT * FROM read_parquet('{files}/*.parquet')")
        assert connection.execute(text).fetchall() == expected
    finally:
        replicated.control_sandbox("outage", region=PRIMARY, enabled=False)


def test_init_drafts_the_table_from_the_workgroups_of_both_regions(replicated):
    done = replicated.twinlake("init", "--primary", PRIMARY, "--standby", STANDBY, "--out", "drafted.toml")
    assert done.returncode in (0, 2), done.stderr
    query = tomllib.loads((replicated.home / "drafted.toml").read_text())["query"]
    written = tomllib.loads(QUERY_POLICY)["query"]
    assert query == written


CRON = "cron(0 1 * * ? *)"


def encryption(region):
    """Settings with a key that the policy pairs by its alias, and here is named by its ARN."""
    key = f"arn:aws:kms:{region}:{ACCOUNT}:alias/results-{region}"
    return {
        "S3Encryption": [{"S3EncryptionMode": "SSE-KMS", "KmsKeyArn": key}],
        "CloudWatchEncryption": {"CloudWatchEncryptionMode": "SSE-KMS", "KmsKeyArn": key},
        "JobBookmarksEncryption": {"JobBookmarksEncryptionMode": "CSE-KMS", "KmsKeyArn": key}}


def job(region):
    """A job that workers run, with its places in one Region; an argument of it has no value."""
    place = f"s3://{BUCKETS[region]}"
    return {
        "Role": "load", "Command": {"Name": "glueetl", "ScriptLocation": f"{place}/load.py"},
        "DefaultArguments": {"--TempDir": f"{place}/tmp/", "--enable-metrics": "",
                             "--extra-jars": f"{place}/a.jar,{place}/b.jar"},
        "WorkerType": "G.1X", "NumberOfWorkers": 2, "GlueVersion": "4.0", "SecurityConfiguration": "sse"}


def connection(region):
    """A connection to a database that both Regions reach, with a secret and its driver in one of them."""
    secret = f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:orders-AbCdEf"
    return {"ConnectionType": "JDBC", "ConnectionProperties": {
        "JDBC_CONNECTION_URL": "jdbc:mysql://db.internal/orders", "SECRET_ID": secret,
        "JDBC_DRIVER_JAR_URI": f"s3://{BUCKETS[region]}/driver.jar"}}


def make_glue_tools(glue, names=("orders", "items")):
    for name in names:
        glue.create_crawler(
            Name=name, Role="crawl", DatabaseName="sales", Schedule=CRON, TablePrefix="t_",
            Targets={"S3Targets": [{"Path": f"s3://{BUCKETS[PRIMARY]}/{name}/"}]})
        glue.create_trigger(Name=name, Type="SCHEDULED", Schedule=CRON, StartOnCreation=True,
                            Actions=[{"CrawlerName": name}])


def test_the_deployed_resync_makes_crawlers_and_triggers_asleep(replicated):
    replicated.policy_file.write_text(
        POLICY + QUERY_POLICY.replace("[query]", '[query]\nglue-tools = "copy"'))
    replicated.twinlake("policy", "push", str(replicated.policy_file))
    primary, standby = (replicated.client("glue", region) for region in (PRIMARY, STANDBY))
    primary.create_classifier(CsvClassifier={"Name": "csv", "Delimiter": ";", "Header": ["a", "b"]})
    primary.create_classifier(JsonClassifier={"Name": "json", "JsonPath": "$[*]"})
    make_glue_tools(primary)
    for name in ("sse", "other"):
        primary.create_security_configuration(Name=name, EncryptionConfiguration=encryption(PRIMARY))
    primary.update_crawler(Name="orders", Classifiers=["csv"], CrawlerSecurityConfiguration="sse")
    for name in ("load", "other"):
        primary.create_job(Name=name, **job(PRIMARY))
    primary.create_connection(ConnectionInput={"Name": "orders", **connection(PRIMARY)})
    primary.create_connection(ConnectionInput={
        "Name": "password", "ConnectionType": "JDBC",
        "ConnectionProperties": {"USERNAME": "admin", "PASSWORD": "hunter2"}})
    for name in ("flow", "other"):
        primary.create_workflow(Name=name, Description=name, DefaultRunProperties={"day": "1"})
    primary.create_trigger(Name="start", Type="ON_DEMAND", WorkflowName="flow", Actions=[{"JobName": "load"}])
    replicated.resync()
    orders = standby.get_crawler(Name="orders")["Crawler"]
    assert orders["Targets"]["S3Targets"] == [{"Path": f"s3://{BUCKETS[STANDBY]}/orders/"}]
    assert orders["Classifiers"] == ["csv"] and "Schedule" not in orders, orders
    trigger = standby.get_trigger(Name="orders")["Trigger"]
    assert trigger["State"] == "CREATED" and trigger["Schedule"] == CRON
    csv = standby.get_classifier(Name="csv")["Classifier"]["CsvClassifier"]
    assert csv["Delimiter"] == ";" and csv["Header"] == ["a", "b"]
    assert orders["CrawlerSecurityConfiguration"] == "sse"
    for name in ("sse", "other"):
        found = standby.get_security_configuration(Name=name)["SecurityConfiguration"]
        assert found["EncryptionConfiguration"] == encryption(STANDBY), found
    for name in ("load", "other"):
        found = standby.get_job(JobName=name)["Job"]
        assert {field: found[field] for field in job(STANDBY)} == job(STANDBY), found
    for name in ("flow", "other"):
        found = standby.get_workflow(Name=name)["Workflow"]
        assert (found["Description"], found["DefaultRunProperties"]) == (name, {"day": "1"}), found
    assert standby.get_trigger(Name="start")["Trigger"]["WorkflowName"] == "flow"
    found = standby.get_connection(Name="orders")["Connection"]
    assert {field: found[field] for field in connection(STANDBY)} == connection(STANDBY), found
    status = replicated.twinlake("status", "--domain", "query", "--region", STANDBY)
    assert "it holds a password (USERNAME)" in status.stdout, status.stdout
    assert "hunter2" not in status.stdout, status.stdout
    names = [one["Name"] for one in standby.get_connections()["ConnectionList"]]
    assert names == ["orders"], names
    # A change, a deletion, and one that somebody wakes in the standby.
    primary.update_crawler(Name="orders", TablePrefix="u_")
    primary.update_classifier(CsvClassifier={"Name": "csv", "Delimiter": "|"})
    primary.update_trigger(Name="orders", TriggerUpdate={
        "Schedule": "cron(0 2 * * ? *)", "Actions": [{"CrawlerName": "orders"}]})
    primary.delete_trigger(Name="items")
    primary.delete_workflow(Name="other")
    primary.update_workflow(Name="flow", Description="changed", DefaultRunProperties={})
    primary.delete_job(JobName="other")
    primary.update_job(JobName="load", JobUpdate={**job(PRIMARY), "Timeout": 60, "DefaultArguments": {"--day": "1"}})
    primary.delete_security_configuration(Name="other")
    standby.update_crawler_schedule(CrawlerName="items", Schedule=CRON)
    standby.start_trigger(Name="orders")
    replicated.resync()
    assert standby.get_crawler(Name="orders")["Crawler"]["TablePrefix"] == "u_"
    assert standby.get_crawler(Name="items")["Crawler"]["Schedule"]["State"] == "NOT_SCHEDULED"
    trigger = standby.get_trigger(Name="orders")["Trigger"]
    assert trigger["Schedule"] == "cron(0 2 * * ? *)" and trigger["State"] == "DEACTIVATED"
    assert [one["Name"] for one in standby.get_triggers()["Triggers"]] == ["orders", "start"]
    csv = standby.get_classifier(Name="csv")["Classifier"]["CsvClassifier"]
    assert csv["Delimiter"] == "|" and csv["Header"] == ["a", "b"]
    left = [one["Name"] for one in standby.get_security_configurations()["SecurityConfigurations"]]
    assert left == ["sse"]
    assert standby.list_workflows()["Workflows"] == ["flow"]
    flow = standby.get_workflow(Name="flow")["Workflow"]
    assert flow["Description"] == "changed" and not flow["DefaultRunProperties"], flow
    (load,) = standby.get_jobs()["Jobs"]
    assert load["Timeout"] == 60 and load["DefaultArguments"] == {"--day": "1"}, load
    plan = replicated.twinlake("plan", "--domain", "query", "--region", STANDBY)
    assert "No changes to the query tools." in plan.stdout, plan.stdout


def test_crawlers_and_triggers_over_moto(tmp_path):
    moto = Moto(tmp_path)
    try:
        (tmp_path / "policy.toml").write_text(
            POLICY + QUERY_POLICY.replace("[query]", '[query]\nglue-tools = "copy"'))
        make_glue_tools(moto.client("glue", PRIMARY))
        moto.client("glue", PRIMARY).create_security_configuration(
            Name="sse", EncryptionConfiguration=encryption(PRIMARY))
        moto.client("glue", PRIMARY).create_workflow(
            Name="flow", Description="flow", DefaultRunProperties={"day": "1"})
        for name in ("load", "other"):
            moto.client("glue", PRIMARY).create_job(Name=name, **job(PRIMARY))
        applied = moto.twinlake("resync", "--domain", "query")
        # Moto holds no classifiers: said, and no more.
        assert "each classifier: they could not be listed" in applied.stdout, applied.stdout
        standby = moto.client("glue", STANDBY)
        orders = standby.get_crawler(Name="orders")["Crawler"]
        assert orders["Targets"]["S3Targets"] == [{"Path": f"s3://{BUCKETS[STANDBY]}/orders/"}]
        assert not orders.get("Schedule", {}).get("ScheduleExpression"), orders
        assert standby.get_trigger(Name="orders")["Trigger"]["State"] == "CREATED"
        found = standby.get_security_configuration(Name="sse")["SecurityConfiguration"]
        assert found["EncryptionConfiguration"] == encryption(STANDBY), found
        found = standby.get_job(JobName="load")["Job"]
        assert {field: found[field] for field in job(STANDBY)} == job(STANDBY), found
        found = standby.get_workflow(Name="flow")["Workflow"]
        assert found["DefaultRunProperties"] == {"day": "1"}, found
        moto.client("glue", PRIMARY).update_workflow(Name="flow", Description="changed")
        moto.client("glue", PRIMARY).delete_job(JobName="other")
        again = moto.twinlake("resync", "--domain", "query")
        assert "create" not in again.stdout and again.stdout.count("~ update") == 1, again.stdout
        assert standby.get_workflow(Name="flow")["Workflow"]["Description"] == "changed"
        assert standby.list_jobs()["JobNames"] == ["load"]
        standby.start_trigger(Name="orders")
        slept = moto.twinlake("resync", "--domain", "query")
        assert "put to sleep trigger orders" in slept.stdout, slept.stdout
        assert standby.get_trigger(Name="orders")["Trigger"]["State"] == "DEACTIVATED"
    finally:
        moto.stop()


def test_without_its_table_in_the_policy_nothing_of_athena_is_read_or_written(replicated):
    replicated.policy_file.write_text(POLICY)
    replicated.twinlake("policy", "push", str(replicated.policy_file))
    replicated.client("athena", PRIMARY).create_work_group(Name="later", Configuration={})
    replicated.resync()
    names = {one["Name"] for one in replicated.client("athena", STANDBY).list_work_groups()["WorkGroups"]}
    assert "later" not in names and "etl" in names
    refused = replicated.twinlake("plan", "--domain", "query", "--region", STANDBY, check=False)
    assert refused.returncode == 1 and "no table [query]" in refused.stderr


def test_workgroups_over_moto(tmp_path):
    moto = Moto(tmp_path)
    try:
        (tmp_path / "policy.toml").write_text(POLICY + QUERY_POLICY)
        primary = moto.client("athena", PRIMARY)
        primary.create_work_group(Name="etl", Description="for reports", Configuration=configuration(PRIMARY))
        applied = moto.twinlake("resync", "--domain", "query")
        # Moto holds neither listings of prepared statements nor batches of saved queries: said, and no more.
        assert applied.returncode == 2, applied
        assert "+ create workgroup etl" in applied.stdout, applied.stdout
        assert "unreadable: each prepared statement of workgroup" in applied.stdout, applied.stdout
        found = moto.client("athena", STANDBY).get_work_group(WorkGroup="etl")["WorkGroup"]
        assert found["Configuration"]["ResultConfiguration"] == configuration(STANDBY)["ResultConfiguration"]
        again = moto.twinlake("resync", "--domain", "query")
        assert "create" not in again.stdout, again.stdout
        assert b"documents#query_rows" in (tmp_path / "twinlake.ledger").read_bytes()
    finally:
        moto.stop()
