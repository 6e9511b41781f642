import os

from celery import Celery
from work import work

app = Celery("tasks", broker=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def one(name: str, seconds: float) -> None:
    work(name, seconds)


def enqueue(name: str, seconds: float) -> None:
    one.delay(name, seconds)
