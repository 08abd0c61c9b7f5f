"""Whether a config is a paper's, and where the paper's numbers are."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mtkd_jax.build.networks import is_self_distilled


def differences_from_paper(config: ConfigDict) -> str:
    """A sentence on how the config differs from the paper's; '' when it does not, or there is no paper."""
    if not config.paper.table:
        return ''
    fields = _flat(config.to_dict())
    protocol = _flat(config.paper.protocol.to_dict())
    differ = [f'`{k}` {fields[k]} (paper: {v})' for k, v in protocol.items() if fields[k] != v]
    return f'Not the protocol of {config.paper.table}: {"; ".join(differ)}.' if differ else ''


BACKBONES = {'lenet_mtl': 'lenet'}  # what the tables call them, where it differs


def paper_row(config: ConfigDict, method: str) -> dict[str, str] | None:
    """Where the paper's row is for what `method` trains: table, backbone, method; None where the config is not its."""
    if not config.paper.table or differences_from_paper(config):
        return None
    return {
        'table': config.paper.table,
        'prefix': config.paper.prefix,
        'backbone': BACKBONES.get(config.backbone, config.backbone),
        'method': _paper_name(config, method),
    }


def _paper_name(config: ConfigDict, method: str) -> str:
    if not is_self_distilled(config.backbone):
        return {'kd_mtl': 'kdmtl'}.get(method, method)
    sd = config.self_distillation
    single = '_single' if len(config.tasks) == 1 else ''
    names = {
        'uniform': 'vanilla',
        'sd_mtcnn': f'sdmtcnn{single}_{sd.objective}',
        'no_distillation': f'no_distill_{sd.objective}',
    }
    return names.get(method, method) + ('' if sd.attention else '_no_attention')


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_flat(value, f'{prefix}{name}.') if isinstance(value, Mapping) else {prefix + name: value})
    return flat
