"""Jobs of S3 Batch Operations on the wire of S3 Control, which ministack lacks: CreateJob and ListJobs.

Requests and responses have the shapes of botocore's model; a request that the model does not allow is refused. Jobs do
nothing. Beside the API, `GET /_s3control/jobs` returns the requests by job, and `POST /_s3control/jobs/ID` sets the
status of a job to the body.
"""

import datetime
import json
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

import botocore.session
from botocore.validate import ParamValidator

JOBS = "/v20180820/jobs"
CONTROL = "/_s3control/jobs"
MODEL = botocore.session.get_session().get_service_model("s3control")
NAMESPACE = MODEL.operation_model("CreateJob").input_shape.serialization.get("xmlNamespace", {}).get(
    "uri", "http://awss3control.amazonaws.com/doc/2018-08-20/")
# Refusals of CreateJob by the name of the role.
REFUSALS = {
    "denied": (403, "AccessDenied", "Access Denied"),
    "not-passed": (400, "InvalidRequest", "You do not have permission to pass the role"),
    "exists": (400, "IdempotencyException", "The token was used for another request"),
}
# By job ID: Region, account, request and status.
jobs = {}
# A page of a listing has one job, so that callers have to read further ones.
PAGE = 1


class Refused(Exception):
    """Status, code and message of an error."""


def parsed(shape, element):
    """Returns the value of an XML element as boto3 takes it. Raises Refused for what the model does not know."""
    if shape.type_name == "structure":
        value = {}
        for child in element:
            name = child.tag.removeprefix(f"{{{NAMESPACE}}}")
            if name not in shape.members or name in value:
                raise Refused(400, "MalformedXML", f"{name} in {shape.name}")
            value[name] = parsed(shape.members[name], child)
        return value
    if shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        for child in element:
            if child.tag != f"{{{NAMESPACE}}}{name}":
                raise Refused(400, "MalformedXML", f"{child.tag} in {shape.name}")
        return [parsed(shape.member, child) for child in element]
    text = element.text or ""
    if shape.type_name == "boolean":
        return {"true": True, "false": False}[text]
    return int(text) if shape.type_name in ("integer", "long") else text


def create_job(region, account, body):
    root = ElementTree.fromstring(body)
    if root.tag != f"{{{NAMESPACE}}}CreateJobRequest":
        raise Refused(400, "MalformedXML", root.tag)
    shape = MODEL.operation_model("CreateJob").input_shape
    request = parsed(shape, root)
    report = ParamValidator().validate({**request, "AccountId": account}, shape)
    if report.has_errors():
        raise Refused(400, "BadRequestException", report.generate_report())
    if refusal := REFUSALS.get(request["RoleArn"].rsplit("/", 1)[-1]):
        raise Refused(*refusal)
    token = request["ClientRequestToken"]
    for name, job in jobs.items():
        if (job["region"], job["account"], job["request"]["ClientRequestToken"]) == (region, account, token):
            if job["request"] != request:
                raise Refused(*REFUSALS["exists"])
            return f"<CreateJobResult xmlns='{NAMESPACE}'><JobId>{name}</JobId></CreateJobResult>"
    name = f"job-{len(jobs) + 1}"
    jobs[name] = {"region": region, "account": account, "request": request, "status": "New"}
    return f"<CreateJobResult xmlns='{NAMESPACE}'><JobId>{name}</JobId></CreateJobResult>"


def list_jobs(region, account, query):
    start = int(query.get("nextToken", "0"))
    own = [(name, job) for name, job in jobs.items() if (job["region"], job["account"]) == (region, account)]
    created = datetime.datetime.now(datetime.timezone.utc).isoformat()
    members = "".join(
        f"<member><JobId>{name}</JobId><Description>{escape(job['request'].get('Description', ''))}</Description>"
        f"<Operation>S3ReplicateObject</Operation><Priority>{job['request']['Priority']}</Priority>"
        f"<Status>{job['status']}</Status><CreationTime>{created}</CreationTime></member>"
        for name, job in own[start:start + PAGE])
    further = f"<NextToken>{start + PAGE}</NextToken>" if len(own) > start + PAGE else ""
    return f"<ListJobsResult xmlns='{NAMESPACE}'>{further}<Jobs>{members}</Jobs></ListJobsResult>"


def is_request(path):
    """Whether a path is served here."""
    return path == JOBS or path.startswith(CONTROL)


def respond(method, path, query, headers, body):
    """Returns status and body of a response."""
    if path.startswith(CONTROL):
        if method == "POST":
            jobs[path.removeprefix(f"{CONTROL}/")]["status"] = body.decode()
        return 200, json.dumps(jobs).encode()
    region = headers["authorization"].split("Credential=")[1].split("/")[2]
    account = headers["x-amz-account-id"]
    try:
        if method == "POST":
            return 200, create_job(region, account, body).encode()
        return 200, list_jobs(region, account, dict(urllib.parse.parse_qsl(query))).encode()
    except Refused as refused:
        status, code, message = refused.args
        return status, (f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(message)}"
                        "</Message></Error><RequestId>1</RequestId></ErrorResponse>").encode()
