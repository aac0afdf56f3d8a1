"""The rating module `pyscripts`: frames go through the scripts that are valid at their start."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import dataframe, errors, rating
from cloudkitty.db import pyscripts as db_pyscripts
from cloudkitty.db.pyscripts import Script
from cloudkitty.rating.pyscripts import exchange, host

LOG = logging.getLogger(__name__)

MIB = 1 << 20
# A script that took all its time, or ended the process, so often in a row is left out for a while:
# else it would hold up all scopes.
FATAL_MAX = 3
LEFT_OUT_S = 300
LOGGED_MAX = 10_000
OPTS = [
    cfg.FloatOpt('time_limit', default=10, min=0.1,
                 help='Seconds one script may take for one frame. Raise it when frames are huge.'),
    cfg.IntOpt('memory_limit', default=512, min=64,
               help='MiB of address space of the process that runs the scripts. Raise it when '
                    'scripts import big libraries.'),
    cfg.IntOpt('output_limit', default=16, min=1,
               help='MiB that a script may give back for one frame, and that a file it writes may '
                    'have.'),
    cfg.StrOpt('user', default='nobody',
               help='User that runs the scripts when the service itself is run by root; empty: '
                    'root. What this user cannot read can only be imported by `preload`.'),
    cfg.ListOpt('preload', default=[],
                help='Python modules that the process imports when it starts, before its limits '
                     'are set. Name here those that scripts import and that load slowly.'),
]


class PyScripts(rating.RatingProcessorBase):
    """Let the scripts price the points of a scope.

    :param pool: the scripts, shared by all scopes.
    """

    GROUP = 'rating_pyscripts'
    OPTS = OPTS
    module_name = 'pyscripts'
    description = 'PyScripts rating module.'
    hot_config = True
    config_controller = 'cloudkitty.api.v1.pyscripts:PyScriptsController'

    def __init__(self, tenant_id: str | None = None, *, pool: 'ScriptPool'):
        super().__init__(tenant_id)
        self._pool = pool
        self._scripts: Sequence[Script] = ()

    @classmethod
    def factory(cls, conf, database) -> Callable[[str | None], 'PyScripts']:
        options = configuration.register_driver(conf, cls.GROUP, cls.OPTS)
        limits = host.Limits(
            time_s=options.time_limit, memory_bytes=options.memory_limit * MIB,
            output_bytes=options.output_limit * MIB, user=options.user,
            preload=tuple(options.preload))
        with database.reader() as connection:
            scripts = db_pyscripts.load(connection)
        pool = ScriptPool(scripts, host.Host(limits), scope_key=conf.collect.scope_key)
        return lambda tenant_id=None: cls(tenant_id, pool=pool)

    def reload_config(self, start: datetime | None = None) -> None:
        self._scripts = self._pool.valid_at(start or datetime.now(UTC))

    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        return self._pool.run(self._scripts, frame, self.tenant_id)


class ScriptPool:
    """Scripts, the process that runs them, and what is known of their failures.

    :param scripts: in the order in which they run.
    :param scope_key: attribute that names the scope.
    :param clock: seconds that only grow.
    """

    def __init__(self, scripts: Sequence[Script], runner: host.Host, *, scope_key: str,
                 clock: Callable[[], float] = time.monotonic):
        self._scripts = scripts
        self._host = runner
        self._scope_key = scope_key
        self._clock = clock
        self._logged: set[tuple[str, str]] = set()
        self._fatal_counts: dict[str, int] = {}
        self._left_out_until: dict[str, float] = {}

    def valid_at(self, instant: datetime) -> list[Script]:
        """Return the scripts for a period that begins at *instant*."""
        return [script for script in self._scripts if script.is_valid(instant)]

    def run(self, scripts: Sequence[Script], frame: dataframe.DataFrame,
            scope_id: str | None) -> dataframe.DataFrame:
        """Return what *scripts*, one after the other, make of a frame.

        One that fails is skipped: the frame stays as it was before it.

        :raises ModuleLoadError: scripts cannot be run at all.
        """
        sent = None
        for script in scripts:
            if self._left_out_until.get(script.script_id, 0) > self._clock():
                continue
            try:
                if sent is None or sent.frame is not frame:
                    sent = self._encode(frame)
                frame = self._run(script, sent)
                self._fatal_counts.pop(script.script_id, None)
            except errors.ScriptFailed as exc:
                self._note(script, exc, f'period {frame.start}, scope {scope_id}')
        return frame

    def _encode(self, frame):
        try:
            return exchange.encode(frame, self._host.tag)
        except errors.InvalidInput as exc:
            raise errors.ScriptFailed(kind='frame', detail=exc) from exc

    def _run(self, script, sent):
        if script.data is None:
            raise errors.ScriptFailed(kind='source', detail='the database holds a damaged one')
        usage = self._host.run(script, sent)
        try:
            return exchange.apply(sent, usage, self._scope_key)
        except errors.InvalidInput as exc:
            raise errors.ScriptFailed(kind='no frame', detail=exc) from exc

    def _note(self, script, failure, where):
        """Log a failure once for each script and kind; leave a dangerous script out for a while."""
        kind = failure.facts['kind']
        if (script.script_id, kind) not in self._logged:
            if len(self._logged) >= LOGGED_MAX:
                self._logged.clear()
            self._logged.add((script.script_id, kind))
            LOG.error('Script %s (%s) is skipped, at first for the %s, and whenever this happens '
                      'again, which is not logged until scripts change: %.600s',
                      script.name, script.script_id, where, failure)
        if kind not in host.FATAL:
            return
        count = self._fatal_counts[script.script_id] = (
            self._fatal_counts.get(script.script_id, 0) + 1)
        if count >= FATAL_MAX:
            self._left_out_until[script.script_id] = self._clock() + LEFT_OUT_S
            LOG.error('Script %s (%s) is left out for %s s, because it failed %s times in a row '
                      'and holds up the rating: %.600s', script.name, script.script_id, LEFT_OUT_S,
                      count, failure)
