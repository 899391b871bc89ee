"""``crux``: runs a command, and says what becomes of an error.

A ``CruxError`` and a wrong option are one line and exit code 2; Ctrl-C is 130; anything else is a
bug: exit code 1, with the traceback saved and its path printed.

The commands are imported inside the guard: Ctrl-C while libraries load is met like any other.
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from cruxlm.cli.interrupt import importing, say_interrupted
from cruxlm.runtime.environment import COMMAND, claimed_command
from cruxlm.runtime.errors import CruxError, printable

USER_ERROR, BUG = 2, 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a bar still runs
    called = Path(sys.argv[0]).stem
    sys.exit(run(sys.argv[1:] if arguments is None else arguments, called=called))


def run(arguments: Sequence[str], *, called: str = "") -> int:
    """Run one command; its exit code. ``called`` is the name that the process was started by."""
    try:
        claimed = claimed_command() if called == COMMAND else None
        if claimed and arguments[:1] != ["env"]:
            # It would run today. After the next install of either package the same line would
            # start another program, so it is refused while somebody is there to read why.
            return _say(claimed, USER_ERROR)
        return _command(list(arguments) or ["--help"])
    except KeyboardInterrupt:
        return say_interrupted()
    except CruxError as error:
        return _say(str(error), USER_ERROR)
    except BrokenPipeError:  # the reader of our output, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BUG
    except Exception as error:
        # Typer brings its own copy of click in some versions: know its exceptions by their form.
        if hasattr(error, "format_message"):
            return _say(f"{error.format_message()} (crux --help)", USER_ERROR)
        if hasattr(error, "exit_code"):
            return int(error.exit_code)
        return say_interrupted() if _interrupted(error) else _bug(error)


def _command(arguments: list[str]) -> int:
    with importing():
        from typer.main import get_command

        from cruxlm.cli.app import app

    # Not the command's own main(), which has its own ideas of an interrupt in every version.
    command = get_command(app)
    with command.make_context("crux", arguments) as context:
        command.invoke(context)
    sys.stdout.flush()
    return 0


def _interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt lies under an error: compiled modules turn it into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say(message: str, code: int) -> int:
    print(f"crux: {printable(message)}", file=sys.stderr)
    return code


def _bug(error: Exception) -> int:
    import tempfile
    import traceback

    text = "".join(traceback.format_exception(error))
    with tempfile.NamedTemporaryFile(prefix="crux-traceback-", suffix=".txt", delete=False) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    line = f"a bug in Crux ({type(error).__name__}); please report it with {file.name}"
    return _say(line, BUG)
