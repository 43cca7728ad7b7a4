"""Which candidate next: pure functions of what was tried and learned, without torch."""
