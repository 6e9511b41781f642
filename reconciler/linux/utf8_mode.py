"""Python takes names of files, texts and what it prints as UTF-8 in this process, whatever its locale says.

Otherwise one name would be another one in another locale, and an app that is served at a terminal could not be served
by a service manager that sets no locale.
"""

import locale
import os
import sys


def ensure_utf8() -> None:
    """Execute this program again in UTF-8 mode where the locale says otherwise; its environment stays as it is.

    Nothing may have been opened, started or read from standard input before.
    """
    if sys.flags.utf8_mode or "utf-8" == sys.getfilesystemencoding() == locale.getencoding().lower():
        return
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606  no shell is wanted
