"""``crux``: the commands, and what becomes of an error.

A ``CruxError`` and a wrong option are one line and exit code 2; Ctrl-C is 130; anything else is a
bug: exit code 1, with the traceback saved and its path printed.
"""

import sys
import tempfile
import traceback
from collections.abc import Sequence

import typer

from cruxlm.cli.env import env
from cruxlm.cli.explain import explain
from cruxlm.cli.listing import list_names
from cruxlm.cli.scan import scan
from cruxlm.cli.show import show
from cruxlm.runtime.errors import CruxError, printable

app = typer.Typer(
    name="crux",
    help="Find the layers a language model's behaviour turns on, and how far to believe it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("scan")(scan)
app.command("show")(show)
app.command("explain")(explain)
app.command("list")(list_names)
app.command("env")(env)

USER_ERROR, BUG, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        result = app(args=list(arguments) or ["--help"], prog_name="crux", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted; nothing was written", INTERRUPTED)
    except CruxError as error:
        return _say(str(error), USER_ERROR)
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        sys.stderr.close()
        return BUG
    except Exception as error:
        # Typer brings its own copy of click in some versions: know its usage errors by their form.
        if hasattr(error, "format_message"):
            return _say(f"{error.format_message()} (crux --help)", USER_ERROR)
        return _bug(error)
    return int(result or 0)


def _say(message: str, code: int) -> int:
    print(f"crux: {printable(message)}", file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    with tempfile.NamedTemporaryFile(
        "w", prefix="crux-traceback-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        file.write("".join(traceback.format_exception(error)))
    line = f"a bug in Crux ({type(error).__name__}); please report it with {file.name}"
    return _say(line, BUG)
