"""The mutants of `tests.mutants`: wrong science, each with the tests that should notice it."""

from collections.abc import Sequence
from typing import NamedTuple

BACKBONES, STAGES = 'tests/models/test_backbones.py', 'tests/experiment/test_stages.py'
DECODER = 'tests/models/test_self_distilled.py::test_the_teacher_decoder_by_hand'
POSITIONS = f'{BACKBONES}::test_every_unpooling_has_the_positions_of_its_pooling'
OWN_MASKS = 'tests/methods/test_supervised.py'
BAM, SELECTION = 'tests/methods/test_bam.py', 'tests/training/test_selection_rules.py'
KD_MTL = f'{STAGES}::test_every_setting_of_kd_mtl_arrives_where_it_acts'
OWN_IMAGES = 'tests/methods/test_kd_mtl.py::test_every_task_is_distilled_on_the_images_that_carry_its_own_label'
STATISTICS = 'tests/methods/test_kd_mtl.py::test_teachers_run_with_running_statistics_unless_asked_otherwise'
ADAPTORS = 'tests/methods/test_kd_mtl.py::test_adaptors_follow_adam_with_l2_in_the_gradient'
SCHEDULE = f'{STAGES}::test_optimiser_and_schedule_arrive_where_they_act'
ADAM = 'tests/training/test_optimizer.py::test_adam_by_hand'
PIXELS = 'tests/tasks/test_tasks.py::test_pixels_count_alike_whichever_image_they_are_in'
FURTHER = 'tests/test_metrics.py::test_further_numbers_of_depth_against_numpy'
GRADNORM = 'tests/weighting/test_gradnorm.py'


class Mutant(NamedTuple):
    """`file`: where `old` occurs once, which `new` replaces; `tests`: files or node ids, one of which should fail."""

    file: str
    old: str
    new: str
    tests: Sequence[str]


def mutant(file: str, old: str, new: str, *tests: str) -> Mutant:
    """A mutant of a file of the package."""
    return Mutant(f'mtkd_jax/{file}', old, new, tests)


NETWORKS = {
    'unpooling_without_positions': mutant(
        'models/segnet.py', 'x, indices[i], train=train', 'x, 0 * indices[i], train=train', POSITIONS
    ),
    'unpooling_without_positions_sd': mutant(
        'models/self_distilled.py', 'ops.max_unpool(x, indices[i])', 'ops.max_unpool(x, 0 * indices[i])', DECODER
    ),
    'skips_of_zeros': mutant('models/self_distilled.py', '[skips[i], x]', '[0 * skips[i], x]', DECODER),
    'relu_in_the_attention': mutant(
        'models/self_distilled.py',
        "name=f'conv_{i}')(mask)",
        "name=f'conv_{i}')(nn.relu(mask) if i else mask)",
        'tests/models/test_self_distilled.py::test_attention_by_hand',
    ),
    'student_without_relu': mutant(
        'models/self_distilled.py',
        'nn.relu(norm(up(x)))',
        'norm(up(x))',
        'tests/models/test_self_distilled.py::test_the_student_by_hand',
    ),
    'input_gradient_of_a_kernel_half_turned': mutant(
        'models/convolution.py', '* 4 + (3, 1, 2, 0)[column]', '* 4 + column', 'tests/models/test_convolution.py'
    ),
    'tiles_beyond_an_odd_edge': mutant(
        'models/convolution.py', '(0, h % 2), (0, w % 2)', '(h % 2, 0), (0, w % 2)', 'tests/models/test_convolution.py'
    ),
    'tiles_on_every_platform': mutant(
        'models/convolution.py', 'default=default)', 'default=form)', 'tests/models/test_convolution.py'
    ),
    'transformed_maps_kept_for_the_gradients': mutant(
        'models/convolution.py',
        'x, gradient = lax.optimization_barrier((x, gradient))',
        'x, gradient = x, gradient',
        'tests/models/test_convolution.py',
    ),
    'operations_of_tiles': mutant(
        'training/device.py', "lower(lowering_platforms=('tpu',))", 'lower()', 'tests/models/test_convolution.py'
    ),
    'narrow_kernels_get_the_last_columns': mutant(
        'models/convolution.py',
        '(0, WIDENED - outputs)',
        '(WIDENED - outputs, 0)',
        'tests/models/test_convolution.py',
    ),
    'what_is_compiled_beforehand_asks_the_teachers': mutant(
        'training/beforehand.py',
        'said = kept(stage, teachers, mesh)',
        'said = None',
        'tests/experiment/test_beforehand.py',
    ),
    'kernels_transformed_all_at_once': mutant(
        'models/convolution.py',
        'x, kernel = lax.optimization_barrier((x, kernel))',
        'x, kernel = x, kernel',
        'tests/models/test_convolution.py',
    ),
    'pooling_keeps_the_last_maximum': mutant('ops.py', 'corner > pooled', 'corner >= pooled', 'tests/test_ops.py'),
    'batch_norm_epsilon': mutant('models/blocks.py', 'epsilon=1e-5', 'epsilon=1e-3', 'tests/models/test_blocks.py'),
    'batch_norm_momentum': mutant('models/blocks.py', 'momentum=0.9', 'momentum=0.99', 'tests/models/test_blocks.py'),
    'batch_norm_of_the_batch_in_evaluation': mutant(
        'models/apply.py',
        'network.apply(dict(variables), image, train=False)\n',
        "network.apply(dict(variables), image, train=True, mutable=['batch_stats'])[0]\n",
        BAM,
    ),
}

LOSSES = {
    'loss_is_a_mean_of_images': mutant(
        'ops.py',
        '    total = jnp.sum(widened(jnp.where(mask, values, 0.0)))\n'
        '    return total / jnp.maximum(jnp.sum(mask, dtype=total.dtype), 1.0)',
        '    total = jnp.sum(widened(jnp.where(mask, values, 0.0)), axis=(1, 2, 3))\n'
        '    return jnp.mean(total / jnp.maximum(jnp.sum(mask, axis=(1, 2, 3), dtype=total.dtype), 1.0))',
        PIXELS,
    ),
    'undefined_pixels_count_in_the_mean': mutant(
        'ops.py', 'jnp.maximum(jnp.sum(mask, dtype=total.dtype), 1.0)', 'values.size', 'tests/test_ops.py'
    ),
    'longer_runs_forget_the_best_epoch': mutant(
        'training/continuing.py',
        'if (before / BEST).is_dir():',
        'if False:',
        'tests/experiment/test_continuing.py::test_a_best_epoch_of_the_shorter_run_stays_the_best_and_that_run_may_go',
    ),
    'class_weights_are_not_normalised': mutant(
        'ops.py',
        'total / jnp.where(whole > 0, whole, 1.0)',
        'total / jnp.sum(mask)',
        'tests/experiment/test_class_weights.py::test_the_weighted_cross_entropy_by_hand',
    ),
    'frequencies_of_classes_are_of_all_images': mutant(
        'experiment/class_weights.py',
        'np.where(pixels > 0, pixels.sum(), 0)',
        'pixels.sum()',
        'tests/experiment/test_class_weights.py::test_classes_are_counted_by_pixel_and_by_image',
    ),
    'one_mask_for_all_tasks': mutant(
        'methods/supervised.py',
        '*batch.targets[t.name])',
        'batch.targets[t.name].value, batch.targets[self.tasks[0].name].mask)',
        OWN_MASKS,
    ),
    'squared_depth_error': mutant(
        'tasks/depth.py', 'jnp.abs(prediction - target)', 'jnp.square(prediction - target)', OWN_MASKS
    ),
    'void_is_class_0': mutant(
        'tasks/segmentation.py', 'validity=lambda target: target >= 0', 'validity=lambda target: target >= -1', PIXELS
    ),
    'normals_whose_sum_is_0_are_undefined': mutant(
        'tasks/normals.py',
        'return (target[..., :1] != 0) | (target[..., 1:2] != 0) | (target[..., 2:] != 0)',
        'return target.sum(-1, keepdims=True) != 0',
        'tests/tasks/test_tasks.py::test_a_normal_whose_channels_sum_to_zero_is_a_normal',
    ),
    'disparity_is_divided_by_the_scale': mutant(
        'tasks/depth.py',
        'Target(value * view.scale',
        'Target(value / view.scale',
        'tests/test_views.py::test_what_is_enlarged_comes_nearer',
    ),
}

METRICS = {
    'depth_metrics_are_means_of_images': mutant(
        'metrics.py',
        "            'absolute': absolute,\n",
        "            'absolute': absolute * jnp.mean(mask) / jnp.mean(mask, (1, 2, 3)),\n",
        PIXELS,
    ),
    'mean_angle_is_a_mean_of_images': mutant(
        'metrics.py',
        "'angle': per_example_sum(angle, mask)",
        "'angle': per_example_sum(angle, mask) * jnp.mean(mask) / jnp.mean(mask, (1, 2, 3))",
        PIXELS,
    ),
    'miou_counts_absent_classes': mutant(
        'metrics.py',
        'iou = [ratio(c, u) for',
        'iou = [ratio(c, max(u, 1)) for',
        'tests/test_metrics.py::test_segmentation_by_hand',
    ),
    'angles_up_to_the_double_threshold': mutant(
        'metrics.py', '(angle < t)', '(angle < 2 * t)', 'tests/test_metrics.py::test_normals_against_numpy'
    ),
    'relative_to_the_prediction': mutant(
        'metrics.py',
        'error / jnp.where(mask, target, 1.0)',
        'error / jnp.where(mask, prediction, 1.0)',
        'tests/test_metrics.py::test_depth_by_hand',
    ),
    'root_of_every_image': mutant(
        'metrics.py',
        "float(np.sqrt(ratio(sums['squared'], pixels)))",
        "ratio(np.sqrt(sums['squared']), pixels)",
        FURTHER,
    ),
    'ratios_in_one_direction': mutant('metrics.py', 'jnp.maximum(ours / true, true / ours)', 'ours / true', FURTHER),
    'iou_of_missed_classes_is_unknown': mutant(
        'metrics.py',
        'union = labelled + sums',
        "union = (sums['confusion'].sum(axis=0) > 0) * labelled + sums",
        'tests/test_metrics.py::test_iou_of_every_class_against_numpy',
    ),
}

DISTILLATION = {
    'kd_mtl_ignores_weights': mutant(
        'methods/kd_mtl.py', 'weights=dict(settings.weights)', 'weights=dict.fromkeys(run.names, 1.0)', KD_MTL
    ),
    'sd_mtcnn_ignores_its_weight': mutant(
        'methods/sd_mtcnn.py',
        'dict.fromkeys(run.names, settings.weight)',
        'dict.fromkeys(run.names, 1.0)',
        f'{STAGES}::test_a_config_becomes_the_method_it_names',
    ),
    'teacher_batch_stats_ignored_in_settings': mutant(
        'methods/kd_mtl.py',
        'teacher_batch_stats=settings.teacher_batch_stats',
        'teacher_batch_stats=False',
        KD_MTL,
    ),
    'teacher_batch_stats_ignored': mutant(
        'methods/kd_mtl.py', '        if self.teacher_batch_stats:', '        if False:', STATISTICS
    ),
    'adaptor_learning_rate_ignored': mutant('methods/kd_mtl.py', '(settings.adaptor_learning_rate,', '(0.1,', KD_MTL),
    'adaptor_l2_ignored': mutant('methods/kd_mtl.py', 'settings.adaptor_l2),', '5e-4),', KD_MTL),
    'adaptor_rate_doubled': mutant('methods/kd_mtl.py', 'optax.adam(rate))', 'optax.adam(2 * rate))', ADAPTORS),
    'adaptor_l2_ten_times': mutant('methods/kd_mtl.py', 'decayed_weights(l2)', 'decayed_weights(10 * l2)', ADAPTORS),
    'adaptors_start_elsewhere': mutant(
        'distill.py',
        'init = nn.initializers.xavier_normal()',
        'init = nn.initializers.lecun_normal()',
        'tests/test_distill.py::test_an_adaptor_starts_as_the_convolution_it_is',
    ),
    'features_of_unlabelled_images': mutant(
        'methods/kd_mtl.py',
        'labelled = batch.targets[name].labelled',
        'labelled = None',
        OWN_IMAGES,
    ),
    'features_of_other_tasks_images': mutant(
        'methods/kd_mtl.py',
        'labelled = batch.targets[name].labelled',
        'labelled = batch.targets[self.tasks[0].name].labelled',
        OWN_IMAGES,
    ),
    'features_are_not_normalised': mutant(
        'distill.py',
        '    own = ops.unit_normalise(ops.widened(own), NORM_EPSILON)\n',
        '',
        'tests/methods/test_kd_mtl.py::test_distance_by_hand',
    ),
    'feature_distance_is_a_mean_of_channels': mutant(
        'distill.py',
        'jnp.sum(jnp.square(own - taught)',
        'jnp.mean(jnp.square(own - taught)',
        'tests/methods/test_kd_mtl.py::test_distance_by_hand',
    ),
    'predictions_of_unlabelled_images': mutant(
        'methods/predictions.py', 'distill.average(apart, batch.targets[task].labelled)', 'distill.average(apart)', BAM
    ),
    'traditional_kd_swapped': mutant(
        'methods/traditional_kd.py',
        'self.distillation(student, taught, batch)',
        'self.distillation(taught, student, batch)',
        'tests/methods/test_predictions.py::test_traditional_kd_as_numbers',
    ),
    'bam_swapped': mutant(
        'methods/bam.py',
        'self.distillation(outputs.predictions[MAIN], taught, batch)',
        'self.distillation(taught, outputs.predictions[MAIN], batch)',
        BAM,
    ),
    'bam_ignores_annealing': mutant(
        'methods/bam.py',
        'annealing=settings.annealing',
        'annealing=True',
        f'{STAGES}::test_every_setting_of_bam_arrives_where_it_acts',
    ),
    'bam_ignores_its_weight': mutant(
        'methods/bam.py',
        'dict.fromkeys(run.names, settings.weight)',
        'dict.fromkeys(run.names, 1.0)',
        f'{STAGES}::test_every_setting_of_bam_arrives_where_it_acts',
    ),
    'bam_anneals_backwards': mutant('methods/bam.py', 'Mixture(progress, ', 'Mixture(1 - progress, ', BAM),
    'bam_teachers_in_training_mode': mutant(
        'methods/bam.py',
        'models.predict(self.teachers[task], frozen[task], image)',
        'models.train_outputs(self.teachers[task], frozen[task], image)[0]',
        BAM,
    ),
    'mean_of_logarithms': mutant(
        'tasks/distances.py',
        'jnp.logaddexp(a, b) - jnp.log(2.0)',
        '(a + b) / 2',
        'tests/methods/test_predictions.py::test_blends',
    ),
}

TRAINING = {
    'halving_ignored': mutant('training/optimizer.py', '.get(round(at * epoch), 1.0) / 2', '.get(0, 1.0)', SCHEDULE),
    'settings_of_the_schedule_ignored': mutant(
        'experiment/stages.py', '(schedule, **config.schedule_settings.to_dict())', '(schedule)', SCHEDULE
    ),
    'decay_factor_ignored': mutant(
        'training/optimizer.py', 'decay_factor if decay_every_epochs', '1.0 if decay_every_epochs', SCHEDULE
    ),
    'decay_interval_ignored': mutant(
        'training/optimizer.py', 'round(decay_every_epochs * epoch)', 'round(epoch)', SCHEDULE
    ),
    'adam_beta2': mutant(
        'training/optimizer.py', 'optax.adam(rate, b1, b2, eps)', 'optax.adam(rate, b1, 0.9, eps)', ADAM
    ),
    'adam_beta2_default': mutant(
        'training/optimizer.py',
        'def adam(rate: Rate, *, b1: float = 0.9, b2: float = 0.999',
        'def adam(rate: Rate, *, b1: float = 0.9, b2: float = 0.9',
        ADAM,
    ),
    'settings_of_the_optimiser_ignored': mutant(
        'experiment/stages.py', ', **config.optimizer_settings.to_dict())', ')', SCHEDULE
    ),
    'cosine_ends_at_zero': mutant(
        'training/optimizer.py',
        'max(end, 1), final_share), warmup',
        'max(end, 1), 0.0), warmup',
        'tests/training/test_optimizer.py::test_cosine_falls_from_the_rate_to_its_share',
    ),
    'median_is_a_mean': mutant(
        'training/selection.py', "median if rule.name == 'last20_median' else fmean", 'fmean', SELECTION
    ),
    'first_epochs_are_selected': mutant(
        'training/selection.py', 'records[-rule.epochs :]', 'records[: rule.epochs]', SELECTION
    ),
    'best_is_worst': mutant(
        'training/best.py',
        'if score < best:',
        'if score > best or best == np.inf:',
        'tests/training/test_loop.py::test_the_best_validation_epoch_is_kept',
    ),
    'processes_read_the_same_rows': mutant(
        'data/pipeline.py',
        'return self.process_index * each, each',
        'return 0, each',
        'tests/data/test_pipeline.py::test_processes_read_neighbouring_rows_of_the_same_batches',
    ),
    'split_along_the_smallest_axis': mutant(
        'training/sharding.py',
        'axis = max(possible',
        'axis = min(possible',
        'tests/training/test_feed.py::test_how_a_leaf_is_split',
    ),
    'epochs_in_one_order': mutant(
        'data/pipeline.py',
        'np.random.SeedSequence([self.seed, epoch])',
        'np.random.SeedSequence([self.seed])',
        'tests/data/test_pipeline.py::test_order_follows_seed_and_epoch',
    ),
    'seeds_in_one_order': mutant(
        'data/pipeline.py',
        'np.random.SeedSequence([self.seed, epoch])',
        'np.random.SeedSequence([epoch])',
        'tests/data/test_pipeline.py::test_order_follows_seed_and_epoch',
    ),
    'pools_pass_after_pass_alike': mutant(
        'data/sources.py', 'np.random.default_rng([*key, p])', 'np.random.default_rng(key)', 'tests/data/test_pools.py'
    ),
    'held_out_examples_are_trained_on': mutant(
        'data/sources.py',
        'np.sort(order[count:])',
        'np.sort(order)',
        'tests/data/test_pipeline.py::test_hold_out_is_a_partition',
    ),
}

WEIGHTING = {
    'gradnorm_beta2': mutant(
        'weighting/gradnorm.py', 'optax.adam(learning_rate)', 'optax.adam(learning_rate, b2=0.9)', GRADNORM
    ),
    'gradnorm_of_signs': mutant(
        'weighting/gradnorm.py', 'norm * jnp.sign(weighted - target)', 'jnp.sign(weighted - target)', GRADNORM
    ),
    'gradnorm_without_first_losses': mutant(
        'weighting/gradnorm.py', 'labelled & (state.initial == 0), losses', 'labelled, losses', GRADNORM
    ),
    'gradnorm_weights_do_not_sum_to_t': mutant(
        'weighting/gradnorm.py', 'moved = moved * left', 'moved = moved * 1.0', GRADNORM
    ),
    'uncertainty_without_a_half': mutant(
        'weighting/uncertainty.py',
        'return precision / 2,',
        'return precision,',
        'tests/weighting/test_losses.py::test_uncertainty',
    ),
    'dwa_upside_down': mutant(
        'weighting/dwa.py',
        'last / jnp.where(seen, before, 1.0)',
        'before / jnp.where(seen, last, 1.0)',
        'tests/weighting/test_losses.py::test_dwa',
    ),
    'mgda_towards_the_most_agreeing': mutant(
        'weighting/mgda.py',
        'jnp.argmin(agreements(weights))',
        'jnp.argmax(jnp.where(moves, gramian @ weights, -jnp.inf))',
        'tests/weighting/test_gradients.py::test_mgda_of_two_tasks',
    ),
    'labels_come_from_losses': mutant(
        'training/step.py',
        'jnp.any(batch.targets[task.name].mask)',
        'losses.task[task.name] != 0',
        'tests/training/test_gradients.py::test_masks_say_which_tasks_have_a_label',
    ),
}

REPORTS = {
    'delta_m_without_directions': mutant(
        'reporting/delta.py', 'metric.direction * _change(', '_change(', 'tests/reporting/test_delta.py'
    ),
    'delta_m_relative_to_the_result': mutant(
        'reporting/delta.py', '/ abs(base[metric])', '/ abs(results[metric])', 'tests/reporting/test_delta.py'
    ),
    'delta_m_flat_per_task': mutant(
        'reporting/delta.py',
        'flat = fmean(value for values in changes.values() for value in values)',
        'flat = fmean(per_task.values())',
        'tests/reporting/test_delta.py',
    ),
    'images_by_their_mean_loss': mutant(
        'experiment/comparing.py',
        'rankdata(np.nan_to_num(losses[task][numbers], nan=np.inf))',
        'np.nan_to_num(losses[task][numbers], nan=np.inf)',
        'tests/experiment/test_comparing.py::test_images_are_chosen_by_their_mean_rank',
    ),
    'undefined_pixels_boxed': mutant(
        'reporting/regions.py',
        'mask & ~(task.error.of(',
        '~(task.error.of(',
        'tests/reporting/test_side_by_side.py::test_what_is_wrong',
    ),
    'errors_on_scales_of_their_own': mutant(
        'reporting/side_by_side.py',
        '_colours(_thin(error) / scale)',
        '_colours(_thin(error) / max(error.max(), 1e-9))',
        'tests/reporting/test_side_by_side.py::test_errors_of_all_networks_have_one_scale',
    ),
    'unknown_errors_drawn_as_none': mutant(
        'reporting/side_by_side.py',
        'np.nan_to_num(share[..., 0], nan=1)',
        'np.nan_to_num(share[..., 0], nan=0)',
        'tests/reporting/test_side_by_side.py::test_errors_of_all_networks_have_one_scale',
    ),
    'another_network_decides': mutant(
        'experiment/drawing.py',
        'place.stage == made.stages[-1].name',
        'False',
        'tests/experiment/test_comparing.py::test_pictures_are_drawn_again_only_where_there_is_another_network',
    ),
    'evaluations_without_a_checkpoint': mutant(
        'training/stage.py',
        "self.evaluates(epoch) or self.selection.chosen_by == 'training'",
        "self.selection.chosen_by == 'training'",
        'tests/training/test_loop.py::test_short_epochs_need_not_end_with_a_checkpoint',
    ),
    'a_study_trains_what_no_row_has': mutant(
        'experiment/search.py',
        "return {'method_settings.baseline': False} if",
        'return {} if',
        'tests/experiment/test_study.py::test_a_study_trains_nothing_beside_its_rows',
    ),
    'rows_of_other_schedules_compared': mutant(
        'experiment/reproduction.py',
        'if fields[name] != first[name]]',
        'if False]',
        'tests/experiment/test_study.py::test_rows_of_ones_own',
    ),
    'band_of_a_population': mutant(
        'reporting/curves.py',
        'ddof=1',
        'ddof=0',
        'tests/reporting/test_pictures.py::test_several_seeds_are_means_with_bands',
    ),
    'averages_hide_the_network': mutant(
        'reporting/curves.py',
        " and record['split'] == 'train'",
        '',
        'tests/reporting/test_pictures.py::test_branches_are_lines_of_their_own',
    ),
    'float64_is_narrowed': mutant(
        'ops.py', 'jnp.promote_types(x.dtype, jnp.float32)', 'jnp.float32', 'tests/training/test_devices.py'
    ),
    'every_device_takes_the_whole_batch': mutant(
        'training/sharding.py',
        "PartitionSpec('data')",
        'PartitionSpec()',
        'tests/training/test_collectives.py::test_weights_of_losses_reduce_the_gradient_once',
    ),
    'another_kind_takes_the_same_time': mutant(
        'experiment/outlook.py',
        'self._operations[kind] / self._operations[other]',
        '1.0',
        'tests/experiment/test_outlook.py',
    ),
    'kept_teachers_are_asked': mutant(
        'experiment/estimates.py',
        'if keeps else None',
        'if False else None',
        'tests/experiment/test_estimates.py::test_a_plan_by_arithmetic_needs_no_data',
    ),
    'main_forgets_its_search': mutant(
        'main.py',
        'config = with_fields(config, found(config, workdir, SEARCH.value, stop))',
        'found(config, workdir, SEARCH.value, stop)',
        'tests/test_reproduce.py::test_main_trains_with_what_a_search_chose',
    ),
    'rate_of_the_next_step': mutant(
        'training/loop.py',
        'self._rate(steps[-1] - 1)',
        'self._rate(steps[-1])',
        'tests/training/test_loop.py::test_records',
    ),
    'deviation_of_a_population': mutant(
        'reporting/statistics.py',
        'from statistics import fmean, stdev',
        'from statistics import fmean, pstdev as stdev',
        'tests/reporting/test_seeds.py',
    ),
}

LAUNCHERS = {
    'a_state_that_cannot_be_read_is_none': Mutant(
        'launch/tpu_vm.sh',
        "--format='value(state.state)') || return",
        "--format='value(state.state)') || true",
        ('tests/launch/test_tpu_vm.py::test_a_gcloud_that_fails_ends_the_script_with_its_status',),
    ),
    'failed_jobs_are_queued_again': Mutant(
        'launch/slurm.sbatch',
        '[ $status -ne 143 ] ||',
        '[ $status -eq 0 ] ||',
        ('tests/launch/test_slurm.py::test_a_run_that_failed_is_not_queued_again',),
    ),
    'the_last_failure_is_the_status': Mutant(
        'launch/local.py',
        'if not status:',
        'if own:',
        ('tests/launch/test_local.py::test_the_first_failure_is_the_status_and_ends_the_others',),
    ),
}

STORES = {
    'an_unfinished_checkpoint_counts': mutant(
        'training/objects.py',
        'if step.name.isdecimal() and (step / COMMIT).is_file()',
        'if step.name.isdecimal()',
        'tests/training/test_stores.py',
    ),
    'a_name_is_a_pattern': mutant(
        'training/objects.py',
        'place(str(self)).unlink(missing_ok)',
        'super().unlink(missing_ok)',
        'tests/training/test_stores.py::test_checkpoints_come_back_and_what_is_not_whole_does_not',
    ),
    'a_lost_lease_is_not_noticed': mutant(
        'training/lease.py',
        '                    lose(self._folder)\n',
        '',
        'tests/training/test_stores.py::test_a_lease_ends_with_its_process_and_who_was_asleep_writes_no_more',
    ),
}

PROGRAMS = {
    'an_exported_kernel_is_not_mirrored': mutant(
        'exporting/primitives.py',
        'np.flip(weights, tuple(range(2, weights.ndim))).swapaxes(0, 1)',
        'weights.swapaxes(0, 1)',
        'tests/experiment/test_exporting.py::test_every_operation_by_itself',
    ),
    'an_exported_maximum_is_a_relu': mutant(
        'exporting/primitives.py',
        'and not np.any(b.data):',
        'and True:',
        'tests/experiment/test_exporting.py::test_every_operation_by_itself',
    ),
    'a_card_of_averages_has_other_numbers': mutant(
        'training/run.py',
        'stage.card(results, True)',
        'stage.card(results, False)',
        'tests/training/test_run.py::test_a_stage_has_the_cards_of_its_models_before_it_is_finished',
    ),
    'the_loss_in_8_bits_is_none': mutant(
        'experiment/quantising.py',
        'for each in (program, made)',
        'for each in (program, program)',
        'tests/experiment/test_quantising.py::test_a_program_in_8_bits_says_what_it_loses',
    ),
    'images_of_the_test_split_calibrate': mutant(
        'experiment/quantising.py',
        '    if split == TEST:',
        '    if False:',
        'tests/experiment/test_quantising.py::test_what_cannot_be_measured_is_refused_before_anything_is_computed',
    ),
    'another_program_is_written': mutant(
        'exporting/programs.py',
        'APART * np.mean(np.abs(values))',
        'np.mean(np.abs(values))',
        'tests/experiment/test_exporting.py::test_a_program_that_is_not_the_network_is_not_written',
    ),
}

PREDICTIONS = {
    'interpolated_normals_are_shorter': mutant(
        'inference.py',
        'return self._again[task.name](images.interpolated(prediction, size))',
        'return images.interpolated(prediction, size)',
        'tests/test_inference.py::test_predictions_come_back_at_the_size_of_the_input',
    ),
    'all_branches_are_evaluated': mutant(
        'experiment/evaluation.py',
        'open_model(place(model), allow_modules=allow_modules, branch=branch)',
        'open_model(place(model), allow_modules=allow_modules)',
        'tests/experiment/test_evaluation.py',
    ),
    'a_bar_of_another_range': mutant(
        'reporting/strip.py',
        'np.linspace(least, most, width',
        'np.linspace(0, 1, width',
        'tests/reporting/test_strip.py::test_the_bar_has_the_colours_and_the_range_of_the_task',
    ),
    'images_of_one_name_in_two_folders': mutant(
        'experiment/inputs.py',
        "inside.with_suffix('').as_posix()",
        'file.stem',
        'tests/experiment/test_predictions.py::test_names_keep_the_folders_below_what_was_given',
    ),
}

MUTANTS: dict[str, Mutant] = (
    NETWORKS
    | LOSSES
    | METRICS
    | DISTILLATION
    | TRAINING
    | WEIGHTING
    | REPORTS
    | LAUNCHERS
    | STORES
    | PROGRAMS
    | PREDICTIONS
)
