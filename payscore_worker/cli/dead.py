"""`dead`: messages that a person should look at."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumers import CONSUMERS
from payscore_worker.bootstrap.database import database
from payscore_worker.bootstrap.wechatpay import make_wechatpays
from payscore_worker.bootstrap.wiring import make_topology, now
from payscore_worker.cli.arguments import Text
from payscore_worker.cli.desk import see_that_there_is, who
from payscore_worker.cli.letters import letter_document, listing, print_listing, prospect_document, step_document
from payscore_worker.cli.output import FINE, NOT_FINE, json_option, print_json, print_table, run
from payscore_worker.errors import SettlementError
from payscore_worker.logs import without_secrets
from payscore_worker.messaging.deadletters import (
    MAX_MESSAGES,
    Choice,
    DeadLetters,
    Fate,
    Look,
)
from payscore_worker.messaging.deadletters import Progress as Replayed
from payscore_worker.messaging.moving import Busy
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.oversight.replay import Judge
from payscore_worker.settings import (
    BrokerSettings,
    DatabaseSettings,
    Environment,
    OrderSettings,
    SettingsError,
)
from payscore_worker.storage import Storage
from payscore_worker.storage.actions import Action, Actions, Done
from payscore_worker.storage.engine import engine_for
from payscore_worker.wechatpay.payscore import PayScores

queue_argument = click.argument("queue", type=click.Choice(list(QUEUES)))


@click.group()
def dead() -> None:
    """Look at dead letters, put them back, or drop them."""


# --- Looking ---


@dead.command("list")
@click.argument("queues", metavar="[QUEUE]...", nargs=-1, type=click.Choice(list(QUEUES)))
@click.option("--reason", type=Text(), metavar="GROUP", help="Only this group: its id, or its reason.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, MAX_MESSAGES), help="In each queue.")
@json_option
def list_dead(queues: tuple[str, ...], *, reason: str | None, limit: int, as_json: bool) -> None:
    """Group dead letters by reason, of every queue or of those named; of one queue, also list them."""
    looks, busy = run(_looks(queues or tuple(QUEUES), limit if len(queues) == 1 else MAX_MESSAGES))
    choice = Choice(group=reason)
    letters = [letter for look in looks for letter in look.letters if choice.takes(letter)]
    if as_json:
        print_json(listing(queues, looks, letters, busy))
    else:
        print_listing(queues, looks, letters)
        for queue, why in busy.items():
            click.echo(f"{queue}: {why}", err=True)
    sys.exit(NOT_FINE if busy else FINE)


@dead.command()
@queue_argument
@click.argument("message_id", type=Text())
@json_option
def show(queue: str, message_id: str, *, as_json: bool) -> None:
    """Show one dead letter whole, with its trip, and with what WeChat Pay says now."""
    shown = run(_shown(Environment(), queue, message_id))
    if shown is None:
        click.echo(f"error: no dead letter {message_id!r} in {queue}", err=True)
        sys.exit(NOT_FINE)
    if as_json:
        print_json(shown)
        return
    about = {name: shown[name] for name in shown if name not in ("trip", "wechatpay", "replay", "body")}
    print_table(["dead letter", message_id], list(about.items()))
    print_table(["our trip", ""], list(shown["trip"].items()))
    print_table(["WeChat Pay now", ""], list(shown["wechatpay"].items()))
    print_table(["a replay", ""], list(shown["replay"].items()))
    click.echo(shown["body"])


async def _looks(queues: Sequence[str], limit: int) -> tuple[list[Look], dict[str, str]]:
    """Look at each queue; and say of which we could not, because somebody else has it in hand."""
    letters, looks, busy = _dead_letters(Environment()), [], {}
    for queue in queues:
        try:
            looks.append(await letters.look(queue, limit=limit))
        except Busy as error:
            busy[queue] = str(error)
    return looks, busy


async def _shown(environment: Environment, queue: str, message_id: str) -> dict[str, Any] | None:
    letter = await _dead_letters(environment).find(queue, message_id)
    if letter is None:
        return None
    whole = letter_document(letter) | {"queue": queue, "body": without_secrets(letter.body)}
    try:
        async with _judge(environment) as judge:
            prospect = await judge.prospect(letter)
    except (SettlementError, SettingsError) as error:
        unknown = {"asked": False, "why": str(error)}
        return whole | {"trip": unknown, "wechatpay": unknown, "replay": {"allowed": False, "why": str(error)}}
    return whole | prospect_document(prospect)


# --- Putting back ---


@dead.command()
@queue_argument
@click.option("--limit", type=click.IntRange(1), help="How many at most, the oldest first.")
@click.option("--id", "message_id", type=Text(), metavar="ID", help="Only this one.")
@click.option("--reason", type=Text(), metavar="GROUP", help="Only this group: its id, or its reason.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@json_option
def replay(
    queue: str,
    *,
    limit: int | None,
    message_id: str | None,
    reason: str | None,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Put the original messages back into their queue, unchanged; exit 1 if any had to stay."""
    if not everything and limit is None and message_id is None and reason is None:
        raise click.UsageError("say which: --id, --reason, --limit or --all")
    if everything and (limit is not None or message_id is not None or reason is not None):
        raise click.UsageError("--all goes with none of --id, --reason and --limit")
    choice = Choice(id=message_id, group=reason)
    if limit is not None:
        choice = Choice(id=message_id, group=reason, limit=limit)
    steps = run(_replay(Environment(), queue, choice, dry_run=dry_run, as_json=as_json))
    replayed = sum(step.fate is Fate.REPLAYED for step in steps)
    refused = len(steps) - replayed
    if as_json:
        print_json(
            {
                "queue": queue,
                "dry_run": dry_run,
                "replayed": replayed,
                "refused": refused,
                "messages": [step_document(step) for step in steps],
            }
        )
    else:
        click.echo(f"{replayed} {'would be ' if dry_run else ''}put back into {queue}, {refused} left where they are")
    sys.exit(FINE if not refused and (steps or message_id is None) else NOT_FINE)


async def _replay(
    environment: Environment, queue: str, choice: Choice, *, dry_run: bool, as_json: bool
) -> list[Replayed]:
    action = Action(who=who(), action="replay", queue=queue, target=choice.id or choice.group or "*")
    steps: list[Replayed] = []
    letters = _dead_letters(environment)
    async with _judge(environment) as judge, _recorded(environment, action, dry_run=dry_run) as done:
        replaying = letters.replay(queue, choice, judge.decide, dry_run=dry_run)
        with nullcontext(None) if as_json else _progress() as progress:
            task = None if progress is None else progress.add_task(queue, total=None)
            async with aclosing(replaying) as told:
                async for step in told:
                    steps.append(step)
                    done.moved += step.fate is Fate.REPLAYED
                    done.refused += step.fate is not Fate.REPLAYED
                    if progress is not None and task is not None:
                        progress.console.print(_line(step, dry_run=dry_run), markup=False, highlight=False)
                        progress.update(task, total=step.of, completed=step.looked_at)
    return steps


def _progress() -> Progress:
    """Make a bar for a person; where nobody watches, it shows nothing and the lines remain."""
    console = Console(soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _line(step: Replayed, *, dry_run: bool) -> str:
    fate = "would go back" if dry_run and step.fate is Fate.REPLAYED else step.fate.value
    return f"{fate}  {step.letter.id}  {step.letter.trip_id or '–'}  {step.why}"


# --- Dropping ---


@dead.command()
@queue_argument
@click.argument("message_id", type=Text())
@click.option("--reason", type=Text(), default="", metavar="TEXT", help="Why; it is recorded with your name.")
@json_option
def drop(queue: str, message_id: str, *, reason: str, as_json: bool) -> None:
    """Drop one dead letter for good."""
    dropped = run(_drop(Environment(), queue, message_id, reason))
    if as_json:
        print_json({"queue": queue, "id": message_id, "dropped": dropped})
    else:
        click.echo(f"{message_id} {'dropped' if dropped else 'was not there'}")
    sys.exit(FINE if dropped else NOT_FINE)


async def _drop(environment: Environment, queue: str, message_id: str, reason: str) -> bool:
    action = Action(who=who(), action="drop", queue=queue, target=message_id, reason=reason)
    letters = _dead_letters(environment)
    see_that_there_is(environment.read(DatabaseSettings).database_url)
    async with database(environment), _recorded(environment, action) as done:
        done.must_move = True
        dropped = await letters.drop(queue, message_id, by=action.who, reason=reason)
        done.moved = int(dropped)
    return dropped


@asynccontextmanager
async def _recorded(environment: Environment, action: Action, *, dry_run: bool = False) -> AsyncIterator[Done]:
    """Keep the record that the console keeps too; nothing is recorded of what would only happen."""
    if dry_run:
        yield Done()
        return
    url = environment.read(DatabaseSettings).database_url
    async with engine_for(url) as engine, Actions(engine).recorded(action, now) as done:
        yield done


# --- What they share ---


def _dead_letters(environment: Environment) -> DeadLetters:
    broker = environment.read(BrokerSettings)
    return DeadLetters(broker.amqp_url, make_topology(broker))


@asynccontextmanager
async def _judge(environment: Environment) -> AsyncIterator[Judge]:
    """Ask the database, which must be there, and WeChat Pay, if it can be asked.

    Raises:
        StorageUnavailable: there is no database to ask.

    """
    see_that_there_is(environment.read(DatabaseSettings).database_url)
    orders = environment.read(OrderSettings)
    async with database(environment) as storage:
        try:
            wechatpay = make_wechatpays(environment)
        except SettingsError as error:
            yield _make_judge(storage=storage, payscores=str(error), prefix=orders.out_order_no_prefix)
            return
        async with aclosing(wechatpay):
            yield _make_judge(storage=storage, payscores=wechatpay.payscores, prefix=orders.out_order_no_prefix)


def _make_judge(*, storage: Storage, payscores: PayScores | str, prefix: str) -> Judge:
    queues = {one.queue: one.events for one in CONSUMERS}
    return Judge(storage=storage, payscores=payscores, queues=queues, out_order_no_prefix=prefix, clock=now)
