"""Change fields of an app's document in the text of its file. Pure: nothing is read or written."""

from collections.abc import Sequence

from reconciler.documents.encoding import encoded
from reconciler.documents.in_place import CannotEdit, Value, with_field, without_field
from reconciler.documents.tree import Node, trees_of
from reconciler.manifests.described import Described
from reconciler.manifests.parse_file import apps_of


class AppEdits:
    """The text of an app's file, with changes one after another; each raises CannotEdit if it cannot be made."""

    def __init__(self, found: Described) -> None:
        self._found = found
        self._text = found.text

    @property
    def content(self) -> bytes:
        """The bytes of the changed file, encoded as it was. Raises CannotEdit for text that has no such bytes."""
        if self._text == self._found.text:
            return self._found.content
        try:
            return encoded(self._text, self._found.content)
        except UnicodeEncodeError as error:
            raise CannotEdit("a value is not UTF-8 text") from error

    @property
    def tree(self) -> Node:
        """The app's document as it is now. Raises CannotEdit if there is none any more."""
        tree = apps_of(self._found.file, trees_of(self._found.file, self._text)[0]).get(self._found.app)
        if tree is None:
            raise CannotEdit(f"the document of '{self._found.app}' is not valid YAML")
        return tree

    def set(self, path: Sequence[str], value: Value) -> None:
        """Set a field."""
        self._text = with_field(self._text, self.tree.line, path, value)

    def remove(self, path: Sequence[str]) -> None:
        """Remove a field that is there."""
        self._text = without_field(self._text, self.tree.line, path)
