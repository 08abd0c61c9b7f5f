"""The part of `--config=FILE:name=value,...` behind the colon."""

import difflib
from collections.abc import Mapping

from mtkd_jax.types import UserError


def parse(argument: str | None, defaults: Mapping[str, str]) -> dict[str, str]:
    """`defaults` updated from `name=value,name=value`.

    Raises:
        UserError: a part is no `name=value`, or its name is not in `defaults`.
    """
    recipe = dict(defaults)
    for part in filter(None, (argument or '').split(',')):
        name, equals, value = part.partition('=')
        if not equals or not value:
            raise UserError(f'{part!r} in the recipe is not name=value; write it like method=kd_mtl.')
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            hint = f' Did you mean {close[0]!r}?' if close else ''
            raise UserError(f'The recipe has no {name!r}; it takes {", ".join(defaults)}.{hint}')
        recipe[name] = value
    return recipe


SELF_DISTILLED = ('sd_mtcnn', 'no_distillation', 'traditional_kd')  # methods that need teacher and student branches


def with_backbone(recipe: Mapping[str, str]) -> dict[str, str]:
    """`recipe` with the backbone that its method is about, where it names none."""
    return {
        **recipe,
        'backbone': recipe['backbone'] or ('segnet_sd' if recipe['method'] in SELF_DISTILLED else 'segnet'),
    }


def switch(recipe: Mapping[str, str], name: str) -> bool:
    """The value of a recipe's `name=on` or `name=off`.

    Raises:
        UserError: it is neither.
    """
    if recipe[name] not in ('on', 'off'):
        raise UserError(f'{name}={recipe[name]} in the recipe; write {name}=on or {name}=off.')
    return recipe[name] == 'on'
