"""The final phase: finalists and their rival, trained from scratch, alike, over the same seeds, judged on val."""

from spnas.arch import Candidate
from spnas.search.archive import Archive
from spnas.search.budget import CostOf
from spnas.search.settings import SearchSettings


def propose(number: int, archive: Archive, settings: SearchSettings, cost: CostOf) -> Candidate | None:
    """Return candidate `number`; all finalists and the rival run over one seed, then over the next."""
    del cost  # all of them cost alike
    if archive.finalists is None:
        raise ValueError("finalists are to be chosen before the final phase begins")
    nets, rival = archive.finalists.nets, archive.finalists.rival
    done = len(archive.of_role("final", "final")) + len(archive.of_role("rival", "final"))
    repeat, place = divmod(done, len(nets) + 1)
    if repeat >= settings.plan.seeds:
        return None
    is_rival = place == len(nets)
    return Candidate(
        number=number,
        role="rival" if is_rival else "final",
        phase="final",
        arch=rival if is_rival else nets[place].arch,
        steps=settings.plan.final_steps,
        seed=settings.seed + 1 + repeat,
        finalist=0 if is_rival else place,
    )
