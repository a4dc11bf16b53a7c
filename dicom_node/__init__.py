"""DICOM input and output: listener, durable intake, analysis of a series, and results sent back to the PACS."""
