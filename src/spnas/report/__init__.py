"""What a person looks at when a study ends, or is looked into before it does."""

from spnas.report.draw import draw_arch
from spnas.report.page import write_report
from spnas.report.pictures import draw_boxes, encode, side_by_side
from spnas.report.records import (
    Axes,
    CandidateRow,
    ClassRow,
    ClassTable,
    Command,
    DrawnArch,
    Fact,
    FinalRow,
    Finding,
    PictureRow,
    StudyPage,
    Verdict,
    View,
)

__all__ = [
    "Axes",
    "CandidateRow",
    "ClassRow",
    "ClassTable",
    "Command",
    "DrawnArch",
    "Fact",
    "FinalRow",
    "Finding",
    "PictureRow",
    "StudyPage",
    "Verdict",
    "View",
    "draw_arch",
    "draw_boxes",
    "encode",
    "side_by_side",
    "write_report",
]
