"""``crux env``: what a bug report needs."""

import platform


def env() -> None:
    """Versions, device and threads."""
    from cruxlm.runtime.environment import (
        TESTED,
        claimed_command,
        foreign_module,
        other_command,
        package_versions,
    )
    from cruxlm.runtime.errors import printable

    for name, found in package_versions().items():
        tested = f"   (tested with {TESTED[name]})" if name in TESTED else ""
        print(f"{name:<14}{found}{tested}")
    print(f"{'platform':<14}{platform.platform()}")
    names = (
        ("command crux", claimed_command() or other_command()),
        ("import crux", foreign_module()),
    )
    for name, said in names:
        if said is not None:
            print(printable(f"{name:<14}{said}"))
    try:
        import torch
    except ImportError:
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"{'device':<14}{device}, {torch.get_num_threads()} threads")
