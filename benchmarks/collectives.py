"""What the devices of a mesh exchange in a compiled program, read from its text (`compiled.as_text()`)."""

import math
import re
from collections import Counter
from typing import NamedTuple

KINDS = 'all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute', 'collective-broadcast'
# A collective that runs beside other work is two instructions; the shape of the second is the result's.
INSTRUCTION = re.compile(rf' = (?P<shapes>.*?) (?P<kind>{"|".join(KINDS)})(-done)?\(')
SHAPE = re.compile(r'\b(?P<type>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<sizes>[\d,]*)\]')


class Collective(NamedTuple):
    """One array of a collective: its kind, such as `all-reduce`, the array's shape on each device, its bytes there."""

    kind: str
    shape: tuple[int, ...]
    bytes: int


def collectives(text: str) -> list[Collective]:
    """All that stand in a program. What stands in a loop is counted once.

    XLA combines collectives, on every backend otherwise: their number says little, their bytes do not change.
    """
    found = []
    for line in text.splitlines():
        instruction = INSTRUCTION.search(line)
        for array in SHAPE.finditer(instruction['shapes']) if instruction else ():
            shape = tuple(int(size) for size in array['sizes'].split(',') if size)
            width = int(array['bits']) // 8 if array['bits'] else 1
            found.append(Collective(instruction['kind'], shape, width * math.prod(shape)))
    return found


def bytes_by_kind(text: str) -> dict[str, int]:
    """Bytes of the results of a program's collectives on each device, by kind."""
    total: Counter[str] = Counter()
    for collective in collectives(text):
        total[collective.kind] += collective.bytes
    return dict(total)
