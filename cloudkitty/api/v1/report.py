"""`/v1/report`: sums of rated data, and who has any."""

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pecan
from wsme import types as wtypes

from cloudkitty import dataframe
from cloudkitty.api import reading, rest, types
from cloudkitty.report import TYPE, Selection

ALL = 'ALL'
# Digits of a rate in a summary. A total has all of them.
GRID = Decimal('0.00001')


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
    """Return who reads, once it is allowed to read what is asked for.

    That is one project, or all of them; an administrator who names none asks for the own one.
    """
    request = pecan.request
    wanted = None if all_tenants else tenant_id or request.caller.project_id
    if wanted is not None:
        return reading.viewer_of_project(request, rule, wanted)
    # All projects belong to nobody: only a rule that looks at none of them lets this pass.
    rest.authorize(rule, {'project_id': None})
    return reading.viewer_of(request)


def _sums(viewer, selection, groupby=()):
    """Return sums as mappings; none for a viewer who sees nothing."""
    if viewer.sees_nothing:
        return []
    table = reading.report_of(pecan.request).summary(viewer, selection, groupby=groupby,
                                                     now=datetime.now(UTC))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _selection(begin, end, service=None):
    return Selection(begin, end, {TYPE: [service]} if service else None, limit=None)


def render_rate(rate: Decimal) -> str:
    """Return a rate as summaries show it: five digits behind the point, zeros dropped.

    `0` is exactly nothing, `0.0` is less than what is shown.

    Source: contract rest-v1, section 11.
    """
    if not rate:
        return '0'
    return dataframe.render_decimal(rate.quantize(GRID, context=dataframe.WIDE_CONTEXT))


class SummaryController(rest.Controller):
    """`/v1/report/summary`."""

    @rest.expose(SummaryCollection, types.moment, types.moment, str, str, str, types.boolean,
                 rule='report:get_summary')
    def get_all(self, begin=None, end=None, tenant_id=None, service=None, groupby=None,
                all_tenants=False):
        viewer = _authorized_viewer('report:get_summary', tenant_id, all_tenants)
        scope_key = pecan.request.services.conf.collect.scope_key
        # Clients of all times write it in many ways: what is not known is no error.
        groups = {column: name for column, name in (('tenant_id', scope_key), ('res_type', TYPE))
                  if column in (groupby or '')}
        return SimpleNamespace(summary=[
            SimpleNamespace(begin=row['begin'], end=row['end'], rate=render_rate(row['rate']),
                            **{column: row[groups[column]] if column in groups else ALL
                               for column in ('tenant_id', 'res_type')})
            for row in _sums(viewer, _selection(begin, end, service), list(groups.values()))])


class TotalController(rest.Controller):
    """`/v1/report/total`."""

    @rest.expose(str, types.moment, types.moment, str, str, types.boolean,
                 rule='report:get_total')
    def get_all(self, begin=None, end=None, tenant_id=None, service=None, all_tenants=False):
        viewer = _authorized_viewer('report:get_total', tenant_id, all_tenants)
        rows = _sums(viewer, _selection(begin, end, service))
        return types.fixed_point(rows[0]['rate']) if rows else '0'


class TenantsController(rest.Controller):
    """`/v1/report/tenants`."""

    @rest.expose([str], types.moment, types.moment, rule='report:list_tenants')
    def get_all(self, begin=None, end=None):
        viewer = reading.viewer_of(pecan.request)
        if viewer.sees_nothing:
            return []
        return reading.report_of(pecan.request).scopes(viewer, _selection(begin, end),
                                                       datetime.now(UTC))


class ReportController(rest.Controller):
    """`/v1/report`."""

    summary = SummaryController()
    total = TotalController()
    tenants = TenantsController()
