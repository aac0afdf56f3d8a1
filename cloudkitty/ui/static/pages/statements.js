// Statements of a project's account: the draft of a month, the closed ones, and each with its lines.

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { plain } from '../numbers.js';
import { address, Month, projectOf } from '../state.js';
import { moment, moneyOf, monthName, nameOf, quantity, said, t, term } from '../words.js';

export async function show({ me, values, projects }) {
  if (values.number) return closed(await api.get(`v2/statements/${encodeURIComponent(values.number)}`), values);
  const project = projectOf({ me, values, projects });
  if (!project) return [el('h1', {}, t('statements')), el('p', { class: 'note' }, t('noProjects'))];
  const month = Month.named(values.month);
  const [draft, all] = await Promise.all([
    api.get('v2/statements/draft', { scope_id: project, month: month.name }).catch(told),
    api.all('v2/statements', { scope_id: project }),
  ]);
  return [
    el('h1', { title: project }, t('statementsOf', { project: nameOf(project) })),
    el('section', {}, draft instanceof Error
      ? el('p', { class: 'note', role: 'status' }, said(draft.message))
      : [el('header', {}, el('h2', {}, t('draftOf', { month: monthName(month.begin) })), buttons(me, draft)),
        notes(draft), content(draft)]),
    el('section', {}, table(t('closedStatements'),
      [{ title: t('number') }, { title: t('month') }, { title: t('account') }, { title: t('state') },
        { title: t('total'), isNumber: true }, { title: t('closedAt') }],
      all.map((entry) => [
        el('a', { href: address('statements', { ...values, number: entry.number }) }, entry.number),
        monthName(Month.named(entry.month).begin), entry.account_id,
        t(entry.voids ? 'voids' : 'closedState', { number: entry.voids }),
        entry.total === null ? '–' : exact(entry.currency, entry.total), moment(entry.closed_at)])),
    all.length === 0 && el('p', { class: 'note' }, t('noStatements'))),
  ];
}

/** Return an answer that says why there is no draft; other errors are the page's. */
function told(error) {
  if ([404, 409].includes(error.status)) return error;
  throw error;
}

function closed(statement, values) {
  return [
    el('h1', {}, t('statement', { number: statement.number })),
    el('p', { class: 'note' }, [monthName(Month.named(statement.month).begin), statement.account.name,
      t('closedOn', { moment: moment(statement.closed_at) }), statement.reason].filter(Boolean).join(' · ')),
    el('section', {},
      el('header', {}, el('a', { href: address('statements', { ...values, number: '' }) }, t('allStatements')), buttons()),
      content(statement)),
  ];
}

function notes(draft) {
  if (!draft.blockers.length) return el('p', { class: 'good note' }, t('canBeClosed'));
  return el('div', { class: 'warning', role: 'note' }, el('p', { class: 'note' }, t('notClosable')),
    el('ul', {}, draft.blockers.map((reason) => el('li', {}, said(reason)))));
}

const exact = (currency, number) => el('span', { title: plain(number) }, moneyOf(currency, number));

function content(statement) {
  const { currency } = statement;
  const sums = [[t('net'), statement.net],
    ...statement.taxes.map((tax) => [`${tax.code} ${plain(tax.percent)} %`, tax.amount]),
    statement.total === null ? null : [t('total'), statement.total]].filter(Boolean);
  return [
    table(t('lines'),
      [{ title: t('item') }, { title: t('project') }, { title: t('used'), isNumber: true },
        { title: t('listPrice'), isNumber: true }, { title: t('amount'), isNumber: true }, { title: t('calculation') }],
      statement.lines.map((line) => [
        [line.correction && `${t('correctionOf', { month: monthName(Month.named(line.month).begin) })}: `,
          [line.item, ...Object.values(line.key)].filter(Boolean).join(' · ')].filter(Boolean).join(''),
        line.scope_id ? nameOf(line.scope_id) : '–',
        line.metric ? quantity(line.quantity, line.unit) : '–',
        exact(statement.price_currency, line.list), exact(currency, line.amount),
        steps(line)])),
    el('dl', { class: 'sums' }, sums.map(([name, number]) => [el('dt', {}, name), el('dd', {}, exact(currency, number))])),
  ];
}

const steps = (line) => (line.steps.length
  ? el('ul', { class: 'plain' }, line.steps.map((step) => el('li', {}, `${step.name}: `,
    // The first step often only takes a number over.
    step.operand === plain(step.result) ? '' : `${step.operand.replaceAll(' x ', ' × ')} = `,
    el('span', { title: plain(step.result) }, term(step.result)))))
  : '');

function buttons(me, draft) {
  const mayClose = me && draft && !draft.blockers.length && me.permissions.includes('statement:close');
  const close = async (event) => {
    if (!window.confirm(t('reallyClose', { account: draft.account.name, month: draft.month }))) return;
    event.target.disabled = true;
    const made = await api.post('v2/statements', { account_id: draft.account.id, month: draft.month });
    location.hash = address('statements', { number: made.number });
  };
  return el('div', { class: 'buttons' },
    mayClose && el('button', { type: 'button', on: { click: close } }, t('closeMonth')),
    el('button', { type: 'button', on: { click: () => window.print() } }, t('print')));
}
