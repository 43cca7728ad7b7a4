"""The verbs of the command, as functions: `from spnas import tasks; tasks.search(...)`."""

from spnas.config import Wishes
from spnas.tasks.bench import bench
from spnas.tasks.catalogue import catalogue
from spnas.tasks.classify import classify_evaluate, classify_train
from spnas.tasks.doctor import doctor
from spnas.tasks.estimate import estimate
from spnas.tasks.evaluate import evaluate
from spnas.tasks.export import export, export_backbone
from spnas.tasks.phases import Crew, crew_of
from spnas.tasks.predict import predict
from spnas.tasks.search import search
from spnas.tasks.show import show
from spnas.tasks.study import repair, verify
from spnas.tasks.train import train
from spnas.tasks.watch import watch

__all__ = [
    "Crew",
    "Wishes",
    "bench",
    "catalogue",
    "classify_evaluate",
    "classify_train",
    "crew_of",
    "doctor",
    "estimate",
    "evaluate",
    "export",
    "export_backbone",
    "predict",
    "repair",
    "search",
    "show",
    "train",
    "verify",
    "watch",
]
