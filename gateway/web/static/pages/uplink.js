import { h, put, st, b, sec, head, lede, table, fig, figs, bytes, int, rate, q, kv, day, clock, span, chart, pace } from '../ui.js';
import { courses, mute } from './parts.js';
import { get } from '../api.js';

// ends says when a certificate ends, and how it looks.
const ms = (v) => (v < 10 ? v.toFixed(1) : int(v));
const soon = 21 * 86400;
const ends = (c) => (c.left_s < 0 ? st('err', 'ended ' + span(-c.left_s) + ' ago') : st(c.left_s < soon ? 'warn' : 'ok', Math.floor(c.left_s / 86400) + ' days left'));
const certificate = (title, c) => [h('h3', {}, title), c ? kv([['Ends', [ends(c), ', ' + day(c.to)]], ['Subject', h('span', { class: 'wrap' }, c.subject || '–')], ['Issuer', h('span', { class: 'wrap' }, c.issuer || '–')],
  ['Valid for', h('span', { class: 'wrap' }, c.names.join(', ') || '–')], ['Since', day(c.from)], ['SHA-256', h('span', { class: 'mono wrap' }, c.sha256.replace(/(..)(?=.)/g, '$1 '))]]) : h('p', { class: 'note' }, 'None is shown.')];
const pretty = (m) => { try { return JSON.stringify(JSON.parse(m.payload), null, 1); } catch { return m.payload + (m.bytes > m.payload.length ? ' …' : ''); } };

export default function (ctx) {
  const top = h('div', {}), facts = h('div', {}), past = h('div', {}), tls = h('div', {}), said = h('div', {});
  const open = new Set(); // messages that are unfolded
  const flow = chart({ unit: '/s', label: 'Records acknowledged per second, last hour', fmt: pace, height: 160, series: [{ name: 'Acknowledged', color: '--acc' }] });
  const message = (kind, m) => {
    const key = kind + m.topic;
    return [b(open.has(key) ? 'Hide' : 'Show', { class: 'sm', 'aria-expanded': String(open.has(key)), 'aria-label': (open.has(key) ? 'Hide ' : 'Show ') + kind + ' ' + m.topic, onclick: () => { if (!open.delete(key)) open.add(key); announced(); } }), kind, h('span', { class: 'mono wrap' }, m.topic), bytes(m.bytes), day(m.sent)];
  };
  let last = { birth: [] };
  function announced() {
    const cols = [['Text'], ['What', 'p3'], ['Topic', 'fill wr'], ['Size', 'n'], ['Sent', 'p3']];
    const all = [...last.birth.map((m) => ['birth', m]), ...(last.will ? [['will', last.will]] : [])];
    put(said, all.length === 0 ? h('p', { class: 'note' }, 'Nothing was sent yet.') : [table(cols, all.map(([k, m]) => message(k, m)), 'Birth and will'),
      all.filter(([k, m]) => open.has(k + m.topic)).map(([k, m]) => [h('h3', {}, `${k}: ${m.topic}`), h('pre', { class: 'said', tabindex: 0, role: 'region', 'aria-label': k + ' ' + m.topic }, pretty(m))])]);
  }
  ctx.every(10000, async () => {
    const c = await courses(['acked']);
    flow.set(c.data, c.shade);
  });
  ctx.every(5000, async () => {
    last = await get('uplink');
    announced();
    put(past, last.disconnects.length === 0 ? h('p', { class: 'note' }, 'No connection has ended and no attempt has failed since the start.') : table([['When'], ['Reason'], ['What happened', 'fill wr']],
      last.disconnects.toReversed().map((d) => [day(d.time), (d.reason || '').replaceAll('_', ' '), d.error]), 'Last disconnects'));
  });
  return {
    view: [head('Uplink'), top, h('div', { class: 'cols' }, h('div', {}, sec('Last hour', 'Records acknowledged per second', flow), sec('Disconnects', 'The last 20', past), sec('Birth and will', 'Retained, as they were sent', said)),
      h('div', {}, sec('Connection', null, facts), sec('Certificates', null, tls)))],
    snapshot(s) {
      const u = s.uplink;
      put(top,
        h('div', { class: 'state' }, u.denied ? st('err', 'The broker does not let the gateway publish') : mute(u) ? st('err', 'The broker has acknowledged nothing for ' + span(u.unanswered_s)) : u.connected ? st('ok', 'Connected for ' + span((Date.parse(s.taken) - Date.parse(u.since)) / 1000)) : st('err', 'Not connected for ' + span((Date.parse(s.taken) - Date.parse(u.since)) / 1000))),
        u.last_error ? lede(u.connected ? 'The last trouble was: ' : '', u.last_error) : '',
        figs(
          fig('Acknowledged', rate(u.rate)[0], '/s', int(u.messages_acked) + ' messages'),
          fig('In flight', int(u.in_flight), '', 'of ' + int(u.window) + ' messages'),
          fig('Acknowledged in', u.ack_p50_ms < 0 ? '–' : ms(u.ack_p50_ms), u.ack_p50_ms < 0 ? '' : 'ms', u.ack_p50_ms < 0 ? 'nothing yet' : ['median of the last 100, 95 %: ', q(ms(u.ack_p95_ms), 'ms')]),
          fig('Sent', bytes(u.bytes_up)[0], bytes(u.bytes_up)[1].textContent, 'since the start'),
          fig('Backlog', int(u.backlog), '', !u.backlog ? 'nothing waits' : !u.connected ? 'waits for the broker' : u.done_in_s >= 0 ? 'done in about ' + span(u.done_in_s) : 'records of an outage'),
        ));
      put(facts, kv([['Server', h('span', { class: 'wrap' }, u.server || '–')], ['Protocol', 'MQTT ' + u.protocol], ['Since', u.since ? clock(u.since) : '–'], ['Connections', int(u.connects)], ['Failures', int(u.failures)],
        ['Messages given up', int(u.messages_refused)], ['Received', bytes(u.bytes_down)]]));
      put(tls, u.peer ? [certificate('The broker’s', u.peer), certificate('Our own', u.own)]
        : [h('p', { class: 'note' }, /^(mqtts|wss|tls|ssl)/.test(u.server || '') ? 'The broker has not shown its certificate yet.' : 'The connection has no TLS: whoever is on the way can read it.'), u.own ? certificate('Our own', u.own) : '']);
    },
  };
}
