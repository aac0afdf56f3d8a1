"""The chain of enabled rating modules, in order of priority, that a frame passes through."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from oslo_config import cfg

from cloudkitty import db, errors, plugins, rating
from cloudkitty.core import dataframe
from cloudkitty.core.columns import ColumnBuilder
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.rating import module_state as db_modules

LOG = logging.getLogger(__name__)

INSTANCES_MAX = 10_000

_Priced = TypeVar('_Priced', dataframe.DataFrame, ScopePeriods)


class Description(NamedTuple):
    """Description of a module for the API."""

    module_id: str
    description: str
    enabled: bool
    hot_config: bool
    priority: int


class Failure(NamedTuple):
    """Why a scope cannot be rated from a period on.

    :ivar offset: of the period in the batch.
    """

    offset: int
    error: Exception


class _Module:
    """An enabled module with its rules of one version, and its instances by scope."""

    def __init__(
        self, name: str, build: Callable[[str | None], rating.RatingProcessorBase], version: int
    ) -> None:
        self.name = name
        self.version = version
        self._build = build
        self._instances: dict[str | None, rating.RatingProcessorBase] = {}

    def of_scope(self, scope_id: str | None) -> rating.RatingProcessorBase:
        instance = self._instances.get(scope_id)
        if instance is None:
            if len(self._instances) >= INSTANCES_MAX:
                self._instances.clear()
            instance = self._instances[scope_id] = self.build(scope_id)
        return instance

    def build(self, scope_id: str | None) -> rating.RatingProcessorBase:
        """Return a new instance.

        :raises ModuleLoadError: the module cannot make one.
        """
        try:
            return self._build(scope_id)
        except Exception as exc:
            raise _cannot_load(self.name, exc) from exc

    def price(self, usage: ScopePeriods) -> tuple[ScopePeriods, Failure | None]:
        """Return *usage* priced up to the first period that cannot be, and why that one cannot."""
        try:
            instance = self.of_scope(usage.scope_id)
        except errors.ModuleLoadError as exc:
            return usage.at(()), Failure(usage.offsets[0], exc)
        is_current = plugins.is_current(type(instance), 'price_columns', 'process', 'reload_config')
        shortcut = instance.price_columns if is_current else None
        if shortcut is not None:
            try:
                return _checked(self.name, shortcut(usage), ScopePeriods), None
            # Whatever went wrong, process() is called next and shows in which period.
            except Exception:
                LOG.warning(
                    'Rating module %s failed on several periods of scope %s at once; they are '
                    'rated one by one.',
                    self.name,
                    usage.scope_id,
                    exc_info=True,
                )
        return self._price_frames(usage, instance)

    def _price_frames(
        self, usage: ScopePeriods, instance: rating.RatingProcessorBase
    ) -> tuple[ScopePeriods, Failure | None]:
        builder = ColumnBuilder(usage.calendars)
        for number, (offset, frame) in enumerate(zip(usage.offsets, usage, strict=True)):
            try:
                priced = _call(self.name, instance, 'process', frame)
            except Exception as exc:
                done = usage.at(usage.offsets[:number])
                return done.with_columns(builder.columns()), Failure(offset, exc)
            for metric, points in priced.itertypes():
                builder.add(metric, offset, points)
        return usage.with_columns(builder.columns()), None


class ModuleSet:
    """All installed rating modules; prices frames with the enabled ones.

    Build one in each process. refresh() reads the database; rate() uses the state that it read.

    :param installed: module classes by name, an exception for one that cannot be imported; None:
        those that are installed.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: db.Database,
        installed: Mapping[str, type[Any] | BaseException] | None = None,
    ) -> None:
        self._conf = conf
        self._database = database
        self._installed = plugins.load_all(rating.NAMESPACE) if installed is None else installed
        self._loaded: dict[str, _Module] = {}
        self._active: list[_Module] | None = None
        self._quoting = threading.Lock()

    def refresh(self) -> None:
        """Read which modules are enabled, their order, and new rules if there are any.

        Cheap if nothing changed, so it may be called before every period.

        :raises ModuleLoadError: an enabled module is missing or cannot load. Nothing can be rated
            until a later call succeeds, because no points may be stored unrated.
        """
        self._refreshed()

    def rate(self, frame: dataframe.DataFrame, scope_id: str | None) -> dataframe.DataFrame:
        """Return *frame* priced by all enabled modules, with the rules valid at its start.

        :raises ModuleLoadError: see refresh().
        :raises ModuleFailed: a module raised an error, or returned no frame.
        """
        for module in self._active or self._refreshed():
            frame = _call(module.name, module.of_scope(scope_id), 'process', frame)
        return frame

    def rate_periods(self, usage: ScopePeriods) -> tuple[ScopePeriods, Failure | None]:
        """Return *usage* priced by all enabled modules, with the rules valid in each period.

        The result ends before the first period that cannot be priced.

        :returns: (the priced periods, why the next one cannot be priced; None: there is none). Its
            error is one that rate() would raise.
        :raises ModuleLoadError: see refresh().
        """
        failure = None
        for module in self._active or self._refreshed():
            if not usage.offsets:
                break
            # A failure found now is of an earlier period than that of another module.
            usage, failed = module.price(usage)
            failure = failed or failure
        return usage, failure

    def quote(self, frame: dataframe.DataFrame, scope_id: str | None = None) -> dataframe.DataFrame:
        """Return *frame* priced as an offer, with the current modules and rules.

        Unlike the rest of this class it may be called by several threads at once: each call has
        instances of its own, so none waits for another.

        :param scope_id: for whom; None: for nobody in particular, with general rules only.
        :raises ModuleLoadError, ModuleFailed: see rate().
        """
        with self._quoting:
            active = self._refreshed()
        for module in active:
            frame = _call(module.name, module.build(scope_id), 'quote', frame)
        return frame

    def explain(
        self, frame: dataframe.DataFrame, scope_id: str
    ) -> Iterator[tuple[str, rating.RatingProcessorBase, dataframe.DataFrame]]:
        """Yield (name, instance, frame priced so far) of each enabled module in its order.

        The instance can explain by which rules, and with which amounts, it priced the frame.

        :raises ModuleLoadError, ModuleFailed: see rate().
        """
        for module in self._refreshed():
            instance = module.of_scope(scope_id)
            frame = _call(module.name, instance, 'process', frame)
            yield module.name, instance, frame

    def describe(self) -> list[Description]:
        """Return all installed modules by name, including those that cannot be imported.

        A module that is enabled and not installed is listed as well: it stops the rating, so an
        operator must be able to see and disable it.
        """
        read = self._read()
        listed = {
            name
            for name, (state, _) in read.items()
            if state.enabled and not db_modules.is_collector(name)
        }.union(self._installed)
        return [
            self._describe(name, read.get(name, (db_modules.State(), 0))[0])
            for name in sorted(listed)
        ]

    def _describe(self, name: str, state: db_modules.State) -> Description:
        plugin = self._installed.get(name)
        if plugin is None:
            return Description(
                name, 'This module is not installed.', hot_config=False, **state._asdict()
            )
        if isinstance(plugin, BaseException):
            return Description(
                name, 'This module cannot be imported.', hot_config=False, **state._asdict()
            )
        return Description(
            name, plugin.description or '', hot_config=bool(plugin.hot_config), **state._asdict()
        )

    def _read(self) -> dict[str, tuple[db_modules.State, int]]:
        with self._database.reader() as connection:
            return db_modules.states_and_versions(connection)

    def _refreshed(self) -> list[_Module]:
        # Threads may rate meanwhile: they see the old list or none, never a partial one.
        self._active = None
        enabled = [
            (name, state, version)
            for name, (state, version) in self._read().items()
            if state.enabled and not db_modules.is_collector(name)
        ]
        # The highest priority runs first; of equal ones the first by name.
        enabled.sort(key=lambda module: (-module[1].priority, module[0]))
        self._active = active = [self._load(name, version) for name, _, version in enabled]
        return active

    def _load(self, name: str, version: int) -> _Module:
        module = self._loaded.get(name)
        if module is not None and module.version == version:
            return module
        self._loaded.pop(name, None)
        plugin = self._installed.get(name, 'it is enabled and not installed')
        if not isinstance(plugin, type):
            raise _cannot_load(name, plugin)
        try:
            build = plugin.factory(self._conf, self._database)
        except Exception as exc:
            raise _cannot_load(name, exc) from exc
        module = self._loaded[name] = _Module(name, build, version)
        LOG.info('Rating module %s: rules of version %s are loaded.', name, version)
        return module


def _call(
    name: str, instance: rating.RatingProcessorBase, method: str, frame: dataframe.DataFrame
) -> dataframe.DataFrame:
    try:
        instance.reload_config(frame.start)
        priced = getattr(instance, method)(frame)
    # These errors already have a complete message.
    except (errors.ModuleLoadError, errors.PriceScriptFailed):
        raise
    except Exception as exc:
        LOG.exception(
            'Rating module %s failed on the period %s of scope %s.',
            name,
            frame.start,
            instance.tenant_id,
        )
        raise errors.ModuleFailed(module=name, reason=exc) from exc
    return _checked(name, priced, dataframe.DataFrame)


def _checked(name: str, priced: object, kind: type[_Priced]) -> _Priced:
    if not isinstance(priced, kind):
        raise errors.ModuleFailed(
            module=name,
            reason=f'it returned {type(priced).__name__}, not a {kind.__name__}',
        )
    return priced


def _cannot_load(name: str, reason: object) -> errors.ModuleLoadError:
    if isinstance(reason, errors.ModuleLoadError):
        return reason
    return errors.ModuleLoadError(module=name, reason=reason)
