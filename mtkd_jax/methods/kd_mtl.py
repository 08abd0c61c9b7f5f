"""`kd_mtl`: a multi-task network also learns to produce its single-task teachers' features (Li & Bilen 2020)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from mtkd_jax import distill, models
from mtkd_jax.methods import mtl, plan, stl
from mtkd_jax.methods.method import Method, Mixture, feature_similarity
from mtkd_jax.methods.plan import Plan, Run, Stages
from mtkd_jax.methods.supervised import Supervised
from mtkd_jax.models.backbone import distilled, per_image
from mtkd_jax.names import choice
from mtkd_jax.tasks import Task
from mtkd_jax.types import Batch, Features, Losses, UserError, Variables, feature_of


@dataclass(frozen=True, kw_only=True)
class Settings(plan.Settings):
    """KD-MTL's settings.

    Attributes:
        points: feature maps that are distilled, of `mid` and `last` (papers.md A2); by default all that there
            are, of LeNet-MTL `last`.
        weights: λ_t (papers.md A3).
        teacher_batch_stats: True: teachers normalise with the batch's statistics, as the authors' code (papers.md A2).
        adaptors: `linear`, the paper's, or `mlp`, two with a ReLU between (papers.md A2).
        adaptor_learning_rate: of the adaptors' Adam, constant (papers.md A4).
        adaptor_l2: times the parameter is added to the adaptors' gradient (papers.md A4).
        baseline: whether the same network is trained without its teachers first, to compare with.
        teachers: see `stl.Settings`.
    """

    points: Sequence[str]
    weights: Mapping[str, float]
    teacher_batch_stats: bool = False
    adaptors: str = 'linear'
    adaptor_learning_rate: float = 0.1
    adaptor_l2: float = 5e-4
    baseline: bool = False
    teachers: Mapping[str, str]

    @classmethod
    def defaults(cls, tasks: Sequence[Task], backbone: Any) -> 'Settings':
        """See `plan.Settings.defaults`."""
        names = [task.name for task in tasks]
        return cls(points=distilled(backbone), weights=dict.fromkeys(names, 1.0), teachers=dict.fromkeys(names, ''))

    def check(self, run: Run) -> None:
        """See `plan.Settings.check`."""
        points, has = tuple(self.points), run.backbone.POINTS
        if not points or set(points) - set(has):
            raise UserError(
                f'`{plan.field_name("points")}` is {points}; {plan.called(run.backbone)} has {", ".join(has)}.'
            )
        if len(set(points)) < len(points):
            raise UserError(f'`{plan.field_name("points")}` is {points}; name each point once.')
        plan.check_per_task('weights', self.weights, run)
        plan.check_per_task('teachers', self.teachers, run)
        for task, weight in self.weights.items():
            plan.check_factor(f'weights.{task}', weight)
        choice(plan.field_name('adaptors'), self.adaptors, tuple(distill.ADAPTORS))
        plan.check_factor('adaptor_l2', self.adaptor_l2)
        plan.check_factor('adaptor_learning_rate', self.adaptor_learning_rate)

    def record(self) -> dict[str, Any]:
        """See `plan.Settings.record`: without `baseline`, which decides nothing of this network.

        And without the paper's adaptors, as in records of before there were others.
        """
        unsaid = ('baseline', *(['adaptors'] if self.adaptors == 'linear' else []))
        return {name: value for name, value in super().record().items() if name not in unsaid}

    @property
    def stage(self) -> str:
        """What its stage is called, before the weighting. What is read otherwise than in the paper has its own rows."""
        mlp, statistics = self.adaptors == 'mlp', self.teacher_batch_stats
        return 'kd_mtl' + ('_mlp' if mlp else '') + ('_teacher_batch_stats' if statistics else '')

    def space(self, run: Run) -> Mapping[str, Sequence[float]]:
        """See `plan.Settings.space`: the papers' values of λ_t (papers.md A3)."""
        values = IMAGE_WEIGHTS if per_image(run.backbone) else DENSE_WEIGHTS
        return {f'weights.{task}': values for task in run.names}


DENSE_WEIGHTS, IMAGE_WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), (1.0, 5.0, 10.0, 20.0)


def stages(settings: Settings, run: Run) -> Stages:
    """The single-task stages, the network without teachers where it is wanted, then the network that they teach."""
    single = stl.single_task(settings.teachers, run)
    teachers = stl.Teachers.of(single)
    for task, network in teachers.networks.items():
        lacking = [point for point in settings.points if point not in network.POINTS]
        if lacking:
            raise UserError(
                f'The teacher of {task} has features at {", ".join(network.POINTS)} and not at {", ".join(lacking)}; '
                f'give another teacher, or change `{plan.field_name("points")}`.'
            )
    method = KDMTL(
        network=run.network(run.tasks),
        tasks=run.tasks,
        adaptors=distill.Adaptors(run.names, tuple(settings.points), run.dtype, settings.adaptors),
        teachers=teachers.networks,
        points=tuple(settings.points),
        weights=dict(settings.weights),
        teacher_batch_stats=settings.teacher_batch_stats,
        adaptor_optimizer=(settings.adaptor_learning_rate, settings.adaptor_l2),
    )
    record = {**settings.record(), 'teachers': dict(teachers.record)}
    own = Plan(name=run.named(settings.stage), kind='kd_mtl', method=method, teachers=teachers.places, settings=record)
    plain = mtl.stages(mtl.Settings(), run) if settings.baseline else []
    return [*single, *plain, own]


@dataclass(frozen=True, kw_only=True)
class KDMTL(Supervised):
    """Σ_t w_t ℓ_t + λ_t ℓ^d(A_t(φ(x; θ^m)), φ(x; θ_t^s)) (Li & Bilen 2020, eq. 5).

    Where a network has features of its own for each task (MTAN), φ(x; θ^m) is the task's (papers.md A2). A teacher may
    be of another backbone, width or stride than the network: the adaptors bring the network's features to its shapes.

    Attributes:
        adaptors: A_t, learned with the network, used in training only.
        teachers: the frozen single-task network of each task; its variables come as `frozen[task]`.
        points: distilled feature maps, `last` or `mid` and `last` (papers.md A2); network and teachers have them all.
        weights: λ_t by task (papers.md A3).
        teacher_batch_stats: False, the paper's text: teachers normalise with their running statistics; True, the
            authors' code: with the statistics of the batch.
        adaptor_optimizer: learning rate and L2 of the adaptors' Adam.
    """

    adaptors: nn.Module
    teachers: Mapping[str, nn.Module]
    points: Sequence[str]
    weights: Mapping[str, float]
    teacher_batch_stats: bool = False
    adaptor_optimizer: tuple[float, float] = (0.1, 5e-4)

    def optimizers(self) -> Mapping[str, optax.GradientTransformation]:
        """See `Method.optimizers`: Adam, with L2 in the gradient, not decoupled (papers.md A4)."""
        rate, l2 = self.adaptor_optimizer
        return {'adaptors': optax.chain(optax.add_decayed_weights(l2), optax.adam(rate))}

    def mixture(self, progress: Array) -> Mixture:
        """See `Method.mixture`: constant."""
        return Mixture(1.0, self.weights)

    def init(self, key: Array, image: Array) -> dict[str, Any]:
        """See `Method.init`; adds `params/adaptors`."""
        # The network starts as `Supervised` would start it from this key, so that the two can be compared in pairs.
        variables = super().init(key, image)
        own = jax.eval_shape(lambda: self.predict(variables, image).features)
        taught = jax.eval_shape(lambda: {t.name: self._fresh_features(t.name, key, image) for t in self.tasks})
        blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (own, taught))
        variables['params']['adaptors'] = self.adaptors.init(jax.random.fold_in(key, 1), *blank)['params']
        return variables

    @property
    def teaches_one_by_one(self) -> bool:
        """See `Method.teaches_one_by_one`: not where a teacher normalises with the batch's statistics."""
        return not self.teacher_batch_stats

    def teach(self, frozen: Variables, image: Array) -> dict[str, Features]:
        """See `Method.teach`: φ(x; θ_t^s) by task, at the points that are distilled and nothing beyond.

        In the type of the adaptors, or the teachers' own where that holds more.
        """
        adaptors: Any = self.adaptors
        own = adaptors.dtype or jnp.float32

        def taught(task: str) -> Features:
            features = self.teacher_features(task, frozen[task], image)
            maps = {point: feature_of(task, point, features) for point in self.points}
            return {point: x.astype(jnp.promote_types(x.dtype, own)) for point, x in maps.items()}

        return {t.name: taught(t.name) for t in self.tasks}

    def teachers_in(self, dtype: Any) -> Method:
        """See `Method.teachers_in`."""
        teachers = {task: network.clone(dtype=dtype) for task, network in self.teachers.items()}
        return dataclasses.replace(self, teachers=teachers)

    def losses(self, variables: Variables, taught: Any, batch: Batch) -> tuple[Losses, Any]:
        """See `Method.losses`."""
        outputs, batch_stats = models.train_outputs(self.network, self.network_variables(variables), batch.image)
        adapted: Any = self.adaptors.apply({'params': variables['params']['adaptors']}, outputs.features, taught)
        distillation = {}
        for name in taught:
            labelled = batch.targets[name].labelled
            pairs = [(adapted[name][p], taught[name][p]) for p in self.points]
            distances = [distill.feature_distance(*pair, labelled) for pair in pairs]
            distillation[name] = sum(distances[1:], distances[0])
        return Losses(self.task_losses(outputs, batch), distillation, {}), batch_stats

    def similarity(self, variables: Variables, frozen: Variables, image: Array) -> dict[str, Array]:
        """See `Method.similarity`: before the adaptors."""
        own = self.predict(variables, image).features
        taught = {t.name: self.teacher_features(t.name, frozen[t.name], image) for t in self.tasks}
        return feature_similarity(own, taught)

    def _fresh_features(self, task: str, key: Array, image: Array) -> Features:
        outputs: Any = self.teachers[task].init_with_output(key, image, train=False)[0]
        return outputs.features

    def teacher_features(self, task: str, variables: Variables, image: Array) -> Features:
        """φ(x; θ_t^s) at every point; no gradient reaches the teacher."""
        network = self.teachers[task]
        if self.teacher_batch_stats:
            # The updated statistics are dropped: the teacher itself never changes.
            outputs, _ = models.train_outputs(network, variables, image)
        else:
            outputs = models.predict(network, variables, image)
        return jax.lax.stop_gradient(outputs.features)
