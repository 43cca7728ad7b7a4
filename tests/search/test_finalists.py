import msgspec
import pytest
from tests.search.conftest import PLAN, ROOT, cost, make, run

from spnas.arch import Arch, Candidate, Move, Outcome, parse
from spnas.arch.space import why_not
from spnas.search.archive import Archive
from spnas.search.finalists import CLOSE, Finalist, Finalists, choose, deepened
from spnas.search.phases import final
from spnas.search.settings import SearchSettings

RIVAL = parse("basic: 18x2 / 36x2 / 72x2 / 144x2")
COPIED = parse("basic: 16x2 / 32x2 / 64x2 / 128x2 + 0-0-0-1")
AS_DEAR = parse("basic: 16x2 / 32x2 / 64x2 / 128x4")  # the blocks of the copied stage, one after the other
DEARER = parse("basic: 16x2 / 32x2 / 64x2 / 128x6")
SMALL, LARGE = parse("basic: 16x3 / 32x2 / 64x2 / 128x2"), parse("basic: 16x2 / 32x2 / 64x2 / 128x3")
WITH_FINAL = make("plus", without=("controls",), phases=("serial", "parallel", "final"))


def archive_of(*tried: tuple[str, Arch, float]) -> Archive:
    """Return what holds a root and children of these roles, nets and APs."""
    archive = Archive(WITH_FINAL.rules, WITH_FINAL.objective, cost)
    for number, (role, arch, ap) in enumerate(tried):
        origin = {} if role == "root" else {"parent": 0, "moves": (Move("expand-block", 0, 1),)}
        archive.see(Candidate(number=number, role=role, arch=arch, steps=9, seed=0, **origin))  # type: ignore[arg-type]
        archive.learn(Outcome(number=number, metrics={"ap": ap}))
    return archive


def labels(archive: Archive, settings: SearchSettings = WITH_FINAL) -> list[tuple[str, int | None]]:
    return [(net.label, net.candidate) for net in choose(archive, settings, cost)]


def test_the_answer_is_the_fittest_child() -> None:
    archive = archive_of(("root", ROOT, 0.3), ("child", SMALL, 0.4), ("child", LARGE, 0.5))
    assert labels(archive) == [("found", 2)]


def test_where_no_child_beat_the_root_the_best_child_is_judged_all_the_same() -> None:
    archive = archive_of(("root", ROOT, 0.5), ("child", SMALL, 0.3), ("child", LARGE, 0.4))
    assert labels(archive) == [("found", 2)]
    assert labels(archive_of(("root", ROOT, 0.5))) == [("found", 0)]


def test_where_nothing_was_trained_the_root_stands_for_what_was_found() -> None:
    nothing = Archive(WITH_FINAL.rules, WITH_FINAL.objective, cost)
    assert choose(nothing, WITH_FINAL, cost) == (Finalist(label="found", arch=ROOT),)


def test_a_finalist_that_is_over_the_budget_after_all_is_passed_over_for_the_next() -> None:
    archive = archive_of(("root", ROOT, 0.3), ("child", SMALL, 0.4), ("child", LARGE, 0.5))
    asked: list[Arch] = []

    def fits(arch: Arch) -> bool:
        asked.append(arch)
        return arch != LARGE

    assert choose(archive, WITH_FINAL, cost, fits=fits)[0].candidate == 1
    assert asked == [LARGE, SMALL]  # no more are timed than need be
    assert choose(archive, WITH_FINAL, cost, fits=lambda _: False)[0].candidate == 0


def test_the_best_with_copies_stands_beside_the_best_serial_net_of_its_cost() -> None:
    archive = archive_of(("root", ROOT, 0.3), ("child", COPIED, 0.4), ("child", AS_DEAR, 0.5), ("child", SMALL, 0.35))
    assert labels(archive) == [("found", 2), ("copies", 1)]  # what was found is that serial net: not trained twice
    fitter = archive_of(("root", ROOT, 0.3), ("child", COPIED, 0.4), ("child", AS_DEAR, 0.45), ("child", DEARER, 0.5))
    assert labels(fitter) == [("found", 3), ("copies", 1), ("depth", 2)]
    alone = archive_of(("root", ROOT, 0.3), ("child", COPIED, 0.6), ("child", SMALL, 0.5))
    assert labels(alone) == [("found", 1), ("depth", None)]  # none that was tried costs as much: one is made


@pytest.mark.parametrize("seed", range(8))
def test_the_serial_net_costs_what_the_net_with_copies_costs(seed: int) -> None:
    settings = msgspec.structs.replace(make("plus", phases=("serial", "parallel", "final")), seed=seed)
    played = run(settings, noise=0.02)
    nets = choose(played.archive, settings, cost)
    made = Finalists(nets=nets, rival=RIVAL)
    copies, depth = made.place("copies"), made.place("depth")
    assert copies is not None
    assert depth is not None
    assert nets[copies].arch.copies
    assert not nets[depth].arch.copies
    assert cost(nets[depth].arch).gmacs == pytest.approx(cost(nets[copies].arch).gmacs, rel=CLOSE)
    assert why_not(nets[depth].arch, settings.space) is None


def test_a_net_is_made_deeper_evenly_and_never_dearer_than_brings_it_nearer() -> None:
    target = 1.5 * cost(ROOT).gmacs
    deeper = deepened(ROOT, target, WITH_FINAL, cost)
    assert cost(deeper).gmacs == pytest.approx(target, rel=CLOSE)
    assert all(len(now) >= len(then) for now, then in zip(deeper.stages, ROOT.stages, strict=True))
    assert deepened(ROOT, 0.5 * cost(ROOT).gmacs, WITH_FINAL, cost) == ROOT


def test_without_the_parallel_phase_or_without_copies_there_is_nothing_to_compare() -> None:
    archive = archive_of(("root", ROOT, 0.3), ("child", COPIED, 0.4))
    assert labels(archive, msgspec.structs.replace(WITH_FINAL, phases=("serial", "final"))) == [("found", 1)]
    assert labels(archive_of(("root", ROOT, 0.3), ("child", SMALL, 0.4))) == [("found", 1)]


def test_places_are_by_label_and_the_answer_is_the_best_with_copies_where_it_has_any() -> None:
    found, plain = Finalist(label="found", arch=COPIED), Finalist(label="found", arch=ROOT)
    depth, copies = Finalist(label="depth", arch=ROOT), Finalist(label="copies", arch=COPIED)
    assert Finalists(nets=(found, depth), rival=RIVAL).place("copies") == 0
    assert Finalists(nets=(plain, copies, depth), rival=RIVAL).place("copies") == 1
    assert Finalists(nets=(plain, copies), rival=RIVAL).place("depth") == 0
    assert Finalists(nets=(plain,), rival=RIVAL).place("copies") is None
    assert Finalists(nets=(plain,), rival=RIVAL).place("depth") is None
    assert Finalists(nets=(plain, copies, depth), rival=RIVAL).place("depth") == 2


def test_finalists_and_rival_are_trained_alike_over_the_same_seeds(settings: SearchSettings) -> None:
    archive = archive_of(("root", ROOT, 0.3), ("child", COPIED, 0.4), ("child", AS_DEAR, 0.45), ("child", DEARER, 0.5))
    nets = choose(archive, WITH_FINAL, cost)
    archive.finalists = Finalists(nets=nets, rival=RIVAL)
    begin = len(archive.candidates)
    while (proposed := final.propose(len(archive.candidates), archive, settings, cost)) is not None:
        archive.see(proposed)
    finals = archive.candidates[begin:]
    assert [c.role for c in finals] == ["final", "final", "final", "rival"] * PLAN.seeds
    assert [c.seed for c in finals] == [seed for seed in (1, 2, 3) for _ in range(4)]
    assert {c.steps for c in finals} == {PLAN.final_steps}
    assert all(c.parent is None for c in finals)
    assert [c.arch for c in finals[:4]] == [*(net.arch for net in nets), RIVAL]
    assert [c.finalist for c in finals[:4]] == [0, 1, 2, 0]


def test_finals_do_not_begin_before_it_is_known_who_is_in_them(settings: SearchSettings) -> None:
    with pytest.raises(ValueError, match="finalists are to be chosen"):
        final.propose(1, archive_of(("root", ROOT, 0.3)), settings, cost)
