"""Deliberate mistakes in deciding and retrying, each of which some test must catch: `python -m tests.tools.mutants`."""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ("unit/planning", "unit/convergence", "simulation")


MOST_MEMORY = 1_500_000_000  # a mistake may make a story that never ends


@dataclass(frozen=True, slots=True)
class Mutant:
    """One text of one file put in the place of another."""

    mistake: str
    file: str
    right: str
    wrong: str


MUTANTS = (
    Mutant("the old one is stopped before its successor is ready", "planning/apps/plan_instances.py",
           "ranked[:-1] if ranked and ranked[-1].ready else ranked", "ranked"),
    Mutant("all but the newest old generation stay", "planning/apps/plan_instances.py",
           "surplus = ranked[:-1] if ranked and ranked[-1].ready else ranked", "surplus = ranked[:0]"),
    Mutant("of a crowd a dead weight stays instead of what serves", "planning/apps/plan_instances.py",
           "key=lambda i: (i.serves, i.ready, i.started_at)", "key=lambda i: i.started_at"),
    Mutant("every restart is immediate", "planning/apps/failures.py",
           "    if count <= 1:\n", "    if count <= 1000:\n"),
    Mutant("a restart delay has no cap", "planning/apps/failures.py",
           "min(policy.cap_s, policy.first_s *", "max(0.0, policy.first_s *"),
    Mutant("apps that died together come back together", "planning/apps/failures.py",
           "doubled * (0.75 + 0.5 * noise)", "doubled * (0.75 + 0.0 * noise)"),
    Mutant("a delay ends and nobody looks", "planning/apps/assessment.py",
           "            yield self.try_at\n            yield self.fallback_at\n", "            pass\n"),
    Mutant("an instance that is stopping is taken for the current one", "planning/apps/revision_choice.py",
           "        and i.stopping_since is None\n", ""),
    Mutant("a detached instance is taken for a sound one", "planning/apps/revision_choice.py",
           "        and not i.detached\n", ""),
    Mutant("an unhealthy instance is taken for a sound one", "planning/apps/failures.py",
           "    if instance.unhealthy is not None or _harm(instance, observed):\n        return True\n", ""),
    Mutant("an instance that loses workers on probation is taken for a sound one", "planning/apps/failures.py",
           "instance.workers_died > 0 or failed_process(instance, observed) is not None",
           "failed_process(instance, observed) is not None"),
    Mutant("a process that ends on probation is taken for a sound one", "planning/apps/failures.py",
           "(instance.workers_died > 0 or failed_process(instance, observed) is not None)",
           "instance.workers_died > 0"),
    Mutant("a known good revision that loses a worker is given up", "planning/apps/failures.py",
           "on_probation = not is_known_good(instance.revision, observed)", "on_probation = True"),
    Mutant("what has failed serves beside what is healthy", "planning/apps/plan_instances.py",
           "(not i.serves or (well and has_failed(i, known.observed)))", "not i.serves"),
    Mutant("one failure is recorded again and again", "planning/apps/failures.py",
           "        and not _is_recorded(i, observed)\n", ""),
    Mutant("a requested restart is not done", "planning/apps/revision_choice.py",
           "        and i.started_at >= observed.restart_before\n", ""),
    Mutant("an instance that is not ready is taken for one that serves", "planning/apps/assessment.py",
           "if self.current is not None and self.current.ready:\n            return Situation.SERVING",
           "if self.current is not None:\n            return Situation.SERVING"),
    Mutant("old listeners stay open", "planning/apps/plan_listener.py",
           "extra = sorted((observed.listeners - observed.dialled).difference(app.addresses), key=str)", "extra: list[Address] = []"),
    Mutant("an app is stopped while the proxy sends clients to it", "planning/apps/plan.py",
           "    if not observed.dialled or not observed.serves:\n        return None\n", "    return None\n"),
    Mutant("a port that nothing listens on is kept while the app fails", "planning/apps/plan_listener.py",
           "if u.address not in used", "if False"),
    Mutant("a port is closed under an instance", "planning/apps/plan_listener.py",
           "if u.address not in used", "if True"),
    Mutant("old builds stay for ever", "planning/apps/plan_instances.py",
           "    if known.is_proven:\n        actions += _remove_builds(known)\n",
           "    if known.is_proven:\n        pass\n"),
    Mutant("builds of known good revisions are removed", "planning/apps/plan_instances.py",
           "{p.build.id for p in known.observed.known_good} | known.observed.builds_in_use", "known.observed.builds_in_use"),
    Mutant("builds that tasks and processes use are removed", "planning/apps/plan_instances.py",
           "{p.build.id for p in known.observed.known_good} | known.observed.builds_in_use",
           "{p.build.id for p in known.observed.known_good}"),
    Mutant("an unreadable source is never read again", "planning/apps/plan.py",
           "(source.problem is None or now >= source.tried_at + READ_AGAIN_S)", "source.problem is None"),
    Mutant("an unreadable source is read again and again", "planning/apps/plan.py",
           "source.stale and (source.problem is None or now >= source.tried_at + READ_AGAIN_S)", "source.stale"),
    Mutant("a moved source is not read", "planning/apps/plan.py",
           "if source is None or source.source != app.source:", "if source is None:"),
    Mutant("what has exited is not reaped", "planning/apps/failures.py",
           "[i for i in observed.instances if i.end is not None]", "[]"),
    Mutant("what was told to stop is counted as failed", "planning/apps/failures.py",
           "    if exited.stopping_since is not None:\n        return None\n", ""),
    Mutant("a good run does not reset the count", "planning/apps/failures.py",
           "and served_s < app.crash.good_run_s else 0", "else 0"),
    Mutant("a failure on probation is a mere crash", "planning/apps/failures.py",
           'kind="crashed" if known_good else "rejected"', 'kind="crashed"'),
    Mutant("a crash of what is known good makes it rejected", "planning/apps/failures.py",
           'kind="crashed" if known_good else "rejected"', 'kind="rejected"'),
    Mutant("a failed gate rejects nothing", "planning/apps/failures.py",
           '"crashed" if is_known_good(revision.id, observed) else "rejected"', '"crashed"'),
    Mutant("failures are not counted", "planning/apps/failures.py",
           "kind=kind, count=count + 1", "kind=kind, count=1"),
    Mutant("a rejected revision is tried before the one before is back", "planning/apps/assessment.py",
           "if self._needs_fallback() and not self.observed.unmet_dependencies:", "if False:"),
    Mutant("a known good revision that crashes is rolled back", "planning/apps/assessment.py",
           ' and self.failure.kind == "rejected")\n\n    def _forgiven_at', ")\n\n    def _forgiven_at"),
    Mutant("a fallback that fails is started without a pause", "planning/apps/assessment.py",
           "        if self.fallback_at > self.now:\n            return False\n", ""),
    Mutant("a fallback listens where it did when it was good", "planning/apps/revision_choice.py",
           "        here = replace(earlier, address=app.address, beside=app.beside)\n", "        here = earlier\n"),
    Mutant("a fallback listens at one of two addresses only", "planning/apps/revision_choice.py",
           "replace(earlier, address=app.address, beside=app.beside)", "replace(earlier, address=app.address)"),
    Mutant("a rejected revision is retried at once beside what serves", "planning/apps/failures.py",
           ' or (failure.kind == "rejected" and beside)', ""),
    Mutant("a build that could not be made is made again at once", "planning/apps/failures.py",
           'failure.phase == "staging" or ', ""),
    Mutant("an index is asked again and again for what it does not have", "planning/apps/failures.py",
           'if failure.retry == "later":', "if False:"),
    Mutant("what only an edit can fix is staged again by itself", "planning/apps/assessment.py",
           'return failure.retry == "never"', "return False"),
    Mutant("what could not be staged is never staged again", "planning/apps/assessment.py",
           'return failure.retry == "never"', "return True"),
    Mutant("a build is made again before its time", "planning/apps/plan_instances.py",
           " or (known.failed_to_stage is not None and known.try_at > known.now)", ""),
    Mutant("a failed revision is retried before its time", "planning/apps/assessment.py",
           "if self.current is None and self.try_at > self.now:", "if False:"),
    Mutant("no revision is ever good", "planning/apps/plan_instances.py",
           "    elif known.now >= known.proven_at(current):", "    elif False:"),
    Mutant("a revision is good before its probation is over", "planning/apps/plan_instances.py",
           "    elif known.now >= known.proven_at(current):", "    else:"),
    Mutant("the end of a probation is not looked at", "planning/apps/assessment.py",
           "                yield self.proven_at(self.current)\n", "                pass\n"),
    Mutant("a requested rollback is not done", "planning/apps/assessment.py",
           "rolled_back(app, observed) or self.desired", "self.desired"),
    Mutant("a rollback outlives a change of the source", "planning/apps/revision_choice.py",
           " or override.holds_for != app.revision(observed.source.content).id", ""),
    Mutant("a requested stop outlives a change of the manifest", "planning/apps/plan.py",
           " and override.holds_for == app.fingerprint", ""),
    Mutant("the release command is not run", "planning/apps/plan_instances.py",
           "if release is not None and release not in known.observed.released:", "if False:"),
    Mutant("the release command is run at every start", "planning/apps/plan_instances.py",
           "if release is not None and release not in known.observed.released:", "if release is not None:"),
    Mutant("a failed release command of what sleeps is run without a pause", "planning/apps/plan_instances.py",
           "*(prepare(known) if due else ())", "*prepare(known)"),
    Mutant("an idle app is never put to sleep", "planning/apps/plan_instances.py",
           "    if known.idle_at(current) <= known.now:\n", "    if False:\n"),
    Mutant("a busy app is put to sleep", "planning/apps/assessment.py",
           "current.busy_at or -NEVER, ", ""),
    Mutant("idleness is not waited for", "planning/apps/assessment.py",
           "            yield self.idle_at(self.current)\n", ""),
    Mutant("a connection does not wake", "planning/apps/plan_listener.py",
           "observed.sleep_state.activated_at is not None or not app.may_sleep", "not app.may_sleep"),
    Mutant("what sleeps is started for no reason", "planning/apps/assessment.py",
           "return gate_passed in (None, self.target.id) or self.try_at > self.now", "return False"),
    Mutant("what is new does not pass its gate while it sleeps", "planning/apps/assessment.py",
           "return gate_passed in (None, self.target.id) or self.try_at > self.now", "return True"),
    Mutant("what is lazy is started before a connection", "planning/apps/plan_listener.py",
           " or (app.lazy and not observed.serves)", ""),
    Mutant("nobody waits for a connection", "planning/apps/plan_listener.py",
           "*(arm for arm in arms if arm.address not in observed.armed),", ""),
    Mutant("nobody answers for an app that cannot", "planning/apps/plan_listener.py",
           "*(each for each in held if each.address in unserved)", ""),
    Mutant("an address is open long before its instance", "planning/apps/plan_listener.py",
           "    return observed.serves and not observed.serves_at(address)\n", "    return False\n"),
    Mutant("the daemon answers where an instance serves, too", "planning/apps/plan_listener.py",
           " if each.address in unserved)", ")"),
    Mutant("what listens at another app's address stays", "planning/apps/plan_instances.py",
           ", *_stop_ceded(known)]", "]"),
    Mutant("clients have no patience", "planning/apps/plan_listener.py",
           "+ app.patience_s", "+ 0.0"),
    Mutant("the end of patience is not looked at", "planning/apps/assessment.py",
           "        yield answer_at(self.app, self.observed)\n", ""),
    Mutant("the daemon answers while an instance serves", "planning/apps/plan_listener.py",
           "(a for a in observed.holding if observed.serves_at(a))", "()"),
    Mutant("what depends on another does not wait for it", "planning/apps/assessment.py",
           "if self.current is None and self.observed.unmet_dependencies and not self.observed.serves:", "if False:"),
    Mutant("what others depend on is stopped before them", "planning/apps/plan.py",
           "if not observed.stopping_dependents or all(i.end is not None for i in observed.instances):", "if True:"),
    Mutant("maintenance does not wait for what depends on it", "planning/apps/plan.py",
           "    if waiting is not None:\n        return replace", "    if False:\n        return replace"),
    Mutant("maintenance closes the listener", "planning/apps/plan.py",
           "actions: list[Action] = [*reap(None, observed, 0.0), *listen(app, observed)]",
           "actions: list[Action] = [*reap(None, observed, 0.0)]"),
    Mutant("a removed app leaves its records", "planning/apps/plan.py",
           "    if actions or observed.has_residue:\n", "    if False:\n"),
    Mutant("a stopped app keeps its port", "planning/apps/plan.py",
           "for a in sorted(observed.listeners, key=str)", "for a in ()"),
    Mutant("an edit does not interrupt an action", "convergence/converge.py",
           "superseded = planned.first != action and doing.cancel()", "superseded = False"),
    Mutant("any wake-up interrupts an action", "convergence/converge.py",
           "superseded = planned.first != action and doing.cancel()", "superseded = doing.cancel()"),
    Mutant("time alone interrupts nothing", "convergence/converge.py",
           "key.woken(planned.recheck_at)", "key.woken(None)"),
    Mutant("immediate actions are not done", "convergence/converge.py",
           "            await world.do(self.name, action)\n        return", "            pass\n        return"),
    Mutant("a removed app is reported for ever", "convergence/converge.py",
           "        if planned.first is None and key.asked() is None and not planned.reportable:\n"
           "            return planned\n",
           ""),
    Mutant("what works without an effect is done without a pause", "convergence/converge.py",
           "if doing == done:", "if False:"),
    Mutant("a fallback that fails is said to have made no difference", "convergence/converge.py",
           "doing = (planned.first, planned.first.attempt)", "doing = (planned.first, 0)"),
    Mutant("a back-off ends at any wake-up", "convergence/controller.py",
           "            if planned.first != failing.failure.action:\n                return\n            await",
           "            break\n            await"),
    Mutant("a back-off cannot be ended", "convergence/controller.py",
           "            if planned.first != failing.failure.action:\n                return\n", ""),
    Mutant("clients are not answered during a back-off", "convergence/controller.py",
           "key.woken(min(until, planned.recheck_at or until))", "key.woken(until)"),
    Mutant("what came in between makes a failed action be tried at once", "convergence/controller.py",
           "if failing is None or failing.failure.action != action or self._world.now() >= failing.until:",
           "if True:"),
    Mutant("failures of different actions are counted as one", "convergence/controller.py",
           "again = before is not None and before.failure.action.counted_as == failure.action.counted_as", "again = before is not None"),
    Mutant("failures in a row are not counted", "convergence/controller.py",
           "count = before.count + 1 if before is not None and again else 1", "count = 1"),
    Mutant("back-off has no cap", "convergence/backoff.py",
           "min(self.cap_s, self.first_s *", "max(0.0, self.first_s *"),
    Mutant("a lost event is lost", "convergence/controller.py",
           "self._wakeups.look_again(name)", "pass"),
    Mutant("an edit wakes nobody", "convergence/controller.py",
           "(was is not now and was != now) or ", ""),
    Mutant("the task of a removed app never ends", "convergence/controller.py",
           "if key.asked() is None and not key.wakeup.is_set() and", "if False and"),
    Mutant("an internal error of one app ends all", "convergence/controller.py",
           "            await self._survive(key, error)\n", "            raise\n"),
    Mutant("an internal error is met again and again without a pause", "convergence/controller.py",
           "        await asyncio.sleep(self._backoff.first_s)\n"
           "        await self._wait(key, again_at, None)\n",
           ""),
    Mutant("a wake-up at rest changes nothing", "convergence/controller.py",
           "return key.plan(self._world) is done and not done.immediate", "return True"),
    Mutant("what failed is tried once more without a pause", "convergence/controller.py",
           "wait=lambda attempt: self._delay_s(key, _failure_of(attempt))", "wait=lambda attempt: 0.0"),
    Mutant("a plan outlives the time it holds for", "planning/cache.py",
           "last.desired is desired and _holds(last.plan, now)", "last.desired is desired"),
    Mutant("a plan outlives what was observed", "planning/cache.py",
           " and last.observed == observed:", ":"),
    Mutant("a plan outlives what was desired", "planning/cache.py",
           "last.desired is desired and ", ""),
    Mutant("an edit of workers changes nothing", "planning/apps/plan_instances.py",
           "    if instance.workers < wanted or (instance.workers > wanted and not keeps_all):\n", "    if False:\n"),
    Mutant("an edit of limits changes nothing", "planning/apps/plan_instances.py",
           "    if instance.pid and instance.limits != known.app.limits:\n", "    if False:\n"),
    Mutant("what nears its limit stays", "planning/apps/revision_choice.py",
           "        and not i.outgrown\n", ""),
    Mutant("a deploy starts with one worker", "planning/apps/plan_instances.py",
           "Start(revision=revision, workers=workers, failing", "Start(revision=revision, workers=1, failing"),
    Mutant("another number of workers is another revision", "planning/apps/app.py",
           "        server=without_workers(self.server),\n", "        server=self.server,\n"),
    Mutant("a failure with other workers holds up an edit", "planning/apps/observed.py",
           "known.workers in (0, workers)", "known.workers >= 0"),
    Mutant("a crash is called a rollback", "planning/apps/causes.py",
           "Cause(Reason.CRASHED if failure.kind", "Cause(Reason.ROLLED_BACK_BY_OPERATOR if failure.kind"),
    Mutant("a rollback is not recognised by its reason", "planning/apps/plan_instances.py",
           "Cause(Reason.ROLLED_BACK_BY_OPERATOR, text)", "Cause(Reason.NONE, text)"),
)  # fmt: skip


def survives(mutant: Mutant) -> bool:
    """True when no test notices; one that never ends is noticed too."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory)
        for part in ("reconciler", "tests"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)
        file = tree / "reconciler" / mutant.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutant.right) != 1:
            raise SystemExit(f"{mutant.mistake}: {mutant.file} has {text.count(mutant.right)} times {mutant.right!r}")
        file.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
        paths = [f"tests/{name}" for name in TESTS]
        command = [
            "prlimit",
            f"--as={MOST_MEMORY}",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            *paths,
        ]
        environment = {**os.environ, "PYTHONPATH": str(tree), "RECONCILER_TESTS": "mutants"}
        try:
            ran = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=180, check=False)
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0


RIGHT = Mutant("", "planning/apps/plan.py", "def plan(app: App", "def plan(app: App")


def main() -> int:
    """Try the mutants whose mistake contains a word of the command line; all without one."""
    words = sys.argv[1:] or [""]
    tried = [m for m in MUTANTS if any(word in m.mistake for word in words)]
    if not survives(RIGHT):
        raise SystemExit("the tests fail without any mistake")
    missed = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for mutant, alive in zip(tried, pool.map(survives, tried), strict=True):
            missed += [mutant.mistake] * alive
            print("NOT CAUGHT" if alive else "caught", mutant.mistake, sep="  ", flush=True)
    print(f"{len(tried) - len(missed)} of {len(tried)} caught", *missed, sep="\nNOT CAUGHT  ")
    return min(len(missed), 1)


if __name__ == "__main__":
    raise SystemExit(main())
