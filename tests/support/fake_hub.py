# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""As much of the Hub as pushing and loading models takes, over HTTP on this machine, with connections that break."""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


LINGER = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)

TOKEN, READ_TOKEN = "hf_" + "w" * 34, "hf_" + "r" * 34


@dataclass
class Fault:
    """What befalls the first `times` requests with this method and `part` in their path."""

    method: str
    part: str
    status: int | None = None  # to answer; None: the connection is cut amid the body
    is_after: bool = False  # cut only before the answer, when all is done
    times: float = 1
    body: bytes = b'{"error": "broken"}'  # with `status`


@dataclass
class Commit:
    message: str
    files: dict[str, bytes]

    @property
    def sha(self) -> str:
        return hashlib.sha1(repr((self.message, sorted(self.files.items()))).encode()).hexdigest()


@dataclass
class Repo:
    private: bool
    branches: dict[str, list[Commit]] = field(
        default_factory=lambda: {"main": [Commit("initial", {".gitattributes": b""})]}
    )

    def find(self, revision: str) -> Commit | None:
        commits = [commit for branch in self.branches.values() for commit in branch]
        named = {name: branch[-1] for name, branch in self.branches.items()}
        return named.get(revision) or next((commit for commit in commits if commit.sha == revision), None)


class FakeHub(ThreadingHTTPServer):
    """User "you", whose token is TOKEN, or READ_TOKEN to read only, who writes for "lab" and reads in "library"."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.repos: dict[str, Repo] = {}
        self.large: dict[tuple[str, str], bytes] = {}  # by repository and SHA-256
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault_for(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and fault.part in path:
                fault.times -= 1
                return fault
        return None

    def handle_error(self, request, client_address) -> None:
        """Cut connections are what is tested: nothing to tell."""


@contextmanager
def running_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def hub_environment(hub: FakeHub, folder: Path, **variables: str) -> dict[str, str]:
    """That of a fresh process, which reads it on import: this Hub, a cache in `folder`, and TOKEN."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home"), "HF_TOKEN": TOKEN}
    return kept | own | {"NO_PROXY": "127.0.0.1"} | variables


def is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def oid(path: str, content: bytes) -> str:
    if is_large(path):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args) -> None:
        pass

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests.append((self.command, path))
            fault = self.server.fault_for(self.command, path)
        length = int(self.headers.get("Content-Length", 0))
        if fault and fault.status is None and not fault.is_after:
            self.rfile.read(length // 2)
            return self._cut()
        self.body = self.rfile.read(length)
        if fault and fault.status:
            return self._answer(fault.body, fault.status)
        with self.server.lock:
            answer = self._route(path)
        return self._cut() if fault else self._answer(*answer)

    def _cut(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)  # at once, by RST
        self.connection.close()
        self.close_connection = True

    def _answer(self, content: bytes | dict | list, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _route(self, path: str) -> tuple:
        if self.command == "PUT":
            name = path.removeprefix("/large/").rpartition("/")[0]
            self.server.large[name, hashlib.sha256(self.body).hexdigest()] = self.body
            return (b"",)
        user = self._user()
        if path == "/api/validate-yaml":
            return ({"errors": [], "warnings": []},)
        if path == "/api/whoami-v2":
            return ({"error": "Invalid credentials"}, 401) if user is None else (user,)
        if path == "/api/repos/create":
            return self._create(user)
        for pattern, method in ROUTES.items():
            if match := re.fullmatch(pattern, path):
                repo = self.server.repos.get(match["name"])
                if repo is None or (repo.private and user is None):
                    return {"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"}
                return method(self, repo, **match.groupdict())
        return {"error": f"no such path {path}"}, 404

    def _user(self) -> dict | None:
        role = {f"Bearer {TOKEN}": "write", f"Bearer {READ_TOKEN}": "read"}.get(self.headers.get("Authorization"))
        organizations = [{"name": "lab"}, {"name": "library"}]
        return role and {"name": "you", "orgs": organizations, "auth": {"accessToken": {"role": role}}}

    def _create(self, user: dict | None) -> tuple:
        fields = json.loads(self.body)
        name = f"{fields['organization']}/{fields['name']}"
        if not self._may_write(name, user):
            return {"error": "You don't have the rights to create a model there"}, 403
        if name in self.server.repos:
            return {"error": "You already created this model repo", "url": f"{self.server.url}/{name}"}, 409
        private = fields["visibility"] == "private" if "visibility" in fields else fields.get("private", False)
        self.server.repos[name] = Repo(private)
        return ({"url": f"{self.server.url}/{name}"},)

    def _may_write(self, name: str, user: dict | None) -> bool:
        is_writer = user is not None and user["auth"]["accessToken"]["role"] == "write"
        return is_writer and name.partition("/")[0] in ("you", "lab")

    def _auth_check(self, repo: Repo, name: str) -> tuple:
        return ({},) if self._may_write(name, self._user()) else ({"error": "Forbidden"}, 403)

    def _branch(self, repo: Repo, name: str, branch: str) -> tuple:
        repo.branches.setdefault(branch, list(repo.branches["main"]))
        return ({},)

    def _info(self, repo: Repo, name: str, revision: str = "main") -> tuple:
        commit = repo.find(revision)
        if commit is None:
            return {"error": "no such revision"}, 404, {"X-Error-Code": "RevisionNotFound"}
        files = [{"rfilename": path} for path in commit.files]
        return ({"id": name, "sha": commit.sha, "private": repo.private, "siblings": files, "tags": []},)

    def _tree(self, repo: Repo, name: str, revision: str) -> tuple:
        files = repo.find(revision).files.items()
        return ([{"type": "file", "path": path, "size": len(data), "oid": oid(path, data)} for path, data in files],)

    def _preupload(self, repo: Repo, name: str, revision: str) -> tuple:
        there = repo.find(revision).files
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": oid(file["path"], there[file["path"]]) if file["path"] in there else None,
            }
            for file in json.loads(self.body)["files"]
        ]
        return ({"files": files},)

    def _batch(self, repo: Repo, name: str) -> tuple:
        objects = json.loads(self.body)["objects"]
        for entry in objects:
            if (name, entry["oid"]) not in self.server.large:
                entry["actions"] = {"upload": {"href": f"{self.server.url}/large/{name}/{entry['oid']}"}}
        return ({"transfer": "basic", "objects": objects},)

    def _commit(self, repo: Repo, name: str, branch: str) -> tuple:
        head, *operations = map(json.loads, self.body.splitlines())
        commits = repo.branches[branch]
        if head["value"].get("parentCommit", commits[-1].sha) != commits[-1].sha:
            return {"error": "A commit has happened since."}, 412
        files = dict(commits[-1].files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.large[name, value["oid"]]
            else:
                del files[value["path"]]
        commits.append(Commit(head["value"]["summary"], files))
        sha = commits[-1].sha
        return ({"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha},)

    def _resolve(self, repo: Repo, name: str, revision: str, file: str) -> tuple:
        commit = repo.find(revision)
        headers = {"X-Repo-Commit": commit.sha}
        if file not in commit.files:
            return {"error": "Entry not found"}, 404, {**headers, "X-Error-Code": "EntryNotFound"}
        return commit.files[file], 200, {**headers, "ETag": f'"{oid(file, commit.files[file])}"'}


REPO = r"(?P<name>[\w-]+/[\w-]+)"
ROUTES = {
    rf"/api/models/{REPO}": Handler._info,
    rf"/api/models/{REPO}/revision/(?P<revision>.+)": Handler._info,
    rf"/api/models/{REPO}/auth-check/write": Handler._auth_check,
    rf"/api/models/{REPO}/branch/(?P<branch>.+)": Handler._branch,
    rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)": Handler._tree,
    rf"/api/models/{REPO}/preupload/(?P<revision>.+)": Handler._preupload,
    rf"/api/models/{REPO}/commit/(?P<branch>.+)": Handler._commit,
    rf"/{REPO}\.git/info/lfs/objects/batch": Handler._batch,
    rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)": Handler._resolve,
}
