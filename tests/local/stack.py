"""Starts the local AWS and the sandbox, deploys the real template with the real binaries
in both Regions, and takes everything down again."""

import contextlib
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
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
ACCOUNT = "111122223333"
PRIMARY, SECONDARY = "us-east-1", "ap-south-1"
BUCKETS = {PRIMARY: "lake-us-east-1", SECONDARY: "lake-ap-south-1"}
FUNCTIONS = {
    "CatalogEvent": "catalog-event",
    "PermissionEvent": "permission-event",
    "ReplicationEvent": "replication-event",
    "OperationsEvent": "operations-event",
    "Resync": "resync",
    "Standing": "standing",
    "Heartbeat": "heartbeat",
    "Lag": "lag",
    "Digest": "digest",
}
POLICY = f"""
[first]
region = "{PRIMARY}"
account = "{ACCOUNT}"

[second]
region = "{SECONDARY}"
account = "{ACCOUNT}"

[[location]]
first = "s3://{BUCKETS[PRIMARY]}/"
second = "s3://{BUCKETS[SECONDARY]}/"
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, check, seconds=30.0, every=0.05):
    """Awaits a condition; answers what the check answered, or fails with its name."""
    end = time.monotonic() + seconds
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def load_template():
    """The template as plain data, its short intrinsics written out."""

    class Loader(yaml.SafeLoader):
        pass

    def intrinsic(loader, suffix, node):
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        if suffix == "GetAtt" and isinstance(value, str):
            value = value.split(".", 1)
        return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}

    Loader.add_multi_constructor("!", intrinsic)
    return yaml.load((ROOT / "template.yaml").read_text(), Loader)


def bootstrap_zip(binary):
    """A function's zip, kept beside the binary as long as that does not change."""
    source = TARGET / binary
    kept = TARGET / f"{binary}.zip"
    if kept.exists() and kept.stat().st_mtime > source.stat().st_mtime:
        return kept.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, source.read_bytes(), compresslevel=1)
    kept.write_bytes(buffer.getvalue())
    return buffer.getvalue()


class Local:
    """Two Regions, deployed. Use as a context manager."""

    def __init__(self, say=lambda text: None):
        self.say = say
        self.processes = []
        self.stack = contextlib.ExitStack()
        self.outputs = {}
        self.names = {}

    def __enter__(self):
        try:
            self.home = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
            self._start()
            for region in (PRIMARY, SECONDARY):
                self._deploy(region)
            self._administer()
            self._make_buckets()
            self.policy_file = self.home / "policy.toml"
            self.policy_file.write_text(POLICY)
            self.twinlake("policy", "push", str(self.policy_file))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

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
        self._sweep()
        self.stack.close()

    def _sweep(self):
        """Ends functions that outlive their local AWS, and removes their code."""
        code = self.code if hasattr(self, "code") else None
        if code is None:
            return
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "exe").startswith(f"{code}/"):
                    os.kill(int(entry.name), signal.SIGKILL)
        shutil.rmtree(code, ignore_errors=True)

    # Processes

    def _start(self):
        aws, sandbox = free_port(), free_port()
        self.aws = f"http://127.0.0.1:{aws}"
        self.sandbox = f"http://127.0.0.1:{sandbox}"
        # Where the local AWS unpacks the functions.
        self.code = pathlib.Path(tempfile.gettempdir()) / f"ministack-provided-code-{aws}"
        role = f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"
        self._run("sandbox", [
            str(TARGET / "twinlake"), "sandbox", "--port", str(sandbox),
            "--account", ACCOUNT, "--events-to", self.aws, "--twinlake-role", role,
        ], {})
        # Functions inherit this environment whole, so there is nothing else in it.
        self._run("aws", [
            str(pathlib.Path(sys.executable).parent / "hypercorn"),
            str(ROOT / "tests/local/local_aws.py") + ":app", "--bind", f"127.0.0.1:{aws}",
        ], {
            "GATEWAY_PORT": str(aws), "PERSIST_STATE": "0", "IOT_MTLS_ENABLED": "0",
            "MINISTACK_ACCOUNT_ID": ACCOUNT, "MINISTACK_HOST": "127.0.0.1",
            "STATE_DIR": str(self.home / "state"),
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_ENDPOINT_URL_GLUE": self.sandbox,
            "AWS_ENDPOINT_URL_LAKEFORMATION": self.sandbox,
        })
        wait_for("the sandbox answers", lambda: self._answers(f"{self.sandbox}/_sandbox/health"))
        wait_for("the local AWS answers", lambda: self._answers(f"{self.aws}/_ministack/health"))

    def _run(self, name, command, environment):
        log = open(self.home / f"{name}.log", "wb")
        self.stack.callback(log.close)
        environment = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", **environment}
        self.processes.append(subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=self.home,
        ))

    @staticmethod
    def _answers(url):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def logs(self):
        return (self.home / "aws.log").read_text(errors="replace")

    # Clients

    def client(self, service, region):
        lake = service in ("glue", "lakeformation")
        return boto3.client(
            service, region_name=region, endpoint_url=self.sandbox if lake else self.aws,
            aws_access_key_id=ACCOUNT, aws_secret_access_key="local",
        )

    def session(self, region):
        return boto3.Session(
            aws_access_key_id=ACCOUNT, aws_secret_access_key="local", region_name=region,
        )

    def steer(self, order, **body):
        request = urllib.request.Request(
            f"{self.sandbox}/_sandbox/{order}", data=json.dumps(body).encode(), method="POST",
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def environment(self):
        return {
            "PATH": "/usr/bin:/bin", "HOME": str(self.home),
            "AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_ENDPOINT_URL": self.aws, "AWS_ENDPOINT_URL_GLUE": self.sandbox,
            "AWS_ENDPOINT_URL_LAKEFORMATION": self.sandbox,
        }

    def start(self, *words):
        """Starts the command line and leaves it running."""
        return subprocess.Popen(
            [str(TARGET / "twinlake"), *words], env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.home,
        )

    def twinlake(self, *words, check=True):
        """Runs the command line against the local AWS."""
        done = subprocess.run(
            [str(TARGET / "twinlake"), *words], env=self.environment(), capture_output=True,
            text=True, cwd=self.home, timeout=120,
        )
        if check and done.returncode == 1:
            raise AssertionError(f"twinlake {' '.join(words)}: {done.stderr}")
        return done

    # Deployment

    def _deploy(self, region):
        bucket = f"code-{region}"
        s3 = self.client("s3", region)
        self._create_bucket(s3, region, bucket)
        template = load_template()
        for function, binary in FUNCTIONS.items():
            key = f"{binary}.zip"
            s3.put_object(Bucket=bucket, Key=key, Body=bootstrap_zip(binary))
            # What `sam package` does.
            code = {"Bucket": bucket, "Key": key}
            template["Resources"][function]["Properties"]["CodeUri"] = code
        # It is too large to be sent in the call.
        s3.put_object(Bucket=bucket, Key="template.json", Body=json.dumps(template).encode())
        peer = SECONDARY if region == PRIMARY else PRIMARY
        values = {
            "PeerRegion": peer, "Architecture": "x86_64", "EventDelay": "0",
            # The schedule stays out of the way; the tests ask for a resync themselves.
            "ResyncSchedule": "rate(1 day)", "HeartbeatSchedule": "rate(1 day)",
            "HeartbeatSeconds": "2", "AlertQuiet": "1",
        }
        cloud = self.client("cloudformation", region)
        stack = f"twinlake-{region}"
        cloud.create_stack(
            StackName=stack, TemplateURL=f"{self.aws}/{bucket}/template.json",
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
        )

        def ended():
            status = cloud.describe_stacks(StackName=stack)["Stacks"][0]
            return status if not status["StackStatus"].endswith("IN_PROGRESS") else None

        status = wait_for(f"{stack} is deployed", ended)
        if status["StackStatus"] != "CREATE_COMPLETE":
            events = cloud.describe_stack_events(StackName=stack)["StackEvents"]
            raise AssertionError([
                (e["LogicalResourceId"], e.get("ResourceStatusReason"))
                for e in events if "FAILED" in e["ResourceStatus"]
            ])
        self.outputs[region] = {o["OutputKey"]: o["OutputValue"] for o in status["Outputs"]}

    @staticmethod
    def _create_bucket(s3, region, bucket):
        where = {} if region == "us-east-1" else {
            "CreateBucketConfiguration": {"LocationConstraint": region},
        }
        s3.create_bucket(Bucket=bucket, **where)

    def _administer(self):
        """Makes the functions' roles data lake administrators, as an operator would."""
        roles = [r for out in self.outputs.values() for r in out["Roles"].split(",")]
        roles += [f"arn:aws:iam::{ACCOUNT}:role/Admin", f"arn:aws:iam::{ACCOUNT}:root"]
        roles += [f"arn:aws:iam::{ACCOUNT}:role/twinlake/local"]
        settings = {
            "DataLakeAdmins": [{"DataLakePrincipalIdentifier": role} for role in roles],
            "CreateDatabaseDefaultPermissions": [], "CreateTableDefaultPermissions": [],
        }
        for region in (PRIMARY, SECONDARY):
            self.client("lakeformation", region).put_data_lake_settings(DataLakeSettings=settings)

    def _make_buckets(self):
        """The lake's buckets, replicating, with failures told to Twinlake's queue."""
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
                    "Destination": {"Bucket": f"arn:aws:s3:::{BUCKETS[SECONDARY]}"},
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

    # What people do

    def subscribe(self, region, filter_policy=None):
        """A queue subscribed to a Region's alerts; answers a function that takes messages."""
        sqs, sns = self.client("sqs", region), self.client("sns", region)
        url = sqs.create_queue(QueueName=f"ops-{time.monotonic_ns()}")["QueueUrl"]
        arn = sqs.get_queue_attributes(
            QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        attributes = {"FilterPolicy": json.dumps(filter_policy)} if filter_policy else {}
        sns.subscribe(
            TopicArn=self.outputs[region]["AlertTopic"], Protocol="sqs", Endpoint=arn,
            Attributes=attributes,
        )

        def take():
            got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            messages = got.get("Messages", [])
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            return [json.loads(message["Body"]) for message in messages]

        return take

    def physical(self, region, logical):
        """The name that a resource of the stack was given."""
        if (region, logical) not in self.names:
            found = self.client("cloudformation", region).describe_stack_resources(
                StackName=f"twinlake-{region}")["StackResources"]
            self.names |= {(region, r["LogicalResourceId"]): r["PhysicalResourceId"]
                           for r in found}
        return self.names[region, logical]

    def queue(self, region, logical):
        """The URL of a queue of the stack."""
        name = self.physical(region, logical).rsplit("/", 1)[-1]
        return self.client("sqs", region).get_queue_url(QueueName=name)["QueueUrl"]

    def invoke(self, region, function):
        """Runs a function as its schedule does, and waits for its end."""
        answer = self.client("lambda", region).invoke(
            FunctionName=self.physical(region, function), Payload=b"{}")
        body = answer["Payload"].read()
        if "FunctionError" in answer:
            raise AssertionError(body)

    def resync(self):
        """Invokes the secondary's resync and waits for its end."""
        self.invoke(SECONDARY, "Resync")

    def replay(self, region, event):
        """Puts one event on a Region's default bus, as AWS would."""
        self.client("events", region).put_events(Entries=[{
            "Source": event["source"], "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
        }])

    def calls(self):
        """Calls to Glue and Lake Formation since they were last asked for."""
        return self.steer("calls")

    def is_quiet(self):
        """Whether no message waits or is being handled in the secondary's queues. One that is
        delayed does not count: a second look at all partitions of a table is, for minutes."""
        sqs = self.client("sqs", SECONDARY)
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for url in sqs.list_queues(QueueNamePrefix="twinlake-").get("QueueUrls", []):
            if "DeadLetters" in url:
                continue
            counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            if any(int(counts[name]) for name in names):
                return False
        return True
