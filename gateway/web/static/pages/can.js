import { h, put, st, b, sec, head, lede, table, tr, fig, figs, bar, age, int, q, rate, chev, seg, chart, empty, msg, Trail, pace } from '../ui.js';
import { courses } from './parts.js';
import { get, save } from '../api.js';
import { text, stale } from './sources.js';
import { roll } from './roll.js';

const cols = [['Id'], ['Name', 'p3'], ['Len', 'n p3'], ['Data', 'data'], ['ASCII', 'data p3'], ['Count', 'n p3'], ['Period', 'n p3', 'mean'], ['min to max', 'n p3'], ['Last Δ', 'n p3', 'between the last two frames'], ['Age', 'n']];
export const ms = (v) => (v < 100 ? v.toFixed(1) : v.toFixed(0));
export const ascii = (hex) => (hex.match(/../g) || []).map((x) => { const c = parseInt(x, 16); return c > 32 && c < 127 ? String.fromCharCode(c) : '·'; }).join('');

// means is the name of a message, or what a frame of J1939's transport protocol is.
const means = (r) => (r.packets ? r.name + ', joined from packets' : r.name || (r.transport && 'J1939 transport ' + r.transport));
// key tells a joined message from a frame of the same id.
const key = (r) => r.id + (r.packets ? '+' : '');
const shown = 128; // hex digits of a row

// parse reads a filter in candump's notation: ID:MASK passes, ID~MASK does not.
function parse(s) {
  const list = [];
  for (const part of s.split(/[,\s]+/).filter(Boolean)) {
    const m = /^([0-9a-f]{1,8})([:~])([0-9a-f]{1,8})$/i.exec(part);
    const id = /^[0-9a-f]{1,8}$/i.exec(part);
    if (m) list.push({ id: parseInt(m[1], 16), mask: parseInt(m[3], 16), not: m[2] === '~' });
    else if (id) list.push({ id: parseInt(part, 16), mask: 0x1FFFFFFF });
    else return { word: s.toLowerCase() };
  }
  return { list };
}
const passes = (f, r) => {
  if (f.word != null) return (r.id + ' ' + (means(r) || '')).toLowerCase().includes(f.word);
  if (!f.list.length) return true;
  const id = parseInt(r.id, 16);
  return f.list.some((x) => (((id & x.mask) >>> 0) === ((x.id & x.mask) >>> 0)) !== !!x.not);
};

export default function (ctx) {
  const all = ctx.snapshot.sources.filter((s) => s.kind === 'can').map((s) => s.name);
  if (!all.length) return { view: [head('CAN'), empty('off', 'No CAN bus is configured', 'Buses are listed under can: in the configuration.')] };
  const source = all.includes(ctx.query.get('source')) ? ctx.query.get('source') : all[0];
  const top = h('div', {}), body = h('tbody', {}), count = h('p', { class: 'note' });
  const rows = new Map(), open = new Map(); // key -> {tr, sub}
  const views = { 'Latest per id': '', 'Last 500 frames': 'roll' }, rolling = ctx.query.get('view') === 'roll';
  const ids = () => list.filter((r) => !r.packets);
  const go = (name, view) => ctx.go('can?' + new URLSearchParams({ source: name, ...(view && { view }) }));
  let list = [], filter = parse(''), paused = false;
  const search = h('input', { class: 'm', placeholder: 'Filter: 0CF00400:1FFFFF00 or a name', 'aria-label': 'Filter in candump notation', oninput: () => { filter = parse(search.value); show(); } });
  const pause = b('Pause', { 'aria-pressed': 'false', onclick: () => { paused = !paused; pause.textContent = paused ? 'Go on' : 'Pause'; pause.setAttribute('aria-pressed', String(paused)); if (!paused) show(); } });
  const frames = rolling && roll({ passes: (r) => passes(filter, r), name: (id) => named.get(id), paused: () => paused });
  const named = new Map(); // id -> name of the message
  const show = () => { if (rolling) frames.show(); else redraw(); };
  const load = chart({ unit: '%', fmt: (v) => v.toFixed(v % 1 ? 1 : 0), label: 'Bus load over the last hour', height: 110, series: [{ name: 'Load', color: '--acc' }] });
  const flow = chart({ unit: '/s', fmt: pace, label: 'Records over the last hour', height: 110, series: [{ name: 'Records', color: '--acc' }] });
  ctx.every(10000, async () => {
    const c = await courses(['load:' + source, 'rate:' + source]);
    load.set([c.data[0], c.data[1]]);
    flow.set([c.data[0], c.data[2]], c.shade);
  });
  ctx.every(1000, () => { for (const o of open.values()) signals(o); });

  function cells(r) {
    const changed = new Set(r.changed || []), old = (now() - Date.parse(r.last)) / 1000;
    const data = r.rtr ? [h('span', { class: 'dim' }, 'remote')] : (r.data.slice(0, shown).match(/../g) || []).map((x, i) => h('span', { class: 'by' + (changed.has(i) ? ' c' : '') }, x)).concat(r.data.length > shown ? ' …' : []);
    return [data, int(r.count), r.mean_ms ? q(ms(r.mean_ms), 'ms') : '', r.mean_ms ? q(ms(r.min_ms) + '–' + ms(r.max_ms), 'ms') : '', r.delta_ms ? q(ms(r.delta_ms), 'ms') : '', old > 10 ? st('stale', ago(old)) : age(Math.max(0, old)), old > 10];
  }
  const ago = (s) => (s < 100 ? s.toFixed(0) + ' s' : Math.round(s / 60) + ' min');
  const now = () => (ctx.snapshot ? Math.max(Date.parse(ctx.snapshot.taken), newest) : Date.now());
  let newest = 0;

  function make(r) {
    const [data, n, period, range, delta, a, old] = cells(r);
    const btn = h('button', { class: 'exp', 'aria-expanded': 'false', 'aria-label': r.id + ', signals of ' + (means(r) || 'this id') }, chev(), h('span', { class: 'mono' }, r.id));
    const t = tr(cols, [[btn, means(r) && h('span', { class: 'under' }, means(r))], means(r) || h('span', { class: 'dim' }, 'not in a DBC file'), r.len, data, r.rtr ? '' : ascii(r.data.slice(0, shown)), n, period, range, delta, a], 'go' + (old ? ' old' : ''));
    t.addEventListener('click', () => toggle(r, t, btn));
    return t;
  }
  function update(t, r) {
    const [data, n, period, range, delta, a, old] = cells(r), td = t.children, set = (i, x) => td[i].replaceChildren(...[x].flat(3).filter((y) => y != null));
    set(2, String(r.len)); set(3, data); set(4, r.rtr ? '' : ascii(r.data.slice(0, shown))); set(5, n); set(6, period); set(7, range); set(8, delta); set(9, a);
    t.classList.toggle('old', old);
  }
  function toggle(r, t, btn) {
    const id = key(r), is = open.get(id);
    btn.setAttribute('aria-expanded', String(!is));
    t.classList.toggle('open', !is);
    if (is) { is.sub.remove(); open.delete(id); return; }
    const box = h('div', {}, h('p', { class: 'note' }, st('wait', 'decoding'))), sub = h('tr', { class: 'sub' }, h('td', { colspan: cols.length }, box));
    t.after(sub);
    const o = { id: r.id, sub, box, trails: new Map() };
    open.set(id, o);
    signals(o);
  }
  async function signals(o) {
    if (document.hidden) return;
    let f;
    try { f = await get(`can/${encodeURIComponent(source)}/frames/${o.id}`); } catch (e) { put(o.box, msg('err', e.message)); return; }
    if (!f.signals.length) {
      put(o.box, h('p', { class: 'note' }, f.described ? 'The DBC file gives this message no signal.' : f.transport ? 'A part of a longer message, which has a row of its own if a DBC file describes it.' : 'No DBC file describes this id. Name one under dbc: of the source in the configuration.'));
      return;
    }
    const trail = (s) => {
      if (!o.trails.has(s.name)) o.trails.set(s.name, new Trail());
      const t = o.trails.get(s.name);
      t.add(s.error || stale(s, now()) ? null : s.value && s.value.value !== undefined ? s.value.value : s.value);
      return t.draw();
    };
    put(o.box, table([['Signal'], ['Value', 'n'], ['Last minute', 'p3'], ['Meaning', 'fill']], f.signals.map((s) => [s.name, s.error ? '–' : [h('b', {}, text(s.value && s.value.value !== undefined ? s.value.value : s.value)), s.unit && h('span', { class: 'u' }, s.unit)], trail(s),
      s.error ? st('stale', s.error) : stale(s, now()) ? st('stale', 'from ' + ago((now() - Date.parse(s.at)) / 1000) + ' ago') : s.out_of_range ? st('warn', 'beyond its limits') : s.label || h('span', { class: 'dim' }, '–')]), 'Signals of ' + (f.name || o.id)));
  }
  function redraw() {
    const order = list.map((r, i) => [r, i]).filter(([r]) => passes(filter, r)).sort((x, y) => (x[0].id.length - y[0].id.length) || (x[0].id < y[0].id ? -1 : 1));
    const want = [];
    for (const [r] of order) {
      const k = key(r);
      let t = rows.get(k);
      if (t) update(t, r); else { t = make(r); rows.set(k, t); }
      want.push(t);
      if (open.has(k)) want.push(open.get(k).sub);
    }
    const keep = new Set(want);
    for (const t of [...body.children]) if (!keep.has(t)) t.remove();
    want.forEach((t, i) => { if (body.children[i] !== t) body.insertBefore(t, body.children[i] || null); }); // a row that stays keeps the focus
    count.textContent = order.length === list.length ? `${int(ids().length)} ids.` : `${int(order.length)} of ${int(list.length)} rows pass the filter.`;
  }
  function take(data, full) {
    const before = list.length;
    if (data.rows) { list = data.rows; rows.clear(); } else for (const i of Object.keys(data.changed)) list[i] = data.changed[i];
    for (const r of data.rows || Object.values(data.changed)) newest = Math.max(newest, Date.parse(r.last));
    for (const r of data.rows || Object.values(data.changed)) if (!r.packets) named.set(r.id, means(r));
    if (paused || rolling) return;
    if (full || data.rows || list.length !== before) { redraw(); return; }
    for (const r of Object.values(data.changed)) { const t = rows.get(key(r)); if (t) update(t, r); }
  }
  const header = h('tr', {}, cols.map((c) => h('th', { class: c[1], scope: 'col', title: c[2] }, c[0])));
  return {
    view: [head('CAN', all.length > 1 && seg('Bus', all, source, (t) => go(t, rolling && 'roll'))), top,
      sec('Frames', rolling ? 'As they come, newest first' : 'The last one of each id',
        h('div', { class: 'tools' }, seg('View', Object.keys(views), Object.keys(views)[rolling ? 1 : 0], (t) => go(source, views[t])), search, pause, h('span', { class: 'grow' }),
          b('Download last 10 s', { onclick: () => save('GET', `can/${encodeURIComponent(source)}/log`, source + '.log') })),
        rolling ? frames.view : [h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': 'CAN frames, latest per id' }, h('table', {}, h('thead', {}, header), body)), count,
          h('p', { class: 'note' }, h('span', { class: 'by c' }, 'Marked'), ': changed within two seconds. A row opens its signals. Limits of the configuration do not thin out what is shown here.')]),
      h('div', { class: 'cols half' }, sec('Bus load', 'Last hour', load), sec('Records', 'Last hour, per second', flow))],
    topics: { ['can:' + source]: take, ...(rolling && { ['roll:' + source]: frames.take }) },
    snapshot(s) {
      const x = s.sources.find((y) => y.name === source), c = x && x.can;
      if (!c) return;
      const kind = !c.up ? 'err' : c.controller === 'bus-off' ? 'err' : /passive|warning/.test(c.controller || '') ? 'warn' : 'ok';
      const errors = Object.entries(c.errors || {}).sort((m, n) => n[1] - m[1]).slice(0, 3).map(([k, n]) => `${k} ${int(n)}`).join(', ');
      put(top, 
        lede(h('b', {}, source), ' is ', x.where, c.bitrate ? ` at ${int(c.bitrate / 1000)} kbit/s` : '', ids().length ? `. ${int(ids().length)} ids, ${int(ids().filter((r) => r.described).length)} of them described by a DBC file.` : '.'),
        figs(
          fig('Controller', st(kind, !c.up ? 'Down' : c.controller ? c.controller.replace('-', ' ') : 'Up'), '', x.word, true),
          fig('Frames', int(c.frame_rate), '/s', c.suppressed ? int(c.suppressed) + ' held back by limits' : int(c.frames) + ' since the start'),
          fig('Bus load', c.load < 0 ? '–' : c.load.toFixed(1), c.load < 0 ? '' : '%', c.load < 0 ? 'the bit rate is not known' : [bar(Math.min(1, c.load / 100))]),
          fig('Dropped', int(c.dropped), '', 'by the kernel, before they were read'),
          fig('Error frames', int(c.error_frames), '', errors || (c.tec != null ? `TEC ${c.tec}, REC ${c.rec}, warning at 96` : 'none seen')),
        ));
    },
  };
}
