"""Recognise failed starts that another Python may not have: of code written for an earlier one."""

import re
import sys

from reconciler.planning.absent_packages import REMOVED_MODULES

_MODULE = re.compile(r"(?:ModuleNotFound|Import)Error: No module named '?(?P<name>\w+)")
_NAME = re.compile(
    r"(?:ImportError: cannot import name '\w+' from '(?P<source>\w+)"
    r"|AttributeError: (?:partially initialized )?module '(?P<module>\w+)[\w.]*' has no attribute)"
)
# Said of what Python 2 understood; any other mistake in the syntax may be a slip.
_SYNTAX = re.compile(
    r"SyntaxError: (?:Missing parentheses in call to '(?:print|exec)'|multiple exception types must be parenthesized"
    r"|leading zeros in decimal integer literals)"
)


def depends_on_python(reason: str) -> bool:
    """Tell whether an exception, as Python prints it, is of a name or a syntax that only other versions have."""
    if module := _MODULE.match(reason):
        return module["name"] in REMOVED_MODULES
    if name := _NAME.match(reason):
        return (name["source"] or name["module"]) in sys.stdlib_module_names
    return _SYNTAX.match(reason) is not None
