"""The whole suite runs with shapes checked, and with eight simulated devices."""

import os
import tempfile

# Before anything imports jax. Networks are tiny, so that most of the time goes into making their code fast.
QUICK = '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
os.environ['XLA_FLAGS'] = f'{QUICK} {os.environ.get("XLA_FLAGS", "")}'
os.environ['JAX_PLATFORMS'] = 'cpu'
# Tests, and the commands they start, compile the same few programs again and again.
CACHE = tempfile.TemporaryDirectory(prefix='mtkd_jax_tests_')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', CACHE.name)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.5'

from jaxtyping import install_import_hook  # noqa: E402

# `is_pep484_tower`: an int where a float is expected, as everywhere in Python.
CHECKER = 'beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))'
install_import_hook(['mtkd_jax'], CHECKER)
