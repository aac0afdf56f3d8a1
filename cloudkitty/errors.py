"""Every error raised on purpose.

ServiceError
├── ConfigurationError          the operator must change something
│   ├── MetricsFileError        a metric definition file is wrong
│   ├── UnknownDriver           no such driver is installed
│   ├── DriverLoadError         a driver is there and cannot be loaded
│   ├── NotInstalled            an optional package is needed (501)
│   ├── Disagreement            the database is rated by another period or scope key
│   └── DatabaseUnavailable     the database cannot be used
│       └── SchemaMismatch      the schema is not the one this version needs
├── ClockOff                    the clock of this host is not that of the database or source
├── PeriodsOverlap              a period would be stored twice in part
├── SourceError                 a source outside did not answer as it should
│   ├── BadLines                a file can be read, and lines of it make no sense
│   ├── FetcherError            listing scopes failed
│   ├── SourceLags              the source has not all the data yet
│   └── CollectError            collecting a metric failed
│       ├── AnswerTooLarge      the answer has more bytes than one may have
│       └── SourceUnreachable   nothing was said by the source itself
├── BatchTooLarge               a batch has more points than one may have
├── NoDataCollected             the source answered, and has nothing
├── ModuleLoadError             a rating module cannot load its rules
├── ModuleFailed                a rating module failed on a frame
│   └── PriceScriptFailed       so did a script of pyscripts
├── NotExplained                the source or a module fails on what is to be explained (422)
├── QuoteFailed                 a script failed on what the price is asked of (422)
├── ScriptFailed                a script made no frame of a frame
├── InvalidInput                a value from a caller is wrong (400)
│   └── NaiveTime               a datetime has no zone
├── Forbidden                   the policy says no (403)
├── NotFound                    nothing has this name (404)
│   └── NoTimeFrame             a storage of interface 1 has no points in the window
├── TooManyCalls                the caller has called too often at once (429)
├── DatabaseAway                the database does not answer a request (503)
├── BusUnavailable              the message bus does not take a message
├── MethodNotAllowed            the address is right, the method is not (405)
│   └── NoMetrics               there are no metrics to be told of
├── Conflict                    the change collides with what is there (409)
└── UnsupportedMediaType        the body is not JSON (415)
"""

from typing import Any


class ServiceError(Exception):
    """Base of every error raised on purpose. Subclasses set code and text."""

    code = 500  # HTTP status the API answers with
    text = 'Internal error.'

    def __init__(self, **facts: Any) -> None:
        super().__init__(self.text.format(**facts))
        self.facts = facts


def describe(exc: Exception) -> str:
    """Return *exc* in one line; those not raised on purpose with their type."""
    text = str(exc).strip().partition('\n')[0]
    return text if isinstance(exc, ServiceError) else f'{type(exc).__name__}: {text}'


class ConfigurationError(ServiceError):
    text = '{reason}'


class MetricsFileError(ConfigurationError):
    text = '{path}: {reason}'


class UnknownDriver(ConfigurationError):
    text = '[{group}]{option}: no driver is named {name!r}; allowed: {allowed}.'


class DriverLoadError(ConfigurationError):
    text = '[{group}]{option}: driver {name!r} cannot be loaded: {reason}'


class NotInstalled(ConfigurationError):
    code = 501
    text = '{reason}'


class Disagreement(ConfigurationError):
    text = '{reason}'


class DatabaseUnavailable(ConfigurationError):
    text = '[database]connection: {reason}'


class SchemaMismatch(DatabaseUnavailable):
    pass


class ClockOff(ServiceError):
    text = '{reason}'


class PeriodsOverlap(ServiceError):
    text = 'the period that begins at {begin} overlaps the stored one from {stored}'


class SourceError(ServiceError):
    text = '{reason}'


class BadLines(SourceError):
    pass


class FetcherError(SourceError):
    text = 'Fetcher {fetcher!r}: {reason}'


class SourceLags(SourceError):
    pass


class CollectError(SourceError):
    text = 'Collector {collector!r}: {reason}'


class AnswerTooLarge(CollectError):
    pass


class SourceUnreachable(CollectError):
    pass


class BatchTooLarge(ServiceError):
    text = 'The source has too much to be rated at once.'


class NoDataCollected(ServiceError):
    text = "Collector '{collector}' returned no data for resource '{resource}'"


class ModuleLoadError(ServiceError):
    text = 'Rating module {module!r} cannot be loaded: {reason}'


class ModuleFailed(ServiceError):
    text = 'Rating module {module!r} failed: {reason}'


class PriceScriptFailed(ModuleFailed):
    text = 'Script {script!r} ({script_id}) failed: {kind}: {detail}'


class QuoteFailed(ServiceError):
    code = 422
    text = 'Script {script!r} cannot price this: {kind}.'


class NotExplained(ServiceError):
    code = 422
    text = 'This cannot be explained now: {reason}'


class ScriptFailed(ServiceError):
    text = '{kind}: {detail}'


class InvalidInput(ServiceError):
    code = 400
    text = '{reason}'


class NaiveTime(InvalidInput):
    text = '{instant!r} has no time zone.'


class Forbidden(ServiceError):
    code = 403
    text = "Policy doesn't allow {rule} to be performed."


class NotFound(ServiceError):
    code = 404
    text = '{reason}'


class NoTimeFrame(NotFound):
    text = 'There are no points in the window.'


class MethodNotAllowed(ServiceError):
    code = 405
    text = 'The method is not allowed for the requested URL.'


class NoMetrics(MethodNotAllowed):
    text = 'Invalid endpoint: no metrics in current configuration.'


class TooManyCalls(ServiceError):
    code = 429
    text = 'Too many calls that take long are made at once; wait for some of them.'


class DatabaseAway(ServiceError):
    code = 503
    text = 'The database does not answer; try again later.'


class BusUnavailable(ServiceError):
    text = 'The message bus takes nothing: {reason}.'


class Conflict(ServiceError):
    code = 409
    text = '{reason}'


class UnsupportedMediaType(ServiceError):
    code = 415
    text = 'Unknown mimetype: {media_type}'
