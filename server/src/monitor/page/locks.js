// Who holds locks, and who waits for whom.

const MAX_LOCK_ROWS = 60;

// What the phases of a transaction mean, as sentences about its client.
const PHASES = {
  open: 'It has begun a transaction and not voted.',
  waiting: 'It waits for locks itself.',
  preparing: 'The server checks its vote.',
  voted: 'It has voted and does not finish.',
  finishing: 'Its transaction is being written.',
};

const nameOf = (client) => (client.label ? plain(client.label) : plain(client.address));

// The clients that hold locks, each with those that wait for it (also through others), the one
// that holds up most first: a list of { client, waiters: [{ client, behind }] }.
function lockTrees(clients) {
  const byNumber = new Map(clients.map((client) => [client.id, client]));
  const trees = new Map();
  for (const client of clients) {
    if (client.transaction?.holds_locks) trees.set(client.id, { client, waiters: [] });
  }
  for (const client of clients) {
    const waits = client.transaction?.waits_for;
    if (!waits) continue;
    const behind = waits.clients.map((id) => byNumber.get(id)).filter(Boolean);
    const root = rootOf(client, byNumber, trees);
    if (!trees.has(root.id)) trees.set(root.id, { client: root, waiters: [] });
    if (root !== client) trees.get(root.id).waiters.push({ client, behind });
  }
  const longest = (tree) => Math.max(0, ...tree.waiters.map(({ client }) => client.transaction.waits_for.age));
  for (const tree of trees.values()) {
    tree.longest = longest(tree);
    tree.waiters.sort((a, b) => b.client.transaction.waits_for.age - a.client.transaction.waits_for.age);
  }
  return [...trees.values()].sort((a, b) => b.waiters.length - a.waiters.length || b.longest - a.longest
    || b.client.transaction.phase_age - a.client.transaction.phase_age);
}

// The client at the end of the chain: the first that holds locks, of those before this one.
function rootOf(client, byNumber, trees) {
  const seen = new Set();
  let next = [client];
  while (next.length > 0) {
    const holder = next.find(({ id }) => trees.has(id) && id !== client.id);
    if (holder) return trees.get(holder.id).client;
    next.forEach(({ id }) => seen.add(id));
    next = next.flatMap(({ transaction }) => transaction?.waits_for?.clients ?? [])
      .filter((id) => !seen.has(id)).map((id) => byNumber.get(id)).filter(Boolean);
  }
  return client;
}

const lockColumns = [
  { key: 'client', title: 'Client', show: (row) => nameOf(row.client), hint: (row) => nameOf(row.client) },
  { key: 'for', title: 'For', number: true, show: (row) => age(row.for) },
  { key: 'state', title: 'State', show: (row) => row.state, hint: (row) => PHASES[row.client.transaction?.phase] ?? '' },
  { key: 'age', title: 'Transaction', number: true, show: (row) => age(row.client.transaction?.age) },
  { key: 'what', title: 'Description, user', show: (row) => transactionText(row.client), hint: (row) => transactionText(row.client) },
  { key: 'address', title: 'Address', show: (row) => plain(row.client.address) },
  { key: 'storage', title: 'Storage', show: (row) => plain(row.client.storage ?? DASH) },
];

function transactionText({ transaction }) {
  return [transaction?.description, transaction?.user].filter(Boolean).map(plain).join(', ');
}

function lockRows(trees) {
  const rows = [];
  for (const { client, waiters } of trees) {
    const { phase, phase_age: since } = client.transaction;
    const blocks = waiters.length > 0;
    const state = plain(phase) + (blocks ? `, holds up ${count(waiters.length)}` : '');
    rows.push({ id: client.id, client, kind: blocks ? 'blocker' : 'holder', for: since, state });
    for (const waiter of waiters) {
      const { oid, age: waited } = waiter.client.transaction.waits_for;
      const others = waiter.behind.filter((other) => other !== client).map(nameOf);
      const behind = others.length > 0 ? `, behind ${firstOf(others, 2)}` : '';
      const state = `waits for ${oid === null ? 'the storage' : plain(oid)}${behind}`;
      rows.push({ id: waiter.client.id, client: waiter.client, kind: 'waiter', for: waited, state });
    }
  }
  return rows;
}

const firstOf = (names, most) => names.slice(0, most).join(', ') + (names.length > most ? ', \u2026' : '');

class Locks {
  constructor() {
    this.table = new Table(byId('locks-table'), lockColumns);
  }

  show(clients) {
    const trees = lockTrees(clients);
    const rows = lockRows(trees);
    this.table.show(rows.slice(0, MAX_LOCK_ROWS));
    const waiting = rows.filter(({ kind }) => kind === 'waiter').length;
    const holding = rows.length - waiting;
    setText(byId('locks-note'), waiting + holding > 0 ? `${count(holding)} hold, ${count(waiting)} wait` : '');
    byId('locks-table').hidden = rows.length === 0;
    setText(byId('locks-none'), rows.length === 0 ? 'No client holds locks, and none waits.' : '');
    const more = rows.length - MAX_LOCK_ROWS;
    if (more > 0) setText(byId('locks-none'), `And ${count(more)} more.`);
    return trees;
  }
}
