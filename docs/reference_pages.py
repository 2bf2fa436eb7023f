"""The pages of the reference, for the tests that read them."""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path(__file__).parent / "reference"
WIRE = (REFERENCE / "wire.rst").read_text(encoding="utf-8")
FLOWS = (REFERENCE / "wire_flows.rst").read_text(encoding="utf-8")
MESH = (REFERENCE / "wire_mesh.rst").read_text(encoding="utf-8")
VECTORS = (REFERENCE / "wire_vectors.rst").read_text(encoding="utf-8")
API = (REFERENCE / "api.rst").read_text(encoding="utf-8")
