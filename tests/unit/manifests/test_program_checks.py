"""What a manifest says of a program that serves in place of gunicorn, and what does not go with it."""

import pytest

from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.planning.apps.app import App


def problems(text: str) -> list[str]:
    return [str(each) for each in parse("/m/blog.yaml", text.encode(), HostDefaults(auto_workers=5)).problems]


def app(text: str) -> App:
    parsed = parse("/m/blog.yaml", f"path: x\n{text}".encode(), HostDefaults(auto_workers=5))
    assert parsed.problems == ()
    return parsed.apps[0].unleased


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "command: node .\nentrypoint: wsgi:app\n",
            (
                "3:13: entrypoint: is for gunicorn, which 'command' takes the place of:"
                " remove one of 'entrypoint' and 'command'"
            ),
        ),
        (
            "command: node .\nworkers: 2\n",
            "3:10: workers: is for gunicorn, which 'command' takes the place of: remove one of 'workers' and 'command'",
        ),
        (
            "entrypoint: wsgi:app\nlisten: port\n",
            "3:9: listen: is for a program of 'command', and 'entrypoint' is served by gunicorn",
        ),
        ("listen: pipe\n", "2:9: listen: expected descriptor, socket or port, not 'pipe'"),
        (
            "command: cd x && node .\n",
            "2:10: command: needs a shell, for '&&': write [sh, -c, '…'], with exec before what is to be stopped",
        ),
        (
            "build: [npm, ci, --cache=$CACHE]\n",
            (
                "2:8: build: only $PORT, $SOCKET, $HOST are filled in, not $CACHE: no shell is run; for a shell, write"
                " [sh, -c, '…']"
            ),
        ),
        (
            "command: [sh, -c, 'exec php-fpm', php-fpm8.2]\nhealth: {path: /ping}\n",
            (
                "3:16: health.path: is asked in HTTP, and php-fpm speaks FastCGI: without it, it has to accept"
                " connections"
            ),
        ),
        ("command: ['']\n", "2:10: command: expected the name of a program first"),
        (
            "command: [node, 8]\n",
            "2:17: command[1]: expected an argument, in quotes, not a number; quote it to make it text",
        ),
        (
            "command: []\n",
            "2:10: command: expected a command with its arguments, such as [node, server.js], not an empty list",
        ),
    ],
)
def test_each_mistake_has_its_place_and_its_words(text: str, expected: str) -> None:
    assert problems(f"path: x\n{text}") == [f"/m/blog.yaml:{expected}"]


def test_a_line_and_a_list_are_the_same_command() -> None:
    one, other = app("command: node 'my app.js'\nbuild: npm ci"), app("command: [node, my app.js]\nbuild: [npm, ci]")
    assert one.recipe == other.recipe
    assert one.recipe.command == ("node", "my app.js")
    assert one.recipe.build == ("npm", "ci")


def test_the_variable_of_gunicorns_workers_is_the_programs_own() -> None:
    assert app("command: puma\nenv: {WEB_CONCURRENCY: 4}").workers == 1
    assert app("env: {WEB_CONCURRENCY: 4}").workers == 4


def test_a_command_is_part_of_the_build_and_its_absence_changes_no_id() -> None:
    plain = app("entrypoint: wsgi:app").build("content")
    assert plain.id == app("entrypoint: wsgi:app").build("content").id
    ids = {app(f"command: {each}").build("content").id for each in ("node .", "node x")}
    assert len(ids | {plain.id}) == 3
