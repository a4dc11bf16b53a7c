"""DICOM objects made of results (SR, SC, GSPS, SEG, KO) and their delivery."""
