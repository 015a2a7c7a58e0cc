// Asks the server every two seconds, and shows what it says.

// An answer that does not come in this time (milliseconds) is none.
const PATIENCE = 8000;
// Seconds: what is slow enough to be said first.
const LONG_WAIT = 1;
const VERY_LONG_WAIT = 10;
const SLOW_COMMIT = 1;

const history = new History();
const charts = new Charts();
const locks = new Locks();
const clients = new Clients();
const facts = new Facts();

const page = { status: null, answered: 0, failing: '', paused: false, timer: 0, asking: false };

async function ask() {
  clearTimeout(page.timer);
  if (page.paused || document.hidden || page.asking) return;
  page.asking = true;
  const begun = performance.now();
  try {
    take(await answer());
  } catch (problem) {
    fail(problem);
  }
  page.asking = false;
  // A server that needs long for an answer is asked less often.
  const took = performance.now() - begun;
  page.timer = setTimeout(ask, Math.max(PERIOD - took, 3 * took, 100));
}

async function answer() {
  const response = await fetch('status.json', { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE) })
    .catch((problem) => { throw new Error(problem.name === 'TimeoutError' ? 'no answer in time' : 'no connection'); });
  if (!response.ok) throw new Error(`it answers with status ${response.status}`);
  return response.json();
}

function take(status) {
  if (page.failing) history.interrupt(Date.now() - PERIOD);
  page.failing = '';
  page.status = status;
  page.answered = Date.now();
  history.add(page.answered, gather(status));
  show();
}

function fail(problem) {
  page.failing = problem.message;
  showState();
}

function show() {
  const { status } = page;
  chooseStorages(status.storages);
  const storage = byId('storage').value;
  const ofStorage = status.clients.filter((client) => storage === ALL || client.storage === storage);
  page.trees = locks.show(ofStorage);
  charts.draw(history, storage, Number(byId('span').value) * 1000);
  facts.show(status, storage);
  clients.show(status.time, ofStorage);
  document.body.classList.toggle('single', status.storages.length === 1);
  showState();
}

function chooseStorages(storages) {
  const choice = byId('storage');
  const names = [ALL, ...storages.map(({ name }) => name)];
  const known = Array.from(choice.options, ({ value }) => value);
  if (known.join('\n') !== names.join('\n')) {
    const chosen = choice.value;
    choice.replaceChildren(...names.map((name) => element('option', { value: name }, name === ALL ? 'all' : plain(name))));
    choice.value = names.includes(chosen) ? chosen : ALL;
  }
  byId('storage-choice').hidden = storages.length < 2;
}

// The state of the page, and in one sentence what a person should know first.
function showState() {
  const stale = Boolean(page.failing);
  const said = verdict();
  byId('verdict').dataset.state = said.state;
  setText(byId('verdict-text'), said.text);
  if (page.said !== said.kind) {
    page.said = said.kind;
    setText(byId('spoken'), said.text);
  }
  document.body.classList.toggle('stale', stale);
  const live = stale ? ['stale', 'No answer'] : page.paused ? ['paused', 'Paused'] : page.status ? ['ok', 'Live'] : ['wait', 'Connecting'];
  byId('live').dataset.state = live[0];
  setText(byId('live'), live[1]);
  const mark = { bad: '\u25cf ', warn: '\u25cb ', stale: '? ' }[said.state] ?? '';
  document.title = `${mark}ZEO server ${location.host}`;
}

function verdict() {
  const { status } = page;
  if (page.failing) return silence();
  if (!status) return { state: 'wait', kind: 'wait', text: 'Waiting for the first answer of the server' };
  const { server } = status;
  if (server.stopping) return { state: 'bad', kind: 'stopping', text: 'The server is stopping.' };
  if (!server.alive || !server.ready) {
    const faults = server.faults.map(plain).join('; ');
    return { state: 'bad', kind: `fault ${faults}`, text: `${server.alive ? 'Not ready' : 'Not alive'}: ${faults || 'the server gives no reason'}` };
  }
  return blocked() ?? slow() ?? packing() ?? { state: 'ok', kind: 'ok', text: 'In order: nobody waits long, commits are quick.' };
}

function silence() {
  if (!page.answered) return { state: 'stale', kind: 'silence', text: `The server does not answer: ${page.failing}. Trying again.` };
  const since = clock(new Date(page.answered));
  return { state: 'stale', kind: 'silence', text: `The server has not answered since ${since}, ${age((Date.now() - page.answered) / 1000)} ago: ${page.failing}. Below is what it said then.` };
}

function blocked() {
  const tree = page.trees?.find(({ longest }) => longest >= LONG_WAIT);
  if (!tree) return null;
  const { client, waiters } = tree;
  const state = tree.longest >= VERY_LONG_WAIT ? 'bad' : 'warn';
  const who = `${nameOf(client)}${client.label ? ` (${plain(client.address)})` : ''}`;
  const wait = waiters.length === 1 ? '1 client waits' : `${count(waiters.length)} clients wait`;
  return { state, kind: `blocked ${client.id}`, text: `${wait} for ${who}, the longest for ${age(tree.longest)}. ${PHASES[client.transaction.phase] ?? ''}` };
}

function slow() {
  const time = history.of(ALL).at(-1)?.finish95;
  if (!(time >= SLOW_COMMIT)) return null;
  return { state: 'warn', kind: 'slow', text: `Commits are slow: 95 % take up to ${duration(time)}.` };
}

function packing() {
  const storage = page.status.storages.find(({ pack }) => pack);
  if (!storage) return null;
  return { state: 'ok', kind: `pack ${storage.name}`, text: `A pack of storage ${plain(storage.name)} is running; nobody waits long, commits are quick.` };
}

function pause() {
  page.paused = !page.paused;
  byId('pause').setAttribute('aria-pressed', String(page.paused));
  if (!page.paused) history.interrupt(Date.now());
  showState();
  ask();
}

byId('controls').addEventListener('submit', (event) => event.preventDefault());
byId('pause').addEventListener('click', pause);
for (const id of ['storage', 'span']) byId(id).addEventListener('change', () => page.status && show());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) history.interrupt(Date.now());
  else ask();
});
// While the server does not answer, only the time since then changes.
setInterval(() => page.failing && !document.hidden && showState(), 1000);
setText(byId('host'), location.host);
ask();
