"""`python -m spnas`: the command, for those who start modules, as `torchrun -m spnas train ...` does."""

from spnas.cli import main

if __name__ == "__main__":
    main()
