import os

from huey import SqliteHuey
from work import work

queue = SqliteHuey(filename=os.environ["QUEUE"])


@queue.task()
def one(name: str, seconds: float) -> None:
    work(name, seconds)


def enqueue(name: str, seconds: float) -> None:
    one(name, seconds)
