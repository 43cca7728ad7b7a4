"""How good a detector is, by each benchmark's own protocol, and how fast."""
