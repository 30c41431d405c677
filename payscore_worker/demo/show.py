"""Shows a demo to a person: live progress, then one table a family."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from payscore_worker.demo.run import Progress, Result

REFRESH_SECONDS: Final = 0.25

STATE_STYLES: Final = {"PAID": "green", "DECLINED": "yellow", "CANCELLED": "cyan"}


@asynccontextmanager
async def progress_shown(console: Console, family: str, progress: Progress) -> AsyncIterator[None]:
    """Show progress while the block runs."""

    async def refresh(live: Live) -> None:
        while True:
            live.update(_frame(family, progress))
            await asyncio.sleep(REFRESH_SECONDS)

    with Live(_frame(family, progress), console=console, transient=True) as live:
        refreshing = asyncio.create_task(refresh(live))
        try:
            yield
        finally:
            refreshing.cancel()


def _frame(family: str, progress: Progress) -> Table:
    frame = Table.grid(padding=(0, 2))
    frame.add_row(
        Text(family, style="bold"),
        ProgressBar(total=max(progress.trips, 1), completed=progress.over, width=40),
        Text(f"{progress.over}/{progress.trips} trips over"),
        Text(progress.stage, style="dim"),
    )
    counts = "   ".join(f"{type_.removeprefix('settlement.')} {count}" for type_, count in progress.by_type.items())
    frame.add_row("", Text(counts or "…", style="dim"))
    return frame


def show_result(console: Console, family: str, result: Result) -> None:
    """Print how it ended."""
    verdict = result.verdict
    table = Table(title=f"{result.trips} trips settled · {family}", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    for state, count in verdict.by_state.items():
        table.add_row(Text("trips"), Text(f"{count} {state}", style=STATE_STYLES.get(state, "red")))
    table.add_section()
    table.add_row("owed", _yuan(verdict.owed_fen))
    table.add_row("charged by WeChat Pay", _yuan(verdict.paid_fen + verdict.returned_fen))
    table.add_row("sent back, fares lowered", _yuan(verdict.returned_fen))
    table.add_row("sent back, refunds", _yuan(verdict.refunded_fen))
    for account, money in verdict.accounts.items():
        table.add_section()
        table.add_row(f"account {account}", f"{money.trips} trips")
        charged_fen, back_fen = money.paid_fen + money.returned_fen, money.refunded_fen + money.returned_fen
        table.add_row("owed, charged, sent back", ", ".join(map(_yuan, (money.owed_fen, charged_fen, back_fen))))
    table.add_section()
    table.add_row("events in, out", f"{result.events_in}, {result.events_out}")
    table.add_row("WeChat Pay calls", str(result.wechatpay_calls))
    table.add_row("time", f"{result.seconds:.1f} s")
    table.add_row("worker CPU a trip", f"{result.worker_cpu_seconds * 1000 / max(result.trips, 1):.1f} ms")
    table.add_row("worker memory", f"{result.worker_rss_mb:.0f} MB")
    if result.restarts:
        table.add_row("processes restarted", str(result.restarts))
    console.print(table)
    if verdict.ok:
        console.print("[green]✔[/] every trip ended as it should, and every fen is accounted for\n")
    for problem in verdict.problems:
        console.print(Text(f"✘ {problem}", style="red"))


def _yuan(fen: int) -> str:
    return f"¥{fen // 100:,}.{fen % 100:02d}"
