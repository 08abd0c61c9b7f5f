"""The whole suite runs with shapes checked, and with eight simulated devices."""

import os

# Before anything imports jax.
os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count=8'
os.environ['JAX_PLATFORMS'] = 'cpu'

from jaxtyping import install_import_hook

# `is_pep484_tower`: an int where a float is expected, as everywhere in Python.
CHECKER = 'beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))'
install_import_hook(['mtkd_jax'], CHECKER)
