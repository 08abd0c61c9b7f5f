"""The YAML files of launch/: fields that the published schemas have, and values that agree with each other."""

import copy
import math
import shlex

import jsonschema
import pytest
import yaml

from tests.launch import schemas
from tests.launch.fakes import LAUNCH, Fakes, trained

SCHEMAS = {
    'gke_gpu.yaml': [schemas.JOBSET],
    'gke_reproduce.yaml': [schemas.JOB],
    'gke_shared.yaml': [schemas.CLAIM, schemas.FILES],
    'gke_tpu.yaml': [schemas.JOBSET],
    'sky_gpu.yaml': [schemas.TASK],
    'sky_kubernetes.yaml': [schemas.TASK],
    'sky_tpu.yaml': [schemas.TASK],
}
JOBSETS = ('gke_gpu.yaml', 'gke_tpu.yaml')


def read_all(name):
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def read(name):
    return read_all(name)[0]


def job_of(name):
    """(Job, pod, container) of a file."""
    document = read(name)
    job = document['spec']['replicatedJobs'][0]['template']['spec'] if name in JOBSETS else document['spec']
    pod = job['template']['spec']
    (container,) = pod['containers']
    return job, pod, container


def test_every_file_has_its_schema():
    assert sorted(path.name for path in LAUNCH.glob('*.yaml')) == list(SCHEMAS)


@pytest.mark.parametrize('name', SCHEMAS)
def test_fields_are_those_of_the_published_schema(name):
    for document, schema in zip(read_all(name), SCHEMAS[name], strict=True):
        jsonschema.validate(document, schema)


@pytest.mark.parametrize('name', [*JOBSETS, 'gke_reproduce.yaml'])
def test_a_container_runs_a_command_on_shared_files(name):
    job, pod, container = job_of(name)
    assert container['image'] == 'IMAGE', 'what sed replaces'
    assert (LAUNCH / name).read_text().count('IMAGE#$IMAGE#') == 1
    workdir = next(word for word in container['args'] if word.startswith('--workdir='))
    assert workdir.startswith('--workdir=/shared/')
    assert container['volumeMounts'] == [{'name': 'shared', 'mountPath': '/shared'}]
    assert pod['volumes'][0]['persistentVolumeClaim']['claimName'] == read('gke_shared.yaml')['metadata']['name']
    assert job['parallelism'] == job['completions']


@pytest.mark.parametrize('name', [*JOBSETS, 'gke_reproduce.yaml'])
def test_what_was_taken_away_or_stopped_on_request_goes_on(name):
    """Both count as no failure of the run: neither for the set's restarts nor for the job's."""
    job, _, container = job_of(name)
    pods, codes = job['podFailurePolicy']['rules']
    assert pods['onPodConditions'] == [{'type': 'DisruptionTarget'}]
    assert codes['onExitCodes'] == {'containerName': container['name'], 'operator': 'In', 'values': [143]}
    if name in JOBSETS:
        assert (pods['action'], codes['action'], job['backoffLimit']) == ('FailJob', 'FailJob', 0)
        (rule,) = read(name)['spec']['failurePolicy']['rules']
        assert rule['onJobFailureReasons'] == ['PodFailurePolicy']
        assert rule['action'] == 'RestartJobSetAndIgnoreMaxRestarts'
    else:
        assert (pods['action'], codes['action']) == ('Ignore', 'Ignore')


def test_hosts_of_a_tpu_slice_are_those_of_its_topology():
    job, pod, container = job_of('gke_tpu.yaml')
    selector = pod['nodeSelector']
    chips = math.prod(int(side) for side in selector['cloud.google.com/gke-tpu-topology'].split('x'))
    assert chips == job['parallelism'] * container['resources']['limits']['google.com/tpu']
    for field in ('batch_size', 'eval_batch_size'):
        assert f'--config.{field}={chips}' in container['args']


def test_gpu_processes_find_the_first():
    """Its name: SET-JOB-REPLICA-POD.SET, as JobSet's `network` says."""
    document = read('gke_gpu.yaml')
    job, _, container = job_of('gke_gpu.yaml')
    names = document['metadata']['name'], document['spec']['replicatedJobs'][0]['name']
    assert document['spec']['replicatedJobs'][0]['replicas'] == 1
    assert f'--coordinator={names[0]}-{names[1]}-0-0.{names[0]}:8476' in container['args']
    assert f'--processes={job["parallelism"]}' in container['args']
    assert '--process=$(JOB_COMPLETION_INDEX)' in container['args']
    assert job['completionMode'] == 'Indexed'


def test_the_two_sets_differ_only_in_their_hardware():
    gpu, tpu = (copy.deepcopy(read(name)) for name in JOBSETS)
    for document in (gpu, tpu):
        document['metadata'].pop('annotations', None)
        job = document['spec']['replicatedJobs'][0]
        del job['name'], job['template']['spec']['parallelism'], job['template']['spec']['completions']
        pod = job['template']['spec']['template']['spec']
        (container,) = pod['containers']
        del pod['nodeSelector'], container['resources']
        container.pop('env', None)
        container['args'] = [word for word in container['args'] if not word.startswith(('--coordinator', '--process'))]
    assert gpu == tpu


@pytest.mark.parametrize('name', ['sky_gpu.yaml', 'sky_kubernetes.yaml', 'sky_tpu.yaml'])
def test_a_task_of_skypilot_goes_on_after_a_stop(name):
    task = read(name)
    assert task['run'] == 'launch/sky.sh'
    assert task['setup'].startswith('launch/install.sh ')
    assert task['resources']['job_recovery']['recover_on_exit_codes'] == [143]
    assert task['envs'] == {'COMMAND': None}


NODES = {'SKYPILOT_NODE_IPS': '10.0.0.4\n10.0.0.9', 'SKYPILOT_NODE_RANK': '1', 'PYTHON': 'python'}


@pytest.mark.parametrize(
    ('variables', 'more'),
    [
        (
            {'SKYPILOT_NUM_NODES': '2', 'SKYPILOT_NUM_GPUS_PER_NODE': '8'},
            ['--coordinator=10.0.0.4:8476', '--processes=2', '--process=1'],
        ),
        ({'SKYPILOT_NUM_NODES': '2', 'SKYPILOT_NUM_GPUS_PER_NODE': '0'}, []),  # a TPU slice: jax finds its hosts
        ({'SKYPILOT_NUM_NODES': '1', 'SKYPILOT_NUM_GPUS_PER_NODE': '8'}, []),
    ],
)
def test_a_command_of_skypilot(tmp_path, variables, more):
    fakes = Fakes(tmp_path)
    flags = ['--config=rooms', "--workdir=gs://bucket/it's a b"]
    command = shlex.join(['main', *flags])
    done = fakes.run(LAUNCH / 'sky.sh', COMMAND=command, **NODES, **variables)
    assert done.returncode == 0, done.stderr
    assert trained(fakes) == [['main', *flags, *more]]


def test_a_plan_is_shared_by_independent_machines(tmp_path):
    """`reproduce` has no processes of one run."""
    fakes = Fakes(tmp_path)
    variables = {'SKYPILOT_NUM_NODES': '2', 'SKYPILOT_NUM_GPUS_PER_NODE': '8'}
    assert fakes.run(LAUNCH / 'sky.sh', COMMAND='reproduce --table=kdmtl/2', **NODES, **variables).returncode == 0
    assert trained(fakes) == [['reproduce', '--table=kdmtl/2']]


def test_a_missing_command_is_named(tmp_path):
    done = Fakes(tmp_path).run(LAUNCH / 'sky.sh', **NODES)
    assert done.returncode == 2
    assert "COMMAND is missing; --env=COMMAND='main" in done.stderr
