import { h, put, st, b, head, lede, msg, sec, empty, span, clock, age } from '../ui.js';
import { post, Rows } from '../api.js';
import { text, stale } from './sources.js';

// kind is the shape that stands for what became of a command.
const kind = { done: 'ok', failed: 'err', rejected: 'warn', unknown: 'crit' };
const words = (r) => [st(kind[r.state] || 'wait', `${r.state}: ${r.code.replaceAll('_', ' ')}`), ` after ${r.took_ms} ms.`,
  r.written !== undefined ? ` ${JSON.stringify(r.written)} was written.` : '', r.read !== undefined ? ` It is ${JSON.stringify(r.read)} now.` : '', r.message ? ' ' + r.message[0].toUpperCase() + r.message.slice(1) + '.' : ''];

export default function (ctx) {
  const c = ctx.snapshot.commands;
  if (!c) return { view: [head('Commands'), empty('off', 'Nothing can be written', 'The configuration has no commands, or does not enable them. Without them the gateway has no way to write to a bus.')] };
  const may = ctx.may('operate');
  const top = h('div', {}), tools = h('div', { class: 'tools' });
  const cards = new Map(c.points.map((p) => [p.name, card(p)]));

  // card is one point: its limits, its state, and the way to write it.
  function card(p) {
    const state = h('div', {}), out = h('div', { role: 'status' }), ask = h('div', {});
    const unit = p.unit ? ' ' + p.unit : '';
    const input = h('input', { class: 'm', inputmode: p.min ? 'decimal' : 'text', size: 10, autocomplete: 'off', 'aria-label': 'New value of ' + p.name });
    const read = p.readable && b('Read', { onclick: async () => {
      put(out, st('wait', 'reading'));
      try { const r = await post('commands', { read: p.name }); put(out, st(kind[r.state], r.state), r.state === 'done' ? ` It is ${JSON.stringify(r.value)}${unit} now.` : ` ${r.message}`); } catch (e) { put(out, msg('err', e.message)); }
    } });
    // Two steps: what will happen is said before it does.
    const confirm = (value) => put(ask, msg('warn', `Write ${value}${unit} to ${p.name} (${p.what} on ${p.source})?`,
      b('Write it', { class: 'bad', onclick: () => write(value) }), b('Cancel', { onclick: () => put(ask) })));
    async function write(value) {
      put(ask); put(out, st('wait', 'writing ' + value));
      let v;
      try { v = JSON.parse(value); } catch { v = value; }
      // A number goes as it was typed: not rounded by the browser.
      const body = typeof v === 'number' ? `{"point":${JSON.stringify(p.name)},"value":${value}}` : JSON.stringify({ point: p.name, value: v });
      try { put(out, ...words(await post('commands', body, true))); } catch (e) { put(out, msg('err', e.message)); }
    }
    const form = !may ? h('p', { class: 'note' }, 'Your account may only look.') : p.switch
      ? h('div', { class: 'form' }, b('On', { onclick: () => confirm('true') }), b('Off', { onclick: () => confirm('false') }), read)
      : h('form', { class: 'form', onsubmit: (e) => { e.preventDefault(); if (input.value.trim()) confirm(input.value.trim()); } },
        h('label', {}, 'New value' + (p.unit ? ', ' + p.unit : ''), input), h('button', { class: 'pri' }, 'Write'), read);
    const range = p.switch ? 'on or off' : p.min ? `${p.min} to ${p.max}${unit}${p.step ? ', in steps of ' + p.step : ''}${p.rounding ? ', rounded to what the register holds' : ''}` : 'no number';
    return { box: sec(p.name, [p.what, ' on ', p.source, ': ', range, p.only_if ? ', only if ' + p.only_if : '', p.allow ? '; may: ' + p.allow.join(', ') : ''], state, form, ask, out), state };
  }
  const last = (p) => (!p.last_state ? 'Nobody has written it since the start.' : [st(kind[p.last_state], `${p.last_state}: ${p.last_code.replaceAll('_', ' ')}`),
    ` ${JSON.stringify(p.last_value)}${p.last_read !== undefined ? ', and read ' + JSON.stringify(p.last_read) : ''}${p.last_at ? ' at ' + clock(p.last_at) : ''}`]);
  const fallback = (p) => p.fallback && h('p', { class: 'note' }, p.fallback_active ? [st('warn', 'fallback'), ` ${p.fallback} is in force, until somebody writes another value.`] : p.fallback_in_s !== undefined
    ? [st('wait', 'armed'), ` Falls back to ${p.fallback} in ${span(p.fallback_in_s)} unless it is written again.`] : `Falls back to ${p.fallback} when nobody renews a value that was written.`);
  // What the line last read of each register, for the points on it.
  const values = new Map(c.points.filter((p) => p.readable).map((p) => [p.source, new Rows(() => show(ctx.snapshot))]));
  const came = new Set();
  const present = (p) => {
    if (values.has(p.source) && !came.has(p.source)) return st('wait', 'not known yet');
    const v = (values.get(p.source)?.list || []).find((x) => x.device + '.' + x.name === p.what), now = Date.parse(ctx.snapshot.taken);
    if (!v) return 'Its present value is not read by the configuration.';
    if (!v.at) return v.error ? st('err', v.error) : st('wait', 'not read yet');
    return [v.error ? [st('err', v.error), ' It was '] : stale(v, now) ? [st('stale', 'old'), ' It was '] : 'It is ', h('b', {}, text(v.value)), p.unit ? ' ' + p.unit : '', ', read ', age(Math.max(0, (now - Date.parse(v.at)) / 1000)), ' ago.'];
  };
  const show = (s) => {
    for (const p of s.commands?.points || []) {
      const x = cards.get(p.name);
      if (x) put(x.state, h('p', { class: 'note' }, present(p)), h('p', { class: 'note' }, last(p)), fallback(p), p.trial && h('p', { class: 'note' }, st('wait', 'on trial'), ' It is new in a configuration that is not confirmed yet.'));
    }
  };
  const pause = async (how) => { try { await post('commands/' + how); } catch (e) { put(top, msg('err', e.message)); } };
  return {
    view: [head('Commands', tools), lede('Each value is checked against the limits of the configuration, written once, read back, and recorded with your name.'), top, [...cards.values()].map((x) => x.box)],
    topics: Object.fromEntries([...values].map(([n, rows]) => ['values:' + n, (d) => { came.add(n); rows.take(d); }])),
    snapshot(s) {
      const now = s.commands;
      if (!now) return;
      put(tools, may && (now.paused ? b('Resume commands', { class: 'pri', onclick: () => pause('resume') }) : b('Pause all commands', { class: 'bad', onclick: () => pause('pause') })));
      put(top, now.paused && msg('warn', `All commands are paused by ${now.paused}, whoever they come from.`), now.fault && msg('err', 'No command is taken, as it cannot be put on disk: ' + now.fault),
        now.suspended && msg('warn', 'Commands from the broker are suspended: another client has taken the connection over.'), now.denied && msg('warn', 'The broker does not let the gateway hear commands: ' + now.denied));
      show(s);
    },
  };
}
