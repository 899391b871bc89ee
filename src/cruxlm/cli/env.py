"""``crux env``: what a bug report needs."""

import platform


def env() -> None:
    """Versions, device and threads."""
    from cruxlm.runtime.environment import TESTED, package_versions

    for name, found in package_versions().items():
        tested = f"   (tested with {TESTED[name]})" if name in TESTED else ""
        print(f"{name:<14}{found}{tested}")
    print(f"{'platform':<14}{platform.platform()}")
    try:
        import torch
    except ImportError:
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"{'device':<14}{device}, {torch.get_num_threads()} threads")
