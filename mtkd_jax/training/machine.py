"""What results depend on besides their settings: the machine and the versions that computed them."""

import functools
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy')
CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that the package is in."""


def cpu_facts() -> list[str]:
    """The lines of the first core in /proc/cpuinfo; empty where there is none."""
    file = Path('/proc/cpuinfo')
    lines = file.read_text().splitlines() if file.is_file() else []
    return lines[: lines.index('')] if '' in lines else lines


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


@functools.cache
def describe() -> dict[str, Any]:
    """`processor`, `cores`, `system`, `python`, `versions` by package, and `commit` where the package is a checkout.

    As they were when this was first asked for: a checkout may change while a process runs.
    """
    named = [line.partition(':')[2].strip() for line in cpu_facts() if line.startswith('model name')]
    return {
        'processor': named[0] if named else platform.processor() or platform.machine(),
        'cores': cores(),
        'system': platform.platform(),
        'python': platform.python_version(),
        'versions': {
            'mtkd_jax': sys.modules['mtkd_jax'].__version__,
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
        'commit': commit(CHECKOUT),
    }


def commit(checkout: Path) -> str | None:
    """The commit of a checkout, `+changes` where files differ from it; None where the folder is none."""
    if not (checkout / '.git').exists() or shutil.which('git') is None:
        return None

    def git(*arguments: str) -> str | None:
        done = subprocess.run(['git', '-C', str(checkout), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    found = git('rev-parse', '--short', 'HEAD')
    return f'{found}+changes' if found and git('status', '--porcelain', '--untracked-files=no') else found
