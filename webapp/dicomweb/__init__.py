"""DICOMweb (PS3.18): stored studies for viewers and archives, at ``/dicom-web``."""
