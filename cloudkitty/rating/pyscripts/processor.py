"""The rating module `pyscripts`: frames pass through the scripts that are valid at their start."""

import functools
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors, rating
from cloudkitty.core import dataframe
from cloudkitty.rating.pyscripts import exchange, host
from cloudkitty.rating.pyscripts import store as db_pyscripts
from cloudkitty.rating.pyscripts.store import Script

LOG = logging.getLogger(__name__)

MIB = 1 << 20
LOGGED_MAX = 10_000
OPTS = [
    cfg.FloatOpt(
        'time_limit',
        default=10,
        min=0.1,
        help='Seconds one script may take for one frame. Raise it when frames are huge.',
    ),
    cfg.IntOpt(
        'memory_limit',
        default=512,
        min=64,
        help='MiB of address space of the process that runs the scripts. Raise it when '
        'scripts import big libraries.',
    ),
    cfg.IntOpt(
        'output_limit',
        default=16,
        min=1,
        help='Largest result of a script for one frame, and largest file that a script may '
        'write, MiB.',
    ),
    cfg.StrOpt(
        'user',
        default='nobody',
        help='User that runs the scripts when the service itself is run by root; empty: '
        'root. What this user cannot read can only be imported by `preload`.',
    ),
    cfg.ListOpt(
        'preload',
        default=[],
        help='Python modules that the process imports when it starts, before its limits '
        'are set. Name here those that scripts import and that load slowly.',
    ),
]


class PyScripts(rating.RatingProcessorBase):
    """Prices the points of a scope with scripts.

    :param pool: the scripts, shared by all scopes.
    """

    GROUP = 'rating_pyscripts'
    OPTS = OPTS
    module_name = 'pyscripts'
    description = 'PyScripts rating module.'
    hot_config = True
    config_controller = 'cloudkitty.api.v1.pyscripts:PyScriptsController'

    def __init__(self, tenant_id: str | None = None, *, pool: 'ScriptPool') -> None:
        super().__init__(tenant_id)
        self._pool = pool
        self._scripts: Sequence[Script] = ()

    @classmethod
    def factory(
        cls, conf: cfg.ConfigOpts, database: db.Database
    ) -> Callable[[str | None], 'PyScripts']:
        options = configuration.register_driver(conf, cls.GROUP, cls.OPTS)
        limits = host.Limits(
            time_s=options.time_limit,
            memory_bytes=options.memory_limit * MIB,
            output_bytes=options.output_limit * MIB,
            user=options.user,
            preload=tuple(options.preload),
        )
        with database.reader() as connection:
            scripts = db_pyscripts.load(connection)
        pool = ScriptPool(scripts, host.Host(limits), scope_key=conf.collect.scope_key)
        return functools.partial(cls, pool=pool)

    def reload_config(self, start: datetime | None = None) -> None:
        self._scripts = self._pool.valid_at(start or datetime.now(UTC))

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        return self._pool.run(self._scripts, frame, self.tenant_id)


class ScriptPool:
    """All scripts, the process that runs them, and the failures that were logged.

    :param scripts: in the order in which they run.
    :param scope_key: attribute that names the scope.
    """

    def __init__(
        self,
        scripts: Sequence[Script],
        runner: host.Host,
        *,
        scope_key: str,
    ) -> None:
        self._scripts = scripts
        self._host = runner
        self._scope_key = scope_key
        self._logged: set[tuple[str, str]] = set()

    def valid_at(self, instant: datetime) -> list[Script]:
        """Return the scripts for a period that begins at *instant*."""
        return [script for script in self._scripts if script.is_valid(instant)]

    def run(
        self, scripts: Sequence[Script], frame: dataframe.DataFrame, scope_id: str | None
    ) -> dataframe.DataFrame:
        """Run *scripts* one after the other on a frame; return the result.

        :raises PriceScriptFailed: one of them failed; without it the price would be wrong.
        :raises ModuleLoadError: scripts cannot be run at all.
        """
        sent: exchange.Sent | None = None
        for script in scripts:
            try:
                if sent is None or sent.frame is not frame:
                    sent = self._encode(frame)
                frame = self._run(script, sent)
            except errors.ScriptFailed as exc:
                self._tell(script, exc, f'period {frame.start}, scope {scope_id}')
                raise errors.PriceScriptFailed(
                    script=script.name, script_id=script.script_id, **exc.facts
                ) from exc
        return frame

    def _encode(self, frame: dataframe.DataFrame) -> exchange.Sent:
        try:
            return exchange.encode(frame, self._host.tag)
        except errors.InvalidInput as exc:
            raise errors.ScriptFailed(kind='frame', detail=exc) from exc

    def _run(self, script: Script, sent: exchange.Sent) -> dataframe.DataFrame:
        if script.data is None:
            raise errors.ScriptFailed(kind='source', detail='the database holds a damaged one')
        usage = self._host.run(script, sent)
        try:
            return exchange.apply(sent, usage, self._scope_key)
        except errors.InvalidInput as exc:
            raise errors.ScriptFailed(kind='no frame', detail=exc) from exc

    def _tell(self, script: Script, failure: errors.ScriptFailed, where: str) -> None:
        """Log a failure once for each script and kind of failure."""
        known = (script.script_id, failure.facts['kind'])
        if known in self._logged:
            return
        if len(self._logged) >= LOGGED_MAX:
            self._logged.clear()
        self._logged.add(known)
        LOG.error(
            'Script %s (%s) failed, at first for the %s, which is not rated until it succeeds; '
            'the same kind of failure is not logged again until scripts change: %.600s',
            script.name,
            script.script_id,
            where,
            failure,
        )
