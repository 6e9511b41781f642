"""What valid manifests name that is not there is warned of, with its line and what was probably meant."""

from pathlib import Path

import pytest

from reconciler.documents.encoding import decoded
from reconciler.inspection.manifests import checked
from reconciler.inspection.missing import warnings_of
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

DJANGO = "DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory for manifests beside the source `app`."""
    (tmp_path / "m").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("def app(environ, start_response):\n    pass\n")
    return tmp_path


def warned(place: Path, state: str = "", **manifests: str) -> list[str]:
    """The warnings about these manifests, by file, line and column, without the directories."""
    for name, text in manifests.items():
        (place / "m" / f"{name}.yaml").write_text(text)
    catalog = checked(Settings(manifests=place / "m", paths=StatePaths(state=place / "s")))
    return [str(warning).replace(f"{place}/", "") for warning in warnings_of(catalog, place / "m", Path(state or "/s"))]


def test_nothing_is_said_of_an_app_that_has_all_it_names(place: Path) -> None:
    (place / "m" / "key").write_text("x")
    (place / "m" / "app.env").write_text("A=b\n")
    (place / "m" / "503.html").write_text("back soon")
    app = (
        "path: ../app\nenv: {K: {file: key}}\nenv_files: [app.env]\nholding_page: 503.html\n"
        "services: [db]\ndepends_on: [other]\n"
    )
    assert warned(place, app=app, other="path: ../app\n", db="kind: service\nname: db\ntype: sqlite\n") == []


@pytest.mark.parametrize(
    ("field", "warning"),
    [
        ("env:\n  K:\n    file: secrets/nope", "4:11: env.K.file: there is no file m/secrets/nope"),
        ("env_files:\n  - a.env", "3:5: env_files[0]: there is no file m/a.env"),
        ("holding_page: 503.html", "2:15: holding_page: there is no file m/503.html"),
        (
            "services: [shop-bd]",
            "services[0]: no manifest describes a service named 'shop-bd'; did you mean 'shop-db'?",
        ),
        ("services: [{name: mail}]", "services[0]: no manifest describes a service named 'mail'; the app waits until"),
        (
            "depends_on: [shoop]",
            "2:14: depends_on[0]: no manifest describes an app named 'shoop'; did you mean 'shop'?",
        ),
    ],
)
def test_what_an_app_names_and_is_not_there_is_warned_of_in_its_line(place: Path, field: str, warning: str) -> None:
    service = "kind: service\nname: shop-db\ntype: sqlite\n"
    (found,) = warned(place, app=f"path: ../app\n{field}\n", shop="path: ../app\n", db=service)
    assert warning in found
    assert found.startswith("m/app.yaml:")


def test_a_source_that_is_not_there_is_warned_of(place: Path) -> None:
    assert warned(place, app="path: ../ap\n") == ["m/app.yaml:1:7: path: there is no directory or archive ap"]


def test_a_path_that_is_longer_than_any_can_be_is_told_like_any_other_that_is_not_there(place: Path) -> None:
    name = "a" * 300
    assert warned(place, app=f"path: ../{name}\n") == [f"m/app.yaml:1:7: path: there is no directory or archive {name}"]


def test_the_files_of_a_service_are_warned_of(place: Path) -> None:
    one = "kind: service\nname: one\ntype: user-provided\ncredentials: {user: me, password: {file: nope}}\n"
    other = "kind: service\nname: other\ntype: user-provided\ncredentials_file: none.json\n"
    assert warned(place, one=one, other=other) == [
        "m/one.yaml:4:42: credentials.password.file: there is no file m/nope",
        "m/other.yaml:4:19: credentials_file: there is no file m/none.json",
    ]


def test_a_file_that_the_daemon_does_not_read_is_warned_of_with_the_reason(place: Path) -> None:
    (place / "s").mkdir()
    for name in ("reconciler.db", "lock", "key"):
        (place / "s" / name).touch()
    (place / "private").touch(mode=0o640)
    (place / "page").symlink_to("private")
    assert warned(place, app="path: ../app\nenv: {B: {file: ../s/key}}\nholding_page: ../page\n") == [
        "m/app.yaml:2:17: env.B.file: s/key is not read: it is in the state directory of the daemon",
        "m/app.yaml:3:15: holding_page: page is not read: it is a link to private, which other users may not read",
    ]


def test_a_source_with_the_daemons_state_in_it_is_told_that_this_is_left_out(place: Path) -> None:
    assert any(
        "path: contains the daemon's state directory; it is left out" in warning
        for warning in warned(place, f"{place}/s", whole=f"path: {place}\n")
    )


def test_warnings_of_several_documents_have_the_lines_of_their_own(place: Path) -> None:
    text = "name: one\npath: ../app\n---\nname: two\npath: ../nope\n---\nname: three\npath: ../none\n"
    assert [line.split(": ")[0] for line in warned(place, all=text)] == ["m/all.yaml:5:7", "m/all.yaml:8:7"]


def test_a_name_that_a_refused_manifest_may_describe_is_not_called_missing(place: Path) -> None:
    refused = {"db": "kind: service\ntype: sqlit\n", "many": "name: other\npath: 7\n---\nname: third\n"}
    assert warned(place, app="path: ../app\nservices: [db]\ndepends_on: [other]\n", **refused) == []


def test_a_source_that_contains_the_manifests_is_warned_of(place: Path) -> None:
    (found,) = warned(place, app="path: ..\n")
    assert "contains the manifests, so every edit of a manifest deploys it again" in found


def project(place: Path) -> None:
    (place / "app" / "manage.py").write_text("os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n")
    (place / "app" / "shop").mkdir()
    (place / "app" / "shop" / "settings.py").write_text(f"{DJANGO}MEDIA_ROOT = BASE_DIR / 'media'\n")


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ("", "db.sqlite3 and media/"),
        ("persist: [media]\n", "db.sqlite3"),
        ("persist: [media, db.sqlite3]\n", None),
        ("services: [db]\n", "media/"),
    ],
)
def test_data_that_a_deploy_would_replace_is_warned_of(place: Path, fields: str, lost: str | None) -> None:
    project(place)
    found = warned(place, app=f"path: ../app\n{fields}", db="kind: service\nname: db\ntype: sqlite\n")
    assert [text.partition(" beside its code")[0] for text in found] == (
        [] if lost is None else [f"m/app.yaml:1:7: path: the app keeps {lost}"]
    )


def test_a_manifest_in_another_encoding_has_lines_too(place: Path) -> None:
    (place / "m" / "app.yaml").write_bytes("# ä\npath: ../nope\n".encode("utf-16"))
    assert decoded((place / "m" / "app.yaml").read_bytes()).endswith("nope\n")
    assert warned(place)[0].startswith("m/app.yaml:2:7: path: ")


def test_what_staging_would_refuse_is_warned_of_in_the_line_of_its_field(place: Path) -> None:
    (place / "app" / "main.py").write_text("def app(environ, start_response):\n    pass\n")
    (found,) = warned(place, app="path: ../app\nentrypoint: mian:app\n")
    assert found == (
        "m/app.yaml:2:13: entrypoint: cannot use the entrypoint 'mian:app': the source has no mian.py or mian/;"
        " did you mean main:app?"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("workers: 3\n", ["m/app.yaml:2:10: workers: is for gunicorn, and Go serves this app by itself: remove it"]),
        ("threads: 4\n", ["m/app.yaml:2:10: threads: is for gunicorn, and Go serves this app by itself: remove it"]),
        ("env: {WEB_CONCURRENCY: '3'}\n", []),
        ("entrypoint: main:app\nworkers: 3\n", []),
    ],
)
def test_a_field_of_gunicorn_beside_a_program_that_is_recognised_is_told(
    place: Path, given: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.staging.foreseen.missing_programs", lambda **_: ())
    (place / "blog").mkdir()
    if "entrypoint" in given:
        (place / "blog" / "main.py").write_text("def app(environ, start_response):\n    pass\n")
    (place / "blog" / "go.mod").write_text("module blog\n")
    (place / "blog" / "main.go").write_text("package main\n")
    found = warned(place, app=f"path: ../blog\n{given}")
    assert [text.partition(", and set")[0] for text in found] == told


def test_a_source_that_apps_share_is_looked_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Path] = []

    def look(code: Path, *_: object) -> tuple[()]:
        looks.append(code)
        return ()

    monkeypatch.setattr("reconciler.staging.foreseen.foreseen", look)
    apps = {f"a{number}": "path: ../app\nentrypoint: main:app\n" for number in range(3)}
    assert warned(place, **apps, other="path: ../app\nentrypoint: other:app\n") == []
    assert len(looks) == 2


def test_the_data_of_a_source_that_apps_share_is_looked_for_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(place)
    looks: list[Path] = []

    def look(source: Path) -> tuple[str, ...]:
        looks.append(source)
        return ("media/",)

    monkeypatch.setattr("reconciler.staging.detection.local_data.local_data", look)
    found = warned(place, a="path: ../app\n", b="path: ../app\npersist: [media]\n", c="path: ../app\n")
    assert [text.partition(":")[0] for text in found] == ["m/a.yaml", "m/c.yaml"]
    assert len(looks) == 1
