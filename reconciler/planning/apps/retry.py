"""The ways in which what failed is tried again."""

from typing import Literal, TypeAlias

# When what failed is tried again by itself: with back-off, at its longest delay, or not before an edit or a request.
Retry: TypeAlias = Literal["soon", "later", "never"]
