// Who is there, which page they want, and what stands around it.

import * as api from './api.js';
import { el } from './dom.js';
import * as costs from './pages/costs.js';
import * as health from './pages/health.js';
import * as login from './pages/login.js';
import * as months from './pages/months.js';
import * as pricelist from './pages/pricelist.js';
import * as prices from './pages/prices.js';
import * as projects from './pages/projects.js';
import * as setup from './pages/setup.js';
import * as statements from './pages/statements.js';
import * as why from './pages/why.js';
import { address, Month, read } from './state.js';
import { LANGUAGES, language, load, monthName, nameOf, said, t, useCurrency, useNames } from './words.js';

const MONTHS = 13;
// What lies over a page and leaves it as it is.
const OVER = ['why', 'attribute', 'type', 'day', 'period'];
// Pages with the policy rule that each needs first.
const PAGES = {
  costs: { show: costs.show, rule: 'summary:get_summary' },
  months: { show: months.show, rule: 'summary:get_summary', hasNoMonth: true },
  priceList: { show: pricelist.show, rule: 'v2_rating:list_rules', hasNoMonth: true },
  statements: { show: statements.show, rule: 'statement:get', isForBilling: true },
  projects: { show: projects.show, rule: 'scope:get_state', isForAdmins: true, hasNoProject: true },
  health: { show: health.show, rule: 'completeness:get', isForAdmins: true, hasNoProject: true },
  prices: { show: prices.show, rule: 'rating:module_config', isForAdmins: true, hasNoProject: true, hasNoMonth: true },
  setup: { show: setup.show, rule: 'scope:get_state', isForAdmins: true, hasNoProject: true, hasNoMonth: true },
};

let me = null;
let scopes = [];
let drawn = 0;
let shown = null;

const visible = () => Object.keys(PAGES).filter((name) =>
  me.permissions.includes(PAGES[name].rule) && (me.is_admin || !PAGES[name].isForAdmins)
  && (me.billing || !PAGES[name].isForBilling));

async function start() {
  me = await api.get('v2/me');
  useCurrency(me.currency);
  const found = me.is_admin && me.permissions.includes('scope:get_state')
    ? (await api.list('v2/scope', { limit: 1000, fields: 'scope_id,name' })).results : [];
  scopes = found.map((scope) => scope.scope_id);
  useNames([[me.project_id, me.project_name], ...found.map((scope) => [scope.scope_id, scope.name])]);
}

async function draw() {
  const number = ++drawn;
  const { page, values } = read();
  const under = address(page, without(values, OVER));
  if (under !== shown) {
    shown = null;
    await drawPage(number, page, values);
    if (number !== drawn) return;
  }
  await drawOver(number, under, values);
}

const without = (values, names) =>
  Object.fromEntries(Object.entries(values).filter(([name]) => !names.includes(name)));

async function drawPage(number, page, values) {
  const main = document.querySelector('main');
  main.setAttribute('aria-busy', 'true');
  let content;
  try {
    if (!me) await start();
    const name = page in PAGES ? page : visible()[0];
    if (!name || !visible().includes(name)) throw new api.Refused(403, '');
    document.querySelector('body > header').replaceWith(header(name, values));
    document.title = `${t(name)} – CloudKitty`;
    content = await PAGES[name].show({ me, values, projects: scopes });
    if (number === drawn) shown = address(page, without(values, OVER));
  } catch (error) {
    content = complain(error);
  }
  // An answer that comes after the reader has gone on is not shown.
  if (number !== drawn) return;
  main.replaceChildren(...content.flat(Infinity).filter(Boolean));
  // Where the newest stands at the end, that is what a narrow screen shows.
  for (const box of main.querySelectorAll('[data-end] .scroll')) box.scrollLeft = box.scrollWidth;
  main.removeAttribute('aria-busy');
}

/** Show why a resource costs what it does, over the page it was asked on. */
async function drawOver(number, under, values) {
  const before = document.querySelector('dialog');
  if (!values.why || !shown) {
    if (before) before.close();
    return;
  }
  const drawer = before || el('dialog', { 'aria-labelledby': 'reason', on: { close: () => leave(drawer) } });
  drawer.dataset.under = under;
  if (!before) {
    drawer.append(el('h2', { id: 'reason' }, t('loading')));
    document.body.append(drawer);
    drawer.showModal();
  }
  drawer.setAttribute('aria-busy', 'true');
  const content = await why.show({ me, values, projects: scopes }).catch((error) => complain(error, drawer));
  if (number !== drawn || !drawer.isConnected) return;
  drawer.replaceChildren(
    el('form', { method: 'dialog' }, el('button', { autofocus: true }, t('close'))), ...content.flat(Infinity).filter(Boolean));
  drawer.removeAttribute('aria-busy');
  if (!before) drawer.querySelector('button').focus();
}

function leave(drawer) {
  drawer.remove();
  if (read().values.why) location.hash = drawer.dataset.under;
}

/** Return what is shown instead of what could not be read; without a log-in, how to log in. */
function complain(error, drawer) {
  if (error.status === 401) {
    const told = me && t('expired');
    me = null;
    document.querySelector('body > header').replaceWith(header('', {}));
    if (!drawer) return login.show(draw, told);
    // What lies below is drawn anew, too; the address keeps both.
    shown = null;
    drawer.remove();
    document.querySelector('main').replaceChildren(...login.show(draw, told).flat(Infinity).filter(Boolean));
    return [];
  }
  if (!(error instanceof api.Refused)) throw error;
  return [el('section', { class: 'warning', role: 'alert' }, ...describe(error),
    el('button', { type: 'button', on: { click: draw } }, t('again')))];
}

function describe(error) {
  const told = { 0: 'notReached', 403: 'forbidden', 429: 'tooMany', 503: 'notReached' }[error.status];
  return [el('h1', {}, told ? t(told) : t('refused', { status: error.status })), el('p', {}, said(error.message))];
}

function header(name, values) {
  const go = (changed) => { location.hash = address(name, { ...values, ...changed }); };
  const { hasNoMonth, hasNoProject } = PAGES[name] || { hasNoMonth: true, hasNoProject: true };
  const month = Month.named(values.month);
  const now = Month.of(new Date());
  const months = Array.from({ length: MONTHS }, (_, n) => now.before(n));
  if (!months.some((one) => one.name === month.name)) months.push(month);
  return el('header', {},
    me && me.auth_strategy === 'noauth' && el('p', { class: 'banner', role: 'note' }, t('noauth')),
    el('nav', { 'aria-label': t('pages') },
      el('strong', {}, 'CloudKitty'),
      me && visible().map((one) => el('a', {
        href: address(one, { project: values.project, month: values.month }),
        'aria-current': one === name && 'page',
      }, t(one)))),
    el('div', { class: 'choices' },
      me && !hasNoProject && me.is_admin && scopes.length > 0 && select(t('project'), values.project || scopes[0],
        scopes.map((one) => [one, nameOf(one)]), (project) => go({ project })),
      me && !hasNoMonth && select(t('month'), month.name,
        months.map((one) => [one.name, monthName(one.begin)]), (chosen) => go({ month: chosen })),
      select(t('language'), language, Object.entries(LANGUAGES), async (chosen) => {
        await load(chosen);
        shown = null;
        draw();
      }),
      me && api.isKnown() && el('button', { type: 'button', on: { click: logOut } }, t('logout'))));
}

/** Tell what a button could not do; what stands on the page stays. */
function interrupt(error) {
  if (error.status === 401) return logInAgain();
  const told = el('section', { class: 'warning', role: 'alert' }, ...describe(error),
    el('button', { type: 'button', on: { click: () => told.remove() } }, t('close')));
  document.querySelector('main').prepend(told);
  return told.scrollIntoView();
}

function logInAgain() {
  if (document.querySelector('dialog.again')) return;
  const before = me;
  const proceed = async () => {
    dialog.close();
    await start();
    if (me.user_id === before.user_id && me.project_id === before.project_id) return;
    shown = null;
    draw();
  };
  const dialog = el('dialog', { class: 'again', 'aria-label': t('login'), on: { close: () => dialog.remove() } },
    ...login.show(proceed, t('expired')));
  document.body.append(dialog);
  dialog.showModal();
}

async function logOut() {
  await api.leave();
  me = null;
  shown = null;
  draw();
}

function select(label, chosen, options, change) {
  return el('label', {}, label, ' ', el('select', { on: { change: (event) => change(event.target.value) } },
    options.map(([value, text]) => el('option', { value, selected: value === chosen }, text))));
}

await load();
document.body.replaceChildren(el('header'), el('main', { id: 'main', 'aria-live': 'polite' }, el('p', {}, t('loading'))));
document.querySelector('body > header').replaceWith(header('', {}));
window.addEventListener('hashchange', draw);
window.addEventListener('unhandledrejection', (event) => {
  if (!(event.reason instanceof api.Refused)) return;
  event.preventDefault();
  interrupt(event.reason);
});
await draw();
