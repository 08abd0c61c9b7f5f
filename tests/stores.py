"""Object stores on this machine: moto's server for S3, gcp-storage-emulator for GCS, mended where it is not as GCS."""

import contextlib
import itertools
import logging
import os

BUCKET = 'bucket'
NUMBERS = itertools.count()
CONDITIONS = True  # whether the GCS of the tests refuses what is there already, as GCS does, or writes it anyway


def fresh(scheme):
    """A folder of a store that nobody has used, with a name in which nothing may be taken for a pattern."""
    from mtkd_jax.places import place

    return place(f'{scheme}://{BUCKET}/a [x]*? é=b {next(NUMBERS)}')


@contextlib.contextmanager
def s3():
    """A server in a thread, and the variables that lead there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {
        'AWS_ACCESS_KEY_ID': 'test',
        'AWS_SECRET_ACCESS_KEY': 'test',
        'AWS_DEFAULT_REGION': 'us-east-1',
        'AWS_EC2_METADATA_DISABLED': 'true',
        'AWS_ENDPOINT_URL': f'http://{host}:{port}',
    }
    with _environment(told):
        from mtkd_jax.places import _store

        _store('s3').mkdir(BUCKET)
        yield
    server.stop()


@contextlib.contextmanager
def gcs():
    """See `s3`."""
    from gcp_storage_emulator.handlers import objects

    logging.getLogger('gcp_storage_emulator').setLevel(logging.CRITICAL)
    # Before the server takes them into its table.
    objects.download, objects.insert = _with_generation(objects.download), _on_condition(objects.insert)
    from gcp_storage_emulator.server import create_server

    server = create_server('127.0.0.1', 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    # A client that has enough of an answer hangs up.
    server._api._httpd.handle_error = lambda request, address: None
    address = f'http://127.0.0.1:{server._api._httpd.server_address[1]}'
    told = {
        'STORAGE_EMULATOR_HOST': address,
        'TENSORSTORE_GCS_HTTP_URL': address,
        'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'test',
        'GOOGLE_CLOUD_PROJECT': 'test',
        'NO_GCE_CHECK': 'true',
        'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false',
    }
    with _environment(told):
        yield
    server.stop()


@contextlib.contextmanager
def _environment(told):
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _with_generation(download):
    """GCS says which generation of an object it gives; tensorstore needs that."""

    def mended(request, response, storage, *arguments, **options):
        download(request, response, storage, *arguments, **options)
        if response.status.value < 300:
            found = storage.get_file_obj(request.params['bucket_name'], request.params['object_id'])
            response['x-goog-generation'], response['x-goog-metageneration'] = found['generation'], '1'

    return mended


def _on_condition(insert):
    """GCS writes an object only if it is of the generation that was asked for; 0: if there is none."""
    from http import HTTPStatus

    from gcp_storage_emulator.exceptions import NotFound

    def mended(request, response, storage, *arguments, **options):
        wanted = request.query.get('ifGenerationMatch', [None])[0]
        if CONDITIONS and wanted is not None:
            name = request.query['name'][0] if 'name' in request.query else request.data['meta']['name']
            try:
                found = storage.get_file_obj(request.params['bucket_name'], name)['generation']
            except NotFound:
                found = '0'
            if found != wanted:
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        insert(request, response, storage, *arguments, **options)

    return mended
