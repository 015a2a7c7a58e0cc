// One chart: lines over time as SVG, with a legend that shows the newest values, or those where
// the pointer (or the arrow keys) stands. All charts share the place of the pointer.

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 108;
const LEFT = 1;
const BOTTOM = 1;

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// 1, 2 or 5 times a power of ten, not below the value.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.9999);
}

class Chart {
  // `format` shows a value with its unit; `least` is the smallest top of the scale.
  constructor({ id, title, note, series, format, least }, onCursor) {
    Object.assign(this, { series, format, least, onCursor });
    this.top = least;
    this.points = [];
    this.figure = element('figure', { id: `chart-${id}`, class: 'chart' });
    const caption = element('figcaption', { id: `caption-${id}` }, element('h3', {}, title));
    if (note) caption.append(element('small', {}, note));
    this.legend = element('dl');
    for (const line of series) {
      line.value = element('dd', {}, DASH);
      const name = element('dt', {}, element('i', { class: line.colour }), line.label);
      this.legend.append(element('div', {}, name, line.value));
    }
    this.drawing = svg('svg', { role: 'img', tabindex: 0, 'aria-labelledby': `caption-${id}`, height: HEIGHT });
    this.grid = [0.5, 1].map(() => this.drawing.appendChild(svg('line', { class: 'grid', x1: 0 })));
    this.base = this.drawing.appendChild(svg('line', { class: 'base', x1: 0, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
    for (const line of series) line.path = this.drawing.appendChild(svg('path', { class: `line ${line.colour}` }));
    this.scale = [0.5, 1].map(() => this.drawing.appendChild(svg('text', { class: 'scale', x: 2 })));
    this.cursor = this.drawing.appendChild(svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' }));
    this.ends = element('p', { class: 'ends', 'aria-hidden': 'true' }, element('span'), element('span'), element('span', {}, 'now'));
    this.figure.append(caption, this.legend, this.drawing, this.ends);
    this.listen();
  }

  listen() {
    const point = (event) => {
      const box = this.drawing.getBoundingClientRect();
      this.onCursor(this.timeAt(event.clientX - box.left));
    };
    this.drawing.addEventListener('pointermove', point);
    this.drawing.addEventListener('pointerdown', point);
    this.drawing.addEventListener('pointerleave', (event) => {
      if (event.pointerType === 'mouse') this.onCursor(null);
    });
    this.drawing.addEventListener('keydown', (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (event.key === 'Escape') this.onCursor(null);
      if (!steps) return;
      event.preventDefault();
      this.onCursor((this.cursorTime ?? this.end) + steps * this.span / 60);
    });
    this.drawing.addEventListener('blur', () => this.onCursor(null));
  }

  timeAt(x) {
    return this.end - this.span * (1 - Math.min(1, Math.max(0, x / this.width)));
  }

  // Shows these points, from `span` milliseconds before `end`.
  draw(points, end, span) {
    Object.assign(this, { end, span, width: this.drawing.clientWidth || 300 });
    this.points = points.filter((point) => point.time >= end - span - 2 * PERIOD);
    const values = this.points.flatMap((point) => this.series.map((line) => point[line.key])).filter(isNumber);
    this.fit(Math.max(this.least, ...values));
    for (const line of this.series) line.path.setAttribute('d', this.path(line.key));
    for (const [place, part] of [0.5, 1].entries()) {
      const y = this.y(this.top * part);
      setAttributes(this.grid[place], { y1: y, y2: y, x2: this.width });
      this.scale[place].setAttribute('y', y + 11);
      setText(this.scale[place], this.format(this.top * part));
    }
    this.base.setAttribute('x2', this.width);
    setText(this.ends.children[0], `${span / 60000}\u00a0min ago`);
    this.point(this.cursorTime ?? null);
  }

  // Grows at once, and shrinks only when much room is left, so that the scale is calm.
  fit(highest) {
    if (highest > this.top || highest < this.top * 0.3) this.top = roundUp(highest * 1.05);
  }

  x(time) {
    return LEFT + (this.width - LEFT) * (1 - (this.end - time) / this.span);
  }

  y(value) {
    return 3 + (HEIGHT - BOTTOM - 3) * (1 - value / this.top);
  }

  path(key) {
    let path = '';
    let drawing = false;
    for (const point of this.points) {
      const value = point[key];
      if (!isNumber(value)) {
        drawing = false;
        continue;
      }
      const place = `${this.x(point.time).toFixed(1)} ${this.y(value).toFixed(1)}`;
      // A point of no length is drawn as a dot when it stands alone.
      path += drawing ? `L${place}` : `M${place}h0`;
      drawing = true;
    }
    return path;
  }

  // Shows the values at this time, or the newest ones.
  point(time) {
    this.cursorTime = time;
    const shown = time === null ? this.points.at(-1) : this.nearest(time);
    for (const line of this.series) setText(line.value, this.format(shown?.[line.key]));
    this.cursor.setAttribute('visibility', time === null || !shown ? 'hidden' : 'visible');
    if (time !== null && shown) setAttributes(this.cursor, { x1: this.x(shown.time), x2: this.x(shown.time) });
    setText(this.ends.children[1], time === null || !shown ? '' : clock(new Date(shown.time)));
  }

  nearest(time) {
    const distance = (point) => Math.abs(point.time - time);
    return this.points.reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), undefined);
  }
}

function setAttributes(target, attributes) {
  for (const [key, value] of Object.entries(attributes)) target.setAttribute(key, value);
}
