"""DICOM objects made of results (SR, SC, GSPS, SEG, Parametric Map, KO) and their delivery."""
