"""The console blocks of a page: run in a shell, and compared with what the page shows.

python tests/docs/consoles.py docs/tutorial.md            # do they print what the page shows?
python tests/docs/consoles.py docs/tutorial.md --write    # then the page shows what they print
python tests/docs/consoles.py docs/tutorial.md --empty    # in an environment that has nothing
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)

VERDICT = re.compile(
    r"is (not distinguishable from|better than|worse than) (\S+)( by \S+ nats a token)?"
)
"""The one sentence that another processor may word otherwise."""


def steps(block):
    """(command, what it prints) of each command in a block; a backslash continues a command."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)[0]
        found.append((command, part[len(command) :]))
    return found


def blocks(page):
    """The console blocks of a page, each as its steps."""
    return [steps(match[1]) for match in BLOCK.finditer(page)]


def run(command, folder, binaries):
    """What a command prints, its errors among it; it must succeed."""
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "80",
        "PYTHONUNBUFFERED": "1",  # what is printed and what is said beside it keep their order
        "CRUX_CACHE": str(folder / ".cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONWARNINGS": "ignore",  # other packages' own, of one version or another
        "PIP_QUIET": "1",  # beside -q: what pip says of this machine's sources is not the page's
    }
    environment.pop("PYTHONPATH", None)  # it could lead to Crux, or to other versions
    done = subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}{done.stdout}"
    return re.sub(r"[^\S\n]+$", "", done.stdout, flags=re.MULTILINE)


def words(output):
    """The words of an output in their order, without its numbers, which differ between machines."""
    joined = VERDICT.sub(r"is judged beside \2", " ".join(output.split()))
    return [re.sub(r"\d+", "#", word) for word in joined.split() if re.search("[A-Za-z]", word)]


def built_wheel(folder):
    """Build the package as a wheel, without network, and return its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def bare_environment(folder):
    """An environment with all that the running one has but Crux; the folder of its binaries.

    The packages are links, so it is there in a second, and pip finds what it needs without network.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    linked = set()
    for place in (Path(path) for path in sys.path if path):
        if place.name == "site-packages" or (place / "transformers").is_dir():
            for entry in place.iterdir():
                # Of what is there twice (another version laid over one), the first is imported.
                about = entry.suffix == ".dist-info"
                name = entry.name.partition("-")[0] + entry.suffix if about else entry.name
                # A .pth file may lead to Crux itself.
                if name not in linked and "cruxlm" not in name and entry.suffix != ".pth":
                    linked.add(name)
                    (packages / entry.name).symlink_to(entry)
    pip = folder / "bin" / "pip"
    pip.write_text(
        f'#!/bin/sh\nPIP_NO_INDEX=1 exec "{folder}/bin/python" -m pip "$@"\n', encoding="utf-8"
    )
    pip.chmod(0o755)
    return folder / "bin"


def printed(page, folder, binaries):
    """The page as it would be if it showed what its commands print here."""

    def anew(match):
        found = [(command, run(command, folder, binaries)) for command, _ in steps(match[1])]
        return "```console\n" + "".join(f"$ {command}{said}" for command, said in found) + "```"

    return BLOCK.sub(anew, page)


def main():
    """Run a page's commands with a wheel of the package in their folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--empty", action="store_true")
    asked = parser.parse_args()
    page = asked.page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        work, environment = Path(scratch, "work"), Path(scratch, "environment")
        work.mkdir()
        built_wheel(work)
        if asked.empty:
            venv.create(environment, symlinks=True, with_pip=True)
        else:
            bare_environment(environment)
        found = printed(page, work, environment / "bin")
    if asked.write:
        asked.page.write_text(found, "utf-8")
    for shown, said in zip(blocks(page), blocks(found), strict=True):
        for (command, before), (_, after) in zip(shown, said, strict=True):
            same = words(before) == words(after)
            print(f"$ {command}{after}{'as shown' if same else 'NOT as the page shows'}\n")
            if not (same or asked.write):
                sys.exit(1)


if __name__ == "__main__":
    main()
