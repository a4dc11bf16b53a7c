"""One series: frames in order, a volume in Hounsfield units, checks, and its analysis."""
