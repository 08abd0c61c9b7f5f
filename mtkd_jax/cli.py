"""`mtkd COMMAND ...`: the commands under one name; `mtkd main` is `python -m mtkd_jax.main`."""

import runpy
import sys

from mtkd_jax.names import suggestion

COMMANDS = {
    'main': 'train, evaluate and report',
    'reproduce': 'plan, run and write a table of the papers',
    'prepare': "prepare a data set from the user's files, or render one",
    'evaluate': 'evaluate models, or predictions from any framework',
    'predict': 'predict for images',
    'export': 'turn a trained network into an ONNX or StableHLO program',
    'compare': 'one table of any runs',
    'convert': 'turn a published checkpoint into a model folder',
}


def main() -> None:
    """Runs a command as its own program would run."""
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name in COMMANDS:
        sys.argv = [f'mtkd {name}', *sys.argv[2:]]
        runpy.run_module(f'mtkd_jax.{name}', run_name='__main__', alter_sys=True)
        return
    listed = '\n'.join(f'  {command:10} {what}' for command, what in COMMANDS.items())
    said = f'usage: mtkd COMMAND [flags]; mtkd COMMAND --help\n{listed}'
    if name in ('-h', '--help', 'help', ''):
        print(said)
        sys.exit(0 if name else 1)
    print(f'error: there is no command {name!r}.{suggestion(name, COMMANDS)}\n{said}', file=sys.stderr)
    sys.exit(1)


if __name__ == '__main__':
    main()
