"""Whether a config is a paper's."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def differences_from_paper(config: ConfigDict) -> tuple[dict[str, str] | None, str]:
    """(where the paper's row is, or None; a sentence on how the config differs from the paper's)."""
    if not config.paper.table:
        return None, ''
    fields = _flat(config.to_dict())
    protocol = _flat(config.paper.protocol.to_dict())
    differ = [f'`{k}` {fields[k]} (paper: {v})' for k, v in protocol.items() if fields[k] != v]
    if differ:
        return None, f'Not the protocol of {config.paper.table}: {"; ".join(differ)}.'
    return {'table': config.paper.table, 'backbone': config.backbone}, ''


def _flat(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat.update(_flat(value, f'{prefix}{name}.') if isinstance(value, Mapping) else {prefix + name: value})
    return flat
