"""One plain PyTorch loop, its schedules, and what it leaves on disk."""
