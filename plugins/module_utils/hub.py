# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment must know of the Hugging Face hub: whose a token is, and what a repository is made of.

Requests go through huggingface_hub's session, errors and token look-up. Its class HfApi is left alone: that takes 0.5 s
to import where these take 0.15 s, as long as half a no-op run of one deployment.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .errors import UserError, library

# A hub that takes longer than this (seconds) is not there.
TIMEOUT = 10
# A hub that is busy is asked again after so many seconds, or after those that it says where these are not too many.
BUSY, WAITS, PATIENCE = (429, 500, 502, 503, 504), (1, 3), 30
# Questions at the same time.
THREADS = 16

KINDS = frozenset(
    """bad_model no_token bad_token expired_token licence_not_accepted access_pending no_gated_right no_right no_such_repository
    no_such_revision no_such_file unreachable""".split()
)


class HubError(UserError):
    """The hub, a repository or a token cannot be used, as a sentence with the cure. It never holds a token.

    Attributes:
        kind: one of KINDS.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Account(NamedTuple):
    """Whose a token is: hub user, the token's role (read, write or fineGrained), and when it ends, if it does."""

    name: str
    role: str
    expires: datetime | None = None


class File(NamedTuple):
    """A file of a repository: path in it, size in bytes, and the digest that the hub knows.

    Attributes:
        sha256: of the content, for large files; else None.
        git_sha1: git's object id, for the others; else None.
    """

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


class Snapshot(NamedTuple):
    """A repository at a commit.

    Attributes:
        licence: as its authors declare it (``apache-2.0``); empty where they do not.
    """

    repo: str
    commit: str
    gated: bool
    licence: str
    files: tuple[File, ...]


class Question(NamedTuple):
    """What resolve is asked: a repository at a revision, by whom.

    Attributes:
        token: as find_token gives it; None asks as anyone.
        revision: branch, tag or commit.
    """

    endpoint: str
    token: str | None
    repo: str
    revision: str


def find_token(given: str | None = None) -> str | None:
    """The token given, else HF_TOKEN, else the one that ``hf auth login`` stored, else None."""
    return (given or "").strip() or library("huggingface_hub.utils").get_token()


def whoami(endpoint: str, token: str) -> Account:
    """Whose the token is.

    Raises:
        HubError: bad_token or unreachable.
    """
    answer = _get(endpoint, token, "api/whoami-v2")
    token_info = answer.get("auth", {}).get("accessToken", {})
    expires = answer.get("auth", {}).get("expiresAt")
    return Account(answer["name"], token_info.get("role", "unknown"), datetime.fromisoformat(expires) if expires else None)


def check_access(endpoint: str, token: str | None, repo: str) -> None:
    """Make sure that the token reads the files of a repository, whether public, gated or private.

    Raises:
        HubError: of the kind that tells why it does not.
    """
    _get(endpoint, token, f"api/models/{repo}/auth-check", repo)


def resolve(endpoint: str, token: str | None, repo: str, revision: str) -> Snapshot:
    """Look a repository up at a revision, and make sure that its files may be read; arguments as in Question.

    Raises:
        HubError: of any kind but no_such_file.
    """
    info = _get(endpoint, token, f"api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true", repo, revision)
    gated = bool(info.get("gated"))
    if gated:  # everyone may see the list of its files, but not read them
        check_access(endpoint, token, repo)
    licence = (info.get("cardData") or {}).get("license") or ""
    return Snapshot(info["id"], info["sha"], gated, str(licence), tuple(sorted(map(_file, info.get("siblings", ())))))


def resolve_all(questions: Iterable[Question]) -> dict[Question, Snapshot | HubError]:
    """Resolve many at once, each once. A hub that one of them cannot reach is not waited for again."""
    down: dict[str, HubError] = {}

    def answer(question: Question) -> Snapshot | HubError:
        if question.endpoint in down:
            return down[question.endpoint]
        try:
            return resolve(*question)
        except HubError as error:
            if error.kind == "unreachable":
                down[question.endpoint] = error
            return error

    distinct = list(dict.fromkeys(questions))
    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(distinct, threads.map(answer, distinct), strict=True))


def sha256_of(question: Question, commit: str, file: File) -> str:
    """The sha256 of a file's content, fetched where the hub does not know it; for small files.

    Raises:
        HubError: it cannot be had, or is not what the hub described.
    """
    if file.sha256:
        return file.sha256
    path = f"{question.repo}/resolve/{commit}/{quote(file.path)}"
    content = _ask(question.endpoint, question.token, path, question.repo, commit).content
    if hashlib.sha1(b"blob %d\0%s" % (len(content), content)).hexdigest() != file.git_sha1:
        raise HubError("unreachable", f"{file.path} of {question.repo} arrived with wrong content. Try again.")
    return hashlib.sha256(content).hexdigest()


def read_range(question: Question, commit: str, path: str, first: int, count: int) -> bytes:
    """So many bytes of a file, at least one, from a place on.

    Raises:
        HubError: they cannot be had.
    """
    wanted = {"range": f"bytes={first}-{first + count - 1}", "accept-encoding": "identity"}
    location = f"{question.repo}/resolve/{commit}/{quote(path)}"
    content = _ask(question.endpoint, question.token, location, question.repo, commit, wanted).content
    if len(content) != count:
        raise HubError("unreachable", f"The hub sent {len(content)} bytes of {path} of {question.repo}, where {count} were asked for.")
    return content


def _file(entry: dict) -> File:
    """A file as the hub's list of a repository describes it; git holds but a pointer in place of a large one."""
    large = entry.get("lfs")
    return File(entry["rfilename"], entry.get("size") or 0, large["sha256"] if large else None, None if large else entry.get("blobId"))


def _get(endpoint: str, token: str | None, path: str, repo: str = "", revision: str = "") -> dict:
    """The hub's JSON answer; arguments as for _ask."""
    response = _ask(endpoint, token, path, repo, revision)
    try:
        return response.json() if response.content else {}
    except ValueError:
        raise HubError("unreachable", f"What answers at {endpoint} is no hub. Is llm_hub right?") from None


def _ask(endpoint: str, token: str | None, path: str, repo: str = "", revision: str = "", more: dict | None = None) -> Any:
    """The hub's answer to a GET; repo and revision are what it was asked about, for the sentence where it refuses.

    Args:
        more: headers of the request.
    """
    utils = library("huggingface_hub.utils")
    if token and not re.fullmatch(r"[!-~]+", token):  # else the HTTP library's error would show it
        raise HubError("bad_token", "The token has a space, a line break or another character that no token has.")
    headers = {"user-agent": "selfhosted.llm"} | ({"authorization": f"Bearer {token}"} if token else {}) | (more or {})
    try:
        address = urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.netloc or address.port == 0:
            raise ValueError("it is no http or https address")
        for wait in (*WAITS, None):
            response = utils.get_session().get(f"{endpoint.rstrip('/')}/{path}", headers=headers, timeout=TIMEOUT)
            asked = response.headers.get("Retry-After", "")
            wait = int(asked) if asked.isdigit() and wait else wait
            if response.status_code not in BUSY or wait is None or wait > PATIENCE:
                break
            time.sleep(wait)
        utils.hf_raise_for_status(response)
        return response
    except utils.OfflineModeIsEnabled:
        raise HubError("unreachable", "HF_HUB_OFFLINE is set, so that the hub is not asked.") from None
    except utils.HfHubHTTPError as error:
        raise _refusal(utils, error, endpoint.rstrip("/"), token, repo, revision) from None
    # The first base of the library's error is that of all errors of the HTTP library below, which has changed before.
    except (OSError, ValueError, utils.HfHubHTTPError.__bases__[0]) as error:
        said = str(error) or type(error).__name__
        raise HubError("unreachable", f"The hub at {endpoint} does not answer: {said}. Is llm_hub right?") from None


def _refusal(utils: Any, error: Any, endpoint: str, token: str | None, repo: str, revision: str) -> HubError:
    """The sentence for an error answer, told apart by the library's classes and, where it has none, the hub's words."""
    status, said = error.response.status_code, error.response.headers.get("X-Error-Message") or ""
    page, tokens = f"{endpoint}/{repo}", f"{endpoint}/settings/tokens"
    known = error.response.headers.get("X-Error-Code")
    if status == 401 and token and not known:
        if "expired" in said:
            return HubError("expired_token", f"The token has expired: make a new one on {tokens}.")
        return HubError("bad_token", f"The hub refuses the token, which is wrong or was revoked: make a new one on {tokens}.")
    if isinstance(error, utils.GatedRepoError):
        if not token:
            return HubError(
                "no_token",
                f"{repo} is gated, and there is no token: accept its licence on {page}, make a token on {tokens}, "
                "and give it as llm_hf_token or HF_TOKEN.",
            )
        if "awaiting" in said:
            return HubError("access_pending", f"Access to {repo} was asked for but not granted yet: see {page}.")
        return HubError(
            "licence_not_accepted",
            f"{repo} is gated, and the token's user has not accepted its licence: do so on {page}.",
        )
    if status == 403 and "gated" in said:
        return HubError(
            "no_gated_right",
            f"{repo} is gated, and the token may not read gated repositories: tick \"Read access to contents of all "
            f"public gated repos you can access\" on {tokens}.",
        )
    if status == 403:
        return HubError("no_right", f"The token may not read {repo}{f' ({said})' if said else ''}: give it the right on {tokens}.")
    if isinstance(error, utils.RevisionNotFoundError):
        return HubError(
            "no_such_revision",
            f"{repo} has no revision {revision!r}: set llm_revision to one of its branches, tags or commits.",
        )
    if isinstance(error, utils.EntryNotFoundError):
        return HubError("no_such_file", f"{repo} has no such file at {revision}.")
    if isinstance(error, utils.RepositoryNotFoundError):
        who = "the token's user" if token else "anyone without a token (llm_hf_token or HF_TOKEN)"
        return HubError(
            "no_such_repository", f"The hub shows no repository {repo} to {who}: is it spelled right, or private?"
        )
    if status == 401:
        return HubError("no_token", f"The hub wants a token: make one on {tokens}, and set llm_hf_token or HF_TOKEN.")
    said = f" ({said})" if said else ""
    again = error.response.headers.get("Retry-After", "")
    later = f"in {again} s" if again.isdigit() else "later"
    return HubError("unreachable", f"The hub at {endpoint} answers HTTP {status}{said}. Try again {later}.")
