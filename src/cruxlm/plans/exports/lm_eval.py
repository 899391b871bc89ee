"""Lm-evaluation-harness: tasks before and after what the plan says, and the difference, paired.

The script loads the models itself and hands them over. Given an adapter by name, the harness cuts
the embeddings to the tokenizer's length where a vocabulary is padded, for the model with the
adapter only, and asks the adapter's folder for the model's revision. Between the two evaluations
the script looks at what is changed: a trainer that trained other blocks is found there.
"""

from cruxlm.plans.exports.settings import check_writes_text, head, source
from cruxlm.plans.exports.target import Planned, Target
from cruxlm.results.export import Export

START = '''"""Tasks before and after: python lm-eval.py AFTER TASK[,TASK...] [OWN-TASKS-FOLDER]"""

import hashlib
import statistics
import sys

import torch
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

'''

BEFORE = """
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if len(sys.argv) < 3:
    sys.exit(__doc__)
AFTER, TASKS, OWN = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]


def loaded(name, revision=None, dtype="auto"):
    model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype)
    return model.to(DEVICE).eval()


def digests(model):
    found = {}
    for name, tensor in model.named_parameters():
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        found[name] = hashlib.sha256(raw).digest()
    return found


def evaluated(model):
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)
    return simple_evaluate(lm, tasks=TASKS, task_manager=manager)


tokenizer = AutoTokenizer.from_pretrained(MODEL, revision=REVISION)
manager = TaskManager(include_path=OWN or None)
model = loaded(MODEL, REVISION)
was, dtype = digests(model), model.dtype
before = evaluated(model)

# What is changed must be what the plan says.
"""

CHECKS = {
    "train": """del model
model = loaded(AFTER, dtype=dtype)
changed = [name for name, digest in digests(model).items() if was.get(name) != digest]
wrong = [name for name in changed if not name.startswith(PLANNED)]
if wrong or not changed:
    sys.exit(f"{AFTER} is not what was planned: {', '.join(wrong) or 'nothing'} is changed")
""",
    "lora": """from peft import PeftModel

model = PeftModel.from_pretrained(model, AFTER).eval()
own = [name.removeprefix("base_model.model.") for name, _ in model.named_parameters()]
added = [name for name in own if ".lora_" in name or ".modules_to_save." in name]
wrong = [name for name in added if not name.startswith(PLANNED)]
if wrong or not added:
    sys.exit(f"{AFTER} is not what was planned: {', '.join(wrong) or 'nothing'} is adapted")
""",
    "drop": """del model
model = loaded(AFTER, dtype=dtype)
blocks = {name.removeprefix(LIST).split(".")[0] for name in digests(model) if LIST in name}
if len(blocks) != KEPT:
    sys.exit(f"{AFTER} is not what was planned: it has {len(blocks)} blocks, not {KEPT}")
""",
}
CHECKS["freeze"] = CHECKS["train"]

AFTERWARDS = """
after = evaluated(model)


def by_document(results, task, metric, kind):
    samples = results["samples"].get(task, [])
    return {s["doc_id"]: s.get(metric) for s in samples if s["filter"] == kind}


print(f"{'task':32} {'metric':24} {'before':>9} {'after':>9} {'change':>9}  its standard error")
for task, scores in before["results"].items():
    for key, old in scores.items():
        metric, _, kind = key.partition(",")
        if not kind or metric.endswith("_stderr") or not isinstance(old, (int, float)):
            continue
        new = after["results"][task][key]
        then, now = (by_document(results, task, metric, kind) for results in (before, after))
        pairs = [(now[document], value) for document, value in then.items()]
        error = ""
        if len(pairs) > 1 and all(isinstance(x, (int, float)) for pair in pairs for x in pair):
            spread = statistics.stdev(x - y for x, y in pairs)
            error = f"{spread / len(pairs) ** 0.5:.4f} ({len(pairs)} documents, paired)"
        print(f"{task:32} {key:24} {old:9.4f} {new:9.4f} {new - old:+9.4f}  {error}")
"""


def write(made: Planned) -> Export:
    """A script that evaluates the model, and then what became of it by the plan."""
    check_writes_text(made, "lm-eval")
    plan, found = made.plan, source(made)
    folder = {"lora": "ADAPTER", "drop": "SMALLER"}.get(plan.action, "TRAINED")
    return Export(
        target="lm-eval",
        action=plan.action,
        file="lm-eval.py",
        text=head(made)
        + START
        + f"MODEL = {found.name!r}\nREVISION = {found.revision!r}\n"
        + _planned(made)
        + BEFORE
        + CHECKS[plan.action]
        + AFTERWARDS,
        use=f"python lm-eval.py {folder} hellaswag,arc_easy",
        notes=found.notes,
    )


def _planned(made: Planned) -> str:
    """What may be changed, as beginnings of names; for a drop, how many blocks are left."""
    plan = made.plan
    if plan.action == "drop":
        path = made.model.blocks.path
        return f"LIST = {path + '.'!r}\nKEPT = {len(plan.names) - len(plan.blocks)}\n"
    inside = [f"{plan.names[block]}." for block in plan.trained]
    outside = sorted(made.trained.difference(*made.parts.blocks))
    if plan.action == "lora":  # peft puts a module of its own in the place of one
        outside = sorted({name.rpartition(".")[0] + "." for name in outside})
    names = "".join(f"    {name!r},\n" for name in [*inside, *outside])
    return f"PLANNED = (  # beginnings of the names of all that may be changed\n{names})\n"


LM_EVAL = Target(
    name="lm-eval",
    title="lm-evaluation-harness: tasks before and after",
    write=write,
    refusals={},
    package="lm-eval",
)
