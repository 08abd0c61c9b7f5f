"""How programs are compiled, and that they are kept: a second seed or a resumed run compiles no more."""

import os
import platform
import zlib
from pathlib import Path

import jax
from jax.sharding import Mesh

from mtkd_jax.training import sharding
from mtkd_jax.training.machine import cpu_facts


def keep_compiled() -> None:
    """Sets JAX's persistent compilation cache, unless the user has.

    It is a folder of $XDG_CACHE_HOME or ~/.cache, one for each kind of processor: what is compiled for one may not run
    on another. Removing the folder loses nothing.
    """
    if jax.config.values['jax_compilation_cache_dir'] is None:
        jax.config.update('jax_compilation_cache_dir', str(_folder()))


def compiler_options(mesh: Mesh) -> dict[str, str] | None:
    """What XLA is told about programs of whole networks (`compiler_options` of `jax.jit`).

    Rematerialisation stands behind barriers, and so do convolutions by tiles (`models/convolution.py`). On CPUs XLA
    takes these away before it orders the operations; it then takes operations that are done again for the same (some),
    or does them early and keeps both (others), so that a step takes more memory with `remat` than without. Programs
    without barriers stay what they are.
    """
    return None if sharding.accelerated(mesh) else {'xla_disable_hlo_passes': 'cse_barrier_expander'}


def _folder() -> Path:
    # x86 says what it can in `flags`, ARM in `Features`.
    told = ('model name', 'flags', 'CPU implementer', 'CPU part', 'Features')
    processor = [line for line in cpu_facts() if line.startswith(told)]
    kind = f'{platform.machine()}-{zlib.crc32(" ".join(processor).encode()):08x}'
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(root) / 'mtkd_jax' / 'compiled' / kind
