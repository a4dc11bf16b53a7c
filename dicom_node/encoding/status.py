"""DIMSE statuses of the C-STORE responses of this node, each with its source."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Status (0000,0900) of a C-STORE response: PS3.7 C and PS3.4 table B.2-1."""

    SUCCESS = 0x0000
    """Stored, or stored before with the same bytes."""
    DUPLICATE_SOP_INSTANCE = 0x0111
    """PS3.7 C.5.6: the SOP Instance UID is stored with other bytes; the first instance remains."""
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    """PS3.7 C.5.17."""
    NOT_AUTHORIZED = 0x0124
    """PS3.7 C.5.22: this peer may associate but not store."""
    OUT_OF_RESOURCES = 0xA700
    """PS3.4 B.2.3: the disk or the database cannot take it now; sending again later is right."""
    DOES_NOT_MATCH = 0xA900
    """PS3.4 B.2.3: the dataset is not what the command says."""
    CANNOT_UNDERSTAND = 0xC000
    """PS3.4 B.2.3: the dataset cannot be parsed, or lacks what the index needs."""
    INTERNAL_ERROR = 0xC211
    """PS3.4 B.2.3, a Cxxx: an error of our own, recorded with a reference."""
