import { h, put, st, b, sec, head, lede, msg, empty, day, span } from '../ui.js';
import { get, post, save } from '../api.js';

export default function (ctx) {
  const data = h('input', { type: 'checkbox' }), mask = h('input', { type: 'checkbox', checked: true }), out = h('div', {});
  const go = b('Make the bundle', { class: 'pri', onclick: async () => {
    go.disabled = true;
    out.replaceChildren(h('p', { class: 'note' }, st('wait', 'gathering; this takes about ten seconds')));
    try {
      await save('POST', 'bundle', 'fieldferry-bundle.tar.gz', { data: data.checked, mask: mask.checked });
      out.replaceChildren(h('p', { class: 'note' }, st('ok', 'made; look through it before you send it on')));
    } catch (e) { out.replaceChildren(msg('err', e.message)); }
    go.disabled = false;
  } });
  // A recording is two marks in the log: who looks at the bundle later finds what was tried between them.
  const note = h('input', { maxlength: 60, placeholder: 'What you try, such as: swapped A and B', 'aria-label': 'Note for the mark' }), marked = h('div', { role: 'status' }), acts = h('div', { class: 'tools' });
  let mark = {};
  const send = async (state) => { try { const m = await post('mark', { state, note: note.value }); if (state !== 'note') mark = m; note.value = ''; marks(); } catch (e) { put(marked, msg('err', e.message)); } };
  function marks() {
    const on = mark.state === 'start';
    put(acts, on ? [b('Stop', { class: 'pri', onclick: () => send('stop') }), b('Note', { onclick: () => send('note') })] : b('Start recording', { class: 'pri', onclick: () => send('start') }));
    put(marked, h('p', { class: 'note' }, on ? st('wait', `recording since ${day(mark.time)}, by ${mark.who}`) : mark.state === 'stop' ? st('ok', `stopped ${day(mark.time)}` + (mark.since ? ', after ' + span((Date.parse(mark.time) - Date.parse(mark.since)) / 1000) : '') + '; now make the bundle') : 'Nothing is being recorded.'));
  }
  get('mark').then((m) => { mark = m; marks(); }).catch(() => {});
  return {
    view: [head('Support'), lede('What somebody needs who is to help from afar: version, configuration without secrets, what check says, the state twice, alarms, the log, links and ports. No records.'),
      ctx.may('admin') ? sec('Support bundle', 'A .tar.gz with a MANIFEST', h('p', {}, h('label', {}, mask, ' Replace addresses and names')), h('p', {}, h('label', {}, data, ' With the last 100 frames or exchanges of each bus')), h('div', { class: 'tools acts' }, go), out)
        : empty('off', 'Your account may not make a bundle', 'It needs the role admin. On the gateway itself: sudo fieldferry bundle'),
      ctx.may('operate') && sec('Recording', 'Marks in the log and the audit around what you try', h('div', { class: 'tools' }, note), acts, marked),
      sec('API', null, h('p', {}, 'The same data for programs: ', h('a', { href: '/api/openapi.json' }, '/api/openapi.json'), ', metrics at ', h('a', { href: '/metrics' }, '/metrics'), '. Make a token with ', h('span', { class: 'mono' }, 'fieldferry web token NAME'), '.'))],
  };
}
