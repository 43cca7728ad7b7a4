"""Detections as a file: COCO's results form, with the ids of the user's data."""

import msgspec

from spnas.data.records import Annotations
from spnas.evaluate.detect import Found


def write_results(annotations: Annotations, found: Found) -> bytes:
    """Return the JSON; boxes are x, y, width, height in pixels, rounded to a thousandth, scores to six digits."""
    rows = zip(
        found.image_index.tolist(), found.labels.tolist(), found.boxes.tolist(), found.scores.tolist(), strict=True
    )
    return msgspec.json.encode(
        [
            {
                "image_id": annotations.image_ids[image],
                "category_id": annotations.category_ids[label],
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 6),
            }
            for image, label, (x1, y1, x2, y2), score in rows
        ]
    )
