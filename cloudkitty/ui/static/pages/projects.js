// All projects: what they cost, what changed most, and what has no price.

import * as api from '../api.js';
import { download, el, table } from '../dom.js';
import { approximate, isFree, isZero, negate, plain, sum } from '../numbers.js';
import { address, Month } from '../state.js';
import { moment, money, monthName, nameOf, percent, quantity, signed, t } from '../words.js';

const PROJECTS = 100;
const MOVERS = 5;
// Projects of one answer; the search finds no others.
const PROJECTS_MAX = 10000;

export async function show({ me, values }) {
  const month = Month.named(values.month);
  const now = new Date();
  const isOpen = now < month.end;
  const before = t(isOpen ? 'sameDaysBefore' : 'monthBefore');
  const until = isOpen ? await ratedUntil(month) : null;
  const question = { groupby: me.scope_key, order_by: '-rate', limit: PROJECTS_MAX };
  const [projects, compared, services] = await Promise.all([
    until && api.summary({ ...month.span, ...question }),
    // What is not rated yet is no saving: both sides end where all are rated.
    api.summary({ ...month.spanBefore(until || now), ...question, compare: 'previous' }),
    api.summary({ ...month.span, groupby: 'type,unit', order_by: '-rate' }),
  ]);
  const rows = merge(until ? projects : compared, compared, { by: me.scope_key, hasChanges: !isOpen || until !== null });
  const total = sum(rows.map((row) => row.rate));
  const movers = rows.filter((row) => !isZero(row.change))
    .sort((one, other) => Math.abs(approximate(other.change)) - Math.abs(approximate(one.change)))
    .slice(0, MOVERS)
    .sort((one, other) => approximate(other.change) - approximate(one.change));
  const free = services.filter(isFree);
  const wanted = (values.search || '').toLowerCase();
  const found = rows.filter((row) => [row.project || '', nameOf(row.project) || '']
    .some((text) => text.toLowerCase().includes(wanted)));
  const search = (event) => { location.hash = address('projects', { ...values, search: event.target.value }); };
  const save = async () => download(
    await api.csv('v2/summary', { ...month.spanBefore(now), groupby: me.scope_key, order_by: '-rate', compare: 'previous' }), `projects-${month.name}.csv`);
  return [
    el('h1', {}, t('projectsIn', { month: monthName(month.begin) })),
    el('section', { class: 'tiles', 'aria-label': t('overview') },
      el('div', { class: 'tile' }, el('h2', {}, t('total')), el('p', { class: 'figure', title: plain(total) }, money(total))),
      el('div', { class: 'tile' }, el('h2', {}, t('projects')), el('p', { class: 'figure' }, String(rows.length)))),
    free.length > 0 && el('section', { class: 'warning', role: 'note' }, el('h2', {}, t('withoutPrice')),
      el('ul', {}, free.map((row) => el('li', {}, `${row.type}: ${quantity(row.qty, row.unit)} `,
        el('a', { href: address('prices', { service: row.type }), 'aria-label': `${t('setPrice')}: ${row.type}` }, t('setPrice')))))),
    movers.length > 0 && el('section', {}, table(t('movers'), columns(before), movers.map((row) => line(row, values))),
      until && el('p', { class: 'note' }, t('comparedUntil', { moment: moment(until) }))),
    el('section', {},
      el('header', {}, el('label', {}, t('search'), ' ',
        el('input', { type: 'search', value: values.search, on: { change: search } })),
      el('button', { type: 'button', on: { click: save } }, t('downloadCsv'))),
      table(t('allProjects'), columns(before), found.slice(0, PROJECTS).map((row) => line(row, values))),
      found.length > PROJECTS && el('p', { class: 'note' }, t('more', { count: found.length - PROJECTS }))),
  ];
}

/**
 * Return up to when the projects of a month are all rated; null: nobody knows, or none of it is.
 * After its first day that is a midnight: sums of whole days are ready, those of hours are not.
 */
async function ratedUntil(month) {
  const { rated_until: text } = await api.get('v2/completeness', { month: month.name, limit: 1 });
  if (!text || new Date(text) <= month.begin) return null;
  const midnight = new Date(text).setUTCHours(0, 0, 0, 0);
  return new Date(midnight > month.begin ? midnight : text);
}

/**
 * Return *costs* with what they were before, and what vanished.
 * @param hasChanges false: nothing is rated yet that could be compared
 */
function merge(costs, compared, { by: scopeKey, hasChanges }) {
  const changed = (rate, before) => (hasChanges ? sum([rate, negate(before)]) : '0');
  const known = new Map(compared.map((row) => [row[scopeKey], row]));
  const found = costs.map((row) => {
    const { rate = '0', previous_rate = '0' } = known.get(row[scopeKey]) || {};
    known.delete(row[scopeKey]);
    return { project: row[scopeKey], rate: row.rate, previous_rate, change: changed(rate, previous_rate) };
  });
  const gone = [...known.values()].map((row) => ({
    project: row[scopeKey], rate: row.rate, previous_rate: row.previous_rate, change: changed(row.rate, row.previous_rate),
  }));
  return [...found, ...gone];
}

const columns = (before) => [
  { title: t('project') }, { title: t('cost'), isNumber: true },
  { title: before, isNumber: true }, { title: t('change'), isNumber: true }, { title: '%', isNumber: true },
];

function line(row, values) {
  const before = approximate(row.previous_rate);
  const news = isZero(row.previous_rate) ? t('new') : percent(approximate(row.change) / before, true);
  return [
    row.project ? el('a', { href: address('costs', { project: row.project, month: values.month }) }, nameOf(row.project)) : '–',
    el('span', { title: plain(row.rate) }, money(row.rate)),
    el('span', { title: plain(row.previous_rate) }, money(row.previous_rate)),
    ...(isZero(row.change) ? ['', ''] : [signed(row.change), news]),
  ];
}
