"""Runs the checks, each with a timeout, so that one that hangs does not hide the others."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cloudkitty import doctor, errors
from cloudkitty.doctor import (
    Finding,
    Severity,
    agreed,
    database,
    prices,
    progress,
    services,
    settings,
    sources,
)
from cloudkitty.doctor.site import Site

CHECK_LIMIT_S = 10
CORRECT = 'correct that, and run this again'


class Check(NamedTuple):
    """A part of the examination.

    :ivar run: yields what is wrong; a ServiceError that it raises is a finding.
    :ivar needs: subjects whose checks must succeed first.
    """

    subject: str
    run: Callable[[Site], Iterator[Finding]]
    needs: tuple[str, ...] = ()


CHECKS = (
    Check('configuration', settings.check),
    Check('web server', settings.check_web_server),
    Check('database', database.check),
    Check('lock service', services.check_locks),
    Check('message bus', services.check_bus),
    Check('Keystone', services.check_keystone),
    Check('storage', services.check_storage, ('database',)),
    Check('definitions', sources.check_definitions),
    Check('scopes', sources.check_scopes),
    Check('source', sources.check_source, ('definitions',)),
    Check('prices', prices.check, ('database',)),
    Check('progress', progress.check, ('database',)),
    Check(agreed.AGREEMENT, agreed.check_agreement, ('database', 'configuration')),
    Check(agreed.COVERAGE, agreed.check_coverage, ('database',)),
)


def examine(
    site: Site, *, check_limit_s: float = CHECK_LIMIT_S, total_limit_s: float = doctor.TOTAL_LIMIT_S
) -> Iterator[Finding]:
    """Yield all findings; takes at most *total_limit_s*, even if a check hangs."""
    end_s = time.monotonic() + total_limit_s
    broken: set[str] = set()
    for check in CHECKS:
        if not broken.isdisjoint(check.needs):
            continue
        limit_s = min(check_limit_s, max(end_s - time.monotonic(), 0))
        found = _run(check, site, limit_s)
        if any(one.severity is Severity.ERROR for one in found):
            broken.add(check.subject)
        yield from found


def _run(check, site, limit_s) -> list[Finding]:
    found: list[Finding] = []
    # Some libraries cannot be interrupted: a hanging check ends with the process.
    thread = threading.Thread(target=_collect, args=(check, site, found), daemon=True)
    thread.start()
    thread.join(limit_s)
    # Further findings of a thread that goes on do not count.
    found = list(found)
    if thread.is_alive():
        what = f'no answer within {limit_s:.0f} s'
        remedy = 'see whether it is overloaded, or a firewall drops packets on the way to it'
        found.append(doctor.error(check.subject, what, remedy))
    return found


def _collect(check, site, found):
    try:
        for one in check.run(site):
            found.append(one)
    # A driver of another package may raise anything.
    except Exception as exc:
        found.append(doctor.error(check.subject, errors.describe(exc), CORRECT))
