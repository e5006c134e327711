"""Unique identifiers of new studies, series and instances, under the root 2.25 of UUIDs."""

from __future__ import annotations

from uuid import UUID, uuid4, uuid5

from pydicom.uid import UID

_NAMESPACE = UUID("468bd20a-224b-4bbe-bddd-c16cee388fde")

IMPLEMENTATION_CLASS_UID = UID(f"2.25.{uuid5(_NAMESPACE, 'inrcodec').int}")


def new_uid(name: str, seed: str | None) -> UID:
    """Return a UID for what ``name`` says: the same for the same seed, or a random one for none."""
    uuid = uuid4() if seed is None else uuid5(_NAMESPACE, f"{seed}/{name}")
    return UID(f"2.25.{uuid.int}")
