// Is a month rated, and what is missing?

import * as api from '../api.js';
import { el, table } from '../dom.js';
import { Month } from '../state.js';
import { moment, monthName, nameOf, said, t } from '../words.js';

const STATES = {
  final: 'final', waiting: 'stateWaiting', held: 'stateHeld', gap: 'stateGap', failed: 'stateFailed',
  inactive: 'stateInactive', reset: 'stateReset', again: 'stateAgain',
  // Of times without data, in which the data may be there by now.
  noted: 'stateGap', back: 'stateAgain', unusable: 'stateGap',
  // Of metrics that come late.
  late: 'stateGap', nowhere: 'stateNowhere',
};

export async function show({ values }) {
  const month = Month.named(values.month);
  const answer = await api.get('v2/completeness', { month: month.name, limit: 100 });
  const isFinal = answer.final;
  return [
    el('h1', {}, t('healthOf', { month: monthName(month.begin) })),
    el('section', { class: isFinal ? 'good' : 'warning', role: 'status' },
      el('h2', {}, t(isFinal ? 'monthFinal' : 'monthNotFinal')),
      answer.rated_until && el('p', {}, t('ratedUntil', { moment: moment(answer.rated_until) })),
      answer.reason && el('p', {}, said(answer.reason))),
    answer.lagging.length > 0 && el('section', {}, table(t('lateSources'),
      [{ title: t('metric') }, { title: t('state') }, { title: t('newest') }],
      answer.lagging.map((lag) => [lag.metric, t(STATES[lag.state]), lag.newest ? moment(lag.newest) : '–']))),
    answer.gaps.length > 0 && el('section', {}, table(t('gaps'),
      [{ title: t('metric') }, { title: t('span') }, { title: t('sign') }, { title: t('state') }],
      answer.gaps.map((gap) => [gap.metric, `${moment(gap.begin)} – ${moment(gap.end)}`, gap.sign,
        gap.accepted_at ? t('accepted', { name: gap.accepted_by || '–', reason: gap.accepted_reason || '–' }) : t(STATES[gap.state])]))),
    el('section', {}, table(t('projectsNotFinal', { count: answer.not_final, total: answer.total }),
      [{ title: t('project') }, { title: t('ratedTo') }, { title: t('state') }, { title: t('reason'), isSentence: true }],
      answer.results.map((entry) => [nameOf(entry.scope_id), moment(entry.rated_until), t(STATES[entry.state]),
        [entry.reason, ...entry.late.map((note) => note.reason)].filter(Boolean).map(said).join(' · ')]))),
  ];
}
