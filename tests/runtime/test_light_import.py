"""``import cruxlm`` costs next to nothing."""

import json
import subprocess
import sys

CODE = """
import json, sys
import cruxlm
from cruxlm.cli import main
from cruxlm.runtime import errors, registry, files, progress, environment
assert "scan" in dir(cruxlm) and cruxlm.__version__
try:
    cruxlm.no_such_name
except AttributeError:
    pass
else:
    raise SystemExit("an unknown name was found")
print(json.dumps(sorted(sys.modules)))
"""
HEAVY = (
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "safetensors",
    "tokenizers",
    "jaxtyping",
    "rich",
)


def test_importing_loads_no_heavy_library():
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = json.loads(done.stdout)
    assert "cruxlm.cli.main" in loaded
    assert [name for name in loaded if name.split(".")[0] in HEAVY] == []


def test_public_names_are_found():
    import cruxlm

    for name in cruxlm.__all__:
        assert getattr(cruxlm, name).__name__ == name
