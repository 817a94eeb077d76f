import { h, put, st, sec, head, lede, table, seg, span, day, empty } from '../ui.js';
import { alarmFull, kindOf, where } from './parts.js';

export default function (ctx) {
  const top = h('div', {}), raised = h('div', {}), past = h('div', {});
  let notes = [], least = 'All', word = '';
  const search = h('input', { placeholder: 'Search source or text', 'aria-label': 'Search alarms', oninput: () => { word = search.value.toLowerCase(); show(); } });
  function show() {
    const begun = new Map(), rows = [];
    for (const n of notes) {
      if (n.state === 'raised') begun.set(n.id, n);
      if (n.state === 'raised') rows.push({ n, over: null });
      else if (n.state === 'cleared') { const r = rows.findLast((x) => x.n.id === n.id && !x.over); if (r) r.over = n.time; else rows.push({ n, over: n.time, early: true }); } else rows.push({ n, once: true });
    }
    const fit = rows.reverse().filter(({ n }) => (least === 'All' || n.severity !== 'info') && (n.title + where(n) + n.code).toLowerCase().includes(word));
    put(past, fit.length === 0 ? empty('off', 'Nothing to show', 'No alarm fits, or none has been raised since the start.') : table(
      [['Raised'], ['Over'], ['Lasted', 'n p3'], ['Severity', 'p3'], ['Alarm'], ['Source', 'fill']],
      fit.map(({ n, over, once, early }) => [early ? 'before the start' : day(n.time), once ? '' : over ? day(over) : st(kindOf(n.severity), 'still raised'),
        over && !early ? span((Date.parse(over) - Date.parse(n.time)) / 1000) : '', st(kindOf(n.severity), n.severity || ''), n.title || n.code, where(n)]), 'Last alarms'));
  }
  return {
    view: [head('Alarms'), top, sec('Raised', null, raised),
      sec('Lately', 'At most 200 notes since the start', h('div', { class: 'tools' }, seg('Severity', ['All', 'Warning and above'], 'All', (t) => { least = t; show(); }), search), past)],
    topics: { alarms: (data) => { notes = data.notes; show(); } },
    snapshot(s) {
      put(top, lede(h('b', {}, s.alarms.length === 1 ? '1 alarm is raised' : s.alarms.length + ' alarms are raised'), s.alarms.length ? ': each says what it means and what to do.' : '.'));
      put(raised, s.alarms.length === 0 ? h('p', { class: 'note' }, 'Nothing is wrong that the gateway could see.') : h('ul', { class: 'al full' }, s.alarms.map((a) => alarmFull(a, s.taken))));
    },
  };
}
