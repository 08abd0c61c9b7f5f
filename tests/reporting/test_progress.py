"""Progress: plain lines in a file, a live line on a terminal."""

import io
import logging
import sys

import pytest

from mtkd_jax.reporting import progress
from mtkd_jax.reporting.progress import Lines, Progress, about, duration, loss_text

LOSSES = {'loss/total': 1.5, 'loss/depth': 1.0, 'loss/normals': 0.5, 'gradient_norm': 7.0}


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


def test_plain_lines(clock, capsys):
    with Progress('kd_mtl', 40, 10, steps_per_epoch=20, every_seconds=10.0) as shown:
        shown.message('continuing [from] step 10')
        for step in range(12, 41, 2):
            clock.now += 2
            shown.update(step, LOSSES, 81.25)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'continuing [from] step 10'
    loss = 'loss 1.500 = depth 1.000 + normals 0.500, 81.2 img/s'
    assert lines[1] == f'kd_mtl: epoch 1/2, step 12/40 (30%), {loss}'
    # Step 20 ends an epoch; from there one line in ten seconds, and the end.
    assert [line.split('step ')[1].split('/')[0] for line in lines[1:]] == ['12', '20', '30', '40']
    assert lines[2].endswith(f'{loss}, 0:20 left')
    assert lines[-1] == f'kd_mtl: epoch 2/2, step 40/40 (100%), {loss}, done'


def test_plain_lines_are_rare(clock, capsys):
    with Progress('stl_depth', 1000, 0, every_seconds=10.0) as shown:
        for step in range(1, 501):
            clock.now += 0.1
            shown.update(step, None, None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0] == 'stl_depth: step 1/1,000 (0%)'


def test_lines_say_what_is_left_in_all(clock, capsys):
    """As soon as it is known. A step has its share of what came before the first."""
    asked = []

    def in_all(left, each):
        asked.append((left, each))
        return f'about {left} min left in all'

    with Progress('kd_mtl', 40, 10, every_seconds=0.0, in_all=in_all) as shown:
        for step in (20, 30, 40):
            clock.now += 20
            shown.update(step, None, None)
    assert asked == [(30, None), (20, None), (10, 2.5), (0, 2.5)]
    assert capsys.readouterr().out.splitlines() == [
        'kd_mtl: about 30 min left in all',
        'kd_mtl: step 20/40 (50%), about 20 min left in all',
        'kd_mtl: step 30/40 (75%), 0:20 left, about 10 min left in all',
        'kd_mtl: step 40/40 (100%), done, about 0 min left in all',
    ]


def test_a_live_line_lets_logging_through(monkeypatch):
    """A handler that holds on to the real stderr is redirected while the line lives, and gets its stream back."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setattr(sys, 'stderr', terminal)
    monkeypatch.setattr(sys, '__stderr__', terminal)
    handler = logging.StreamHandler(terminal)
    logging.root.addHandler(handler)
    try:
        with Progress('kd_mtl', 40, 0, steps_per_epoch=20, in_all=lambda left, each: f'{left} in all') as shown:
            shown.update(30, LOSSES, 81.25)
            assert handler.stream is not terminal
            logging.root.warning('a warning')
            shown.message('a [message]')
        assert handler.stream is terminal
    finally:
        logging.root.removeHandler(handler)
    output = terminal.getvalue()
    assert 'epoch 2/2' in output
    assert '30/40' in output
    assert '40 in all' in output
    assert '10 in all' in output
    # Both stand on lines of their own: the live line was erased before, and drawn again after them.
    assert '\x1b[2Ka warning\n' in output
    assert '\x1b[2Ka [message]\n' in output
    assert output.rstrip().endswith('\x1b[?25h'), 'the cursor is shown again'


def test_two_live_lines(monkeypatch):
    """The one that ends first stays above the other; when both have ended, so does the display."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '100')
    monkeypatch.setattr(sys, 'stdout', terminal)
    lines = Lines()
    with Progress('stl_depth', 40, lines=lines) as first:
        with Progress('stl_normals', 30, lines=lines) as second:
            first.update(10, LOSSES, 81.25)
            second.update(30, LOSSES, 40.0)
        lines._bar.refresh()
        shown = terminal.getvalue()
        assert '10/40' in shown
        assert '30/30' in shown
        terminal.truncate(0)
        first.update(40, LOSSES, 81.25)
    rest = terminal.getvalue()
    assert 'stl_normals' not in rest, 'it was drawn for the last time when it ended'
    assert '40/40' in rest
    assert rest.rstrip().endswith('\x1b[?25h')
    assert sys.stdout is terminal
    # Again after both have ended.
    with Progress('kd_mtl', 20, lines=lines) as third:
        third.update(20, LOSSES, 10.0)
    assert '20/20' in terminal.getvalue()


def test_the_live_line_ends_with_an_error(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr(sys, 'stdout', terminal)
    with pytest.raises(KeyboardInterrupt), Progress('kd_mtl', 40):
        raise KeyboardInterrupt
    assert sys.stdout is terminal
    assert '\x1b[?25h' in terminal.getvalue()


@pytest.mark.parametrize(
    ('losses', 'text'),
    [
        (LOSSES, 'loss 1.500 = depth 1.000 + normals 0.500'),
        ({**LOSSES, 'weight/depth': 0.5, 'loss/total': 1.0}, 'loss 1.000 = 0.5 x depth 1.000 + normals 0.500'),
        ({**LOSSES, 'loss/total': 4.0}, 'loss 4.000 (depth 1.000, normals 0.500)'),
        (
            {**LOSSES, 'loss/total': 4.0, 'distillation/depth': 2.0, 'distillation/normals': 0.5},
            'loss 4.000 = depth 1.000 + normals 0.500 + distillation 2.500',
        ),
        ({'loss/total': 1.0, 'loss/depth': 1.0}, 'loss 1.000'),
        ({'loss/depth': 1.0}, 'loss depth 1.000'),
        ({}, ''),
    ],
)
def test_loss_text(losses, text):
    assert loss_text(losses) == text


@pytest.mark.parametrize(('seconds', 'text'), [(0.4, '0:00'), (42, '0:42'), (725, '12:05'), (10930, '3:02:10')])
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(3, '10 s'), (44, '40 s'), (56, '1 min'), (340, '6 min'), (5990, '100 min'), (11520, '3.2 h')],
)
def test_about(seconds, text):
    assert about(seconds) == f'about {text}'
