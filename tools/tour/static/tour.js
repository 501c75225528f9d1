// The script of the tour's pages. It needs no other file.
'use strict';

const $ = (selector, root = document) => root.querySelector(selector);

// element makes an HTML element with properties and children.
function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

// post sends JSON and returns the JSON of the answer. It throws the server's words.
async function post(path, body) {
  let response;
  try {
    response = await fetch(path, { method: 'POST', body: JSON.stringify(body) });
  } catch {
    throw new Error('The tour does not answer. Is it still running? Start it with "make tour", then open the address it prints.');
  }
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

const store = {
  get: key => localStorage.getItem('tour:' + key),
  set: (key, value) => localStorage.setItem('tour:' + key, value),
};

/* ---- Navigation and panes ---- */

$('#contents').addEventListener('change', e => { location.href = e.target.value; });

function fold(folded) {
  document.body.classList.toggle('folded', folded);
  $('#panes').setAttribute('aria-expanded', String(!folded));
  store.set('folded', folded ? '1' : '');
}
$('#panes').addEventListener('click', () => fold(!document.body.classList.contains('folded')));
fold(store.get('folded') === '1' || store.get('folded') === null && innerWidth < 1024);

function openPane(name) {
  fold(false);
  if (name === 'terminals') terminals.open();
  for (const tab of document.querySelectorAll('[role=tab]')) {
    const chosen = tab.id === 'tab-' + name;
    tab.setAttribute('aria-selected', String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $('#' + tab.getAttribute('aria-controls')).hidden = !chosen;
  }
}
for (const tab of document.querySelectorAll('[role=tab]')) {
  tab.addEventListener('click', () => openPane(tab.id.slice(4)));
  tab.addEventListener('keydown', e => {
    const to = { ArrowRight: tab.nextElementSibling, ArrowLeft: tab.previousElementSibling }[e.key];
    if (to) { to.click(); to.focus(); }
  });
}

{ // The divider, with the mouse and with the arrow keys.
  const divider = $('#divider');
  const width = percent => {
    const side = Math.min(75, Math.max(25, percent));
    document.documentElement.style.setProperty('--side', side + '%');
    store.set('side', side);
    return side;
  };
  let side = width(Number(store.get('side')) || 46);
  divider.addEventListener('pointerdown', e => {
    divider.setPointerCapture(e.pointerId);
    divider.onpointermove = e => { side = width(100 * (1 - e.clientX / innerWidth)); };
  });
  divider.addEventListener('pointerup', () => { divider.onpointermove = null; });
  divider.addEventListener('keydown', e => {
    if (e.key === 'ArrowLeft') side = width(side + 3);
    if (e.key === 'ArrowRight') side = width(side - 3);
  });
}

/* ---- Man pages ---- */

// Calls such as epoll_wait(2) in the text become links to the pages of this machine.
{
  const form = /\b([a-z_][a-z0-9_]*)\(([1-8])\)/g;
  const texts = document.createTreeWalker($('#chapter'), NodeFilter.SHOW_TEXT, {
    acceptNode: n => n.parentElement.closest('a, pre, summary, textarea') ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT,
  });
  const found = [];
  while (texts.nextNode()) if (texts.currentNode.data.match(form)) found.push(texts.currentNode);
  for (const node of found) {
    const parts = [];
    let last = 0;
    for (const m of node.data.matchAll(form)) {
      const link = element('a', { className: 'man', href: '#man', textContent: m[0] });
      // epoll(7), "Questions and answers": the heading that follows the name
      const heading = /^,\s+"([^"]+)"/.exec(node.data.slice(m.index + m[0].length));
      link.addEventListener('click', e => { e.preventDefault(); openMan(m[1], m[2], heading && heading[1]); });
      parts.push(node.data.slice(last, m.index), link);
      last = m.index + m[0].length;
    }
    parts.push(node.data.slice(last));
    node.replaceWith(...parts);
  }
}

async function openMan(name, section, heading) {
  openPane('man');
  const pre = $('#man-text');
  pre.textContent = 'one moment …';
  const response = await fetch(`/man/${name}.${section}`).catch(() => null);
  const text = response ? await response.text() : 'The tour does not answer.';
  pre.replaceChildren();
  let target = null;
  for (const line of text.split('\n')) {
    if (heading && !target && line.trim().toLowerCase() === heading.toLowerCase()) {
      target = element('mark', { textContent: line });
      pre.append(target, '\n');
    } else pre.append(line + '\n');
  }
  (target || pre).scrollIntoView({ block: target ? 'start' : 'nearest' });
  pre.focus({ preventScroll: true });
}

/* ---- Lab and walk blocks ---- */

for (const section of document.querySelectorAll('.replay')) {
  const kind = section.dataset.kind;
  const prompt = kind + '> ';
  const pre = $('pre', section);
  const printed = pre.textContent.replace(/\n$/, '').split('\n');
  const commands = lines => lines.filter(l => l.startsWith(prompt.trim())).map(l => l.slice(prompt.length));
  const edit = element('textarea', { hidden: true, spellcheck: false, ariaLabel: 'The script of this block' });
  const run = element('button', { type: 'button', textContent: kind === 'lab' ? 'run' : 'step through' });
  const change = element('button', { type: 'button', textContent: 'edit' });
  const reset = element('button', { type: 'button', textContent: 'reset', hidden: true });
  const note = element('span', { className: 'hint', role: 'status' });

  const show = (lines, marks = []) => pre.replaceChildren(...lines.flatMap((text, i) => [
    element('span', { className: (text.startsWith(prompt) ? 'typed ' : '') + (marks[i] || ''), textContent: text }), '\n']));
  const restore = () => {
    show(printed);
    edit.hidden = reset.hidden = true;
    pre.hidden = change.hidden = false;
    note.textContent = '';
  };
  change.addEventListener('click', () => {
    edit.value = commands(pre.textContent.split('\n')).join('\n');
    edit.rows = Math.max(3, edit.value.split('\n').length + 1);
    edit.hidden = reset.hidden = false;
    pre.hidden = change.hidden = true;
    edit.focus();
  });
  reset.addEventListener('click', restore);
  run.addEventListener('click', async () => {
    const own = !edit.hidden;
    const script = own ? edit.value.split('\n').filter(l => l.trim()) : commands(printed);
    run.disabled = true;
    note.textContent = 'running …';
    try {
      const answer = await post(kind === 'lab' ? '/lab' : '/walk/script', script);
      const answers = kind === 'lab' ? answer : answer.answers;
      const lines = answers.flatMap(a => [prompt + a.command, ...(a.lines || [])]);
      const marks = lines.map((l, i) => own || alike(l, printed[i]) ? '' : 'differs');
      show(lines, marks);
      pre.hidden = change.hidden = false;
      edit.hidden = true;
      reset.hidden = !own && !marks.includes('differs');
      note.textContent = own ? '' : marks.includes('differs') || lines.length !== printed.length ? 'not as printed: the lines that differ are marked' : 'as printed';
      if (kind === 'walk') {
        if (answer.steps && answer.steps.length) walk.replay(answer);
        if (answer.error) note.textContent = answer.error;
      }
    } catch (e) {
      note.textContent = e.message;
    }
    run.disabled = false;
  });
  edit.addEventListener('keydown', e => { if (e.key === 'Enter' && e.ctrlKey) run.click(); });
  section.append(edit, element('div', { className: 'bar' }, run, change, reset, note));
  show(printed);
}

// alike compares two lines as make test does: ports, and a descriptor's number in the
// program's log, vary from run to run.
function alike(a = '', b = '') {
  const same = s => s.replace(/127\.0\.0\.1:\d+/g, 'ADDR').replace(/\bfd \d+/g, 'fd N').replace(/\b(\w+)\(\d+/g, '$1(N').replace(/"[^"]*"…/g, '"…"')
    .replace(/= \d+$/, '= N');
  return same(a) === same(b);
}

$('#lab-run').addEventListener('click', async () => {
  const script = $('#lab-script').value.split('\n').filter(l => l.trim());
  const out = $('#lab-out');
  try {
    const answers = await post('/lab', script);
    out.replaceChildren(...answers.flatMap(a => [
      element('span', { className: a.error ? 'error' : '', textContent: ['lab> ' + a.command, ...(a.lines || [])].join('\n') }), '\n']));
  } catch (e) {
    out.textContent = e.message;
  }
});
$('#lab-script').addEventListener('keydown', e => { if (e.key === 'Enter' && e.ctrlKey) $('#lab-run').click(); });

/* ---- Terminals ---- */

const terminals = {
  all: [],
  // open makes the panes and listens for the screens, once.
  open() {
    if (this.all.length) return;
    for (let n = 1; n <= 4; n++) {
      const pre = element('pre', { tabIndex: 0, className: 'idle' });
      pre.setAttribute('aria-label', 'Terminal ' + n);
      const box = element('div', { className: 'terminal' }, element('h2', { textContent: String(n) }), pre);
      pre.addEventListener('keydown', e => this.key(n, e));
      pre.addEventListener('paste', e => { e.preventDefault(); this.type(n, e.clipboardData.getData('text').replace(/\r?\n/g, '\r')); });
      $('#terminals').append(box);
      this.all.push({ box, pre, text: '', queue: Promise.resolve() });
    }
    const events = new EventSource('/terminals'); // it connects again by itself
    events.onmessage = e => this.draw(JSON.parse(e.data));
    $('#terminals').append($('#live'));
    $('#live-addr').addEventListener('change', () => this.watch());
    this.watch();
  },
  // watch shows what the kernel holds for the server at the reader's address.
  watch() {
    this.kernel?.close();
    let last;
    this.kernel = new EventSource('/kernel?addr=' + encodeURIComponent($('#live-addr').value));
    this.kernel.onmessage = e => {
      const now = JSON.parse(e.data);
      $('#live-state').textContent = now.program ? now.program + ' · ' + now.doing : 'no server listens there yet';
      $('#live-kernel').style.visibility = now.program ? '' : 'hidden';
      drawKernel($('#live-kernel'), now, last);
      $('#live-kernel').classList.toggle('asleep', now.doing.startsWith('asleep'));
      last = now;
    };
    this.kernel.onerror = () => { if (this.kernel.readyState === 2) $('#live-state').textContent = 'want an address such as 127.0.0.1:6379'; };
  },
  draw({ number, lines, cursor, running }) {
    const t = this.all[number - 1];
    let used = running ? cursor[1] + 1 : 0;
    lines.forEach((line, y) => { if (line.some(s => s.t.trim())) used = Math.max(used, y + 1); });
    t.text = lines.map(line => line.map(s => s.t).join('').trimEnd()).join('\n');
    t.pre.classList.toggle('idle', used === 0);
    t.pre.replaceChildren(...lines.slice(0, used).flatMap((line, y) => {
      const row = [];
      let x = 0;
      for (const s of line) {
        if (running && y === cursor[1] && x <= cursor[0] && cursor[0] < x + s.t.length) {
          const at = cursor[0] - x;
          row.push(element('span', { className: s.c || '', textContent: s.t.slice(0, at) }),
            element('span', { className: 'cursor', textContent: s.t[at] }),
            element('span', { className: s.c || '', textContent: s.t.slice(at + 1).trimEnd() }));
        } else row.push(element('span', { className: s.c || '', textContent: s.t }));
        x += s.t.length;
      }
      return [...row, '\n'];
    }));
    t.pre.scrollTop = t.pre.scrollHeight;
  },
  // type sends text to a terminal, in the order of the calls.
  type(n, text) {
    const t = this.all[n - 1];
    t.queue = t.queue.then(() => fetch('/terminals/' + n, { method: 'POST', body: JSON.stringify(text) }))
      .then(async r => { if (!r.ok) t.pre.textContent = await r.text(); }, () => { t.pre.textContent = 'The tour does not answer.'; });
    return t.queue;
  },
  key(n, e) {
    if (e.key === 'Escape' && e.ctrlKey && e.shiftKey) { e.target.blur(); return; }
    if (e.metaKey || e.ctrlKey && e.shiftKey || e.ctrlKey && e.key === 'v') return; // the browser's own
    const named = { Enter: '\r', Backspace: '\x7f', Tab: '\t', Escape: '\x1b', ArrowUp: '\x1b[A', ArrowDown: '\x1b[B', ArrowRight: '\x1b[C', ArrowLeft: '\x1b[D', Home: '\x1b[H', End: '\x1b[F', Delete: '\x1b[3~' };
    let text = named[e.key] || (e.key.length === 1 ? e.key : '');
    if (e.ctrlKey && /^[a-z]$/i.test(e.key)) text = String.fromCharCode(e.key.toUpperCase().charCodeAt(0) - 64);
    if (!text) return;
    e.preventDefault();
    this.type(n, text);
  },
};

// A transcript's lines can be typed into the terminals that it names.
for (const pre of document.querySelectorAll('#chapter pre')) {
  const lines = pre.textContent.replace(/\n$/, '').split('\n').map(text => {
    const m = /^ (\d) │ ?(.*)$/.exec(text);
    const [terminal, said] = m ? [Number(m[1]), m[2]] : [1, text];
    let typed = null;
    if (said.startsWith('$ ')) typed = said.slice(2) + '\r';
    else if (m && said.endsWith(' ⏎')) typed = said.slice(0, -2) + '\r';
    else if (m && said === '^C') typed = '\x03';
    else if (m && said === '^D') typed = '\x04';
    return { text, terminal, said, typed };
  });
  const numbered = /^ \d │ /m.test(pre.textContent);
  if (!numbered && !(pre.textContent.startsWith('$ make ') && pre.closest('.chroma, pre'))) continue;
  if (!lines.some(l => l.typed) || lines.some(l => l.terminal > 4)) continue;
  for (const l of lines) l.element = element('span', { className: 'line', textContent: l.text });
  pre.replaceChildren(...lines.flatMap(l => [l.element, '\n']));
  const section = element('section', { className: 'replay transcript' });
  pre.replaceWith(section);
  const note = element('span', { className: 'hint', role: 'status' });
  const next = element('button', { type: 'button', textContent: 'type the next line' });
  const play = element('button', { type: 'button', textContent: 'play' });
  section.append(pre, element('div', { className: 'bar' }, next, ...(numbered ? [play] : []), note));
  let at = 0, playing = false, begun = false;
  const mark = () => {
    while (at < lines.length && !lines[at].typed) at++;
    lines.forEach((l, i) => { l.element.classList.toggle('due', begun && i === at); l.element.classList.toggle('done', i < at); });
    if (at >= lines.length) note.textContent = 'done: compare the terminals with the page';
  };
  // printed waits until a terminal shows the line before the next one that is typed.
  const printed = async () => {
    const last = {};
    for (let i = 0; i < at; i++) last[lines[i].terminal] = lines[i];
    const same = s => s.replace(/\d+/g, 'N').replace(/\s+/g, ' ').replace(/ ?█$/, '').trim();
    for (let tries = 0; playing && tries < 100; tries++) {
      if (Object.values(last).every(l => l.typed || l.said === '(nothing)' || same(terminals.all[l.terminal - 1].text).includes(same(l.said)))) return;
      await new Promise(r => setTimeout(r, 100));
    }
  };
  const step = async () => {
    openPane('terminals');
    begun = true;
    if (at >= lines.length) at = 0;
    mark();
    const l = lines[at];
    const { box } = terminals.all[l.terminal - 1];
    box.classList.add('lit');
    l.element.scrollIntoView({ block: 'nearest' });
    for (const c of l.typed) {
      await terminals.type(l.terminal, c);
      await new Promise(r => setTimeout(r, 15));
    }
    box.classList.remove('lit');
    at++;
    note.textContent = '';
    mark();
  };
  next.addEventListener('click', step);
  play.addEventListener('click', async () => {
    if (playing) { playing = false; return; }
    playing = true;
    play.textContent = 'stop';
    next.disabled = true;
    do {
      await step();
      await printed();
      await new Promise(r => setTimeout(r, 300)); // so that a reader can follow
    } while (playing && at < lines.length);
    playing = false;
    play.textContent = 'play';
    next.disabled = false;
  });
  mark();
}

/* ---- Predict: what the reader writes stays in this browser ---- */

{
  let heading = null;
  for (const e of $('#chapter').children) {
    if (/^H[23]$/.test(e.tagName)) heading = e.textContent;
    if (heading !== 'Predict' || e.tagName !== 'BLOCKQUOTE') continue;
    const key = 'predict:' + document.body.dataset.file;
    const field = element('textarea', { className: 'predict', rows: 3, ariaLabel: 'What you predict', placeholder: 'Write your prediction before you read on. It stays in this browser.' });
    field.value = store.get(key) || '';
    field.addEventListener('input', () => store.set(key, field.value));
    e.append(field);
  }
}

/* ---- The walk ---- */

const walk = {
  id: Math.random().toString(36).slice(2), // of this page's live walk
  live: false,
  sources: {},
  steps: [],
  at: 0,
  client: '',

  async start(program) {
    this.status('building …');
    try {
      const answer = await post('/walk/' + this.id, { do: 'start', program });
      Object.assign(this, { live: true, steps: [], sources: answer.sources, client: '' });
      this.take(answer);
    } catch (e) {
      this.status(e.message);
    }
  },
  async ask(request) {
    if (this.busy) return;
    this.busy = true;
    try {
      this.take(await post('/walk/' + this.id, request));
    } catch (e) {
      this.status(e.message);
    }
    this.busy = false;
  },
  take(answer) {
    this.steps.push(...(answer.steps || []));
    this.at = this.steps.length - 1;
    this.draw();
    if (answer.note) this.status(answer.note);
    if (answer.output) this.status('it has printed: ' + answer.output);
  },
  // replay shows what a script has seen, from its first step on.
  replay(answer) {
    openPane('walk');
    if ([...$('#program').options].some(o => o.value === answer.program)) $('#program').value = answer.program;
    Object.assign(this, { live: false, steps: answer.steps, sources: answer.sources, at: 0 });
    this.draw();
  },
  move(to) {
    this.at = Math.max(0, Math.min(to, this.steps.length - 1));
    this.draw();
  },
  status(text) { $('#walk-state').textContent = text; },

  draw() {
    const step = this.steps[this.at];
    if (!step) return;
    $('#view').hidden = false;
    $('#walk-hint').hidden = true;
    const past = this.at < this.steps.length - 1;
    this.status((this.live && !past ? '' : `step ${this.at + 1} of ${this.steps.length} · `) + {
      before: 'about to call ' + step.call.name + ': what will it return?',
      asleep: 'asleep in ' + step.call.name,
      after: step.call.name + ' has returned',
      ended: 'the program has ended: ' + step.end,
    }[step.moment]);
    this.drawSource(step);
    drawKernel($('#kernel'), step, this.steps[this.at - 1]);
    this.drawCalls();
    this.drawKeys(step);
  },
  drawSource(step) {
    const frame = (step.stack || [])[0];
    if (!frame) return;
    const pre = $('#source');
    const text = this.sources[frame.file] || '';
    if (this.shown !== text) {
      this.shown = text;
      pre.replaceChildren(...text.split('\n').map((text, i) => {
        const line = element('span', { className: 'line', textContent: text.replaceAll('\t', '  ') });
        line.dataset.n = String(i + 1).padStart(3);
        return line;
      }));
    }
    for (const line of pre.querySelectorAll('.at, .caller')) line.classList.remove('at', 'caller');
    for (const caller of step.stack.slice(1)) pre.children[caller.line - 1]?.classList.add('caller');
    const line = pre.children[frame.line - 1];
    line?.classList.replace('caller', 'at') || line?.classList.add('at');
    if (line) pre.scrollTop = line.offsetTop - pre.clientHeight * 0.45;
    $('#source-name').textContent = frame.file;
    $('#stack').textContent = step.stack.map((f, i) => i ? f.func.split('.').pop() : f.func).join(' ‹ ');
  },
  drawCalls() {
    const lines = [];
    for (let i = 0; i <= this.at; i++) {
      const s = this.steps[i];
      if (s.did) lines.push(element('li', { className: 'did', textContent: '— ' + s.did }));
      else if (s.moment === 'after') lines.push(element('li', { textContent: s.text }));
      else if (s.moment === 'ended') lines.push(element('li', { textContent: '+++ ' + s.end + ' +++' }));
      else if (!this.steps.slice(i + 1, this.at + 1).some(later => !later.did))
        lines.push(element('li', { textContent: s.text + (s.moment === 'asleep' ? '  asleep' : '') }));
    }
    lines.at(-1)?.classList.add('now');
    const list = $('#calls');
    list.replaceChildren(...lines.slice(-100));
    list.scrollTop = list.scrollHeight;
  },
  drawKeys(step) {
    const focused = document.activeElement?.dataset?.key;
    const key = (text, act, more = {}) => {
      const b = element('button', { type: 'button', textContent: text, ...more });
      b.dataset.key = text;
      b.addEventListener('click', act);
      return b;
    };
    const past = this.at < this.steps.length - 1;
    const keys = [
      key('‹ back', () => this.move(this.at - 1), { disabled: this.at === 0 }),
      past ? key('forward ›', () => this.move(this.at + 1), { className: 'primary' })
        : key('next', () => this.ask({ do: 'next' }), { className: 'primary', disabled: !this.live || step.moment === 'ended' }),
    ];
    if (past) keys.push(key(this.live ? 'now' : 'last', () => this.move(this.steps.length - 1)));
    if (this.live && !past) {
      const clients = step.clients || [];
      if (!clients.some(c => c.name === this.client)) this.client = clients.at(-1)?.name || '';
      const act = verb => () => this.ask({ do: 'client', client: this.client, verb });
      keys.push(key('to the next wait', () => this.ask({ do: 'wait' })), element('hr'), key('connect', act('connect')));
      if (clients.length > 1) {
        const choose = element('select', { ariaLabel: 'Which client' }, ...clients.map(c => element('option', { textContent: c.name, selected: c.name === this.client })));
        choose.addEventListener('change', () => { this.client = choose.value; this.draw(); });
        keys.push(choose);
      }
      const paused = clients.find(c => c.name === this.client)?.stopped;
      for (const [text, verb] of [['sends a line', 'send'], ['sends 64 KiB', 'send64k'], ['sends 16 MiB', 'send16m'], [paused ? 'reads again' : 'stops reading', 'pause'], ['half-closes', 'shutdown'], ['closes', 'close'], ['resets', 'reset']])
        keys.push(key((this.client || 'a') + ' ' + text, act(verb), { disabled: !this.client }));
    }
    $('#keys').replaceChildren(...keys);
    if (focused) ([...$('#keys').children].find(b => b.dataset.key === focused && !b.disabled) || $('#keys .primary'))?.focus();
  },
};

$('#start').addEventListener('submit', e => { e.preventDefault(); walk.start($('#program').value); });
$('#walk').addEventListener('keydown', e => {
  if (e.target.matches('select, textarea, input') || e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.key === 'ArrowLeft') walk.move(walk.at - 1);
  else if (e.key === 'ArrowRight') walk.move(walk.at + 1);
  else return;
  e.preventDefault();
});
addEventListener('pagehide', () => { if (walk.live) fetch('/walk/' + walk.id, { method: 'POST', body: '{"do":"end"}', keepalive: true }); });

/* ---- The kernel's side, as one picture that is changed and not drawn again ---- */

const SVG = 'http://www.w3.org/2000/svg';
function shape(name, attributes, parent, text) {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

// The bits of epoll_ctl(2) and their short names.
const bits = [[1, 'IN'], [2, 'PRI'], [4, 'OUT'], [0x2000, 'RDHUP'], [8, 'ERR'], [0x10, 'HUP'], [1 << 28, 'EXCLUSIVE'], [1 << 30, 'ONESHOT']];
function mask(events = 0) {
  const names = bits.filter(([bit]) => events & bit).map(([, name]) => name);
  if (events >>> 31) names.push('ET');
  return names.join('|') || '0';
}
const bytes = (n = 0) => n < 10000 ? String(n) : n < 1 << 20 ? (n >> 10) + 'K' : (n / (1 << 20)).toFixed(1) + 'M';
const full = n => n ? Math.min(1, Math.log2(n + 1) / 23) : 0; // 8 MiB fill a bar

const rowHeight = 26, top0 = 44, barX = [268, 362], barWidth = 50;

function drawKernel(svg, step, before) {
  const kernel = step.kernel || {};
  const old = before ? before.kernel || {} : {};
  if (!svg.children.length) {
    shape('text', { x: 10, y: 22, class: 'head epoll' }, svg);
    shape('text', { x: 110, y: 22, class: 'head' }, svg, 'interest');
    shape('text', { x: 198, y: 22, class: 'head' }, svg, 'ready');
    shape('text', { x: barX[0], y: 22, class: 'head' }, svg, 'unread');
    shape('text', { x: barX[1], y: 22, class: 'head' }, svg, 'unsent');
  }
  const epoll = (kernel.epolls || [])[0];
  $('.epoll', svg).textContent = epoll ? 'epoll ' + epoll.fd : 'no epoll';
  const rows = new Map();
  for (const s of kernel.sockets || []) rows.set(s.fd, { socket: s });
  for (const e of kernel.epolls || []) for (const i of e.interest || []) rows.set(i.fd, { ...rows.get(i.fd), interest: i });
  const oldRows = new Map();
  for (const s of old.sockets || []) oldRows.set(s.fd, { socket: s });
  for (const e of old.epolls || []) for (const i of e.interest || []) oldRows.set(i.fd, { ...oldRows.get(i.fd), interest: i });

  const fds = [...rows.keys()].sort((a, b) => a - b);
  for (const g of [...svg.querySelectorAll('g.row')]) if (!rows.has(Number(g.dataset.fd))) g.remove();
  fds.forEach((fd, n) => {
    const row = rows.get(fd);
    let g = svg.querySelector(`g.row[data-fd="${fd}"]`);
    if (!g) {
      g = shape('g', { class: 'row', 'data-fd': fd }, svg);
      shape('text', { x: 10, y: 0, class: 'name' }, g);
      shape('text', { x: 110, y: 0, class: 'mask' }, g);
      const chip = shape('g', { class: 'chip off' }, g);
      shape('rect', { x: 194, y: -13, width: 64, height: 18, rx: 5 }, chip);
      shape('text', { x: 200, y: 0 }, chip);
      barX.forEach((x, i) => {
        shape('rect', { x, y: -11, width: barWidth, height: 14, rx: 3, class: 'groove b' + i }, g);
        shape('rect', { x: x + 1, y: -10, width: 0, height: 12, rx: 2, class: 'fill f' + i }, g);
        shape('text', { x: x + barWidth + 4, y: 0, class: 'quiet n' + i }, g);
      });
    }
    g.style.transform = `translate(0, ${top0 + n * rowHeight}px)`;
    const { socket, interest } = row;
    const name = (step.names || {})[fd] || '';
    $('.name', g).textContent = fd + ' ' + (name.startsWith('fd ') ? '' : name);
    const short = interest ? interest.text ?? mask(interest.events) : '';
    $('.mask', g).textContent = short.length > 10 ? short.replace('RDHUP', 'RD') : short;
    const chip = $('.chip', g);
    const ready = interest && interest.ready;
    chip.classList.toggle('off', !ready);
    if (ready) $('text', chip).textContent = '● ' + (interest.state ?? mask(interest.level & (interest.events | 0x18)));
    [socket ? socket.unread || 0 : 0, socket ? socket.unsent || 0 : 0].forEach((value, i) => {
      const listens = socket && socket.listening;
      const show = socket && socket.state !== 'CLOSE' && !(listens && i === 1);
      $('.b' + i, g).style.visibility = show ? '' : 'hidden';
      $('.f' + i, g).style.width = (show ? (listens ? Math.min(1, value / 8) : full(value)) * (barWidth - 2) : 0) + 'px';
      $('.n' + i, g).textContent = show ? bytes(value) + (i === 0 && socket.eof ? ' FIN' : '') : i === 0 && socket ? (name ? 'reset' : 'new') : '';
      if (listens && i === 1) $('.n1', g).textContent = '';
    });
    g.classList.toggle('changed', JSON.stringify(row) !== JSON.stringify(oldRows.get(fd)));
  });
  const clients = step.clients || [];
  let legend = $('.clients', svg);
  if (!legend) legend = shape('text', { x: 10, class: 'quiet clients' }, svg);
  legend.setAttribute('y', top0 + fds.length * rowHeight + 4);
  legend.textContent = clients.map(c => `${c.name} has received ${bytes(c.received)}` + (c.queued ? ' (not accepted)' : '') + (c.stopped ? ' (does not read)' : '') + (c.end ? ' (' + c.end + ')' : '')).join(' · ').slice(0, 60);
  svg.setAttribute('viewBox', `0 0 460 ${top0 + fds.length * rowHeight + 16}`);
  svg.classList.toggle('asleep', step.moment === 'asleep');
  svg.setAttribute('aria-label', describe(step, rows));
}

// describe says what the picture shows.
function describe(step, rows) {
  const parts = [...rows].map(([fd, { socket, interest }]) => `${(step.names || {})[fd] || fd}: ` + [
    interest ? 'interest ' + (interest.text ?? mask(interest.events)) + (interest.ready ? ', ready' : '') : '',
    socket ? (socket.listening ? `${socket.unread || 0} wait for accept` : `${socket.unread || 0} bytes unread, ${socket.unsent || 0} unsent`) : '',
  ].filter(Boolean).join(', '));
  return 'What the kernel holds. ' + parts.join('; ');
}
