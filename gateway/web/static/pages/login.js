import { h, shape } from '../ui.js';
import { post } from '../api.js';

function card(title, note, fields, label, send) {
  const error = h('p', { class: 'e', role: 'alert', hidden: true });
  const form = h('form', {
    onsubmit: async (e) => {
      e.preventDefault();
      const button = form.querySelector('button');
      button.disabled = true;
      error.hidden = true;
      try {
        await send(Object.fromEntries(new FormData(form)));
      } catch (x) {
        error.replaceChildren(shape('err'), x.message);
        error.hidden = false;
        button.disabled = false;
      }
    },
  }, h('div', {}, h('h1', {}, title), h('p', { class: 'muted' }, note)), fields, error, h('button', { class: 'pri' }, label));
  return h('main', { class: 'login', id: 'login' }, form);
}
const field = (label, props) => h('label', {}, label, h('input', { required: true, ...props }));

export const login = (done) => card('fieldferry', location.host, [
  field('Name', { name: 'name', autocomplete: 'username' }),
  field('Password', { name: 'password', type: 'password', autocomplete: 'current-password' }),
], 'Log in', async (f) => { await post('login', f); done(); });

export const setup = (done) => card('Set up this gateway', 'It has no account yet. Its log shows a code, for 15 minutes after the start: journalctl -u fieldferry', [
  field('Code from the log', { name: 'code', autocomplete: 'one-time-code', class: 'm' }),
  field('Your name', { name: 'name', autocomplete: 'username' }),
  field('Password, at least 8 characters', { name: 'password', type: 'password', minlength: 8, autocomplete: 'new-password' }),
], 'Make the account', async (f) => { await post('setup', f); done(); });
