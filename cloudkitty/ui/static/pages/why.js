// Why a resource costs what it does: its days, one period, and the rules and numbers of that price.

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { divide, plain, sum } from '../numbers.js';
import { address, Month, projectOf } from '../state.js';
import { clocks, dayName, money, nameOf, precise, quantity, said, t } from '../words.js';

const POINTS = 1000;

export async function show({ me, values, projects }) {
  const project = projectOf({ me, values, projects });
  const asked = question(me, values, project);
  const days = (await api.summary({ ...asked.span, filters: asked.filters, groupby: `time-d,${asked.by},unit`, buckets: true }))
    .filter((row) => row[asked.by] === asked.resource);
  const cost = sum(days.map((row) => row.rate));
  const title = [
    el('h2', { id: 'reason' }, t('whyCosts', { resource: asked.by === me.scope_key ? nameOf(project) : asked.resource, cost: money(cost) })),
    el('p', { class: 'note' }, asked.type),
  ];
  if (!days.length) return [title, el('p', {}, t('nothing'))];
  const day = days.find((row) => row.bucket_begin === values.day) || days[days.length - 1];
  const points = await pointsOf(asked, day);
  const point = points.find((one) => one.begin === values.period) || points[points.length - 1];
  const go = (changed) => { location.hash = address('costs', { ...values, ...changed }); };
  return [
    title,
    table(t('unitPrices'),
      [{ title: t('day') }, { title: t('used'), isNumber: true }, { title: t('cost'), isNumber: true },
        { title: t('costOfUnit'), isNumber: true }],
      runs(days).map((run) => [span(run), quantity(run.qty, run.unit), exact(run.rate), unitPrice(run)])),
    el('div', { class: 'choices' },
      select(t('day'), days.map((row) => [row.bucket_begin, dayName(row.bucket_begin)]), day.bucket_begin,
        (chosen) => go({ day: chosen, period: '' })),
      select(t('period'), points.map((one) => [one.begin, clocks(one)]),
        point && point.begin, (chosen) => go({ day: day.bucket_begin, period: chosen }))),
    point ? await steps(me, asked, point) : el('p', {}, t('nothing')),
  ];
}

/** Return what is asked for; a value with a comma cannot be filtered for, so rows are chosen here. */
function question(me, values, project) {
  const { attribute: by, why: resource, type } = values;
  const filters = [`${me.scope_key}:${project}`, `type:${type}`];
  if (by !== me.scope_key && !resource.includes(',')) filters.push(`${by}:${resource}`);
  return { span: Month.named(values.month).span, project, by, resource, type, filters };
}

async function pointsOf(asked, day) {
  const { dataframes = [] } = await api.list('v2/dataframes', {
    begin: day.bucket_begin, end: day.bucket_end, filters: asked.filters, limit: POINTS,
  });
  return dataframes.filter((frame) => (frame.usage[asked.type] || [])
    .some((point) => String(point.groupby[asked.by]) === asked.resource))
    .map((frame) => ({ begin: frame.period.begin, end: frame.period.end }));
}

/** Return days in a row that have the same cost of a unit together. */
function runs(days) {
  const found = [];
  for (const row of days) {
    const each = divide(row.rate, row.qty);
    const last = found[found.length - 1];
    if (last && last.each === each && last.unit === row.unit && last.end === row.bucket_begin) {
      Object.assign(last, { end: row.bucket_end, qty: sum([last.qty, row.qty]), rate: sum([last.rate, row.rate]) });
    } else {
      found.push({ begin: row.bucket_begin, end: row.bucket_end, unit: row.unit, qty: row.qty, rate: row.rate, each });
    }
  }
  return found;
}

function span(run) {
  const [first, last] = [dayName(run.begin), dayName(new Date(run.end) - 1)];
  return first === last ? first : `${first} – ${last}`;
}

const unitPrice = (run) => (run.each ? el('span', { title: run.each }, precise(run.each)) : '–');

const exact = (number) => el('span', { title: plain(number) }, money(number));

const select = (label, options, chosen, change) => el('label', {}, label, ' ',
  el('select', { on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => el('option', { value, selected: value === chosen }, text))));

async function steps(me, asked, point) {
  const where = { scope_id: asked.project, resource: asked.resource, period: point.begin };
  const ask = (rule, path) => (me.permissions.includes(rule)
    ? api.get(path, where).then((answer) => answer.results.find((one) => one.type === asked.type), (error) => error)
    : undefined);
  const [measured, stored] = await Promise.all([
    ask('explain:get', 'v2/explain'), ask('explain:get_stored', 'v2/explain/stored'),
  ]);
  return el('ol', { class: 'steps' },
    measured && step(t('measured'), samples(measured)),
    stored instanceof Error
      ? step(t('rules'), el('p', {}, said(stored.message)))
      : stored && stored.points.map((one) => priced(one)));
}

const step = (title, ...content) => el('li', {}, el('h3', {}, title), content);

function samples(found) {
  if (found instanceof Error) return el('p', { class: 'note' }, t('notMeasured', { reason: said(found.message) }));
  return [
    el('p', { class: 'note' }, [found.metric, found.measure].filter(Boolean).join(', ')),
    el('ul', {}, found.series.flatMap((series) => series.samples.map((run) => el('li', {},
      `${clocks(run)}: `, el('code', {}, run.value), ` (${t('samples', { count: run.samples })})`)))),
  ];
}

function priced(point) {
  const differs = point.price === null || plain(point.price) !== plain(point.stored);
  return [
    step(t('quantity'), el('p', {}, el('span', { title: plain(point.qty) }, quantity(point.qty, point.unit))),
      el('p', { class: 'note' }, Object.entries(point.groupby).map(([name, value]) => `${name} = ${value}`).join(', '))),
    step(t('rules'), point.steps.some((one) => one.rules.length)
      ? el('ul', {}, point.steps.flatMap((one) => one.rules.map((rule) => el('li', {}, `${one.module}: `, el('code', {}, rule)))))
      : el('p', {}, t('noRule'))),
    point.steps.some((one) => one.amounts.length) && step(t('calculation'), el('ul', {}, point.steps.flatMap((one) => one.amounts.map((part) => el('li', {},
      part.group && `${part.group}: `, el('code', {}, `${part.expression.replaceAll('*', '×')} = ${plain(part.amount)}`)))))),
    step(t('priceOfPeriod'), el('p', { class: 'figure' }, el('span', { title: plain(point.stored) }, precise(point.stored))),
      differs && el('p', { class: 'warning' }, t('priceDiffers', {
        price: point.price === null ? '–' : precise(point.price),
      }))),
  ];
}
