"""Entries as the rows that they would store: repeats, revisions and contradictions."""

from collections.abc import Mapping

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes
from cloudkitty.usage import samples, series
from cloudkitty.usage.attribute_rows import Known
from cloudkitty.usage.entries import Entry, Outcome
from cloudkitty.usage.keys import Claim
from cloudkitty.usage.samples import Content, Key, Location


class Candidate:
    """An entry, and the rows that it would store.

    :ivar replaces: the earlier revision of the same event.
    """

    def __init__(
        self,
        entry: Entry,
        location: Location,
        ids: Mapping[series.SeriesKey, int],
        attributes: Mapping[Attributes, Known],
    ) -> None:
        self.entry = entry
        self.location = location
        self.kind = entry.facts[0].kind
        series_id = ids[entry.facts[0].series]
        self.rows = [
            (
                Key(series_id, fact.at, fact.stage, fact.tag),
                Content(
                    fact.quantity,
                    None if fact.attributes is None else attributes[fact.attributes].id,
                    fact.born,
                ),
            )
            for fact in entry.facts
        ]
        self.claim: Claim | None = None
        if entry.event is not None:
            digest, body = entry.event
            self.claim = Claim(digest, body, entry.revision, series_id, location)
        self.replaces: Claim | None = None

    def _counts(self, stored: samples.Stored | None) -> bool:
        """Return whether a fact stays when this entry is stored."""
        if stored is None or stored.is_void:
            return False
        return self.replaces is None or stored.location != self.replaces.location

    def new_rows(self, stored: Mapping[Key, samples.Stored]) -> list[tuple[Key, Content]]:
        """Return the rows that are not stored."""
        return [row for row in self.rows if not self._counts(stored.get(row[0]))]

    def contradiction(self, stored: Mapping[Key, samples.Stored]) -> str | None:
        """Return why the rows cannot be stored beside those that are; None: they can."""
        for key, content in self.rows:
            old = stored.get(key)
            if old is not None and self._counts(old) and old.content != content:
                return f'another value is stored for {facts.render_us(key.at)}'
        return None


def without_repeats(news: Mapping[int, Candidate], outcome: Outcome) -> dict[int, Candidate]:
    """Return *news* with each event once, in its highest revision."""
    best: dict[bytes, int] = {}
    for number, one in news.items():
        if one.claim is None:
            continue
        other = best.setdefault(one.claim.digest, number)
        known = news[other].claim
        assert known is not None
        if one.claim.revision > known.revision:
            best[one.claim.digest] = number
            outcome.duplicates += 1
        elif other != number:
            refuse(number, one.claim, known, outcome)
    return {
        number: one
        for number, one in news.items()
        if one.claim is None or best[one.claim.digest] == number
    }


def refuse(number: int, claim: Claim, holder: Claim, outcome: Outcome) -> None:
    """Record the result of an event that does not replace *holder*."""
    if claim.revision < holder.revision or claim.body == holder.body:
        outcome.duplicates += 1
    else:
        outcome.contradict(
            number,
            'another event has this source and id; a higher ckrevision would take its place',
        )
