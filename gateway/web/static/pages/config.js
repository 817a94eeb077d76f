import { h, st, shape, b, sec, head, lede, msg, empty, day, table } from '../ui.js';
import { get, postText } from '../api.js';
import { editor, pieces, said, trial } from './change.js';

// The file is shown with its line numbers, and what is wrong with it beside the line. Who is admin changes what runs; the file at the site stays as it is.
// difference shows lines that go and come, with a sign each.
const words = { '+': 'added', '-': 'removed', ' ': '' };
const difference = (list, label) => h('pre', { class: 'yaml diff', tabindex: 0, role: 'region', 'aria-label': label }, list.map((c, i) => {
  const before = list[i - 1], gap = i > 0 && c.sign === ' ' && before.sign === ' ' && c.old > before.old + 1; // lines are left out
  return [gap && h('div', { class: 'dim' }, '…'), h('div', { class: c.sign === '+' ? 'p' : c.sign === '-' ? 'm' : null }, h('span', { class: 'vh' }, words[c.sign]), c.sign + ' ' + c.text)];
}));
const results = { confirmed: 'ok', rejected: 'err', rolled_back: 'warn', interrupted: 'stale' };

export default function (ctx) {
  const body = h('div', { css: { marginTop: 'var(--s5)' } });
  function show(c, problems) {
    const lines = c.text.replace(/\n$/, '').split('\n'), at = new Map(problems.map((p) => [p.line, p]));
    const more = pieces(c.text);
    const errors = problems.filter((p) => !p.warning), warnings = problems.length - errors.length;
    body.replaceChildren(
      lede(c.path, more.length > 0 && ' and beside it ' + more.join(', '), '. ', h('b', {}, 'Read ' + day(c.read)), '. Passwords and keys are never shown.'),
      c.note && msg('info', c.note[0].toUpperCase() + c.note.slice(1) + '.'),
      ...problems.map((p) => said(p)),
      problems.length === 0 ? h('p', { class: 'note' }, st('ok', 'check finds nothing wrong')) : h('p', { class: 'note' }, `${errors.length} errors, ${warnings} warnings. A file with an error is not taken; the gateway keeps what it has.`),
      sec('Differences', 'Without secrets', c.running ? h('p', { class: 'note' }, st('ok', 'the file is what runs'))
        : c.changes.length === 0 ? h('p', { class: 'note' }, st('warn', 'the file is not what runs'), ' They differ in what is not shown: passwords, keys, or line ends.')
          : [h('p', { class: 'note' }, st('warn', 'the file is not what runs'), c.note ? ' − runs now, + stands in the file, which counts again when it is edited. fieldferry config adopt writes what runs into it.' : ' What a reload would change: − runs now, + stands in the file.'), difference(c.changes, 'From what runs to the file')],
      c.previous && [h('h3', {}, 'Since the configuration before'), c.previous.changes.length === 0 ? h('p', { class: 'note' }, 'The file is the same; a DBC file, a template or a secret has changed.') : difference(c.previous.changes, 'From the configuration before to what runs')],
      c.history.length > 0 && [h('h3', {}, 'History'), table([['When'], ['Result'], ['By'], ['Configuration', 'fill']], c.history.slice(-10).reverse().map((e) => [day(e.time), st(results[e.result] || 'info', e.result.replaceAll('_', ' ')), e.by || '–', h('span', { class: 'mono' }, e.id.slice(0, 12))]), 'History of configurations')]),
      sec('File', null, h('div', { class: 'ed' },
        h('ol', { 'aria-hidden': 'true' }, lines.map((_, i) => h('li', { class: at.has(i + 1) ? 'e' : '' }, at.has(i + 1) && shape(at.get(i + 1).warning ? 'warn' : 'err'), i + 1))),
        h('pre', { class: 'yaml', tabindex: 0, role: 'region', 'aria-label': 'Configuration file' }, lines.map((l, i) => h('div', { class: at.has(i + 1) ? (at.get(i + 1).warning ? 'w' : 'e') : null }, l || ' '))))));
  }
  const draft = h('textarea', { spellcheck: 'false', autocapitalize: 'off', rows: 10, class: 'm', 'aria-label': 'A configuration to check', placeholder: 'Paste a configuration here to check it. Nothing is changed.' });
  const result = h('div', {});
  const load = async () => {
    try { const c = await get('config'); show(c, c.problems); } catch (e) { body.replaceChildren(empty('err', 'The configuration could not be read', e.message, b('Try again', { onclick: load }))); }
  };
  load();
  const tried = trial(ctx, load);
  return {
    view: [head('Config'), tried.box, ctx.may('admin') && editor(ctx, difference, tried.look), body, ctx.may('operate') && !ctx.may('admin') && sec('Check a draft', 'Everything that fieldferry check finds, for a text that you paste', draft, h('div', { class: 'tools acts' }, b('Check', { class: 'pri', onclick: async () => {
      try {
        const r = await postText('config/check', draft.value);
        result.replaceChildren(...(r.problems.length ? r.problems.map((p) => said(p)) : [h('p', { class: 'note' }, st('ok', 'nothing wrong'))]));
      } catch (e) { result.replaceChildren(msg('err', e.message)); }
    } })), result)],
  };
}
