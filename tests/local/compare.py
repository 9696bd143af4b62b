"""Whether two Regions are identical: an independent judge.

It reads raw JSON through boto3 and has a mapping of its own. It knows nothing of Twinlake's
code, and counts whatever it does not know as a difference.

    python compare.py --primary us-east-1 --secondary ap-south-1 \\
        --location s3://lake-us-east-1=s3://lake-ap-south-1
"""

import argparse
import json
import sys

import boto3

# What a read adds and no input takes.
READ_ONLY = {
    "CatalogId", "CreateTime", "CreatedBy", "CreationTime", "DatabaseName",
    "IsMaterializedView", "IsMultiDialectView", "IsRegisteredWithLakeFormation", "Status",
    "TableCatalogId", "TableName", "UpdateTime", "VersionId",
}
PLACES = {"ArtifactLocation", "Location", "LocationUri"}
PLACE_LISTS = {"AdditionalLocations"}
PLACE_MAPS = {"SkewedColumnValueLocationMaps"}
PLACE_PARAMETERS = {"metadata_location", "previous_metadata_location",
                    "storage.location.template"}
# Of a table of a table format, these parameters hold a place, too.
FORMAT_PARAMETERS = {"location", "path"}
FORMATS = {"delta", "hudi"}
# Where ARNs of the catalog stand, in the midst of other text.
ARN_TEXTS = {"SubObjects", "ValidationConnection", "ViewExpandedText"}
# What has calls of its own.
APART = ("functions", "indexes", "statistics", "tags")
# What Lake Formation keeps beside grants.
LAKE = ("lf-tags", "assigned", "filters", "expressions", "opt-ins", "locations")


def pages(call, key, **request):
    while True:
        answer = call(**request)
        yield from answer.get(key, [])
        if not answer.get("NextToken"):
            return
        request["NextToken"] = answer["NextToken"]


def snapshot(glue, lake, apart=APART, kinds=()):
    """Everything of one Region that is compared, as raw JSON. `apart` and `kinds` name the
    kinds that have calls of their own and are asked for."""
    databases = {d["Name"]: d for d in pages(glue.get_databases, "DatabaseList")}
    tables, partitions = {}, {}
    others = {kind: {} for kind in APART + LAKE}
    read_lake(lake, others, kinds)
    for database in databases:
        if databases[database].get("TargetDatabase"):
            # Below a link stands what belongs to its target.
            continue
        read_functions(glue, database, others, apart)
        read_assigned(lake, {"Database": {"Name": database}}, database, others, kinds)
        read_tags(glue, f"database/{database}", others, apart)
        for table in pages(glue.get_tables, "TableList", DatabaseName=database):
            name = f"{database}.{table['Name']}"
            tables[name] = table
            if not table.get("TargetTable"):
                read_parts(glue, database, table, others, apart)
                where = {"DatabaseName": database, "Name": table["Name"]}
                read_assigned(lake, {"Table": where}, name, others, kinds)
                if "filters" in kinds:
                    for one in pages(lake.list_data_cells_filter, "DataCellsFilters",
                                     Table=where):
                        others["filters"][f"{name} {one['Name']}"] = one
            if table.get("PartitionKeys") and not table.get("TargetTable"):
                listed = pages(glue.get_partitions, "Partitions",
                               DatabaseName=database, TableName=table["Name"])
                for partition in listed:
                    partitions[f"{name} {json.dumps(partition['Values'])}"] = partition
    settings = lake.get_data_lake_settings()["DataLakeSettings"]
    admins = [p["DataLakePrincipalIdentifier"] for key in ("DataLakeAdmins", "ReadOnlyAdmins")
              for p in settings.get(key, [])]
    listed = list(pages(lake.list_permissions, "PrincipalResourcePermissions"))
    return {"databases": databases, "tables": tables, "partitions": partitions,
            "grants": listed, "admins": admins, "region": glue.meta.region_name, **others}


def read_lake(lake, others, kinds):
    if "lf-tags" in kinds:
        for one in pages(lake.list_lf_tags, "LFTags"):
            values = {value: "there" for value in one["TagValues"]}
            others["lf-tags"][one["TagKey"]] = values
    if "expressions" in kinds:
        for one in pages(lake.list_lf_tag_expressions, "LFTagExpressions"):
            values = {tag["TagKey"]: sorted(tag["TagValues"]) for tag in one["Expression"]}
            others["expressions"][one["Name"]] = {**one, "Expression": values}
    if "opt-ins" in kinds:
        for one in pages(lake.list_lake_formation_opt_ins, "LakeFormationOptInsInfoList"):
            text = json.dumps([one["Principal"], one["Resource"]], sort_keys=True)
            others["opt-ins"][text] = {
                "Principal": one["Principal"], "Resource": one["Resource"],
                "Condition": one.get("Condition")}
    if "locations" in kinds:
        for one in pages(lake.list_resources, "ResourceInfoList"):
            others["locations"][one["ResourceArn"].rstrip("/")] = {
                k: v for k, v in one.items() if k not in ("LastModified", "VerificationStatus")}


def read_assigned(lake, resource, name, others, kinds):
    if "assigned" not in kinds:
        return
    found = lake.get_resource_lf_tags(Resource=resource, ShowAssignedLFTags=True)
    key = "LFTagOnDatabase" if "Database" in resource else "LFTagsOnTable"

    def pairs(tags):
        return {tag["TagKey"]: sorted(tag["TagValues"]) for tag in tags or []}
    own = {"": pairs(found.get(key))}
    for column in found.get("LFTagsOnColumns", []):
        own[column["Name"]] = pairs(column["LFTags"])
    own = {column: tags for column, tags in own.items() if tags}
    if own:
        others["assigned"][name] = own


def read_functions(glue, database, others, apart):
    if "functions" in apart:
        listed = pages(glue.get_user_defined_functions, "UserDefinedFunctions",
                       DatabaseName=database, Pattern="*")
        for function in listed:
            others["functions"][f"{database}.{function['FunctionName']}"] = function


def read_tags(glue, path, others, apart):
    if "tags" in apart:
        arn = f"arn:aws:glue:{glue.meta.region_name}:111122223333:{path}"
        for key, value in glue.get_tags(ResourceArn=arn).get("Tags", {}).items():
            others["tags"][f"{path} {key}"] = {"value": value}


def read_parts(glue, database, table, others, apart):
    name, where = table["Name"], {"DatabaseName": database, "TableName": table["Name"]}
    read_tags(glue, f"table/{database}/{name}", others, apart)
    if "indexes" in apart and table.get("PartitionKeys"):
        for index in pages(glue.get_partition_indexes, "PartitionIndexDescriptorList", **where):
            if index["IndexStatus"] != "DELETING":
                keys = [key["Name"] for key in index["Keys"]]
                others["indexes"][f"{database}.{name} {index['IndexName']}"] = {"keys": keys}
    columns = [c["Name"] for c in table.get("StorageDescriptor", {}).get("Columns", [])]
    if "statistics" in apart and columns:
        found = glue.get_column_statistics_for_table(**where, ColumnNames=columns[:100])
        for one in found["ColumnStatisticsList"]:
            others["statistics"][f"{database}.{name} {one['ColumnName']}"] = one


def place(text, pairs):
    for here, there in sorted(pairs, key=lambda pair: -len(pair[0])):
        here, there = here.rstrip("/"), there.rstrip("/")
        if text == here or text.startswith(here + "/"):
            return there + text[len(here):]
    return text


def arn(text, pairs):
    """A place that is written as an ARN."""
    head = "arn:aws:s3:::"
    mapped = place("s3://" + text.removeprefix(head).rstrip("/"), pairs)
    return head + mapped.removeprefix("s3://")


def own(value):
    """Of a resource link its name and where it points: all else is its target's."""
    for target in ("TargetDatabase", "TargetTable"):
        if value.get(target):
            return {"Name": value["Name"], target: value[target]}
    return value


def mapped(value, pairs, regions, path=(), formatted=False):
    """An object as it should stand on the other side."""
    key = path[-1] if path else None
    if isinstance(value, dict):
        if not path:
            parameters = value.get("Parameters") or {}
            formatted = (parameters.get("table_type", "").lower() in FORMATS
                         or "spark.sql.sources.provider" in parameters)
            if "metadata_location" in parameters:
                # An Iceberg entry is copied as it is.
                pairs = []
        return {k: mapped(v, pairs, regions, path + (k,), formatted) for k, v in value.items()}
    if isinstance(value, list):
        return [mapped(v, pairs, regions, path, formatted) for v in value]
    if not isinstance(value, str):
        return value
    if key == "ResourceArn":
        return arn(value, pairs)
    parent = path[-2] if len(path) > 1 else None
    in_table = path[:-1] == ("Parameters",) and key in PLACE_PARAMETERS
    in_serde = path[-3:] == ("SerdeInfo", "Parameters", "path")
    in_format = formatted and path[:-1] == ("Parameters",) and key in FORMAT_PARAMETERS
    in_code = path == ("ResourceUris", "Uri")
    if (key in PLACES | PLACE_LISTS or parent in PLACE_MAPS or in_table or in_serde
            or in_format or in_code):
        return place(value, pairs)
    here, there = regions
    if path[0] == "ViewDefinition" and key in ARN_TEXTS:
        return value.replace(f":glue:{here}:", f":glue:{there}:")
    if path[-2:] in (("TargetDatabase", "Region"), ("TargetTable", "Region")) and value == here:
        return there
    return value


def plain(value):
    """Without what is empty: Glue does not tell absent and empty apart, nor 0 and nothing."""
    if isinstance(value, dict):
        cleaned = {k: plain(v) for k, v in value.items()}
        return {k: v for k, v in cleaned.items() if v not in (None, "", [], {})}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return str(value) if hasattr(value, "isoformat") else value


def comparable(kind, value):
    value = {k: v for k, v in own(value).items() if k not in READ_ONLY}
    for representation in (value.get("ViewDefinition") or {}).get("Representations", []):
        representation.pop("IsStale", None)
    if kind == "databases":
        # The standby's stays closed, whatever the primary's is.
        value.pop("CreateTableDefaultPermissions", None)
    if isinstance(value.get("Parameters"), dict):
        value["Parameters"] = {
            k: v for k, v in value["Parameters"].items() if k != "transient_lastDdlTime"}
    return plain(value)


def atoms(side, ignored):
    """Grants as a set of single permissions, whatever shape the service listed them in.

    A grant may outlive the table that it was on; it gives nothing then, and is left out.
    """
    found = set()
    for entry in side["grants"]:
        if dangles(entry["Resource"], side["tables"]):
            continue
        who = entry["Principal"]["DataLakePrincipalIdentifier"]
        if who in ignored or ":role/twinlake/" in who:
            continue
        condition = entry.get("Condition", {}).get("Expression", "")
        for resource in resources(entry["Resource"]):
            for permission in entry["Permissions"]:
                option = permission in entry.get("PermissionsWithGrantOption", [])
                found.add((who, resource, permission, option, condition))
    return found


def dangles(resource, tables):
    for kind in ("Table", "TableWithColumns"):
        value = resource.get(kind) or {}
        name = value.get("Name")
        if name and name != "ALL_TABLES":
            return f"{value['DatabaseName']}.{name}" not in tables
    return False


def resources(resource):
    (kind, value), = [(k, v) for k, v in resource.items() if v is not None]
    if kind == "Database":
        return [f"database {value['Name']}"]
    name = value.get("Name")
    wild = value.get("TableWildcard") is not None
    if wild and name not in (None, "ALL_TABLES"):
        return [json.dumps(resource, sort_keys=True)]
    everything = wild or name == "ALL_TABLES"
    if kind == "Table":
        return [f"table {value['DatabaseName']}.{'*' if everything else value['Name']}"]
    if kind == "TableWithColumns":
        table = f"table {value['DatabaseName']}.{'*' if everything else value['Name']}"
        if value.get("ColumnWildcard") is None:
            return [f"column {column} of {table}" for column in value["ColumnNames"]]
        excluded = sorted(value["ColumnWildcard"].get("ExcludedColumnNames", []))
        return [f"{table} but {','.join(excluded)}" if excluded else table]
    return governed(kind, value) or [json.dumps(resource, sort_keys=True)]


def governed(kind, value):
    """Resources that are no database and no table."""
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
        named = value.get("ExpressionName")
        rule = named or sorted(
            (tag["TagKey"], sorted(tag["TagValues"])) for tag in value["Expression"])
        return [f"policy {value['ResourceType']} {rule}"]
    return None


def differences(primary, secondary, pairs):
    """Every difference, as text."""
    found = []
    regions = primary["region"], secondary["region"]
    for kind in ("databases", "tables", "partitions", *APART, *LAKE):
        wanted = {arn(n, pairs) if kind == "locations" else n:
                  comparable(kind, mapped(v, pairs, regions))
                  for n, v in primary[kind].items()}
        there = {n: comparable(kind, v) for n, v in secondary[kind].items()}
        for name in sorted(wanted.keys() | there.keys()):
            if wanted.get(name) != there.get(name):
                found.append(f"{kind} {name}: {there.get(name)} instead of {wanted.get(name)}")
    for database in secondary["databases"].values():
        if database.get("TargetDatabase"):
            continue
        if database.get("CreateTableDefaultPermissions", []) != []:
            found.append(f"databases {database['Name']}: open to new tables")
    ignored = set(primary["admins"]) | set(secondary["admins"])
    there = atoms(secondary, ignored)
    moved = json.loads(json.dumps(primary["grants"], default=str))
    for entry in moved:
        location = entry["Resource"].get("DataLocation")
        if location:
            location["ResourceArn"] = arn(location["ResourceArn"], pairs)
    wanted = atoms({**primary, "grants": moved}, ignored)
    found += [f"missing grant {atom}" for atom in sorted(wanted - there)]
    found += [f"extra grant {atom}" for atom in sorted(there - wanted)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--primary", required=True)
    parser.add_argument("--secondary", required=True)
    parser.add_argument("--location", action="append", default=[], metavar="HERE=THERE")
    parser.add_argument("--endpoint")
    options = parser.parse_args()
    pairs = [tuple(pair.split("=", 1)) for pair in options.location]

    def side(region):
        return snapshot(*(boto3.client(s, region_name=region, endpoint_url=options.endpoint)
                          for s in ("glue", "lakeformation")))

    found = differences(side(options.primary), side(options.secondary), pairs)
    print("\n".join(found) if found else "identical")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
