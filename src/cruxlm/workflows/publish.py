"""Publish: a result on the hub, as a dataset with a card that says how to doubt it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cruxlm.report.card import card, tag
from cruxlm.results.evaluation import Evaluation
from cruxlm.results.kinds import kind_of, load_result
from cruxlm.results.spectra import Spectra
from cruxlm.results.tuning import Tuning
from cruxlm.results.verification import Verification
from cruxlm.runtime.environment import package_versions
from cruxlm.runtime.errors import OptionError, OutputError

CARD_NAME = "README.md"


@dataclass(frozen=True)
class Published:
    """What was published, or would be."""

    repo: str
    """The dataset, ``owner/name``."""
    url: str | None
    """Where it is; None of a dry run."""
    files: Mapping[str, bytes] = field(repr=False)
    """Every file, the card among them."""
    notes: tuple[str, ...]
    """What of one's own is in them: to be known before everybody reads it."""

    @property
    def card(self) -> str:
        """The card as Markdown."""
        return self.files[CARD_NAME].decode("utf-8")


def push_to_hub(
    result: Any, repo: str, *, private: bool = False, dry_run: bool = False
) -> Published:
    """Publish a result as a dataset: its files as they are, and a card.

    Token, address and offline mode are the hub's own (``HF_TOKEN``, ``HF_ENDPOINT``,
    ``HF_HUB_OFFLINE``). A dataset that holds the same kind of result gets a new revision; one
    that holds anything else is left alone. The weights of a tuned model are not sent.

    Args:
        result: A scan, comparison, verification, tuning, evaluation or plan; or the path of a saved
            one, whose files are sent byte by byte.
        repo: ``owner/name`` of the dataset.
        private: Make a new dataset private, and refuse one that is public.
        dry_run: Reach for no network; answer with what would be sent.

    Raises:
        OptionError: When ``repo`` is no such name, or ``result`` is none.
        OutputError: When the hub does not take it.
        ResultError: When the saved result is damaged.
    """
    _check_name(repo)
    saved = isinstance(result, (str, Path))
    found = load_result(result) if saved else result
    kind = kind_of(found)
    files = dict(found.files())
    if saved:  # the bytes that are there: a later version may have kept more than this one reads
        places = {name: _saved(Path(result), name) for name in files}
        files |= {name: path.read_bytes() for name, path in places.items() if path.is_file()}
    text = card(found, repo, list(files))
    files = {CARD_NAME: text.encode("utf-8", "backslashreplace"), **files}
    url = None if dry_run else _upload(repo, kind, files, private)
    return Published(repo, url, files, tuple(_notes(found)))


def _check_name(repo: str) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HFValidationError

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo, re.ASCII):
        raise OptionError(f"{repo!r} is no name of a dataset: give owner/name")
    try:
        hf_hub_url(repo, CARD_NAME, repo_type="dataset")  # makes an address, by the hub's rules
    except HFValidationError as error:
        raise OptionError(f"{repo!r} is no name of a dataset: {error}") from error


def _saved(source: Path, name: str) -> Path:
    """Where a file of a saved result is, which was given as its folder or its JSON file."""
    if source.is_dir():
        return source / name
    return source if name.endswith(".json") else source.with_name(name)


def _notes(result: Any) -> list[str]:
    """What of the user's own a result holds beside numbers."""
    found = []
    evaluations: list[Evaluation] = [result] if isinstance(result, Evaluation) else []
    if isinstance(result, Tuning):
        evaluations = [*result.before.values(), *result.after.values()]
    written = sum(len(held.texts or ()) for held in evaluations)
    if written:
        found.append(f"holds {written:,} answers that a model wrote to rows of the data")
    if isinstance(result, Spectra):
        held = {p for c in result.components.values() for one in c for p in (*one.most, *one.least)}
        if held:
            found.append(f"shows {len(held):,} prompts of the probe")
    names = [getattr(result, "model", "")]
    if isinstance(result, Verification):
        names = [name for pair in result.pairs for name in (pair.base, pair.tuned)]
    found += [
        f"names a place on this machine: {name}" for name in names if Path(name).is_absolute()
    ]
    return found


def _upload(repo: str, kind: str, files: Mapping[str, bytes], private: bool) -> str:
    """One commit with all files; the address of the dataset."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library differs between versions of the hub's client, and with it the root of what a
    # connection raises; a failed upload of a large file is a RuntimeError.
    failures: Any = (OSError, RuntimeError, *HfHubHTTPError.__bases__)
    api = HfApi(library_name="cruxlm", library_version=package_versions()["cruxlm"])
    try:
        if api.repo_exists(repo, repo_type="dataset"):
            _check_ours(api.dataset_info(repo), repo, kind, private)
        else:
            api.create_repo(repo, repo_type="dataset", private=private or None)
        api.create_commit(
            repo,
            [CommitOperationAdd(name, data) for name, data in files.items()],
            commit_message=f"{kind} by Crux",
            repo_type="dataset",
        )
    except failures as error:
        raise OutputError(f"cannot publish to {repo}: {_why(error)}") from error
    return f"{api.endpoint}/datasets/{repo}"


def _check_ours(info: Any, repo: str, kind: str, private: bool) -> None:
    """Refuse a dataset that holds something else, or that more people can read than was meant."""
    present = {held.rfilename for held in info.siblings or ()} - {".gitattributes"}
    if present and tag(kind) not in (info.tags or ()):
        raise OutputError(f"{repo} is there and holds no Crux {kind}: name a new dataset")
    if private and not info.private:
        raise OutputError(f"{repo} is there and public: make it private, or name a new dataset")


def _why(error: Exception) -> str:
    from huggingface_hub.errors import LocalTokenNotFoundError

    status = getattr(getattr(error, "response", None), "status_code", None)
    said = str(error).strip().partition("\n")[0] or type(error).__name__
    if isinstance(error, LocalTokenNotFoundError) or status in (401, 403):
        return f"{said}: log in with `hf auth login`, or set HF_TOKEN, with the right to write"
    return said
