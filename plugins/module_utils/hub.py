# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment must know of the Hugging Face hub: whose a token is, what a model is made of, what an engine needs.

Requests go through huggingface_hub's session, errors and token look-up. Its class HfApi is left alone: that takes 0.5 s
to import where these take 0.15 s, as long as half a no-op run of one deployment.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .errors import UserError, library

DEFAULT_QUANT = "Q4_K_M"
# A hub that takes longer than this (seconds) is not there.
TIMEOUT = 10
# The hub serves larger files (bytes) by Xet only (huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE).
LARGEST = 50_000_000_000

KINDS = frozenset(
    """bad_model no_token bad_token licence_not_accepted access_pending no_gated_right no_such_repository
    no_such_revision no_such_file unreachable""".split()
)

# Parts of a split GGUF file: model-00001-of-00003.gguf
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
# The quantisation at the end of a GGUF file's name.
_QUANT = re.compile(r"(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|[MN][XV]FP4\w*|BF16|FP?16|FP?32))$", re.IGNORECASE)
# GGUF files that are no language model: image projectors, and statistics for quantisation.
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)
# What engines for safetensors read, all at the top of a repository: weights, their index, configuration, tokenizer and
# code. The same weights in other formats, or under Mistral's name beside the usual one, would only take place.
_SAFETENSORS = re.compile(r"[^/]+\.(safetensors|json|txt|model|jinja|tiktoken|py)")
_OTHER_FORMATS = re.compile(r".*\.(bin|msgpack|h5)\.index\.json|consolidated.*", re.IGNORECASE)


class HubError(UserError):
    """The hub, a repository or a token cannot be used, as a sentence with the cure. It never holds a token.

    Attributes:
        kind: one of KINDS.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Account(NamedTuple):
    """Whose a token is: hub user, the token's role (read, write or fineGrained), and whether it reads gated models."""

    name: str
    role: str
    reads_gated: bool


class File(NamedTuple):
    """A file of a repository: path in it, size in bytes, sha256 where the hub knows it (large files)."""

    path: str
    size: int
    sha256: str | None


class Snapshot(NamedTuple):
    """A repository at a commit."""

    repo: str
    commit: str
    gated: bool
    files: tuple[File, ...]


def parse_model(model: str) -> tuple[str, str | None]:
    """Split ``org/repo[:QUANT]``.

    Raises:
        HubError: bad_model.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?", model)
    if not match:
        raise HubError("bad_model", f"{model!r} is not of the form org/repo or org/repo:QUANT.")
    return match[1], match[2]


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
    reads_gated = token_info.get("fineGrained", {}).get("canReadGatedRepos", True)
    return Account(answer["name"], token_info.get("role", "unknown"), reads_gated)


def resolve(endpoint: str, token: str | None, repo: str, revision: str) -> Snapshot:
    """Look a repository up at a revision, and make sure that its files may be read.

    Args:
        token: as find_token gives it; None asks as anyone.
        revision: branch, tag or commit.

    Raises:
        HubError: of any kind but no_such_file.
    """
    info = _get(endpoint, token, f"api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true", repo, revision)
    gated = bool(info.get("gated"))
    if gated:  # everyone may see the list of its files, but not read them
        _get(endpoint, token, f"api/models/{repo}/auth-check", repo)
    files = (
        File(entry["rfilename"], entry.get("size") or 0, (entry.get("lfs") or {}).get("sha256"))
        for entry in info.get("siblings", ())
    )
    return Snapshot(info["id"], info["sha"], gated, tuple(sorted(files)))


def select_files(engine: str, snapshot: Snapshot, quant: str | None) -> tuple[File, ...]:
    """The files that an engine needs: one GGUF file (or all parts of it), or safetensors with what belongs to them.

    Args:
        engine: ``llama_cpp`` reads GGUF, every other engine safetensors.
        quant: the end of the GGUF file's name, in any case; DEFAULT_QUANT by default.

    Raises:
        HubError: no_such_file, with what there is.
    """
    files = _gguf(snapshot, quant or DEFAULT_QUANT) if engine == "llama_cpp" else _safetensors(engine, snapshot)
    for file in files:
        if file.size > LARGEST:
            raise HubError(
                "no_such_file",
                f"{file.path} of {snapshot.repo} has {_gb(file.size)}, and the hub sends no file above {_gb(LARGEST)} "
                "over HTTP. Choose a repository that splits it.",
            )
    return files


def _gguf(snapshot: Snapshot, quant: str) -> tuple[File, ...]:
    models: dict[str, list[File]] = {}
    for file in snapshot.files:
        if file.path.lower().endswith(".gguf") and not _NO_MODEL.search(file.path.rpartition("/")[2]):
            models.setdefault(_PART.sub("", file.path[: -len(".gguf")]), []).append(file)
    if not models:
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has no GGUF files, which llama.cpp needs. Look for a repository of the same model that "
            "has them (their names often end in -GGUF), or put the host in the group tgi.",
        )
    end = re.compile(rf"(?:^|[-._/]){re.escape(quant)}$", re.IGNORECASE)
    # The exact quantisation first: Q4_K_M is also the end of UD-Q4_K_M.
    chosen = [name for name in models if _quant(name).lower() == quant.lower()] or list(filter(end.search, models))
    if not chosen:
        listed = ", ".join(f"{_quant(name)} ({_gb(_size(files))})" for name, files in models.items())
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has no GGUF file of the quantisation {quant}; it has {listed}. "
            f"Choose one as llm_model: {snapshot.repo}:QUANT.",
        )
    if len(chosen) > 1:
        listed = ", ".join(f"{name} ({_gb(_size(models[name]))})" for name in chosen)
        raise HubError(
            "no_such_file",
            f"{snapshot.repo} has several GGUF files of the quantisation {quant}: {listed}. Write more of the "
            "name's end after the colon of llm_model.",
        )
    files = models[chosen[0]]
    part = _PART.search(files[0].path[: -len(".gguf")])
    if part and len(files) != int(part[2]):
        raise HubError(
            "no_such_file", f"{snapshot.repo} has {len(files)} of {int(part[2])} parts of {chosen[0]}: choose another."
        )
    return tuple(files)


def _quant(name: str) -> str:
    """The quantisation in a GGUF file's name without suffix, or the whole name where none is recognised."""
    match = _QUANT.search(name.rpartition("/")[2])
    return match[1] if match else name


def _safetensors(engine: str, snapshot: Snapshot) -> tuple[File, ...]:
    wanted = [file for file in snapshot.files if _SAFETENSORS.fullmatch(file.path)]
    usual = [file for file in wanted if not _OTHER_FORMATS.fullmatch(file.path)]
    for files in (usual, wanted):  # Mistral's own layout only where there is no other
        if any(file.path.endswith(".safetensors") for file in files):
            return tuple(files)
    cure = "Choose a repository that has them."
    if any(file.path.lower().endswith(".gguf") for file in snapshot.files):
        cure = "Its GGUF files are for llama.cpp: put the host in the group llama_cpp."
    raise HubError("no_such_file", f"{snapshot.repo} has no safetensors files, which {engine} needs. {cure}")


def _size(files: list[File]) -> int:
    return sum(file.size for file in files)


def _gb(size: int) -> str:
    """Bytes as the hub's own pages write them, in powers of ten."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def _get(endpoint: str, token: str | None, path: str, repo: str = "", revision: str = "") -> dict:
    """The hub's answer to a GET; repo and revision are what it was asked about, for the sentence where it refuses."""
    utils = library("huggingface_hub.utils")
    if token and not re.fullmatch(r"[!-~]+", token):  # else the HTTP library's error would show it
        raise HubError("bad_token", "The token has a space, a line break or another character that no token has.")
    headers = {"user-agent": "selfhosted.llm"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        address = urlsplit(endpoint)
        if address.scheme not in ("http", "https") or not address.netloc or address.port == 0:
            raise ValueError("it is no http or https address")
        response = utils.get_session().get(f"{endpoint.rstrip('/')}/{path}", headers=headers, timeout=TIMEOUT)
        utils.hf_raise_for_status(response)
        return response.json() if response.content else {}
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
        state = "has expired" if "expired" in said else "is wrong or was revoked"
        return HubError("bad_token", f"The hub refuses the token, which {state}. Make a new one on {tokens}.")
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
    if isinstance(error, utils.RevisionNotFoundError):
        return HubError(
            "no_such_revision",
            f"{repo} has no revision {revision!r}: set llm_revision to one of its branches, tags or commits.",
        )
    if isinstance(error, utils.RepositoryNotFoundError):
        who = "the token's user" if token else "anyone without a token (llm_hf_token or HF_TOKEN)"
        return HubError(
            "no_such_repository", f"The hub shows no repository {repo} to {who}: is it spelled right, or private?"
        )
    if status == 401:
        return HubError("no_token", f"The hub wants a token: make one on {tokens}, and set llm_hf_token or HF_TOKEN.")
    said = f" ({said})" if said else ""
    return HubError("unreachable", f"The hub at {endpoint} answers HTTP {status}{said}. Try again later.")
