"""Read the deploy.yml of Kamal: one app, and the accessories that are known as services.

Kamal deploys images to other machines; the app runs here from its source, which is where `config/deploy.yml` lies.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from reconciler.inspection.imports.compose import dockerfile_command
from reconciler.inspection.imports.draft import Draft, unique_name
from reconciler.inspection.imports.foreign_text import Folder, Unreadable, yaml_items
from reconciler.inspection.imports.known_servers import mentions, service_type
from reconciler.inspection.imports.ledger import Ledger
from reconciler.inspection.imports.web_command import take_command

FILES = ("deploy.yml", "deploy.yaml")

_IMAGE = "the daemon builds from source and stores no images"
_PROXY = "apps have no domains so far: let the proxy in front pass them to the app's port"
_ADVICE: Mapping[str, str] = {
    "image": _IMAGE,
    "registry": _IMAGE,
    "builder": _IMAGE,
    "asset_path": _IMAGE,
    "ssh": "apps run on this host",
    "sshkit": "apps run on this host",
    "traefik": _PROXY,
    "proxy": _PROXY,
    "volumes": "there are no volumes so far: 'persist' keeps files that the app writes beside its code",
    "boot": "a new instance takes over without a refused request",
    "logging": "the daemon keeps the logs: see 'logs' of the host's settings",
    "labels": "an app has no labels",
    "aliases": "use 'reconciler shell APP -- COMMAND'",
    "hooks_path": "put what every deploy needs into 'release'",
    "require_destination": "write one manifest for each host",
    "minimum_version": "it is Kamal's own",
    "primary_role": "only web processes are served so far",
    "retain_containers": "how many builds are kept is in the host's settings",
    "readiness_delay": "readiness is probed: set 'health'",
    "run_directory": "it is Kamal's own",
    "secrets_path": "write each secret to a file, and add NAME: {file: …} to 'env'",
}
_PROCESS = "only web processes are served so far: run it under systemd with 'reconciler shell'"


def read(ledger: Ledger, folder: Folder, name: str) -> list[Draft]:  # noqa: C901, PLR0912  one part for each field
    """Return the app and the services of a deploy.yml; no app where the source is none of Python."""
    text = re.sub(r"<%.*?%>", lambda found: "ERB" + "\n" * found[0].count("\n"), folder.text(name), flags=re.DOTALL)
    ledger.add(yaml_items(name, text))
    source = folder.path.parent if folder.path.resolve().name == "config" else folder.path
    draft = Draft(name=unique_name(ledger.value("service") or source.resolve().name, set()))
    draft.fields["path"] = ".." if source != folder.path else "."
    if not _take_command(ledger, draft, Folder(source)):
        ledger.leave(ledger.items, "it is no Python app")
        return []
    drafts = {draft.name: draft}
    for accessory in ledger.names("accessories"):
        _take_accessory(ledger, draft, accessory, drafts)
    _take_env(ledger, draft)
    _take_servers(ledger, draft)
    for top in ("proxy", "healthcheck"):
        base = (top, "healthcheck") if top == "proxy" else (top,)
        path = ledger.value(*base, "path")
        if path and path.startswith("/"):
            draft.fields["health"] = {"path": path}
            for field in ("interval", "timeout"):
                value = ledger.under(*base, field)
                if value and re.fullmatch(r"[1-9]\d{0,4}s?", value[0].value):
                    draft.fields["health"][field] = f"{value[0].value.removesuffix('s')}s"
                    ledger.use(*value)
    for field in ("drain_timeout", "stop_wait_time"):
        for item in ledger.under(field):
            if item.value.isdecimal() and int(item.value) > 0:
                draft.fields["stop_timeout"] = f"{item.value}s"
                ledger.use(item)
    for item in ledger.under("deploy_timeout"):
        if item.value.isdecimal() and int(item.value) > 0:
            draft.fields.setdefault("health", {})["start_timeout"] = f"{item.value}s"
            ledger.use(item)
    for field, advice in _ADVICE.items():
        for below in ledger.names(field) or ("",):
            items = ledger.under(field, below) if below else ledger.under(field)
            ledger.leave(items, advice, draft.notes)
    ledger.leave_rest(notes=draft.notes)
    return list(drafts.values())


def _take_command(ledger: Ledger, draft: Draft, source: Folder) -> bool:
    """Take over the command of the web servers, or that of the Dockerfile."""
    for item in ledger.under("servers", "web", "cmd"):
        if take_command(ledger, draft, item, source.path, listens=False):
            return True
    try:
        command = dockerfile_command("Dockerfile", source.text("Dockerfile"))
    except Unreadable:
        command = None
    if command is not None and take_command(ledger, draft, command, source.path, listens=False):
        return True
    return source.has_python()


def _take_accessory(ledger: Ledger, draft: Draft, accessory: str, drafts: dict[str, Draft]) -> None:
    base = ("accessories", accessory)
    image = ledger.under(*base, "image")
    kind = service_type(image[0].value) if image else None
    if kind is None:
        ledger.leave(ledger.under(*base), "it is no service that is known here: run it by other means", draft.notes)
        return
    service = Draft(name=unique_name(accessory, drafts), kind="service", fields={"type": kind})
    drafts[service.name] = service
    draft.bind(service.name)
    ledger.use(*image)
    for field in ledger.names(*base):
        advice = "the server that the host's settings name has its own: see 'services.servers' there"
        ledger.leave(ledger.under(*base, field), advice, service.notes)


def _take_env(ledger: Ledger, draft: Draft) -> None:
    hosts = [f"{draft.name}-{each}" for each in ledger.names("accessories")]
    for item in ledger.under("env"):
        if "secret" in item.path[1:2]:
            name = item.value.partition(":")[0]
            ledger.leave(
                [replace(item, path=("env", "names"))],
                f"its value is not in the file: write it to a file, and add {name}: {{file: …}} to 'env'",
                draft.notes,
            )
        elif any(mentions(item.value, host) for host in hosts):
            advice = "an accessory's name is no address here: the app finds it by DATABASE_URL or VCAP_SERVICES"
            ledger.leave([item], advice, draft.notes)
        elif item.path[1:2] == ("tags",) or "ERB" in item.value:
            ledger.leave([item], f"add {item.name} to 'env'", draft.notes)
        elif len(item.path) == 2 or item.path[1] == "clear":
            draft.set_variable(ledger, item, item.path[-1], item.value)


def _take_servers(ledger: Ledger, draft: Draft) -> None:
    for role in ledger.names("servers"):
        items = ledger.under("servers", role)
        if role.isdigit() or role == "web":
            ledger.leave(items, "apps run on this host: save the manifest on each host", draft.notes)
        else:
            ledger.leave(items, _PROCESS, draft.notes)
