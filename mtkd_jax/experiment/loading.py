"""A model folder as something that predicts."""

from pathlib import Path

from mtkd_jax.experiment.models import build_network, open_model
from mtkd_jax.inference import Model
