# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing a folder on the Hub: privately unless told otherwise, in one commit, whatever the connection does."""

import re
import tempfile
import time
from collections.abc import Callable
from fnmatch import fnmatch
from json import JSONDecodeError
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelInfo, constants, get_token
from huggingface_hub.errors import HFValidationError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..files import printable, read_json
from ..saved_models import check_same, class_and_config, load_image_processor
from .checks import (
    check_evaluation,
    check_hub_folder,
    check_model_folder,
    is_hub_folder,
    known_of_training,
    uploaded_files,
)
from .folders import OPTIONAL_FILES, save_for_hub


# Seconds before each further attempt. What the library sends again by itself (large files, `preupload`: 23 s in each
# attempt) adds to that: 4 * 23 + 21 s, about two minutes.
WAITS = (1, 4, 16)

_TRANSIENT = (408, 412, 429)  # besides 5xx; 412: the branch is no longer where it was

_LONGEST_QUOTE = 200  # of what the Hub says, in messages

_CONNECTION_ERRORS = (HTTPError, ConnectionError, TimeoutError)  # of HTTP; Xet uploads raise Python's own

T = TypeVar("T")


class NotPublished(RuntimeError):
    """A model that was made is not on the Hub: the message says why, and how to try again."""


def push_folder(
    folder: str | PathLike,
    repo_id: str,
    *,
    private: bool = True,
    revision: str | None = None,
    commit_message: str | None = None,
    allow_unevaluated: bool = False,
) -> str:
    """Uploads a folder of `save_for_hub` as one commit; the repository is made if there is none.

    The token is that of the environment (HF_TOKEN) or of `hf auth login`. All that can be checked is checked first.
    Files whose names begin with a dot stay here. A cut connection or an overloaded Hub is tried again for up to
    two minutes; large files that have arrived whole are not sent twice, and a commit that was taken though its answer
    got lost is recognised. A push that fails leaves the branch as it was. Nothing is committed where nothing has
    changed. A README.md that was edited on the Hub is replaced, as any file of the same name.

    Args:
        folder: What `save_for_hub` wrote.
        repo_id: Name on the Hub, such as "you/gpvit-l1".
        private: Whether the repository is private, which is the default. One that is there must be so already.
        revision: Branch, made from the main one if there is none. Default: the main one.
        commit_message: Default: what the model is.
        allow_unevaluated: Push a model whose card has no results of an evaluation too. Default False.

    Returns:
        URL of the commit, or of the newest one if nothing has changed.

    Raises:
        ConnectionError: The Hub could not be reached, or kept failing.
        FileNotFoundError: There is no such folder, or something is missing in it.
        PermissionError: There is no token, or it may not write there.
        ValueError: `repo_id` is no name, a file is broken, weights are missing or of other shapes, the model was not
            evaluated, the repository is not as private as `private` says, or the Hub refuses it.
    """
    folder = Path(folder)
    check_repo_id(repo_id)
    check_hub_folder(folder)
    check_evaluation(folder, allow_unevaluated)
    prepare_repo(repo_id, private=private, revision=revision)
    return _upload(folder, repo_id, revision, commit_message)


def push_model(
    folder: str | PathLike,
    repo_id: str,
    *,
    dataset: str | None = None,
    license: str | None = None,
    onnx: bool = False,
    private: bool = True,
    revision: str | None = None,
    commit_message: str | None = None,
    allow_unevaluated: bool = False,
) -> str:
    """As `push_folder`, for any folder with a model and its image processor, such as a run's `best`.

    One that has no card and no code yet gets them on the way, with metrics.json and recipe.yaml if they are in it; the
    folder itself stays as it is.

    Args:
        dataset: What the model was trained on, for the card, and evaluated on where metrics.json doesn't say. Default:
            the recipe's; of a path its last part.
        license: Licence of the weights, by the Hub's identifier. Default: the recipe's `hub_license`, or "apache-2.0".
        onnx: Also make onnx/model.onnx, by `export_onnx`. Default False. Takes seconds to minutes.

    The others, the result and the errors are those of `push_folder`; moreover `dataset`, `license` and `onnx` are
    ValueErrors for a folder that has its card already, jinja2, onnx or onnxscript may be missing (ImportError), and
    the ONNX file may compute something else than the model (RuntimeError).
    """
    folder = Path(folder)
    check_repo_id(repo_id)
    options = {"private": private, "revision": revision, "commit_message": commit_message}
    if is_hub_folder(folder):
        if dataset or license or onnx:
            raise ValueError(
                f"{folder} has its card already: dataset, license and onnx are for folders without one. "
                "save_for_hub(onnx=True) writes one with an ONNX file."
            )
        return push_folder(folder, repo_id, **options, allow_unevaluated=allow_unevaluated)
    check_model_folder(folder)
    check_evaluation(folder, allow_unevaluated)
    _check_token()
    arguments = {"model_name": repo_id, "onnx": onnx} | known_of_training(folder, dataset, license)
    model_class, _ = class_and_config(folder)
    model, image_processor = model_class.from_pretrained(folder), load_image_processor(folder)
    check_same(folder, model)
    with tempfile.TemporaryDirectory(prefix="hf-gpvit-push-") as temporary:
        new = save_for_hub(model, Path(temporary) / "model", image_processor, **arguments)
        prepare_repo(repo_id, private=private, revision=revision)
        return _upload(new, repo_id, revision, commit_message)


def prepare_repo(repo_id: str, *, private: bool = True, revision: str | None = None) -> None:
    """Makes sure that the token may write to the repository, which is made if there is none. Uploads nothing.

    Raises:
        ConnectionError, PermissionError, ValueError: As `push_folder`.
    """
    check_repo_id(repo_id)
    _check_token()
    _retried(lambda: _prepare(HfApi(token=True), repo_id, private, revision), repo_id)


def check_repo_id(repo_id: str) -> None:
    """Raises a ValueError unless it is a name such as "you/gpvit-l1"."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repo_id must be a name such as you/gpvit-l1, got {repo_id!r}. {error}") from error
    if "/" not in repo_id:
        raise ValueError(f"repo_id must be a name such as you/gpvit-l1, got {repo_id!r}: it has no owner.")


def repo_url(repo_id: str) -> str:
    return f"{constants.ENDPOINT}/{repo_id}"


def _check_token() -> None:
    token = get_token()
    if token is None:
        raise PermissionError("There is no token for the Hub: set HF_TOKEN, or run `hf auth login`.")
    if not (token.isascii() and token.isprintable() and " " not in token):
        # the error that would follow shows it
        raise PermissionError("The token for the Hub (HF_TOKEN, `hf auth login`) has characters that no token has.")


def _prepare(api: HfApi, repo_id: str, private: bool, revision: str | None) -> None:
    role, owners = _asked(lambda: _role_and_owners(api.whoami()))
    if role == "read":
        raise PermissionError("The token for the Hub is one for reading: pushing needs one for writing.")
    if repo_id.partition("/")[0].lower() not in map(str.lower, owners):
        names = _quoted(", ".join(owners))
        raise PermissionError(f"The token may not write to {repo_id}, only to what belongs to {names}.")
    _asked(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
    _asked(lambda: api.auth_check(repo_id, write=True))
    if _asked(lambda: _a(bool, api.model_info(repo_id).private)) != private:
        here, wanted = ("public", "private") if private else ("private", "public")
        raise ValueError(
            f"{repo_id} is {here} on the Hub, but shall be {wanted}: change it at {repo_url(repo_id)}/settings, or "
            f"push it as {here} ({'--public, ' if private else 'without --public, '}private={not private})."
        )
    if revision is not None:
        _asked(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))


def _role_and_owners(user: dict[str, Any]) -> tuple[str | None, list[str]]:
    """What the Hub says of a token: what it is for, and whose repositories it may write to."""
    access = (user.get("auth") or {}).get("accessToken") or {}
    return access.get("role"), [_a(str, owner["name"]) for owner in (user, *(user.get("orgs") or ()))]


def _upload(folder: Path, repo_id: str, revision: str | None, message: str | None) -> str:
    message = message or f"Upload {', '.join(read_json(folder / 'config.json').get('architectures') or ['a model'])}"
    api = HfApi(token=True, library_name="hf_gpvit")
    return _retried(lambda: _commit(api, folder, repo_id, revision, message), repo_id)


def _commit(api: HfApi, folder: Path, repo_id: str, revision: str | None, message: str) -> str:
    """One attempt, from where the branch stands now.

    After a commit whose answer got lost that is its own commit: the library then finds nothing that has changed, and
    commits nothing. One that is still on its way makes the Hub refuse this one, because of the parent.
    """
    parent, names = _asked(lambda: _commit_and_names(api.model_info(repo_id, revision=revision)))
    files = uploaded_files(folder)
    old = [there for there in names if any(fnmatch(there, name) for name in OPTIONAL_FILES)]
    operations = [CommitOperationAdd(name, path) for name, path in sorted(files.items())]
    operations += [CommitOperationDelete(name) for name in old if name not in files]
    options = {"commit_message": message, "revision": revision, "parent_commit": parent}
    return printable(_asked(lambda: _a(str, api.create_commit(repo_id, operations, **options).commit_url)))


def _commit_and_names(there: ModelInfo) -> tuple[str, list[str]]:
    """The newest commit of a branch, and its files."""
    if not re.fullmatch("[0-9a-f]{7,64}", there.sha):
        raise ValueError(f"no commit is called {there.sha!r}")
    return there.sha, [_a(str, file.rfilename) for file in there.siblings]


def _asked(ask: Callable[[], T]) -> T:
    """What `ask` gives, which asks the Hub.

    Raises:
        ValueError: The answer is not as the Hub's are, which breaks the library, or what looks into it, anywhere.
    """
    try:
        return ask()
    except _CONNECTION_ERRORS:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        if _connection_error(error):
            raise
        said = (error.doc or "nothing") if isinstance(error, JSONDecodeError) else f"{type(error).__name__} {error}"
        raise ValueError(
            f"{constants.ENDPOINT} gives answers that are none of the Hub's ({_quoted(said)}): is there a login page "
            "or a proxy in between?"
        ) from error


def _a(kind: type[T], value: Any) -> T:
    """The value, if it is a `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"expected a {kind.__name__}, got {value!r}")
    return value


def _quoted(text: str) -> str:
    """What the Hub says, on one line, not too long, and without the token."""
    text = printable(" ".join(text.replace(get_token() or "\0", "***").split()))
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]} ..."


def _retried(call: Callable[[], T], repo_id: str) -> T:
    """What `call` gives. It must be one that may be called again; errors of HTTP become those of `push_folder`."""
    for wait in (*WAITS, None):
        try:
            return call()
        except OfflineModeIsEnabled:
            raise
        except (*_CONNECTION_ERRORS, RuntimeError) as error:
            cause = _connection_error(error)
            if cause is None:
                raise
            if wait is None or not _is_transient(cause):
                raise _explained(cause, repo_id) from error
        time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def _connection_error(error: BaseException | None) -> Exception | None:
    """The error of HTTP or of a connection behind `error`: the library raises those of large files in a RuntimeError.

    None: there is no such error, so that trying again won't help.
    """
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    # an answer of the Hub says more than the error that was made of it
    found = [cause for cause in causes if isinstance(cause, HTTPError)] or causes
    return next((cause for cause in found if isinstance(cause, _CONNECTION_ERRORS)), None)


def _is_transient(error: Exception) -> bool:
    status = _status(error)
    return status is None or status in _TRANSIENT or status >= 500


def _status(error: Exception) -> int | None:
    """None where there was no answer."""
    response = getattr(error, "response", None)
    return None if response is None else response.status_code


def _explained(error: Exception, repo_id: str) -> OSError | ValueError:
    status = _status(error)
    said = getattr(error, "server_message", None) or str(error)
    said = _quoted(f"{type(error).__name__ if status is None else f'{status},'} {said}")
    if _is_transient(error):
        return ConnectionError(
            f"{repo_url(repo_id)} could not be reached ({said}). The push was not completed; the same command tries "
            "again, without what has arrived."
        )
    if status == 401:
        return PermissionError(
            "The Hub does not accept the token: set another one as HF_TOKEN, or run `hf auth login` again."
        )
    if status in (403, 404):
        return PermissionError(f"The token may not write to {repo_id} ({said}).")
    return ValueError(f"The Hub refuses {repo_id} ({said}).")
