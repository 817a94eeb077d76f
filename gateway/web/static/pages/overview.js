import { h, put, st, int, q, age, fig, figs, table, sec, head, kv, chart, bytes, span, rate, cnt, clock, day, pace } from '../ui.js';
import { alarm, sourceState, courses, mute, stateOf } from './parts.js';

export default function (ctx) {
  const top = h('div', {}), list = h('div', {}), alarms = h('div', {}), gateway = h('div', {});
  const flow = chart({ unit: '/s', label: 'Records per second over the last hour', fmt: pace, height: 190,
    series: [{ name: 'Acknowledged', color: '--acc', w: 2 }, { name: 'In', color: '--fg2', dash: true }] });
  ctx.every(10000, async () => { const c = await courses(['acked', 'in']); flow.set(c.data, c.shade); });
  return {
    view: [head('Overview'), top, h('div', { class: 'cols' }, h('div', {}, sec('Sources', null, list), sec('Last hour', 'Records per second, in and acknowledged', flow)),
      h('div', {}, sec('Alarms', h('a', { href: '#/alarms' }, 'all'), alarms), sec('Gateway', null, gateway)))],
    snapshot(s) {
      const buses = s.sources.filter((x) => x.kind !== 'gateway');
      const incoming = s.sources.reduce((n, x) => n + x.rate, 0), fine = buses.filter((x) => x.state === 'receives').length;
      put(top, 
        h('div', { class: 'state' }, st(stateOf(s)[0], s.sentence)),
        figs(
          fig('Records in', ...split(rate(incoming)), `${fine} of ${buses.length} sources deliver`),
          fig('Acknowledged', ...split(rate(s.uplink.rate)), s.uplink.in_flight + ' messages in flight'),
          fig('In the buffer', int(s.buffer.records), '', ['records, ', bytes(s.buffer.disk_bytes), ' on disk']),
          fig('If the uplink fails now', s.buffer.lasts_s > 0 ? span(s.buffer.lasts_s) : '–', '', 'until the buffer is full, about'),
          fig('Uplink', mute(s.uplink) ? st('err', 'No acknowledgement') : s.uplink.connected ? st('ok', 'Connected') : st('err', 'Not connected'), '', s.uplink.since ? 'since ' + clock(s.uplink.since) : '', true),
          fig('Clock', s.clock.trusted ? st('ok', 'Trusted') : st('warn', 'Not trusted'), '', s.clock.trusted ? 'synchronised' : (s.clock.why || '').replaceAll('_', ' '), true),
        ));
      put(list, buses.length === 0 ? h('p', { class: 'note' }, 'The configuration has no source.') : table(
        [['Source'], ['State'], ['Last read', 'n'], ['Records', 'n', 'per second'], ['Since start', 'n p3'], ['Lost', 'n']],
        buses.map((x) => Object.assign([h('a', { href: `#/${x.kind === 'can' ? 'can' : 'modbus'}?source=` + encodeURIComponent(x.name) }, x.name), sourceState(x), age(x.read_age_s), rate(x.rate), int(x.records), cnt(x.lost)],
          { cls: ['receives', 'partial'].includes(x.state) ? '' : 'old' })), 'Sources'));
      put(alarms, s.alarms.length === 0 ? h('p', { class: 'note' }, 'No alarm is raised.') : h('ul', { class: 'al' }, s.alarms.slice(0, 8).map((a) => alarm(a, s.taken))));
      put(gateway, kv([
        ['Version', s.version], ['Running', span((Date.parse(s.taken) - Date.parse(s.started)) / 1000)], ['Memory', bytes(s.process.memory_bytes)],
        ['Processor', q(s.process.cpu_percent.toFixed(1), '%')], ['Written to disk', bytes(s.buffer.disk_written_bytes)],
        ['Session', String(s.session)], ['Configuration', s.config.note || (s.config.read ? 'of ' + day(s.config.read) : '')],
      ]));
    },
  };
}
// split takes a quantity apart for a figure.
const split = (x) => [x[0], x[1] && x[1].textContent];
