"""The whole suite runs with shapes checked, and with eight simulated devices."""

import os
import tempfile

# Before anything imports jax. Networks are tiny, so that most of the time goes into making their code fast.
QUICK = '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
os.environ['XLA_FLAGS'] = f'{QUICK} {os.environ.get("XLA_FLAGS", "")}'
os.environ['JAX_PLATFORMS'] = 'cpu'
# Tests, and the commands they start, compile the same few programs again and again.
CACHE = tempfile.TemporaryDirectory(prefix='mtkd_jax_tests_')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', CACHE.name)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.5'

from jaxtyping import install_import_hook  # noqa: E402

import tests.checker  # noqa: E402, F401

install_import_hook(['mtkd_jax'], 'tests.checker.check')

import pytest  # noqa: E402

# What trains or compiles whole networks, starts processes, or solves many problems; `tests/run.sh --fast` is without.
SLOW = (
    'data/test_augment',
    'data/test_reading',
    'datasets/test_every_data_set',
    'datasets/test_parallel',
    'datasets/test_storage',
    'experiment/test_beforehand',
    'experiment/test_continuing',
    'experiment/test_exporting',
    'experiment/test_features',
    'experiment/test_paper',
    'experiment/test_quantising',
    'experiment/test_run',
    'experiment/test_stages',
    'experiment/test_stores',
    'experiment/test_together',
    'fuzz/',
    'launch/',
    'methods/',
    'models/',
    'test_benchmarks',
    'test_classifiers',
    'test_commands',
    'test_data_sets',
    'test_distill',
    'test_examples',
    'test_flags',
    'test_golden',
    'test_inference',
    'test_library',
    'test_main',
    'test_prepare',
    'test_reproduce',
    'test_unchanged',
    'test_wheel',
    'test_your_data',
    'training/',
    'weighting/test_golden',
    'weighting/test_labels',
)


def pytest_collection_modifyitems(items):
    folder = os.path.dirname(__file__)
    for item in items:
        if os.path.relpath(item.path, folder).startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope='session')
def rooms(tmp_path_factory):
    """A folder with tiny rendered rooms."""
    from mtkd_jax import datasets

    folder = str(tmp_path_factory.mktemp('rooms'))
    data = {'dataset': 'rooms', 'height': 32, 'width': 64, 'train_images': 8, 'test_images': 4}
    known = datasets.named('rooms')
    known.ready({**known.defaults, **data}, folder, datasets.quiet)
    return folder


@pytest.fixture(scope='session')
def nyuv2(tmp_path_factory):
    """A folder with a tiny prepared NYUv2: five and three frames."""
    from mtkd_jax import datasets
    from tests.datasets import nyuv2_source

    folder = tmp_path_factory.mktemp('nyuv2')
    source = nyuv2_source.write_folder(folder / 'files')
    how = datasets.Preparation(source=str(source), data_dir=str(folder))
    datasets.named('nyuv2').prepare({}, how)
    return str(folder)


@pytest.fixture(scope='session')
def s3():
    """S3 on this machine; one, because clients are kept with its address."""
    yield from _served('s3', 's3fs', 'moto', 'flask_cors')


@pytest.fixture(scope='session')
def gcs():
    """See `s3`."""
    yield from _served('gcs', 'gcsfs', 'gcp_storage_emulator')


def _served(store, *needed):
    from tests import stores

    for name in needed:
        pytest.importorskip(name, reason=f'{name} is not installed; it is in the extra `test`.')
    with getattr(stores, store)():
        yield
