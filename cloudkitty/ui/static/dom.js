// Elements are only made here. Texts become text nodes, never markup, whatever they hold.

const SVG = 'http://www.w3.org/2000/svg';
// Characters without a shape that change the order in which others are shown: Unicode's Bidi_Control.
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const READ = ['title', 'aria-label', 'download'];

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else {
      element.setAttribute(name, value === true ? '' : READ.includes(name) ? legible(value) : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : legible(child))));
  return element;
}

/** Return a text with such characters shown as escapes, so that it is read as it is written. */
const legible = (text) => String(text).replace(DIRECTIONS,
  (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Return an HTML element; `on` holds listeners by event, children are nodes or texts. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** Return an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * Return a table.
 * @param columns list of {title, isNumber, isSentence}
 * @param rows list of lists of nodes or texts
 */
export function table(caption, columns, rows) {
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el('table', {},
      el('caption', {}, el('span', {}, caption)),
      el('thead', {}, el('tr', {}, columns.map((column) =>
        el('th', { scope: 'col', class: look(column) }, column.title)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, row.map((cell, n) =>
        el('td', { class: look(columns[n]) }, cell)))))));
}

const look = (column) => (column.isNumber ? 'number' : column.isSentence && 'sentence');

/** Offer *blob* as a file called *name*. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
