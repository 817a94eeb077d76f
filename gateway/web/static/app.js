// The shell: who is logged in, which page is shown, and the one stream that feeds it.
import { h, st, b, endCharts, empty, head, msg, clock } from './ui.js';
import { get, post, Stream } from './api.js';
import { stateOf } from './pages/parts.js';
import { login, setup } from './pages/login.js';
import overview from './pages/overview.js';
import alarms from './pages/alarms.js';
import sources from './pages/sources.js';
import can from './pages/can.js';
import modbus from './pages/modbus.js';
import buffer from './pages/buffer.js';
import uplink from './pages/uplink.js';
import config from './pages/config.js';
import commands from './pages/commands.js';
import commissioning from './pages/commissioning.js';
import logs from './pages/logs.js';
import support from './pages/support.js';

const $ = (id) => document.getElementById(id);
const pages = { overview, alarms, sources, can, modbus, buffer, uplink, config, commands, commissioning, logs, support };
const nav = [
  [null, ['overview', 'Overview'], ['alarms', 'Alarms']],
  ['Field', ['sources', 'Sources'], ['can', 'CAN'], ['modbus', 'Modbus']],
  ['Delivery', ['buffer', 'Buffer'], ['uplink', 'Uplink']],
  ['Gateway', ['commands', 'Commands'], ['config', 'Config'], ['commissioning', 'Commissioning'], ['logs', 'Logs'], ['support', 'Support']],
];
let me = {};
let snapshot = null;
let lostAt = null;
let name = '';
let page = null; // what the page has returned: {topics, show, end}
let timers = [];

const stream = new Stream((up) => {
  if (up) lostAt = null; else if (!lostAt) lostAt = new Date();
  shell();
  if (!up) check();
});

// Over a slow or dear link the page can be updated more rarely. The browser remembers it.
const paces = [[0, '2 a second'], [2000, 'every 2 s'], [10000, 'every 10 s']];
try { stream.pace = Number(localStorage.getItem('pace')) || 0; } catch { /* the browser keeps nothing */ }
const pace = () => h('label', { class: 'pace' }, 'Updates', h('select', { onchange: (e) => {
  stream.pace = Number(e.target.value);
  try { localStorage.setItem('pace', stream.pace); } catch { /* only until the page is closed */ }
  shell.key = '';
  route();
} }, paces.map(([ms, t]) => h('option', { value: ms, selected: ms === stream.pace }, t))));

// check finds out whether the login has ended, which a stream cannot say.
async function check() {
  try {
    const now = await get('me');
    if (now.name !== me.name || !now.name) boot();
  } catch { /* the gateway does not answer: the bar says so */ }
}

// ctx is what a page works with.
const ctx = {
  get me() { return me; },
  get snapshot() { return snapshot; },
  query: new URLSearchParams(),
  // every runs something now and again, as long as the page is shown and visible.
  every(ms, run) {
    const go = () => { if (!document.hidden) Promise.resolve(run()).catch(() => {}); };
    timers.push(setInterval(go, Math.max(ms, stream.pace)));
    go();
  },
  may: (role) => ['read', 'operate', 'admin'].indexOf(me.role) >= ['read', 'operate', 'admin'].indexOf(role),
  go(path) { location.hash = '#/' + path; },
};

function links(cur) {
  const raised = snapshot ? snapshot.alarms.length : 0;
  return nav.map(([g, ...xs]) => [g && h('div', { class: 'grp' }, g), xs.map(([k, t]) => h('a', { href: '#/' + k, 'aria-current': k === cur ? 'page' : null }, t,
    k === 'alarms' && raised > 0 && [h('span', { class: 'grow' }), h('span', { class: 'cnt', 'aria-label': raised + ' raised' }, raised)]))]);
}
const flat = (x) => [x].flat(9).filter((y) => y != null && y !== false);

// shell redraws everything around the page.
function shell() {
  const isLost = lostAt != null;
  document.body.classList.toggle('lost', isLost);
  $('link').hidden = !isLost;
  if (isLost) {
    $('link').replaceChildren(st('err', h('b', {}, 'No connection to the gateway since ' + clock(lostAt))), h('span', {}, 'The values are from then. It is tried again by itself.'),
      h('span', { class: 'grow' }), b('Try now', { onclick: () => stream.open() }));
  }
  const gateway = snapshot ? snapshot.gateway : '';
  const word = isLost ? st('stale', 'no connection') : snapshot ? st(...stateOf(snapshot)) : st('wait', 'connecting');
  const when = isLost ? 'Last data ' + (snapshot ? clock(snapshot.taken) : '') : snapshot ? 'Live, ' + clock(snapshot.taken) : '';
  $('topname').textContent = gateway;
  $('topstate').replaceChildren(word);
  $('toplive').textContent = snapshot ? clock(snapshot.taken) : '';
  const key = [name, gateway, isLost, snapshot && snapshot.state, snapshot && snapshot.alarms.length].join('|');
  if (key !== shell.key) { // keeps the focus of the keyboard where it is
    shell.key = key;
    $('nav').replaceChildren(h('div', { class: 'head' }, h('b', {}, gateway), word.cloneNode(true)), ...flat(links(name)),
      h('div', { class: 'foot' }, h('div', { id: 'clock' }, when), pace(), h('div', {}, me.name + ', ' + me.role, !me.demo && [' · ', h('a', { href: '#/', onclick: logout }, 'Log out')])));
    const tab = (k, t, n) => h('a', { href: '#/' + k, 'aria-current': k === name ? 'page' : null }, t, n > 0 && h('span', { class: 'cnt' }, n));
    const main = ['overview', 'can', 'modbus', 'alarms'];
    $('tabs').replaceChildren(tab('overview', 'Overview'), tab('can', 'CAN'), tab('modbus', 'Modbus'), tab('alarms', 'Alarms', snapshot && snapshot.alarms.length),
      h('button', { type: 'button', 'aria-current': main.includes(name) ? null : 'page', onclick: () => $('more').showModal() }, 'More'));
    $('more').replaceChildren(...flat(links(name)), pace(), h('form', { method: 'dialog', class: 'tools' }, !me.demo && b('Log out', { onclick: logout }), h('button', {}, 'Close')));
  } else if ($('clock')) $('clock').textContent = when;
  const title = nav.flatMap((g) => g.slice(1)).find((x) => x[0] === name);
  const raised = snapshot ? snapshot.alarms.length : 0;
  document.title = (isLost ? 'No connection · ' : raised ? `(${raised}) ` : '') + (title ? title[1] : '') + ' · ' + gateway;
}

async function logout(e) {
  e.preventDefault();
  if ($('more').open) $('more').close();
  await post('logout').catch(() => {});
  boot();
}

// alarmsSaid tells a screen reader of alarms that are new.
let known = null;
function announce(list) {
  const ids = new Set(list.map((a) => a.id));
  if (known) {
    const fresh = list.filter((a) => !known.has(a.id));
    if (fresh.length) $('say').textContent = 'New alarm: ' + fresh.map((a) => a.title).join('; ');
  }
  known = ids;
}

function take(data) {
  if (!data) return;
  snapshot = data;
  announce(data.alarms);
  shell();
  if (page && page.snapshot) page.snapshot(snapshot);
}

// route shows the page that the address names.
function route() {
  if (!me.name) return;
  const [path, qs] = location.hash.slice(2).split('?');
  name = pages[path] ? path : 'overview';
  ctx.query = new URLSearchParams(qs || '');
  endCharts();
  timers.forEach(clearInterval);
  timers = [];
  if (page && page.end) page.end();
  page = null;
  shell();
  const main = $('main');
  if (!snapshot) { // pages are built of the first snapshot
    main.replaceChildren(h('p', { class: 'note' }, st('wait', 'Connecting to the gateway …')));
    stream.follow({ overview: (d) => { take(d); if (snapshot) route(); } });
    return;
  }
  try {
    page = pages[name](ctx);
  } catch (e) {
    page = { view: [head('This page failed'), empty('err', 'The page could not be built', String(e.message))] };
  }
  main.replaceChildren(...flat([me.insecure && msg('warn', 'This page is served without TLS: passwords and sessions cross the network in the clear.'),
    me.demo && msg('info', 'The demonstration: everything is simulated, and on this machine everybody may look without a login.'), page.view]));
  if (page.snapshot) page.snapshot(snapshot);
  stream.follow({ overview: take, ...(page.topics || {}) });
  scrollTo(0, 0);
}

// boot finds out who is logged in, and shows the login, the set-up page or the gateway.
async function boot() {
  stream.follow({});
  document.getElementById('login')?.remove();
  $('shell').hidden = true;
  try {
    me = await get('me');
  } catch (e) {
    document.body.append(h('main', { class: 'login', id: 'login' }, h('div', {}, empty('err', 'The gateway does not answer', e.message, b('Try again', { onclick: boot })))));
    return;
  }
  if (me.setup) { document.body.append(setup(boot)); return; }
  if (!me.name) { document.body.append(login(boot)); return; }
  $('shell').hidden = false;
  shell.key = '';
  route();
}

addEventListener('hashchange', () => {
  if ($('more').open) $('more').close();
  route();
  $('main').focus({ preventScroll: true });
});
$('skip').addEventListener('click', () => $('main').focus());
$('more').addEventListener('click', (e) => { if (e.target === $('more')) $('more').close(); });
boot();
