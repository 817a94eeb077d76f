import { h, put, st, b, sec, head, lede, table, fig, figs, bar, int, q, cnt, seg, chart, empty, span } from '../ui.js';
import { courses } from './parts.js';
import { get } from '../api.js';

export const crcOK = (hex) => {
  const a = (hex.match(/../g) || []).map((x) => parseInt(x, 16));
  let c = 0xFFFF;
  for (const x of a.slice(0, -2)) { c ^= x; for (let i = 0; i < 8; i++) c = c & 1 ? (c >> 1) ^ 0xA001 : c >> 1; }
  return a.length > 3 && a.at(-2) === (c & 255) && a.at(-1) === c >> 8;
};
const hex = (s, wide) => {
  const a = s.match(/../g) || [], bad = !crcOK(s);
  return h('span', { class: wide ? 'hex' : 'nw' }, a.map((x, i) => h('span', { class: 'by' + (i >= a.length - 2 ? ' g' + (bad ? ' bad' : '') : '') }, x)));
};
const dash = () => h('span', { class: 'dim' }, '–');
const time = (t) => { const d = new Date(t), p = (n, w) => String(n).padStart(w, '0'); return `${p(d.getHours(), 2)}:${p(d.getMinutes(), 2)}:${p(d.getSeconds(), 2)}.${p(d.getMilliseconds(), 3)}`; };

export default function (ctx) {
  const all = ctx.snapshot.sources.filter((s) => s.kind === 'modbus').map((s) => s.name);
  if (!all.length) return { view: [head('Modbus'), empty('off', 'No Modbus line is configured', 'Lines are listed under modbus: in the configuration. Commissioning finds out who is on a line.')] };
  const line = all.includes(ctx.query.get('source')) ? ctx.query.get('source') : all[0];
  const top = h('div', {}), units = h('div', {}), plan = h('div', {}), wire = h('div', {});
  let exchanges = [], faults = false, paused = false;
  const busy = chart({ unit: '%', max: 100, fmt: (v) => v.toFixed(0), label: 'Share of time in which the line was in use, last hour', height: 110, series: [{ name: 'Line busy', color: '--acc' }] });
  ctx.every(10000, async () => { const c = await courses(['busy:' + line]); busy.set([c.data[0], c.data[1].map((v) => (v == null ? null : v * 100))]); });
  get(`modbus/${encodeURIComponent(line)}/plan`).then((p) => {
    const total = p.requests.reduce((n, r) => n + 1 / r.every_s, 0);
    plan.replaceChildren(
      ...p.warnings.map((w) => h('p', { class: 'note' }, st('warn', w))),
      table([['Device'], ['Unit', 'n'], ['Asks for'], ['Every', 'n'], ['Bytes', 'n p3'], ...(p.serial ? [['On the wire', 'n'], ['Line', 'n']] : []), ['Values', 'fill p3 wr']], [
        ...p.requests.map((r) => [r.device, r.unit, `${r.register} ${r.address} × ${r.count}`, span(r.every_s), r.bytes,
          ...(p.serial ? [q(r.wire_ms.toFixed(1), 'ms'), q((r.wire_ms / r.every_s / 10).toFixed(1), '%')] : []), r.values.join(', ')]),
        Object.assign(['Together', '', q(total.toFixed(1), 'requests/s'), '', '', ...(p.serial ? ['', q((p.load * 100).toFixed(1), '%')] : []), ''], { cls: 'sum' }),
      ], 'Poll plan'));
  }).catch((e) => plan.replaceChildren(empty('err', 'The plan could not be read', e.message)));
  function show() {
    if (paused) return;
    const list = exchanges.filter((e) => !faults || e.error).slice().reverse();
    put(wire, list.length === 0 ? empty('off', faults ? 'No fault among the last 50' : 'Nothing was asked yet', '') : table(
      [['Time'], ['Unit', 'n'], ['Result'], ['Took', 'n'], ['Request', 'data p3'], ['Reply', 'data fill wr']],
      list.map((e) => [h('span', { class: 'muted' }, time(e.at)), e.unit, e.error ? st(/exception/.test(e.error) ? 'warn' : 'err', e.error) : st('ok', 'ok'), q(e.took_ms.toFixed(e.took_ms < 10 ? 1 : 0), 'ms'), hex(e.request), e.reply ? hex(e.reply, true) : dash()]), 'Last exchanges'));
  }
  // why says what came of the last question to a unit, or what was counted of it.
  const why = (u) => exchanges.findLast((e) => e.unit === u.unit && e.error)?.error || (u.crc_errors > u.timeouts ? 'checksums are wrong' : 'no reply in time');
  const pause = b('Pause', { onclick: () => { paused = !paused; pause.textContent = paused ? 'Go on' : 'Pause'; show(); } });
  return {
    view: [head('Modbus', all.length > 1 && seg('Line', all, line, (t) => ctx.go('modbus?source=' + encodeURIComponent(t)))), top, sec('Units', 'Since the start', units), sec('Line', 'Last hour', busy), sec('Plan', 'As the line is polled', plan),
      sec('Last exchanges', 'Newest first, at most 50', h('div', { class: 'tools' }, seg('Show', ['All', 'Faults only'], 'All', (t) => { faults = t !== 'All'; show(); }), pause), wire)],
    topics: { ['exchanges:' + line]: (d) => { exchanges = d.exchanges; show(); } },
    snapshot(s) {
      const x = s.sources.find((y) => y.name === line), m = x && x.modbus;
      if (!m) return;
      const silent = m.units.filter((u) => u.offline);
      const up = m.units.filter((u) => !u.offline).length, now = Date.parse(s.taken);
      const asked = m.units.reduce((n, u) => n + u.requests, 0), got = m.units.reduce((n, u) => n + u.answered, 0);
      const p50 = m.units.filter((u) => u.rtt_p50_ms >= 0).map((u) => u.rtt_p50_ms);
      put(top, 
        lede(x.where, '. ', m.paused ? [h('b', {}, 'Polls are paused'), ': somebody looks for the settings of the line.'] : silent.length ? [h('b', {}, silent.map((u) => u.name).slice(0, 3).join(', ') + (silent.length === 1 ? ' does' : ' do') + ' not answer'), ': ' + why(silent[0]) + '.'] : 'Polls wait for the line, never for the uplink.'),
        figs(
          fig('Line', m.paused ? st('wait', 'Not polled') : st(m.port_lost ? 'err' : up === m.units.length && !m.refused_registers ? 'ok' : up ? 'warn' : 'err', m.port_lost ? 'Port lost' : `${up} of ${m.units.length} units answer`), '', m.units.filter((u) => u.offline).map((u) => u.name).join(', ') + (up < m.units.length ? ' offline' : m.refused_registers ? m.refused_registers + ' registers are not read' : ' '), true),
          fig('Line busy', m.busy < 0 ? '–' : (m.busy * 100).toFixed(1), m.busy < 0 ? '' : '%', m.busy < 0 ? '' : [bar(m.busy)]),
          fig('Requests', int(m.requests), '', int(m.overruns) + ' polls left out'),
          fig('Answered', asked ? (100 * got / asked).toFixed(1) : '–', asked ? '%' : '', 'since the start'),
          fig('Late replies', int(m.late_replies), '', int(m.stray_bytes) + ' stray bytes'),
          fig('Reply time', p50.length ? Math.max(...p50).toFixed(0) : '–', p50.length ? 'ms' : '', 'median of the slowest unit'),
        ));
      put(units, m.units.length === 0 ? h('p', { class: 'note' }, 'The line has no device.') : table(
        [['Unit'], ['Id', 'n'], ['State'], ['Answered', 'n p3'], ['Timeouts', 'n'], ['CRC', 'n'], ['Exceptions', 'n'], ['Median', 'n p3'], ['95 %', 'n p3'], ['Asked again', 'n']],
        m.units.map((u) => [h('b', {}, u.name), u.unit, u.offline ? st('err', 'offline for ' + span((now - Date.parse(u.since)) / 1000)) : u.answered ? st(u.exceptions ? 'warn' : 'ok', u.exceptions ? 'answers, with exceptions' : 'answers') : st('wait', 'not asked yet'),
          int(u.answered), cnt(u.timeouts), cnt(u.crc_errors), u.exceptions ? Object.entries(u.exceptions).map(([c, n]) => `${String(c).padStart(2, '0')} × ${int(n)}`).join(', ') : cnt(0),
          u.rtt_p50_ms >= 0 ? q(u.rtt_p50_ms.toFixed(0), 'ms') : dash(), u.rtt_p95_ms >= 0 ? q(u.rtt_p95_ms.toFixed(0), 'ms') : dash(), u.offline && u.next_probe ? ['in ', span(Math.max(0, (Date.parse(u.next_probe) - now) / 1000))] : dash()]), 'Units of ' + line));
    },
  };
}
