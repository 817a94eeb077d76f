// Building blocks. Text enters the page by textContent only; sizes that depend on data are set through the CSSOM (style.x = …),
// never through a style attribute, so the page runs under style-src 'self'.
const SVG = 'http://www.w3.org/2000/svg';

export function h(tag, props, ...kids) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (v == null || v === false) continue;
    if (k === 'class') e.className = v;
    else if (k === 'css') Object.assign(e.style, v);
    else if (k.startsWith('on')) on(e, k.slice(2), v);
    else e.setAttribute(k, v === true ? '' : v);
  }
  add(e, kids);
  return e;
}
function add(e, kids) {
  for (const k of kids.flat(9)) if (k != null && k !== false) e.append(k instanceof Node ? k : String(k));
}
// on keeps a handler beside its element, so that put can exchange it.
function on(e, type, run) {
  e.handlers = { ...e.handlers, [type]: run };
  e.addEventListener(type, (ev) => e.handlers[type].call(e, ev));
}

// put shows kids in a box in place of what is there, and changes only what differs: focus, scrolling and a selection stay.
export function put(box, ...kids) {
  const next = box.cloneNode(false);
  add(next, kids);
  match(box, next);
}
function match(a, b) {
  const fresh = [...b.childNodes];
  while (a.childNodes.length > fresh.length) a.lastChild.remove();
  fresh.forEach((y, i) => {
    const x = a.childNodes[i];
    if (!x) a.append(y); else if (x !== y && !become(x, y)) x.replaceWith(y);
  });
}
// become makes a node like another one, if they are of one kind.
function become(x, y) {
  if (x.nodeName !== y.nodeName) return false;
  if (x.nodeType !== Node.ELEMENT_NODE) { if (x.data !== y.data) x.data = y.data; return true; }
  if (Object.keys(x.handlers || {}).join() !== Object.keys(y.handlers || {}).join() || /^(INPUT|TEXTAREA|SELECT|DETAILS|FIGURE)$/.test(x.nodeName)) return false;
  x.handlers = y.handlers;
  for (const t of [...x.attributes]) if (t.name !== 'style' && !y.hasAttribute(t.name)) x.removeAttribute(t.name);
  for (const t of y.attributes) if (t.name !== 'style' && x.getAttribute(t.name) !== t.value) x.setAttribute(t.name, t.value);
  if (x.style && x.style.cssText !== y.style.cssText) x.style.cssText = y.style.cssText;
  match(x, y);
  return true;
}
function svg(box, ...paths) {
  const s = document.createElementNS(SVG, 'svg');
  s.setAttribute('viewBox', box); s.setAttribute('aria-hidden', 'true'); s.setAttribute('focusable', 'false');
  for (const p of paths) {
    const e = document.createElementNS(SVG, p[0]);
    for (const [k, v] of Object.entries(p[1])) e.setAttribute(k, v);
    s.append(e);
  }
  return s;
}

// One shape a state, so that none is told by colour alone.
const line = { fill: 'none', stroke: 'currentColor', 'stroke-width': 1.6 };
const shapes = {
  ok: [['circle', { cx: 6, cy: 6, r: 4, fill: 'currentColor' }]],
  info: [['circle', { cx: 6, cy: 6, r: 4.2, ...line }]],
  warn: [['path', { d: 'M6 1.2 11.4 10.8H.6Z', fill: 'currentColor' }]],
  err: [['path', { d: 'M1.5 1.5h9v9h-9z', fill: 'currentColor' }]],
  crit: [['path', { d: 'M3.6.5h4.8l3.1 3.1v4.8l-3.1 3.1H3.6L.5 8.4V3.6Z', fill: 'currentColor' }]],
  stale: [['circle', { cx: 6, cy: 6, r: 4.2, ...line, 'stroke-dasharray': '2.2 1.6' }]],
  off: [['path', { d: 'M2 6h8', ...line, 'stroke-width': 2 }]],
  wait: [['path', { d: 'M6 1.6A4.4 4.4 0 1 1 1.6 6', ...line }]],
};
export const shape = (k) => { const s = svg('0 0 12 12', ...shapes[k]); if (k === 'wait') s.classList.add('spin'); return s; };
export const st = (k, word) => h('span', { class: 'st ' + k }, shape(k), h('span', {}, word));
export const chev = () => svg('0 0 9 9', ['path', { d: 'M2.5 1 6.5 4.5 2.5 8', ...line }]);

const nf = new Intl.NumberFormat('en-GB');
export const int = (n) => nf.format(Math.round(n));
export const q = (v, u) => [v, u && h('span', { class: 'u' }, u)];
export const cnt = (n) => (n ? int(n) : h('span', { class: 'zero' }, '0'));
export function age(s) {
  if (s == null || s < 0) return h('span', { class: 'dim' }, 'never');
  if (s < .1) return q('< 0.1', 's');
  if (s < 100) return q(s.toFixed(s < 10 ? 1 : 0), 's');
  if (s < 6000) return q(Math.round(s / 60), 'min');
  return [q(Math.floor(s / 3600), 'h'), ' ', q(Math.round(s % 3600 / 60), 'min')];
}
export const num = (s) => s.toLocaleString('en-GB');

export function fig(label, value, unit, sub, word) {
  return h('div', { class: 'fig' }, h('dt', {}, label), h('dd', { class: 'v' + (word ? ' w' : '') }, value, unit && h('span', { class: 'u' }, unit)), h('dd', { class: 's' }, sub || '\u00a0'));
}
export const figs = (...f) => h('dl', { class: 'figs' }, f);

// cols: [title, class, title attribute]. A cell is text, a node, or an array of them.
export function table(cols, rows, caption) {
  return h('div', { class: 'tw', tabindex: 0, role: 'region', 'aria-label': caption }, h('table', {},
    h('thead', {}, h('tr', {}, cols.map((c) => h('th', { class: c[1], scope: 'col', title: c[2] }, c[0])))),
    h('tbody', {}, rows.map((r) => r instanceof Node ? r : tr(cols, r)))));
}
export const tr = (cols, r, cls) => h('tr', { class: cls || r.cls }, r.map((c, i) => h('td', { class: cols[i] && cols[i][1] }, c)));

export const sec = (title, note, ...kids) => h('section', {}, h('div', { class: 'sh' }, h('h2', {}, title), note && h('p', {}, note)), kids);
export const head = (title, ...right) => h('div', { class: 'ph' }, h('h1', {}, title), h('span', { class: 'grow' }), right);
export const lede = (...k) => h('p', { class: 'lede' }, k);
export const kv = (pairs) => h('dl', { class: 'kv' }, pairs.map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]));
export const bar = (f, quiet) => h('span', { class: 'bar' + (quiet ? ' q' : ''), 'aria-hidden': 'true' }, h('i', { css: { width: (100 * f).toFixed(2) + '%' } }));
export const msg = (kind, text, ...btn) => h('div', { class: 'msg ' + kind, role: kind === 'err' ? 'alert' : null }, kind !== 'info' && st(kind, kind === 'err' ? 'Error' : 'Note'), h('p', {}, text), btn);
export const b = (t, props) => h('button', { type: 'button', ...props }, t);
export function seg(name, items, cur, on) {
  const g = h('div', { class: 'seg', role: 'group', 'aria-label': name }, items.map((t) => b(t, { 'aria-pressed': String(t === cur), onclick: (e) => {
    for (const x of g.children) x.setAttribute('aria-pressed', String(x === e.currentTarget));
    on && on(t);
  } })));
  return g;
}
export function empty(kind, word, text, ...btn) {
  return h('div', { class: 'empty' }, st(kind, h('b', {}, word)), h('p', {}, text), btn.length > 0 && h('div', { class: 'tools' }, btn));
}
export function skeleton(cols, n) {
  const w = [72, 120, 40, 96, 56, 64, 48, 80];
  return table(cols, Array.from({ length: n }, (_, i) => cols.map((c, j) => h('span', { class: 'sk', css: { width: w[(i + j * 3) % 8] + 'px' } }))), 'loading');
}
// Trail keeps the last values of one thing, for a small line beside it.
export class Trail {
  constructor(most = 60) { this.most = most; this.list = []; }
  add(v) {
    this.list.push(typeof v === 'number' && Number.isFinite(v) ? v : null);
    if (this.list.length > this.most) this.list.shift();
  }
  draw() { return this.list.filter((x) => x != null).length > 1 ? spark(this.list) : ''; }
}
// spark is a line of values; null is a gap in it.
export function spark(v) {
  const known = v.filter((x) => x != null), lo = Math.min(...known), hi = Math.max(...known), k = hi > lo ? 14 / (hi - lo) : 0;
  const s = svg('0 0 96 18', ['path', { d: v.map((y, i) => (y == null ? '' : `${i && v[i - 1] != null ? 'L' : 'M'}${(i * 96 / (v.length - 1)).toFixed(1)} ${(16 - (y - lo) * k).toFixed(1)}`)).join(''), fill: 'none', stroke: 'currentColor', 'stroke-width': 1.2 }]);
  s.classList.add('spark');
  return s;
}

// Charts: uPlot with our tokens. series: {name, unit, kind: 'main'|'second', dash}. shade: [{from, to, text}].
const live = new Set();
const tok = (n) => getComputedStyle(document.documentElement).getPropertyValue(n).trim();
// set(data, shade) of what it returns shows other data in the same chart.
export function chart({ data = [[]], series, height = 180, shade = [], fmt = (v) => v, unit = '', label, zero = true, max }) {
  const keys = series.map((s) => {
    const k = svg('0 0 18 8', ['path', { d: 'M0 4H18', stroke: 'currentColor', 'stroke-width': 2, ...(s.dash ? { 'stroke-dasharray': '4 3' } : {}) }]);
    k.style.color = `var(${s.color})`;
    const v = h('b', {});
    s.out = v;
    return h('span', {}, k, s.name, ' ', v);
  });
  const when = h('span', { class: 'dim' });
  const box = h('div', {});
  const figures = h('div', {});
  const list = () => {
    if (!details.open) return;
    const rows = data[0].map((_, i) => i).filter((i) => i % Math.ceil(data[0].length / 12) === 0);
    figures.replaceChildren(table([['Time'], ...series.map((s) => [s.name, 'n'])],
      rows.map((i) => [hm(data[0][i]), ...series.map((_, j) => (data[j + 1][i] == null ? st('stale', 'no value') : q(fmt(data[j + 1][i]), unit)))]), label));
  };
  const details = h('details', { ontoggle: () => list() }, h('summary', {}, 'Same figures as a table'), figures);
  const root = h('figure', { class: 'chart', 'aria-label': label }, h('div', { class: 'keys' }, keys, when), box, details);
  let u;
  const draw = () => {
    const w = box.clientWidth;
    if (!w) return;
    if (!data[0].length) {
      box.replaceChildren(h('p', { class: 'note' }, 'The first figures come within ten seconds.'));
      return;
    }
    if (!u) box.replaceChildren();
    if (u) u.destroy();
    const axis = { stroke: tok('--fg2'), font: '11px ' + tok('--sans'), ticks: { show: false } };
    const span = data[0].at(-1) - data[0][0];
    u = new uPlot({
      width: w, height, legend: { show: false }, padding: [6, 8, 0, 0],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      scales: { y: { range: (_, lo, hi) => (zero ? [0, max || (hi > 0 ? hi * 1.12 : 1)] : around(lo ?? 0, hi ?? 0)) } },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 24, values: (_, t) => t.map((x) => hm(x)), incrs: span > 7200 ? [3600, 7200, 10800, 14400, 21600] : [60, 300, 600, 900, 1800] },
        { ...axis, grid: { stroke: tok('--line'), width: 1 }, size: 56, gap: 8, space: 36, values: (_, t) => t.map((x) => (x ? fmt(x) + (unit ? ' ' + unit : '') : '0')) },
      ],
      series: [{}, ...series.map((s) => ({ stroke: tok(s.color), width: s.w || 1.5, dash: s.dash ? [5, 4] : undefined, fill: s.fill ? tok(s.fill) : undefined, points: { show: false }, spanGaps: false }))],
      hooks: {
        drawClear: [(p) => {
          const c = p.ctx, { left, top, width, height: hh } = p.bbox;
          for (const s of shade) {
            const x0 = Math.max(left, p.valToPos(s.from, 'x', true)), x1 = Math.min(left + width, p.valToPos(s.to, 'x', true)), r = devicePixelRatio;
            c.save(); c.beginPath(); c.rect(x0, top, x1 - x0, hh); c.clip();
            c.fillStyle = tok('--shade'); c.fillRect(x0, top, x1 - x0, hh);
            c.strokeStyle = tok('--hatch'); c.lineWidth = r; c.beginPath();
            for (let x = x0 - hh; x < x1; x += 6 * r) { c.moveTo(x, top + hh); c.lineTo(x + hh, top); }
            c.stroke(); c.restore();
            c.strokeStyle = tok('--line2'); c.lineWidth = r; c.beginPath(); c.moveTo(x0, top); c.lineTo(x0, top + hh); c.moveTo(x1, top); c.lineTo(x1, top + hh); c.stroke();
          }
        }],
        draw: [(p) => {
          const c = p.ctx, r = devicePixelRatio;
          for (const s of shade) {
            if (!s.text) continue;
            c.font = `500 ${11 * r}px ${tok('--sans')}`; c.fillStyle = tok('--fg'); c.textBaseline = 'top';
            const x0 = p.valToPos(s.from, 'x', true), x1 = p.valToPos(s.to, 'x', true), tw = c.measureText(s.text).width;
            const inside = x1 - x0 > tw + 12 * r;
            if (!inside && x0 - tw < p.bbox.left + 8 * r) continue; // there is no room for the words
            c.textAlign = inside ? 'center' : 'right';
            c.fillText(s.text, inside ? (x0 + x1) / 2 : x0 - 6 * r, p.bbox.top + 4 * r);
          }
        }],
        setCursor: [(p) => {
          const i = p.cursor.idx, last = data[0].length - 1, k = i == null ? last : i;
          series.forEach((s, j) => { const v = data[j + 1][k]; s.out.textContent = v == null ? 'no value' : fmt(v) + (unit ? ' ' + unit : ''); });
          when.textContent = i == null ? 'now' : hm(data[0][k], true);
        }],
      },
    }, data, box);
    u.setCursor({ left: -10, top: -10 });
    tell();
  };
  const tell = () => {
    series.forEach((s, j) => { const v = (data[j + 1] || []).at(-1); s.out.textContent = v == null ? 'no value' : fmt(v) + (unit ? ' ' + unit : ''); });
    when.textContent = 'now';
  };
  let w0 = 0;
  const ro = new ResizeObserver(() => { if (box.clientWidth !== w0) { w0 = box.clientWidth; draw(); } });
  ro.observe(box);
  live.add({ root, draw, end: () => { ro.disconnect(); u && u.destroy(); } });
  root.set = (d, sh) => {
    const first = !u || !data[0].length;
    data = d;
    shade.splice(0, shade.length, ...(sh || []));
    if (first) draw(); else { u.setData(data); tell(); }
    list();
  };
  return root;
}
const around = (lo, hi) => { const room = (hi - lo) * 0.1 || Math.abs(hi) * 0.01 || 1; return [lo - room, hi + room]; };
export function endCharts() { for (const c of live) c.end(); live.clear(); }
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { for (const c of live) c.draw(); });
export function hm(t, s) {
  const d = new Date(t * 1000), p = (n) => String(n).padStart(2, '0');
  return p(d.getHours()) + ':' + p(d.getMinutes()) + (s ? ':' + p(d.getSeconds()) : '');
}

// span is a time in words: 40 s, 5 min 41 s, 2 h 32 min, 3 d 4 h.
export function span(s) {
  if (s == null || s < 0) return 'unknown';
  const n = Math.round(s), two = (a, u, b, v) => (b ? `${a} ${u} ${b} ${v}` : `${a} ${u}`);
  if (n < 60) return n + ' s';
  if (n < 3600) return two(Math.floor(n / 60), 'min', n % 60, 's');
  if (n < 86400) return two(Math.floor(n / 3600), 'h', Math.floor(n % 3600 / 60), 'min');
  return two(Math.floor(n / 86400), 'd', Math.floor(n % 86400 / 3600), 'h');
}
// bytes is a size with its unit: 34.9 MB.
export function bytes(n) {
  if (n < 1000) return q(String(n), 'B');
  for (const u of ['kB', 'MB', 'GB', 'TB']) { n /= 1000; if (n < 999.5) return q(n < 9.95 ? n.toFixed(1) : n.toFixed(0), u); }
  return q('very many', '');
}
export const clock = (t) => (t ? hm(Date.parse(t) / 1000, true) : '');
export const day = (t) => (t ? new Date(t).toLocaleString('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit' }) : '');
export const pace = (r) => (r < 9.95 && r > 0 ? r.toFixed(1) : int(r));
export const rate = (r) => q(pace(r), '/s');
