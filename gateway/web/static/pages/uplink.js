import { h, st, sec, head, lede, table, fig, figs, bytes, int, rate, kv, day, clock, span, chart, empty } from '../ui.js';
import { courses } from './parts.js';
import { get } from '../api.js';

export default function (ctx) {
  const top = h('div', {}), facts = h('div', {}), past = h('div', {});
  const flow = chart({ unit: '/s', label: 'Records acknowledged per second, last hour', fmt: (v) => int(v), height: 160, series: [{ name: 'Acknowledged', color: '--acc' }] });
  ctx.every(10000, async () => {
    const c = await courses(['acked']);
    flow.set(c.data, c.shade);
    const { disconnects } = await get('uplink');
    past.replaceChildren(disconnects.length === 0 ? h('p', { class: 'note' }, 'No connection has ended and no attempt has failed since the start.') : table([['When'], ['Reason'], ['What happened', 'fill wr']],
      disconnects.slice().reverse().map((d) => [day(d.time), (d.reason || '').replaceAll('_', ' '), d.error]), 'Last disconnects'));
  });
  return {
    view: [head('Uplink'), top, h('div', { class: 'cols' }, h('div', {}, sec('Last hour', 'Records acknowledged per second', flow), sec('Disconnects', 'The last 20', past)), sec('Connection', null, facts))],
    snapshot(s) {
      const u = s.uplink;
      top.replaceChildren(
        h('div', { class: 'state' }, u.denied ? st('err', 'The broker does not let the gateway publish') : u.connected ? st('ok', 'Connected for ' + span((Date.parse(s.taken) - Date.parse(u.since)) / 1000)) : st('err', 'Not connected for ' + span((Date.parse(s.taken) - Date.parse(u.since)) / 1000))),
        u.error || u.last_error ? lede(u.connected ? 'The last trouble was: ' : '', u.last_error) : '',
        figs(
          fig('Acknowledged', rate(u.rate)[0], '/s', int(u.messages_acked) + ' messages'),
          fig('In flight', int(u.in_flight), '', 'of ' + int(u.window) + ' messages'),
          fig('Sent', bytes(u.bytes_up)[0], bytes(u.bytes_up)[1].textContent, 'since the start'),
          fig('Backlog', int(u.backlog), '', u.backlog ? (u.done_in_s >= 0 ? 'done in about ' + span(u.done_in_s) : 'records of an outage') : 'nothing waits'),
        ));
      facts.replaceChildren(kv([['Server', u.server || '–'], ['Protocol', 'MQTT ' + u.protocol], ['Since', u.since ? clock(u.since) : '–'], ['Connections', int(u.connects)], ['Failures', int(u.failures)],
        ['Messages given up', int(u.messages_refused)], ['Received', bytes(u.bytes_down)]]));
    },
  };
}
