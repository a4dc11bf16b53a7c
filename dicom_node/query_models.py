"""SOP classes of the Study Root Query/Retrieve information model (PS3.4 C.6.2), provided and used by this node."""

from __future__ import annotations

from pynetdicom import sop_class

STUDY_ROOT_FIND = sop_class.StudyRootQueryRetrieveInformationModelFind
STUDY_ROOT_MOVE = sop_class.StudyRootQueryRetrieveInformationModelMove
STUDY_ROOT_GET = sop_class.StudyRootQueryRetrieveInformationModelGet
