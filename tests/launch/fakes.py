"""Programs in place of gcloud, srun, kubectl and others: they write down how they are called, and answer as told."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'

# Some do a little of what they stand for: ssh runs its command in `home`, scp copies there, srun runs its program once,
# python makes an environment whose interpreter is a fake, git packs the launchers. Most calls need none of the imports.
PROGRAM = """#!{python} -SE
import json, os, sys
folder, name, words = os.environ['FAKES'], os.path.basename(sys.argv[0]), sys.argv[1:]
given = sys.stdin.read() if words[-2:] == ['-f', '-'] else ''
with open(folder + '/calls.jsonl', 'a') as calls:
    calls.write(json.dumps([name, *words, *([given] if given else [])]) + '\\n')

def value(flag):
    return next((word.partition('=')[2] for word in words if word.startswith(flag + '=')), '')

status = 0
if name == 'gcloud' and 'scp' in words:
    files = [word for word in words if os.path.isfile(word)]
    place = next(word for word in words if ':' in word).partition(':')[2]
    import shutil
    for file in files:
        shutil.copy(file, os.environ['FAKE_HOME'] + '/' + place)
if name == 'git' and value('--output'):
    import subprocess
    packed = subprocess.run(['tar', '-czf', value('--output'), '-C', words[words.index('-C') + 1], 'launch'])
    status = packed.returncode
if name.startswith('python') and words[:2] == ['-m', 'venv']:
    import shutil
    os.makedirs(words[2] + '/bin')
    shutil.copy(sys.argv[0], words[2] + '/bin/python')
told = json.load(open(folder + '/told.json'))
for answer in told:
    if answer['program'] == name and answer['words'] in ' '.join(words):
        says, status = answer['answers'][0]
        if len(answer['answers']) > 1:
            answer['answers'].pop(0)
            json.dump(told, open(folder + '/told.json', 'w'))
        sys.stdout.write(says)
        break
else:
    if name == 'gcloud' and 'ssh' in words:
        import subprocess
        home = os.environ['FAKE_HOME']
        far = {{**os.environ, 'HOME': home}}
        status = subprocess.run(['bash', '-c', value('--command')], cwd=home, env=far).returncode
    if name == 'srun':
        import subprocess
        first = next(i for i, word in enumerate(words) if not word.startswith('--'))
        status = subprocess.run(words[first:], env={{**os.environ, 'SLURM_PROCID': '0'}}).returncode
sys.exit(status)
"""
NAMES = (
    'gcloud',
    'git',
    'sbatch',
    'srun',
    'scontrol',
    'kubectl',
    'sky',
    'docker',
    'pip',
    'squeue',
    'sudo',
    'mountpoint',
    'ssh-add',
    'ssh-agent',
    'ssh-keygen',
    'python',
    'python3',
    'python3.11',
    'python3.12',
    'python3.13',
)


class Fakes:
    """Fakes in `folder`, for `run`; `home` is the home folder on the far side of ssh."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / 'fakes', folder / 'far side'
        self.home.mkdir()
        self.folder.mkdir()
        for name in NAMES:
            (self.folder / name).write_text(PROGRAM.format(python=sys.executable))
            (self.folder / name).chmod(0o755)
        (self.folder / 'told.json').write_text('[]')

    def tell(self, program: str, words: str, *answers: tuple[str, int]) -> None:
        """(Output, exit status) of the calls whose arguments contain `words`, in turn; the last one stays."""
        told = json.loads((self.folder / 'told.json').read_text())
        told.append({'program': program, 'words': words, 'answers': answers})
        (self.folder / 'told.json').write_text(json.dumps(told))

    def run(self, *command: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command that finds the fakes, and the system's programs, but no others."""
        # No PYTHON of the caller: a launcher is to find its own.
        own = {'PATH': f'{self.folder}:/usr/bin:/bin', 'FAKES': str(self.folder), 'FAKE_HOME': str(self.home)}
        environment = {**own, 'HOME': str(self.home), 'POLL_SECONDS': '0', **variables}
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self, program: str = '') -> list[list[str]]:
        """How the fakes were called, in order; one of them, or all."""
        calls = self.folder / 'calls.jsonl'
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [call for call in map(json.loads, lines) if program in ('', call[0])]


def trained(fakes: Fakes) -> list[list[str]]:
    """The commands of the package that were run, each as its name and flags."""
    package = 'mtkd_jax.'
    return [
        [call[2].removeprefix(package), *call[3:]]
        for call in fakes.calls('python')
        if len(call) > 2 and call[1] == '-m' and call[2].startswith(package)
    ]


def scripts() -> list[Path]:
    """All shell scripts of launch/."""
    return sorted(path for path in LAUNCH.iterdir() if os.path.splitext(path)[1] in ('.sh', '.sbatch'))
