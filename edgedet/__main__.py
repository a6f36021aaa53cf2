"""`python -m edgedet` is the `edgedet` command."""

from edgedet.cli import run

if __name__ == "__main__":
    run()
