"""A fixture with Glue objects of every kind in the primary, and stale and foreign objects in the
standby.

A foreign object exists only in the standby, and Twinlake did not create it.
"""

import datetime

from stack import ACCOUNT, BUCKETS, PRIMARY, STANDBY

PRIMARY_ROOT, STANDBY_ROOT = f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[STANDBY]}"
DAY = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
DATABASES, TABLES, PARTITIONS = 3, 10, 20
# The name of the foreign database, of the foreign table and of the foreign function.
FOREIGN = "foreign"
# Kinds of Glue objects that have API calls of their own.
GLUE_KINDS = ("functions", "partition-indexes", "column-statistics", "glue-tags")


def arn(region, path):
    return f"arn:aws:glue:{region}:{ACCOUNT}:{path}"


def hive_table(database, name, root=PRIMARY_ROOT):
    return {
        "Name": name, "TableType": "EXTERNAL_TABLE", "Retention": 3, "Owner": "hadoop",
        "Parameters": {
            "classification": "parquet", "note": f"see {PRIMARY_ROOT}/x",
            "avro.schema.url": f"{root}/schemas/{name}.avsc",
            "exclusions": f'["{root}/{database}/{name}/_tmp/**","**.crc"]'},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "bigint", "Comment": "key"},
                        {"Name": "amount", "Type": "double"}],
            "Location": f"{root}/{database}/{name}/", "Compressed": True,
            "AdditionalLocations": [f"{root}/{database}/more/"], "NumberOfBuckets": 2,
            "SerdeInfo": {"SerializationLibrary": "l", "Parameters": {
                "avro.schema.url": f"{root}/schemas/{name}.avsc",
                "path": f"{root}/{database}/{name}"}}}}


def special_tables(database):
    """Returns tables of every other kind. The name of each says its kind."""
    def plain(name, **more):
        return {"Name": name, "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}],
            "Location": f"{PRIMARY_ROOT}/{database}/{name}/"}, **more}

    view = {
        "IsProtected": True, "Definer": f"arn:aws:iam::{ACCOUNT}:role/Definer",
        "SubObjects": [arn(PRIMARY, f"table/{database}/t0")],
        "Representations": [
            {"Dialect": dialect, "DialectVersion": "3", "ViewOriginalText": "select id from t0",
             "ViewExpandedText": f"select id from {arn(PRIMARY, f'table/{database}/t0')}"}
            for dialect in ("REDSHIFT", "SPARK")]}
    symlinks = plain("symlinks")
    symlinks["StorageDescriptor"]["InputFormat"] = (
        "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat")
    return [
        plain("projected", PartitionKeys=[{"Name": "dt", "Type": "date"}], Parameters={
            "projection.enabled": "true",
            "storage.location.template": f"{PRIMARY_ROOT}/{database}/projected/${{dt}}"}),
        plain("delta", Parameters={"table_type": "DELTA", "spark.sql.sources.provider": "delta",
                                   "path": f"{PRIMARY_ROOT}/{database}/delta"}),
        {"Name": "iceberg", "TableType": "EXTERNAL_TABLE", "Parameters": {
            "table_type": "ICEBERG",
            "metadata_location": f"{PRIMARY_ROOT}/{database}/iceberg/metadata/1.json"},
         "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                               "Location": f"{PRIMARY_ROOT}/{database}/iceberg"}},
        symlinks,
        {"Name": "presto", "TableType": "VIRTUAL_VIEW", "Parameters": {"presto_view": "true"},
         "ViewOriginalText": "/* Presto View: e30= */", "ViewExpandedText": "/* Presto View */",
         "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}], "Location": ""}},
        {"Name": "dialects", "TableType": "VIRTUAL_VIEW", "ViewDefinition": view,
         "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}]}},
        {"Name": "link", "TargetTable": {
            "CatalogId": ACCOUNT, "DatabaseName": database, "Name": "t0", "Region": PRIMARY}},
    ]


def statistics(column, low, high):
    return {"ColumnName": column, "ColumnType": "bigint", "AnalyzedTime": DAY,
            "StatisticsData": {"Type": "LONG", "LongColumnStatisticsData": {
                "MinimumValue": low, "MaximumValue": high, "NumberOfNulls": 1,
                "NumberOfDistinctValues": high - low}}}


def create_primary_catalog(glue, kinds=GLUE_KINDS):
    """Creates the primary's catalog. `kinds` are those of GLUE_KINDS that the service supports."""
    for d in range(DATABASES):
        database = f"db{d}"
        glue.create_database(DatabaseInput={
            "Name": database, "Description": f"the {d}th", "Parameters": {"k": "v"},
            "LocationUri": f"{PRIMARY_ROOT}/{database}", "CreateTableDefaultPermissions": []})
        others = special_tables(database)
        for table in others:
            glue.create_table(DatabaseName=database, TableInput=table)
        for t in range(TABLES - len(others)):
            table = hive_table(database, f"t{t}")
            indexes = {"PartitionIndexes": [{"IndexName": "by_dt", "Keys": ["dt"]}]}
            glue.create_table(DatabaseName=database, TableInput=table,
                              **(indexes if "partition-indexes" in kinds and t == 0 else {}))
            glue.batch_create_partition(
                DatabaseName=database, TableName=table["Name"], PartitionInputList=[
                    {"Values": [value], "Parameters": {"n": str(n)}, "StorageDescriptor": {
                        "Location": f"{PRIMARY_ROOT}/{database}/t{t}/{n}/"}}
                    for n, value in enumerate(partition_values())])
        if "column-statistics" in kinds:
            glue.update_column_statistics_for_table(
                DatabaseName=database, TableName="t0", ColumnStatisticsList=[
                    statistics("id", 1, 9), statistics("amount", 2, 7)])
        if "functions" in kinds:
            glue.create_user_defined_function(DatabaseName=database, FunctionInput={
                "FunctionName": "mask", "ClassName": "org.example.Mask", "OwnerType": "USER",
                "ResourceUris": [
                    {"ResourceType": "JAR", "Uri": f"{PRIMARY_ROOT}/code/mask.jar"}]})
        if "glue-tags" in kinds:
            for path in (f"database/{database}", f"table/{database}/t0"):
                glue.tag_resource(ResourceArn=arn(PRIMARY, path), TagsToAdd={"team": str(d)})
    glue.create_database(DatabaseInput={
        "Name": "linked", "TargetDatabase": {
            "CatalogId": ACCOUNT, "DatabaseName": "db0", "Region": PRIMARY}})


def partition_values():
    """Returns the values of the partition key, some of them with special characters."""
    plain = [f"2026-11-{n + 1:02}" for n in range(PARTITIONS - 4)]
    return plain + ["a/b=c, [d]#é", " ", "A", "a"]


def create_stale_standby(glue, functions=True):
    """Creates what the standby has before the first sync: an equal table, stale partitions that
    Twinlake did not create, and foreign objects."""
    glue.create_database(DatabaseInput={
        "Name": "db0", "Description": "the 0th", "Parameters": {"k": "v"},
        "LocationUri": f"{STANDBY_ROOT}/db0", "CreateTableDefaultPermissions": []})
    equal = hive_table("db0", "t1", STANDBY_ROOT)
    equal["Parameters"]["note"] = f"see {PRIMARY_ROOT}/x"
    glue.create_table(DatabaseName="db0", TableInput=equal)
    stale = [{"Values": ["2026-11-01"], "Parameters": {"n": "old"}},
             {"Values": ["gone"], "Parameters": {"n": "old"}}]
    glue.batch_create_partition(DatabaseName="db0", TableName="t1", PartitionInputList=stale)
    glue.create_table(DatabaseName="db0", TableInput={"Name": FOREIGN, "Description": "mine"})
    glue.create_database(DatabaseInput={"Name": FOREIGN, "CreateTableDefaultPermissions": []})
    glue.create_table(DatabaseName=FOREIGN, TableInput={"Name": "own"})
    if functions:
        glue.create_user_defined_function(DatabaseName="db0", FunctionInput={
            "FunctionName": FOREIGN, "ClassName": "org.example.Foreign"})


def without_foreign(differences):
    """Returns the differences except those of foreign objects."""
    return [line for line in differences if FOREIGN not in line.split(":")[0]]


def assert_foreign_unchanged(glue, functions=True):
    """Asserts that Twinlake did not change the foreign objects."""
    assert glue.get_table(DatabaseName="db0", Name=FOREIGN)["Table"]["Description"] == "mine"
    assert [t["Name"] for t in glue.get_tables(DatabaseName=FOREIGN)["TableList"]] == ["own"]
    if functions:
        function = glue.get_user_defined_function(DatabaseName="db0", FunctionName=FOREIGN)
        assert function["UserDefinedFunction"]["ClassName"] == "org.example.Foreign"
