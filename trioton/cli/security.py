"""The options by which commands prove who they are. A secret itself is never on a command line, where all could read it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from ..transports.base import Security

_NAMES: Final = ("secret_file", "secret_env", "certificate", "key", "authority")


class SecurityError(ValueError):
    """Options about security that do not go together, or files that are no good."""


def security_options(command: Any) -> Any:
    """Give a command the options, and its function their result as ``security``."""

    @functools.wraps(command)
    def with_security(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _NAMES}
        return command(
            *args, security=functools.partial(make_security, **given) if any(given.values()) else None, **options
        )

    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option("--authority", type=file, metavar="FILE", help="Whose certificates to accept at tls://."),
        click.option("--key", type=file, metavar="FILE", help="The key of --certificate, if it is in another file."),
        click.option("--certificate", type=file, metavar="FILE", help="The certificate to show at tls://."),
        click.option("--secret-env", metavar="NAME", help="The environment variable with the secret of the network."),
        click.option("--secret-file", type=file, metavar="FILE", help="The file with the secret of the network."),
    ):
        with_security = option(with_security)
    return with_security


MakeSecurity = Callable[[], "Security"]
"""Reads what the options name; only then can anything be wrong with it."""


def make_security(
    *,
    secret_file: Path | str | None = None,
    secret_env: str | None = None,
    certificate: Path | str | None = None,
    key: Path | str | None = None,
    authority: Path | str | None = None,
) -> Security:
    """What the options say; at least one of them is given.

    Raises:
        SecurityError: They do not go together, or a file is no good.
    """
    secrets = [name for name, value in (("--secret-file", secret_file), ("--secret-env", secret_env)) if value]
    if len(secrets) > 1:
        raise SecurityError("--secret-file and --secret-env do not go together: there is one secret")
    if secrets and (certificate or key or authority):
        raise SecurityError(f"{secrets[0]} does not go together with certificates")
    try:
        if secret_file:
            from ..transports.secret import Secret

            return Secret.from_file(secret_file)
        if secret_env:
            from ..transports.secret import Secret

            return Secret.from_environment(secret_env)
        if not certificate or not authority:
            raise SecurityError("--certificate and --authority go together: what to show, and what to accept")
        from ..transports.mutual import Mutual

        return Mutual(certificate=certificate, key=key, authority=authority)
    except OSError as error:
        raise SecurityError(f"cannot read {str(error.filename)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise SecurityError(str(error)) from error
