"""The Secrets that an app's pods refer to: their names, what has to be in them, and the objects where that is known."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import field

from reconciler.cluster.names import dns_name
from reconciler.cluster.target import Values
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.fingerprint import Json, fingerprint
from reconciler.planning.services.service import Service, directory_of
from reconciler.vault.secret_patterns import masked

MOST_BYTES = 1 << 20
_LONGEST_VARIABLE = 128 * 1024 - 1  # as Linux has it for one of an exec
_UNFIT = re.compile(r"[^a-z0-9]+")
_DATABASES = frozenset(("postgresql", "mysql"))
# Types whose credentials may be of a database or not.
_UNKNOWN = frozenset(("user-provided", "broker"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A Secret: its name, its type and its keys, none where they are not known, and its data if that is known."""

    name: str
    kind: str = "Opaque"
    keys: tuple[str, ...] = ()
    data: Mapping[str, str] | None = field(default=None, repr=False)
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """All Secrets of an app. `env` are those of variables, by `env`, `processes.NAME` and `schedules.NAME`.

    `bindings` are by the directory of each.
    """

    env: Mapping[str, Secret] = field(default_factory=dict)
    env_lists: Secret | None = None
    vcap: Secret | None = None
    bindings: Mapping[str, Secret] = field(default_factory=dict)
    tls: Secret | None = None

    @property
    def all(self) -> tuple[Secret, ...]:
        """Every one, by name."""
        others = (each for each in (self.env_lists, self.vcap, self.tls) if each is not None)
        return tuple(sorted((*self.env.values(), *self.bindings.values(), *others), key=lambda secret: secret.name))


def shown_and_hidden(texts: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return variables of a manifest in two parts: those that may be shown, and those that look like secrets."""
    seen = masked(texts)
    shown = {name: text for name, text in sorted(texts.items()) if seen[name] == text}
    return shown, {name: text for name, text in sorted(texts.items()) if name not in shown}


def secrets_of(app: App, services: Mapping[str, Service], values: Values | None, *, by_content: bool) -> Secrets:
    """Return the Secrets of an app, with data where `values` are given, and named after it where `by_content`."""
    named = _Named(by_content=by_content and values is not None)
    env = {"env": _variables(f"{app.name}-env", app.env, app.env_files, None if values is None else values.env, named)}
    for kind, parts in (("processes", app.processes), ("schedules", app.schedules)):
        for part in parts:
            key = f"{kind}.{part.name}"
            found = None if values is None else values.parts.get(key, {})
            env[key] = _variables(f"{app.name}-{dns_name(part.name)}-env", part.env, part.env_files, found, named)
    routing = app.routing
    return Secrets(
        env={key: secret for key, secret in env.items() if secret is not None},
        env_lists=named(f"{app.name}-env-files", (), None if values is None else values.env_lists)
        if app.env_lists
        else None,
        vcap=_vcap(app, services, values, named) if app.bindings else None,
        bindings=dict(_bindings(app, services, values, named)),
        tls=named(
            f"{app.name}-tls",
            ("tls.crt", "tls.key"),
            None if values is None else dict(zip(("tls.crt", "tls.key"), values.tls, strict=True)),
            kind="kubernetes.io/tls",
        )
        if routing is not None and routing.certificate is not None
        else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    by_content: bool

    def __call__(
        self, stem: str, keys: tuple[str, ...], data: Mapping[str, str] | None, *, kind: str = "Opaque"
    ) -> Secret:
        name = f"{stem}-{fingerprint(dict(data))}" if self.by_content and data is not None else stem
        return Secret(name=name, kind=kind, keys=tuple(sorted(data)) if data is not None else keys, data=data)


def _variables(
    stem: str, texts: Mapping[str, str], files: Mapping[str, str], values: Mapping[str, str] | None, named: _Named
) -> Secret | None:
    _, hidden = shown_and_hidden(texts)
    if not hidden and not files:
        return None
    data = None if values is None else {**hidden, **{name: values[name] for name in files}}
    return named(stem, tuple(sorted({*hidden, *files})), data)


def _vcap(app: App, services: Mapping[str, Service], values: Values | None, named: _Named) -> Secret:
    types = {services[each.service].type for each in app.bindings if each.service in services}
    if values is not None:
        url = {} if values.database_url is None else {"DATABASE_URL": values.database_url}
        return named(f"{app.name}-vcap", (), {"VCAP_SERVICES": values.vcap, **url})
    may_be = types & (_DATABASES | _UNKNOWN)
    keys = ("DATABASE_URL", "VCAP_SERVICES") if may_be else ("VCAP_SERVICES",)
    optional = frozenset(("DATABASE_URL",)) if may_be and not types & _DATABASES else frozenset()
    return Secret(name=f"{app.name}-vcap", keys=keys, optional=optional)


def _bindings(
    app: App, services: Mapping[str, Service], values: Values | None, named: _Named
) -> Iterator[tuple[str, Secret]]:
    for binding in app.bindings:
        directory = directory_of(binding.name or binding.service)
        fit = _UNFIT.sub("-", directory)
        stem = f"{app.name}-binding-{fit if fit == directory else f'{fit}-{fingerprint(directory)}'}"
        service = services.get(binding.service)
        kind = f"servicebinding.io/{service.type}" if service is not None else "Opaque"
        yield directory, named(stem, (), None if values is None else values.files.get(directory, {}), kind=kind)


def is_too_long(value: str) -> bool:
    """Return whether VCAP_SERVICES does not fit a variable."""
    return len(f"VCAP_SERVICES={value}".encode()) > _LONGEST_VARIABLE


def too_large(secrets: Secrets) -> Iterator[Secret]:
    """Yield the Secrets that no cluster takes."""
    for secret in secrets.all:
        if sum(len(key) + len(value.encode()) for key, value in (secret.data or {}).items()) > MOST_BYTES:
            yield secret


def secret_object(secret: Secret, metadata: dict[str, Json], *, by_content: bool) -> dict[str, Json]:
    """Return the object; one that is named by its content never changes."""
    assert secret.data is not None
    data: Json = {key: b64encode(value.encode()).decode() for key, value in sorted(secret.data.items())}
    made: dict[str, Json] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": secret.kind}
    return {**made, **({"immutable": True} if by_content else {}), "data": data}
