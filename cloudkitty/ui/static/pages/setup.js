// What a new installation still needs before it makes bills.

import * as api from '../api.js';
import { el } from '../dom.js';
import { approximate, isFree } from '../numbers.js';
import { address, Month } from '../state.js';
import { quantity, t } from '../words.js';

// Modules that are always enabled and set no price.
const WITHOUT_PRICES = ['noop'];

export async function show() {
  const month = Month.of(new Date());
  const [metrics, modules, scopes, services] = await Promise.all([
    api.get('v1/info/metrics').then((answer) => answer.metrics, (error) => error),
    api.get('v2/rating/modules').then((answer) => answer.modules),
    api.list('v2/scope', { limit: 1 }),
    // On its first day nothing of a month is rated yet.
    api.summary({ begin: month.before(1).span.begin, end: month.span.end, groupby: 'type,unit' }),
  ]);
  const enabled = modules.filter((one) => one.enabled && !WITHOUT_PRICES.includes(one.module_id));
  const free = services.filter(isFree);
  const steps = [
    step(!(metrics instanceof Error), 'setupMetrics',
      metrics instanceof Error ? metrics.message : metrics.map((one) => one.metric_id).join(', '), 'cloudkitty-metrics check'),
    step(approximate(scopes.total) > 0, 'setupScopes', t('count', { count: scopes.total }), 'cloudkitty-processor'),
    step(services.length > 0, 'setupUsage', [...new Set(services.map((row) => row.type))].join(', '), 'cloudkitty-metrics try'),
    step(enabled.length > 0, 'setupModule', enabled.map((one) => one.module_id).join(', '),
      'openstack rating module enable hashmap'),
    step(services.length > 0 && !free.length, 'setupPrices',
      free.map((row) => `${row.type}: ${quantity(row.qty, row.unit)}`).join(', '), 'openstack rating hashmap mapping create',
      el('a', { href: address('prices') }, t('prices'))),
  ];
  const isReady = steps.every((one) => one.dataset.done === 'yes');
  return [
    el('h1', {}, t('setup')),
    el('p', { class: 'note', role: 'status' }, t(isReady ? 'setupReady' : 'setupOpen')),
    el('ol', { class: 'steps' }, steps),
    isReady && el('p', {}, el('a', { class: 'button', href: address('costs') }, t('toCosts'))),
  ];
}

function step(isDone, key, facts, command, link) {
  return el('li', { class: isDone ? 'good' : 'warning', 'data-done': isDone ? 'yes' : 'no' },
    el('h2', {}, `${isDone ? '✓' : '✗'} ${t(key)}`),
    facts && el('p', {}, facts),
    !isDone && el('p', {}, t('repair'), ' ', el('code', {}, command), ' ', link));
}
