"""What an action is: what is done with the blocks of a plan, and what it needs and changes."""

from dataclasses import dataclass
from importlib.resources import files

from cruxlm.actions.settings import METHODS


@dataclass(frozen=True)
class Action:
    """An action's descriptor."""

    name: str
    """The name it is asked for by."""
    title: str
    """What it does, in one line."""
    command: str
    """The command that does it."""
    needs: frozenset[str]
    """What it must be given beside a model and blocks."""
    changes: str
    """What of the model is another afterwards."""
    citation: str
    """Where it comes from."""
    package: str = "cruxlm.actions"
    """The package that its page is in."""

    def page(self) -> str:
        """The action's page: what it does, formula, source, cost, when it misleads (Markdown)."""
        return files(self.package).joinpath(f"{self.name}.md").read_text("utf-8")


FULL = Action(
    name="full",
    title=f"train {METHODS['full']}",
    command="crux tune --method full",
    needs=frozenset({"instruction data"}),
    changes="the weights of the planned blocks",
    citation="No paper: fine-tuning itself",
)
FREEZE = Action(
    name="freeze",
    title="train every weight of all blocks but the planned ones",
    command="crux tune --method full --complement",
    needs=frozenset({"instruction data"}),
    changes="the weights of all blocks but the planned ones",
    citation="Lee, Tang, Lin: What Would Elsa Do?, 2019, arXiv:1911.03090",
)
LORA = Action(
    name="lora",
    title=f"train {METHODS['lora']}",
    command="crux tune --method lora",
    needs=frozenset({"instruction data", "peft"}),
    changes="nothing of its own: adapters are put beside the planned blocks' linear maps",
    citation="Hu et al.: LoRA, 2021, arXiv:2106.09685",
)
LISA = Action(
    name="lisa",
    title=f"train {METHODS['lisa']}",
    command="crux tune --method lisa",
    needs=frozenset({"instruction data"}),
    changes="the weights of the planned blocks that were drawn",
    citation="Pan et al.: LISA, 2024, arXiv:2403.17919",
)
DROP = Action(
    name="drop",
    title="remove the planned blocks and renumber the others",
    command="crux drop",
    needs=frozenset(),
    changes="its depth and its configuration; no weight",
    citation="Yuan et al.: Why Lift so Heavy?, 2024, arXiv:2402.11700",
)
SUPPRESS = Action(
    name="suppress",
    title="scale down the skip connection that a backdoor passes by, and recover",
    command="crux suppress",
    needs=frozenset({"trusted rows", "a trigger, or a surrogate's"}),
    changes="what one skip connection passes on, and the weights of its block",
    citation="Yang et al.: Suppressing Model Shortcuts, 2022, arXiv:2211.05631",
)
REPAIR = Action(
    name="repair",
    title="put blocks of the model before a tuning back",
    command="crux repair",
    needs=frozenset({"the model before its tuning"}),
    changes="the weights of the named blocks and parts, which are the earlier model's",
    citation="No paper: the swap of substitution, made permanent",
)
CONSISTENCY = Action(
    name="consistency",
    title="train the states of neighbouring blocks to agree, under a push against it",
    command="crux tune --consistency",
    needs=frozenset({"trusted rows"}),
    changes="the weights of the planned blocks",
    citation="Min et al.: CROW, 2024, arXiv:2411.12768",
)
