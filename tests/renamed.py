"""What fields of recorded settings are called today, so that settings recorded earlier can be compared."""

from mtkd_jax import methods

BY_NETWORK = ('attention',)
ADAPTORS = ('adaptor_learning_rate', 'adaptor_l2')
SELF_DISTILLED = ('sd_mtcnn', 'no_distillation', 'traditional_kd')
UNCHANGED = ('tasks', 'data', 'backbone', 'widths', 'compute_dtype', 'seed', 'selection', 'learning_rate', 'epochs')


def renamed(old):
    """Settings as they were first recorded, in today's names."""
    new = {name: old[name] for name in (*UNCHANGED, 'batch_size')}
    new['method'] = old['method'] if old['method'] in methods.NAMES else 'mtl'
    new['method_settings'] = method_settings(old)
    new['backbone_settings'] = {name: old[name] for name in BY_NETWORK if name in old}
    if 'weighting' in old:
        of_weighting = dict(old['weighting'])
        new['weighting'] = of_weighting.pop('name')
        new['weighting_settings'] = of_weighting
        new['task_weights'] = old['task_weights']
    return new | optimisation(old)


def optimisation(old):
    """There was one optimiser and one schedule."""
    return {
        'optimizer': 'adam',
        'optimizer_settings': {'b1': 0.9, 'b2': 0.999, 'eps': 1e-8},
        'schedule': 'steps',
        'schedule_settings': {
            'halve_at_epochs': old['halve_at_epochs'],
            'decay_every_epochs': old.get('decay_every_epochs', 0.0),
            'decay_factor': old.get('decay_factor', 1.0),
            'warmup_epochs': 0.0,
        },
    }


def method_settings(old):
    """Each method had a section of its own, and fields beside it."""
    method = old['method']
    if method == 'kd_mtl':
        return {**old['distillation'], **{name: old[name] for name in ADAPTORS}, 'teachers': old['teachers']}
    if method == 'bam':
        return {**old['bam'], 'teachers': old['teachers']}
    return dict(old['self_distillation']) if method in SELF_DISTILLED else {}
