// Clients, storages, packs, and the process.

const locked = (client) => client.transaction?.waits_for?.age ?? client.transaction?.phase_age ?? null;

function behind(client, names) {
  const waits = client.transaction?.waits_for;
  if (!waits) return '';
  const who = waits.clients.map((id) => names.get(id) ?? `client ${count(id)}`);
  return firstOf(who, 3);
}

const clientColumns = [
  { key: 'label', title: 'Client', show: ({ client }) => (client.label ? plain(client.label) : DASH), sort: ({ client }) => client.label ?? '' },
  { key: 'address', title: 'Address', show: ({ client }) => plain(client.address) + (client.tls ? ' TLS' : ''), sort: ({ client }) => client.address },
  { key: 'storage', title: 'Storage', show: ({ client }) => (client.storage === null ? 'not registered' : plain(client.storage) + (client.read_only ? ', reads' : '')), sort: ({ client }) => client.storage },
  { key: 'age', title: 'Connected', number: true, show: ({ client }) => age(client.age), sort: ({ client }) => client.age, hint: ({ client }) => `since ${moment(client.since)}` },
  { key: 'loads', title: 'Loads', number: true, show: (row) => rate(row.loads), sort: (row) => row.loads, hint: ({ client }) => `${count(client.loads)} since it connected` },
  { key: 'commits', title: 'Commits', number: true, show: (row) => rate(row.commits), sort: (row) => row.commits, hint: ({ client }) => `${count(client.commits)} since it connected` },
  { key: 'sent', title: 'Sent to it', number: true, show: (row) => byteRate(row.sent), sort: (row) => row.sent, hint: ({ client }) => `${bytes(client.bytes_sent)} since it connected` },
  { key: 'mailbox', title: 'Unread', number: true, show: ({ client }) => count(client.mailbox_events), sort: ({ client }) => client.mailbox_events, hint: ({ client }) => `${bytes(client.mailbox_bytes)} of invalidations and answers wait for it to read` },
  { key: 'state', title: 'Transaction', show: ({ client }) => (client.transaction ? plain(client.transaction.phase) : ''), sort: ({ client }) => client.transaction?.phase ?? null, hint: ({ client }) => `${PHASES[client.transaction?.phase] ?? ''} ${transactionText(client)}`.trim() },
  { key: 'for', title: 'For', number: true, show: ({ client }) => (client.transaction ? age(locked(client)) : ''), sort: ({ client }) => locked(client) },
  { key: 'behind', title: 'Waits for', show: (row) => row.behind, sort: (row) => row.behind || null },
];

class Clients {
  constructor() {
    this.table = new Table(byId('clients-table'), clientColumns, 'age');
    this.table.downwards = true;
    this.table.markSorted();
    this.before = { time: 0, clients: new Map() };
    byId('filter').addEventListener('input', () => this.filter());
  }

  // `time` is that of the answer, in seconds.
  show(time, clients) {
    const names = new Map(clients.map((client) => [client.id, nameOf(client)]));
    const seconds = time - this.before.time;
    this.rows = clients.map((client) => {
      const before = this.before.clients.get(client.id);
      const perSecond = (key) => (before && seconds > 0 ? Math.max(0, client[key] - before[key]) / seconds : null);
      const kind = client.transaction?.waits_for ? 'waiter' : client.transaction?.holds_locks ? 'holder' : '';
      return { id: client.id, client, kind, behind: behind(client, names), loads: perSecond('loads'), commits: perSecond('commits'), sent: perSecond('bytes_sent') };
    });
    if (seconds > 0) this.before = { time, clients: new Map(clients.map((client) => [client.id, client])) };
    this.filter();
  }

  filter() {
    if (!this.rows) return;
    const words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = this.rows.filter((row) => {
      const text = [0, 1, 2, 8, 10].map((place) => clientColumns[place].show(row)).join(' ').toLowerCase();
      return words.every((word) => text.includes(word));
    });
    const shown = this.table.show(rows);
    const all = this.rows.length;
    setText(byId('clients-count'), shown === all ? count(all) : `${count(shown)} of ${count(all)} shown`);
  }
}

const storageColumns = [
  { key: 'name', title: 'Storage', show: ({ storage }) => plain(storage.name), hint: ({ storage }) => plain(storage.file) },
  { key: 'state', title: 'State', show: ({ storage }) => stateText(storage) + databaseText(storage.database), hint: ({ storage }) => (storage.database?.servers ?? []).map(serverText).join('\n') },
  { key: 'size', title: 'Size', number: true, show: ({ storage }) => bytes(storage.size) },
  { key: 'objects', title: 'Objects', number: true, show: ({ storage }) => count(storage.objects) },
  { key: 'clients', title: 'Clients', number: true, show: ({ storage }) => count(storage.clients) },
  { key: 'age', title: 'Last commit', number: true, show: ({ storage }) => (isNumber(storage.last_tid_age) ? age(storage.last_tid_age) + ' ago' : DASH), hint: ({ storage }) => moment(storage.last_tid_time) },
  { key: 'tid', title: 'Last tid', show: ({ storage }) => plain(storage.last_tid) },
  { key: 'queue', title: 'Invalidation queue', number: true, show: ({ storage }) => queueText(storage.coordinator?.invalidation_queue), hint: () => 'Clients that were away for no longer keep their caches' },
  { key: 'requests', title: 'Requests wait', number: true, show: ({ storage }) => count(storage.queued_requests), hint: () => 'for the coordinator, at most 256' },
  { key: 'writer', title: 'Disk busy', number: true, show: ({ storage }) => (isNumber(storage.log_writer_busy) ? duration(storage.log_writer_busy) : 'no'), hint: () => 'how long the log writer has been at work on one batch' },
  { key: 'mailbox', title: 'Fullest mailbox', number: true, show: ({ storage }) => `${digits(Math.round(100 * storage.mailbox_fullest))}\u00a0%`, hint: () => 'at 100 % its client is disconnected' },
];

function stateText({ failure, read_only: readOnly, coordinator }) {
  if (failure) return `accepts no commits: ${plain(failure)}`;
  if (readOnly) return 'read-only';
  return coordinator ? 'in order' : 'does not answer';
}

function databaseText(database) {
  if (!database) return '';
  const late = database.servers.filter((server) => server.late).length;
  return `; ${plural(database.servers.length, 'server')} on the database` + (late > 0 ? `, ${count(late)} behind` : '');
}

function serverText(server) {
  const state = !server.late ? 'up to date' : server.behind > 0 ? `${duration(server.behind)} behind` : `not heard of for ${duration(server.silent)}`;
  return `${plain(server.address)}: ${state}`;
}

function queueText(queue) {
  if (!queue) return DASH;
  const reach = isNumber(queue.reach) ? `reaches back ${age(queue.reach)}` : '';
  return [`${count(queue.transactions)} of ${count(queue.limit)}`, reach].filter(Boolean).join('; ');
}

const classColumns = [
  { key: 'class', title: 'Class', show: (row) => plain(row.id) },
  { key: 'resolved', title: 'Resolved', number: true, show: (row) => count(row.resolved) },
  { key: 'unresolved', title: 'Failed', number: true, show: (row) => count(row.unresolved) },
  { key: 'left', title: 'Left to clients', number: true, show: (row) => count(row.left_to_client) },
];

class Facts {
  constructor() {
    this.storages = new Table(byId('storages-table'), storageColumns);
    this.classes = new Table(byId('classes-table'), classColumns);
    this.packs = new Map();
  }

  show(status, chosen) {
    const shown = status.storages.filter(({ name }) => chosen === ALL || name === chosen);
    this.storages.show(status.storages.map((storage) => ({ id: storage.name, storage, kind: storage.failure ? 'broken' : '' })));
    this.showClasses(shown);
    this.showPacks(status.storages);
    this.showProcess(status.server);
  }

  showClasses(storages) {
    const sums = new Map();
    for (const { conflict_classes: classes } of storages) {
      for (const [name, outcomes] of Object.entries(classes ?? {})) {
        const sum = sums.get(name) ?? {};
        addTo(sum, outcomes);
        sums.set(name, sum);
      }
    }
    const rows = [...sums].map(([id, sum]) => ({
      id,
      resolved: sum.resolved + sum.resolved_by_program,
      unresolved: sum.unresolved + sum.refused_by_program + sum.program_failed,
      left_to_client: sum.left_to_client,
      total: Object.values(sum).reduce((all, number) => all + number, 0),
    }));
    this.classes.show(rows.sort((a, b) => b.total - a.total || compare(a.id, b.id)));
    byId('classes-table').hidden = rows.length === 0;
    setText(byId('classes-none'), rows.length === 0 ? 'No conflicts.' : '');
  }

  showPacks(storages) {
    const list = byId('pack-list');
    for (const [name, item] of this.packs) {
      if (!storages.some((storage) => storage.name === name)) item.remove();
    }
    for (const storage of storages) {
      if (!this.packs.has(storage.name)) this.packs.set(storage.name, list.appendChild(packItem()));
      const item = this.packs.get(storage.name);
      if (storage.pack && list.firstChild !== item) list.prepend(item);
      showPack(item, storage, storages.length > 1);
    }
  }

  showProcess(server) {
    const refused = Object.values(server.tls_refusals ?? {}).reduce((sum, number) => sum + number, 0);
    const facts = [
      ['Version', `${plain(server.version)}, process ${server.pid}`],
      ['Running', `${age(server.uptime)}, since ${moment(server.started)}`],
      ['Memory', `${bytes(server.memory)}, ${plural(server.threads, 'thread')}`],
      ['Descriptors', `${count(server.descriptors)} of ${count(server.descriptor_limit)}`],
      ['Connections', `${count(server.connections)}, ${count(server.connections_tls)} with TLS; ${count(refused)} refused`],
      ['Listens on', server.addresses.map(plain).join(', ')],
    ];
    const list = byId('process');
    for (const [place, [name, value]] of facts.entries()) {
      const line = list.children[place] ?? list.appendChild(element('div', {}, element('dt', {}, name), element('dd')));
      setText(line.children[1], value);
    }
  }
}

function packItem() {
  return element('li', {}, element('span'), element('progress', { max: 1 }), element('small'));
}

function showPack(item, { name, pack, packs }, several) {
  const [title, bar, note] = item.children;
  const of = several ? `Storage ${plain(name)}: ` : '';
  setText(title, of + (pack ? plain(pack.text) : 'none is running'));
  bar.setAttribute('aria-label', `Pack of storage ${plain(name)}`);
  bar.hidden = !pack;
  if (pack && pack.total > 0) bar.value = Math.min(1, pack.done / pack.total);
  else bar.removeAttribute('value');
  const failed = packs.failed > 0 ? `, ${count(packs.failed)} failed` : '';
  setText(note, pack ? `since ${moment(pack.started)}, for ${age(pack.age)}` : `${count(packs.complete)} complete${failed} since the start`);
}
