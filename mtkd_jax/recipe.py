"""The part of `--config=NAME:name=value,...` behind the colon."""

from typing import Any

from mtkd_jax.errors import UserError

CHOICES = ('method', 'weighting', 'backbone', 'tasks', 'optimizer', 'schedule')

# The names there are to choose from. They stand here because `--help` lists them and imports nothing that they name.
METHODS = ('stl', 'mtl', 'kd_mtl', 'bam', 'sd_mtcnn', 'no_distillation', 'traditional_kd')
WEIGHTINGS = (
    *('aligned_mtl', 'cagrad', 'db_mtl', 'dualproj', 'dwa', 'excess_mtl', 'fairgrad', 'famo', 'gls', 'graddrop'),
    *('gradnorm', 'gradvac', 'imtl', 'mgda', 'moco', 'modo', 'nash_mtl', 'pcgrad', 'rlw', 'sdmgrad', 'stch'),
    *('uncertainty', 'uniform', 'upgrad'),
)
BACKBONES = (
    *('segnet', 'segnet_sd', 'unet_sd', 'mtan', 'cross_stitch', 'dense', 'split_standard', 'split_wide', 'split_deep'),
    'lenet_mtl',
)


def parse(argument: str | None) -> dict[str, str]:
    """`name=value,name=value` as a mapping.

    Raises:
        UserError: a part is no `name=value`, or a name comes twice.
    """
    found: dict[str, str] = {}
    last = ''
    for part in filter(None, (argument or '').split(',')):
        name, equals, text = part.partition('=')
        if not equals and last == 'tasks':
            joined = '+'.join([found['tasks'], part])
            raise UserError(f'{part!r} in the recipe is not name=value; tasks are joined with +: tasks={joined}.')
        if not equals or not text:
            raise UserError(f'{part!r} in the recipe is not name=value; write it like method=kd_mtl.')
        if name in found:
            raise UserError(f'The recipe has {name!r} twice; leave one out.')
        found[name], last = text, name
    return found


def value(name: str, text: str, like: Any, kind: type | None = None) -> Any:
    """`text` as a value of the type of `like`: on or off, a number, words, or several joined with +.

    Where `like` is None, the value is of the type `kind`.

    Raises:
        UserError: it is none.
    """
    if like is None and kind is not None:
        return value(name, text, kind())
    if isinstance(like, bool):
        if text not in ('on', 'off'):
            raise UserError(f'{name}={text} in the recipe; write {name}=on or {name}=off.')
        return text == 'on'
    if isinstance(like, tuple):
        return tuple(value(name, part, like[0] if like else 0.0) for part in text.split('+'))
    if isinstance(like, int | float):
        try:
            return type(like)(text)
        except ValueError:
            words = 'a whole number' if isinstance(like, int) else 'a number'
            raise UserError(f'{name}={text} in the recipe; give {words}, such as {name}={like}.') from None
    return text
