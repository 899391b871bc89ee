"""The page of the study `spectral_insights`: a verdict on each claim, and what it rests on."""

from collections.abc import Sequence

from cruxlm.studies.page import Page, Section
from cruxlm.studies.spectral import (
    on_adaptation,
    on_components,
    on_data,
    on_defence,
    on_origin,
    on_prediction,
)
from cruxlm.studies.spectral.claim import Cells, Claim

NOT_TESTED = (
    "Models of real size. The testbed's have 24 blocks of width 96; the published ones 28 to 40 of "
    "width 3,072 to 5,120, instructed by people. On a machine with such a model: "
    "crux verify BASE TUNED --control untrained, crux scan --probe ... --probe ..., "
    "crux tune --against random,depth-matched,first.",
    "Languages that people write: the testbed's tasks are generated, with one right answer each. "
    "The real models here have six blocks, too few for a verdict.",
    "Other hyperparameters of the fine-tuning than one light setting for prediction and three "
    "learning rates for adaptation.",
    "Sixteen-bit weights, mixtures of experts, and tuning by preference.",
    "The large model of the testbed (crux testbed train large), which wants a GPU.",
)
"""What no cell of the study says anything about."""
DOUBTS = (
    "All models are of one architecture and language. Five seeds are five trainings, not five "
    "kinds of model.",
    "Bases share their architecture's shape: where p and shared p differ, the second is to be "
    "believed.",
    "Intervals over five bases take them for a sample of trainings; they say nothing about "
    "other tasks.",
    "Whoever wrote the analysis knew the pilot's results on a smaller model, where the claim held "
    "on one task of three. Two families were kept aside for that reason.",
    "A criterion may fail here for want of size: a small model may spread over all blocks what a "
    "large one keeps in a few.",
)


def spectral_page(cells: Cells) -> Page:
    """The page, from what all cells found."""
    claims = [
        on_prediction.claim(cells),
        on_data.claim(cells),
        on_origin.claim(cells),
        on_adaptation.claim(cells),
        *on_components.claims(cells),
        on_defence.claim(cells),
    ]
    sections = [_verdicts(claims), _advice(claims)]
    for one in claims:
        sections += [_heading(one), *one.sections]
    return Page(lead(claims), [*sections, _not_tested()], DOUBTS)


def lead(claims: Sequence[Claim]) -> str:
    """How many claims hold, and which verdict each has."""
    by_verdict: dict[str, list[str]] = {}
    for one in claims:
        by_verdict.setdefault(one.verdict, []).append(one.name.lower())
    said = ". ".join(f"{v.capitalize()}: {', '.join(names)}" for v, names in by_verdict.items())
    held = len(by_verdict.get("holds", []))
    return f"Of {len(claims)} claims {held or 'none'} hold{'s' if held == 1 else ''} whole. {said}."


def _verdicts(claims: Sequence[Claim]) -> Section:
    return Section(
        "The claims",
        "Liu et al., Spectral Insights into Data-Oblivious Critical Layers in LLMs (Findings of "
        "ACL 2025), and what its experiments come to with controls: several seeds, depth, the "
        "untrained network, blocks chosen at random. A verdict is one of five: holds, holds in "
        "part, not distinguishable from depth, does not hold, cannot be said. Rules decide it, not "
        "a reader.",
        ("claim", "published", "found here", "verdict"),
        [(one.name, one.published, one.found, one.verdict) for one in claims],
    )


def _advice(claims: Sequence[Claim]) -> Section:
    return Section(
        "What follows for you, and what would change it",
        "For whoever chooses blocks by a scan.",
        ("claim", "therefore", "what would change our mind"),
        [(one.name, one.therefore, one.change) for one in claims],
    )


def _heading(one: Claim) -> Section:
    return Section(
        f"{one.name}: {one.verdict}",
        f"Published: {one.published} Here: {one.found} Its cells: {one.command}.",
    )


def _not_tested() -> Section:
    return Section(
        "What was not tested",
        "No cell says anything about these.",
        ("what",),
        [(line,) for line in NOT_TESTED],
    )
