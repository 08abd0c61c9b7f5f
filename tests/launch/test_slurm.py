"""launch/slurm.sbatch with an srun and scontrol that only write down how they are called."""

import re
import shutil

import pytest

from tests.launch.fakes import LAUNCH, Fakes, trained

# https://slurm.schedmd.com/sbatch.html
OPTIONS = {
    '--job-name': r'\w+',
    '--nodes': r'\d+',
    '--ntasks-per-node': r'\d+',
    '--gpus-per-node': r'\d+',
    '--cpus-per-task': r'\d+',
    '--time': r'\d\d:\d\d:\d\d',
    '--requeue': '',
    '--open-mode': 'append|truncate',
    '--signal': r'(B:)?[A-Z0-9]+@\d+',
}


@pytest.fixture
def slurm(tmp_path):
    """(The fakes, how to run the script as Slurm does: from its spool folder.)"""
    fakes = Fakes(tmp_path)
    checkout = tmp_path / 'a checkout'
    shutil.copytree(LAUNCH, checkout / 'launch')
    spooled = shutil.copy(LAUNCH / 'slurm.sbatch', tmp_path / 'slurm_script')

    def run(*command, **variables):
        job = {'SLURM_SUBMIT_DIR': str(checkout), 'SLURM_JOB_ID': '41', 'PYTHON': 'python', **variables}
        return fakes.run('bash', spooled, *command, cwd=checkout, **job)

    return fakes, run


def directives():
    return re.findall(r'^#SBATCH (--[\w-]+)(?:=(.*))?$', (LAUNCH / 'slurm.sbatch').read_text(), re.MULTILINE)


def test_directives_are_those_of_sbatch():
    assert [name for name, value in directives() if not re.fullmatch(OPTIONS[name], value)] == []
    # Steps are signalled, not the shell of the batch (no B:), which is to wait for the save and its status.
    assert dict(directives())['--signal'] == 'TERM@120'
    assert '--requeue' in dict(directives())


def test_all_tasks_run_one_command(slurm):
    fakes, run = slurm
    done = run('main', '--config=nyuv2', '--workdir=/shared/a b', SLURM_CPUS_PER_TASK='8')
    assert done.returncode == 0, done.stderr
    assert trained(fakes) == [['main', '--config=nyuv2', '--workdir=/shared/a b']]
    # Nobody is killed in the middle of a save, or because process 0 still writes the report.
    assert fakes.calls('srun')[0][1:5] == ['--kill-on-bad-exit=0', '--wait=0', '--gpu-bind=none', '--cpus-per-task=8']
    assert fakes.calls('scontrol') == []


def test_a_stopped_run_is_queued_again(slurm):
    fakes, run = slurm
    fakes.tell('python', 'mtkd_jax', ('', 143))
    assert run('main', '--workdir=/shared/nyuv2').returncode == 143
    assert fakes.calls('scontrol') == [['scontrol', 'requeue', '41']]


@pytest.mark.parametrize('status', [1, 137])
def test_a_run_that_failed_is_not_queued_again(slurm, status):
    fakes, run = slurm
    fakes.tell('python', 'mtkd_jax', ('', status))
    assert run('main', '--workdir=/shared/nyuv2').returncode == status
    assert fakes.calls('scontrol') == []


def test_an_array_shares_a_plan(slurm):
    fakes, run = slurm
    command = ['reproduce', '--table=kdmtl/2', '--workdir=/shared/kdmtl2']
    assert run(*command, SLURM_ARRAY_TASK_ID='3').returncode == 0
    assert trained(fakes) == [command]


def test_an_array_of_runs_puts_its_number_into_the_flags(slurm):
    fakes, run = slurm
    done = run('main', '--workdir=/shared/seed%a', '--config.seed=%a', SLURM_ARRAY_TASK_ID='2')
    assert done.returncode == 0, done.stderr
    assert trained(fakes) == [['main', '--workdir=/shared/seed2', '--config.seed=2']]
    done = run('main', '--workdir=/shared/nyuv2', SLURM_ARRAY_TASK_ID='2')
    assert done.returncode == 2
    assert 'all tasks of this array are the same run; put %a into the flags' in done.stderr


def test_what_is_missing_is_named(slurm, tmp_path):
    fakes, run = slurm
    assert 'no command; sbatch launch/slurm.sbatch main' in run().stderr
    done = run('main', SLURM_SUBMIT_DIR=str(tmp_path))
    assert (done.returncode, fakes.calls()) == (2, [])
    assert "submit from the checkout's folder" in done.stderr
