"""The command line: ``inrcodec encode``, ``decode``, ``info`` and ``verify`` (docs/cli.md)."""

from __future__ import annotations

import click

from inrcodec import __version__
from inrcodec.cli.bench import bench
from inrcodec.cli.compare import compare
from inrcodec.cli.decode import decode
from inrcodec.cli.encode import encode
from inrcodec.cli.info import info
from inrcodec.cli.verify import verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="inrcodec", message="%(prog)s %(version)s")
def main() -> None:
    """Compress medical and biomedical volumes into small neural networks.

    The result is lossy and not for primary diagnosis.
    """


main.add_command(encode)
main.add_command(decode)
main.add_command(info)
main.add_command(verify)
main.add_command(compare)
main.add_command(bench)
