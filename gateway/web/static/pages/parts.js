// Parts that several pages show.
import { h, shape, st, span, day } from '../ui.js';
import { get } from '../api.js';

const severity = { info: 'info', warning: 'warn', error: 'err', critical: 'crit' };
const cap = (s) => s.charAt(0).toUpperCase() + s.slice(1);
export const kindOf = (s) => severity[s] || 'info';
export const where = (a) => (a.subject ? a.source + ' / ' + a.subject : a.source);
export const since = (t, now) => (t ? span((Date.parse(now) - Date.parse(t)) / 1000) : '');

// mute says that the broker is connected and acknowledges nothing, from when on the state is an outage for it.
export const mute = (u) => u.connected && u.unanswered_s >= 15;

// stateOf is the state of the gateway as shape and words.
const kinds = { ok: 'ok', catching_up: 'info', attention: 'warn', outage: 'err', losing: 'crit', starting: 'wait' };
const words = { ok: 'everything works', catching_up: 'catching up', attention: 'needs attention', outage: 'nothing is delivered', losing: 'losing records', starting: 'starting' };
export const stateOf = (s) => [kinds[s.state] || 'stale', words[s.state] || s.state];

// alarm is one alarm in short.
export const alarm = (a, now) => h('li', {}, h('span', { class: kindOf(a.severity) }, shape(kindOf(a.severity))), h('b', {}, a.title), h('span', { class: 'muted nw' }, since(a.since, now)),
  h('p', {}, cap(a.severity) + ': ' + where(a)));

// alarmFull says what an alarm means and what to do.
export const alarmFull = (a, now) => h('li', {}, h('span', { class: kindOf(a.severity) }, shape(kindOf(a.severity))), h('b', {}, a.title),
  h('span', { class: 'muted nw' }, a.since ? 'for ' + since(a.since, now) : ''),
  h('dl', {}, h('dt', {}, cap(a.severity)), h('dd', {}, where(a) + (a.since ? ', since ' + day(a.since) : '') + (a.flapping ? ', comes and goes' : '')), h('dt', {}, 'Means'), h('dd', {}, a.means), h('dt', {}, 'Do'), h('dd', {}, a.do),
    a.detail ? [h('dt', {}, 'Detail'), h('dd', {}, detail(a.detail))] : ''));

// detail is the detail of an alarm in one line, the error first.
const detail = (d) => Object.entries(d).sort(([a], [b]) => (b === 'error') - (a === 'error') || (a < b ? -1 : 1))
  .map(([k, v]) => k.replaceAll('_', ' ') + ': ' + (typeof v === 'string' ? v : JSON.stringify(v))).join('; ');

const states = { receives: 'ok', partial: 'warn', silent: 'stale', down: 'err', ended: 'off' };
export const sourceState = (s) => st(states[s.state] || 'stale', s.word);

// courses fetches figures as uPlot wants them: [times, values...], and when the uplink was away.
export async function courses(figures, day) {
  const q = new URLSearchParams();
  for (const f of [...figures, 'connected']) q.append('figure', f);
  q.set('span', day ? 'day' : 'hour');
  const { courses: list } = await get('history?' + q);
  const steps = Math.max(...list.map((c) => c.last.length), 0);
  const base = list.find((c) => c.last.length === steps);
  if (!base || !steps) return { data: [[], ...figures.map(() => [])], shade: [] };
  const from = Date.parse(base.from) / 1000, t = Array.from({ length: steps }, (_, i) => from + i * base.step_s);
  const column = (c) => Array(steps - c.last.length).fill(null).concat(c.last); // a figure that came later
  const up = list.at(-1), gone = column({ last: up.max }), shade = [];
  for (let i = 0; i < steps; i++) {
    if (gone[i] !== 0) continue;
    let k = i;
    while (k + 1 < steps && gone[k + 1] === 0) k++;
    shade.push({ from: t[i], to: t[k] + base.step_s, text: 'no uplink, ' + span((k - i + 1) * base.step_s) });
    i = k;
  }
  return { data: [t, ...list.slice(0, -1).map(column)], shade };
}
