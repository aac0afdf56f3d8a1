// All projects: what they cost, what changed most, and what has no price.

import * as api from '../api.js';
import { download, el, table } from '../dom.js';
import { approximate, isZero, negate, plain, sum } from '../numbers.js';
import { address, Month } from '../state.js';
import { money, monthName, nameOf, percent, quantity, t } from '../words.js';

const PROJECTS = 100;
const MOVERS = 5;

export async function show({ me, values }) {
  const month = Month.named(values.month);
  const now = new Date();
  const span = month.spanBefore(now);
  const before = t(now < month.end ? 'sameDaysBefore' : 'monthBefore');
  const question = { ...span, groupby: me.scope_key, compare: 'previous' };
  const [projects, services] = await Promise.all([
    api.get('v2/summary', { ...question, response_format: 'object', order_by: '-rate', limit: 10000 }),
    api.summary({ ...span, groupby: 'type,unit', order_by: '-rate' }),
  ]);
  const rows = projects.results.map((row) => ({
    ...row, project: row[me.scope_key], change: sum([row.rate, negate(row.previous_rate)]),
  }));
  const total = sum(rows.map((row) => row.rate));
  const movers = rows.filter((row) => !isZero(row.change))
    .sort((one, other) => Math.abs(approximate(other.change)) - Math.abs(approximate(one.change)))
    .slice(0, MOVERS);
  const free = services.filter((row) => isZero(row.rate));
  const wanted = (values.search || '').toLowerCase();
  const found = rows.filter((row) => [row.project || '', nameOf(row.project) || '']
    .some((text) => text.toLowerCase().includes(wanted)));
  const search = (event) => { location.hash = address('projects', { ...values, search: event.target.value }); };
  const save = async () => download(
    await api.csv('v2/summary', { ...question, order_by: '-rate' }), `projects-${month.name}.csv`);
  return [
    el('h1', {}, t('projectsIn', { month: monthName(month.begin) })),
    el('section', { class: 'tiles', 'aria-label': t('overview') },
      el('div', { class: 'tile' }, el('h2', {}, t('total')), el('p', { class: 'figure', title: plain(total) }, money(total))),
      el('div', { class: 'tile' }, el('h2', {}, t('projects')), el('p', { class: 'figure' }, String(rows.length)))),
    free.length > 0 && el('section', { class: 'warning', role: 'note' }, el('h2', {}, t('withoutPrice')),
      el('ul', {}, free.map((row) => el('li', {}, `${row.type}: ${quantity(row.qty, row.unit)}`)))),
    movers.length > 0 && el('section', {}, table(t('movers'), columns(before), movers.map((row) => line(row, values)))),
    el('section', {},
      el('header', {}, el('label', {}, t('search'), ' ',
        el('input', { type: 'search', value: values.search, on: { change: search } })),
      el('button', { type: 'button', on: { click: save } }, t('downloadCsv'))),
      table(t('allProjects'), columns(before), found.slice(0, PROJECTS).map((row) => line(row, values))),
      found.length > PROJECTS && el('p', { class: 'note' }, t('more', { count: found.length - PROJECTS }))),
  ];
}

const columns = (before) => [
  { title: t('project') }, { title: t('cost'), isNumber: true },
  { title: before, isNumber: true }, { title: t('change'), isNumber: true },
];

function line(row, values) {
  const before = approximate(row.previous_rate);
  const news = isZero(row.previous_rate) ? t('new') : percent(approximate(row.change) / before, true);
  return [
    row.project ? el('a', { href: address('costs', { project: row.project, month: values.month }) }, nameOf(row.project)) : '–',
    el('span', { title: plain(row.rate) }, money(row.rate)),
    el('span', { title: plain(row.previous_rate) }, money(row.previous_rate)),
    isZero(row.change) ? '' : `${money(row.change)} (${news})`,
  ];
}
