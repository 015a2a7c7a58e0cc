// What the server has counted, kept for some minutes, and turned into rates and quantiles by
// differences.

// Milliseconds between two samples, and how many are kept: 15 minutes.
const PERIOD = 2000;
const MAX_SAMPLES = 450;
// Storages times samples, so that many storages don't fill the memory.
const MAX_POINTS = 9000;
// Quantiles are those of the last five samples.
const SMOOTH = 5;
// The sum of all storages.
const ALL = '';

const COUNTERS = ['loads', 'stores', 'commits', 'aborts', 'conflicts', 'conflicts_resolved'];
const DURATIONS = ['load', 'vote_wait', 'prepare', 'lock_hold', 'sync', 'finish', 'commit'];

// From the answer of /status.json, by the name of the storage, what `History` keeps: `counters`
// that grow, `gauges` that don't, and `times`: for each duration the counts of its buckets.
function gather(status) {
  const gathered = new Map();
  const all = { counters: {}, gauges: {}, times: {}, bounds: {} };
  for (const storage of status.storages) {
    const own = ofStorage(storage);
    gathered.set(storage.name, own);
    addTo(all.counters, own.counters);
    addTo(all.gauges, own.gauges);
    for (const [name, counts] of Object.entries(own.times)) {
      all.times[name] = counts.map((number, place) => number + (all.times[name]?.[place] ?? 0));
      all.bounds[name] = own.bounds[name];
    }
  }
  all.counters.received = status.server.bytes_received;
  all.counters.sent = status.server.bytes_sent;
  all.gauges.connections = status.server.connections;
  gathered.set(ALL, all);
  return gathered;
}

function ofStorage(storage) {
  const own = { counters: {}, gauges: {}, times: {}, bounds: {} };
  for (const name of COUNTERS) own.counters[name] = storage[name];
  own.counters.left_to_client = Object.values(storage.conflict_classes ?? {})
    .reduce((sum, outcomes) => sum + outcomes.left_to_client, 0);
  own.gauges.clients = storage.clients;
  own.gauges.transactions = storage.transactions;
  if (storage.coordinator) {
    own.gauges.holding = storage.coordinator.holding;
    own.gauges.waiting = storage.coordinator.waiting;
  }
  for (const name of DURATIONS) {
    const histogram = storage.durations?.[name];
    if (histogram) {
      own.times[name] = histogram.counts;
      own.bounds[name] = histogram.bounds;
    }
  }
  return own;
}

function addTo(sums, numbers) {
  for (const [name, value] of Object.entries(numbers)) sums[name] = (sums[name] ?? 0) + value;
}

// The quantile of what came into the buckets between `before` and `after`, as Prometheus
// estimates it; undefined when nothing did.
function quantile(part, bounds, before, after) {
  const counts = after.map((number, place) => number - before[place]);
  const total = counts.reduce((sum, number) => sum + number, 0);
  if (!(total > 0) || counts.some((number) => number < 0)) return undefined;
  const wanted = part * total;
  let under = 0;
  for (const [place, number] of counts.entries()) {
    if (number > 0 && under + number >= wanted) {
      const low = place === 0 ? 0 : bounds[place - 1];
      return place < bounds.length ? low + (bounds[place] - low) * (wanted - under) / number : low;
    }
    under += number;
  }
  return bounds.at(-1);
}

// The points of all charts, for each storage. A point is { time, NAME: value, ... }; one that
// has nothing but its time interrupts the lines.
class History {
  constructor() {
    this.points = new Map();
    this.recent = [];
  }

  // Takes what the server said at this time (milliseconds).
  add(time, gathered) {
    if (time < this.of(ALL).at(-1)?.time) {
      // The browser's clock was set back: what was kept is from the future.
      this.points.clear();
      this.recent = [];
    }
    const last = this.recent.at(-1);
    if (last && hasRestarted(last.gathered, gathered)) this.interrupt(time - 1);
    const limit = Math.max(30, Math.min(MAX_SAMPLES, Math.floor(MAX_POINTS / gathered.size)));
    for (const name of this.points.keys()) {
      if (!gathered.has(name)) this.points.delete(name);
    }
    for (const [name, now] of gathered) {
      const points = this.of(name);
      points.push(this.point(time, name, now));
      points.splice(0, points.length - limit);
      this.points.set(name, points);
    }
    this.recent.push({ time, gathered });
    this.recent.splice(0, this.recent.length - SMOOTH - 1);
  }

  // The lines get a gap: the page was hidden, or the server did not answer.
  interrupt(time) {
    for (const points of this.points.values()) {
      if (Object.keys(points.at(-1) ?? {}).length > 1) points.push({ time });
    }
    this.recent = [];
  }

  of(name) {
    return this.points.get(name) ?? [];
  }

  point(time, name, now) {
    const point = { time, ...now.gauges };
    const last = this.recent.at(-1);
    const before = last?.gathered.get(name);
    if (before) {
      for (const [key, value] of Object.entries(now.counters)) {
        point[key] = Math.max(0, value - (before.counters[key] ?? value)) * 1000 / (time - last.time);
      }
    }
    const earlier = this.recent[0]?.gathered.get(name);
    for (const [key, counts] of Object.entries(earlier ? now.times : {})) {
      for (const percent of [50, 95, 99]) {
        const value = quantile(percent / 100, now.bounds[key], earlier.times[key] ?? counts, counts);
        if (value !== undefined) point[key + percent] = value;
      }
    }
    return point;
  }
}

function hasRestarted(before, after) {
  const earlier = before.get(ALL).counters;
  return Object.entries(after.get(ALL).counters).some(([name, value]) => value < earlier[name]);
}
