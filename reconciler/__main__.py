"""The `reconciler` command."""

from reconciler.linux.utf8_mode import ensure_utf8


def main() -> None:
    """Run the command that the arguments name, in UTF-8 mode."""
    ensure_utf8()
    from reconciler.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
