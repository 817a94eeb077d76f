import { h, put, st, b, sec, head, table, tr, age, rate, int, empty, Trail, seg, chart } from '../ui.js';
import { sourceState, courses } from './parts.js';
import { Rows, copy, get } from '../api.js';

// text is a value as a person reads it.
export function text(v) {
  if (v == null) return '–';
  if (typeof v === 'object') return v.label ? `${v.value} ${v.label}` : v.flags ? (v.flags.join(', ') || String(v.value)) : String(v.value);
  return typeof v === 'number' ? v.toLocaleString('en-GB', { maximumFractionDigits: 6 }) : String(v);
}
const address = (n) => '0x' + n.toString(16).toUpperCase().padStart(2, '0');
// from says which of several nodes sent a J1939 message, and to whom if not to all.
const from = (v) => {
  if (v.sa == null) return '';
  const id = parseInt(v.id, 16), to = id >> 8 & 255;
  return ' from ' + address(v.sa) + ((id >> 16 & 255) < 0xF0 && to < 255 ? ' to ' + address(to) : '');
};
// number is the value as a number, for a line.
const number = (v) => (v != null && typeof v === 'object' ? v.value : v);

// stale: the value has not come for three of its periods.
export const stale = (v, now) => v.at && (now - Date.parse(v.at)) / 1000 > Math.max(3 * v.every_s, 5);

const cols = [['Name'], ['Value', 'n'], ['Last minute', 'p3'], ['Quality'], ['Age', 'n'], ['Rate', 'n p3'], ['Type', 'p3 fill']];
const most = 200; // rows of a source on the page; the search finds the others
const busiest = 14; // sources that are followed

export default function (ctx) {
  const top = h('div', {}), lines = h('div', {});
  const kept = new Map(); // source -> {rows, show, trails}
  const all = ctx.snapshot.sources.filter((s) => s.kind !== 'gateway').map((s) => s.name).slice(0, busiest);
  const now = () => (ctx.snapshot ? Date.parse(ctx.snapshot.taken) : Date.now());
  const search = h('input', { placeholder: 'Search a value', 'aria-label': 'Search values', oninput: () => kept.forEach((k) => k.show()) });
  const said = h('span', { role: 'status', class: 'muted' });
  const course = follow(ctx);
  const fits = (v) => (v.device + ' ' + v.name + from(v)).toLowerCase().includes(search.value.toLowerCase());
  const json = b('Copy as JSON', { onclick: async () => {
    const list = {};
    for (const [name, k] of kept) list[name] = k.rows.list.filter(fits);
    said.textContent = await copy(JSON.stringify(list, null, 1), 'values.json');
  } });
  const key = (v) => v.device + ' / ' + v.name + from(v);
  function row(v, trail) {
    const old = stale(v, now());
    return tr(cols, [key(v), [h('b', {}, text(v.value)), v.value != null && v.unit && h('span', { class: 'u' }, v.unit)], trail ? trail.draw() : '',
      v.error ? st(v.type ? 'err' : 'stale', v.error) : !v.at ? st('wait', 'not read yet') : old ? st('stale', 'old') : v.out_of_range ? st('warn', 'beyond its limits') : st('ok', 'good'),
      age(v.at ? Math.max(0, (now() - Date.parse(v.at)) / 1000) : -1), v.every_s > 0 ? rate(1 / v.every_s) : '', v.type || 'signal'], old || v.error ? 'old' : '');
  }
  // once a second each value leaves a point of its line
  ctx.every(1000, () => {
    for (const k of kept.values()) {
      for (const v of k.rows.list.slice(0, 10 * most)) {
        let t = k.trails.get(key(v));
        if (!t) { t = new Trail(); k.trails.set(key(v), t); }
        t.add(v.error || stale(v, now()) ? null : number(v.value)); // between two frames the last one holds
      }
      k.show();
    }
  });
  return {
    view: [head('Sources'), top, sec('Values', 'The last value of each register and signal', h('div', { class: 'tools' }, search, json, said), lines), course],
    topics: Object.fromEntries(all.map((n) => ['values:' + n, (d) => take(n, d)])),
    snapshot(s) {
      const buses = s.sources.filter((x) => x.kind !== 'gateway');
      put(top, buses.length === 0 ? empty('off', 'No source is configured', 'Sources are listed under can: and modbus: in the configuration.')
        : table([['Source'], ['Kind'], ['Where', 'p3'], ['State'], ['Rate', 'n'], ['Last read', 'n'], ['Records', 'n p3']],
          buses.map((x) => [h('a', { href: `#/${x.kind === 'can' ? 'can' : 'modbus'}?source=` + encodeURIComponent(x.name) }, x.name), x.kind === 'can' ? 'CAN' : 'Modbus', x.where, sourceState(x), rate(x.rate), age(x.read_age_s), int(x.records)]), 'Sources'));
    },
  };
  function take(source, data) {
    let k = kept.get(source);
    if (!k) {
      const body = h('div', {});
      lines.append(body);
      k = { rows: new Rows(() => {}), trails: new Map(), show: () => {
        const list = k.rows.list.filter(fits), shown = list.slice(0, most);
        put(body, h('h3', { class: 'muted' }, source), list.length === 0 ? h('p', { class: 'note' }, k.rows.list.length ? 'No value fits the search.' : 'Nothing to show: no frame that a DBC file describes has come yet.')
          : h('div', { class: 'vals' }, table(cols, shown.map((v) => row(v, k.trails.get(key(v)))), 'Values of ' + source)),
        list.length > most ? h('p', { class: 'note' }, `${int(most)} of ${int(list.length)} are shown; search for the others.`) : '');
      } };
      kept.set(source, k);
    }
    k.rows.take(data);
    k.show();
  }
}

// follow shows the course of a value that web.metrics.signals names, if there is one.
function follow(ctx) {
  const box = h('div', {});
  let name = '', dayLong = false, line;
  const load = async () => {
    if (!name) return;
    const c = await courses(['value:' + name], dayLong);
    line.set(c.data, c.shade);
  };
  get('history').then((r) => {
    const names = r.figures.filter((f) => f.startsWith('value:')).map((f) => f.slice(6));
    if (!names.length) return;
    name = names[0];
    line = chart({ unit: '', label: 'Course of the value', height: 200, zero: false, fmt: (v) => (v == null ? '–' : Number(v.toPrecision(6)).toLocaleString('en-GB', { maximumFractionDigits: 6 })), series: [{ name: 'Last value of each step', color: '--acc' }] });
    const pick = h('select', { 'aria-label': 'Value', onchange: () => { name = pick.value; load(); } }, names.map((n) => h('option', { value: n }, n.replace(/@(\d+)$/, (_, sa) => ' from ' + address(Number(sa))))));
    put(box, sec('Course', 'The values that web.metrics.signals names', h('div', { class: 'tools tight' }, pick, seg('Span', ['1 h', '24 h'], '1 h', (t) => { dayLong = t !== '1 h'; load(); })), line));
    load();
  }, () => {});
  ctx.every(10000, load);
  return box;
}
