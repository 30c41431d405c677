"""Tasks of a run that starts processes."""

import asyncio
import signal


def end_in_order() -> None:
    """Take SIGTERM like Ctrl-C: nobody else ends what we have started."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
