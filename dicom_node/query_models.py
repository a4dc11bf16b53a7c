"""SOP classes of the Study Root Query/Retrieve information model (PS3.4 C.6.2), provided and used by this node."""

from __future__ import annotations

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
