"""The shelf of phases: each file offers `propose(number, history, settings, cost) -> Candidate | None`.

A phase is pure: the same history gives the same candidate. None says that the phase is over.
"""
