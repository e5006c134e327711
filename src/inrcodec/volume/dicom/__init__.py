"""DICOM series: reading them into a stack of stored values, and writing such a stack back."""
