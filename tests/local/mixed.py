"""A catalog with something of every kind in it, stale and foreign things in the secondary
included."""

import datetime

from stack import ACCOUNT, BUCKETS, PRIMARY, SECONDARY

HERE, THERE = f"s3://{BUCKETS[PRIMARY]}", f"s3://{BUCKETS[SECONDARY]}"
DAY = datetime.datetime(2026, 11, 20, tzinfo=datetime.timezone.utc)
DATABASES, TABLES, PARTITIONS = 3, 10, 20
# Names of things in the secondary that are nobody's counterpart.
FOREIGN_TABLE, FOREIGN_DATABASE = "db0.theirs", "theirs"


def arn(region, path):
    return f"arn:aws:glue:{region}:{ACCOUNT}:{path}"


def hive(database, name, root=HERE):
    return {
        "Name": name, "TableType": "EXTERNAL_TABLE", "Retention": 3, "Owner": "hadoop",
        "Parameters": {"classification": "parquet", "note": f"see {HERE}/x"},
        "PartitionKeys": [{"Name": "dt", "Type": "string"}],
        "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "bigint", "Comment": "key"},
                        {"Name": "amount", "Type": "double"}],
            "Location": f"{root}/{database}/{name}/", "Compressed": True,
            "AdditionalLocations": [f"{root}/{database}/more/"], "NumberOfBuckets": 2,
            "SerdeInfo": {"SerializationLibrary": "l", "Parameters": {
                "path": f"{root}/{database}/{name}"}}}}


def special(database):
    """Tables of every other kind, by their names."""
    def plain(name, **more):
        return {"Name": name, "StorageDescriptor": {
            "Columns": [{"Name": "id", "Type": "int"}],
            "Location": f"{HERE}/{database}/{name}/"}, **more}

    view = {
        "IsProtected": True, "Definer": f"arn:aws:iam::{ACCOUNT}:role/Definer",
        "SubObjects": [arn(PRIMARY, f"table/{database}/t0")],
        "Representations": [
            {"Dialect": dialect, "DialectVersion": "3", "ViewOriginalText": "select id from t0",
             "ViewExpandedText": f"select id from {arn(PRIMARY, f'table/{database}/t0')}"}
            for dialect in ("ATHENA", "SPARK")]}
    symlinks = plain("symlinks")
    symlinks["StorageDescriptor"]["InputFormat"] = (
        "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat")
    return [
        plain("projected", PartitionKeys=[{"Name": "dt", "Type": "date"}], Parameters={
            "projection.enabled": "true",
            "storage.location.template": f"{HERE}/{database}/projected/${{dt}}"}),
        plain("delta", Parameters={"table_type": "DELTA", "spark.sql.sources.provider": "delta",
                                   "path": f"{HERE}/{database}/delta"}),
        {"Name": "iceberg", "TableType": "EXTERNAL_TABLE", "Parameters": {
            "table_type": "ICEBERG",
            "metadata_location": f"{HERE}/{database}/iceberg/metadata/1.json"},
         "StorageDescriptor": {"Columns": [{"Name": "id", "Type": "int"}],
                               "Location": f"{HERE}/{database}/iceberg"}},
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


def fill(glue, apart=("functions", "indexes", "statistics", "tags")):
    """The primary. `apart` names the kinds with calls of their own that the service holds."""
    for d in range(DATABASES):
        database = f"db{d}"
        glue.create_database(DatabaseInput={
            "Name": database, "Description": f"the {d}th", "Parameters": {"k": "v"},
            "LocationUri": f"{HERE}/{database}", "CreateTableDefaultPermissions": []})
        others = special(database)
        for table in others:
            glue.create_table(DatabaseName=database, TableInput=table)
        for t in range(TABLES - len(others)):
            table = hive(database, f"t{t}")
            indexes = {"PartitionIndexes": [{"IndexName": "by_dt", "Keys": ["dt"]}]}
            glue.create_table(DatabaseName=database, TableInput=table,
                              **(indexes if "indexes" in apart and t == 0 else {}))
            glue.batch_create_partition(
                DatabaseName=database, TableName=table["Name"], PartitionInputList=[
                    {"Values": [value], "Parameters": {"n": str(n)}, "StorageDescriptor": {
                        "Location": f"{HERE}/{database}/t{t}/{n}/"}}
                    for n, value in enumerate(values())])
        if "statistics" in apart:
            glue.update_column_statistics_for_table(
                DatabaseName=database, TableName="t0", ColumnStatisticsList=[
                    statistics("id", 1, 9), statistics("amount", 2, 7)])
        if "functions" in apart:
            glue.create_user_defined_function(DatabaseName=database, FunctionInput={
                "FunctionName": "mask", "ClassName": "org.example.Mask", "OwnerType": "USER",
                "ResourceUris": [{"ResourceType": "JAR", "Uri": f"{HERE}/code/mask.jar"}]})
        if "tags" in apart:
            for path in (f"database/{database}", f"table/{database}/t0"):
                glue.tag_resource(ResourceArn=arn(PRIMARY, path), TagsToAdd={"team": str(d)})
    glue.create_database(DatabaseInput={
        "Name": "linked", "TargetDatabase": {
            "CatalogId": ACCOUNT, "DatabaseName": "db0", "Region": PRIMARY}})


def values():
    plain = [f"2026-11-{n + 1:02}" for n in range(PARTITIONS - 4)]
    return plain + ["a/b=c, [d]#é", " ", "A", "a"]


def spoil(glue, functions=True):
    """What stands in the secondary before the first sync: something equal, something stale
    of nobody's, something foreign."""
    glue.create_database(DatabaseInput={
        "Name": "db0", "Description": "the 0th", "Parameters": {"k": "v"},
        "LocationUri": f"{THERE}/db0", "CreateTableDefaultPermissions": []})
    equal = hive("db0", "t1", THERE)
    equal["Parameters"]["note"] = f"see {HERE}/x"
    glue.create_table(DatabaseName="db0", TableInput=equal)
    stale = [{"Values": ["2026-11-01"], "Parameters": {"n": "old"}},
             {"Values": ["gone"], "Parameters": {"n": "old"}}]
    glue.batch_create_partition(DatabaseName="db0", TableName="t1", PartitionInputList=stale)
    glue.create_table(DatabaseName="db0", TableInput={"Name": "theirs", "Description": "mine"})
    glue.create_database(DatabaseInput={"Name": "theirs", "CreateTableDefaultPermissions": []})
    glue.create_table(DatabaseName="theirs", TableInput={"Name": "own"})
    if functions:
        glue.create_user_defined_function(DatabaseName="db0", FunctionInput={
            "FunctionName": "theirs", "ClassName": "org.example.Theirs"})


def without_foreign(found):
    """Differences, but for what is nobody's counterpart."""
    return [line for line in found if "theirs" not in line.split(":")[0]]


def untouched(glue, functions=True):
    """Whether the foreign things are as they were."""
    assert glue.get_table(DatabaseName="db0", Name="theirs")["Table"]["Description"] == "mine"
    assert [t["Name"] for t in glue.get_tables(DatabaseName="theirs")["TableList"]] == ["own"]
    if functions:
        theirs = glue.get_user_defined_function(DatabaseName="db0", FunctionName="theirs")
        assert theirs["UserDefinedFunction"]["ClassName"] == "org.example.Theirs"
    return True
