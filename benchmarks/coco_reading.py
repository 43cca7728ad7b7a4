"""How long reading a large COCO file takes, and how much memory: 860,000 annotations with polygons, about 510 MB.

    uv run python benchmarks/coco_reading.py [--annotations 860000]

The file has the size and the make-up of instances_train2017.json; the numbers in it are drawn. Reading is
`spnas.data.formats.coco.read`, which looks at no picture, in a process of its own.
"""

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PICTURES_PER_ANNOTATION = 118_287 / 860_001
CLASSES = 80


def write_file(path: Path, annotations: int) -> None:
    """Write a COCO file piece by piece."""
    rng = random.Random(0)
    pictures = max(1, round(annotations * PICTURES_PER_ANNOTATION))
    polygons = []
    for _ in range(1000):  # enough to draw from: what is skipped is never looked at twice
        corners = [round(rng.uniform(0, 640), 2) for _ in range(2 * rng.randint(10, 46))]
        polygons.append("[[" + ", ".join(map(str, corners)) + "]]")
    with path.open("w") as file:
        file.write('{"info": {"description": "drawn"}, "licenses": [{"id": 1, "name": "none"}], "images": [')
        for number in range(pictures):
            file.write(", " if number else "")
            file.write(
                f'{{"license": 1, "file_name": "{number:012d}.jpg", "coco_url": "http://example.org/{number:012d}", '
                f'"height": 480, "width": 640, "date_captured": "2013-11-14 17:02:52", "id": {number + 1}}}'
            )
        file.write('], "annotations": [')
        for number in range(annotations):
            x, y, w, h = (round(rng.uniform(1, 300), 2) for _ in range(4))
            file.write(", " if number else "")
            file.write(
                f'{{"segmentation": {rng.choice(polygons)}, "area": {round(w * h / 2, 4)}, "iscrowd": 0, '
                f'"image_id": {rng.randrange(pictures) + 1}, "bbox": [{x}, {y}, {w}, {h}], '
                f'"category_id": {rng.randrange(CLASSES) + 1}, "id": {number + 1}}}'
            )
        names = ", ".join(f'{{"supercategory": "x", "id": {i + 1}, "name": "class {i}"}}' for i in range(CLASSES))
        file.write(f'], "categories": [{names}]}}')


def read_file(path: Path) -> None:
    """Read the file, and print seconds, those of the CPU, the peak of memory, and what had been in use before."""
    from spnas.data.formats import coco

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, busy = time.perf_counter(), time.process_time()
    raw = coco.read(path, split=path.name)
    seconds, busy = time.perf_counter() - begun, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(raw.owner) == len(raw.numbers)
    print(f"{seconds:.2f} {busy:.2f} {peak / 1000:.0f} {before / 1000:.0f}")


def main() -> None:
    """Write the file, read it in a child, print a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotations", type=int, default=860_000)
    parser.add_argument("--read", type=Path)
    options = parser.parse_args()
    if options.read:
        read_file(options.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances_train.json"
        write_file(path, options.annotations)
        size = path.stat().st_size / 1e6
        command = [sys.executable, __file__, "--read", str(path)]
        seconds, busy, peak, before = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        print("| annotations | file, MB | seconds | of CPU | peak RSS, MB | of which before reading, MB |")
        print("|---|---|---|---|---|---|")
        print(f"| {options.annotations:,} | {size:.0f} | {seconds} | {busy} | {peak} | {before} |")


if __name__ == "__main__":
    main()
