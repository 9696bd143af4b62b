"""A lake with every kind of permission in it, made with boto3."""

from stack import ACCOUNT, BUCKETS, PRIMARY

COLUMNS = ["id", "amount", "ssn", "note"]
DATABASES = ("sales", "hr")
TABLES = 4


def role(name):
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


PRINCIPALS = [
    role("Analyst"), role("team/Engineer"), f"arn:aws:iam::{ACCOUNT}:user/ann",
    f"arn:aws:iam::{ACCOUNT}:saml-provider/Corp:user/bob",
    f"arn:aws:iam::{ACCOUNT}:saml-provider/Corp:group/finance",
    "arn:aws:identitystore:::group/00000000-1111-4222-8333-444455556666",
    f"arn:aws:quicksight:{PRIMARY}:{ACCOUNT}:user/default/cay",
    "444455556666", f"{ACCOUNT}:IAMPrincipals",
    f"arn:aws:organizations::{ACCOUNT}:organization/o-abcdefghij",
]


def who(principal):
    return {"DataLakePrincipalIdentifier": principal}


def place(database):
    return f"arn:aws:s3:::{BUCKETS[PRIMARY]}/{database}"


def catalog(glue):
    """Databases and tables to grant on."""
    for database in DATABASES:
        glue.create_database(DatabaseInput={
            "Name": database, "CreateTableDefaultPermissions": [],
            "LocationUri": f"s3://{BUCKETS[PRIMARY]}/{database}"})
        for number in range(TABLES):
            glue.create_table(DatabaseName=database, TableInput={
                "Name": f"t{number}", "StorageDescriptor": {
                    "Columns": [{"Name": c, "Type": "string"} for c in COLUMNS],
                    "Location": f"s3://{BUCKETS[PRIMARY]}/{database}/t{number}/"}})


def on_table(database, number):
    return {"DatabaseName": database, "Name": f"t{number}"}


def govern(lake, moto=False):
    """LF-Tags, where they are assigned, registrations; and, but for moto, the rest."""
    lake.create_lf_tag(TagKey="team", TagValues=["a", "b"])
    lake.create_lf_tag(TagKey="pii", TagValues=["yes", "no"])
    if not moto:
        lake.create_lf_tag(TagKey="many", TagValues=[f"v{n}" for n in range(50)])
        lake.update_lf_tag(TagKey="many", TagValuesToAdd=[f"v{n}" for n in range(50, 70)])

    def tag(resource, **tags):
        answer = lake.add_lf_tags_to_resource(
            Resource=resource,
            LFTags=[{"TagKey": k, "TagValues": [v]} for k, v in tags.items()])
        assert not answer["Failures"], answer
    tag({"Database": {"Name": "sales"}}, team="a")
    tag({"Table": on_table("sales", 0)}, team="b", pii="no")
    tag({"Table": on_table("hr", 0)}, pii="no")
    if not moto:
        tag({"TableWithColumns": {**on_table("sales", 0), "ColumnNames": ["ssn"]}}, pii="yes")
    lake.register_resource(ResourceArn=place("sales"), RoleArn=role("Register"))
    if moto:
        return
    lake.register_resource(ResourceArn=place("hr"), UseServiceLinkedRole=True,
                           HybridAccessEnabled=True)
    lake.create_lf_tag_expression(Name="safe", Expression=[
        {"TagKey": "pii", "TagValues": ["no"]}, {"TagKey": "team", "TagValues": ["a", "b"]}])
    for number, rows in enumerate(({"AllRowsWildcard": {}},
                                   {"FilterExpression": "amount > 10"})):
        lake.create_data_cells_filter(TableData={
            "TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "t1",
            "Name": f"f{number}", "RowFilter": rows,
            **({"ColumnNames": ["id", "note"]} if number else
               {"ColumnWildcard": {"ExcludedColumnNames": ["ssn"]}})})
    lake.create_lake_formation_opt_in(Principal=who(PRINCIPALS[0]),
                                      Resource={"Table": on_table("hr", 1)})
    lake.create_lake_formation_opt_in(Principal=who(PRINCIPALS[1]),
                                      Resource={"Database": {"Name": "hr"}})


def entries(moto=False):
    """Two hundred grants, of every kind."""
    found = []

    def grant(principal, resource, permissions, option=(), condition=None):
        entry = {"Principal": who(principal), "Resource": resource, "Permissions": permissions,
                 "PermissionsWithGrantOption": list(option)}
        if condition:
            entry["Condition"] = {"Expression": condition}
        found.append(entry)
    for number, principal in enumerate(PRINCIPALS):
        for database in DATABASES:
            grant(principal, {"Database": {"Name": database}}, ["DESCRIBE"],
                  ["DESCRIBE"] if number % 2 and not moto else [])
            grant(principal, {"Table": on_table(database, 3)}, ["SELECT", "INSERT"])
            grant(principal, {"TableWithColumns": {
                **on_table(database, 2), "ColumnNames": COLUMNS[: 1 + number % 3]}}, ["SELECT"])
            if not moto:
                grant(principal, {"TableWithColumns": {
                    **on_table(database, 0), "ColumnWildcard": {
                        "ExcludedColumnNames": ["ssn"]}}}, ["SELECT"])
            grant(principal, {"DataLocation": {"ResourceArn": f"{place(database)}/{number}"}},
                  ["DATA_LOCATION_ACCESS"])
        grant(principal, {"Catalog": {}}, ["CREATE_DATABASE"])
        if moto:
            continue
        grant(principal, {"Table": {"DatabaseName": "hr", "TableWildcard": {}}}, ["DESCRIBE"])
        grant(principal, {"DataCellsFilter": {
            "TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "t1",
            "Name": f"f{number % 2}"}}, ["SELECT"])
        grant(principal, {"LFTag": {"TagKey": "team", "TagValues": ["a", "b"]}},
              ["DESCRIBE", "ASSOCIATE"])
        grant(principal, {"LFTagPolicy": {"ResourceType": "TABLE", "Expression": [
            {"TagKey": "team", "TagValues": ["a"]},
            {"TagKey": "pii", "TagValues": ["no"]}]}}, ["SELECT"])
        grant(principal, {"LFTagPolicy": {"ResourceType": "DATABASE", "Expression": [
            {"TagKey": "team", "TagValues": ["a", "b"]}]}}, ["DESCRIBE"], ["DESCRIBE"])
        grant(principal, {"LFTagPolicy": {
            "ResourceType": "TABLE", "Expression": [], "ExpressionName": "safe"}}, ["DESCRIBE"])
        grant(principal, {"LFTagExpression": {"Name": "safe"}}, ["DESCRIBE"])
        grant(principal, {"Table": on_table("sales", 3)}, ["DELETE"],
              condition="context.x == 1")
    if not moto:
        grant("IAM_ALLOWED_PRINCIPALS", {"Table": on_table("hr", 1)}, ["ALL"])
    return found


def give(lake, granted):
    for at in range(0, len(granted), 20):
        some = [{"Id": str(n), **e} for n, e in enumerate(granted[at:at + 20])]
        failures = lake.batch_grant_permissions(Entries=some).get("Failures", [])
        assert not failures, failures[:2]


def take(lake, granted):
    for at in range(0, len(granted), 20):
        some = [{"Id": str(n), **e} for n, e in enumerate(granted[at:at + 20])]
        failures = lake.batch_revoke_permissions(Entries=some).get("Failures", [])
        assert not failures, failures[:2]
