"""Roles for tests: that of S3 replication, and that of a reader."""

import json

from stack import ACCOUNT, BUCKETS

REPLICATION = "replication"
READER = "analyst"
READER_ARN = f"arn:aws:iam::{ACCOUNT}:role/{READER}"


def trust(service):
    return json.dumps({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}]})


def allow(actions, resource="*", **conditions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    if conditions:
        statement["Condition"] = conditions
    return statement


def put_role(iam, name, service, statements):
    """Creates a role, or gives it its trust policy and permissions back."""
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))
    except iam.exceptions.EntityAlreadyExistsException:
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust(service))
    put_policy(iam, name, statements)


def put_policy(iam, name, statements):
    iam.put_role_policy(RoleName=name, PolicyName="test", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": statements}))


def delete_role(iam, name):
    iam.delete_role_policy(RoleName=name, PolicyName="test")
    iam.delete_role(RoleName=name)


def replication_statements(keys=()):
    """The permissions of `regions` both ways, as docs/deploy.md has them."""
    buckets = [f"arn:aws:s3:::{bucket}" for bucket in BUCKETS.values()]
    objects = [f"{bucket}/*" for bucket in buckets]
    statements = [
        allow(["s3:GetReplicationConfiguration", "s3:ListBucket"], buckets),
        allow(["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl",
               "s3:GetObjectVersionTagging", "s3:ReplicateObject", "s3:ReplicateDelete",
               "s3:ReplicateTags"], objects),
    ]
    for region, key in keys:
        # With a Bucket Key the encryption context is the bucket.
        statements.append(allow(
            ["kms:Decrypt", "kms:Encrypt"], key,
            StringEquals={"kms:ViaService": f"s3.{region}.amazonaws.com"},
            StringLike={"kms:EncryptionContext:aws:s3:arn": buckets}))
    return statements


def put_replication_role(iam, keys=()):
    put_role(iam, REPLICATION, "s3.amazonaws.com", replication_statements(keys))


def reader_statements():
    return [allow(["glue:Get*", "lakeformation:GetDataAccess", "athena:StartQueryExecution"])]


def put_reader(iam):
    put_role(iam, READER, "ec2.amazonaws.com", reader_statements())


def put_creator(iam):
    """The role that the sandbox takes its callers for, which holds grants on what it creates."""
    put_role(iam, "Admin", "ec2.amazonaws.com", [allow("*")])
