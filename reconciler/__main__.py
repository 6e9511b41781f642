"""The `reconciler` command."""

from collections.abc import Sequence

from reconciler.linux.utf8_mode import ensure_utf8


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, in UTF-8 mode; None are those of this process."""
    if argv is None:
        ensure_utf8()
    from reconciler.cli.main import main as run

    run(argv)


if __name__ == "__main__":
    main()
