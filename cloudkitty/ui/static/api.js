// The service's REST API, which lies beside this page.

import { parse } from './numbers.js';

const ROOT = new URL('../../', import.meta.url);

/** Return the address of a path of this service. */
export const addressOf = (path) => String(new URL(path, ROOT));

const TIMEOUT_MS = 60000;
const PAGE = 1000;
// Only in memory: it is gone when the page is.
let token = null;

/** An answer that is no success; `status` is 0 when there was none. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export function useToken(given) {
  token = given;
}

async function ask(path, parameters, headers, sent = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== undefined && one !== '') url.searchParams.append(name, one);
  }
  const given = token ? { ...headers, 'X-Auth-Token': token } : headers;
  let answer;
  try {
    answer = await fetch(url, { ...sent, headers: given, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    throw new Refused(0, error.message);
  }
  // v1 says by a redirection that a change is done; nobody should follow it.
  if (answer.ok || answer.type === 'opaqueredirect') return answer;
  const text = await answer.text();
  let message = answer.statusText;
  try {
    const told = JSON.parse(text);
    message = told.message || told.faultstring || told.error.message;
  } catch { /* Not from the service: what stands before it answered. */ }
  throw new Refused(answer.status, message);
}

/** Return the parsed answer; its numbers are texts, see numbers.js. */
export async function get(path, parameters = {}) {
  return parse(await (await ask(path, parameters, { Accept: 'application/json' })).text());
}

const JSON_HEADERS = { Accept: 'application/json', 'Content-Type': 'application/json' };

/** Return the parsed answer to a form; members that are null or undefined are left out. */
export async function post(path, form) {
  const body = JSON.stringify(form, (name, value) => (value === null ? undefined : value));
  return parse(await (await ask(path, {}, JSON_HEADERS, { method: 'POST', body })).text());
}

/** Change what has this address. */
export async function put(path, form) {
  const body = JSON.stringify(form, (name, value) => (value === null ? undefined : value));
  await ask(path, {}, JSON_HEADERS, { method: 'PUT', body, redirect: 'manual' });
}

/** Return the rows of a list that says 404 when it is empty. */
export async function list(path, parameters = {}) {
  try {
    return await get(path, parameters);
  } catch (error) {
    if (error.status === 404) return { total: '0', results: [] };
    throw error;
  }
}

/** Return the results of all pages of a list. */
export async function all(path, parameters = {}) {
  const found = [];
  for (;;) {
    const { total, results } = await get(path, { ...parameters, offset: found.length, limit: PAGE });
    found.push(...results);
    if (!results.length || found.length >= Number(total)) return found;
  }
}

// Without it Excel does not take a file for UTF-8.
const MARK = '\ufeff';

/** Return the answer as a CSV file for people, who open it in a spreadsheet. */
export async function csv(path, parameters) {
  return new Blob([MARK, await (await ask(path, parameters, { Accept: 'text/csv' })).blob()], { type: 'text/csv' });
}

/** Return the rows of /v2/summary as objects. */
export async function summary(parameters) {
  const { columns, results } = await get('v2/summary', { limit: 1000, ...parameters });
  return results.map((cells) => Object.fromEntries(cells.map((cell, number) => [columns[number], cell])));
}

/** Return a token for the body of a request to Keystone, which this service passes on. */
export async function authenticate(body) {
  let answer;
  try {
    answer = await fetch(new URL('ui/auth/tokens', ROOT), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch (error) {
    throw new Refused(0, error.message);
  }
  const given = answer.headers.get('X-Subject-Token');
  if (!answer.ok || !given) throw new Refused(answer.status, answer.statusText);
  return given;
}

/** Return the projects that a token can be exchanged for. */
export async function projectsOf(given) {
  const answer = await fetch(addressOf('ui/auth/projects'), {
    headers: { 'X-Auth-Token': given }, signal: AbortSignal.timeout(TIMEOUT_MS),
  }).catch((error) => { throw new Refused(0, error.message); });
  if (!answer.ok) throw new Refused(answer.status, answer.statusText);
  return (await answer.json()).projects;
}

/** Make the token invalid, and forget it. */
export async function leave() {
  const headers = { 'X-Auth-Token': token };
  token = null;
  await fetch(addressOf('ui/auth/tokens'), { method: 'DELETE', headers, signal: AbortSignal.timeout(TIMEOUT_MS) })
    .catch(() => { /* It ends by itself. */ });
}

export const isKnown = () => token !== null;
