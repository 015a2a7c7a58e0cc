// Numbers with units, and text from clients as text.

const DASH = '\u2013';

const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

// Three digits, as a person reads them: 1234, 123, 12.3, 1.23, 0.1.
function digits(value) {
  const size = Math.abs(value);
  if (size >= 100) return grouped.format(value);
  return String(Number(value.toPrecision(size >= 1 ? 3 : 2)));
}

function scaled(value, step, units) {
  let unit = 0;
  while (Math.abs(value) >= step * 0.9995 && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return digits(value) + '\u00a0' + units[unit];
}

const count = (value) => (isNumber(value) ? grouped.format(value) : DASH);

const bytes = (value) => (isNumber(value) ? scaled(value, 1000, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']) : DASH);

const byteRate = (value) => (isNumber(value) ? bytes(value) + '/s' : DASH);

function rate(value) {
  if (!isNumber(value)) return DASH;
  if (value >= 100000) return scaled(value, 1000, ['', 'k', 'M', 'G']) + '/s';
  return digits(value >= 100 ? Math.round(value) : Math.round(value * 10) / 10) + '\u00a0/s';
}

// Two units at most: 350 µs, 12 ms, 1.2 s, 2 min 05 s, 3 h 07 min, 4 d 5 h.
function duration(value) {
  if (!isNumber(value)) return DASH;
  const seconds = Math.max(0, value);
  if (seconds === 0) return '0\u00a0s';
  if (seconds < 0.9995) return scaled(seconds * 1e6, 1000, ['\u00b5s', 'ms', 's']);
  if (seconds < 10) return seconds.toFixed(1) + '\u00a0s';
  if (seconds < 59.5) return Math.round(seconds) + '\u00a0s';
  return long(Math.round(seconds));
}

function long(seconds) {
  const two = (value) => String(value).padStart(2, '0');
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours === 0) return `${minutes}\u00a0min\u00a0${two(seconds % 60)}\u00a0s`;
  if (hours < 24) return `${hours}\u00a0h\u00a0${two(minutes % 60)}\u00a0min`;
  return `${grouped.format(Math.floor(hours / 24))}\u00a0d\u00a0${hours % 24}\u00a0h`;
}

// An age that changes every second in whole seconds, so that it does not flicker.
const age = (value) => (isNumber(value) ? (value < 60 ? Math.floor(Math.max(0, value)) + '\u00a0s' : long(Math.floor(value))) : DASH);

const clock = (date) => date.toLocaleTimeString('en-GB');

// A moment in local time, with the day unless that is today.
function moment(seconds) {
  if (!isNumber(seconds)) return DASH;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return DASH;
  const two = (value) => String(value).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return date.toDateString() === new Date().toDateString() ? clock(date) : `${day} ${clock(date)}`;
}

const plural = (number, word) => `${count(number)}\u00a0${word}${number === 1 ? '' : 's'}`;

const MAX_TEXT = 200;

// What somebody else chose, as one line that is not too long: characters that are not seen, or
// that turn the direction of the text around, are shown by their numbers.
function plain(text) {
  const whole = Array.from(String(text ?? '').slice(0, 4 * MAX_TEXT));
  const cut = whole.length > MAX_TEXT ? whole.slice(0, MAX_TEXT).concat('\u2026') : whole;
  return cut.join('').replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0).toString(16)}}`);
}

// Changes the text of an element only when it differs, so that what is selected stays so.
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);
