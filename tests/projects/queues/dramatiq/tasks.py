import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from work import work

dramatiq.set_broker(RedisBroker(url=os.environ["BROKER"]))


@dramatiq.actor
def one(name: str, seconds: float) -> None:
    work(name, seconds)


def enqueue(name: str, seconds: float) -> None:
    one.send(name, seconds)
