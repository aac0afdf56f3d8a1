// The rules of hashmap, and a form that shows what another price would have cost before it is kept.

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { answering, valuesOf } from '../forms.js';
import { negate, plain, sum } from '../numbers.js';
import { address, Month } from '../state.js';
import { money, monthName, nameOf, t, validity } from '../words.js';

const HASHMAP = 'v1/rating/module_config/hashmap/';
// Values of an attribute that the form proposes.
const PROPOSED = 200;
const HOUR_MS = 3600000;
const NUMBER = '-?[0-9]+([.][0-9]+)?';

export async function show({ me, values, projects }) {
  const month = Month.of(new Date()).before(1);
  const [rules, used] = await Promise.all([api.all('v2/rating/rules'), api.summary({ ...month.span, groupby: 'type' })]);
  const result = el('div', { role: 'status' });
  const form = editor(rules, values, { me, projects, month, result, used });
  return [
    el('h1', {}, t('prices')),
    el('p', { class: 'note' }, t('pricesNote')),
    values.saved && el('p', { class: 'good note', role: 'status' }, t('saved')),
    rules.length === 0 && el('section', { class: 'warning', role: 'note' }, el('p', {}, t('noPrices'))),
    ...[...new Set(rules.map((rule) => rule.service))].map((service) =>
      el('section', {}, table(service,
        [{ title: t('applies') }, { title: t('project') }, { title: t('group') }, { title: t('kind') },
          { title: costTitle(me), isNumber: true }, { title: t('valid'), isSentence: true }, { title: t('edit') }],
        rules.filter((rule) => rule.service === service).map((rule) => line(rule, values))))),
    el('section', {}, form, result),
  ];
}

const costTitle = (me) => (me.currency ? `${t('cost')} (${me.currency})` : t('cost'));

function line(rule, values) {
  const what = rule.field ? rule.field : t('eachUnit');
  const where = rule.level ? `${what} ≥ ${plain(rule.level)}` : rule.field ? `${what} = ${rule.value}` : what;
  return [where, rule.tenant_id ? nameOf(rule.tenant_id) : t('everybody'), rule.group || '–', t(rule.type),
    plain(rule.cost), validity(rule),
    el('a', { href: address('prices', { ...values, rule: rule.rule_id }), 'aria-label': `${t('edit')} ${rule.service} ${where}` },
      t('edit'))];
}

function editor(rules, values, context) {
  const chosen = rules.find((rule) => rule.rule_id === values.rule) || { service: values.service };
  const input = (name, label, attributes = {}) => el('label', {}, label === 'cost' ? costTitle(context.me) : t(label), ' ',
    el('input', { name, value: chosen[name], autocomplete: 'off', ...attributes }));
  const proposals = el('datalist', { id: 'proposed' });
  const form = el('form', { class: 'editor' },
    el('h2', {}, t(chosen.rule_id ? 'changePrice' : 'newPrice')),
    input('service', 'service', { required: true, list: 'services' }),
    el('datalist', { id: 'services' }, [...new Set([...rules.map((rule) => rule.service), ...context.used.map((row) => row.type)])]
      .map((value) => el('option', { value }))),
    input('field', 'attribute'),
    input('value', 'attributeValue', { list: 'proposed' }), proposals,
    input('level', 'level', { inputmode: 'decimal', pattern: NUMBER, value: chosen.level && plain(chosen.level) }),
    el('label', {}, t('kind'), ' ', el('select', { name: 'type' }, ['flat', 'rate'].map((type) =>
      el('option', { value: type, selected: type === chosen.type }, t(type))))),
    input('cost', 'cost', { required: true, inputmode: 'decimal', pattern: NUMBER, value: chosen.cost && plain(chosen.cost) }),
    input('group', 'group'),
    input('tenant_id', 'onlyProject', { list: 'projects' }),
    el('datalist', { id: 'projects' }, context.projects.slice(0, PROPOSED).map((value) => el('option', { value }, nameOf(value)))),
    input('start', 'validFrom', { type: 'datetime-local', required: true, value: nextHour() }));
  const tell = (work) => answering(form, context.result, work);
  form.elements.field.addEventListener('change', () => propose(valuesOf(form), proposals, context.month));
  form.append(el('div', { class: 'buttons' },
    el('button', { type: 'button', on: { click: tell((wanted) => preview(wanted, context)) } },
      t('preview', { month: monthName(context.month.begin) })),
    el('button', { type: 'submit' }, t('save'))));
  form.addEventListener('submit', tell((wanted) => save(wanted, rules, values)));
  return form;
}

function nextHour() {
  const ahead = new Date(Math.ceil((Date.now() + 1) / HOUR_MS) * HOUR_MS);
  return ahead.toISOString().slice(0, 16);
}

/** Propose the values that the attribute had; what cannot be known is typed. */
async function propose(wanted, list, month) {
  if (!wanted.service || !wanted.field) return;
  const found = await api.summary({
    ...month.span, filters: `type:${wanted.service}`, groupby: wanted.field, limit: PROPOSED,
  }).catch(() => []);
  list.replaceChildren(...found.map((row) => row[wanted.field]).filter(Boolean).map((value) => el('option', { value })));
}

async function preview(wanted, { month }) {
  const { start, ...rule } = wanted;
  const { results } = await api.post('v2/rating/preview', { ...month.span, changes: [rule] });
  if (!results.length) return el('p', {}, t('nothingUsed', { service: wanted.service, month: monthName(month.begin) }));
  const total = (side) => sum(results.map((row) => row[side]));
  const [before, after] = [total('old'), total('new')];
  return [
    el('p', { class: 'figure' }, exact(before), ' → ', exact(after)),
    table(t('previewOf', { month: monthName(month.begin) }),
      [{ title: t('project') }, { title: t('service') }, { title: t('before'), isNumber: true },
        { title: t('after'), isNumber: true }, { title: t('change'), isNumber: true }],
      results.map((row) => [nameOf(row.scope_id), row.type, exact(row.old), exact(row.new),
        exact(sum([row.new, negate(row.old)]))])),
  ];
}

const exact = (number) => el('span', { title: plain(number) }, money(number));

/** End the price that runs and make the next one; a threshold has no times. */
async function save(wanted, rules, values) {
  const running = rules.find((rule) => isSameSlot(rule, wanted));
  const start = `${wanted.start}:00`;
  const parent = await parentOf(wanted);
  const group = wanted.group && await named('groups', 'group_id', wanted.group, {});
  const rule = { type: wanted.type, cost: wanted.cost, tenant_id: wanted.tenant_id, group_id: group, ...parent };
  if (wanted.level) {
    const threshold = { ...rule, level: wanted.level };
    if (running) await api.put(`${HASHMAP}thresholds/${running.rule_id}`, threshold);
    else await api.post(`${HASHMAP}thresholds`, threshold);
  } else {
    const hasBegun = running && new Date(running.start) <= Date.now();
    if (running && !running.end && hasBegun) await api.put(`${HASHMAP}mappings/${running.rule_id}`, { end: start, cost: running.cost });
    const mapping = { ...rule, value: wanted.value, start };
    if (running && !hasBegun) await api.put(`${HASHMAP}mappings/${running.rule_id}`, mapping);
    else await api.post(`${HASHMAP}mappings`, mapping);
  }
  location.hash = address('prices', { ...values, rule: '', service: '', saved: String(Date.now()) });
  return [];
}

function isSameSlot(rule, wanted) {
  const same = (name) => (rule[name] || null) === wanted[name];
  const level = rule.level ? plain(rule.level) : null;
  return ['service', 'field', 'group', 'tenant_id'].every(same)
    && level === (wanted.level && plain(wanted.level)) && (level !== null || !wanted.field || same('value'));
}

async function parentOf(wanted) {
  const service = await named('services', 'service_id', wanted.service, {});
  if (!wanted.field) return { service_id: service };
  return { field_id: await named('fields', 'field_id', wanted.field, { service_id: service }) };
}

/** Return the id of what has this name; it is made if there is none. */
async function named(kind, key, name, parent) {
  const found = (await api.get(HASHMAP + kind, parent))[kind].find((one) => one.name === name);
  return (found || await api.post(HASHMAP + kind, { name, ...parent }))[key];
}
