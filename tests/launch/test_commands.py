"""Every command of launch/README.md and docs/scale.md, run against the fakes: files are there, flags are known."""

import functools
import re
import shlex
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml

from mtkd_jax import configs, main, reproduce
from tests.launch import schemas
from tests.launch.fakes import LAUNCH, ROOT, Fakes

# Flags by command, as their documentation names them (the pages are in launch/README.md; kubectl's on kubernetes.io).
KNOWN = {
    'gcloud auth login': set(),
    'gcloud auth configure-docker': {'--quiet'},
    'gcloud config set project': set(),
    'gcloud services enable': set(),
    'gcloud filestore instances create': {'--zone', '--tier', '--file-share', '--network'},
    'gcloud filestore instances describe': {'--zone', '--format'},
    'gcloud filestore instances delete': {'--zone', '--quiet'},
    'gcloud compute tpus queued-resources create': {
        *('--zone', '--project', '--node-id', '--accelerator-type', '--runtime-version', '--spot', '--quiet')
    },
    'gcloud compute tpus queued-resources list': {'--zone', '--project', '--filter', '--format'},
    'gcloud compute tpus queued-resources delete': {'--zone', '--project', '--force', '--quiet'},
    'gcloud compute tpus tpu-vm list': {'--zone', '--project', '--filter', '--format'},
    'gcloud compute tpus tpu-vm ssh': {'--zone', '--project', '--worker', '--command', '--quiet'},
    'gcloud compute tpus tpu-vm scp': {'--zone', '--project', '--worker', '--recurse', '--quiet'},
    'gcloud container clusters create': {'--location', '--addons'},
    'gcloud container clusters get-credentials': {'--location'},
    'gcloud container clusters delete': {'--location', '--quiet'},
    'gcloud container node-pools create': {
        *('--cluster', '--location', '--machine-type', '--tpu-topology', '--accelerator', '--num-nodes', '--spot')
    },
    'gcloud artifacts repositories create': {'--repository-format', '--location'},
    'git': {'-C', '--format', '--output', '--porcelain'},
    'docker build': {'--file', '--build-arg', '--tag', '-'},
    'docker push': set(),
    'kubectl apply': {'-f', '--server-side', '-'},
    'kubectl wait': {'--for', '--timeout'},
    'kubectl cp': set(),
    'sbatch': {'--nodes', '--ntasks-per-node', '--gpus-per-node', '--array'},
    'squeue': {'--me'},
    'sky check': set(),
    'sky jobs launch': {'--yes', '--detach-run', '--env', '--name', '--num-nodes', '--gpus'},
    'sky jobs queue': set(),
    'sky jobs logs': set(),
    'sky volumes apply': {'--yes', '--name', '--infra', '--type', '--use-existing'},
    'pip install': set(),
    'sudo': set(),
    'mountpoint': {'-q'},
    'ssh-add': {'-q'},
    'ssh-agent': {'-s', '-k'},
    'ssh-keygen': {'-q', '-t', '-N', '-f'},
}


def blocks(page):
    """The commands of a page: those of its bash blocks, and of its tables the cells that begin with a program."""
    text = (ROOT / page).read_text()
    cells = [cell.replace(r'\|', '|') for cell in re.findall(r'^\|.*\| `(.+)` \|$', text, re.MULTILINE)]
    programs = ('python ', 'launch/', 'sbatch ', 'sky ', 'kubectl ')
    found = re.findall(r'^```bash\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    for cell in cells:
        if cell.startswith(programs):
            found += [part for part in cell.split('`') if part.startswith((*programs, 'sed '))]
    return found


@pytest.fixture(scope='module')
def calls(tmp_path_factory):
    """How programs were called by all commands of both pages, in order."""
    folder = tmp_path_factory.mktemp('pages')
    checkout = folder / 'checkout'
    shutil.copytree(LAUNCH, checkout / 'launch')
    fakes = Fakes(folder)
    fakes.tell('gcloud', 'queued-resources list', ('ACTIVE\n', 0))
    fakes.tell('gcloud', 'tpu-vm ssh', ('', 0))
    fakes.tell('gcloud', 'filestore instances describe', ('10.0.0.2\n', 0))
    fakes.tell('python', 'launch/local.py', ('', 0))
    for page in ('launch/README.md', 'docs/scale.md'):
        commands = blocks(page)
        assert len(commands) > 5
        script = '\n'.join(['set -eu', 'HOST=10.0.0.2 ZONE=us-west4-a IMAGE=registry/image', *commands])
        done = fakes.run('bash', '-c', script, cwd=checkout)
        assert done.returncode == 0, done.stderr
    return fakes.calls()


def words_of(call):
    """(The entry of KNOWN, what follows it.)"""
    for length in range(len(call), 0, -1):
        if ' '.join(call[:length]) in KNOWN:
            return ' '.join(call[:length]), call[length:]
    raise AssertionError(f'{shlex.join(call)} is no known command')


def commands_of_the_package(calls):
    """Each as its name and flags, however it is started."""
    for call in calls:
        launched = [i for i, word in enumerate(call) if re.fullmatch(r'launch/(slurm\.sbatch|local\.py)', word)]
        if call[0].startswith('python') and call[1:2] == ['-m'] and call[2].startswith('mtkd_jax.'):
            yield [call[2].removeprefix('mtkd_jax.'), *call[3:]]
        elif launched:
            rest = call[launched[0] + 1 :]
            yield rest[rest.index('--') + 1 :] if '--' in rest else rest
        for word in call:
            if call[0] == 'sky' and word.startswith('--env=COMMAND='):
                yield shlex.split(word.removeprefix('--env=COMMAND='))
            if call[0] == 'gcloud' and 'detached.sh' in word:
                yield shlex.split(word.partition('detached.sh ')[2])[1:]


def test_every_program_is_called_with_flags_that_it_has(calls):
    for call in calls:
        if call[0].startswith('python'):
            continue
        name, rest = words_of(call)
        own = rest[: rest.index('launch/slurm.sbatch')] if name == 'sbatch' else rest
        given = {word.partition('=')[0] for word in own if word.startswith('-')}
        assert given <= KNOWN[name] | ({'-p', '-t', '-qq', '-y'} if name == 'sudo' else set()), shlex.join(call)


def test_files_are_there(calls):
    """A file that is given is in the repository, and what is piped is as its schema says."""
    for call in calls:
        for word in call:
            found = re.search(r'(?:^|=)(launch/[\w.]+)$', word)
            assert not found or (ROOT / found[1]).is_file(), word
    piped = [call[-1] for call in calls if call[0] == 'kubectl' and 'apiVersion' in call[-1]]
    assert len(piped) == 4
    for text in piped:
        document = yaml.safe_load(text)
        jsonschema.validate(document, {'JobSet': schemas.JOBSET, 'Job': schemas.JOB}[document['kind']])
        assert 'IMAGE' not in text.replace('$IMAGE', '').replace('#IMAGE#', '')


@functools.cache
def shown(config):
    """All fields of a config, a line each."""
    return main.show(configs.load(configs.path(config)))


def test_commands_of_the_package_have_flags_that_it_knows(calls):
    # Read, because a flag belongs to the module that was imported last: others define flags of the same names.
    sources = [Path(command.__file__).read_text() for command in (main, reproduce)]
    known = {name for source in sources for name in re.findall(r"flags\.DEFINE_\w+\(\s*'(\w+)'", source)}
    found = list(commands_of_the_package(calls))
    assert {command[0] for command in found} == {'main', 'reproduce'}
    assert len(found) > 12
    for _, *given in found:
        for word in given:
            flag, _, value = word.lstrip('-').partition('=')
            if flag == 'config':
                fields = shown(value)
            elif flag.startswith('config.'):
                assert f'\n{flag.removeprefix("config.")} = ' in fields, word
            else:
                assert flag in known, word
