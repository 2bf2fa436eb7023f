"""``trioton keys``: secrets and certificates for those who are to belong together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .authority import Authority, Issued

_LONG = 3650
_YEAR = 365


def _folder_option(command: Any) -> Any:
    return click.option(
        "-d",
        "--directory",
        type=click.Path(file_okay=False, path_type=Path),
        default="keys",
        show_default=True,
        help="The folder of the authority.",
    )(command)


def _days_option(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--days",
        type=click.IntRange(1, 36500),
        default=default,
        show_default=True,
        help="How long the certificate is valid.",
    )


@click.group()
def keys() -> None:
    """Make secrets and certificates, by which programs know that they belong together.

    A secret is the same for all; with certificates each program proves to be a certain node. Keep the authority's key where no node is.
    """


@keys.command()
@_folder_option
@_days_option(_LONG)
def init(directory: Path, days: int) -> int:
    """Make an authority, which issues certificates, in a folder of its own."""
    issued = _do(directory, "create", days)
    click.echo(
        f"{issued.file}: valid for {issued.days} days; each node needs it. The key beside it is only for new certificates."
    )
    return 0


@keys.command()
@_folder_option
@_days_option(_YEAR)
@click.option("--router", is_flag=True, help="The node may speak for others, as a broker must.")
@click.argument("name")
def new(name: str, directory: Path, days: int, *, router: bool) -> int:
    """Make a key and a certificate for the node NAME."""
    _tell(_do(directory, "issue", name, is_router=router, days=days))
    return 0


@keys.command()
@_folder_option
@_days_option(_YEAR)
@click.argument("name")
def renew(name: str, directory: Path, days: int) -> int:
    """Make a newer certificate for the key of the node NAME. Programs that run use it from their next connection on."""
    _tell(_do(directory, "renew", name, days=days))
    return 0


@keys.command()
@_folder_option
def show(directory: Path) -> int:
    """Show what was issued, and until when it is valid."""
    issued = _do(directory, "issued")
    width = max(len(each.name) for each in issued)
    for number, each in enumerate(issued):
        role = "authority" if not number else "router" if each.is_router else "node"
        left = f"{each.days} days left" if each.days >= 0 else "EXPIRED"
        click.echo(f"{each.name:{width}}  {role:9}  until {each.until:%Y-%m-%d}  {left}")
    return 0


@keys.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def secret(file: Path) -> int:
    """Write a new secret to FILE, which nobody else may read."""
    from ..transports.secret import Secret
    from .commands import CommandFailed

    try:
        Secret.generate().save(file)
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{file}: copy it, over a safe way, to all who are to belong together")
    return 0


def _do(directory: Path, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the authority in a folder; what it could not do becomes one line."""
    from .commands import EXIT_USAGE, CommandFailed

    try:
        authority = _authority(directory)
    except ImportError as error:
        raise CommandFailed(f"this needs the package cryptography: pip install trioton[keys] ({error})") from error
    try:
        result = getattr(authority, method)(*args, **options)
        return list(result) if method == "issued" else result
    except ValueError as error:
        raise CommandFailed(str(error), exit_code=EXIT_USAGE) from error
    except OSError as error:
        raise CommandFailed(f"{error.filename}: {error.strerror}") from error


def _authority(directory: Path) -> Authority:
    from .authority import Authority

    return Authority(directory)


def _tell(issued: Issued) -> None:
    role = "router" if issued.is_router else "node"
    files = f"{issued.file} and {issued.file.with_suffix('.key')}"
    click.echo(f"{files}: the {role} {issued.name}, valid for {issued.days} days")
