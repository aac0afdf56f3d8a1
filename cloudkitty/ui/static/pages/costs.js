// What one project owes for a month: total, days, services, resources.

import * as api from '../api.js';
import { colour, stacked } from '../chart.js';
import { download, el, table } from '../dom.js';
import { approximate, isZero, negate, plain, sum } from '../numbers.js';
import { address, Month, projectOf } from '../state.js';
import { moment, money, monthName, nameOf, percent, quantity, said, scale, t } from '../words.js';

const DAY_MS = 86400000;
const RESOURCES = 25;
// Attributes that tell resources apart, the usual ones first.
const IDENTITIES = ['id', 'resource_id', 'instance', 'device', 'pod', 'name'];
const CALENDAR = ['day_of_the_year', 'week_of_the_year', 'month', 'year'];

export async function show({ me, values, projects }) {
  const month = Month.named(values.month);
  const project = projectOf({ me, values, projects });
  if (!project) return [el('h1', {}, t('costs')), el('p', { class: 'note' }, t('noProjects'))];
  const state = await rated(month, project);
  const until = state ? new Date(state.rated_until) : new Date();
  const question = { ...month.spanBefore(until), filters: `${me.scope_key}:${project}` };
  const byService = api.summary({ ...question, groupby: 'type,unit', compare: 'previous', order_by: '-rate' });
  const [days, services, known, forecast] = await Promise.all([
    api.summary({ ...question, groupby: 'time-d,type', buckets: true }),
    byService,
    // Of nothing there are no attributes, which the service answers with 404.
    byService.then((rows) => (rows.some((row) => !isZero(row.qty)) ? attributes(question, me.scope_key) : [])),
    foresee(me, month, project, until),
  ]);
  const by = known.includes(values.by) ? values.by : known[0];
  const resources = by ? await dearest(question, by) : [];
  const total = sum(services.map((row) => row.rate));
  const before = sum(services.map((row) => row.previous_rate));
  const isOpen = until < month.end;
  // Before its first period is rated, a month has no days to compare.
  const isPart = isOpen && until > month.begin;
  const order = [...new Set(services.map((row) => row.type))];
  const isEmpty = services.length === 0;
  return [
    el('h1', { title: project }, t('costsOf', { project: nameOf(project) })),
    el('p', { class: 'note', role: 'status' }, [monthName(month.begin), ...describe(state, total, until > month.begin)].join(' · ')),
    el('section', { class: 'tiles', 'aria-label': t('overview') },
      tile(isOpen ? t('soFar') : monthName(month.begin), total, until > month.begin && change(total, before, isPart)),
      forecast && tile(t('forecast'), forecast.expected, t('forecastBy', {
        days: forecast.days, low: money(forecast.low), high: money(forecast.high),
      })),
      tile(t(isPart ? 'sameDays' : 'whole', { month: monthName(month.before(1).begin) }), before)),
    !isEmpty && el('section', {},
      el('header', {}, el('h2', {}, t('byDay')), buttons(question, by, project, month)),
      picture(month, days, order, forecast)),
    !isEmpty && el('section', {}, table(t('byService'),
      [{ title: t('service') }, { title: t('used'), isNumber: true }, { title: t('cost'), isNumber: true },
        { title: t('share'), isNumber: true }, { title: t(isPart ? 'sameDaysBefore' : 'monthBefore'), isNumber: true }],
      services.map((row) => [row.type, quantity(row.qty, row.unit), exact(row.rate),
        isZero(total) ? '' : percent(approximate(row.rate) / approximate(total)),
        exact(row.previous_rate)]))),
    by && el('section', {},
      el('header', {}, el('h2', {}, t('dearest', { count: resources.length })), chooser(known, by, values)),
      table(t('byAttribute', { by }),
        [{ title: by }, { title: t('name') }, { title: t('service') },
          { title: t('used'), isNumber: true }, { title: t('cost'), isNumber: true }, { title: t('reason') }],
        resources.map((row) => [row[by] || '–', row.name || '', row.type,
          quantity(row.qty, row.unit), exact(row.rate), why(row, by, values, [me.scope_key, project])]))),
  ];
}

/** Return how far a project is rated; null if the caller may not know, or nobody does. */
async function rated(month, project) {
  try {
    const { results } = await api.get('v2/completeness', { ...month.span, scope_id: project });
    return results[0];
  } catch (error) {
    if (error.status === 403 || error.status === 404) return null;
    throw error;
  }
}

/** Return the names of attributes that may tell resources apart, the likeliest first. */
async function attributes(question, scopeKey) {
  const { dataframes = [] } = await api.list('v2/dataframes', { ...question, limit: 200 });
  const names = new Set();
  for (const frame of dataframes) {
    for (const point of Object.values(frame.usage).flat()) Object.keys(point.groupby).forEach((name) => names.add(name));
  }
  const found = [...names].filter((name) => name !== scopeKey && !CALENDAR.includes(name)).sort();
  return [...IDENTITIES.filter((name) => found.includes(name)), ...found.filter((name) => !IDENTITIES.includes(name))];
}

const dearest = (question, by) => api.summary({
  ...question,
  groupby: [...new Set([by, 'type', 'unit'])].join(','),
  attributes: by === 'name' ? '' : 'name',
  order_by: '-rate',
  limit: RESOURCES,
});

/** Return what the month will cost; null if it is over, or nobody can tell. */
async function foresee(me, month, project, until) {
  const isOpen = month.begin <= until && until < month.end && Date.now() < month.end;
  if (!isOpen || !me.permissions.includes('forecast:get')) return null;
  const found = await api.get('v2/forecast', { scope_id: project, month: month.name });
  return found.expected === null ? null : { ...found, first: Math.floor((until - month.begin) / DAY_MS) };
}

function describe(state, total, hasBegun) {
  if (!state) return [];
  const told = [t('ratedUntil', { moment: moment(state.rated_until) })];
  // Of a gap, the notes below say what is missing.
  const isNoted = state.state === 'gap' && state.late.length > 0;
  if (state.state !== 'final' && state.reason && !isNoted) told.push(said(state.reason));
  for (const note of state.late) told.push(`${moment(note.begin)} – ${moment(note.end)}: ${said(note.reason)}`);
  if (isZero(total)) told.push(t(hasBegun ? 'nothing' : 'notRated'));
  return told;
}

const exact = (number) => el('span', { title: plain(number) }, money(number));

function tile(title, number, note) {
  return el('div', { class: 'tile' }, el('h2', {}, title),
    el('p', { class: 'figure' }, exact(number)), note && el('p', { class: 'note' }, note));
}

function change(total, before, isPart) {
  if (isZero(before)) return null;
  return t(isPart ? 'changedSame' : 'changed', {
    percent: percent(approximate(sum([total, negate(before)])) / approximate(before), true),
  });
}

/** Return the link to the reasons for a row; what has no resource is explained as all of its project. */
function why(row, by, values, [scopeKey, project]) {
  const [attribute, resource] = row[by] ? [by, row[by]] : [scopeKey, project];
  return el('a', {
    href: address('costs', { ...values, attribute, why: resource, type: row.type }),
    'aria-label': t('whyDoes', { resource: row.name || row[by] || nameOf(project), service: row.type }),
  }, t('why'));
}

function picture(month, rows, order, forecast) {
  const parts = Array.from({ length: month.days }, () => []);
  for (const row of rows) {
    const day = Math.floor((new Date(row.bucket_begin) - month.begin) / DAY_MS);
    if (parts[day]) {
      parts[day].push({
        series: order.indexOf(row.type), value: row.rate, title: `${row.type}: ${money(row.rate)}`,
      });
    }
  }
  const bars = parts.map((found, day) => ({
    label: String(day + 1),
    parts: found.sort((one, other) => one.series - other.series),
    forecast: forecast && day >= forecast.first ? approximate(forecast.daily) : 0,
  }));
  const sums = parts.map((found, day) => [String(day + 1), exact(sum(found.map((part) => part.value)))])
    .filter((row, day) => parts[day].length);
  return [
    stacked(t('byDay'), bars, scale),
    legend(order),
    el('details', {}, el('summary', {}, t('asTable')),
      table(t('byDay'), [{ title: t('day') }, { title: t('cost'), isNumber: true }], sums)),
  ];
}

const legend = (order) => el('ul', { class: 'legend' }, order.map((name, number) =>
  el('li', {}, el('span', { class: `key ${colour(number)}`, 'aria-hidden': 'true' }), name)));

function buttons(question, by, project, month) {
  const save = async () => download(
    await api.csv('v2/summary', {
      ...question, groupby: [...new Set([by, 'type', 'unit'].filter(Boolean))].join(','), order_by: '-rate',
    }),
    `${project}-${month.name}.csv`,
  );
  return el('div', { class: 'buttons' },
    el('button', { type: 'button', on: { click: save } }, t('downloadCsv')),
    el('button', { type: 'button', on: { click: () => window.print() } }, t('print')));
}

function chooser(names, by, values) {
  const choose = (event) => { location.hash = address('costs', { ...values, by: event.target.value }); };
  return el('label', {}, t('by'), ' ', el('select', { on: { change: choose } },
    names.map((name) => el('option', { value: name, selected: name === by }, name))));
}
