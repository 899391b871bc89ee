"""A hub for one dataset: what huggingface_hub asks for when something is uploaded, and no more."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Its one dataset: None, or its tags, whether it is private, and its files by name."""

    def __init__(self):
        self.address = ""
        self.dataset, self.asked, self.tokens = None, [], set()

    def answer(self, method, path, body):
        """Status and record of an answer."""
        self.asked.append(f"{method} {path}")
        if path == "/api/repos/create":
            asked = json.loads(body)
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.dataset = {"tags": [], "private": private, "files": {}}
            return 200, {"url": f"{self.address}/datasets/owner/name", "id": "0"}
        if self.dataset is None:
            return 404, {"error": "Repository not found"}
        if path.endswith("/preupload/main"):
            names = [held["path"] for held in json.loads(body)["files"]]
            kept = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return 200, {"files": [{"path": name, **kept} for name in names]}
        if path.endswith("/commit/main"):
            lines = [json.loads(line) for line in body.decode().splitlines()]
            for line in lines:
                if line["key"] == "file":
                    held = line["value"]
                    self.dataset["files"][held["path"]] = base64.b64decode(held["content"])
            return 200, {
                "commitUrl": f"{self.address}/datasets/owner/name/commit/1",
                "commitOid": "1" * 40,
            }
        return 200, {
            "id": "owner/name", "private": self.dataset["private"], "tags": self.dataset["tags"],
            "siblings": [{"rfilename": name} for name in self.dataset["files"]],
            "author": "owner", "sha": "1" * 40, "disabled": False, "gated": False,
            "downloads": 0, "likes": 0, "createdAt": "2025-01-01T00:00:00.000Z",
            "lastModified": "2025-01-01T00:00:00.000Z",
        }  # fmt: skip


@contextmanager
def serving():
    """A hub at its address."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.tokens.add(self.headers.get("Authorization"))
            status, record = hub.answer(self.command, self.path.partition("?")[0], body)
            data = json.dumps(record).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_HEAD = _answer

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
    finally:
        server.shutdown()
        server.server_close()
