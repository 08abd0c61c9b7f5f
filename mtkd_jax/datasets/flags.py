"""Flags of `python -m mtkd_jax.prepare` that are for some data sets only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """A flag that says which variant of a data set is prepared.

    Attributes:
        name: without the dashes.
        field: the field of `config.data` that it stands for, whose default is its own; `classes.characters` is an entry
            of one. '' where there is none.
        help: what it means, a sentence without its end.
        kind: of its value, where it has no field.
    """

    name: str
    field: str
    help: str
    kind: type = str

    def default(self, defaults: Mapping[str, Any]) -> Any:
        """Its value where it is not given: None, or what `defaults` (of `config.data`) say."""
        return _found(self.field, defaults) if self.field else None


SOURCE = Flag('source', '', 'The folder or file that holds the data as it was downloaded')
IGNORE_LABEL = Flag('ignore_label', '', 'The label of preprocessed files that means "not labelled", such as 255', int)
DEPTH_SCALE = Flag(
    'depth_scale', '', 'What one unit of preprocessed depth files is in metres, such as 0.001 for millimetres', float
)


def fields(flags: Sequence[Flag], defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `config.data` that flags were given for; `values`: by a flag's name, those that were given."""
    found: dict[str, Any] = {}
    for flag in flags:
        value = values.get(flag.name)
        if value is None or not flag.field:
            continue
        field, _, entry = flag.field.partition('.')
        found[field] = {**defaults[field], entry: value} if entry else value
    return found


def command(flags: Sequence[Flag], defaults: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """The flags that prepare what a config's `data` names, those left out whose default it is."""
    full, words = {**defaults, **data}, []
    if SOURCE in flags:
        words.append('--source=DIR')
    if any(full[side] != defaults[side] for side in ('height', 'width')):
        words.append(f'--size={full["height"]}x{full["width"]}')
    for flag in flags:
        if flag.field and (value := _found(flag.field, full)) != flag.default(defaults):
            words.append(f'--{flag.name}' if value is True else f'--{flag.name}={value}')
    return ' '.join(words)


def _found(field: str, data: Mapping[str, Any]) -> Any:
    found: Any = data
    for key in field.split('.'):
        found = found[key]
    return found
