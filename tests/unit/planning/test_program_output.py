"""Why a program failed, as its output tells: the exception and the app's own line, never a line of the traceback."""

import pytest

from reconciler.planning.program_output import last_words, said_last

CODE = "/state/apps/shop/builds/1/code"
FRAMES = (
    "Traceback (most recent call last):",
    f'  File "{CODE}/manage.py", line 22, in <module>',
    "    main()",
    "    ~~~~^^",
    f'  File "{CODE}/shop/models.py", line 7, in load',
    "    ^^^^^^",
    '  File "/state/environments/1/lib/python3.13/site-packages/django/apps/config.py", line 193, in create',
    "    import_module(entry)",
    '  File "<frozen importlib._bootstrap>", line 1324, in _find_and_load_unlocked',
)

CRASH = (
    "Fatal Python error: Segmentation fault",
    "",
    "Stack (most recent call first):",
    '  File "/usr/lib/python3.13/ctypes/__init__.py", line 538 in string_at',
    f'  File "{CODE}/shop/native.py", line 4 in crash',
    f'  File "{CODE}/wsgi.py", line 9 in <module>',
)
# As the app itself has it, with PYTHONFAULTHANDLER, and as Python 3.14 adds to it.
CRASH_OF_THREADS = (
    *CRASH[:2],
    "Thread 0x00007f8b3c5d1740 [worker] (most recent call first):",
    f'  File "{CODE}/other.py", line 1 in wait',
    "",
    "Current thread 0x00007f8b3c5d1740 [python] (most recent call first):",
    *CRASH[3:],
    "",
    "Current thread's C stack trace (most recent call first):",
    '  Binary file "/usr/bin/python3", at _Py_DumpStack+0x48 [0x5fe3b9]',
    "",
    "Extension modules: psycopg._psycopg (total: 1)",
)
CRASHED = "Fatal Python error: Segmentation fault (shop/native.py:4)"

DJANGO_REST = (
    "; djangorestframework has it: add that to requirements.txt, or to where else the app lists its dependencies"
)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (CRASH, CRASHED),
        (CRASH_OF_THREADS, CRASHED),
        ((*FRAMES, "ValueError: a", *CRASH), CRASHED),
        ((*CRASH, *FRAMES, "ValueError: a"), "ValueError: a (shop/models.py:7)"),
        (CRASH[:2], "Fatal Python error: Segmentation fault"),
        (
            (*FRAMES, "ModuleNotFoundError: No module named 'rest_framework'"),
            f"ModuleNotFoundError: No module named 'rest_framework' (shop/models.py:7){DJANGO_REST}",
        ),
        (
            ("  Applying blog.0001_initial..." + FRAMES[0], *FRAMES[1:4], "sqlite3.OperationalError: no such table: a"),
            "OperationalError: no such table: a",
        ),
        (
            (*FRAMES[:4], "sqlite3.OperationalError: a", "", *FRAMES[:4], "django.db.utils.OperationalError: b"),
            "OperationalError: b",
        ),
        (
            (*FRAMES[:4], "django.core.exceptions.ImproperlyConfigured: Set the SECRET_KEY", "", "bye"),
            "ImproperlyConfigured: Set the SECRET_KEY",
        ),
        (
            (*FRAMES[:2], '  File "<frozen os>", line 717, in __getitem__', "KeyError: 'SECRET_TOKEN'"),
            "KeyError: 'SECRET_TOKEN'; set it under `env` in the manifest",
        ),
        (("CommandError: Unable to serialize", "  ^^^"), "CommandError: Unable to serialize"),
        (
            ("SystemCheckError: System check identified some issues:", "", "ERRORS:", "a.B: (E1) no", "", "1 issue."),
            "SystemCheckError: System check identified some issues: a.B: (E1) no",
        ),
        (tuple(f"         {line}" for line in (*FRAMES[:4], "OSError")), "OSError"),
        ((*FRAMES, "KeyboardInterrupt"), "KeyboardInterrupt (shop/models.py:7)"),
        (("begun", "sh: 1: nothere: not found", ""), "sh: 1: nothere: not found"),
        (("no such table", "warning: it was slow"), "no such table"),
        (("warning: it was slow",), "warning: it was slow"),
        ((), ""),
        (("it begins", FRAMES[1]), "it begins"),
    ],
)
def test_the_last_words_of_a_program_are_its_exception_or_its_last_line(lines: tuple[str, ...], told: str) -> None:
    assert last_words(lines, CODE) == told


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), ""),
        (("", "^^"), ""),
        (("begun", "  working", ""), "working"),
        ((*FRAMES, "ValueError: lost"), "ValueError: lost (shop/models.py:7)"),
        ((*FRAMES, "ValueError: lost", "lost"), "ValueError: lost (shop/models.py:7)"),  # as gunicorn repeats it
        (
            (*FRAMES, "pydantic.ValidationError: 1 error for Settings", "url", "  Field required", "    see https://x"),
            "ValidationError: 1 error for Settings (shop/models.py:7)",
        ),
        ((*FRAMES, "ValueError: lost", "", "giving up"), "giving up"),  # it was handled, and the app said more
        ((*FRAMES, "ValueError: lost", *(["working"] * 30), "  lost"), "lost"),
        (CRASH, CRASHED),
        (CRASH_OF_THREADS, CRASHED),
    ],
)
def test_a_program_that_ran_on_said_last_its_exception_or_its_last_line(lines: tuple[str, ...], said: str) -> None:
    assert said_last(lines, CODE) == said
