import { h, st, sec, head, table, tr, age, rate, int, empty } from '../ui.js';
import { sourceState } from './parts.js';
import { Rows } from '../api.js';

// text is a value as a person reads it.
export function text(v) {
  if (v == null) return '–';
  if (typeof v === 'object') return v.label ? `${v.value} ${v.label}` : v.flags ? (v.flags.join(', ') || String(v.value)) : String(v.value);
  return typeof v === 'number' ? v.toLocaleString('en-GB', { maximumFractionDigits: 6 }) : String(v);
}

const cols = [['Value'], ['', 'n'], ['Quality'], ['Age', 'n'], ['Type', 'p3 fill']];

export default function (ctx) {
  const top = h('div', {}), lines = h('div', {});
  const search = h('input', { placeholder: 'Search a value', 'aria-label': 'Search values', oninput: () => shown.forEach((f) => f()) });
  const shown = new Map(), kept = new Map();
  const lineNames = ctx.snapshot.sources.filter((s) => s.kind === 'modbus').map((s) => s.name).slice(0, 12);
  const now = () => (ctx.snapshot ? Date.parse(ctx.snapshot.taken) : Date.now());
  function row(v) {
    const old = v.at && (now() - Date.parse(v.at)) / 1000 > Math.max(3 * v.every_s, 5);
    return tr(cols, [v.device + ' / ' + v.name, [h('b', {}, text(v.value)), v.unit && h('span', { class: 'u' }, v.unit)],
      v.error ? st('err', v.error) : !v.at ? st('wait', 'not read yet') : old ? st('stale', 'old') : st('ok', 'good'), age(v.at ? Math.max(0, (now() - Date.parse(v.at)) / 1000) : -1), v.type], old || v.error ? 'old' : '');
  }
  return {
    view: [head('Sources'), top, sec('Values', 'The last value of each register', h('div', { class: 'tools' }, search), lines)],
    topics: Object.fromEntries(lineNames.map((n) => ['values:' + n, (d) => take(n, d)])),
    snapshot(s) {
      const buses = s.sources.filter((x) => x.kind !== 'gateway');
      top.replaceChildren(buses.length === 0 ? empty('off', 'No source is configured', 'Sources are listed under can: and modbus: in the configuration.')
        : table([['Source'], ['Kind'], ['Where', 'p3'], ['State'], ['Rate', 'n'], ['Last record', 'n'], ['Records', 'n p3']],
          buses.map((x) => [h('a', { href: `#/${x.kind === 'can' ? 'can' : 'modbus'}?source=` + encodeURIComponent(x.name) }, x.name), x.kind === 'can' ? 'CAN' : 'Modbus', x.where, sourceState(x), rate(x.rate), age(x.age_s), int(x.records)]), 'Sources'));
      if (!lineNames.length && !lines.firstChild) lines.append(h('p', { class: 'note' }, 'There is no Modbus line. The CAN page shows the signals of each frame.'));
    },
  };
  function take(line, data) {
    let r = kept.get(line);
    if (!r) {
      const body = h('div', {});
      lines.append(body);
      const show = (list) => {
        const word = search.value.toLowerCase();
        body.replaceChildren(h('h3', { class: 'muted' }, line), h('div', { class: 'vals' }, table(cols, list.filter((v) => (v.device + ' ' + v.name).toLowerCase().includes(word)).map(row), 'Values of ' + line)));
      };
      r = new Rows(show);
      kept.set(line, r);
      shown.set(line, () => show(r.list));
    }
    r.take(data);
  }
}
