"""The card of a tuned model: which blocks, by what method, on what data, with what result."""

from cruxlm.results.tuning import ACCURACY, LOSS, Tuning
from cruxlm.runtime.markdown import escaped, front_matter

CARD = """\
{metadata}
# {model}, tuned on {data}

{method} of blocks {blocks} ({why}): {parameters:,} of {total:,} parameters ({share:.1%}).
{steps} steps, learning rate {learning_rate:g}, seed {seed}. Training rows: {rows:,}, content hash
`{sha256}`.

| part | parameters trained |
|--|--:|
{parts}

| on {test} test rows | before | after |
|--|--:|--:|
{results}

The loss is in nats a response token, with its standard error over rows. No choice was made by the
test rows. `plan.json` has the plan, `tuning.json` all settings, curves and each row's values.
"""

TITLES = {"full": "Full training", "lora": "Low-rank adapters", "lisa": "LISA"}


def tuning_card(tuning: Tuning) -> str:
    """The card as Markdown."""
    settings, trained = tuning.settings, tuning.trained
    parts = "\n".join(f"| {part} | {count:,} |" for part, count in trained["by_part"].items())
    rows = [_row("loss", tuning, LOSS, "token", "{:.4f} ± {:.4f}")]
    if ACCURACY in tuning.after:
        rows.append(_row("accuracy", tuning, ACCURACY, "sample", "{:.1%} ± {:.1%}"))
    metadata = {
        "base_model": tuning.model,
        "library_name": "peft" if settings["method"] == "lora" else "transformers",
        "tags": ["crux"],
    }
    return CARD.format(
        metadata=front_matter(metadata),
        model=escaped(tuning.model),
        data=escaped(tuning.data["name"]),
        method=TITLES[settings["method"]],
        blocks=", ".join(map(str, tuning.plan.trained)) or "none",
        why=escaped(tuning.plan.why),
        parameters=trained["parameters"],
        total=trained["total"],
        share=trained["parameters"] / trained["total"],
        steps=tuning.steps,
        learning_rate=settings["learning_rate"],
        seed=settings["seed"],
        rows=tuning.data["train"],
        sha256=tuning.data["sha256"],
        parts=parts,
        test=tuning.data["test"],
        results="\n".join(rows),
    )


def _row(name: str, tuning: Tuning, key: str, weighting: str, form: str) -> str:
    cells = (
        form.format(held[key].mean(weighting), held[key].stderr(weighting))
        for held in (tuning.before, tuning.after)
    )
    return f"| {name} | {' | '.join(cells)} |"
