"""The test deployment: starts the local AWS and the sandbox, deploys template.yaml with the
compiled functions in both Regions, and stops everything again.

The local AWS (local_aws.py) serves every service but Glue, Lake Formation and the Redshift Data API, which the
sandbox serves.
"""

import contextlib
import copy
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "stacks"))

from call_rights import checks, read_calls, refused, role_policies  # noqa: E402
from deploy import Deployer, load_template, read_deployment  # noqa: E402

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
ACCOUNT = "111122223333"
PRIMARY, STANDBY = "us-east-1", "ap-south-1"
BUCKETS = {PRIMARY: "lake-us-east-1", STANDBY: "lake-ap-south-1"}
FUNCTIONS = {
    "CatalogEvent": "catalog-event",
    "PermissionEvent": "permission-event",
    "ReplicationEvent": "replication-event",
    "OperationsEvent": "operations-event",
    "Resync": "resync",
    "OwnAccess": "own-access",
    "Heartbeat": "heartbeat",
    "Monitor": "monitor",
    "Digest": "digest",
    "Readiness": "readiness",
    "Canary": "canary",
    "Takeover": "takeover",
}
# Tests expect of each resync that it finds everything.
EVERY_RESYNC = 'partition-scan = "every-resync"\nattachment-scan = "every-resync"\n'
SITES = f"""
[[region]]
id = "a"
region = "{PRIMARY}"
account = "{ACCOUNT}"

[[region]]
id = "b"
region = "{STANDBY}"
account = "{ACCOUNT}"

[[location]]
a = "s3://{BUCKETS[PRIMARY]}/"
b = "s3://{BUCKETS[STANDBY]}/"
"""
POLICY = EVERY_RESYNC + SITES
# No scheduled run happens during a test: the tests invoke the functions themselves, at short intervals. The messages of
# an invocation that fails return within the time for which tests wait. make deploy refuses such values.
OF_TESTS = {
    "HeartbeatSchedule": "rate(1 day)", "HeartbeatIntervalSeconds": "2", "QueueVisibilityTimeoutSeconds": "45",
}
# IAM names hold the name of the stack, and IAM is global, so the local AWS needs two names.
DEPLOYMENT = f"""
account = "{ACCOUNT}"
architecture = "x86_64"
policy = "policy.toml"

[parameters]
QueueDelaySeconds = 0
ResyncSchedule = "rate(1 day)"
VerifiedAgeLimitSeconds = 93600
AlertExpirySeconds = 1
ReplicaBucketArns = ["arn:aws:s3:::{BUCKETS[STANDBY]}"]
ReplicaObjectArns = ["arn:aws:s3:::{BUCKETS[STANDBY]}/*"]
IcebergBucketArns = ["arn:aws:s3:::{BUCKETS[PRIMARY]}", "arn:aws:s3:::{BUCKETS[STANDBY]}"]

[[region]]
region = "{PRIMARY}"
stack = "twinlake-{PRIMARY}"

[[region]]
region = "{STANDBY}"
stack = "twinlake-{STANDBY}"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(description, check, seconds=240.0, every=0.05, detail=lambda: "no detail"):
    """Calls `check` until its result is true, and returns the result.

    Raises AssertionError with the description, and with what `detail` returns, after `seconds`.
    `every` is the interval in seconds.
    """
    end = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {description}: {detail()}")
        time.sleep(every)


def built_zip(code_uri):
    """Returns the zip of a function, as `make build` makes it in release form."""
    return function_zip(pathlib.Path(code_uri).parent.name)


def built_zip_of_any_version(code_uri):
    """Returns the zip of a function, and for a function that this version lacks one whose program only fails."""
    name = pathlib.Path(code_uri).parent.name
    if name in function_binaries():
        return function_zip(name)
    return bootstrap_zip(pathlib.Path(shutil.which("false")).read_bytes())


def function_binaries():
    """Returns the names of the functions' binaries. An earlier build may have left others in the target directory."""
    return {path.stem for path in (ROOT / "crates/lambda/src/bin").glob("*.rs")}


def function_zip(binary):
    """Returns the zip of a function. It is cached beside the binary until that changes."""
    assert binary in function_binaries(), f"{binary} is no binary of the crate twinlake-lambda"
    source = TARGET / binary
    cached = TARGET / f"{binary}.zip"
    if cached.exists() and cached.stat().st_mtime > source.stat().st_mtime:
        return cached.read_bytes()
    content = bootstrap_zip(source.read_bytes())
    # Another test process may read the cache now.
    written = cached.with_suffix(f".{os.getpid()}.part")
    written.write_bytes(content)
    written.replace(cached)
    return content


def bootstrap_zip(bootstrap):
    """Returns the zip of a program, in the form that Lambda runs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, bootstrap, compresslevel=1)
    return buffer.getvalue()


class Deployment:
    """Twinlake deployed in two Regions. A context manager, which deploys and stops it.

    Without entering the context it is only a factory of boto3 clients for two URLs.
    """

    def __init__(self, allows_missing_bus=False, records_calls=False):
        # Whether the calls of the functions are recorded, to be judged by the policies of their roles.
        self.records_calls = records_calls
        # Whether the local AWS takes rules whose target event bus does not exist.
        self.allows_missing_bus = allows_missing_bus
        self.processes = []
        self.exit_stack = contextlib.ExitStack()
        # Stack outputs by Region, and physical resource names by Region and logical name.
        self.outputs = {}
        self.physical_names = {}

    def __enter__(self):
        try:
            self.start()
            self.deploy()
            self._put_data_lake_settings()
            self._create_buckets()
            self.twinlake("policy", "push", str(self.policy_file))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    @contextlib.contextmanager
    def started(self):
        """A context with the local AWS and the sandbox, without Twinlake deployed."""
        try:
            self.start()
            yield self
        finally:
            self.__exit__(None, None, None)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        self._kill_functions()
        self.exit_stack.close()

    def _kill_functions(self):
        """Ends functions that outlive their local AWS, and removes their code."""
        code = getattr(self, "code", None)
        if code is None:
            return
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "exe").startswith(f"{code}/"):
                    os.kill(int(entry.name), signal.SIGKILL)
        shutil.rmtree(code, ignore_errors=True)

    # Processes

    def start(self):
        """Starts the local AWS and the sandbox, without deploying."""
        self.home = pathlib.Path(self.exit_stack.enter_context(tempfile.TemporaryDirectory()))
        self.policy_file = self.home / "policy.toml"
        self.policy_file.write_text(POLICY)
        aws_port, sandbox_port = free_port(), free_port()
        self.aws_url = f"http://127.0.0.1:{aws_port}"
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        # The directory in which the local AWS unpacks the functions.
        self.code = pathlib.Path(tempfile.gettempdir()) / f"ministack-provided-code-{aws_port}"
        role = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
        self._run("sandbox", [
            str(TARGET / "twinlake"), "sandbox", "--port", str(sandbox_port),
            "--account", ACCOUNT, "--events-to", self.aws_url, "--twinlake-role", role,
        ], {})
        # The functions inherit this environment, so it contains nothing else.
        self._run("aws", [
            str(pathlib.Path(sys.executable).parent / "hypercorn"),
            str(ROOT / "tests/local/local_aws.py") + ":app", "--bind", f"127.0.0.1:{aws_port}",
        ], {
            "GATEWAY_PORT": str(aws_port), "PERSIST_STATE": "0", "IOT_MTLS_ENABLED": "0",
            "MINISTACK_ACCOUNT_ID": ACCOUNT, "MINISTACK_HOST": "127.0.0.1",
            "STATE_DIR": str(self.home / "state"),
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ENDPOINT_URL_GLUE": self.aws_url if self.records_calls else self.sandbox_url,
            "AWS_ENDPOINT_URL_LAKEFORMATION": self.aws_url if self.records_calls else self.sandbox_url,
            "AWS_ENDPOINT_URL_REDSHIFT_DATA": self.aws_url if self.records_calls else self.sandbox_url,
            **({"TWINLAKE_CALL_LOG": str(self.home / "calls.jsonl"), "TWINLAKE_SANDBOX_URL": self.sandbox_url}
               if self.records_calls else {}),
            **({"TWINLAKE_ALLOW_MISSING_BUS": "1"} if self.allows_missing_bus else {}),
            # Here no request is under way that a takeover would have to wait for.
            "TWINLAKE_LOCAL_WAIT_SECONDS": "2",
        })
        wait_for("the sandbox answers",
                 lambda: self.is_healthy(f"{self.sandbox_url}/_sandbox/health"))
        wait_for("the local AWS answers",
                 lambda: self.is_healthy(f"{self.aws_url}/_ministack/health"))

    def _run(self, name, command, environment):
        log = open(self.home / f"{name}.log", "wb")
        self.exit_stack.callback(log.close)
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", **environment}
        self.processes.append(subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.home,
        ))

    @staticmethod
    def is_healthy(url):
        """Whether a URL answers with status 200."""
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    def log_text(self):
        """Returns the log of the local AWS, which includes the output of the functions."""
        return (self.home / "aws.log").read_text(errors="replace")

    def recorded_calls(self):
        """Returns the calls of the functions so far, and the policies of their roles."""
        calls = read_calls(self.home / "calls.jsonl")
        return calls, role_policies(self.client("iam", PRIMARY), {call["role"] for call in calls})

    @contextlib.contextmanager
    def lost_region(self, region, role=""):
        """Lets a Region answer no function. Yields a set, which holds (service, action, Region) of each call of
        the functions at the end, or of those whose role has this in its name."""
        log, file = self.home / "calls.jsonl", self.home / "lost-region"
        start = log.stat().st_size if log.exists() else 0
        made = set()
        file.write_text(region)
        try:
            yield made
        finally:
            file.unlink()
            with open(log) as calls:
                calls.seek(start)
                made |= {(*action.split(":"), call["region"]) for call in map(json.loads, calls)
                         if role in call["role"] for action, _ in checks(call, ACCOUNT)}

    def assert_calls_are_allowed(self):
        """Raises AssertionError if a function made a call that its role does not allow."""
        found = refused(*self.recorded_calls(), ACCOUNT)
        if found:
            raise AssertionError(f"calls that the roles do not allow: {found}")

    # Clients

    def client(self, service, region, **options):
        is_in_sandbox = service in ("glue", "lakeformation", "redshift-data")
        return boto3.client(
            service, region_name=region,
            endpoint_url=self.sandbox_url if is_in_sandbox else self.aws_url,
            aws_access_key_id=ACCOUNT, aws_secret_access_key="local", **options,
        )

    def session(self, region):
        return boto3.Session(
            aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=region,
        )

    def control_sandbox(self, command, **body):
        """Calls a control path of the sandbox; crates/sim/src/http.rs lists them."""
        request = urllib.request.Request(
            f"{self.sandbox_url}/_sandbox/{command}", data=json.dumps(body).encode(), method="POST",
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def cli_environment(self):
        return {
            "PATH": "/usr/bin:/bin", "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_ENDPOINT_URL": self.aws_url, "AWS_ENDPOINT_URL_GLUE": self.sandbox_url,
            "AWS_ENDPOINT_URL_LAKEFORMATION": self.sandbox_url,
            "AWS_ENDPOINT_URL_REDSHIFT_DATA": self.sandbox_url,
        }

    def start_twinlake(self, *args):
        """Starts the CLI and returns its running process."""
        return subprocess.Popen(
            [str(TARGET / "twinlake"), *args], env=self.cli_environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.home,
        )

    def twinlake(self, *args, check=True, answer=None):
        """Runs the CLI. `answer` is its standard input. With `check`, raises AssertionError if it exits with 1 (an error)."""
        done = subprocess.run(
            [str(TARGET / "twinlake"), *args], env=self.cli_environment(), capture_output=True,
            text=True, cwd=self.home, timeout=120, input=answer,
        )
        if check and done.returncode == 1:
            raise AssertionError(f"twinlake {' '.join(args)}: {done.stderr}")
        return done

    # Deployment

    def deploy(self, template=None, say=lambda text: None, text=DEPLOYMENT, code=built_zip):
        """Deploys both stacks, as `make deploy` does. `text` is the deployment file, `code` returns zips."""
        path = self.home / "deploy.toml"
        path.write_text(text)
        template = copy.deepcopy(template or load_template())
        for name in OF_TESTS:
            # The values of the tests are below the least ones.
            template["Parameters"].get(name, {}).pop("MinValue", None)
        deployer = Deployer(template, self.client, code, say, poll_seconds=0.1)
        deployment = read_deployment(path, load_template())
        for stack in deployment.stacks:
            stack.parameters |= OF_TESTS
        self.outputs = deployer.run(deployment)

    @staticmethod
    def _create_bucket(s3, region, bucket):
        configuration = {} if region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": region},
        }
        s3.create_bucket(Bucket=bucket, **configuration)

    def _put_data_lake_settings(self):
        """Makes the functions' roles data lake administrators, as an operator does."""
        roles = [r for out in self.outputs.values() for r in out["Roles"].split(",")]
        roles += [f"arn:aws:iam::{ACCOUNT}:role/Admin", f"arn:aws:iam::{ACCOUNT}:root"]
        roles += [f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"]
        settings = {
            "DataLakeAdmins": [{"DataLakePrincipalIdentifier": role} for role in roles],
            "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": [],
        }
        for region in (PRIMARY, STANDBY):
            self.client("lakeformation", region).put_data_lake_settings(DataLakeSettings=settings)

    def _create_buckets(self):
        """Creates the data buckets, with S3 replication whose failures go to Twinlake's queue."""
        for region, bucket in BUCKETS.items():
            s3 = self.client("s3", region)
            self._create_bucket(s3, region, bucket)
            s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        s3 = self.client("s3", PRIMARY)
        s3.put_bucket_replication(
            Bucket=BUCKETS[PRIMARY],
            ReplicationConfiguration={
                "Role": f"arn:aws:iam::{ACCOUNT}:role/replication",
                "Rules": [{
                    "ID": "lake", "Status": "Enabled", "Priority": 1, "Filter": {"Prefix": ""},
                    "DeleteMarkerReplication": {"Status": "Disabled"},
                    "Destination": {"Bucket": f"arn:aws:s3:::{BUCKETS[STANDBY]}"},
                }],
            },
        )
        s3.put_bucket_notification_configuration(
            Bucket=BUCKETS[PRIMARY],
            NotificationConfiguration={"QueueConfigurations": [{
                "QueueArn": self.outputs[PRIMARY]["ReplicationQueue"],
                "Events": ["s3:Replication:OperationFailedReplication"],
            }]},
        )

    # Actions of operators and of AWS

    def subscribe(self, region, filter_policy=None):
        """Subscribes a new queue to a Region's alerts.

        Returns a function that receives and deletes the next messages, at most ten.
        """
        sqs, sns = self.client("sqs", region), self.client("sns", region)
        url = sqs.create_queue(QueueName=f"ops-{time.monotonic_ns()}")["QueueUrl"]
        arn = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        sns.subscribe(
            TopicArn=self.outputs[region]["AlertTopic"], Protocol="sqs", Endpoint=arn,
            Attributes=attributes,
        )

        def receive():
            response = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            messages = response.get("Messages", [])
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return [json.loads(message["Body"]) for message in messages]

        return receive

    def physical_name(self, region, logical):
        """Returns the physical name of a resource of the stack."""
        if (region, logical) not in self.physical_names:
            found = self.client("cloudformation", region).describe_stack_resources(
                StackName=f"twinlake-{region}")["StackResources"]
            self.physical_names |= {
                (region, r["LogicalResourceId"]): r["PhysicalResourceId"] for r in found}
        return self.physical_names[region, logical]

    def queue_url(self, region, logical):
        """Returns the URL of a queue of the stack."""
        name = self.physical_name(region, logical).rsplit("/", 1)[-1]
        return self.client("sqs", region).get_queue_url(QueueName=name)["QueueUrl"]

    def invoke(self, region, function):
        """Invokes a function as its schedule does, and waits until it returns."""
        response = self.client("lambda", region).invoke(
            FunctionName=self.physical_name(region, function), Payload=b"{}")
        body = response["Payload"].read()
        if "FunctionError" in response:
            raise AssertionError(body)

    def resync(self):
        """Invokes the standby's resync function and waits until it returns."""
        self.invoke(STANDBY, "Resync")

    def put_event(self, region, event):
        """Puts one event on a Region's default event bus, as AWS does."""
        self.client("events", region).put_events(Entries=[{
            "Source": event["source"], "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
        }])

    def drain_calls(self):
        """Returns the calls to Glue and Lake Formation since the last call of this method."""
        return self.control_sandbox("calls")

    def has_empty_queues(self):
        """Whether no message is waiting or being handled in the standby's queues.

        Delayed messages do not count: a further partition scan of a table is delayed for minutes.
        """
        sqs = self.client("sqs", STANDBY)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for url in sqs.list_queues(QueueNamePrefix="twinlake-").get("QueueUrls", []):
            if "DeadLetterQueue" in url:
                continue
            counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            if any(int(counts[name]) for name in names):
                return False
        return True
