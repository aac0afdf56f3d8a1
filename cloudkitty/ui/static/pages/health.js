// Is a month rated, and what is missing?

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { Month } from '../state.js';
import { moment, monthName, nameOf, t } from '../words.js';

export async function show({ values }) {
  const month = Month.named(values.month);
  const answer = await api.get('v2/completeness', { month: month.name, limit: 100 });
  const isFinal = answer.final;
  return [
    el('h1', {}, t('healthOf', { month: monthName(month.begin) })),
    el('section', { class: isFinal ? 'good' : 'warning', role: 'status' },
      el('h2', {}, t(isFinal ? 'monthFinal' : 'monthNotFinal')),
      answer.rated_until && el('p', {}, t('ratedUntil', { moment: moment(answer.rated_until) })),
      answer.reason && el('p', {}, answer.reason)),
    answer.lagging.length > 0 && el('section', {}, table(t('lateSources'),
      [{ title: t('metric') }, { title: t('state') }, { title: t('newest') }],
      answer.lagging.map((lag) => [lag.metric, lag.state, lag.newest ? moment(lag.newest) : '–']))),
    el('section', {}, table(t('projectsNotFinal', { count: answer.not_final, total: answer.total }),
      [{ title: t('project') }, { title: t('ratedTo') }, { title: t('state') }, { title: t('reason') }],
      answer.results.map((entry) => [nameOf(entry.scope_id), moment(entry.rated_until), entry.state,
        [entry.reason, ...entry.late.map((note) => note.reason)].filter(Boolean).join(' · ')]))),
  ];
}
