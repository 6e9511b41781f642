"""The load of one app as looks at it show it, one after the other: a value that the next look turns into the next one.

Nothing of it is stored: after a restart of the daemon it begins again with the first look.
"""

from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.scaling.worker_range import BUSY_OF_LOOPS, BUSY_OF_WORKERS, WorkerRange

STEADY_S, RECENT_S, NEW_S = 30.0, 3.0, 3.0
_LONGEST_CALM_S, _PENALTY_S = 3600.0, 3600.0
_SHORTEST_START_S = 0.25
_LATE_LOOKS, _WORKED_OFF_S = 2, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An app at one moment, `at` monotonic seconds.

    Its master keeps so many `workers`, of `threads` threads each. `in_flight` requests are being worked on; the
    instance has answered `answered` requests in `seconds` in all; `waits` requests told that they waited, `waited_s` in
    all. `queue` are the connections that no worker has accepted. `cpu_s` is the processor time of an instance whose
    workers run an event loop, and work on any number of requests at once; None for all others. A worker takes `start_s`
    to become ready, and so many of them are `ready`, None where that is not known. A connection ended the last sleep of
    the app at `woken_at`.
    """

    at: float
    instance: str
    workers: int
    threads: int = 1
    in_flight: int = 0
    answered: int = 0
    seconds: float = 0.0
    waits: int = 0
    waited_s: float = 0.0
    queue: int = 0
    cpu_s: float | None = None
    start_s: float = _SHORTEST_START_S
    ready: int | None = None
    woken_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time between two looks, from `since` to `until`: how many requests were worked on at once, on average.

    Of event loops: how many cores they used. So many requests `came`, and so many were `answered`.
    """

    since: float
    until: float
    concurrency: float
    came: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is known of an app's load after a look.

    `arrivals` are the requests each second. `wait_s` is how long one waits for a worker, `late` the number of looks in
    a row in which that was too long, two at once where it was so for much longer than a worker takes to start, and
    `stuck_since` when the first of them was if nothing was answered since.
    `needs` are the most workers that were needed lately, with the time: each more than all after it. There were `base`
    workers `raised_at`, when one was added last; one was taken away `lowered_at`. `calm_s` is how long fewer must be
    enough, which is longer until `calm_until` where one was taken away too soon: for an hour after it last kept one
    that half as long would have taken away, and that was needed again.
    """

    look: Look
    spans: tuple[Span, ...] = ()
    arrivals: float = 0.0
    wait_s: float = 0.0
    late: int = 0
    stuck_since: float | None = None
    needs: tuple[tuple[float, int], ...] = ()
    base: int = 0
    raised_at: float = float("-inf")
    lowered_at: float = float("-inf")
    since: float = 0.0
    calm_s: float = 0.0
    calm_until: float = float("-inf")

    @classmethod
    def first(cls, asked: WorkerRange, look: Look) -> "Load":
        """Return what one look alone shows."""
        begun = cls(look=look, base=look.workers, since=look.at, calm_s=asked.calm_s)
        return replace(begun, needs=((look.at, begun.need(asked)),))

    def next(self, asked: WorkerRange, look: Look) -> "Load":
        """Return what is known after another look, which is later."""
        before, seconds = self.look, look.at - self.look.at
        if seconds <= 0:
            return self
        anew = look.instance != before.instance
        if anew and look.woken_at is not None and look.woken_at > before.at:
            return Load.first(asked, look)  # what was before its sleep says nothing
        span = _span(before, look, anew=anew)
        rate = span.answered / seconds
        spans = (*(each for each in self.spans if each.until > look.at - STEADY_S), span)
        queue = min(before.queue, look.queue)
        stuck_since = (self.stuck_since or before.at) if queue and not rate else None
        wait_s = look.at - stuck_since if stuck_since is not None else queue / rate if queue else 0.0
        if look.threads > 1 and look.cpu_s is None:  # such a worker accepts what its threads have no time for yet
            wait_s = max(wait_s, _told_s(before, look, anew=anew))
        late = self.late + 1 if wait_s > asked.queue_s else 0
        if rate and wait_s > 2 * look.start_s:  # another worker is there long before that is worked off
            late = max(late, _LATE_LOOKS)
        after = replace(
            _resized(self, asked, look),
            look=look,
            spans=spans,
            arrivals=rate,
            wait_s=wait_s,
            late=late,
            stuck_since=stuck_since,
        )
        need = after.need(asked)
        if after.calm_s > asked.calm_s and self._would_have_gone(asked, look) < min(need, look.workers):
            after = replace(after, calm_until=look.at + _PENALTY_S)
        return replace(after, needs=_highest(self.needs, (look.at, need), look.at - after.calm_s))

    def concurrency(self, over_s: float) -> float:
        """Return how many requests were worked on at once, or cores used, on average over the last seconds.

        Before the first look it was none, as far as is known: what waits is seen otherwise.
        """
        begin = self.look.at - over_s
        parts = ((each.until - max(begin, each.since), each.concurrency) for each in self.spans if each.until > begin)
        return sum(seconds * value for seconds, value in parts) / over_s

    def need(self, asked: WorkerRange) -> int:
        """Return how many workers would be as busy as they shall be, with those to spare on top."""
        share = asked.busy or (BUSY_OF_WORKERS if self.look.cpu_s is None else BUSY_OF_LOOPS)
        return _up(self.concurrency(STEADY_S) / (share * self.look.threads)) + asked.spare

    def hurry(self) -> int:
        """Return how many workers it takes to work on what waits, 0 while nothing waits too long.

        As many as work on all of it at once, but no more than `keeps_up` says.
        """
        if self.late < _LATE_LOOKS:
            return 0
        if self.look.cpu_s is not None:
            return self.look.workers + 1
        working = max(float(self.look.in_flight), self.concurrency(RECENT_S))
        waiting = max(float(self.look.queue), min(self.wait_s, RECENT_S) * self.arrivals)
        at_once = _up((working + waiting) / self.look.threads)
        return min(at_once, self.keeps_up() or at_once)

    def keeps_up(self) -> int:
        """Return how many workers keep up with what comes now, and work off what waits within two seconds.

        Or within the time that one takes to start, if that is longer; what waits while some start is left to those.
        0 while nothing shows how long a request takes, and of workers that accept more than they work on.
        """
        recent = [each for each in self.spans if each.until > self.look.at - RECENT_S]
        answered = sum(each.answered for each in recent)
        takes_one = self.look.threads == 1 and self.look.cpu_s is None
        if self.late < _LATE_LOOKS or self.stuck_since is not None or not answered or not takes_one:
            return 0
        takes_s = sum((each.until - each.since) * each.concurrency for each in recent) / answered
        late = recent[-self.late :]
        rate = sum(each.came for each in late) / (self.look.at - late[0].since)
        if not self.is_growing:
            rate += self.look.queue / max(_WORKED_OFF_S, self.look.start_s)
        return max(1, _up(takes_s * rate))

    def _would_have_gone(self, asked: WorkerRange, look: Look) -> int:
        """Return how many workers would have been left before this look if half as long were enough."""
        begin = look.at - self.calm_s / 2
        return max((need for at, need in self.needs if at > begin), default=asked.least)

    @property
    def is_growing(self) -> bool:
        """Whether workers that were added last are not ready yet, and have not taken longer than one usually does."""
        is_there = self.look.ready is not None and self.look.ready >= self.look.workers
        return not is_there and self.look.at < self.raised_at + self.look.start_s

    @property
    def is_new(self) -> bool:
        """Whether the app has just woken up, and no worker was added or taken away since."""
        woken_at = self.look.woken_at
        if woken_at is None or max(self.raised_at, self.lowered_at) >= self.since:
            return False
        return self.since - NEW_S - self.look.start_s < woken_at <= self.since and self.look.at < self.since + NEW_S

    @property
    def busy(self) -> float:
        """The share of their time that the workers work, from 0 to 1."""
        slots = self.look.workers * self.look.threads
        return min(1.0, self.concurrency(STEADY_S) / slots) if slots else 0.0

    @property
    def highest(self) -> int:
        """The most workers that were needed at any time while fewer must have been enough."""
        return max((need for _, need in self.needs), default=0)


def _resized(load: Load, asked: WorkerRange, look: Look) -> Load:
    """Take note of workers that were added or taken away since the look before, by whomever."""
    at, before = look.at, load.look.workers
    calm_s, calm_until = load.calm_s, load.calm_until
    if at >= calm_until:  # half as long from now on, and as long as asked in the end
        calm_s = max(asked.calm_s, calm_s / 2)
        calm_until = at + _PENALTY_S if calm_s > asked.calm_s else float("-inf")
    load = replace(load, calm_s=calm_s, calm_until=calm_until)
    if look.workers > before:
        if at - load.lowered_at < calm_s:
            calm_s, calm_until = min(2 * calm_s, max(_LONGEST_CALM_S, asked.calm_s)), at + _PENALTY_S
        return replace(load, base=before, raised_at=at, calm_s=calm_s, calm_until=calm_until)
    return replace(load, lowered_at=at) if look.workers < before else load


def _span(before: Look, look: Look, *, anew: bool) -> Span:
    """Return what two looks show of the time between them."""
    answered = max(0, look.answered - (0 if anew else before.answered))
    begun = look.in_flight + look.queue - (0 if anew else before.in_flight) - before.queue
    return Span(
        since=before.at,
        until=look.at,
        concurrency=_concurrency(before, look, look.at - before.at, anew=anew),
        came=max(0, answered + begun),
        answered=answered,
    )


def _concurrency(before: Look, look: Look, seconds: float, *, anew: bool) -> float:
    """Return the larger of what answered requests took, and of what is being worked on: long ones are seen early."""
    if look.cpu_s is not None:
        used = look.cpu_s - (before.cpu_s or 0.0) if not anew and before.cpu_s is not None else 0.0
        return max(0.0, used / seconds)
    took = max(0.0, look.seconds - (0.0 if anew else before.seconds))
    slots = max(look.workers, before.workers) * look.threads
    return min(float(slots), max(took / seconds, (look.in_flight + (0 if anew else before.in_flight)) / 2))


def _told_s(before: Look, look: Look, *, anew: bool) -> float:
    """Return how long those requests waited that workers took since the look before, as far as they tell."""
    taken = look.waits - (0 if anew else before.waits)
    waited = look.waited_s - (0.0 if anew else before.waited_s)
    return max(0.0, waited / taken) if taken > 0 else 0.0


def _highest(
    needs: tuple[tuple[float, int], ...], newest: tuple[float, int], begin: float
) -> tuple[tuple[float, int], ...]:
    return (*(each for each in needs if each[0] > begin and each[1] > newest[1]), newest)


def _up(number: float) -> int:
    """Round up, but for what is as good as the whole number below."""
    whole = int(number)
    return whole if number - whole < 1e-6 else whole + 1
