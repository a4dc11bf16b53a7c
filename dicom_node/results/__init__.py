"""DICOM objects made of results (SR, SC, GSPS, Parametric Map, KO) and their delivery."""
