// The last twelve months of a project, each with its file.

import * as api from '../api.js';
import { stacked } from '../chart.js';
import { download, el, table } from '../dom.js';
import { plain } from '../numbers.js';
import { address, Month, projectOf } from '../state.js';
import { money, monthLabel, monthName, nameOf, scale, t } from '../words.js';

const MONTHS = 12;
const FEWEST = 3;

export async function show({ me, values, projects }) {
  const project = projectOf({ me, values, projects });
  if (!project) return [el('h1', {}, t('months')), el('p', { class: 'note' }, t('noProjects'))];
  const last = Month.of(new Date());
  const months = Array.from({ length: MONTHS }, (_, n) => last.before(n));
  const filters = `${me.scope_key}:${project}`;
  const [rows, state] = await Promise.all([
    api.summary({
      begin: months[MONTHS - 1].span.begin, end: last.span.end, filters, groupby: 'time-m,time-y', buckets: true,
    }),
    api.get('v2/completeness', { ...last.span, scope_id: project }).catch(() => null),
  ]);
  const costs = new Map(rows.map((row) => [row.bucket_begin.slice(0, 7), row.rate]));
  const until = state && state.results[0] ? new Date(state.results[0].rated_until) : null;
  const isFinal = (month) => until && until >= month.end;
  // Months before the first costs are no news, unless the chart would be but one bar.
  const oldest = Math.max(FEWEST, months.findLastIndex((month) => costs.has(month.name)) + 1);
  const bars = months.slice(0, oldest).toReversed().map((month) => ({
    label: monthLabel(month.begin),
    parts: costs.has(month.name)
      ? [{ series: 0, value: costs.get(month.name), title: `${monthName(month.begin)}: ${money(costs.get(month.name))}` }]
      : [],
  }));
  const save = async (month) => download(
    await api.csv('v2/summary', { ...month.span, filters, groupby: 'type,unit', order_by: '-rate' }),
    `${project}-${month.name}.csv`,
  );
  return [
    el('h1', { title: project }, t('monthsOf', { project: nameOf(project) })),
    el('section', { 'data-end': true }, stacked(t('months'), bars, scale)),
    el('section', {}, table(t('months'),
      [{ title: t('month') }, { title: t('cost'), isNumber: true }, { title: t('state') }, { title: t('file') }],
      months.filter((month) => costs.has(month.name)).map((month) => [
        el('a', { href: address('costs', { project: values.project, month: month.name }) }, monthName(month.begin)),
        el('span', { title: plain(costs.get(month.name)) }, money(costs.get(month.name))),
        until ? t(isFinal(month) ? 'final' : 'notFinal') : '',
        el('button', { type: 'button', 'aria-label': `CSV ${monthName(month.begin)}`, on: { click: () => save(month) } }, 'CSV'),
      ]))),
  ];
}
