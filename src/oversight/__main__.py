"""`python -m oversight` and the console command."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from oversight.cli import run

    run()


if __name__ == "__main__":
    main()
