"""The commands under their names."""

import typer

from cruxlm.cli.compare import compare
from cruxlm.cli.drop import drop
from cruxlm.cli.env import env
from cruxlm.cli.explain import explain
from cruxlm.cli.export import export
from cruxlm.cli.intervene import intervene
from cruxlm.cli.listing import list_names
from cruxlm.cli.plan import plan
from cruxlm.cli.publish import publish
from cruxlm.cli.scan import scan
from cruxlm.cli.show import show
from cruxlm.cli.spectra import spectra
from cruxlm.cli.study import study
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
app.command("show")(show)
app.command("publish")(publish)
app.command("explain")(explain)
app.command("list")(list_names)
app.command("env")(env)
app.add_typer(testbed)
app.add_typer(study)
