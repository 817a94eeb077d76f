import { h, put, st, sec, head, lede, table, fig, figs, bar, bytes, int, q, rate, cnt, span, seg, chart, age, day } from '../ui.js';
import { courses } from './parts.js';
import { get } from '../api.js';

export default function (ctx) {
  const top = h('div', {}), lanes = h('div', {}), losses = h('div', {}), ranges = h('div', {}), held = h('div', {});
  let dayLong = false;
  const mb = (v) => (v / 1e6 < 10 ? (v / 1e6).toFixed(1) : int(v / 1e6));
  const fill = chart({ unit: 'MB', label: 'Fill of the buffer', height: 220, fmt: mb, series: [{ name: 'On disk', color: '--acc', fill: '--acc-t' }] });
  const waiting = chart({ unit: '', label: 'Records that wait', height: 140, fmt: (v) => int(v), series: [{ name: 'Records not acknowledged', color: '--acc', fill: '--acc-t' }] });
  const note = h('p', { class: 'note' });
  const load = async () => {
    const c = await courses(['buffer', 'records'], dayLong);
    fill.set([c.data[0], c.data[1]], c.shade.slice());
    waiting.set([c.data[0], c.data[2]], c.shade.slice());
    note.textContent = c.shade.length ? 'Hatched: no uplink. ' + c.shade.length + (c.shade.length === 1 ? ' time.' : ' times.') : 'The uplink was there all the time.';
  };
  ctx.every(10000, load);
  let most = 0;
  ctx.every(5000, async () => {
    const f = await get('buffer'), bytesOf = f.sources.reduce((n, x) => n + x.disk_bytes, 0);
    put(held, f.sources.length === 0 ? h('p', { class: 'note' }, 'Nothing waits.') : table([['Source', 'fill'], ['Records', 'n'], ['On disk', 'n'], ['Share', 'n']],
      f.sources.map((x) => [x.source, int(x.records), bytes(x.disk_bytes), bytesOf ? q((100 * x.disk_bytes / bytesOf).toFixed(0), '%') : '–']), 'What each source holds, about'));
    put(ranges, f.losses.length === 0 ? h('p', { class: 'note' }, 'No record was lost in this session.') : table([['When'], ['Source'], ['Records', 'n'], ['Sequence numbers', 'n'], ['Reason', 'fill']],
      f.losses.toReversed().map((x) => [day(x.time), x.source, int(x.last - x.first + 1), x.first === x.last ? int(x.first) : int(x.first) + '–' + int(x.last), x.reason.replaceAll('_', ' ')]), 'Ranges that were lost'));
  });
  return {
    view: [head('Buffer'), top, sec('Lanes', 'Live data goes first; the backlog takes what the link has left', lanes),
      sec('Fill', null, h('div', { class: 'tools tight' }, seg('Span', ['1 h', '24 h'], '1 h', (t) => { dayLong = t !== '1 h'; load(); })), waiting, fill, note), sec('By source', 'What waits on disk and in memory, about', held), sec('Losses', 'Each is a loss record in the stream', losses, h('h3', {}, 'The newest'), ranges)],
    snapshot(s) {
      const f = s.buffer, u = s.uplink, incoming = s.sources.reduce((n, x) => n + x.rate, 0);
      most = u.backlog ? Math.max(most, u.backlog) : 0;
      put(top, 
        lede(f.full_in_s > 0 && !u.connected ? ['Without the uplink the buffer is full in about ', h('b', {}, span(f.full_in_s)), '.'] : f.lasts_s > 0 ? ['At this rate the buffer lasts about ', h('b', {}, span(f.lasts_s)), ' without the uplink.'] : 'Records wait here until the broker has acknowledged them.',
          f.lost ? [' ', h('b', {}, int(f.lost)), ' records were lost in this session, and are accounted for.'] : ' Nothing was lost in this session.'),
        figs(
          fig('Used', bytes(f.disk_bytes)[0], bytes(f.disk_bytes)[1].textContent, [q(f.percent.toFixed(1), '%'), ' of ', bytes(f.limit_bytes), bar(Math.min(1, f.percent / 100))]),
          fig(u.connected ? 'If the uplink fails now' : 'Full in about', (u.connected ? f.lasts_s : f.full_in_s) > 0 ? span(u.connected ? f.lasts_s : f.full_in_s) : '–', '', u.connected ? 'until full, about' : 'at this rate'),
          fig('Records', int(f.records), '', int(f.unsynced) + ' only in memory'),
          fig('Oldest', f.oldest_age_s < 0 ? '–' : age(f.oldest_age_s), '', f.oldest_age_s < 0 ? 'nothing waits' : 'since it was recorded'),
          fig('Lost', int(f.lost), '', 'in this session'),
          fig('Disk', f.fault ? st('err', 'Takes no records') : st('ok', 'Takes records'), '', f.fault || [bytes(f.disk_written_bytes), ' written', perDay(f, s)], true),
        ));
      const live = Math.max(0, f.records - u.backlog), out = !u.connected;
      put(lanes, table([['Lane'], ['State'], ['Waiting', 'n'], ['Sends', 'n'], ['Done in', 'n']], [
        ['Live', out ? st('off', u.backlog ? 'joins the backlog, no uplink' : 'no uplink') : u.denied ? st('err', 'refused by the broker') : st('ok', 'follows'), q(int(live), 'records'), rate(out ? 0 : Math.min(u.rate, incoming)), '–'],
        ['Backlog', !u.backlog ? st('off', 'none') : out ? st('err', 'waits for the uplink, will be marked late') : st('info', 'of an outage, marked late'), q(int(u.backlog), 'records'), rate(u.backlog && !out ? Math.max(0, u.rate - incoming) : 0), u.done_in_s >= 0 ? span(u.done_in_s) : '–'],
      ], 'Lanes'), !out && u.backlog > 0 && most > 0 ? h('div', { class: 'prog' }, h('span', { class: 'muted' }, 'Backlog sent'), bar(1 - u.backlog / most), h('span', {}, q((100 * (1 - u.backlog / most)).toFixed(0), '%'))) : '');
      put(losses, table([['Reason'], ['Records', 'n'], ['Means', 'fill wr']], Object.entries(f.lost_by).map(([k, n]) => [k, cnt(n), means[k] || '']), 'Losses by reason'));
    },
  };
}
// perDay says how much is written in a day, once there was an hour to tell from.
function perDay(f, s) {
  const up = (Date.parse(s.taken) - Date.parse(s.started)) / 1000;
  return up > 3600 ? [', ', bytes(f.disk_written_bytes * 86400 / up), ' a day'] : '';
}
const means = {
  evicted: 'The buffer was full, or the records were older than max_age.', rx_overflow: 'The kernel dropped frames before they were read.',
  corrupt: 'The disk gave back something else than was stored.', memory: 'The disk took nothing, and the memory was full.',
};
