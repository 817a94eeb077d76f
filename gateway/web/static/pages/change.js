import { h, put, st, shape, b, sec, msg } from '../ui.js';
import { get, post, postText } from '../api.js';

// said is a problem that check finds.
export const said = (p, ...more) => msg(p.warning ? 'warn' : 'err', [p.line > 0 && `Line ${p.line}, column ${p.column}${p.file ? ' (' + p.file + ')' : ''}: `, p.key && h('span', { class: 'mono' }, p.key), ' ', p.what, p.fix ? '; ' + p.fix : ''], ...more);

// pieces are the files of conf.d that a text has.
export const pieces = (text) => [...text.matchAll(/^--- # (conf\.d\/\S+)/gm)].map((m) => m[1]);

const clock = (s) => Math.floor(s / 60) + ':' + String(Math.floor(s % 60)).padStart(2, '0');

// trial shows a configuration that is being tried, with its countdown, and what became of the last one. changed is called at each step.
export function trial(ctx, changed) {
  const box = h('div', { 'aria-live': 'polite' });
  let id = '', state = '', lost = false;
  const act = async (path) => {
    try { await post(path); await look(); } catch (e) { put(box, msg('err', e.message)); }
  };
  function draw(a) {
    if (!a) return put(box);
    const who = a.by.replace(/^web:/, '');
    if (a.state === 'applying') put(box, msg('info', [st('wait', 'The configuration of ' + who + ' is being put in place.')]));
    else if (a.state === 'watching') {
      put(box, h('div', { class: 'msg info count' }, h('div', {}, h('div', { class: 'cd', role: 'timer', 'aria-live': 'off', 'aria-label': a.keep ? 'Time until it goes back' : 'Time until it is confirmed' }, clock(a.left_s || 0)), h('span', { class: 'muted' }, a.keep ? 'until it goes back by itself' : 'until it is confirmed')),
        h('p', {}, h('b', {}, 'The configuration of ' + who + ' runs on trial.'), h('br'), a.keep ? 'Keep it if everything is right. Without an answer the one before comes back: also when this page loses its connection.'
          : 'The one before comes back if the broker takes nothing, a source falls silent, or a new error is raised.', lost && ' The gateway does not answer at the moment.'),
        ctx.may('admin') && h('div', { class: 'tools' }, b('Keep', { class: 'pri', onclick: () => act('config/keep') }), b('Roll back now', { class: 'bad', onclick: () => act('config/rollback') }))));
    } else if (state && state !== a.state) { // it ended while somebody looked
      put(box, a.state === 'confirmed' ? msg('info', [st('ok', 'The configuration of ' + who + ' is confirmed.')]) : msg(a.state === 'rejected' ? 'err' : 'warn', [a.state === 'rejected' ? 'The configuration of ' + who + ' was not taken' : 'The configuration of ' + who + ' was rolled back', a.why ? ': ' + a.why : '', '. The one before runs.']));
    }
  }
  async function look() {
    try {
      const { attempt: a } = await get('config/attempt');
      lost = false;
      if (!a) { id = 'none'; return; }
      if (a.id !== id) { state = id ? 'new' : ''; id = a.id; }
      const before = state;
      draw(a);
      state = a.state;
      if (before && before !== state) changed();
    } catch (e) {
      lost = e.status === 0;
    }
  }
  look();
  ctx.every(1000, () => { if (state === 'applying' || state === 'watching' || lost) look(); });
  ctx.every(10000, look); // somebody else may have begun one
  return { box, look };
}

const times = { '2m': '2 minutes', '10m': '10 minutes', '1h': '1 hour', 0: 'not at all' };

// editor changes the configuration: edit, see what is wrong beside the line or what is different, put it in place.
export function editor(ctx, difference, begun) {
  const box = h('div', {});
  const open = (c) => {
    const now = c.runs || c.text;
    const text = h('textarea', { spellcheck: 'false', autocapitalize: 'off', wrap: 'off', 'aria-label': 'Configuration', oninput: () => number([]) });
    const gutter = h('ol', { 'aria-hidden': 'true' }), marks = h('div', { css: { position: 'absolute', inset: '0', overflow: 'hidden' } }), found = h('div', { 'aria-live': 'polite' });
    const watch = h('select', { 'aria-label': 'Tried for' }, ['2m', '10m', '1h', '0'].map((t) => h('option', { value: t, selected: t === '10m' }, times[t])));
    const keep = h('input', { type: 'checkbox', checked: true });
    text.value = now;
    function number(problems) {
      const n = text.value.split('\n').length, at = new Map(problems.map((p) => [p.line, p]));
      text.rows = n;
      put(gutter, Array.from({ length: n }, (_, i) => h('li', { class: at.has(i + 1) ? 'e' : '' }, at.has(i + 1) && shape(at.get(i + 1).warning ? 'warn' : 'err'), i + 1)));
      put(marks, problems.filter((p) => p.line > 0).flatMap((p) => [h('span', { class: 'band', css: { top: 8 + (p.line - 1) * 20 + 'px' } }), h('span', { class: 'say', css: { top: 8 + (p.line - 1) * 20 + 'px' } }, p.what)]));
      put(found);
    }
    const go = (p) => {
      const from = text.value.split('\n').slice(0, p.line - 1).reduce((n, l) => n + l.length + 1, 0) + p.column - 1;
      text.focus();
      text.setSelectionRange(from, from + (text.value.slice(from).match(/^[^\s,}\]]*/)[0].length));
    };
    const show = (problems) => {
      number(problems);
      put(found, problems.map((p) => said(p, p.line > 0 && b('Go to line ' + p.line, { onclick: () => go(p) }))));
    };
    async function review() {
      try {
        const r = await postText('config/check', text.value), wrong = r.problems.filter((p) => !p.warning);
        show(r.problems);
        if (wrong.length) return;
        if (!r.changes.length) return found.append(h('p', { class: 'note' }, st('ok', 'nothing is different from what runs')));
        found.append(h('h3', {}, 'What changes'), difference(r.changes, 'What changes'),
          h('div', { class: 'tools acts' }, h('label', {}, 'Try it for ', watch), h('label', { class: 'in' }, keep, ' it goes back unless I keep it'), b('Apply', { class: 'pri', onclick: apply })));
      } catch (e) { put(found, msg('err', e.message)); }
    }
    async function apply() {
      try {
        const q = new URLSearchParams({ watch: watch.value, keep: String(keep.checked && watch.value !== '0') });
        await postText('config/apply?' + q, text.value, { 'If-Match': JSON.stringify(c.tag) });
        close();
        begun();
      } catch (e) {
        if (e.problems.length) show(e.problems);
        found.prepend(msg('err', e.message, e.status === 412 && b('Begin again with what runs now', { onclick: () => edit() })));
      }
    }
    number([]);
    put(box, sec('Edit', 'Secrets stay hidden and keep their value while their line is as it was', pieces(now).length > 0 && h('p', { class: 'note' }, 'A line “--- # conf.d/NAME” begins each file of conf.d. What you apply takes the place of all files together; those at the site stay as they are.'), h('div', { class: 'edit' }, h('div', { class: 'ed' }, marks, gutter, text)),
      h('div', { class: 'tools acts' }, b('Review', { class: 'pri', onclick: review }), b('Discard', { onclick: close })), found));
    text.focus({ preventScroll: true });
    text.setSelectionRange(0, 0);
  };
  const edit = async () => {
    try { open(await get('config')); } catch (e) { put(box, msg('err', e.message)); }
  };
  const back = async (e) => {
    if (e.currentTarget.dataset.sure !== 'yes') {
      e.currentTarget.dataset.sure = 'yes';
      e.currentTarget.textContent = 'Really go back to the one before';
      return;
    }
    try { await post('config/rollback?watch=10m'); close(); begun(); } catch (err) { put(box, msg('err', err.message)); }
  };
  const close = () => put(box, sec('Change', null, h('p', { class: 'note' }, 'A change is tried first. ', 'It goes back by itself if you do not keep it, or if it cuts the gateway off.'),
    h('div', { class: 'tools acts' }, b('Edit', { class: 'pri', onclick: edit }), b('Go back to the one before', { onclick: back }))));
  close();
  return box;
}
