"""Moto's server, with answers to what its Lake Formation does not know: there is nothing of
that kind. What it does know it answers itself.

    python moto_lake.py PORT
"""

import io
import json
import os
import sys

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

LACKS = {
    "/ListLakeFormationOptIns": "LakeFormationOptInsInfoList",
    "/ListLFTagExpressions": "LFTagExpressions",
    "/SearchDatabasesByLFTags": "DatabaseList",
    "/SearchTablesByLFTags": "TableList",
}


class Lake:
    def __init__(self, moto):
        self.moto = moto

    def __call__(self, environ, start_response):
        path = environ.get("PATH_INFO", "")
        if path in LACKS:
            return self.answer(start_response, {LACKS[path]: []})
        if path == "/ListPermissions":
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length)
            environ["wsgi.input"] = io.BytesIO(body)
            if (json.loads(body or b"{}").get("ResourceType") or "").startswith("LF_"):
                return self.answer(start_response, {"PrincipalResourcePermissions": []})
        if path == "/GetResourceLFTags":
            # Where nothing was ever assigned it fails.
            told = {}

            def note(status, headers, *rest):
                told.update(status=status, headers=headers)
            try:
                chunks = list(self.moto(environ, note))
            except KeyError:
                return self.answer(start_response, {})
            if told["status"].startswith("500"):
                return self.answer(start_response, {})
            start_response(told["status"], told["headers"])
            return chunks
        return self.moto(environ, start_response)

    @staticmethod
    def answer(start_response, body):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(body).encode()]


if __name__ == "__main__":
    port = int(sys.argv[1])
    os.environ.setdefault("MOTO_PORT", str(port))
    run_simple("127.0.0.1", port, Lake(DomainDispatcherApplication(create_backend_app)),
               threaded=True)
