// Tables whose rows keep their elements from one answer of the server to the next, so that
// nothing that a person selects or points at is lost, and that can be sorted and filtered.

// Rows beyond these are not shown.
const MAX_ROWS = 200;

class Table {
  // Columns: { key, title, show(row) -> text, sort(row) -> number or text, number, hint(row) }.
  // With `sorted` (a column's key), people can sort by any column.
  constructor(table, columns, sorted) {
    this.columns = columns;
    this.body = table.tBodies[0];
    this.rows = new Map();
    this.sorted = sorted;
    this.downwards = false;
    this.heads = new Map();
    const row = element('tr');
    for (const column of columns) row.append(this.head(column));
    table.tHead.replaceChildren(row);
    this.markSorted();
  }

  head(column) {
    const head = element('th', { scope: 'col', class: column.number ? 'number' : 'words' });
    if (this.sorted && column.sort) {
      const button = element('button', { type: 'button' }, column.title);
      button.addEventListener('click', () => this.sortBy(column));
      head.append(button);
    } else {
      head.append(column.title);
    }
    this.heads.set(column.key, head);
    return head;
  }

  sortBy(column) {
    // Numbers begin with the largest, since that is the interesting one.
    this.downwards = this.sorted === column.key ? !this.downwards : Boolean(column.number);
    this.sorted = column.key;
    this.markSorted();
    this.show(this.last ?? []);
  }

  markSorted() {
    for (const [key, head] of this.heads) {
      if (key === this.sorted) head.setAttribute('aria-sort', this.downwards ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
  }

  // Shows these rows, each an object with an `id` of its own; returns how many are shown.
  show(rows) {
    this.last = rows;
    const shown = this.inOrder(rows).slice(0, MAX_ROWS);
    const kept = new Map();
    for (const [place, row] of shown.entries()) {
      const line = this.rows.get(row.id) ?? this.line();
      kept.set(row.id, line);
      this.fill(line, row);
      if (this.body.children[place] !== line) this.body.insertBefore(line, this.body.children[place] ?? null);
    }
    for (const [id, line] of this.rows) if (!kept.has(id)) line.remove();
    this.rows = kept;
    return shown.length;
  }

  inOrder(rows) {
    const column = this.columns.find(({ key }) => key === this.sorted);
    if (!column) return rows;
    const sign = this.downwards ? -1 : 1;
    return rows.map((row) => [column.sort(row), row])
      .sort(([a, x], [b, y]) => sign * compare(a, b) || compare(x.id, y.id))
      .map(([, row]) => row);
  }

  line() {
    const line = element('tr');
    for (const [place, column] of this.columns.entries()) {
      const cell = place === 0 ? element('th', { scope: 'row' }) : element('td');
      cell.className = column.number ? 'number' : 'words';
      line.append(cell);
    }
    return line;
  }

  fill(line, row) {
    line.className = row.kind ?? '';
    for (const [place, column] of this.columns.entries()) {
      const cell = line.children[place];
      setText(cell, column.show(row));
      const hint = column.hint?.(row) ?? '';
      if (cell.title !== hint) cell.title = hint;
    }
  }
}

// What is missing comes first when it goes up, and last when it goes down.
function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return -1;
  if (b === null || b === undefined) return 1;
  if (typeof a === 'string') return a.localeCompare(b, 'en', { numeric: true });
  return a - b;
}
