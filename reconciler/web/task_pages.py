"""The pages of tasks: what ran and runs of an app, its schedules, one task with its output, and the requests."""

import asyncio
import shlex
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from reconciler.inspection.tasks import facts
from reconciler.planning.subject import Subject
from reconciler.web.api import known_app, shown_lines
from reconciler.web.app_links import viewer_of
from reconciler.web.authentication import Caller
from reconciler.web.context import WebContext
from reconciler.web.rendering import Templates
from reconciler.web.request_body import read_form
from reconciler.web.responses import Problem
from reconciler.web.rows import row
from reconciler.web.task_requests import known_task, task_request

_TASKS, _LINES = 50, 500


class TaskPages:
    """The pages of the tasks of one host."""

    def __init__(self, context: WebContext, templates: Templates) -> None:
        self._context = context
        self._templates = templates

    def routes(self) -> list[Route]:
        """Return the route of every page of tasks."""
        authenticated = self._context.authenticated
        return [
            Route("/apps/{name}/tasks", authenticated(self.tasks), methods=["GET"]),
            Route("/apps/{name}/tasks", authenticated(self.run), methods=["POST"]),
            Route("/apps/{name}/schedules/{schedule}", authenticated(self.confirm_trigger), methods=["GET"]),
            Route("/apps/{name}/schedules/{schedule}", authenticated(self.trigger), methods=["POST"]),
            Route("/tasks/{task}", authenticated(self.task), methods=["GET"]),
            Route("/tasks/{task}/cancel", authenticated(self.confirm_cancel), methods=["GET"]),
            Route("/tasks/{task}/cancel", authenticated(self.cancel), methods=["POST"]),
        ]

    async def tasks(self, request: Request, caller: Caller) -> Response:
        """Show the schedules of an app and its newest tasks; raises Problem."""
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        found = await self._context.status_cache.tasks(str(app["name"]), _TASKS)
        return self._templates.page(
            "tasks.html",
            caller,
            status=status,
            row=row(app, status, viewer_of(request)),
            app=app,
            tasks=[facts(task) for task in found],
            notice=self._context.take_note(caller, Subject("app", str(app["name"]))),
        )

    async def task(self, request: Request, caller: Caller) -> Response:
        """Show a task with what it printed; raises Problem."""
        found = await known_task(self._context, request.path_params["task"])
        status = await self._context.status_cache.now()
        log = await asyncio.to_thread(self._log, found.app, found.id)
        notice = self._context.take_note(caller, Subject("app", found.app))
        return self._templates.page(
            "task.html", caller, status=status, task=facts(found), log=log, is_open=found.is_open, notice=notice
        )

    async def run(self, request: Request, caller: Caller) -> Response:
        """Run a command of an app, and show it; raises Problem."""
        form = await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        app = str(known_app(request, await self._context.status_cache.now())["name"])
        try:
            words = shlex.split(form.get("command", ""))
        except ValueError as error:
            raise Problem(400, f"the command has a quotation without an end: {error}") from None
        answer = await self._context.ask(task_request({"do": "task", "app": app, "command": words}))
        return RedirectResponse(f"{caller.session.base}/tasks/{answer['task']}", 303)

    async def confirm_trigger(self, request: Request, caller: Caller) -> Response:
        status = await self._context.status_cache.now()
        app = known_app(request, status)
        schedule = _known_schedule(request, app["schedules"])
        return self._templates.page(
            "confirm_task.html",
            caller,
            status=status,
            label="Run now",
            question=f"Run schedule {schedule} of {app['name']} now?",
            effect="A task of it starts now, or once its last one has ended. Its times stay as they are.",
            action=f"/apps/{quote(str(app['name']), safe='')}/schedules/{quote(schedule, safe='')}",
            back=f"/apps/{quote(str(app['name']), safe='')}/tasks",
        )

    async def trigger(self, request: Request, caller: Caller) -> Response:
        """Run a schedule out of turn, and show its task; raises Problem."""
        form = await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        app = known_app(request, await self._context.status_cache.now())
        schedule = _known_schedule(request, app["schedules"])
        answer = await self._context.ask({"do": "trigger", "app": str(app["name"]), "schedule": schedule})
        return RedirectResponse(f"{caller.session.base}/tasks/{answer['task']}", 303)

    async def confirm_cancel(self, request: Request, caller: Caller) -> Response:
        found = await known_task(self._context, request.path_params["task"])
        return self._templates.page(
            "confirm_task.html",
            caller,
            status=await self._context.status_cache.now(),
            label="Cancel the task",
            question=f"Cancel task {found.id} of {found.app}?",
            effect="It is told to end by SIGTERM, and all that it has started is killed if that has not helped soon.",
            action=f"/tasks/{found.id}/cancel",
            back=f"/tasks/{found.id}",
        )

    async def cancel(self, request: Request, caller: Caller) -> Response:
        """Cancel a task, and show it; raises Problem."""
        form = await read_form(request)
        self._context.access.check_write(request, caller, form.get("form_token", ""))
        found = await known_task(self._context, request.path_params["task"])
        answer = await self._context.ask({"do": "cancel", "task": found.id})
        self._context.note(caller, Subject("app", found.app), str(answer["done"]))
        return RedirectResponse(f"{caller.session.base}/tasks/{found.id}", 303)

    def _log(self, app: str, task: str) -> list[str]:
        try:
            return shown_lines(self._context, app, self._context.settings.paths.task_log(app, task), _LINES, False)
        except OSError:
            return []


def _known_schedule(request: Request, schedules: list[dict[str, str]]) -> str:
    name = str(request.path_params["schedule"])
    if all(each["name"] != name for each in schedules):
        raise Problem(404, "the app has no schedule of this name")
    return name
