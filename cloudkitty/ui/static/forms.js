// What forms have in common: they show beside them what came of them.

import * as api from './api.js';
import { el } from './dom.js';
import { said, t } from './words.js';

/** Return the values of *form* by name; what is empty is null. */
export const valuesOf = (form) =>
  Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim() || null]));

/**
 * Return a listener that shows in *result* what *work* makes of the values of *form*.
 * What the service refuses is told there; for a log-in that has expired the page asks.
 */
export const answering = (form, result, work) => async (event) => {
  event.preventDefault();
  if (!form.reportValidity()) return;
  result.replaceChildren(el('p', {}, t('loading')));
  try {
    result.replaceChildren(...[await work(valuesOf(form))].flat());
  } catch (error) {
    result.replaceChildren();
    if (!(error instanceof api.Refused) || error.status === 401) throw error;
    result.replaceChildren(el('p', { class: 'warning' }, said(error.message)));
  }
};
