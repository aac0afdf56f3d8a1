"""Whether this host agrees with the database, and whether the source has all samples."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from cloudkitty import doctor, errors
from cloudkitty.core import timeframe
from cloudkitty.doctor import Finding
from cloudkitty.doctor.site import Site
from cloudkitty.scopes import agreement, source_gaps
from cloudkitty.scopes.source_gaps import Gap

AGREEMENT = 'agreement'
COVERAGE = 'coverage'
SHOWN_MAX = 3
STATES = {
    source_gaps.HELD: 'periods wait for them',
    source_gaps.NOTED: 'periods were rated without, and no bill is final',
    source_gaps.BACK: 'they came after the periods were rated, and no bill is final',
    source_gaps.UNUSABLE: 'periods were rated without, and no bill is final',
}
REMEDIES = {
    source_gaps.HELD: 'see why the exporter or agent is away',
    source_gaps.NOTED: 'rate the periods again when the source has them, or accept that with '
    '`cloudkitty-status accept-gap`',
    source_gaps.BACK: 'rate the periods again with `POST /v2/task/reprocesses`',
    source_gaps.UNUSABLE: 'correct the exporter or the definition and rate the periods again, or '
    'accept that with `cloudkitty-status accept-gap`',
}


def check_agreement(site: Site) -> Iterator[Finding]:
    """Yield differences between the configuration of this host and the agreement."""
    with site.database.reader() as connection:
        state = agreement.read(connection)
        behind = agreement.list_behind(connection, state, limit=SHOWN_MAX)
        ahead = agreement.count_future_marks(connection)
    try:
        agreement.compare(state, agreement.Terms.of(site.conf))
    except errors.Disagreement as exc:
        yield doctor.error(
            AGREEMENT,
            str(exc),
            'set the options of this host back, or order the change with `cloudkitty-status '
            'agreement`',
        )
    waiting = state.ordered
    if waiting is not None and waiting.begin is not None and waiting.begin < state.now and behind:
        yield doctor.warning(
            AGREEMENT,
            f'the change of {timeframe.render(waiting.begin)} waits for scopes that are not rated '
            f'up to then, such as {", ".join(behind)}',
            'see what holds them back, or cancel the change with `cloudkitty-status agreement`',
        )
    if ahead:
        yield doctor.error(
            AGREEMENT,
            f'{ahead} scopes are rated beyond the present: the clock of a host was wrong',
            'correct the clock, and set the scopes back with `PUT /v2/scope`',
        )


def check_coverage(site: Site) -> Iterator[Finding]:
    """Yield the times without samples that are unresolved, by metric and state."""
    with site.database.reader() as connection:
        found = source_gaps.list_gaps(connection, site.identity, states=tuple(STATES))
    by_kind: dict[tuple[str, str], list[Gap]] = {}
    for gap in found:
        by_kind.setdefault((gap.metric, gap.state), []).append(gap)
    # The oldest first: it waits for longest.
    kinds = sorted(by_kind.items(), key=lambda item: min(gap.begin for gap in item[1]))
    for (metric, state), gaps in kinds[:SHOWN_MAX]:
        yield doctor.warning(COVERAGE, _tell(metric, state, gaps, site), REMEDIES[state])
    if len(kinds) > SHOWN_MAX:
        yield doctor.warning(
            COVERAGE,
            f'{len(kinds) - SHOWN_MAX} more metrics lack samples',
            '`cloudkitty-status gaps` lists them',
        )


def _tell(metric: str, state: str, gaps: Sequence[Gap], site: Site) -> str:
    first = min(gaps, key=lambda gap: gap.begin)
    days = (site.now() - first.begin) // timedelta(days=1)
    more = f' and {len(gaps) - 1} more times' if len(gaps) > 1 else ''
    what = 'no usable samples' if state == source_gaps.UNUSABLE else 'no samples'
    return (
        f'{what} of {metric} from {timeframe.render(first.begin)} to '
        f'{timeframe.render(first.end)}{more}, {days} days ago: {STATES[state]} ({first.sign})'
    )
