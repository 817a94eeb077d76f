import { h, st, b, sec, head, lede, msg, empty } from '../ui.js';
import { save } from '../api.js';

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
  return {
    view: [head('Support'), lede('What somebody needs who is to help from afar: version, configuration without secrets, what check says, the state twice, alarms, the log, links and ports. No records.'),
      ctx.may('admin') ? sec('Support bundle', 'A .tar.gz with a MANIFEST', h('p', {}, h('label', {}, mask, ' Replace addresses and names')), h('p', {}, h('label', {}, data, ' With the last 100 frames or exchanges of each bus')), h('div', { class: 'tools acts' }, go), out)
        : empty('off', 'Your account may not make a bundle', 'It needs the role admin. On the gateway itself: sudo fieldferry bundle'),
      sec('API', null, h('p', {}, 'The same data for programs: ', h('a', { href: '/api/openapi.json' }, '/api/openapi.json'), ', metrics at ', h('a', { href: '/metrics' }, '/metrics'), '. Make a token with ', h('span', { class: 'mono' }, 'fieldferry web token NAME'), '.'))],
  };
}
