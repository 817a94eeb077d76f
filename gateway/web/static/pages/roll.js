// The newest frames of a bus in the order in which they came, as candump shows them.
import { h, tr, q, int } from '../ui.js';
import { ascii, ms } from './can.js';

const most = 500;
const cols = [['Time'], ['Δ', 'n p3', 'since the frame of this id before'], ['Id'], ['Name', 'p3'], ['Len', 'n p3'], ['Data', 'data'], ['ASCII', 'data fill p3']];
const pad = (n, w) => String(n).padStart(w, '0');
const time = (s) => { const d = new Date(s * 1000); return pad(d.getHours(), 2) + ':' + pad(d.getMinutes(), 2) + ':' + pad(d.getSeconds(), 2); };

// parse reads a line of the stream: seconds, then id#data, id##flags data (FD) or id#R (remote).
function parse(line, n) {
  const [stamp, frame] = line.split(' '), [id, rest = ''] = [frame.slice(0, frame.indexOf('#')), frame.slice(frame.indexOf('#') + 1)];
  const fd = rest.startsWith('#'), rtr = rest.startsWith('R'), data = rtr ? '' : fd ? rest.slice(2) : rest.split('_')[0];
  return { n, stamp, id, fd, rtr, data, len: rtr ? rest.slice(1) || 0 : data.length / 2 };
}

export function roll({ passes, name, paused }) {
  const body = h('tbody', {}), note = h('p', { class: 'note' });
  const last = new Map(); // id -> stamp of its newest frame
  let list = [], next = 0, missed = 0; // oldest first
  function row(f) {
    const [s, us = '000000'] = f.stamp.split('.'), named = name(f.id);
    return tr(cols, [h('span', { class: 'mono' }, h('span', { class: 'muted' }, time(Number(s))), '.' + us), f.delta != null ? q(ms(f.delta), 'ms') : '',
      [h('span', { class: 'mono' }, f.id), named && h('span', { class: 'under' }, named)], named || h('span', { class: 'dim' }, '–'), f.len,
      f.rtr ? h('span', { class: 'dim' }, 'remote') : f.data.replace(/(..)(?=.)/g, '$1 '), f.rtr ? '' : ascii(f.data)]);
  }
  function show() {
    if (paused()) return;
    const fit = list.filter((f) => passes({ id: f.id, name: name(f.id) }));
    const want = fit.toReversed().map((f) => (f.tr = f.tr || row(f))), keep = new Set(want);
    for (const t of [...body.children]) if (!keep.has(t)) t.remove();
    want.forEach((t, i) => { if (body.children[i] !== t) body.insertBefore(t, body.children[i] || null); });
    note.textContent = `${int(fit.length)} of the last ${int(list.length)} frames.` + (missed ? ` The bus was faster than the page: ${int(missed)} frames between were left out here. The download has them.` : '');
  }
  function take(data) {
    if (!data.next) return;
    const first = data.next - data.lines.length;
    if (data.next < next) { list = []; next = 0; last.clear(); } // the bus was opened again
    if (next && first > next) missed += first - next;
    data.lines.forEach((line, i) => {
      const n = first + i;
      if (n < next) return;
      const f = parse(line, n), before = last.get(f.id);
      if (before != null) f.delta = Math.max(0, (Number(f.stamp) - before) * 1000);
      last.set(f.id, Number(f.stamp));
      list.push(f);
    });
    next = data.next;
    if (list.length > most) list = list.slice(-most);
    show();
  }
  return { take, show, view: [h('div', { class: 'tw roll', tabindex: 0, role: 'region', 'aria-label': 'CAN frames as they come' }, h('table', {}, h('thead', {}, h('tr', {}, cols.map((c) => h('th', { class: c[1], scope: 'col', title: c[2] }, c[0])))), body)), note] };
}
