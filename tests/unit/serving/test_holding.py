"""The holding page where no file can be opened."""

import asyncio
import os
import resource
import socket

from reconciler.serving.holding import Holding


def test_the_plain_page_that_was_shown_once_is_there_when_no_file_can_be_opened() -> None:
    async def story() -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as another:
            Holding(listener, None).close()
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                Holding(another, None).close()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    asyncio.run(story())
