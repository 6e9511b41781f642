import os

from redis import Redis
from rq import Queue, Retry
from work import work

queue = Queue(connection=Redis.from_url(os.environ["BROKER"]))


def enqueue(name: str, seconds: float) -> None:
    # A worker that is told to stop while it fetches a job leaves it; rq finds it a minute later, and says it failed.
    queue.enqueue(work, name, seconds, job_timeout=900, retry=Retry(max=3))
