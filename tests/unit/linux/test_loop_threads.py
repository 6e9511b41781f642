"""An event loop's work in threads: what hangs there keeps neither other work, nor the end of the loop."""

import asyncio
import subprocess
import sys
import threading

from reconciler.linux.loop_threads import LoopThreads

_WITHIN_S = 60.0


def test_work_goes_on_beside_more_that_hangs_than_there_are_threads_at_first() -> None:
    release = threading.Event()

    async def main() -> int:
        asyncio.get_running_loop().set_default_executor(LoopThreads())
        hung = [asyncio.create_task(asyncio.to_thread(release.wait, _WITHIN_S)) for _ in range(20)]
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await asyncio.to_thread(int, "42")
        finally:
            release.set()
            await asyncio.gather(*hung)

    assert asyncio.run(main()) == 42


def test_a_loop_ends_with_the_work_that_is_under_way_but_not_with_what_hangs() -> None:
    code = (
        "import asyncio, threading, time\n"
        "from reconciler.linux.loop_threads import LoopThreads\n"
        "async def main():\n"
        "    loop = asyncio.get_running_loop()\n"
        "    loop.set_default_executor(LoopThreads())\n"
        "    loop.run_in_executor(None, threading.Event().wait)\n"
        "    loop.run_in_executor(None, lambda: (time.sleep(0.2), print('done', flush=True)))\n"
        "    await asyncio.sleep(0.05)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], timeout=_WITHIN_S, capture_output=True, text=True, check=True)
    assert ended.stdout == "done\n"
