// What things cost one project: the rules that apply to it, in words, and a calculation.

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { answering } from '../forms.js';
import { divide, plain, times } from '../numbers.js';
import { Month, projectOf } from '../state.js';
import { duration, money, nameOf, precise, quantity, t, validity } from '../words.js';

// Rules that are shown.
const RULES = 1000;
const [DAY_S, MONTH_S] = [86400, 30 * 86400];
const NUMBER = '[0-9]+([.][0-9]+)?';

export async function show({ me, values, projects }) {
  const project = projectOf({ me, values, projects });
  if (!project) return [el('h1', {}, t('priceList')), el('p', { class: 'note' }, t('noProjects'))];
  const now = Month.of(new Date());
  const [answer, metrics, used] = await Promise.all([
    api.get('v2/rating/rules', { scope_id: project, limit: RULES }),
    api.get('v1/info/metrics').then((found) => found.metrics, unknown),
    api.summary({
      begin: now.before(1).span.begin, end: now.span.end, filters: `${me.scope_key}:${project}`, groupby: 'type,unit',
    }),
  ]);
  const rules = answer.enabled ? answer.results : [];
  const units = unitsOf([...metrics.map((one) => [one.metric_id, one.unit]), ...used.map((row) => [row.type, row.unit])]);
  const more = Number(answer.total) - RULES;
  return [
    el('h1', { title: project }, t('priceListOf', { project: nameOf(project) })),
    el('p', { class: 'note' }, t('priceListNote')),
    rules.length === 0 && el('section', { class: 'warning', role: 'note' }, el('p', {}, t('noPriceList'))),
    rules.length > 0 && el('section', {},
      table(t('priceList'),
        [{ title: t('service') }, { title: t('applies') }, { title: t('price'), isNumber: true }, { title: t('per') },
          { title: duration(MONTH_S), isNumber: true }, { title: t('valid'), isSentence: true }],
        rules.map((rule) => line(rule, units.get(rule.service) || t('unit'), Number(me.period)))),
      more > 0 && el('p', { class: 'note' }, t('morePrices', { count: more })),
      el('p', { class: 'note' }, t('howPricesAdd'))),
    rules.length > 0 && me.permissions.includes('rating:quote') && calculator(rules, units, me, project),
  ];
}

/** Return no metrics where the reader may not know them, or their file cannot be read. */
function unknown(error) {
  if (!(error instanceof api.Refused) || error.status === 401) throw error;
  return [];
}

/** Return the units of metrics by name, of pairs of both; a metric may have several. */
function unitsOf(pairs) {
  const found = new Map();
  for (const [name, unit] of pairs) found.set(name, [...new Set([...(found.get(name) || []), unit])]);
  return new Map([...found].map(([name, units]) => [name, units.join(' / ')]));
}

function line(rule, unit, periodS) {
  const isOnce = rule.level !== null && rule.field === null;
  const isFactor = rule.type === 'rate';
  const span = duration(periodS);
  return [
    rule.service, what(rule, unit),
    isFactor ? `× ${plain(rule.cost)}` : el('span', { title: plain(rule.cost) }, precise(rule.cost)),
    isFactor ? '–' : t(isOnce ? 'oncePerPeriod' : 'perUnit', { unit, span }),
    isFactor ? '–' : amount(rule.cost, MONTH_S, periodS),
    validity(rule),
  ];
}

function what(rule, unit) {
  const level = rule.level && t('fromQuantity', { level: rule.field ? plain(rule.level) : quantity(rule.level, unit) });
  const chosen = rule.field && rule.level === null ? `${rule.field} = ${rule.value}`
    : [rule.field, level].filter(Boolean).join(' ') || t('forAll');
  return [chosen, rule.group && `${t('group')} ${rule.group}`, rule.tenant_id && t('onlyHere')].filter(Boolean).join(', ');
}

/** Return what *cost* a period is in a longer time. */
function amount(cost, spanS, periodS) {
  const exact = divide(times(cost, String(spanS)), String(periodS), 28);
  return el('span', { title: plain(exact) }, money(exact));
}

function calculator(rules, units, me, project) {
  const result = el('div', { role: 'status' });
  const attributes = el('div', { class: 'fields' });
  const services = [...new Set(rules.map((rule) => rule.service))];
  const choice = el('select', { name: 'service', on: { change: () => place() } },
    services.map((value) => el('option', { value }, value)));
  const unit = el('span', { class: 'note' });
  const place = () => {
    unit.textContent = units.get(choice.value) || '';
    attributes.replaceChildren(...fields(rules.filter((rule) => rule.service === choice.value)));
  };
  const form = el('form', { class: 'editor' },
    el('h2', {}, t('calculator')),
    el('label', {}, t('service'), ' ', choice),
    el('label', {}, el('span', {}, t('quantityOf'), ' ', unit),
      el('input', { name: 'volume', value: '1', required: true, inputmode: 'decimal', pattern: NUMBER, autocomplete: 'off' })),
    attributes,
    el('div', { class: 'buttons' }, el('button', { type: 'submit' }, t('calculate'))));
  place();
  form.addEventListener('submit', answering(form, result, async ({ service, volume, ...given }) => {
    const metadata = Object.fromEntries(Object.entries(given).map(([name, value]) => [name.slice(1), value]));
    const desc = { groupby: { [me.scope_key]: project }, metadata };
    const cost = await api.post('v1/rating/quote', { resources: [{ service, volume, desc }] });
    const periodS = Number(me.period);
    return table(t('calculation'), [{ title: t('timeSpan') }, { title: t('cost'), isNumber: true }],
      [...new Set([periodS, DAY_S, MONTH_S])].map((spanS) => [duration(spanS), amount(cost, spanS, periodS)]));
  }));
  return el('section', {}, form, result);
}

/** Return an input for each attribute that prices of a service depend on; `_` keeps their names apart. */
function fields(rules) {
  const names = [...new Set(rules.map((rule) => rule.field).filter(Boolean))];
  return names.flatMap((name, number) => {
    const known = [...new Set(rules.filter((rule) => rule.field === name && rule.value !== null).map((rule) => rule.value))];
    return [
      el('label', {}, name, ' ', el('input', { name: `_${name}`, list: `values-${number}`, autocomplete: 'off' })),
      el('datalist', { id: `values-${number}` }, known.map((value) => el('option', { value }))),
    ];
  });
}
