"""inrcodec: a neural codec for medical and biomedical volumes."""

__version__ = "0.1.0"
