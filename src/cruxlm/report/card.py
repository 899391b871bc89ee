"""The card of a published result: what was found, how to doubt it, and how to read it again."""

from collections.abc import Sequence
from typing import Any

from cruxlm.report.card_facts import FACTS
from cruxlm.report.copyable import flat
from cruxlm.report.doubt import misleads
from cruxlm.report.facts import Facts
from cruxlm.results.kinds import kind_of
from cruxlm.runtime.errors import printable
from cruxlm.runtime.markdown import escaped, fenced, front_matter, table

CARD = """\
{metadata}
# {title}

{finding}

{table}

## How to doubt this

{doubts}

## Read it

{code}

{files}

## Provenance

{provenance}
"""
CODE = """\
# pip install cruxlm
import cruxlm as crux
from huggingface_hub import snapshot_download

folder = snapshot_download("{repo}", repo_type="dataset")
{kind} = crux.load_result(folder)
{use}"""
USES = {
    "attacked": "print(attacked)",
    "comparison": "print(comparison)",
    "defence": "print(defence)",
    "evaluation": "print(evaluation.mean(), evaluation.stderr())",
    "interventions": "print(interventions)",
    "plan": "plan.apply(model)  # the model that it was made for; any other one is refused",
    "scan": 'print(scan)\nplan = scan.selection.plan("train")  # or "lora", "freeze", "drop"',
    "screening": "print(screening, screening.flagged)",
    "spectra": "print(spectra)",
    "tuning": "print(tuning, tuning.plan)",
    "verification": "print(verification)",
}
FILES = {".json": "all that was found", ".safetensors": "its arrays", ".html": "the report"}
MOST_ROWS = 60
"""Rows of the table; of more, the number is said."""


def card(result: Any, repo: str, names: Sequence[str]) -> str:
    """The card of a result as Markdown, its metadata in front.

    Args:
        result: A result of one of ``KINDS``.
        repo: The dataset that it is published as, ``owner/name``.
        names: The files that are published.
    """
    kind = kind_of(result)
    facts = FACTS[kind](result)
    provenance = facts.provenance or {}
    version = dict(provenance.get("versions") or {}).get("cruxlm")
    about = {"result": kind, "format": result.to_json()["format"], "version": version}
    held = {**about, **facts.metadata}
    metadata = {
        "pretty_name": printable(facts.title),
        "tags": ["crux", tag(kind), "interpretability"],
        "viewer": False,  # these are no rows that the hub could show
        "crux": {name: value for name, value in held.items() if value not in (None, {}, [])},
    }
    rows = [*facts.rows[:MOST_ROWS]]
    more = len(facts.rows) - len(rows)
    lines = [f"{name}: {value}" for name, value in flat(provenance)]
    return CARD.format(
        metadata=front_matter(metadata),
        title=escaped(facts.title),
        finding=escaped(facts.finding),
        table=table(facts.header, rows) + (f"\n\nand {more:,} more." if more > 0 else ""),
        doubts=_doubts(facts),
        code=fenced(CODE.format(repo=repo, kind=kind, use=USES[kind]), "python"),
        files="\n".join(f"- `{name}`: {FILES['.' + name.rpartition('.')[2]]}" for name in names),
        provenance=fenced("\n".join(map(printable, lines or ["not kept by this kind of result"]))),
    )


def tag(kind: str) -> str:
    """The tag that a published result of a kind is known by."""
    return f"crux-{kind}"


def _doubts(facts: Facts) -> str:
    said = [f"- {escaped(line)}" for line in facts.warnings]
    for name in dict.fromkeys(facts.criteria):
        # The pages are ours, and Markdown already.
        said += [f"- {escaped(name)}: {point}" for point in misleads(name)]
    return "\n".join(said) or "- Nothing to warn of was recorded."
