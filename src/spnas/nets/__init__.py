"""torch modules: what an `Arch` becomes, and what it costs."""
