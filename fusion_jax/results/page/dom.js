// Elements and numbers. Text of the study becomes text nodes, never markup.

const SVG = 'http://www.w3.org/2000/svg';

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function el(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

const NARROW = '(max-width: 640px)';

function isNarrow() {
  return window.matchMedia(NARROW).matches;
}

function fill(id, ...children) {
  const node = document.getElementById(id);
  node.replaceChildren(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function show(id, there) {
  document.getElementById(id).hidden = !there;
}

// One line in which nothing is invisible or turns the direction of what follows.
function plainText(value) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
  const code = (c) => `[U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`;
  return String(value).replace(/\s+/g, ' ').trim().replace(hidden, code);
}

function named(value) { // a name of the study, kept to itself whatever its script
  return el('bdi', null, plainText(value));
}

function withMinus(text) { // a hyphen before a number is a minus
  return text.replace(/([\s(\[])-(\d)/g, `$1${MINUS}$2`);
}

function labelOf(row) { // of a row without all of its seeds with how many it has
  const some = row.some.match(/^\((\d+ of \d+ seeds)/);
  return [named(row.some && !some ? row.label : row.plain), some && el('span', {class: 'small', title: plainText(row.some)}, ` ${some[1]}`)];
}

function placementBelow(row) { // where there is no room for a column
  return row.placement === '-' ? null : el('span', {class: 'narrow-only small'}, plainText(row.placement));
}

const DASH = '–', MINUS = '\u2212';

function fixed(value, digits = 3) {
  if (!Number.isFinite(value)) return DASH;
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? MINUS + text : text;
}

function signed(value, digits = 3) {
  const text = fixed(value, digits);
  return text !== DASH && value > 0 && Number(text) !== 0 ? `+${text}` : text;
}

function probability(p) {
  if (!Number.isFinite(p)) return DASH;
  return p < 0.001 ? '<.001' : p > 0.999 ? '1' : p.toFixed(3).replace(/^0/, '');
}

function amount(value) { // "1,234", "12.3 k", "4.5 M"
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (Math.abs(value) >= size) return `${(value / (unit === 'k' ? 1e3 : size)).toPrecision(3)} ${unit}`;
  }
  return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ',');
}

function seconds(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return DASH;
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}

function count(n, word) {
  return `${n} ${word}${n === 1 ? '' : 's'}`;
}

function list(words) { // "a, b and c"
  return words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
