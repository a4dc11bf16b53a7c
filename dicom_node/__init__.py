"""DICOM in and out: the listener, durable intake, the pipeline of one series, and results back to the PACS."""
