"""Compares the raw JSON of two Regions: an independent check that the standby equals the primary.

It reads through boto3, has its own mapping of locations, and shares no code with Twinlake. A field
that it does not know counts as a difference if its values differ.

    python3 compare.py --primary us-east-1 --standby ap-south-1 \\
        --location s3://lake-us-east-1=s3://lake-ap-south-1
"""

import argparse
import base64
import json
import re
import sys

import boto3

# Top-level fields that are not compared: Glue or Lake Formation sets them, or they name the object, which its key
# does, too.
READ_ONLY = {
    "CatalogId", "CreateTime", "CreatedBy", "CreationTime", "DatabaseName",
    "IsMaterializedView", "IsMultiDialectView", "IsRegisteredWithLakeFormation", "Status",
    "TableCatalogId", "TableName", "UpdateTime", "VersionId",
}
# Fields that hold a location, a list of locations, or a map whose values are locations.
LOCATION_FIELDS = {"ArtifactLocation", "Location", "LocationUri"}
LOCATION_LISTS = {"AdditionalLocations"}
LOCATION_MAPS = {"SkewedColumnValueLocationMaps"}
# Parameters of tables and partitions that hold a location.
LOCATION_PARAMETERS = {"avro.schema.url", "flink.path", "storage.location.template"}
# Parameters of a SerDe that hold a location.
SERDE_LOCATION_PARAMETERS = {"avro.schema.url", "path"}
# Parameters that hold a JSON list of patterns, each for a location.
PATTERN_PARAMETERS = {"exclusions"}
# Table parameters that hold a location only in tables of these formats.
FORMAT_LOCATION_PARAMETERS = {"location", "path"}
FORMATS = {"delta", "hudi"}
# Fields of a view definition that contain catalog ARNs within other text.
ARN_TEXTS = {"SubObjects", "ValidationConnection", "ViewExpandedText"}
# The account of local services that return no CatalogId.
TEST_ACCOUNT = "111122223333"
# Kinds of Glue objects that have API calls of their own.
GLUE_KINDS = ("functions", "partition-indexes", "column-statistics", "glue-tags")
# Kinds of Lake Formation objects except grants.
LAKEFORMATION_KINDS = ("lf-tags", "lf-tag-assignments", "data-cells-filters",
                       "lf-tag-expressions", "opt-ins", "registrations")


def paginate(call, key, **request):
    """Yields the items of all pages of a listing."""
    while True:
        response = call(**request)
        yield from response.get(key, [])
        if not response.get("NextToken"):
            return
        request["NextToken"] = response["NextToken"]


def snapshot(glue, lf, glue_kinds=GLUE_KINDS, lf_kinds=()):
    """Reads one Region as raw JSON: databases, tables, partitions, grants and administrators.

    `glue_kinds` and `lf_kinds` name those of GLUE_KINDS and LAKEFORMATION_KINDS to read, too. Of a table, the
    statistics of the first 100 columns are read.
    """
    databases = {d["Name"]: d for d in paginate(glue.get_databases, "DatabaseList")}
    tables, partitions = {}, {}
    others = {kind: {} for kind in GLUE_KINDS + LAKEFORMATION_KINDS}
    read_lakeformation(lf, others, lf_kinds)
    for database in databases:
        if databases[database].get("TargetDatabase"):
            # A resource link lists the tables of its target.
            continue
        read_functions(glue, database, others, glue_kinds)
        read_lf_tag_assignments(lf, {"Database": {"Name": database}}, database, others, lf_kinds)
        account = databases[database].get("CatalogId", TEST_ACCOUNT)
        read_glue_tags(glue, account, f"database/{database}", others, glue_kinds)
        for table in paginate(glue.get_tables, "TableList", DatabaseName=database):
            name = f"{database}.{table['Name']}"
            tables[name] = without_athena_view_derivations(table)
            if not table.get("TargetTable"):
                read_table_objects(glue, database, table, others, glue_kinds)
                resource = {"DatabaseName": database, "Name": table["Name"]}
                read_lf_tag_assignments(lf, {"Table": resource}, name, others, lf_kinds)
                if "data-cells-filters" in lf_kinds:
                    for data_filter in paginate(lf.list_data_cells_filter, "DataCellsFilters",
                                                Table=resource):
                        key = f"{name} {data_filter['Name']}"
                        others["data-cells-filters"][key] = data_filter
            if table.get("PartitionKeys") and not table.get("TargetTable"):
                listed = paginate(glue.get_partitions, "Partitions",
                                  DatabaseName=database, TableName=table["Name"])
                for partition in listed:
                    partitions[f"{name} {json.dumps(partition['Values'])}"] = partition
    settings = lf.get_data_lake_settings()["DataLakeSettings"]
    admins = [p["DataLakePrincipalIdentifier"] for key in ("DataLakeAdmins", "ReadOnlyAdmins")
              for p in settings.get(key, [])]
    grants = list(paginate(lf.list_permissions, "PrincipalResourcePermissions"))
    return {"databases": databases, "tables": tables, "partitions": partitions,
            "grants": grants, "admins": admins, "region": glue.meta.region_name, **others}


def without_athena_view_derivations(table):
    """Removes what Glue derives from the SQL of an ATHENA view: no input takes it."""
    representations = table.get("ViewDefinition", {}).get("Representations", [])
    if not any(one.get("Dialect") == "ATHENA" for one in representations):
        return table
    derived = {"StorageDescriptor", "ViewOriginalText", "ViewExpandedText"}
    table = {key: value for key, value in table.items() if key not in derived}
    shown = []
    for one in representations:
        if one.get("Dialect") == "ATHENA":
            one = {key: value for key, value in one.items() if key != "ViewExpandedText"}
            encoded = re.match(r"/\* Presto View: (\S+) \*/", one.get("ViewOriginalText") or "")
            if encoded:
                one["ViewOriginalText"] = json.loads(base64.b64decode(encoded[1]))["originalSql"]
        shown.append(one)
    return {**table, "ViewDefinition": {**table["ViewDefinition"], "Representations": shown}}


def read_lakeformation(lf, others, kinds):
    if "lf-tags" in kinds:
        for lf_tag in paginate(lf.list_lf_tags, "LFTags"):
            values = {value: "present" for value in lf_tag["TagValues"]}
            others["lf-tags"][lf_tag["TagKey"]] = values
    if "lf-tag-expressions" in kinds:
        for expression in paginate(lf.list_lf_tag_expressions, "LFTagExpressions"):
            values = {tag["TagKey"]: sorted(tag["TagValues"]) for tag in expression["Expression"]}
            others["lf-tag-expressions"][expression["Name"]] = {**expression, "Expression": values}
    if "opt-ins" in kinds:
        for opt_in in paginate(lf.list_lake_formation_opt_ins, "LakeFormationOptInsInfoList"):
            key = json.dumps([opt_in["Principal"], opt_in["Resource"]], sort_keys=True)
            others["opt-ins"][key] = {
                "Principal": opt_in["Principal"], "Resource": opt_in["Resource"],
                "Condition": opt_in.get("Condition")}
    if "registrations" in kinds:
        for registration in paginate(lf.list_resources, "ResourceInfoList"):
            others["registrations"][registration["ResourceArn"].rstrip("/")] = {
                k: v for k, v in registration.items()
                if k not in ("LastModified", "VerificationStatus")}


def read_lf_tag_assignments(lf, resource, name, others, kinds):
    """Reads the LF-Tags assigned to a database, or to a table and its columns."""
    if "lf-tag-assignments" not in kinds:
        return
    response = lf.get_resource_lf_tags(Resource=resource, ShowAssignedLFTags=True)
    key = "LFTagOnDatabase" if "Database" in resource else "LFTagsOnTable"

    def values_by_key(tags):
        return {tag["TagKey"]: sorted(tag["TagValues"]) for tag in tags or []}
    # By column; the empty name stands for the database or the table itself.
    assigned = {"": values_by_key(response.get(key))}
    for column in response.get("LFTagsOnColumns", []):
        assigned[column["Name"]] = values_by_key(column["LFTags"])
    assigned = {column: tags for column, tags in assigned.items() if tags}
    if assigned:
        others["lf-tag-assignments"][name] = assigned


def read_functions(glue, database, others, kinds):
    if "functions" in kinds:
        # Whether the pattern is a regular expression or a wildcard pattern is not documented (F-7): both are tried.
        for pattern in (".*", "*"):
            listed = paginate(glue.get_user_defined_functions, "UserDefinedFunctions",
                              DatabaseName=database, Pattern=pattern)
            try:
                for function in listed:
                    others["functions"][f"{database}.{function['FunctionName']}"] = function
            except glue.exceptions.InvalidInputException:
                if pattern == ".*":
                    raise


def read_glue_tags(glue, account, path, others, kinds):
    if "glue-tags" in kinds:
        arn = f"arn:{glue.meta.partition}:glue:{glue.meta.region_name}:{account}:{path}"
        for key, value in glue.get_tags(ResourceArn=arn).get("Tags", {}).items():
            others["glue-tags"][f"{path} {key}"] = {"value": value}


def read_table_objects(glue, database, table, others, kinds):
    """Reads the Glue tags, the partition indexes and the column statistics of a table."""
    name, request = table["Name"], {"DatabaseName": database, "TableName": table["Name"]}
    account = table.get("CatalogId", TEST_ACCOUNT)
    read_glue_tags(glue, account, f"table/{database}/{name}", others, kinds)
    if "partition-indexes" in kinds and table.get("PartitionKeys"):
        listed = paginate(glue.get_partition_indexes, "PartitionIndexDescriptorList", **request)
        for index in listed:
            if index["IndexStatus"] != "DELETING":
                keys = [key["Name"] for key in index["Keys"]]
                key = f"{database}.{name} {index['IndexName']}"
                others["partition-indexes"][key] = {"keys": keys}
    columns = [c["Name"] for c in table.get("StorageDescriptor", {}).get("Columns", [])]
    if "column-statistics" in kinds and columns:
        response = glue.get_column_statistics_for_table(**request, ColumnNames=columns[:100])
        for statistics in response["ColumnStatisticsList"]:
            key = f"{database}.{name} {statistics['ColumnName']}"
            others["column-statistics"][key] = statistics


def map_location(text, pairs):
    """Maps a location of the primary to the standby. `pairs` holds (primary, standby) roots."""
    for primary, standby in sorted(pairs, key=lambda pair: -len(pair[0])):
        primary, standby = primary.rstrip("/"), standby.rstrip("/")
        if text == primary or text.startswith(primary + "/"):
            return standby + text[len(primary):]
    return text


def map_location_arn(arn, pairs):
    """Maps a location that is written as an S3 ARN."""
    prefix = "arn:aws:s3:::"
    mapped = map_location("s3://" + arn.removeprefix(prefix).rstrip("/"), pairs)
    return prefix + mapped.removeprefix("s3://")


def without_link_target_fields(value):
    """Returns the fields of an object that are its own. A resource link owns only its name and its
    target; Glue returns the target's fields with it."""
    for target in ("TargetDatabase", "TargetTable"):
        if value.get(target):
            return {"Name": value["Name"], target: value[target]}
    return value


def map_to_standby(value, pairs, regions, path=(), has_format=False):
    """Returns an object of the primary as it is expected in the standby.

    `path` is the path of `value` in the object. `has_format` says whether the object is a table of
    one of FORMATS or of any Spark data source.
    """
    key = path[-1] if path else None
    if isinstance(value, dict):
        if not path:
            parameters = value.get("Parameters") or {}
            has_format = (parameters.get("table_type", "").lower() in FORMATS
                          or "spark.sql.sources.provider" in parameters)
            if "metadata_location" in parameters:
                # With `iceberg = "pointer"`, the entry is copied unchanged.
                pairs = []
        return {k: map_to_standby(v, pairs, regions, path + (k,), has_format)
                for k, v in value.items()}
    if isinstance(value, list):
        return [map_to_standby(v, pairs, regions, path, has_format) for v in value]
    if not isinstance(value, str):
        return value
    if key == "ResourceArn":
        return map_location_arn(value, pairs)
    parent = path[-2] if len(path) > 1 else None
    is_in_parameters = path[:-1] == ("Parameters",) and key in LOCATION_PARAMETERS
    is_in_serde = (path[-3:-1] == ("SerdeInfo", "Parameters")
                   and key in SERDE_LOCATION_PARAMETERS)
    is_in_descriptor = path == ("StorageDescriptor", "Parameters", "avro.schema.url")
    has_patterns = (path[:-1] in (("Parameters",), ("StorageDescriptor", "Parameters"))
                    and key in PATTERN_PARAMETERS)
    if has_patterns and value.startswith("["):
        return json.dumps([map_location(pattern, pairs) for pattern in json.loads(value)],
                          separators=(",", ":"))
    is_in_format = (has_format and path[:-1] == ("Parameters",)
                    and key in FORMAT_LOCATION_PARAMETERS)
    is_code_location = path == ("ResourceUris", "Uri")
    if (key in LOCATION_FIELDS | LOCATION_LISTS or parent in LOCATION_MAPS or is_in_parameters
            or is_in_serde or is_in_descriptor or is_in_format or is_code_location):
        return map_location(value, pairs)
    primary, standby = regions
    if path[0] == "ViewDefinition" and key in ARN_TEXTS:
        return value.replace(f":glue:{primary}:", f":glue:{standby}:")
    is_link_region = path[-2:] in (("TargetDatabase", "Region"), ("TargetTable", "Region"))
    return standby if is_link_region and value == primary else value


def without_empty(value):
    """Removes empty fields: Glue does not distinguish an empty field from an absent one."""
    if isinstance(value, dict):
        cleaned = {k: without_empty(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v not in (None, "", [], {})}
    if isinstance(value, list):
        return [without_empty(v) for v in value]
    return str(value) if hasattr(value, "isoformat") else value


def comparable(kind, value):
    """Returns the fields of an object that are compared."""
    value = {k: v for k, v in without_link_target_fields(value).items() if k not in READ_ONLY}
    for representation in (value.get("ViewDefinition") or {}).get("Representations", []):
        representation.pop("IsStale", None)
    if kind == "databases":
        # The standby's default permissions stay empty, whatever the primary's are.
        value.pop("CreateTableDefaultPermissions", None)
    if isinstance(value.get("Parameters"), dict):
        value["Parameters"] = {
            k: v for k, v in value["Parameters"].items() if k != "transient_lastDdlTime"}
    if isinstance(value.get("StorageDescriptor"), dict):
        # The columns of a schema in the registry are compared instead of the reference to it.
        value["StorageDescriptor"] = {
            k: v for k, v in value["StorageDescriptor"].items() if k != "SchemaReference"}
    return without_empty(value)


def single_permissions(snapshot, ignored):
    """Returns the grants of a snapshot as a set of single permissions, independent of how the
    service grouped them.

    A grant that remains after its table was deleted gives no access and is left out, as are the
    grants of the `ignored` principals and of Twinlake's roles.
    """
    permissions = set()
    for entry in snapshot["grants"]:
        if is_dangling(entry["Resource"], snapshot["tables"]):
            continue
        principal = entry["Principal"]["DataLakePrincipalIdentifier"]
        if principal in ignored or ":role/twinlake/" in principal:
            continue
        condition = entry.get("Condition", {}).get("Expression", "")
        for resource in resource_names(entry["Resource"]):
            for permission in entry["Permissions"]:
                is_grantable = permission in entry.get("PermissionsWithGrantOption", [])
                permissions.add((principal, resource, permission, is_grantable, condition))
    return permissions


def is_dangling(resource, tables):
    """Whether a resource names a table that does not exist."""
    for kind in ("Table", "TableWithColumns"):
        value = resource.get(kind) or {}
        name = value.get("Name")
        if name and name != "ALL_TABLES":
            return f"{value['DatabaseName']}.{name}" not in tables
    return False


def resource_names(resource):
    """Returns a name for each object that a grant's resource covers."""
    (kind, value), = [(k, v) for k, v in resource.items() if v is not None]
    if kind == "Database":
        return [f"database {value['Name']}"]
    name = value.get("Name")
    has_wildcard = value.get("TableWildcard") is not None
    if has_wildcard and name not in (None, "ALL_TABLES"):
        return [json.dumps(resource, sort_keys=True)]
    is_all_tables = has_wildcard or name == "ALL_TABLES"
    if kind == "Table":
        return [f"table {value['DatabaseName']}.{'*' if is_all_tables else value['Name']}"]
    if kind == "TableWithColumns":
        table = f"table {value['DatabaseName']}.{'*' if is_all_tables else value['Name']}"
        if value.get("ColumnWildcard") is None:
            return [f"column {column} of {table}" for column in value["ColumnNames"]]
        excluded = sorted(value["ColumnWildcard"].get("ExcludedColumnNames", []))
        return [f"{table} except {','.join(excluded)}" if excluded else table]
    return lakeformation_names(kind, value) or [json.dumps(resource, sort_keys=True)]


def lakeformation_names(kind, value):
    """Returns the names for a resource that is neither a database nor a table, or None."""
    if kind == "Catalog":
        return ["catalog"]
    if kind == "DataLocation":
        return [f"location {value['ResourceArn'].rstrip('/')}"]
    if kind == "DataCellsFilter":
        return [f"filter {value['DatabaseName']}.{value['TableName']} {value['Name']}"]
    if kind == "LFTag":
        return [f"lf-tag {value['TagKey']}={v}" for v in value["TagValues"]]
    if kind == "LFTagExpression":
        return [f"expression {value['Name']}"]
    if kind == "LFTagPolicy":
        name = value.get("ExpressionName")
        expression = name or sorted(
            (tag["TagKey"], sorted(tag["TagValues"])) for tag in value["Expression"])
        return [f"policy {value['ResourceType']} {expression}"]
    return None


def differences(primary, standby, pairs):
    """Returns every difference between two snapshots, as text. `pairs` maps locations."""
    found = []
    regions = primary["region"], standby["region"]
    for kind in ("databases", "tables", "partitions", *GLUE_KINDS, *LAKEFORMATION_KINDS):
        expected = {map_location_arn(n, pairs) if kind == "registrations" else n:
                    comparable(kind, map_to_standby(v, pairs, regions))
                    for n, v in primary[kind].items()}
        actual = {n: comparable(kind, v) for n, v in standby[kind].items()}
        for name in sorted(expected.keys() | actual.keys()):
            if expected.get(name) != actual.get(name):
                found.append(f"{kind} {name}: {actual.get(name)} instead of {expected.get(name)}")
    for database in standby["databases"].values():
        if database.get("TargetDatabase"):
            continue
        if database.get("CreateTableDefaultPermissions", []) != []:
            found.append(f"databases {database['Name']}: has default permissions for new tables")
    ignored = set(primary["admins"]) | set(standby["admins"])
    actual = single_permissions(standby, ignored)
    grants = json.loads(json.dumps(primary["grants"], default=str))
    for entry in grants:
        location = entry["Resource"].get("DataLocation")
        if location:
            location["ResourceArn"] = map_location_arn(location["ResourceArn"], pairs)
    expected = single_permissions({**primary, "grants": grants}, ignored)
    found += [f"missing grant {permission}" for permission in sorted(expected - actual)]
    found += [f"extra grant {permission}" for permission in sorted(actual - expected)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--primary", required=True)
    parser.add_argument("--standby", required=True)
    parser.add_argument("--location", action="append", default=[], metavar="PRIMARY=STANDBY")
    parser.add_argument("--endpoint")
    options = parser.parse_args()
    pairs = [tuple(pair.split("=", 1)) for pair in options.location]

    def read_region(region):
        return snapshot(*(boto3.client(s, region_name=region, endpoint_url=options.endpoint)
                          for s in ("glue", "lakeformation")), lf_kinds=LAKEFORMATION_KINDS)

    found = differences(read_region(options.primary), read_region(options.standby), pairs)
    print("\n".join(found) if found else "identical")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
