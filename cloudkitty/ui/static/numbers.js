// Money is exact: numbers are kept as the text that the service sent, and added as integers.

const SHAPE = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

/** Return the JSON of *text* with every number as its own text. */
export function parse(text) {
  return JSON.parse(text, (key, value, context) => {
    if (typeof value !== 'number') return value;
    return context && context.source ? context.source : String(value);
  });
}

function split(text) {
  const [, sign, whole, fraction = '', exponent = '0'] = SHAPE.exec(text);
  const scale = fraction.length - Number(exponent);
  const digits = BigInt(sign + whole + fraction);
  return scale < 0 ? [digits * 10n ** BigInt(-scale), 0] : [digits, scale];
}

function join(digits, scale) {
  const sign = digits < 0n ? '-' : '';
  const text = String(digits < 0n ? -digits : digits).padStart(scale + 1, '0');
  const fraction = scale ? text.slice(-scale).replace(/0+$/, '') : '';
  return sign + (scale ? text.slice(0, -scale) : text) + (fraction && `.${fraction}`);
}

/** Return the exact sum of numbers, which are texts. */
export function sum(numbers) {
  let [total, scale] = [0n, 0];
  for (const number of numbers) {
    const [digits, own] = split(number);
    if (own > scale) [total, scale] = [total * 10n ** BigInt(own - scale), own];
    total += digits * 10n ** BigInt(scale - own);
  }
  return join(total, scale);
}

/** Return *number* without an exponent and without zeros at its end. */
export function plain(number) {
  return join(...split(number));
}

/** Return the quotient of two numbers, cut after *places* digits behind the point; '' for x / 0. */
export function divide(number, by, places = 12) {
  const [[above, scale], [below, other]] = [split(number), split(by)];
  if (below === 0n) return '';
  return join((above * 10n ** BigInt(places + other)) / (below * 10n ** BigInt(scale)), places);
}

/** Return the exact product of two numbers. */
export function times(number, by) {
  const [[one, scale], [two, other]] = [split(number), split(by)];
  return join(one * two, scale + other);
}

export function negate(number) {
  const [digits, scale] = split(number);
  return join(-digits, scale);
}

export const isZero = (number) => split(number)[0] === 0n;

/** Return whether a row of a summary has usage that costs nothing. */
export const isFree = (row) => isZero(row.rate) && !isZero(row.qty);

export const isNegative = (number) => split(number)[0] < 0n;

/** Return *number* as a JavaScript number: for lengths and shares, never for money that is shown. */
export const approximate = (number) => Number(number);
