"""Run `reconciler` where the kernel divides no connections, as before Linux 4.5.

usage: python -m tests.fakes.undividing COMMAND…
"""

if __name__ == "__main__":
    from reconciler.cli.main import main
    from tests.fakes.refusing import refuse_to_divide

    refuse_to_divide()
    main()
