"""Cityscapes as users have it: the preprocessed folder, or the raw layout (papers.md E)."""

from mtkd_jax.datasets.cityscapes import DEFAULTS, DEPTHS, raw
from mtkd_jax.datasets.cityscapes.classes import COUNTS, class_names
from mtkd_jax.datasets.errors import DataError
from mtkd_jax.datasets.files.finding import expanded
from mtkd_jax.datasets.files.npy_folder import Layout, NpyFolder, refuse_given


def layout(classes: int) -> Layout:
    """The preprocessed folder with `classes` classes."""
    return Layout(
        title='Cityscapes',
        text=f'{{train,val}}/{{image,label_{classes},depth}}/{{0,1,...}}.npy (label/ instead of label_{classes}/)',
        arrays={'image': ['image'], 'segmentation': [f'label_{classes}', 'label'], 'depth': ['depth']},
        classes=class_names(classes),
        notes={
            'depth': 'inverse: as given, disparity (the 16-bit number) / 65535; 0 undefined',
            'test_split': 'the folder val; the labels of the official test split are not public',
        },
    )


def open_source(
    source: str,
    size: tuple[int, int] | None,
    classes: int,
    depth: str,
    ignore_label: int | None = None,
    depth_scale: float | None = None,
) -> NpyFolder | raw.RawTree:
    """A reader of the user's files: the preprocessed folder or the raw layout.

    `size`: height and width in pixels to resize raw frames to (default 128×256); preprocessed files keep theirs.
    `ignore_label`, `depth_scale`: of preprocessed files (`NpyFolder`).

    Raises:
        DataError: `source` is neither, something in it is missing, or it cannot give what is asked for.
    """
    path = expanded(source)
    if not path.is_dir():
        raise DataError(f'`source` is {path}, which is no folder; give the one that holds Cityscapes.')
    if classes not in COUNTS:
        raise DataError(f'`classes` is {classes}; Cityscapes has {COUNTS[0]} categories or {COUNTS[1]} classes.')
    if depth not in DEPTHS:
        raise DataError(f'`depth` is {depth!r}; choose one of {", ".join(DEPTHS)}.')
    if (path / 'leftImg8bit').is_dir():
        refuse_given(path, ignore_label, depth_scale)
        return raw.RawTree(path, size or (DEFAULTS['height'], DEFAULTS['width']), classes, depth)
    if not (path / 'train').is_dir():
        known = f'neither {raw.LAYOUT} nor {layout(classes).text}'
        raise DataError(f'{path} holds {known}; give the folder of one of them.')
    if depth != 'inverse':
        raise DataError(
            f'`depth` is {depth!r}, but {path} has no camera files: the preprocessed files hold inverse depth. Give '
            "the raw layout, or depth 'inverse'."
        )
    folder = NpyFolder(path, layout(classes), ignore_label, depth_scale)
    folder.check_size(size)
    return folder
