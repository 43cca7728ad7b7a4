"""`spnas doctor`: what is in a data set, and what is wrong with it, before any training."""

from pathlib import Path

from spnas.data.doctor import Diagnosis, examine
from spnas.data.generate import GeneratorSettings, generate
from spnas.data.open import generated_folder
from spnas.talk import Part, Talk


def doctor(
    data: str | Path | None = None,
    *,
    format: str | None = None,
    train: str | None = None,
    val: str | None = None,
    max_bad: float = 0.01,
    decode: bool = True,
    talk: Talk | None = None,
) -> Diagnosis:
    """Examine a data set, the generated one by default, and decode every picture unless told not to.

    Bad data does not raise: see `Diagnosis.refused`.
    """
    talk = talk or Talk(quiet=True)
    if data is None:
        path = generated_folder(GeneratorSettings(), None)
        generate(path, GeneratorSettings())
    else:
        path = Path(data)
    with talk.progress():
        return examine(
            path,
            format=format,
            train=train,
            val=val,
            max_bad=max_bad,
            decode=decode,
            progress=lambda done, total: talk.show([Part("pictures decoded", done, total)]),
        )


def describe(diagnosis: Diagnosis) -> list[str]:
    """Return what a person reads."""
    lines = [f"{diagnosis.path}: {diagnosis.format or 'format not recognised'}"]
    for split in diagnosis.splits:
        sizes = ", ".join(f"{count} {size}" for size, count in split.box_sizes.items())
        lines.append(f"{split.role} ({split.name}): {split.images} pictures, boxes: {sizes}")
        lines += [f"  {name}: {count}" for name, count in split.per_class.items()]
    for problem in diagnosis.problems:
        lines.append(
            f"{problem.severity}: {problem.file}: {problem.where}: {problem.reason}; {problem.hint} [{problem.code}]"
        )
    lines += [f"{code}: {count} in all" for code, count in sorted(diagnosis.counts.items())]
    if diagnosis.preset:
        lines.append(f"suggested: --preset {diagnosis.preset} --image-size {diagnosis.image_size}")
    lines.append("training would stop here" if diagnosis.refused else "nothing that training would stop at")
    return lines
