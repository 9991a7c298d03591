# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for the Hugging Face hub: read-only model repositories; no Xet, CDN, uploads, history, datasets or Spaces.

It has the routes that an unchanged `huggingface_hub` 2.4 calls to identify a token, to look models up and to download
them, with the status codes and X-Error-Code / X-Error-Message headers that this client tells errors apart by
(`huggingface_hub/utils/_http.py`, hf_raise_for_status). Repositories are the directories `FILES/<org>/<name>`; a
repository's only revision is `main`, whose commit follows from its files: change a file and there is a new commit.

    python tests/sandbox/hub.py --listen 127.0.0.1:8802 --files DIR

For tests, next to the hub's own routes:
    GET /sandbox/calls      {"routes": {"whoami-v2": 1, ...}, "repositories": {"org/name": {"requests": 2, "bytes": 9,
                            "files": 9}}}; files: of the bytes those not of a range with an end, as header readers ask for
    DELETE /sandbox/calls   counts from zero
    POST /sandbox/faults    one fault or a list; DELETE /sandbox/faults removes all. A fault is an object:
        path         which requests: a shell pattern on the URL path, by default every one
        times        how often it strikes, by default always
        status       answer this HTTP status instead
        retry_after  seconds, in the header Retry-After of that status
        redirect     send the client to the same path of this server (http://address:port)
        delay        seconds before the answer
        rate         bytes per second of a file's body; what reads headers, by ranges with an end, is left alone
        truncate     close the connection after so many bytes of a file's body
        reset        reset the connection after so many bytes of a file's body, and lose those still under way
        corrupt      true: the body's first byte is wrong
      The last four leave HEAD requests alone.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit


class Token(NamedTuple):
    """A token: whose it is, its role as whoami-v2 spells it, whether it may read gated repositories, and its end."""

    user: str
    role: str = "read"
    reads_gated: bool = True
    expired: bool = False
    expires: str | None = None


class Access(NamedTuple):
    """Who may read the files of a repository. Everyone sees that a gated one exists, but not a private one."""

    users: frozenset[str]
    gated: str | bool = False
    private: bool = False
    pending: frozenset[str] = frozenset()


TOKENS = {
    "token-of-alice": Token("alice"),
    "token-of-bob": Token("bob"),
    "token-without-licence": Token("carol"),
    "token-awaiting-review": Token("dave"),
    "token-without-gated-read": Token("alice", "fineGrained", reads_gated=False),
    "token-with-gated-read": Token("alice", "fineGrained"),
    "token-expired": Token("alice", expired=True),
    "token-expiring": Token("alice", expires=f"{datetime.now(UTC) + timedelta(days=5):%Y-%m-%dT%H:%M:%S.000Z}"),
}
# By pattern; what is not listed is public.
REPOSITORIES = {
    "meta-llama/*": Access(frozenset({"alice", "bob"}), gated="manual", pending=frozenset({"dave"})),
    "alice/private-*": Access(frozenset({"alice"}), private=True),
}
PUBLIC = Access(frozenset())

LFS_SUFFIXES = (".bin", ".gguf", ".model", ".onnx", ".pt", ".pth", ".safetensors")
LFS_BYTES = 10_000_000
CHUNK = 1 << 18
STARTED = "2026-01-01T00:00:00.000Z"


class File(NamedTuple):
    """One file of a repository, as the hub describes it; sha256 of the bytes, and git's object id."""

    place: Path
    size: int
    sha256: str
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


class Refusal(Exception):
    """An answer other than success, as the hub gives it."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict | None = None):
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}


class Tree:
    """The repositories in a directory. Hashes are computed once for each state of a file."""

    def __init__(self, root: Path):
        self.root = root
        self._files: dict[tuple, File] = {}
        self._lock = threading.Lock()

    def files(self, repo: str) -> dict[str, File] | None:
        """The files of a repository by path, or None where there is no such repository."""
        directory = self.root / repo
        if ".." in repo.split("/") or not directory.is_dir():
            return None
        places = sorted(place for place in directory.rglob("*") if place.is_file() and place.suffix != ".part")
        with self._lock:
            return {place.relative_to(directory).as_posix(): self._file(place) for place in places}

    def _file(self, place: Path) -> File:
        state = place.stat()
        key = (place, state.st_size, state.st_mtime_ns)
        if key not in self._files:
            git, sha256 = hashlib.sha1(b"blob %d\0" % state.st_size), hashlib.sha256()
            with place.open("rb") as file:
                while block := file.read(1 << 20):
                    git.update(block)
                    sha256.update(block)
            lfs = place.suffix in LFS_SUFFIXES or state.st_size > LFS_BYTES
            if lfs:
                content = pointer(sha256.hexdigest(), state.st_size)
                git = hashlib.sha1(b"blob %d\0%s" % (len(content), content))
            self._files[key] = File(place, state.st_size, sha256.hexdigest(), git.hexdigest(), lfs)
        return self._files[key]


def pointer(sha256: str, size: int) -> bytes:
    """What git holds in place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def commit_of(files: dict[str, File]) -> str:
    """The commit of a repository with these files."""
    listing = "".join(f"{file.sha256} {path}\n" for path, file in sorted(files.items()))
    return hashlib.sha1(listing.encode()).hexdigest()


def licence_of(files: dict[str, File]) -> str | None:
    """What the front matter of a repository's README.md says, or None."""
    text = files["README.md"].place.read_text() if "README.md" in files else ""
    matter = text.split("---\n")[1] if text.startswith("---\n") else ""
    match = re.search(r"^license: *(\S+)", matter, re.MULTILINE)
    return match and match[1]


class Hub(ThreadingHTTPServer):
    """The server; tests start it in their own process and read `calls` and `faults` directly."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], root: Path):
        super().__init__(address, Handler)
        self.tree = Tree(root)
        self.lock = threading.Lock()
        self.faults: list[dict] = []
        self.forget()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.server_address)

    def forget(self) -> None:
        self.routes: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.files: Counter[str] = Counter()

    def calls(self) -> dict:
        with self.lock:
            return {"routes": dict(self.routes), "repositories": {
                repo: {"requests": count, "bytes": self.bytes[repo], "files": self.files[repo]}
                for repo, count in sorted(self.requests.items())}}

    def fault(self, path: str, method: str, ended: bool) -> dict:
        """All faults that strike a request now, as one; it asks for a range that has an end, or not."""
        struck: dict = {}
        with self.lock:
            for fault in self.faults:
                if method == "HEAD" and fault.keys() & {"rate", "truncate", "reset", "corrupt"}:
                    continue
                if ended and "rate" in fault:
                    continue
                if fnmatchcase(path, fault.get("path", "*")) and fault.get("times", 1) > 0:
                    struck |= fault
                    if "times" in fault:
                        fault["times"] -= 1
        return struck


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Hub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        try:
            if parts[0] == "sandbox":
                return self._sandbox(parts)
            self.struck = self.server.fault(url.path, self.command, self._has_end())
            time.sleep(self.struck.get("delay", 0))
            if server := self.struck.get("redirect"):
                raise Refusal(302, "Found", headers={"Location": server + self.path})
            if status := self.struck.get("status"):
                wait = {"Retry-After": str(self.struck["retry_after"])} if "retry_after" in self.struck else None
                raise Refusal(status, f"The sandbox was told to answer {status}", headers=wait)
            self._route(parts)
        except Refusal as refusal:
            headers = {"X-Error-Message": refusal.message, **refusal.headers}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            self._json({"error": refusal.message}, refusal.status, headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_POST = do_DELETE = do_GET

    def _sandbox(self, parts: list[str]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: dict | list
        match self.command, parts[1:]:
            case "GET", ["calls"]:
                answer = self.server.calls()
            case "DELETE", ["calls"]:
                self.server.forget()
                answer = {}
            case "POST", ["faults"]:
                given = json.loads(body)
                self.server.faults += given if isinstance(given, list) else [given]
                answer = self.server.faults
            case "DELETE", ["faults"]:
                self.server.faults.clear()
                answer = []
            case _:
                raise Refusal(404, "Sandbox: no such route")
        self._json(answer)

    def _route(self, parts: list[str]) -> None:
        self.who = self._token()
        match parts:
            case ["api", "whoami-v2"]:
                self._count("whoami-v2")
                self._whoami()
            case ["api", "agent-harnesses"]:  # asked for once a day by the client, for its user agent
                self._count("agent-harnesses")
                self._json({"standardEnvVars": [], "harnesses": {}})
            case ["api", "models", org, name]:
                self._count("info", f"{org}/{name}")
                self._info(f"{org}/{name}", "main")
            case ["api", "models", org, name, "revision", revision]:
                self._count("info", f"{org}/{name}")
                self._info(f"{org}/{name}", revision)
            case ["api", "models", org, name, "tree", revision, *path]:
                self._count("tree", f"{org}/{name}")
                self._list(f"{org}/{name}", revision, "/".join(path))
            case ["api", "models", org, name, "refs"]:
                self._count("refs", f"{org}/{name}")
                commit = commit_of(self._repository(f"{org}/{name}"))
                main = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit}
                self._json({"branches": [main], "tags": [], "converts": [], "pullRequests": []})
            case ["api", "models", org, name, "auth-check"]:
                self._count("auth-check", f"{org}/{name}")
                self._repository(f"{org}/{name}")
                self._check_access(f"{org}/{name}")
                self._json({})
            case [org, name, "resolve", revision, *path] if org != "api" and path:
                self._count("resolve", f"{org}/{name}")
                self._resolve(f"{org}/{name}", revision, "/".join(path))
            case _:
                self._count("unknown")
                raise Refusal(404, "Sorry, we can't find the page you are looking for.")

    def _count(self, route: str, repo: str | None = None) -> None:
        with self.server.lock:
            self.server.routes[route] += 1
            if repo:
                self.server.requests[repo] += 1

    # Who asks, and what they may see

    def _token(self) -> Token | None:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        token = TOKENS.get(value)
        if token is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        if token.expired:
            raise Refusal(401, 'User Access Token "sandbox" is expired')
        return token

    def _access(self, repo: str) -> Access:
        return next((access for pattern, access in REPOSITORIES.items() if fnmatchcase(repo, pattern)), PUBLIC)

    def _repository(self, repo: str) -> dict[str, File]:
        """The files of a repository that the asking user may know of."""
        access, files = self._access(repo), self.server.tree.files(repo)
        if files is None or access.private and (self.who is None or self.who.user not in access.users):
            if self.who is None:
                raise Refusal(401, "Invalid username or password.", "RepoNotFound")
            raise Refusal(404, "Repository not found", "RepoNotFound")
        return files

    def _check_access(self, repo: str) -> None:
        """Refuse who may not read the files of a gated repository; its listing is open to all, as on the hub."""
        access = self._access(repo)
        if not access.gated:
            return
        if self.who is None:
            raise Refusal(401, f"Access to model {repo} is restricted. You must have access to it and be authenticated "
                          "to access it. Please log in.", "GatedRepo")
        if not self.who.reads_gated:
            raise Refusal(403, "Please enable access to public gated repositories in your fine-grained token settings "
                          "to view this repository.")
        if self.who.user in access.pending:
            raise Refusal(403, f"Your request to access model {repo} is awaiting a review from the repo authors.",
                          "GatedRepo")
        if self.who.user not in access.users:
            raise Refusal(403, f"Access to model {repo} is restricted and you are not in the authorized list. Visit "
                          f"https://huggingface.co/{repo} to ask for access.", "GatedRepo")

    def _at(self, repo: str, revision: str) -> tuple[dict[str, File], str]:
        """Files and commit of a revision."""
        files = self._repository(repo)
        commit = commit_of(files)
        if revision not in ("main", "refs/heads/main", commit):
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return files, commit

    # Answers

    def _whoami(self) -> None:
        if self.who is None:
            raise Refusal(401, "Invalid username or password.")
        access_token = {"displayName": "sandbox", "role": self.who.role, "createdAt": STARTED}
        if self.who.role == "fineGrained":
            access_token["fineGrained"] = {"canReadGatedRepos": self.who.reads_gated, "global": [], "scoped": []}
        auth = {"type": "access_token", "accessToken": access_token}
        if self.who.expires:
            auth["expiresAt"] = self.who.expires
        self._json({"type": "user", "id": self.who.user, "name": self.who.user, "fullname": self.who.user.capitalize(),
                    "isPro": False, "orgs": [], "auth": auth})

    def _info(self, repo: str, revision: str) -> None:
        files, commit = self._at(repo, revision)
        access, siblings = self._access(repo), []
        for path, file in files.items():
            sibling: dict = {"rfilename": path}
            if "blobs" in self.query:
                sibling |= {"size": file.size, "blobId": file.oid}
                if file.lfs:
                    sibling["lfs"] = {"sha256": file.sha256, "size": file.size,
                                      "pointerSize": len(pointer(file.sha256, file.size))}
            siblings.append(sibling)
        licence = licence_of(files)
        card = {"cardData": {"license": licence}} if licence else {}
        self._json({"_id": commit[:24], "id": repo, "modelId": repo, "author": repo.partition("/")[0], "sha": commit,
                    "private": access.private, "gated": access.gated, "disabled": False, "lastModified": STARTED,
                    "createdAt": STARTED, "downloads": 0, "likes": 0,
                    "tags": [f"license:{licence}"] if licence else [], "siblings": siblings} | card)

    def _list(self, repo: str, revision: str, below: str) -> None:
        files, commit = self._at(repo, revision)
        entries: dict[str, dict] = {}
        prefix = f"{below}/" if below else ""
        recursive = self.query.get("recursive") == "true"
        for path, file in files.items():
            if not path.startswith(prefix):
                continue
            names = path[len(prefix):].split("/")
            for depth in range(1, len(names) if recursive else min(len(names), 2)):
                folder = prefix + "/".join(names[:depth])
                oid = hashlib.sha1(folder.encode()).hexdigest()
                entries[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
            if len(names) == 1 or recursive:
                entries[path] = {"type": "file", "oid": file.oid, "size": file.size, "path": path}
                if file.lfs:
                    entries[path]["lfs"] = {"oid": file.sha256, "size": file.size,
                                            "pointerSize": len(pointer(file.sha256, file.size))}
        if below and not entries:
            raise Refusal(404, f"{below} does not exist on \"{revision}\"", "EntryNotFound")
        self._json([entries[path] for path in sorted(entries)], headers={"X-Repo-Commit": commit})

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        files, commit = self._at(repo, revision)
        self._check_access(repo)
        headers = {"X-Repo-Commit": commit}
        if path not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers)
        file = files[path]
        if file.lfs:
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"'}
        self._body(repo, file, headers)

    def _body(self, repo: str, file: File, headers: dict) -> None:
        """Send a file or the range of it that was asked for, without holding it in memory."""
        first, last = self._range(file.size)
        headers |= {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream",
                    "Content-Length": str(last - first + 1)}
        partial = "Range" in self.headers
        if partial:
            headers["Content-Range"] = f"bytes {first}-{last}/{file.size}"
        self._head(206 if partial else 200, headers)
        if self.command == "HEAD":
            return
        rate, reset = self.struck.get("rate"), self.struck.get("reset")
        end = reset if reset is not None else self.struck.get("truncate")
        with file.place.open("rb") as source:
            source.seek(first)
            left = last - first + 1
            if end is not None:
                left, self.close_connection = min(left, end), True
            while left:
                block = source.read(min(left, CHUNK, max(1, rate // 10) if rate else CHUNK))
                if not block:
                    break
                if self.struck.pop("corrupt", False):
                    block = bytes([block[0] ^ 1]) + block[1:]
                with self.server.lock:  # before the client can have all and ask for the count
                    self.server.bytes[repo] += len(block)
                    self.server.files[repo] += 0 if self._has_end() else len(block)
                self.wfile.write(block)
                left -= len(block)
                if rate:
                    time.sleep(len(block) / rate)
        if reset is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()  # holds the socket open, and the server would end it in good order
            self.connection.close()

    def _has_end(self) -> bool:
        """Whether a range with an end is asked for."""
        return not self.headers.get("Range", "-").endswith("-")

    def _range(self, size: int) -> tuple[int, int]:
        """First and last byte to send."""
        if "Range" not in self.headers:
            return 0, size - 1
        start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
        first = int(start) if start else max(0, size - int(end))
        last = min(int(end), size - 1) if start and end else size - 1
        if first > last:
            raise Refusal(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        return first, last

    def _json(self, content: dict | list, status: int = 200, headers: dict | None = None) -> None:
        body = json.dumps(content).encode()
        kind = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
        self._head(status, kind | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        # The path and status only: a token is in neither.
        if not self.path.startswith("/sandbox/"):
            print(time.strftime("%H:%M:%S"), self.address_string(), format % arguments, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--files", required=True, type=Path, metavar="DIR")
    options = parser.parse_args()
    address, _, port = options.listen.rpartition(":")
    hub = Hub((address, int(port)), options.files)
    print(f"Stand-in for the Hugging Face hub on {hub.url}, repositories in {options.files}", flush=True)
    hub.serve_forever()


if __name__ == "__main__":
    main()
