"""Know the interface of the apps that the classes and factories of web frameworks make, by their full names."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

Interface: TypeAlias = Literal["wsgi", "asgi"]

# The interface of what a class or factory returns, by its full name.
_FACTORIES: Mapping[str, Interface] = {
    "flask.Flask": "wsgi",
    "bottle.Bottle": "wsgi",
    "bottle.default_app": "wsgi",
    "falcon.App": "wsgi",
    "falcon.API": "wsgi",
    "falcon.asgi.App": "asgi",
    "werkzeug.middleware.dispatcher.DispatcherMiddleware": "wsgi",
    "whitenoise.WhiteNoise": "wsgi",
    "webapp2.WSGIApplication": "wsgi",
    "cherrypy.Application": "wsgi",
    "cherrypy.tree.mount": "wsgi",
    "connexion.AsyncApp": "asgi",
    "django.core.wsgi.get_wsgi_application": "wsgi",
    "django.core.asgi.get_asgi_application": "asgi",
    "django.core.handlers.wsgi.WSGIHandler": "wsgi",
    "django.core.handlers.asgi.ASGIHandler": "asgi",
    "configurations.wsgi.get_wsgi_application": "wsgi",
    "channels.routing.ProtocolTypeRouter": "asgi",
    "channels.routing.get_default_application": "asgi",
    "datasette.app.Datasette.app": "asgi",
    "fastapi.FastAPI": "asgi",
    "starlette.applications.Starlette": "asgi",
    "fasthtml.common.FastHTML": "asgi",
    "fasthtml.common.fast_app": "asgi",
    "quart.Quart": "asgi",
    "litestar.Litestar": "asgi",
    "starlite.Starlite": "asgi",
    "responder.API": "asgi",
    "blacksheep.Application": "asgi",
    "sanic.Sanic": "asgi",
    "socketio.ASGIApp": "asgi",
    "socketio.WSGIApp": "wsgi",
    "asgiref.wsgi.WsgiToAsgi": "asgi",
    "a2wsgi.ASGIMiddleware": "wsgi",
    "a2wsgi.WSGIMiddleware": "asgi",
}
_FACTORY_METHODS: Mapping[str, Interface] = {"make_wsgi_app": "wsgi", "wsgifunc": "wsgi", "http_app": "asgi"}
# Names that other things than apps have as well.
_AMBIGUOUS = frozenset(("App", "Application", "mount"))


def of_call(full: str) -> Interface | None:
    """Return the interface of what a call of a full name returns, None for an unknown one."""
    return _FACTORIES.get(full) or _of_framework(full) or _FACTORY_METHODS.get(full.rpartition(".")[2])


def of_class_name(name: str) -> Interface | None:
    """Return the interface of the instances of a framework's class, by its bare name."""
    return next(
        (kind for factory, kind in _FACTORIES.items() if factory.endswith(f".{name}") and name not in _AMBIGUOUS), None
    )


def _of_framework(full: str) -> Interface | None:
    """Recognise a framework's class that is imported from another of its modules, such as `flask.app.Flask`."""
    package, name = full.partition(".")[0], full.rpartition(".")[2]
    return next(
        (
            kind
            for factory, kind in _FACTORIES.items()
            if factory.startswith(f"{package}.") and factory.endswith(f".{name}")
        ),
        None,
    )
