"""``python -m inrcodec``: the command line."""

from inrcodec.cli import main

main(prog_name="inrcodec")
