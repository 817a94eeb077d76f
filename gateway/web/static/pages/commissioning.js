import { h, put, st, b, sec, head, lede, msg, table, bar, q, seg, empty } from '../ui.js';
import { get, post, del } from '../api.js';

const orders = ['ABCD', 'CDAB', 'BADC', 'DCBA'];
const types = { int16: 1, uint16: 1, int32: 2, uint32: 2, float32: 2, int64: 4, uint64: 4, float64: 4 };

// value reads words of 16 bits as a type in a byte order.
export function value(words, type, order) {
  let by = words.flatMap((w) => [w >> 8, w & 255]);
  const swapWords = order === 'CDAB' || order === 'DCBA', swapBytes = order === 'BADC' || order === 'DCBA';
  let pairs = []; for (let i = 0; i < by.length; i += 2) pairs.push(by.slice(i, i + 2));
  if (swapWords) pairs.reverse();
  if (swapBytes) pairs = pairs.map((p) => p.reverse());
  by = pairs.flat();
  const d = new DataView(new Uint8Array(by).buffer);
  switch (type) {
    case 'int16': return d.getInt16(0); case 'uint16': return d.getUint16(0); case 'int32': return d.getInt32(0); case 'uint32': return d.getUint32(0);
    case 'float32': return d.getFloat32(0); case 'int64': return d.getBigInt64(0); case 'uint64': return d.getBigUint64(0); default: return d.getFloat64(0);
  }
}
const show = (v) => {
  if (typeof v === 'bigint') return v.toLocaleString('en-GB');
  if (Number.isNaN(v)) return 'not a number';
  if (Number.isInteger(v) && Math.abs(v) < 1e15) return v.toLocaleString('en-GB');
  return Math.abs(v) >= 1e-3 && Math.abs(v) < 1e7 ? v.toLocaleString('en-GB', { maximumFractionDigits: 4 }) : v.toExponential(3);
};
const plausible = (v) => { const n = Math.abs(Number(v)); return n === 0 || (n >= 1e-3 && n <= 1e6); };

export default function (ctx) {
  const lines = ctx.snapshot.sources.filter((s) => s.kind === 'modbus').map((s) => s.name);
  if (!lines.length) return { view: [head('Commissioning'), empty('off', 'No Modbus line is configured', 'Lines are listed under modbus: in the configuration.')] };
  if (!ctx.may('operate')) return { view: [head('Commissioning'), empty('off', 'Your account may only look', 'Scanning and reading by hand need the role operate. An administrator can give it: fieldferry web password NAME --role operate')] };
  let line = lines.includes(ctx.query.get('source')) ? ctx.query.get('source') : lines[0];
  const field = (label, props, kind = 'input') => h('label', {}, label, h(kind, props));
  const from = h('input', { value: '1', size: 4, inputmode: 'numeric' }), to = h('input', { value: '32', size: 4, inputmode: 'numeric' });
  const progress = h('div', {}), found = h('div', {});
  let watching = false;
  async function look() {
    let j;
    try { j = await get(`modbus/${encodeURIComponent(line)}/scan`); } catch { return; }
    if (!j.running && !j.to) return; // none yet
    progress.replaceChildren(j.running ? [msg('info', 'The scan goes between the polls of ' + line + ', which slow down while it runs, since ' + new Date(j.began).toLocaleTimeString('en-GB') + '. They recover by themselves.'),
      h('div', { class: 'prog' }, h('span', { class: 'muted nw' }, st('wait', `Asking unit ${j.unit} of ${j.to}`)), bar((j.unit - j.from + 1) / (j.to - j.from + 1)), b('Abort', { class: 'bad', onclick: () => del(`modbus/${encodeURIComponent(line)}/scan`).then(look) }))].reduce((d, x) => (d.append(x), d), h('div', {}))
      : h('p', { class: 'note' }, st(j.aborted ? 'off' : 'ok', j.aborted ? 'aborted' : 'done'), ` Units ${j.from} to ${j.unit} were asked.`));
    put(found, j.found.length === 0 ? h('p', { class: 'note' }, 'Nobody has answered yet.') : table([['Unit', 'n'], ['Answer'], ['Took', 'n fill']], j.found.map((f) => [f.unit, st(f.answer === 'answers' ? 'ok' : 'warn', f.answer), q(f.took_ms.toFixed(0), 'ms')]), 'Found units'));
    watching = j.running;
  }
  ctx.every(1000, () => watching && look());
  const scan = b('Scan', { class: 'pri', onclick: async () => {
    try { await post(`modbus/${encodeURIComponent(line)}/scan`, { from: Number(from.value), to: Number(to.value) }); watching = true; look(); } catch (e) { progress.replaceChildren(msg('err', e.message)); }
  } });
  // The search for the settings of a line. Its polls pause meanwhile: the page says so before and while.
  const finder = h('div', {}), where = h('input', { value: '1', size: 8, inputmode: 'numeric', placeholder: '1, 2' });
  const url = () => `modbus/${encodeURIComponent(line)}/find`;
  let finding = false;
  async function settings() {
    let j;
    try { j = await get(url()); } catch { return; }
    finding = j.running;
    if (!j.running && !j.of) { finder.replaceChildren(); return; } // none yet
    const mode = (t) => `${t.baud_rate} baud, 8${t.parity}${t.stop_bits}`;
    put(finder, j.running ? [msg('warn', `${line} is not polled while this runs, since ${new Date(j.began).toLocaleTimeString('en-GB')}, by ${j.by}. Polling begins again by itself.`),
      h('div', { class: 'prog' }, h('span', { class: 'muted nw' }, st('wait', j.now ? `Asked unit ${j.now.unit} at ${mode(j.now)}` : 'waiting for the line')), bar(j.asked / j.of), b('Abort', { class: 'bad', onclick: () => del(url()).then(settings) }))]
      : h('p', { class: 'note' }, st(j.error ? 'err' : j.aborted ? 'off' : 'ok', j.error ? j.error : j.aborted ? 'aborted' : 'done'), ` ${j.asked} of ${j.of} questions were asked; the line is polled again.`),
    j.found.length === 0 ? h('p', { class: 'note' }, j.running ? 'Nobody has answered yet.' : 'Nobody has answered in any setting: look at wiring, power and unit id.') : table([['Setting'], ['Unit', 'n'], ['Answer'], ['Took', 'n fill']],
      j.found.map((f) => [h('b', {}, mode(f)), f.unit, st(f.answer === 'answers' ? 'ok' : 'warn', f.answer), q(f.took_ms.toFixed(0), 'ms')]), 'Settings in which a unit answers'));
  }
  ctx.every(1000, () => finding && settings());
  const find = b('Find', { class: 'pri', onclick: async () => {
    try { await post(url(), { units: where.value.split(/[\s,]+/).filter(Boolean).map(Number) }); settings(); } catch (e) { finder.replaceChildren(msg('err', e.message)); }
  } });
  const unit = h('input', { value: '1', size: 4, inputmode: 'numeric' }), address = h('input', { class: 'm', value: '0', size: 6, inputmode: 'numeric' }), count = h('input', { value: '8', size: 4, inputmode: 'numeric' });
  const table_ = h('select', {}, ['holding', 'input', 'coil', 'discrete'].map((t) => h('option', {}, t))), as = h('select', {}, Object.keys(types).map((t) => h('option', { selected: t === 'float32' }, t)));
  const out = h('div', {});
  async function read() {
    out.replaceChildren(h('p', { class: 'note' }, st('wait', 'asking unit ' + unit.value)));
    let r;
    try {
      r = await post(`modbus/${encodeURIComponent(line)}/read`, { unit: Number(unit.value), register: table_.value, address: Number(address.value), count: Number(count.value) });
    } catch (e) { out.replaceChildren(msg('err', e.message)); return; }
    const note = h('p', { class: 'note' }, st('ok', 'answered in ' + r.took_ms.toFixed(0) + ' ms'), `, ${r.words.length} ${table_.value}`);
    const a0 = Number(address.value), n = types[as.value];
    if (['coil', 'discrete'].includes(table_.value)) {
      out.replaceChildren(note, table([['Address', 'n'], ['Value', 'fill']], r.words.map((w, i) => [a0 + i, w ? 'on' : 'off']), 'Bits'));
      return;
    }
    const groups = []; for (let i = 0; i + n <= r.words.length; i += n) groups.push(r.words.slice(i, i + n));
    const fits = n === 1 ? ['ABCD', 'BADC'] : orders;
    const good = fits.filter((o) => groups.length > 0 && groups.every((g) => plausible(value(g, as.value, o))));
    const pick = good.length === 1 ? good[0] : null;
    out.replaceChildren(note, table([['Address', 'n'], ['Registers', 'data'], ...fits.map((o) => [o === pick ? [o, h('span', { class: 'pl' }, 'plausible')] : o, 'n' + (o === pick ? ' pick' : '')]), ['', 'fill']],
      groups.map((g, i) => [a0 + i * n, g.map((w) => w.toString(16).toUpperCase().padStart(4, '0')).join(' '), ...fits.map((o) => h(o === pick ? 'b' : 'span', {}, show(value(g, as.value, o)))), '']), 'Every byte order side by side'),
    h('p', { class: 'note' }, pick ? `Plausible: with ${pick} every value lies between 0.001 and 1,000,000, and with no other order. Compare one with the display of the device.` : 'No single order makes every value plausible. Compare with the display of the device.'));
  }
  look();
  settings();
  return {
    view: [head('Commissioning', lines.length > 1 && seg('Line', lines, line, (t) => { line = t; look(); settings(); })), lede('Each tool works through the daemon, between its own requests. What you read here is not recorded.'),
      sec('Scan', 'Who is on the line', h('div', { class: 'form' }, h('label', {}, 'From unit', from), h('label', {}, 'To unit', to), scan), progress, found),
      sec('Baud rate and parity', 'In which setting does a unit answer', h('p', { class: 'note' }, st('warn', 'Polls of the line pause'), ' while the port is set to 2400 to 115200 baud, no, even and odd parity in turn: 21 questions a unit, two minutes at most. Each only reads one register. Values are missing meanwhile.'),
        h('div', { class: 'form' }, h('label', {}, 'Units', where), find), finder),
      sec('Read', 'One reading, every byte order', h('div', { class: 'form' }, h('label', {}, 'Unit', unit), h('label', {}, 'Table', table_), h('label', {}, 'Address', address), h('label', {}, 'Count', count), h('label', {}, 'As', as), b('Read', { class: 'pri', onclick: read })), out),
      sec('Wiring', 'By what you see', table([['Symptom'], ['Usual cause', 'wr'], ['Try', 'wr fill']], [
        ['No unit answers', 'A and B swapped, or wrong baud rate', 'Swap A and B; compare baud rate and parity with the device'],
        ['Some replies, CRC wrong', 'No termination, no bias, or wrong parity', '120 Ω at both ends; try parity N, E and O'],
        ['Late replies', 'The device needs longer than timeout', 'Raise timeout of the line or the device'],
        ['Only exceptions 02', 'Another address base or table', 'Addresses here count from 0; try input instead of holding'],
      ], 'Wiring hints'))],
  };
}
