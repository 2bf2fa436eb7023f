"""The subcommands: what is on the command line, in click's words. What they do is in the modules that they call."""

from __future__ import annotations

import errno
import math
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import trio

from .. import __version__
from ..errors import AddressError, TriotonError
from ..protocol.policies import Block, Disconnect, DropNewest, DropOldest, Latest, Policy
from .keys import keys
from .security import MakeSecurity, security_options

if TYPE_CHECKING:
    from .pubsub import Place

SURVEY: Final = Path(__file__).parent / "programs" / "survey_stdlib.py"

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
SIZED_POLICIES: Final[dict[str, Callable[[int], Policy]]] = {
    "block": Block,
    "drop-oldest": DropOldest,
    "drop-newest": DropNewest,
    "disconnect": Disconnect,
}

NEGATIVE: Final = re.compile(r"-(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
"""A negative number as JSON has it."""

_UNWRITABLE: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
"""Errors of a disk or a terminal that takes no more: nothing is wrong with us."""

EXIT_INTERRUPTED: Final = 130
EXIT_NOBODY_READS: Final = 141
"""What a shell gives for a program that wrote into a pipe without a reader: 128 and SIGPIPE."""


class CommandFailed(click.ClickException):
    """What a command could not do, in one line on stderr."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # one class for all codes
        context = click.get_current_context(silent=True)
        self._command = context.command_path if context is not None else "trioton"

    def show(self, file: Any = None) -> None:
        """Say it."""
        click.echo(f"{self._command}: {self.message}", err=True, file=file)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trioton")
def cli() -> None:
    """Networks of programs that live in Trio nurseries, from the command line."""


cli.add_command(keys)


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--plain",
    is_flag=True,
    help="Copy the output as it is, without colours and a bar; the default if stdout is no terminal.",
)
@click.option("--quick", is_flag=True, help="Only a tenth of the default program's work.")
@click.argument("program", required=False, type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def demo(program: Path | None, args: tuple[str, ...], *, plain: bool, quick: bool) -> int:
    """Run a Python program in a worker process and watch it from here, over Trioton.

    PROGRAM runs with its ARGS as it would alone, with two differences: its output comes over channels to this terminal, stderr in red,
    and makes it wait when the terminal is slow; and it has no input. Without PROGRAM it is a survey of Python's standard library.

    Ctrl-C interrupts the program, which then has three seconds to end; a second Ctrl-C ends it at once. The exit code is the
    program's, or 130 after Ctrl-C.

    A program that calls trioton.cli.progress(done, total) moves the bar.
    """
    if program is None:
        program, args = SURVEY, ("--quick",) if quick else ()
    elif quick:
        raise click.UsageError("--quick is for the default program")
    if sys.platform == "win32":
        raise CommandFailed("the demo needs Linux or macOS")
    else:  # noqa: RET506 - so that type checkers see that this is not for Windows
        from .demo import BadProgramError, run_demo
        from .demo_processes import DemoError

        try:
            return _guarded(partial(run_demo, program, args, plain=plain))
        except BadProgramError as error:
            raise CommandFailed(str(error), exit_code=EXIT_USAGE) from error
        except DemoError as error:
            raise CommandFailed(str(error)) from error


def _policy(_context: click.Context, _parameter: click.Parameter, value: str) -> Policy:
    """Make a policy of its name and, behind a colon, its size."""
    name, _, size = value.partition(":")
    try:
        match name, size:
            case "latest", "":
                return Latest()
            case "block", "":
                return Block()
            case (("block" | "drop-oldest" | "drop-newest" | "disconnect"), _) if size:
                return SIZED_POLICIES[name](int(size))
    except ValueError as error:
        raise click.BadParameter(f"{size!r} is no size: {error}") from error
    raise click.BadParameter(
        f"must be block, block:N, drop-oldest:N, drop-newest:N, latest or disconnect:N, not {value!r}"
    )


def _place_options(command: Any) -> Any:
    """The options that say how to come to a slot."""
    command = security_options(command)
    for option in (
        click.option("--bind", is_flag=True, help="Listen at ADDRESS for others, instead of connecting to it."),
        click.option("--wait", is_flag=True, help="Go on dialling ADDRESS until somebody answers."),
        click.option("--insecure", is_flag=True, help="Allow an address on another machine without TLS."),
    ):
        command = option(command)
    return command


def _channel_options(command: Any) -> Any:
    """The options that pub and sub have in common."""
    for option in (
        click.option(
            "--type",
            "type_",
            type=click.Choice(["txt", "obj", "bin"]),
            default="txt",
            show_default=True,
            help="What messages are: texts, objects, or bytes; a line of text, a line of JSON, or as much as comes at once.",
        ),
        click.option("--json", "type_", flag_value="obj", help="The same as --type obj."),
        click.option("--binary", "type_", flag_value="bin", help="The same as --type bin."),
    ):
        command = option(command)
    return _place_options(command)


@cli.command()
@_channel_options
@click.option(
    "--subscribers",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="How many subscriptions to wait for first.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.argument("address")
@click.argument("slot")
@click.argument("messages", nargs=-1)
def pub(slot: str, messages: tuple[str, ...], *, subscribers: int, count: int | None, **place: Any) -> int:
    """Publish MESSAGES on SLOT at ADDRESS, or else what comes from stdin, a message for each line.

    Ends when all has been taken by those who listen, or as soon as nobody listens any more; with --subscribers 0 it goes on then.
    It reads no faster than they take it. An ADDRESS is localhost:9000, unix:///run/my.sock, tls://host:9000 ...

    \b
    Examples:
      trioton pub --bind localhost:9000 news "it works"
      tail -f /var/log/syslog | trioton pub --wait localhost:9000 log
      jq -c .[] items.json | trioton pub --json --wait localhost:9000 items
      tar c folder | trioton pub --binary --bind unix:///tmp/files.sock tar

    \b
    Exit codes:
      0    all was published, and taken by those who listen
      1    nobody answers at ADDRESS, or nobody listens any more
      2    the command line makes no sense, or a line is no JSON
      130  Ctrl-C
    """  # noqa: D301  # click wants the character
    from .pubsub import publish

    return _run(publish, _place(slot, **place), messages or None, subscribers, count)


@cli.command()
@_channel_options
@click.option(
    "--policy",
    callback=_policy,
    default="block",
    show_default=True,
    help="What happens when messages come too fast: block[:N] makes the publisher wait, drop-oldest:N, drop-newest:N, latest, disconnect:N.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many messages.")
@click.option("--until-closed", is_flag=True, help="With --bind: end when all who had connected have left.")
@click.argument("address")
@click.argument("slot")
def sub(slot: str, *, policy: Policy, count: int | None, until_closed: bool, **place: Any) -> int:
    """Print what comes on SLOT at ADDRESS, a line for each message.

    A connection that breaks is dialled again. Ends when the other side closes it, or after --count messages, or when nobody reads
    what it prints any more. With --bind it takes in any number of publishers and goes on until Ctrl-C, or see --until-closed.

    \b
    Examples:
      trioton sub localhost:9000 news
      trioton sub --wait localhost:9000 log | grep -m 1 error
      trioton sub --json --count 10 --bind localhost:9000 items | jq .name
      trioton sub --binary --wait unix:///tmp/files.sock tar | tar x

    \b
    Exit codes:
      0    the other side has closed the connection, or --count messages have come
      1    nobody answers at ADDRESS, or fewer than --count messages have come
      2    the command line makes no sense
      130  Ctrl-C
      141  nobody reads what it prints any more
    """  # noqa: D301  # click wants the character
    from .pubsub import subscribe

    return _run(partial(subscribe, until_closed=until_closed), _place(slot, **place), policy, count)


class _NumbersAreArguments(click.Command):
    """A command to which ``-3`` is a number, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Hide from click what begins with a minus and is a number: a space before it changes nothing to those who read it."""
        return super().parse_args(ctx, [f" {word}" if NEGATIVE.fullmatch(word) else word for word in args])


@cli.command(cls=_NumbersAreArguments)
@_place_options
@click.option(
    "--to", metavar="CONTEXT", help="Ask only the context with this name or identity; wait until it is there."
)
@click.option("--stream", "is_stream", is_flag=True, help="Print the items of a generator as they come.")
@click.option("--stdin", "by_lines", is_flag=True, help="Make a request for each line of stdin.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=math.inf,
    metavar="SECONDS",
    help="How long the answer may take, all in all; with --stdin each of them.",
)
@click.option(
    "--patience",
    type=click.FloatRange(0),
    metavar="SECONDS",
    help="How long to wait until somebody takes the request; for ever by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print texts as JSON, too.")
@click.option("-v", "--verbose", is_flag=True, help="Print the traceback of a failure.")
@click.argument("address")
@click.argument("slot")
@click.argument("method")
@click.argument("args", nargs=-1)
def req(
    slot: str,
    method: str,
    args: tuple[str, ...],
    *,
    is_stream: bool,
    by_lines: bool,
    address: str,
    bind: bool,
    wait: bool,
    insecure: bool,
    security: MakeSecurity | None,
    **manner: Any,
) -> int:
    """Call METHOD with ARGS of whatever answers on SLOT at ADDRESS, and print what it returns.

    Each argument is JSON where it can be read as that (3, true, null, '{"a": [1]}'), else a text; '"3"' is the text 3. name=value gives
    an argument by its name, if what is before the = may be a name; '"name=value"' is a text. After -- nothing is an option.

    A text is printed as it is, everything else as JSON. A failed request prints one line on stderr. Ctrl-C, and --timeout, stop what
    runs there.

    With --stdin, each line is a JSON array of arguments, or else a text that is the only one; ARGS come before them. Many requests are
    under way at once. The results are printed in the order of the lines, a line each, which is empty where a request has failed; use
    --json if texts may have line ends.

    \b
    Examples:
      trioton req localhost:9000 math add 3 -4
      trioton req localhost:9000 files find '*.txt' recursive=true
      trioton req --stream localhost:9000 log follow | grep -m 1 error
      trioton req --to worker-2 --timeout 5 localhost:9000 control restart
      ls | trioton req --stdin localhost:9000 files size

    \b
    Exit codes:
      0    the request was answered; with --stdin all of them were
      1    a request has failed, nobody answers, or the connection has ended
      2    the command line makes no sense
      130  Ctrl-C
      141  nobody reads what it prints any more
    """  # noqa: D301  # click wants the character
    from .request import Call, Manner, ask, ask_lines

    if is_stream and by_lines:
        raise click.UsageError("--stream prints the items of one request; it does not go with --stdin")
    place = _place(slot, address=address, type_="obj", bind=bind, wait=wait, insecure=insecure, security=security)
    try:
        call = Call.from_words(method, args)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if by_lines:
        return _run(ask_lines, place, call, Manner(**manner))
    return _run(partial(ask, is_stream=is_stream), place, call, Manner(**manner))


def _ready_fd(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
    """Make sure that the descriptor is open."""
    from .service import check_ready_fd

    try:
        if value is not None:
            check_ready_fd(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return value


@cli.command()
@click.option(
    "--connect", multiple=True, metavar="ADDRESS", help="Stay connected to the broker at ADDRESS; may be repeated."
)
@click.option("--name", help="What others see; broker by default.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Read settings from a TOML file.")
@click.option("--insecure", is_flag=True, help="Allow addresses that other machines can reach without TLS.")
@click.option(
    "--ready-fd",
    type=click.IntRange(3),
    callback=_ready_fd,
    metavar="NUMBER",
    help="Write the addresses to this file descriptor when all listen, a line each, and close it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log single steps.")
@security_options
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
def broker(
    addresses: tuple[str, ...],
    *,
    connect: tuple[str, ...],
    name: str | None,
    config: Path | None,
    insecure: bool,
    ready_fd: int | None,
    verbose: bool,
    security: MakeSecurity | None,
) -> int:
    """Be a meeting point for other programs: listen at each ADDRESS until a signal comes.

    Contexts that connect to it see each other through it. Without ADDRESS it listens where the file says, or else at localhost:trioton.
    What is on the command line stands in place of what the file says.

    It prints a line for each address at which it listens, with the real port if that was 0, and logs to stderr. SIGTERM and SIGHUP end
    it in good order, with the exit code 0; Ctrl-C does the same with 130; a second signal ends it at once.
    """
    from .broker import serve
    from .broker_settings import Options, SettingsError, read_settings

    options = Options(listen=addresses, connect=connect, name=name, insecure=insecure, security=security)
    try:
        settings = read_settings(options, config)
    except SettingsError as error:
        raise CommandFailed(str(error), exit_code=EXIT_USAGE) from error
    return _run(serve, settings, ready_fd, verbose)


def _place(slot: str, *, address: str, type_: str, bind: bool, wait: bool, **way: Any) -> Place:
    """Where a command finds its slot, by its options.

    Raises:
        click.UsageError: The options contradict each other.
    """
    from .pubsub import Place

    if bind and wait:
        raise click.UsageError("--wait is about an address to connect to; it does not go with --bind")
    return Place(address, slot, type_, bind=bind, wait=wait, **way)


def _look_options(command: Any) -> Any:
    """What top and graph have in common."""
    command = security_options(command)
    for decorator in (
        click.argument("address", envvar="TRIOTON_ADDRESS"),
        click.option("--wait", is_flag=True, help="Go on dialling ADDRESS until somebody answers."),
        click.option("--insecure", is_flag=True, help="Allow an address on another machine without TLS."),
    ):
        command = decorator(command)
    return command


@cli.command()
@_look_options
@click.option("--once", is_flag=True, help="Print plain text once, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and end.")
def top(address: str, *, once: bool, as_json: bool, **way: Any) -> int:
    """Show what the contexts of a network are doing, again and again.

    Connects to the context that listens at ADDRESS (by default what the variable TRIOTON_ADDRESS names) and asks all that it can
    reach for reports. Ends with Ctrl-C, or when the connection does.
    """
    from .top import run_top

    if once and as_json:
        raise click.UsageError("--once is for plain text; it does not go with --json")
    return _run(partial(run_top, address, once=once, as_json=as_json, **way))


@cli.command()
@_look_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the picture to this file instead of stdout.",
)
def graph(address: str, *, output: Path | None, **way: Any) -> int:
    """Draw a network as SVG: its contexts, and the links between them with what goes over them.

    ADDRESS is as for top.
    """
    from .graph import run_graph

    try:
        return _run(partial(run_graph, address, output, **way))
    except OSError as error:
        if output is None:
            raise
        raise CommandFailed(f"{output} cannot be written: {error.strerror}") from error


def _run(async_fn: Callable[..., Awaitable[int]], *args: object) -> int:
    """Run an async function and give its exit code; what it could not do becomes one line.

    Raises:
        CommandFailed: It could not do it, for a reason that is not our fault.
    """
    try:
        return _guarded(trio.run, async_fn, *args)
    except (AddressError, ValueError) as error:
        raise CommandFailed(str(error).replace("insecure=True", "--insecure"), exit_code=EXIT_USAGE) from error
    except (TriotonError, trio.BrokenResourceError) as error:
        raise CommandFailed(str(error)) from error


def _guarded(function: Callable[..., int], *args: Any) -> int:
    """Call a function; Ctrl-C, and a stdout that nobody reads any more, end it with an exit code and without a word."""
    try:
        return function(*args)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()


def _nobody_reads() -> int:
    _lead_nowhere()
    return EXIT_NOBODY_READS


def _lead_nowhere() -> None:
    """Lead stdout to nowhere, so that Python does not complain at the end that it cannot write there."""
    try:
        fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(fd, sys.stdout.fileno())
        os.close(fd)
    except OSError:
        pass  # there is no stdout at all


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line `args`, by default this process's; gives the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for as long as we live
    try:
        return int(cli.main(args, prog_name="trioton", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except (OSError, ExceptionGroup) as error:
        number = _unwritable(error)
        if number is None:
            raise
        _lead_nowhere()
        print(f"trioton: cannot write: {os.strerror(number)}", file=sys.stderr)
        return EXIT_FAILED


def _unwritable(error: Exception) -> int | None:
    """Why the disk took no more, as an error number; None if it is anything else, alone or in groups."""
    if isinstance(error, ExceptionGroup):
        numbers = [_unwritable(each) for each in error.exceptions]
        return None if None in numbers else numbers[0]
    return error.errno if isinstance(error, OSError) and error.errno in _UNWRITABLE else None
