// The gateway's API. A failed request is a Problem (RFC 9457) with the status and the server's own words.
export class Problem extends Error {
  constructor(status, detail, problems) { super(detail); this.status = status; this.problems = problems || []; }
}

async function call(method, path, body, type, more) {
  let r;
  try {
    r = await fetch('/api/v1/' + path, { method, body, headers: { ...(body === undefined ? {} : { 'Content-Type': type || 'application/json' }), ...more } });
  } catch {
    throw new Problem(0, 'The gateway does not answer.');
  }
  if (r.ok) return r;
  let text = r.status + ' ' + r.statusText, problems;
  try {
    const p = await r.json();
    text = p.detail || text;
    problems = p.problems;
  } catch { /* not a problem document */ }
  throw new Problem(r.status, text, problems);
}

export const get = async (path) => (await call('GET', path)).json();
// post sends a value as JSON, or a text that is JSON already.
export const post = async (path, body, raw) => {
  const r = await call('POST', path, body === undefined || raw ? body : JSON.stringify(body));
  return r.status === 204 ? null : r.json();
};
export const postText = async (path, text, more) => (await call('POST', path, text, 'text/plain', more)).json();
export const del = (path) => call('DELETE', path);

// copy puts a text where it can be pasted from, or offers it as a file where the browser does not let it: without TLS, from another machine.
export async function copy(text, name) {
  try {
    await navigator.clipboard.writeText(text);
    return 'copied';
  } catch {
    offer(new Blob([text], { type: 'application/json' }), name);
    return 'saved as ' + name;
  }
}

// save offers a reply as a file.
export async function save(method, path, name, body) {
  offer(await (await call(method, path, body && JSON.stringify(body))).blob(), name);
}
function offer(blob, name) {
  const a = document.createElement('a');
  a.href = URL.createObjectURL(blob);
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

// Stream is the one event stream of this tab. It is closed while nobody can see the tab.
export class Stream {
  constructor(onstate) {
    this.onstate = onstate; // (connected, since)
    this.wanted = new Map(); // topic -> handler(data, full)
    this.pace = 0; // ms between two updates; 0: as fast as they come
    this.source = null;
    document.addEventListener('visibilitychange', () => this.open());
    addEventListener('online', () => this.open());
  }

  // follow replaces what is followed. Handlers get the state of a topic, then its changes.
  follow(topics) {
    this.wanted = new Map(Object.entries(topics));
    this.open();
  }

  open() {
    if (this.source) this.source.close();
    this.source = null;
    clearTimeout(this.timer);
    if (document.hidden || this.wanted.size === 0) return;
    const ask = [...this.wanted.keys()].map((t) => ['topic', t]);
    if (this.pace) ask.push(['every', this.pace + 'ms']);
    const s = new EventSource('/api/v1/events?' + new URLSearchParams(ask));
    this.source = s;
    s.onopen = () => this.onstate(true);
    s.onerror = () => {
      this.onstate(false);
      if (s.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.open(), 5000); // refused: it does not try again by itself
    };
    for (const [topic, handle] of this.wanted) {
      s.addEventListener(topic, (e) => handle(JSON.parse(e.data), false));
      s.addEventListener(topic + '/full', (e) => handle(JSON.parse(e.data), true));
    }
  }
}

// Rows keeps the rows of a table topic up to date and says which have changed.
export class Rows {
  constructor(show) { this.list = []; this.show = show; }
  take(data) {
    let changed = null;
    if (data.rows) this.list = data.rows; else {
      changed = Object.keys(data.changed).map(Number);
      for (const i of changed) this.list[i] = data.changed[i];
    }
    this.show(this.list, changed);
  }
}
