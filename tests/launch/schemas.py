"""The parts of published schemas that launch/*.yaml use, written down by hand; nothing else is allowed there.

JOBSET, JOB, CLAIM, FILES: config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml of kubernetes-sigs/jobset at
08dfbdf, which has Kubernetes' jobs, pods and claims in full. TASK, RESOURCES: sky/utils/schemas.py of skypilot 0.14.1.
The files were also checked against those schemas themselves, with unknown fields refused.
"""

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {'type': 'string', 'minLength': 1}
COUNT: Schema = {'type': 'integer', 'minimum': 1}
NAME: Schema = {'type': 'string', 'pattern': '^[a-z]([a-z0-9-]*[a-z0-9])?$', 'maxLength': 63}


def record(required: dict[str, Schema], **optional: Schema) -> Schema:
    """An object with these fields, and no others."""
    fields = {**required, **optional}
    return {'type': 'object', 'properties': fields, 'required': list(required), 'additionalProperties': False}


def many(items: Schema) -> Schema:
    """A list with at least one item."""
    return {'type': 'array', 'items': items, 'minItems': 1}


def words(values: Schema) -> Schema:
    """An object with any fields."""
    return {'type': 'object', 'additionalProperties': values, 'minProperties': 1}


METADATA = record({'name': NAME}, annotations=words(TEXT))
EXIT_CODES = record({'operator': {'enum': ['In', 'NotIn']}, 'values': many({'type': 'integer'})}, containerName=NAME)
CONDITION = record({'type': TEXT}, status={'enum': ['True', 'False', 'Unknown']})
POD_RULE = {
    **record(
        {'action': {'enum': ['FailJob', 'FailIndex', 'Ignore', 'Count']}},
        onExitCodes=EXIT_CODES,
        onPodConditions=many(CONDITION),
    ),
    # Kubernetes' API wants exactly one of them.
    'oneOf': [{'required': ['onExitCodes']}, {'required': ['onPodConditions']}],
}
CONTAINER = record(
    {'name': NAME, 'image': TEXT},
    command=many(TEXT),
    args=many(TEXT),
    env=many(record({'name': TEXT, 'value': TEXT})),
    resources=record({'limits': words(COUNT)}),
    volumeMounts=many(record({'name': NAME, 'mountPath': TEXT})),
)
VOLUME = record({'name': NAME, 'persistentVolumeClaim': record({'claimName': NAME})})
POD = record(
    # A pod failure policy wants pods that are never restarted in place.
    {'containers': many(CONTAINER), 'restartPolicy': {'const': 'Never'}},
    terminationGracePeriodSeconds=COUNT,
    nodeSelector=words(TEXT),
    volumes=many(VOLUME),
)
JOB_SPEC = record(
    {'parallelism': COUNT, 'completions': COUNT, 'template': record({'spec': POD})},
    completionMode={'enum': ['Indexed', 'NonIndexed']},
    backoffLimit={'type': 'integer', 'minimum': 0},
    podFailurePolicy=record({'rules': many(POD_RULE)}),
)
FAILURE_RULE = record(
    {
        'action': {
            'enum': [
                'FailJobSet',
                'RestartJobSet',
                'RestartJobSetAndIgnoreMaxRestarts',
                'RestartJob',
                'RestartJobAndIgnoreMaxRestarts',
            ]
        }
    },
    name={'type': 'string', 'pattern': '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$'},
    onJobFailureReasons=many({'enum': ['BackoffLimitExceeded', 'DeadlineExceeded', 'PodFailurePolicy']}),
)
REPLICATED = record({'name': NAME, 'template': record({'spec': JOB_SPEC})}, replicas=COUNT)
FAILURES = record({}, maxRestarts={'type': 'integer', 'minimum': 0}, rules=many(FAILURE_RULE))
JOBSET = record(
    {
        'apiVersion': {'const': 'jobset.x-k8s.io/v1alpha2'},
        'kind': {'const': 'JobSet'},
        'metadata': METADATA,
        'spec': record({'replicatedJobs': many(REPLICATED)}, failurePolicy=FAILURES),
    }
)
JOB = record({'apiVersion': {'const': 'batch/v1'}, 'kind': {'const': 'Job'}, 'metadata': METADATA, 'spec': JOB_SPEC})
CLAIM = record(
    {
        'apiVersion': {'const': 'v1'},
        'kind': {'const': 'PersistentVolumeClaim'},
        'metadata': METADATA,
        'spec': record(
            {
                'accessModes': many({'enum': ['ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod']}),
                'storageClassName': TEXT,
                'resources': record({'requests': record({'storage': TEXT})}),
            }
        ),
    }
)
FILES = record({'apiVersion': {'const': 'v1'}, 'kind': {'const': 'Pod'}, 'metadata': METADATA, 'spec': POD})

RECOVERY = record(
    {},
    max_restarts_on_errors={'type': 'integer', 'minimum': 0},
    recover_on_exit_codes=many({'type': 'integer', 'minimum': 0, 'maximum': 255}),
)
RESOURCES = record(
    {'accelerators': {'type': 'string', 'pattern': r'^[\w-]+(:\d+)?$'}},
    infra={'enum': ['gcp', 'kubernetes']},
    accelerator_args=record({'runtime_version': TEXT}),
    use_spot={'type': 'boolean'},
    job_recovery=RECOVERY,
)
TASK = record(
    {'name': NAME, 'workdir': {'const': '.'}, 'resources': RESOURCES, 'setup': TEXT, 'run': TEXT},
    num_nodes=COUNT,
    volumes=words(TEXT),
    # A variable without a value is asked for: sky refuses to start without --env.
    envs={'type': 'object', 'patternProperties': {'^[A-Z_]+$': {'type': 'null'}}, 'additionalProperties': False},
)
