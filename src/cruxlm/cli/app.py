"""The commands under their names."""

import typer

from cruxlm.cli.attack import attack
from cruxlm.cli.compare import compare
from cruxlm.cli.defend import defend
from cruxlm.cli.drop import drop
from cruxlm.cli.env import env
from cruxlm.cli.explain import explain
from cruxlm.cli.export import export
from cruxlm.cli.intervene import intervene
from cruxlm.cli.listing import list_names
from cruxlm.cli.plan import plan
from cruxlm.cli.poison import poison
from cruxlm.cli.publish import publish
from cruxlm.cli.repair import repair
from cruxlm.cli.scan import scan
from cruxlm.cli.screen import screen
from cruxlm.cli.show import show
from cruxlm.cli.spectra import spectra
from cruxlm.cli.study import study
from cruxlm.cli.suppress import suppress
from cruxlm.cli.testbed import testbed
from cruxlm.cli.tune import tune
from cruxlm.cli.verify import verify

app = typer.Typer(
    name="crux",
    help="Find the layers a language model's behaviour turns on, and how far to believe it.",
    add_completion=False,
    rich_markup_mode="rich",
)
app.command("scan")(scan)
app.command("plan")(plan)
app.command("export")(export)
app.command("tune")(tune)
app.command("drop")(drop)
app.command("verify")(verify)
app.command("compare")(compare)
app.command("spectra")(spectra)
app.command("intervene")(intervene)
app.command("defend")(defend)
app.command("attack")(attack)
app.command("poison")(poison)
app.command("suppress")(suppress)
app.command("repair")(repair)
app.command("screen")(screen)
app.command("show")(show)
app.command("publish")(publish)
app.command("explain")(explain)
app.command("list")(list_names)
app.command("env")(env)
app.add_typer(testbed)
app.add_typer(study)
