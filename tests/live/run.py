"""What a question works with: clients that the guard watches, and resources that the journal knows."""

import contextlib
import datetime
import re
import secrets
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from live import guard
from live.question import DENIED, OK, NotRun

# Error codes after which nothing is known about the question.
BUSY = {"InternalFailure", "InternalServerError", "InternalServiceException", "OperationTimeoutException",
        "ProvisionedThroughputExceededException", "RequestLimitExceeded", "ServiceUnavailable", "SlowDown",
        "Throttling", "ThrottlingException", "TooManyRequestsException", "500", "502", "503"}
QUOTAS = {"LimitExceededException", "ResourceNumberLimitExceededException", "TooManyBuckets"}
UNKNOWN_CALLS = {"InvalidAction", "NotImplemented", "UnknownOperation", "UnknownOperationException", "501"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"}


class Run:
    """One run. Its names begin with `prefix`, which is random."""

    def __init__(self, options, journal, sessions=boto3.Session):
        self.options = options
        self.region, self.peer = options.primary, options.standby
        self.journal = journal
        self.prefix = f"twinlake_live_{secrets.token_hex(4)}"
        self._sessions = sessions
        self._session, self._assumed, self._clients = sessions(), None, {}
        self._names = 0
        identity = self.client("sts").get_caller_identity()
        self.account, self._caller_arn = identity["Account"], identity["Arn"]

    # Calls

    def client(self, service, region=None, as_role=False, prefix=None, catalog_grantee=None):
        """A client of one Region, by default of the primary. With `as_role` its calls are those of TEST_ROLE. The
        last two are for what an earlier run left."""
        key = service, region, as_role, prefix, catalog_grantee
        if key not in self._clients:
            self._clients[key] = self._make_client(*key)
        return self._clients[key]

    def _make_client(self, service, region, as_role, prefix, catalog_grantee):
        session = self._role_session() if as_role else self._session
        client = session.client(service, region_name=region or self.region, config=Config(
            retries={"mode": "standard", "max_attempts": 4}, connect_timeout=10, read_timeout=60,
            user_agent_appid="live-questions"))
        prefix = prefix or self.prefix

        def check(params, model, **_):
            guard.check(service, model.name, params, prefix=prefix, may_write=self.options.may_write,
                        catalog_grantee=catalog_grantee or self.options.test_role)
        client.meta.events.register_first("before-parameter-build", check)
        return client

    def _role_session(self):
        if self._assumed is None:
            if not self.options.test_role:
                raise NotRun("needs TEST_ROLE, a role that the caller may assume")
            made = self.must(self.client("sts").assume_role, RoleArn=self.options.test_role,
                             RoleSessionName="twinlake-live")["Credentials"]
            self._assumed = self._sessions(
                aws_access_key_id=made["AccessKeyId"], aws_secret_access_key=made["SecretAccessKey"],
                aws_session_token=made["SessionToken"])
        return self._assumed

    def attempt(self, call, may_be_denied=False, may_reach_quota=False, **parameters):
        """Makes a call. Returns `{"code": "ok", "response": ...}`, or the error's code and message.

        Raises NotRun if the answer says nothing about the question: no connection, throttling, a quota (unless it
        `may_reach_quota`), a call that the endpoint does not have, or a right that the caller lacks in IAM (unless it
        `may_be_denied`).
        """
        try:
            response = call(**parameters)
        except ParamValidationError:
            raise
        except BotoCoreError as error:
            raise NotRun(f"{type(error).__name__}: {error}") from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            message = error.response["Error"].get("Message", "")
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
            if not (may_reach_quota and code in QUOTAS):
                self._raise_if_not_asked(call, code, message, status, may_be_denied)
            return {"code": code, "message": message}
        return {"code": OK, "response": {k: v for k, v in response.items() if k != "ResponseMetadata"}}

    @staticmethod
    def _raise_if_not_asked(call, code, message, status, may_be_denied):
        name = getattr(call, "__name__", "a call")
        is_iam_denial = code in DENIED and "is not authorized to perform" in message
        if code in BUSY or (status >= 500 and status != 501):
            raise NotRun(f"{name} was throttled or failed in the service: {code}")
        if code in QUOTAS:
            raise NotRun(f"{name} reached a quota: {message}")
        if code in UNKNOWN_CALLS or status == 501 or message.startswith("unknown operation"):
            raise NotRun(f"the endpoint does not have {name}")
        if code in EXPIRED:
            raise NotRun(f"the credentials are not valid: {code}")
        if is_iam_denial and not may_be_denied:
            raise NotRun(f"the caller lacks the IAM right for {name}: {message}")

    def must(self, call, **parameters):
        """Makes a call that prepares a question. Raises NotRun if it fails."""
        result = self.attempt(call, **parameters)
        if result["code"] != OK:
            name = getattr(call, "__name__", "a call")
            raise NotRun(f"could not be prepared: {name} answered {result['code']}: {result['message']}")
        return result["response"]

    def listed(self, call, key, **parameters):
        """The items of all pages of a listing."""
        items = []
        while True:
            response = self.must(call, **parameters)
            items += response.get(key, [])
            if not response.get("NextToken"):
                return items
            parameters["NextToken"] = response["NextToken"]

    # Waiting

    def wait(self, check, seconds):
        """Calls `check` until it returns something true, for at most `seconds` or --wait-minutes. Returns that or
        None."""
        until = time.monotonic() + min(seconds, 60 * self.options.wait_minutes)
        while True:
            found = check()
            if found or time.monotonic() >= until:
                return found or None
            time.sleep(self.options.poll_seconds)

    # Resources

    def record(self, kind, name, region=None, **more):
        """Records what is about to be made. It is removed after the question."""
        self.journal.add({"id": secrets.token_hex(8), "kind": kind, "name": name, "region": region or self.region,
                          "account": self.account, "prefix": self.prefix,
                          "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **more})

    @contextlib.contextmanager
    def cleaning(self):
        """Removes what was made inside. Yields a list that receives the reasons for what is left."""
        before = {entry["id"] for entry in self.journal.entries()}
        left = []
        try:
            yield left
        finally:
            for entry in self.journal.entries():
                if entry["id"] not in before:
                    reason = self.journal.remove(entry, self.client, self.account)
                    left += [reason] if reason else []

    def name(self, separator="_"):
        """A new name of this run. A bucket or a stack takes a hyphen as separator."""
        self._names += 1
        return f"{self.prefix}_{self._names}".replace("_", separator)

    def database(self, **fields):
        """Makes a database without default permissions, and returns its name."""
        name = fields.pop("Name", None) or self.name()
        self.record("database", name.lower())
        fields = {"CreateTableDefaultPermissions": [], **fields}
        fields = {key: value for key, value in fields.items() if value is not None}
        self.must(self.client("glue").create_database, DatabaseInput={"Name": name, **fields})
        return name

    def table(self, database, name="t", **fields):
        """Makes a table of two columns, and returns its input."""
        table = table_input(name, **fields)
        self.must(self.client("glue").create_table, DatabaseName=database, TableInput=table)
        return table

    def grant(self, resource, permissions, principal=None, attempt=False, **more):
        """Grants permissions, by default to TEST_ROLE."""
        request = {"Principal": {"DataLakePrincipalIdentifier": principal or self.grantee()}, "Resource": resource,
                   "Permissions": permissions, **more}
        self.record("grant", ",".join(permissions), request=request)
        call = self.client("lakeformation").grant_permissions
        return self.attempt(call, **request) if attempt else self.must(call, **request)

    def lf_tag(self, values=("a", "b")):
        """Makes an LF-Tag, and returns its key."""
        key = self.name()
        self.record("lf-tag", key)
        self.must(self.client("lakeformation").create_lf_tag, TagKey=key, TagValues=list(values))
        return key

    def bucket(self, region=None):
        """Makes a bucket, and returns its name."""
        region = region or self.region
        name = self.name("-")
        self.record("bucket", name, region)
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.must(self.client("s3", region).create_bucket, Bucket=name, **place)
        return name

    def queue(self, region=None):
        """Makes a queue, and returns its URL and its ARN."""
        name, region = self.name("-"), region or self.region
        self.record("queue", name, region)
        sqs = self.client("sqs", region)
        url = self.must(sqs.create_queue, QueueName=name)["QueueUrl"]
        arn = self.must(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, arn

    # Principals

    def grantee(self):
        """The role that receives grants. The caller holds everything on what it makes, so it cannot be the one."""
        if not self.options.test_role:
            raise NotRun("needs TEST_ROLE, a role to grant permissions to")
        return self.options.test_role

    def caller(self):
        """The ARN of the caller as Lake Formation knows it: of the role, with its path, and not of the session."""
        session = re.fullmatch(r"arn:[\w-]+:sts::\d+:assumed-role/([^/]+)/.*", self._caller_arn)
        if not session:
            return self._caller_arn
        return self.must(self.client("iam").get_role, RoleName=session.group(1))["Role"]["Arn"]


def table_input(name, **fields):
    table = {"Name": name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": [], "StorageDescriptor": {
        "Columns": [{"Name": "c1", "Type": "int"}, {"Name": "c2", "Type": "string"}],
        "Location": "s3://twinlake-live-no-bucket/t/", "SerdeInfo": {}}, **fields}
    return {key: value for key, value in table.items() if value is not None}
