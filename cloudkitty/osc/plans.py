"""Commands about the document of plans and accounts."""

import argparse
import pathlib
import sys
from typing import Any

from osc_lib import exceptions

from cloudkitty.billing import documents
from cloudkitty.osc.commands import STANDARD, Command


class ShowPlans(Command):
    """Print the document of plans and accounts that is applied, or was."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--version', type=int, help='number; default: the newest')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        found = self.client.get('/v2/billing/document', version=parsed_args.version)
        self.app.stdout.write(documents.export(found['document']))


class ApplyPlans(Command):
    """Apply a document of plans and accounts from a month on, or say what it would change."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('file', metavar='FILE', help='YAML; - is standard input')
        parser.add_argument(
            '--from', dest='month', metavar='MONTH', required=True, help='first month'
        )
        parser.add_argument('--digest', help='refuse unless this is that of the applied one')
        parser.add_argument('--dry-run', action='store_true', help='change nothing')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        made = self.client.put(
            '/v2/billing/document',
            {'dry_run': parsed_args.dry_run},
            document=_document(parsed_args.file),
            from_month=parsed_args.month,
            digest=parsed_args.digest,
        )
        for one in made['differences']:
            self.app.stdout.write(f'{one}\n')
        self.app.stdout.write(f'version {made["version"]}, digest {made["digest"] or "none"}\n')


def _document(path: str) -> dict[str, Any]:
    try:
        text = sys.stdin.buffer.read() if path == STANDARD else pathlib.Path(path).read_bytes()
    except OSError as exc:
        raise exceptions.CommandError(f'{path}: {exc.strerror}') from exc
    found: dict[str, Any] = documents.load(text)
    return found
