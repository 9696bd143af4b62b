"""A moto server with stubs for the Lake Formation operations that moto lacks.

Each stub answers that there is nothing of the kind. Moto answers all other operations itself.

    python3 moto_with_stubs.py PORT
"""

import io
import json
import os
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

# The operations that moto lacks, with the key of the list in the response.
MISSING_OPERATIONS = {
    "/ListLakeFormationOptIns": "LakeFormationOptInsInfoList",
    "/ListLFTagExpressions": "LFTagExpressions",
    "/SearchDatabasesByLFTags": "DatabaseList",
    "/SearchTablesByLFTags": "TableList",
}


class MotoWithStubs:
    """A WSGI application around moto's."""

    def __init__(self, moto):
        self.moto = moto

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "")
        if path in MISSING_OPERATIONS:
            return self.respond(start_response, {MISSING_OPERATIONS[path]: []})
        if path == "/ListPermissions":
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length)
            environ["wsgi.input"] = io.BytesIO(body)
            if (json.loads(body or b"{}").get("ResourceType") or "").startswith("LF_"):
                return self.respond(start_response, {"PrincipalResourcePermissions": []})
        if path == "/GetResourceLFTags":
            # Moto fails for a resource that never had an LF-Tag.
            response = {}

            def record_response(status, headers, *_):
                response.update(status=status, headers=headers)
            try:
                chunks = list(self.moto(environ, record_response))
            except KeyError:
                return self.respond(start_response, {})
            if response["status"].startswith("500"):
                return self.respond(start_response, {})
            start_response(response["status"], response["headers"])
            return chunks
        return self.moto(environ, start_response)

    @staticmethod
    def respond(start_response, body):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


if __name__ == "__main__":
    port = int(sys.argv[1])
    os.environ.setdefault("MOTO_PORT", str(port))
    run_simple("127.0.0.1", port, MotoWithStubs(DomainDispatcherApplication(create_backend_app)),
               threaded=True)
