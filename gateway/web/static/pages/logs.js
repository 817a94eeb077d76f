import { h, put, st, b, sec, head, table, seg, empty, hm } from '../ui.js';
import { get } from '../api.js';

const kinds = { DEBUG: 'off', INFO: 'info', WARN: 'warn', ERROR: 'err', CRITICAL: 'crit' };
const most = 2000; // lines that are kept, as in the gateway

export default function (ctx) {
  const body = h('div', {});
  let list = [], last = 0, least = 'All', word = '', follow = true;
  const search = h('input', { placeholder: 'Search', 'aria-label': 'Search the log', oninput: () => { word = search.value.toLowerCase(); show(); } });
  const fits = (l) => (least === 'All' || ['WARN', 'ERROR', 'CRITICAL'].includes(l.level)) && l.text.toLowerCase().includes(word);
  function show() {
    const fit = list.filter(fits).slice(-500).reverse();
    put(body, fit.length === 0 ? empty('off', 'No line fits', '') : table([['Time'], ['Level'], ['Text', 'fill wr']],
      fit.map((l) => [h('span', { class: 'muted' }, hm(Date.parse(l.time) / 1000, true)), st(kinds[l.level] || 'off', l.level.toLowerCase()), h('span', { class: 'mono' }, l.text)]), 'Log, newest first'));
  }
  ctx.every(2000, async () => {
    if (!follow) return;
    try {
      const { lines } = await get('logs?since=' + last);
      if (!lines.length && list.length) return;
      if (lines.length) { last = lines.at(-1).seq; list = list.concat(lines).slice(-most); }
      show();
    } catch (e) { put(body, empty('err', 'The log could not be read', e.message)); }
  });
  const stop = b('Stop following', { onclick: () => { follow = !follow; stop.textContent = follow ? 'Stop following' : 'Follow'; } });
  return { view: [head('Logs'), sec('Newest first', 'At most 2,000 lines since the start; 500 are shown', h('div', { class: 'tools' }, seg('Level', ['All', 'Warnings and errors'], 'All', (t) => { least = t; show(); }), search, stop), body)] };
}
