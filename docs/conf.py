"""How Sphinx builds this documentation: ``nox -s docs``. It needs no network."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.inspect import stringify_signature

from trioton._version import __version__

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.domains.python import PythonDomain
    from sphinx.environment import BuildEnvironment

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from _inventories.build import write_inventory  # noqa: E402  # the folder of this file is not on the path before

project = "Trioton"
author = "the Trioton authors"
project_copyright = "2026, the Trioton authors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
exclude_patterns = ["_build", "_inventories", "snippets", "explain/benchmark_table.rst"]

html_theme = "furo"
html_title = f"Trioton {version}"
html_static_path = ["_static"]
html_copy_source = False

# References. `name` in single back quotes is a reference if there is something of that name, and plain code if not, so that
# docstrings can quote arguments in the same way; but a full name, as in `trio.Cancelled`, must lead somewhere, and so must
# :class:`...` and its kind.
default_role = "obj"
nitpicky = True
nitpick_ignore = [
    # What sending and receiving channels share: shown with each of them.
    ("py:class", "trioton.channels.receiving.ReceivingEnd"),
    ("py:class", "trioton.channels.sending.SendingEnd"),
    ("py:class", "trioton.blocking.receiving.ReceivingEnd"),
    # An enum that the members of Permissions speak of; its values are said there in words.
    ("py:class", "trioton.protocol.permissions.Right"),
    # Of hypothesis.
    ("py:class", "SearchStrategy"),
]
nitpick_ignore_regex = [
    ("py:obj", r"(?!trioton\.|trio\.).*"),
    ("py:(class|obj)", r"([a-z]\w*\.)*_?[A-Z]\w?(_co|_contra)?"),  # type variables, which have no page
]

# Other projects' names. Their inventories are written here from lists in _inventories/, so a build is the same with and
# without a network. To refer to a further name, add it to the list.
INVENTORIES = {
    "python": "https://docs.python.org/3/",
    "trio": "https://trio.readthedocs.io/en/stable/",
}
intersphinx_mapping = {
    name: (address, str(write_inventory(name, HERE / "_inventories", HERE / "_build")))
    for name, address in INVENTORIES.items()
}

# sphinxcontrib_trio extends the documenter classes, which newer versions of Sphinx use only when asked to.
autodoc_use_legacy_class_based = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


# Napoleon takes what stands before a colon for a type: in the text of an attribute, and at the start of a `Returns:` section. All
# our types are annotations, so a colon there is just a colon. The text of attributes is hidden from Napoleon, that of properties is
# treated as that of methods, and the text of returns gets an empty type.
_hidden: list[list[str]] = []


def before_napoleon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep Napoleon from seeing types where there are none."""
    for number, line in enumerate(lines[:-1]):
        if line.strip() in {"Returns:", "Yields:"}:
            text = lines[number + 1].lstrip()
            indent = lines[number + 1].removesuffix(text)
            lines[number + 1] = f"{indent}: {text}"
    if what == "property":
        lines[:] = GoogleDocstring(lines, app.config, app, "method", name, obj, options).lines()
    if what in {"attribute", "data", "property"}:
        _hidden.append(lines.copy())
        lines.clear()


def after_napoleon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Bring back what was hidden."""
    if what in {"attribute", "data", "property"}:
        lines[:] = _hidden.pop()


def show_defaults(
    app: Sphinx, what: str, path: str, obj: type, options: object, signature: str | None, return_annotation: str | None
) -> tuple[str | None, str | None]:
    """Show the defaults of attrs classes, whose generated ``__init__`` hides them."""
    if signature is not None and "attr_dict[" in signature:
        defaults = {field.alias: field.default for field in attrs.fields(obj) if field.default is not attrs.NOTHING}
        shown = inspect.signature(obj)
        parameters = [each.replace(default=defaults.get(name, each.default)) for name, each in shown.parameters.items()]
        signature = stringify_signature(shown.replace(parameters=parameters), show_return_annotation=False)
    return signature, return_annotation


def find_object(path: str) -> object:
    """The object that a full name leads to, or None."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):
        return None


def resolve_internal_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: Element) -> Element | None:
    """Lead a reference to the module that a class lives in, as signatures have it, to the public name of that class."""
    if node.get("refdomain") != "py":
        return None
    domain = cast("PythonDomain", env.get_domain("py"))
    target: str = node["reftarget"]
    last = target.rpartition(".")[2]
    candidates = [name for name in domain.objects if name.rpartition(".")[2] == last and name != target]
    if "." in target:
        wanted = find_object(target)
        candidates = [name for name in candidates if wanted is not None and find_object(name) is wanted]
    if len(candidates) != 1:
        return None
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], candidates[0], node, content)


def add_unreleased_changes(app: Sphinx, docname: str, source: list[str]) -> None:
    """Show on the page of changes those that wait in ``newsfragments/`` for the next release."""
    if docname != "history":
        return
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next", "--date", "to come"]
    draft = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True).stdout
    marker = ".. towncrier release notes start"
    source[0] = source[0].replace(marker, f"{marker}\n\n{draft}")


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("source-read", add_unreleased_changes)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-process-signature", show_defaults)
    app.connect("missing-reference", resolve_internal_name)
