"""Options that mean the same in several commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

TestRows = Annotated[
    str | None, typer.Option("--data", help="Test rows, for criteria that need an evaluator.")
]
EvaluatorName = Annotated[
    str, typer.Option("--evaluator", help="loss, choice, generation or forced.")
]
ExampleCount = Annotated[int, typer.Option("--examples", help="Test rows that are read.")]
Reference = Annotated[
    str | None,
    typer.Option("--reference", help="The model before fine-tuning, for criteria that need one."),
]
Probes = Annotated[
    list[str] | None,
    typer.Option(
        "--probe",
        help="builtin, random-tokens, shuffled-tokens, a file, or testbed:FAMILIES; several may be "
        "given.",
    ),
]
PromptField = Annotated[
    str | None, typer.Option("--field", help="Field of a row that holds the prompt.")
]
Dtype = Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, mps or auto.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Revision of a hub model.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Load and check everything, say what would be done, stop.")
]
DataRows = Annotated[
    int | None, typer.Option("--n", "--limit", help="Rows to train on; all without.")
]
OwnTest = Annotated[
    str | None, typer.Option("--test", help="A file of test rows; else a tenth of the data.")
]
LongestRow = Annotated[
    int | None,
    typer.Option("--max-tokens", help="Longest row; longer responses are cut and counted."),
]
Accuracy = Annotated[
    bool | None, typer.Option("--accuracy/--no-accuracy", help="Judge greedy answers.")
]
Steps = Annotated[int, typer.Option("--steps", help="Optimizer steps.")]
BatchRows = Annotated[int, typer.Option("--batch", help="Rows of a forward pass.")]
Accumulate = Annotated[int, typer.Option("--accumulate", help="Forward passes of a step.")]
Schedule = Annotated[str, typer.Option("--schedule", help="cosine, linear or constant.")]
WeightDecay = Annotated[float, typer.Option("--weight-decay", help="AdamW's weight decay.")]
Checks = Annotated[int, typer.Option("--checks", help="Checks of the validation loss in a run.")]


def probes_named(given: list[str] | None) -> list[Path]:
    """Probes by name or file, as paths: a list of strings would be one probe of texts.

    Names may also be separated by commas, which in ``testbed:recall,lists`` stand between families.
    """
    return [
        Path(name.strip())
        for text in given or ["builtin"]
        for name in ([text] if _is_one(text) else text.split(","))
        if name.strip()
    ]


def _is_one(text: str) -> bool:
    return text.startswith("testbed:") or os.path.exists(text)
