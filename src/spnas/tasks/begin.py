"""What a search begins with: an architecture, or the backbone of something that was trained already."""

from pathlib import Path

import msgspec

from spnas.arch import Arch
from spnas.arch.published import arch_of
from spnas.assess import Recipe
from spnas.config import START
from spnas.data.records import Annotations
from spnas.errors import UsageError
from spnas.hub import read_weights
from spnas.runs.folder import RunFolder, model_in
from spnas.tasks.start import begin, is_detector, says_its_arch, start_of
from spnas.train.weights import ModelConfig, load_model, save_model


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The root's architecture as it was named, and a file or folder of weights for it, if there is one."""

    root: str | None = None
    weights: Path | None = None

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the file of weights."""
        start = start_of(str(self.weights)) if self.weights is not None else None
        return start.sha256 if start is not None else None

    def copy_into(self, folder: RunFolder, root: Arch, recipe: Recipe, learned: Annotations) -> str | None:
        """Write a detector for these data, with the weights' backbone, as the study's start; return its SHA-256.

        A model of the same classes and detector is taken whole. Raises: UsageError when the weights do not suit.
        """
        if self.weights is None:
            return None
        config = ModelConfig(
            detector=recipe.detector,
            arch=root.text,
            classes=learned.classes,
            category_ids=learned.category_ids,
            settings=recipe.detector_settings,
            resize=recipe.resize,
        )
        start = start_of(str(self.weights))
        detector, config, _ = begin(config, start, seed=0, other_archs=False)
        return save_model(folder.path_of(START), detector, config)


def begin_from(start: str | Path, root: str | None) -> Beginning:
    """Read what `start` is: a model of ours (a detector, a classifier, a backbone), a finished study, or with `root` a
    file of torchvision's or timm's.

    Raises: UsageError when it is none of these, or `root` is another architecture.
    """
    if not Path(start).exists():
        raise UsageError(f"--start {start}: no such model, study or file of weights")
    path = model_in(Path(start))
    if is_detector(path):
        arch = load_model(path)[1].arch
    elif path.is_dir() or says_its_arch(path):
        arch = str(read_weights(path).arch)
    elif root is None:
        raise UsageError(f"--start {start}: say by --root which architecture these weights are of, e.g. resnet50")
    else:
        return Beginning(root=root, weights=path)
    if root is not None and arch_of(root).text != arch:
        raise UsageError(f"--start {start} is {arch!r}, not --root {root!r}; leave --root out")
    return Beginning(root=arch, weights=path)
