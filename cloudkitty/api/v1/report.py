"""`/v1/report`: sums of rated data, and the tenants that have any."""

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pecan
from wsme import types as wtypes

from cloudkitty.api import rest, types, visibility
from cloudkitty.core import decimals, timeframe
from cloudkitty.report import Selection
from cloudkitty.storage.query import TYPE

ALL = 'ALL'
# Digits after the point of a rate in a summary. A total has all digits.
RATE_SCALE = 5


class SummaryItem(wtypes.Base):
    """The price of a group."""

    begin = wtypes.wsattr(types.moment)
    end = wtypes.wsattr(types.moment)
    tenant_id = wtypes.wsattr(str)
    res_type = wtypes.wsattr(str)
    rate = wtypes.wsattr(str)


class SummaryCollection(wtypes.Base):
    summary = [SummaryItem]


def _authorized_viewer(rule, tenant_id, all_tenants):
    """Return the viewer after the policy check for the requested project.

    That is one project or all; an administrator who names none gets the own project.
    """
    request = pecan.request
    wanted = None if all_tenants else tenant_id or request.caller.project_id
    if wanted is not None:
        return visibility.viewer_of_project(request, rule, wanted)
    # The target has no project, so only a rule that does not depend on one allows this.
    rest.authorize(rule, {'project_id': None})
    return visibility.viewer_of(request)


def _sums(viewer, selection, groupby=()):
    """Return the rows of sums; none for a viewer without visible scopes."""
    if viewer.sees_nothing:
        return []
    table = visibility.report_of(pecan.request).summary(
        viewer, selection, groupby=groupby, now=datetime.now(UTC)
    )
    return table.rows


def _ungrouped(viewer, service):
    """Return the values of the summary's columns that are not grouped by.

    With a store of interface 1 they are the requested tenant or metric.
    """
    shown = {'tenant_id': ALL, 'res_type': ALL}
    if pecan.request.services.conf.storage.version == 1:
        if not viewer.is_admin:
            shown['tenant_id'] = viewer.project_id
        if service:
            shown['res_type'] = service
    return shown


def _selection(begin, end, service=None):
    return Selection(begin, end, {TYPE: [service]} if service else None, limit=None)


def render_rate(rate: Decimal) -> str:
    """Return a rate as in summaries: five digits after the point, without trailing zeros.

    `0` is exactly zero, `0.0` is a rate too small to show.

    Source: doc/source/contributor/compatibility/rest-v1.rst, "Reports".
    """
    if not rate:
        return '0'
    return decimals.render_decimal(decimals.round_to(rate, RATE_SCALE))


class SummaryController(rest.Controller):
    """`/v1/report/summary`."""

    @rest.expose(
        SummaryCollection,
        types.moment,
        types.moment,
        str,
        str,
        str,
        types.boolean,
        rule='report:get_summary',
        is_slow=True,
    )
    def get_all(
        self, begin=None, end=None, tenant_id=None, service=None, groupby=None, all_tenants=False
    ):
        viewer = _authorized_viewer('report:get_summary', tenant_id, all_tenants)
        ungrouped = _ungrouped(viewer, service)
        scope_key = pecan.request.services.conf.collect.scope_key
        # Clients write it in many ways, so unknown values are no error.
        groups = {
            column: name
            for column, name in (('tenant_id', scope_key), ('res_type', TYPE))
            if column in (groupby or '')
        }
        return SimpleNamespace(
            summary=[
                SimpleNamespace(
                    begin=row['begin'],
                    end=row['end'],
                    rate=render_rate(row['rate']),
                    **{
                        column: row[groups[column]] if column in groups else shown
                        for column, shown in ungrouped.items()
                    },
                )
                for row in _sums(viewer, _selection(begin, end, service), list(groups.values()))
            ]
        )


class TotalController(rest.Controller):
    """`/v1/report/total`."""

    @rest.expose(
        str,
        types.moment,
        types.moment,
        str,
        str,
        types.boolean,
        rule='report:get_total',
        is_slow=True,
    )
    def get_all(self, begin=None, end=None, tenant_id=None, service=None, all_tenants=False):
        viewer = _authorized_viewer('report:get_total', tenant_id, all_tenants)
        rows = _sums(viewer, _selection(begin, end, service))
        return types.fixed_point(rows[0]['rate']) if rows else '0'


class TenantsController(rest.Controller):
    """`/v1/report/tenants`."""

    @rest.expose([str], types.moment, types.moment, rule='report:list_tenants', is_slow=True)
    def get_all(self, begin=None, end=None):
        viewer = visibility.viewer_of(pecan.request)
        if viewer.sees_nothing:
            return []
        if begin is None and end is None:
            # Billing of the last month runs on the first day of this one.
            begin, end = timeframe.EPOCH, timeframe.LATEST
        return visibility.report_of(pecan.request).scopes(
            viewer, _selection(begin, end), datetime.now(UTC)
        )


class ReportController(rest.Controller):
    """`/v1/report`."""

    summary = SummaryController()
    total = TotalController()
    tenants = TenantsController()
