"""Write apps as objects of Kubernetes.

Turns each APP's manifest into what runs it in a cluster of version 1.25 or newer: Deployments, CronJobs, a Job for the
release command, a Service, routes. Nothing is left out without a word: what differs there is reported on standard
error, and an app with a field that no object can keep is refused, with its line and what to do. The image is one that
'reconciler image' made, by its digest. Secrets are named, and written only with --secrets include. The same manifest
gives the same bytes. Changes nothing, and needs no cluster and no daemon.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import DURATION, all_option, examples, manifests_option, refuse_both, without_daemon
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.cluster.objects import Exported
    from reconciler.cluster.pods import Object
    from reconciler.cluster.target import Gateway, IngressClass, Target, Values
    from reconciler.documents.problem import Problem
    from reconciler.inspection.exports import Documents
    from reconciler.planning.scaling.instance_range import InstanceRange

_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
_COUNTS = re.compile(r"([1-9][0-9]{0,3})(?:-([1-9][0-9]{0,3}))?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_MOST_DRAIN_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """How objects are written: as YAML or JSON, and with which secrets."""

    form: str
    secrets: str

    @property
    def are_known(self) -> bool:
        """Whether the secrets have to be read."""
        return self.secrets != "omit"

    def text(self, objects: "Sequence[Object]") -> str:
        """Return objects as they are written."""
        from reconciler.cluster.written import as_json, as_yaml

        return as_json(objects) if self.form == "json" else as_yaml(objects)


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler export shop --image registry.example.com/web/shop@sha256:… | kubectl diff -f -",
        "reconciler export shop api --image shop=…@sha256:… --image api=…@sha256:… --output deploy",
        "reconciler export shop --image … --namespace web --gateway infra/public --instances 2-10",
        "reconciler export shop --image … --ingress-class traefik --secrets include",
        "reconciler export shop --image … --without idle_after --without canary",
        "reconciler export --rbac --namespace web",
    ),
)
@click.argument("apps", nargs=-1, metavar="[APP]...")
@all_option("Every app that the manifests describe.")
@click.option("--image", "images", multiple=True, metavar="[APP=]IMAGE", help="The image of APP, by its digest.")
@click.option("--namespace", metavar="NAME", default="", help="The namespace to name in the objects.  [default: none]")
@click.option("--instances", multiple=True, metavar="[APP=]N|MIN-MAX",
    help="How many pods serve an app.  [default: as the manifest says]",
)  # fmt: skip
@click.option(
    "--cpu", type=click.IntRange(1, 1000), default=70, show_default=True, metavar="PERCENT",
    help="With MIN-MAX: the share of limits.cpu in use at which there are enough pods.",
)  # fmt: skip
@click.option("--gateway", metavar="[NAMESPACE/]NAME", help="The Gateway that routes of domains are for.")
@click.option("--ingress-class", metavar="NAME", help="The class of the Ingress of domains.")
@click.option("--drain", type=DURATION, default="5s", show_default=True,
    help="How long a pod that is told to end goes on serving, until no more requests are sent to it.",
)  # fmt: skip
@click.option("--spread", type=click.Choice(("none", "host", "zone")), default="host", show_default=True,
    help="What the pods of an app are spread over.",
)  # fmt: skip
@click.option("--pull-secret", metavar="NAME", default="", help="The Secret with which the image is fetched.")
@click.option("--secrets", type=click.Choice(("omit", "include", "sealed-names")), default="omit", show_default=True,
    help="omit: name Secrets, and write none. include: write them, named by what is in them. "
    "sealed-names: name them as include does, and write none.",
)  # fmt: skip
@click.option("--without", multiple=True, metavar="FIELD", help="Export as if the manifest did not have this field.")
@click.option("--format", "form", type=click.Choice(("yaml", "json")), default="yaml", show_default=True,
    help="yaml: one document for each object. json: one List.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as --format json does.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Write APP.yaml for each APP into this directory.",
)  # fmt: skip
@click.option("--rbac", is_flag=True, help="Write a Role that may apply exports in its namespace, and no app.")
@without_daemon(manifests_option)
def command(  # noqa: PLR0913  one for each option
    *,
    settings: Settings,
    apps: tuple[str, ...],
    everything: bool,
    images: tuple[str, ...],
    namespace: str,
    instances: tuple[str, ...],
    cpu: int,
    gateway: str | None,
    ingress_class: str | None,
    drain: float,
    spread: str,
    pull_secret: str,
    secrets: str,
    without: tuple[str, ...],
    form: str,
    as_json: bool,
    output: Path | None,
    rbac: bool,
) -> None:
    from reconciler.cluster.objects import role
    from reconciler.cluster.target import Target

    how = _Form(form="json" if as_json else form, secrets=secrets)
    if rbac:
        if apps or everything:
            raise click.UsageError("give an APP or --rbac, not both")
        click.echo(how.text([role(_named(namespace, "--namespace"))]), nl=False)
        return
    names = _names(settings, apps, everything=everything)
    if drain % 1 or drain > _MOST_DRAIN_S:
        raise click.BadParameter(f"expected whole seconds, at most {_MOST_DRAIN_S}", param_hint="--drain")
    of_app, counts = _by_app(images, names, "--image"), _by_app(instances, names, "--instances")
    targets = {
        name: Target(
            image=_image(of_app.get(name), name),
            namespace=_named(namespace, "--namespace"),
            instances=_instances(counts.get(name), cpu),
            route=_route(gateway, ingress_class),
            drain_s=int(drain),
            spread=spread,  # type: ignore[arg-type]  # one of its choices
            pull_secret=_named(pull_secret, "--pull-secret"),
            release_timeout_s=settings.staging_timeout_s,
        )
        for name in names
    }
    _write(_exported(settings, targets, without, how), how, output)


def _names(settings: Settings, words: Sequence[str], *, everything: bool) -> tuple[str, ...]:
    """Return the names of the apps that are meant, each once. Raises UsageError without one."""
    from reconciler.cli.app_names import existing_apps
    from reconciler.inspection.exports import described
    from reconciler.planning.name_patterns import is_pattern

    refuse_both(words, everything=everything)
    if not words and not everything:
        raise click.UsageError("give the name of an APP, --all or --rbac")
    if everything or any(map(is_pattern, words)):
        known = described(settings)
        return tuple(known if everything else existing_apps(known, words))
    return tuple(dict.fromkeys(words))


def _by_app(given: Sequence[str], names: Sequence[str], option: str) -> dict[str, str]:
    """Return what an option says of each app: of all of them where it names none."""
    found: dict[str, str] = {}
    for text in given:
        app, is_named, value = text.rpartition("=")
        if is_named and app not in names:
            raise click.BadParameter(f"'{plain(app)}' is no APP of this command", param_hint=option)
        if not is_named and option == "--image" and len(names) > 1:
            raise click.BadParameter("of several apps, each has its own: APP=IMAGE", param_hint=option)
        found |= {app: value} if is_named else {name: value for name in names if name not in found}
    return found


def _image(given: str | None, app: str) -> str:
    if given is None:
        remedy = f"name it by its digest, as 'reconciler image {app} --push' prints it"
        raise click.UsageError(f"{app} needs --image: {remedy}")
    if not _DIGEST.fullmatch(given):
        message = f"expected an image by its digest, such as registry.example.com/web/{app}@sha256:…"
        raise click.BadParameter(
            f"{message}, not '{plain(given)}': a tag is another image tomorrow", param_hint="--image"
        )
    return given


def _instances(given: str | None, cpu: int) -> "InstanceRange | None":
    """Return how many instances are asked for beside the manifest, None for those of the manifest."""
    from reconciler.planning.scaling.instance_range import InstanceRange

    if given is None:
        return None
    found = _COUNTS.fullmatch(given)
    least, most = (int(found[1]), int(found[2]) if found[2] else None) if found else (0, None)
    if not found or (most is not None and most <= least):
        raise click.BadParameter(f"expected 3 or 2-10, not '{plain(given)}'", param_hint="--instances")
    return InstanceRange(least=least, most=most, cpu=cpu)


def _route(gateway: str | None, ingress_class: str | None) -> "Gateway | IngressClass | None":
    from reconciler.cluster.target import Gateway, IngressClass

    if gateway is not None and ingress_class is not None:
        raise click.UsageError("give --gateway or --ingress-class, not both")
    if ingress_class is not None:
        return IngressClass(name=_named(ingress_class, "--ingress-class"))
    if gateway is None:
        return None
    namespace, _, name = gateway.rpartition("/")
    return Gateway(name=_named(name or "/", "--gateway"), namespace=_named(namespace, "--gateway"))


def _named(name: str, option: str) -> str:
    if name and not _NAME.fullmatch(name):
        message = f"expected lower-case letters, digits, dots and hyphens, not '{plain(name)}'"
        raise click.BadParameter(message, param_hint=option)
    return name


def _exported(
    settings: Settings, targets: "Mapping[str, Target]", without: Sequence[str], how: _Form
) -> "dict[str, Exported]":
    """Return what each app is exported as. Raises ClickException if one of them is refused."""
    from reconciler.cluster.findings import Exporting
    from reconciler.cluster.objects import claimed_twice, exported
    from reconciler.inspection.exports import CannotExport, documents

    try:
        found = documents(settings, targets, without)
        values = _values(settings, found) if how.are_known else {}
    except CannotExport as error:
        _say(error.problems)
        raise Failure("manifest-errors", plain(str(error))) from error
    done = {
        name: exported(
            Exporting(
                app=each.app,
                tree=each.tree,
                target=targets[name],
                services=each.services,
                values=values.get(name),
                without=frozenset(without),
            ),
            by_content=how.are_known,
            with_secrets=how.secrets == "include",
        )
        for name, each in found.items()
    }
    refused = [name for name, each in done.items() if each.refusals]
    for name in refused:
        _say(done[name].refusals)
    if refused:
        remedy = "nothing is written. With --without FIELD, an app is exported as if it did not have that field"
        raise Failure("refused", plain(f"cannot export {', '.join(refused)}; {remedy}"))
    if twice := [*claimed_twice({name: each.objects for name, each in done.items()})]:
        raise Failure("refused", plain("; ".join(message for _, message in twice)))
    return done


def _values(settings: Settings, found: "Mapping[str, Documents]") -> "dict[str, Values]":
    from reconciler.cli.options import open_snapshot, paths_in_use
    from reconciler.inspection.exports import values_of

    if not any(each.app.bindings for each in found.values()):
        return {name: values_of(each.app, settings, None) for name, each in found.items()}
    with open_snapshot(paths_in_use(settings.paths.state)) as snapshot:
        return {name: values_of(each.app, settings, snapshot) for name, each in found.items()}


def _write(done: "Mapping[str, Exported]", how: _Form, output: Path | None) -> None:
    from reconciler.linux.files import replace_file

    if output is None:
        click.echo(how.text([each for found in done.values() for each in found.objects]), nl=False)
    else:
        mode = 0o600 if how.secrets == "include" else 0o644
        try:
            output.mkdir(parents=True, exist_ok=True)
            for name, each in done.items():
                replace_file(output / f"{name}.{how.form}", how.text(each.objects), mode=mode)
        except OSError as error:
            raise click.ClickException(f"cannot write into {plain(str(output))}: {in_words(error)}") from error
    for name, each in done.items():
        _say(each.notes, "note: ")
        for secret in each.missing:
            keys = f": {', '.join(secret.keys)}" if secret.keys else ""
            kind = "" if secret.kind == "Opaque" else f" of type {secret.kind}"
            click.echo(plain(f"to be made for {name}: the Secret {secret.name}{kind}{keys}"), err=True)


def _say(problems: "Iterable[Problem]", before: str = "") -> None:
    from dataclasses import replace

    for each in problems:
        click.echo(plain(str(replace(each, message=f"{before}{each.message}"))), err=True)
