// Texts in the language of the reader, and numbers and times as it writes them.

import { approximate, plain } from './numbers.js';

export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français' };
const KEPT = 'cloudkitty.language';
const SMALL = 0.005;
// A time in a text that the service wrote.
const INSTANT = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)/g;

export let language = 'en';
let texts = {};
let currency = '';
let names = new Map();

/** Load the texts: of *wanted*, else what was chosen before, else what the browser prefers. */
export async function load(wanted) {
  const chosen = [wanted, localStorage.getItem(KEPT), ...navigator.languages]
    .map((name) => name && name.slice(0, 2)).find((name) => name in LANGUAGES);
  language = chosen || 'en';
  if (wanted) localStorage.setItem(KEPT, language);
  const answer = await fetch(new URL(`text/${language}.json`, import.meta.url));
  texts = await answer.json();
  document.documentElement.lang = language;
}

export function useCurrency(name) {
  currency = name;
}

/** Take over the names of projects, pairs of id and name. */
export function useNames(pairs) {
  names = new Map(pairs.filter(([, name]) => name));
}

/** Return the name of a project, its id if none is known. */
export const nameOf = (project) => names.get(project) || project;

/** Return the text of *key*, with `{name}` replaced by values. */
export function t(key, values = {}) {
  return texts[key].replace(/\{(\w+)\}/g, (whole, name) => values[name]);
}

const isKnown = (name) => /^[A-Z]{3}$/.test(name) && Intl.supportedValuesOf('currency').includes(name);

const isKnownCurrency = () => isKnown(currency);

/** Return an amount of money with its currency; the digits that are not shown are rounded. */
export const money = (number) => moneyOf(currency, number);

/** Return a change of an amount, with its sign. */
export const signed = (number) => moneyOf(currency, number, { signDisplay: 'exceptZero' });

/** Return options for what two digits behind the point would show as nothing. */
function smallest(number) {
  const size = Math.abs(approximate(number));
  return size > 0 && size < SMALL ? { maximumFractionDigits: 20, maximumSignificantDigits: 2 } : {};
}

/** Return an amount of money of another currency, as money() does. */
export function moneyOf(name, number, more = {}) {
  const options = isKnown(name) ? { style: 'currency', currency: name }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  const text = new Intl.NumberFormat(language, { ...options, ...smallest(number), ...more, roundingMode: 'halfEven' })
    .format(plain(number));
  return name && !isKnown(name) ? `${text} ${name}` : text;
}

/** Return an amount with up to six digits that count, for prices of one unit. */
export function precise(number) {
  const text = new Intl.NumberFormat(language, {
    ...(isKnownCurrency() ? { style: 'currency', currency } : {}), maximumSignificantDigits: 6,
  }).format(plain(number));
  return currency && !isKnownCurrency() ? `${text} ${currency}` : text;
}

/** Return an amount beside an axis: with all its digits, which are few. */
export const scale = (number) => (/[.]\d{3}|e/.test(plain(number)) ? precise(number) : money(number));

/** Return a quantity. */
export function quantity(number, unit = '') {
  const text = new Intl.NumberFormat(language, { maximumFractionDigits: 2, ...smallest(number) }).format(plain(number));
  return unit ? `${text} ${unit}` : text;
}

/** Return a number of a calculation, with up to six digits behind the point. */
export const term = (number) => new Intl.NumberFormat(language, { maximumFractionDigits: 6 }).format(plain(number));

/** Return a length of time, whole seconds, in the largest unit that fits. */
export function duration(seconds) {
  const [unit, size] = Object.entries({ day: 86400, hour: 3600, minute: 60, second: 1 })
    .find(([, one]) => seconds % one === 0);
  return new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'long' }).format(seconds / size);
}

/** Return a share, 0 to 1, as a percentage. */
export function percent(share, isSigned = false) {
  return new Intl.NumberFormat(language, {
    style: 'percent', maximumFractionDigits: 0, signDisplay: isSigned ? 'exceptZero' : 'auto',
  }).format(share);
}

/** Return a time, UTC. */
export function moment(text) {
  return new Intl.DateTimeFormat(language, {
    dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC',
  }).format(new Date(text)) + ' UTC';
}

/** Return a text that the service wrote, with its times as moment() shows them. */
export const said = (text) =>
  text.replace(INSTANT, (found) => (Number.isNaN(Date.parse(found)) ? found : moment(found)));

/** Return when a rule is valid. */
export function validity({ start, end }) {
  return [start && t('since', { moment: moment(start) }), end && t('until', { moment: moment(end) })]
    .filter(Boolean).join(' ') || t('always');
}

/** Return from when to when a part of a day is, UTC; with seconds if minutes do not tell it. */
export function clocks({ begin, end }) {
  const hasSeconds = [begin, end].some((text) => new Date(text).getUTCSeconds() !== 0);
  const format = new Intl.DateTimeFormat(language, { timeStyle: hasSeconds ? 'medium' : 'short', timeZone: 'UTC' });
  return `${format.format(new Date(begin))} – ${format.format(new Date(end))} UTC`;
}

/** Return a day, UTC. */
export function dayName(text) {
  return new Intl.DateTimeFormat(language, { day: 'numeric', month: 'short', timeZone: 'UTC' })
    .format(new Date(text));
}

/** Return a short name of the month that begins at *date*, for a chart. */
export function monthLabel(date) {
  return new Intl.DateTimeFormat(language, { month: 'short', year: '2-digit', timeZone: 'UTC' }).format(date);
}

/** Return the name of the month that begins at *date*. */
export function monthName(date) {
  return new Intl.DateTimeFormat(language, { month: 'long', year: 'numeric', timeZone: 'UTC' })
    .format(date);
}
