"""The rating modules together: which are on, in which order, and one frame through all of them."""

import logging
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import dataframe, db, errors, plugins, rating
from cloudkitty.db import modules as db_modules

LOG = logging.getLogger(__name__)

INSTANCES_MAX = 10_000


class Description(NamedTuple):
    """What the API says of a module."""

    module_id: str
    description: str
    enabled: bool
    hot_config: bool
    priority: int


class _Module:
    """An enabled module with its rules of one version, and its instances by scope."""

    def __init__(self, name, build, version):
        self.name = name
        self.version = version
        self._build = build
        self._instances = {}

    def of_scope(self, scope_id):
        instance = self._instances.get(scope_id)
        if instance is None:
            if len(self._instances) >= INSTANCES_MAX:
                self._instances.clear()
            try:
                instance = self._build(scope_id)
            except Exception as exc:
                raise _cannot_load(self.name, exc) from exc
            self._instances[scope_id] = instance
        return instance


class ModuleSet:
    """Every installed rating module, and how the enabled ones price a frame.

    Build one in each process. refresh() looks at the database; rate() uses what it saw.

    :param installed: module classes by name, an exception for one that cannot be imported; None:
        those that are installed.
    """

    def __init__(self, conf: cfg.ConfigOpts, database: db.Database,
                 installed: Mapping[str, type | Exception] | None = None):
        self._conf = conf
        self._database = database
        self._installed = plugins.load_all(rating.NAMESPACE) if installed is None else installed
        self._loaded: dict[str, _Module] = {}
        self._active: list[_Module] | None = None
        self._quoting = threading.Lock()

    def refresh(self) -> None:
        """Read which modules are enabled, their order, and new rules if there are any.

        Cheap when nothing changed, so it may be called before every period.

        :raises ModuleLoadError: an enabled module is missing or cannot load. Nothing can be rated
            until a later call succeeds, because nothing may pass unrated.
        """
        self._refreshed()

    def rate(self, frame: dataframe.DataFrame, scope_id: str | None) -> dataframe.DataFrame:
        """Return *frame* priced by all enabled modules, with the rules valid at its start.

        :raises ModuleLoadError: see refresh().
        :raises ModuleFailed: a module raised an error, or gave back no frame.
        """
        return self._run('process', frame, scope_id)

    def quote(self, frame: dataframe.DataFrame,
              scope_id: str | None = None) -> dataframe.DataFrame:
        """Return *frame* priced as an offer, with the modules and rules of this moment.

        Unlike the rest of this class it may be called by several threads at once.

        :param scope_id: to whom; None: nobody in particular, general rules only.
        :raises ModuleLoadError, ModuleFailed: see rate().
        """
        with self._quoting:
            self.refresh()
            return self._run('quote', frame, scope_id)

    def describe(self) -> list[Description]:
        """Return all installed modules by name, those that cannot be imported too.

        One that is enabled and not installed is listed as well: it stops the rating, so an
        operator must be able to see it and to disable it.
        """
        read = self._read()
        listed = {name for name, (state, _) in read.items()
                  if state.enabled and not _is_collector(name)}.union(self._installed)
        return [self._describe(name, read.get(name, (db_modules.State(), 0))[0])
                for name in sorted(listed)]

    def _describe(self, name, state):
        plugin = self._installed.get(name)
        if plugin is None:
            return Description(name, 'This module is not installed.', hot_config=False,
                               **state._asdict())
        if isinstance(plugin, Exception):
            return Description(name, 'This module cannot be imported.', hot_config=False,
                               **state._asdict())
        return Description(name, plugin.description or '', hot_config=bool(plugin.hot_config),
                           **state._asdict())

    def _read(self) -> dict[str, tuple[db_modules.State, int]]:
        with self._database.reader() as connection:
            return db_modules.states_and_versions(connection)

    def _refreshed(self) -> list[_Module]:
        # Threads may rate meanwhile: they see the old list, or none, never a part of one.
        self._active = None
        enabled = [(name, state, version) for name, (state, version) in self._read().items()
                   if state.enabled and not _is_collector(name)]
        # The highest priority runs first; of equal ones the first by name.
        enabled.sort(key=lambda module: (-module[1].priority, module[0]))
        self._active = active = [self._load(name, version) for name, _, version in enabled]
        return active

    def _load(self, name, version):
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

    def _run(self, method: str, frame: dataframe.DataFrame, scope_id: str | None):
        for module in self._active or self._refreshed():
            instance = module.of_scope(scope_id)
            frame = _call(module.name, instance, method, frame)
        return frame


def _call(name: str, instance: Any, method: str, frame: dataframe.DataFrame):
    try:
        instance.reload_config(frame.start)
        priced = getattr(instance, method)(frame)
    except errors.ModuleLoadError:
        raise
    except Exception as exc:
        LOG.exception('Rating module %s failed on the period %s of scope %s.', name, frame.start,
                      instance.tenant_id)
        raise errors.ModuleFailed(module=name, reason=exc) from exc
    if not isinstance(priced, dataframe.DataFrame):
        raise errors.ModuleFailed(
            module=name, reason=f'it gave back {type(priced).__name__}, not a frame')
    return priced


def _cannot_load(name, reason):
    if isinstance(reason, errors.ModuleLoadError):
        return reason
    return errors.ModuleLoadError(module=name, reason=reason)


def _is_collector(name):
    """The table of modules also holds the state of collectors, which rate nothing."""
    return name.startswith('collector_')
