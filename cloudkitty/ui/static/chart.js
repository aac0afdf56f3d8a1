// Stacked bars as SVG, which style sheets colour and screen readers skip for the table beside them.
// Written here: libraries that draw SVG set style attributes or put style elements and markup into
// the page, which its security policy forbids; those that draw on a canvas show nothing to screen
// readers and do not follow the colours of the system.

import { el, svg } from './dom.js';
import { approximate } from './numbers.js';

// Sizes are pixels, so that a narrow screen has the letters of a wide one.
const WIDTH_MAX = 960;
const HEIGHT = 240;
const BOTTOM = 24;
const TOP = 8;
// What is beside a chart on the page.
const MARGINS = 84;
const BAR_MIN = 18;
const LETTER = 7;
const GAP = 10;
const LINES = 4;
export const COLOURS = 8;

/** Return the class of the colour of series *number*. */
export const colour = (number) => `series-${Math.min(number, COLOURS - 1)}`;

/** Return a round number that is not below *value*: 1, 2, 2.5 or 5 times a power of ten. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((round) => round >= value);
}

const longest = (texts) => Math.max(0, ...texts.map((text) => text.length)) * LETTER + GAP;

/**
 * Return a chart of stacked bars, which scrolls where it is wider than the page.
 * @param bars list of {label, parts: [{series, value, title}], forecast}; values are numbers as text
 * @param show makes the text of a value on the axis
 */
export function stacked(label, bars, show) {
  const heights = bars.map((bar) => Math.max(bar.forecast || 0,
    bar.parts.reduce((total, part) => total + Math.max(approximate(part.value), 0), 0)));
  // So many lines as are needed, so that the highest bar is high.
  const step = ceiling(Math.max(0, ...heights) / LINES);
  const lines = Math.max(1, Math.ceil(Math.max(0, ...heights) / step - 1e-9));
  const top = lines * step;
  const values = Array.from({ length: lines + 1 }, (_, line) => {
    const value = line * step;
    return [value, show(String(Number(value.toPrecision(12))))];
  });
  const left = longest(values.map(([, text]) => text));
  const each = longest(bars.map((bar) => bar.label));
  // Half of the last label may stand beside its bar.
  const sides = left + Math.max(0, (each - BAR_MIN) / 2);
  const chartWidth = Math.min(WIDTH_MAX, Math.max(window.innerWidth - MARGINS, sides + bars.length * BAR_MIN));
  const width = (chartWidth - sides) / Math.max(bars.length, 1);
  const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const chart = svg('svg', {
    viewBox: `0 0 ${chartWidth} ${HEIGHT}`, width: chartWidth, role: 'img', 'aria-label': label, class: 'chart',
  });
  for (const [value, text] of values) {
    chart.append(
      svg('line', { x1: left, x2: chartWidth, y1: y(value), y2: y(value), class: 'grid' }),
      svg('text', { x: left - 6, y: y(value) + 4, class: 'axis value' }, text));
  }
  bars.forEach((bar, number) => {
    const x = left + number * width + width * 0.08;
    let reached = 0;
    for (const part of bar.parts) {
      const value = Math.max(approximate(part.value), 0);
      chart.append(svg('rect', {
        x, width: width * 0.84, y: y(reached + value), height: y(reached) - y(reached + value),
        class: colour(part.series),
      }, svg('title', {}, part.title)));
      reached += value;
    }
    if (bar.forecast > reached) {
      chart.append(svg('rect', {
        x, width: width * 0.84, y: y(bar.forecast), height: y(reached) - y(bar.forecast), class: 'forecast',
      }));
    }
    // The newest has its label; of the others those that have room.
    if ((bars.length - 1 - number) % Math.ceil(each / width) === 0) {
      chart.append(svg('text', { x: x + width * 0.42, y: HEIGHT - 6, class: 'axis' }, bar.label));
    }
  });
  return el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': label }, chart);
}
