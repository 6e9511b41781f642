"""Push an image to a registry, for a command: the options, what is said meanwhile, failures."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from reconciler.cli.failure import Failure
from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass

if TYPE_CHECKING:
    from reconciler.staging.images.push import Pushed
    from reconciler.staging.images.reference import Reference

_ANSWER_S = 60.0
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--mount-from",
        metavar="REPOSITORY",
        help="The repository of that registry that has the base: its layers are taken from there, and not sent.",
    ),
    click.option(
        "--registry-auth",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="RECONCILER_REGISTRY_AUTH",
        metavar="FILE",
        help="The Docker configuration with the logins of registries."
        "  [default: $DOCKER_CONFIG/config.json, or ~/.docker/config.json]",
    ),
    click.option(
        "--registry-ca",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="RECONCILER_REGISTRY_CA",
        metavar="FILE",
        help="The only authorities to trust the registry's certificate from, in place of this host's.",
    ),
    click.option("--plain-http", is_flag=True, help="Ask the registry without TLS."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """How a registry is to be asked."""

    mount_from: str | None
    registry_auth: Path | None
    registry_ca: Path | None
    plain_http: bool

    def destination(self, text: str) -> "Reference":
        """Return where an image is to be pushed. Raises ClickException for what is wrong with it, before any work."""
        from reconciler.staging.images.reference import RegistryError, reference_of, repository_of

        try:
            if self.mount_from is not None:
                repository_of(self.mount_from)
            return reference_of(text)
        except RegistryError as error:
            raise click.UsageError(plain(str(error))) from error

    def push(self, app: str, layout: Path, digest: str, to: "Reference") -> "Pushed":
        """Push the image of a layout. Raises ClickException."""
        from reconciler.staging.errors import StagingError
        from reconciler.staging.images.layout import locked_layout
        from reconciler.staging.images.push import Push, PushRequest
        from reconciler.staging.images.registry import Registry
        from reconciler.staging.images.registry_login import login_for
        from reconciler.staging.images.registry_transport import Transport, trusting

        def told(what: str) -> None:
            click.echo(f"reconciler: {app}: {plain(what)}", err=True)

        scopes = [f"repository:{to.repository}:pull,push"]
        if self.mount_from is not None:
            scopes.append(f"repository:{self.mount_from}:pull")
        try:
            login, trust = login_for(to.registry, self.registry_auth), trusting(self.registry_ca)
            transport = Transport(to.registry, plain=self.plain_http, trust=trust, answer_s=_ANSWER_S)
            registry = Registry(transport, tuple(scopes), login, told=told)
            request = PushRequest(layout=layout, digest=digest, to=to, base=self.mount_from or "")
            with locked_layout(layout):
                return Push(request, registry).to_the_end()
        except (StagingError, OSError) as error:
            kept = f"the image in {layout} is whole; run the command again, which sends what has not arrived"
            raise Failure("failed", plain(f"cannot push {app} to {to}: {error}; {kept}")) from error


def push_options(command: _Command) -> _Command:
    """Add the options of a push, and pass them as `options`."""

    @functools.wraps(command)
    def ready(
        mount_from: str | None, registry_auth: Path | None, registry_ca: Path | None, plain_http: bool, **rest: Any
    ) -> Any:
        options = PushOptions(
            mount_from=mount_from, registry_auth=registry_auth, registry_ca=registry_ca, plain_http=plain_http
        )
        return command(options=options, **rest)

    decorated: Any = ready
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
