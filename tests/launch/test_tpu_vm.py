"""launch/tpu_vm.sh against a gcloud that only writes down how it is called; its far side really unpacks and runs."""

import re

import pytest

from tests.launch.fakes import LAUNCH, Fakes, trained

SCRIPT = LAUNCH / 'tpu_vm.sh'
SLICE = ('--name=mtl', '--zone=us-west4-a', '--type=v5litepod-16', '--version=v2-alpha-tpuv5-lite')
COMMAND = ('--', 'main', '--config=rooms', '--workdir=gs://bucket/rooms')
WHERE = '--zone=us-west4-a'
REQUESTS, SLICES = 'queued-resources list', 'tpu-vm list'
THERE = ('ACTIVE\n', 0)


@pytest.fixture
def fakes(tmp_path):
    return Fakes(tmp_path)


def verbs(fakes):
    """What gcloud was asked to do, states left out."""
    return [call[4] for call in fakes.calls('gcloud') if call[4] != 'list']


def named(fakes, verb):
    return [call for call in fakes.calls('gcloud') if call[4] == verb]


def test_from_the_request_to_its_deletion(fakes):
    fakes.tell('gcloud', REQUESTS, ('', 0), ('WAITING_FOR_RESOURCES\n', 0), ('PROVISIONING\n', 0), THERE)
    fakes.tell('gcloud', SLICES, ('READY\n', 0))
    done = fakes.run(SCRIPT, *SLICE, '--spot', '--project=own', *COMMAND)
    assert done.returncode == 0, done.stderr
    assert 'mtl: WAITING_FOR_RESOURCES' in done.stderr
    assert verbs(fakes) == ['create', 'scp', 'ssh', 'delete']
    queued = ['gcloud', 'compute', 'tpus', 'queued-resources']
    shape = ['--node-id=mtl', '--accelerator-type=v5litepod-16', '--runtime-version=v2-alpha-tpuv5-lite']
    assert named(fakes, 'create') == [
        [*queued, 'create', 'mtl', WHERE, '--project=own', *shape, '--quiet', '--spot'],
    ]
    assert named(fakes, 'delete') == [[*queued, 'delete', 'mtl', WHERE, '--project=own', '--force', '--quiet']]
    for verb in ('scp', 'ssh'):
        assert '--worker=all' in named(fakes, verb)[0]
        assert '--project=own' in named(fakes, verb)[0]
    lists = [call for call in fakes.calls('gcloud') if call[4] == 'list']
    of_it = ['--filter=name ~ /queuedResources/mtl$', '--format=value(state.state)']
    assert lists[0][5:] == [*of_it, WHERE, '--project=own']
    assert 'is left' not in done.stderr
    assert trained(fakes) == [['main', '--config=rooms', '--workdir=gs://bucket/rooms']]
    assert ['python', '-m', 'pip', 'install', '--quiet', '--editable', '.[tpu,gcs]'] in fakes.calls('python')


def test_words_reach_the_hosts_as_they_are(fakes):
    fakes.tell('gcloud', REQUESTS, THERE)
    odd = ('--config=my config.py:tasks=a+b', '--config.data.data_dir=it\'s $HOME; `ls` & "two"', '--field=*', '--row=')
    share = ('--extras=tpu,s3', '--mount=10.0.0.2:/share')
    done = fakes.run(SCRIPT, *SLICE, *share, '--', 'reproduce', *odd, '--workdir=/shared/a b')
    assert done.returncode == 0, done.stderr
    assert trained(fakes) == [['reproduce', *odd, '--workdir=/shared/a b']]
    assert ['python', '-m', 'pip', 'install', '--quiet', '--editable', '.[tpu,s3]'] in fakes.calls('python')


@pytest.mark.parametrize(('gone', 'status'), [('SUSPENDED', 255), ('FAILED', 1), ('node', 143)])
def test_a_slice_that_was_taken_away_is_asked_for_again(fakes, gone, status):
    """Whatever the connection's end looks like, and though the state says so late; the same command continues."""
    away = THERE if gone == 'node' else (f'{gone}\n', 0)
    fakes.tell('gcloud', REQUESTS, THERE, THERE, away, away, ('DELETING\n', 0), ('', 0), THERE)
    ready = ('READY\n', 0)
    slices = (ready, ready, ('PREEMPTED\n', 0), ('PREEMPTED\n', 0), ready) if gone == 'node' else (ready,)
    fakes.tell('gcloud', SLICES, *slices)
    fakes.tell('gcloud', 'tpu-vm ssh', ('', status), ('', 0))
    done = fakes.run(SCRIPT, *SLICE, *COMMAND)
    assert done.returncode == 0, done.stderr
    assert 'mtl was taken away' in done.stderr
    assert verbs(fakes) == ['scp', 'ssh', 'delete', 'create', 'scp', 'ssh', 'delete']
    first, second = (call[-1].partition('detached.sh ')[2].split(' ', 1) for call in named(fakes, 'ssh'))
    assert first[1] == second[1]
    assert first[0] != second[0], 'nobody takes the status of the one for that of the other'


def test_a_command_that_fails_ends_with_its_status(fakes):
    fakes.tell('gcloud', REQUESTS, THERE)
    fakes.tell('python', 'mtkd_jax.main', ('', 7))
    done = fakes.run(SCRIPT, *SLICE, *COMMAND)
    assert done.returncode == 7
    assert verbs(fakes) == ['scp', 'ssh', 'delete']


def attempts(fakes):
    return [re.search(r'detached\.sh (\S+)', call[-1])[1] for call in named(fakes, 'ssh')]


def test_a_lost_connection_is_made_again_but_not_for_ever(fakes):
    """What runs is followed, so it is the same attempt; after a stop on request it is another."""
    fakes.tell('gcloud', REQUESTS, THERE)
    fakes.tell('gcloud', 'tpu-vm ssh', ('', 255), ('', 143), ('', 255))
    done = fakes.run(SCRIPT, *SLICE, '--keep', *COMMAND)
    assert done.returncode == 255
    assert verbs(fakes) == ['scp', 'ssh'] * 4
    first, second, third, fourth = attempts(fakes)
    assert first == second != third == fourth


@pytest.mark.parametrize(
    ('words', 'expected'),
    [
        (REQUESTS, []),
        ('queued-resources create', ['create']),
        ('queued-resources delete', ['create', 'scp', 'ssh', 'delete']),
    ],
)
def test_a_gcloud_that_fails_ends_the_script_with_its_status(fakes, words, expected):
    fakes.tell('gcloud', words, ('', 3))
    fakes.tell('gcloud', REQUESTS, ('', 0), THERE)
    done = fakes.run(SCRIPT, *SLICE, *COMMAND)
    assert done.returncode == 3
    assert verbs(fakes) == expected
    assert 'mtl is left as it is: the same call goes on, and --delete ends it.' in done.stderr


def test_a_look_that_fails_for_a_moment_is_taken_again(fakes):
    fakes.tell('gcloud', REQUESTS, ('', 1), ('', 1), THERE)
    assert fakes.run(SCRIPT, *SLICE, *COMMAND).returncode == 0
    assert verbs(fakes) == ['scp', 'ssh', 'delete']


def test_copies_that_fail_are_no_runs(fakes):
    fakes.tell('gcloud', REQUESTS, THERE)
    fakes.tell('gcloud', 'tpu-vm scp', ('', 4))
    assert fakes.run(SCRIPT, *SLICE, *COMMAND).returncode == 4
    assert verbs(fakes) == ['scp', 'delete']


def test_a_request_that_fails_again_and_again_is_given_up(fakes):
    fakes.tell('gcloud', REQUESTS, *[('', 0), ('FAILED\n', 0)] * 4)
    done = fakes.run(SCRIPT, *SLICE, *COMMAND)
    assert done.returncode == 1
    assert 'could not be had, three times' in done.stderr
    assert verbs(fakes) == ['create', 'delete'] * 3 + ['create']


def test_a_share_is_mounted_on_all_hosts(fakes):
    fakes.tell('gcloud', REQUESTS, THERE)
    fakes.tell('mountpoint', '/shared', ('', 1))
    done = fakes.run(SCRIPT, *SLICE, '--mount=10.0.0.2:/a b', '--', 'main', '--config=rooms', '--workdir=/shared/rooms')
    assert done.returncode == 0, done.stderr
    assert ['sudo', 'mount', '-t', 'nfs', '10.0.0.2:/a b', '/shared'] in fakes.calls('sudo')
    # A new Filestore share is root's.
    assert fakes.calls('sudo')[-1] == ['sudo', 'chmod', 'go+rwx', '/shared']
    assert trained(fakes) == [['main', '--config=rooms', '--workdir=/shared/rooms']]


def test_deleting(fakes):
    assert fakes.run(SCRIPT, '--name=mtl', WHERE, '--delete').returncode == 0
    assert verbs(fakes) == ['delete']


@pytest.mark.parametrize(
    ('missing', 'said'),
    [
        ('--name', r"--name is ''; give .* such as --name=mtl\."),
        ('--zone', r'--zone is missing; such as --zone=us-west4-a\.'),
        ('--type', r'--type is missing; such as --type=v5litepod-16\.'),
        ('--version', r'--version is missing; such as --version=v2-alpha-tpuv5-lite'),
    ],
)
def test_what_is_missing_is_named_before_anything_is_asked_for(fakes, missing, said):
    done = fakes.run(SCRIPT, *[word for word in SLICE if not word.startswith(missing)], *COMMAND)
    assert done.returncode == 2
    assert re.search(said, done.stderr), done.stderr
    assert fakes.calls() == []


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ((), "the command is ''; give main or reproduce after --"),
        (('--', 'predict'), "the command is 'predict'; give main or reproduce"),
        (('--', 'main', '--config=rooms'), "--workdir=''; hosts".replace(';', ':')),
        (
            ('--', 'main', '--workdir=runs/rooms'),
            "--workdir='runs/rooms': hosts and their disks come and go; give gs://",
        ),
        (('--', 'reproduce', '--workdir=gs://bucket/a'), '--workdir=gs://bucket/a: reproduce needs a folder'),
        (('--', 'main', '--workdir=/shared/rooms'), 'nothing is mounted there; give --mount=HOST:/SHARE.'),
        (('--worker=0',), '--worker=0 is no option of launch/tpu_vm.sh'),
        (('--name=two words', *COMMAND), "--name is 'two words'"),
    ],
)
def test_what_cannot_be_meant_is_refused(fakes, words, said):
    done = fakes.run(SCRIPT, *SLICE, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert fakes.calls() == []


def test_the_key_is_the_agents(fakes):
    """Else gcloud would refuse to copy to several hosts."""
    fakes.tell('gcloud', REQUESTS, THERE)
    assert fakes.run(SCRIPT, *SLICE, *COMMAND).returncode == 0
    key = f'{fakes.home}/.ssh/google_compute_engine'
    assert fakes.calls('ssh-keygen') == [['ssh-keygen', '-q', '-t', 'rsa', '-N', '', '-f', key]]
    assert fakes.calls('ssh-add') == [['ssh-add', '-q', key]]
    assert fakes.run(SCRIPT, *SLICE, *COMMAND, SSH_AUTH_SOCK='/there').returncode == 0
    assert len(fakes.calls('ssh-agent')) == 1, 'an agent that is there is used'


def test_uncommitted_changes_are_said(fakes):
    fakes.tell('gcloud', REQUESTS, THERE)
    fakes.tell('git', 'status', (' M README.md\n', 0))
    assert 'Changes that are not committed are not copied.' in fakes.run(SCRIPT, *SLICE, *COMMAND).stderr
