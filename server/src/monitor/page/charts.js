// Which charts there are.

const quantiles = (name) => [
  { key: `${name}50`, label: 'median', colour: 'first' },
  { key: `${name}95`, label: '95 %', colour: 'second' },
  { key: `${name}99`, label: '99 %', colour: 'third' },
];

const CHARTS = [
  {
    id: 'commits', title: 'Commits', format: rate, least: 1,
    series: [
      { key: 'commits', label: 'commits', colour: 'first' },
      { key: 'aborts', label: 'aborts', colour: 'second' },
    ],
  },
  {
    id: 'loads', title: 'Loads and stores', format: rate, least: 1,
    series: [
      { key: 'loads', label: 'loads', colour: 'first' },
      { key: 'stores', label: 'stores', colour: 'second' },
    ],
  },
  {
    id: 'conflicts', title: 'Conflicts', format: rate, least: 1,
    series: [
      { key: 'conflicts', label: 'failed', colour: 'second' },
      { key: 'conflicts_resolved', label: 'resolved', colour: 'first' },
      { key: 'left_to_client', label: 'for clients', colour: 'third' },
    ],
  },
  { id: 'finish', title: 'Time of a commit', note: 'tpc_finish to its answer', format: duration, least: 0.001, series: quantiles('finish') },
  {
    id: 'parts', title: 'What commits wait for', note: '95 % take less', format: duration, least: 0.001,
    series: [
      { key: 'vote_wait95', label: 'locks', colour: 'second' },
      { key: 'prepare95', label: 'checks', colour: 'first' },
      { key: 'sync95', label: 'disk', colour: 'third' },
      { key: 'lock_hold95', label: 'held', colour: 'fourth' },
    ],
  },
  { id: 'load', title: 'Time of a load', note: 'in the server', format: duration, least: 0.0001, series: quantiles('load') },
  {
    id: 'transactions', title: 'Transactions', note: 'wait for locks, hold them', format: count, least: 2,
    series: [
      { key: 'waiting', label: 'wait', colour: 'second' },
      { key: 'holding', label: 'hold', colour: 'fourth' },
      { key: 'transactions', label: 'begun', colour: 'first' },
    ],
  },
  { id: 'clients', title: 'Clients', format: count, least: 2, series: [{ key: 'clients', label: 'registered', colour: 'first' }] },
  {
    id: 'network', title: 'Network', note: 'all storages', format: byteRate, least: 1000, whole: true,
    series: [
      { key: 'sent', label: 'sent', colour: 'first' },
      { key: 'received', label: 'received', colour: 'second' },
    ],
  },
];

class Charts {
  constructor() {
    this.cursor = null;
    this.charts = CHARTS.map((definition) => {
      const chart = new Chart(definition, (time) => this.point(time));
      chart.whole = definition.whole;
      byId('charts').append(chart.figure);
      return chart;
    });
    new ResizeObserver(() => this.redraw?.()).observe(byId('charts'));
    // A tap beside the charts lets go.
    document.addEventListener('pointerdown', (event) => {
      if (this.cursor !== null && !event.target.closest('svg')) this.point(null);
    });
  }

  draw(history, storage, span) {
    this.redraw = () => {
      const end = history.of(ALL).at(-1)?.time ?? Date.now();
      for (const chart of this.charts) chart.draw(history.of(chart.whole ? ALL : storage), end, span);
    };
    this.redraw();
  }

  point(time) {
    this.cursor = time;
    for (const chart of this.charts) chart.point(time);
  }
}
