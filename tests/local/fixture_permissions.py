"""A fixture with every kind of Lake Formation object and grant, created with boto3.

With `moto=True` the functions leave out what moto does not support.
"""

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


def principal_field(principal):
    """Returns a principal as the API takes it."""
    return {"DataLakePrincipalIdentifier": principal}


def location_arn(database):
    """Returns the ARN of the S3 location of a database."""
    return f"arn:aws:s3:::{BUCKETS[PRIMARY]}/{database}"


def create_catalog(glue):
    """Creates the databases and tables that the grants are on."""
    for database in DATABASES:
        glue.create_database(DatabaseInput={
            "Name": database, "CreateTableDefaultPermissions": [],
            "LocationUri": f"s3://{BUCKETS[PRIMARY]}/{database}"})
        for number in range(TABLES):
            glue.create_table(DatabaseName=database, TableInput={
                "Name": f"t{number}", "StorageDescriptor": {
                    "Columns": [{"Name": c, "Type": "string"} for c in COLUMNS],
                    "Location": f"s3://{BUCKETS[PRIMARY]}/{database}/t{number}/"}})


def table_of(database, number):
    """Returns a table as the API takes it in a resource."""
    return {"DatabaseName": database, "Name": f"t{number}"}


def create_lakeformation_objects(lf, moto=False):
    """Creates LF-Tags, their assignments, registrations, named expressions, filters and opt-ins."""
    lf.create_lf_tag(TagKey="team", TagValues=["a", "b"])
    lf.create_lf_tag(TagKey="pii", TagValues=["yes", "no"])
    if not moto:
        lf.create_lf_tag(TagKey="many", TagValues=[f"v{n}" for n in range(50)])
        lf.update_lf_tag(TagKey="many", TagValuesToAdd=[f"v{n}" for n in range(50, 70)])

    def assign(resource, **tags):
        response = lf.add_lf_tags_to_resource(
            Resource=resource,
            LFTags=[{"TagKey": k, "TagValues": [v]} for k, v in tags.items()])
        assert not response["Failures"], response
    assign({"Database": {"Name": "sales"}}, team="a")
    assign({"Table": table_of("sales", 0)}, team="b", pii="no")
    assign({"Table": table_of("hr", 0)}, pii="no")
    if not moto:
        assign({"TableWithColumns": {**table_of("sales", 0), "ColumnNames": ["ssn"]}}, pii="yes")
    lf.register_resource(ResourceArn=location_arn("sales"), RoleArn=role("Register"))
    if moto:
        return
    lf.register_resource(ResourceArn=location_arn("hr"), UseServiceLinkedRole=True,
                         HybridAccessEnabled=True)
    lf.create_lf_tag_expression(Name="safe", Expression=[
        {"TagKey": "pii", "TagValues": ["no"]}, {"TagKey": "team", "TagValues": ["a", "b"]}])
    for number, rows in enumerate(({"AllRowsWildcard": {}},
                                   {"FilterExpression": "amount > 10"})):
        lf.create_data_cells_filter(TableData={
            "TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "t1",
            "Name": f"f{number}", "RowFilter": rows,
            **({"ColumnNames": ["id", "note"]} if number else
               {"ColumnWildcard": {"ExcludedColumnNames": ["ssn"]}})})
    lf.create_lake_formation_opt_in(Principal=principal_field(PRINCIPALS[0]),
                                   Resource={"Table": table_of("hr", 1)})
    lf.create_lake_formation_opt_in(Principal=principal_field(PRINCIPALS[1]),
                                   Resource={"Database": {"Name": "hr"}})


def grants(moto=False):
    """Returns about two hundred grants, of every kind."""
    entries = []

    def add(principal, resource, permissions, option=(), condition=None):
        entry = {"Principal": principal_field(principal), "Resource": resource,
                 "Permissions": permissions, "PermissionsWithGrantOption": list(option)}
        if condition:
            entry["Condition"] = {"Expression": condition}
        entries.append(entry)
    for number, principal in enumerate(PRINCIPALS):
        for database in DATABASES:
            add(principal, {"Database": {"Name": database}}, ["DESCRIBE"],
                ["DESCRIBE"] if number % 2 and not moto else [])
            add(principal, {"Table": table_of(database, 3)}, ["SELECT", "INSERT"])
            add(principal, {"TableWithColumns": {
                **table_of(database, 2), "ColumnNames": COLUMNS[: 1 + number % 3]}}, ["SELECT"])
            if not moto:
                add(principal, {"TableWithColumns": {
                    **table_of(database, 0), "ColumnWildcard": {
                        "ExcludedColumnNames": ["ssn"]}}}, ["SELECT"])
            add(principal, {"DataLocation": {"ResourceArn": f"{location_arn(database)}/{number}"}},
                ["DATA_LOCATION_ACCESS"])
        add(principal, {"Catalog": {}}, ["CREATE_DATABASE"])
        if moto:
            continue
        add(principal, {"Table": {"DatabaseName": "hr", "TableWildcard": {}}}, ["DESCRIBE"])
        add(principal, {"DataCellsFilter": {
            "TableCatalogId": ACCOUNT, "DatabaseName": "sales", "TableName": "t1",
            "Name": f"f{number % 2}"}}, ["SELECT"])
        add(principal, {"LFTag": {"TagKey": "team", "TagValues": ["a", "b"]}},
            ["DESCRIBE", "ASSOCIATE"])
        add(principal, {"LFTagPolicy": {"ResourceType": "TABLE", "Expression": [
            {"TagKey": "team", "TagValues": ["a"]},
            {"TagKey": "pii", "TagValues": ["no"]}]}}, ["SELECT"])
        add(principal, {"LFTagPolicy": {"ResourceType": "DATABASE", "Expression": [
            {"TagKey": "team", "TagValues": ["a", "b"]}]}}, ["DESCRIBE"], ["DESCRIBE"])
        add(principal, {"LFTagPolicy": {
            "ResourceType": "TABLE", "Expression": [], "ExpressionName": "safe"}}, ["DESCRIBE"])
        add(principal, {"LFTagExpression": {"Name": "safe"}}, ["DESCRIBE"])
        add(principal, {"Table": table_of("sales", 3)}, ["DELETE"],
            condition="context.x == 1")
    if not moto:
        add("IAM_ALLOWED_PRINCIPALS", {"Table": table_of("hr", 1)}, ["ALL"])
    return entries


def grant_all(lf, entries):
    for batch in batches(entries):
        failures = lf.batch_grant_permissions(Entries=batch).get("Failures", [])
        assert not failures, failures[:2]


def revoke_all(lf, entries):
    for batch in batches(entries):
        failures = lf.batch_revoke_permissions(Entries=batch).get("Failures", [])
        assert not failures, failures[:2]


def batches(entries):
    """Yields the entries of batch calls: at most 20 in each, with ids."""
    for start in range(0, len(entries), 20):
        yield [{"Id": str(n), **entry} for n, entry in enumerate(entries[start:start + 20])]
