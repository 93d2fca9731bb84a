// Statistics: what results/compare.py calculates, of arrays of numbers. Nothing here knows the page.

const LEVEL = 0.95, ALPHA = 1 - LEVEL;

function mean(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

function variance(values) { // the sample's, ddof 1
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] - centre) ** 2;
  return sum / (values.length - 1);
}

function deviation(values) {
  return values.length > 1 ? Math.sqrt(variance(values)) : NaN;
}

const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

function logGamma(x) { // Lanczos with g = 7, for x > 0
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const t = x + 6.5;
  const sum = LANCZOS.reduce((s, c, i) => (i ? s + c / (x - 1 + i) : c), 0);
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

function betaFraction(a, b, x) { // Lentz's continued fraction of the incomplete beta function
  const tiny = 1e-300;
  let c = 1, d = 1 - ((a + b) * x) / (a + 1);
  d = 1 / (Math.abs(d) < tiny ? tiny : d);
  let value = d;
  for (let m = 1; m < 1000; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    for (const part of [even, odd]) {
      d = 1 + part * d;
      d = 1 / (Math.abs(d) < tiny ? tiny : d);
      c = 1 + part / c;
      c = Math.abs(c) < tiny ? tiny : c;
      value *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-16) break;
  }
  return value;
}

function betaIncomplete(a, b, x) { // regularised, I_x(a, b)
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x));
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(a, b, x)) / a : 1 - (front * betaFraction(b, a, 1 - x)) / b;
}

function tTails(t, df) { // two-sided p of Student's t
  if (!Number.isFinite(t)) return Number.isNaN(t) ? NaN : 0;
  return betaIncomplete(df / 2, 0.5, df / (df + t * t));
}

function tQuantile(level, df) { // t with P(|T| < t) = level, by bisection on a logarithmic scale
  let low = 1e-12, high = 1e12;
  for (let i = 0; i < 200 && high / low > 1 + 1e-15; i++) {
    const middle = Math.sqrt(low * high);
    if (tTails(middle, df) > 1 - level) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

function holm(ps) { // adjusted p in the order given; NaN takes no part
  const order = ps.map((p, i) => [p, i]).filter(([p]) => !Number.isNaN(p)).sort((a, b) => a[0] - b[0]);
  const adjusted = ps.map(() => NaN);
  let running = 0;
  order.forEach(([p, i], rank) => {
    running = Math.max(running, Math.min(1, p * (order.length - rank)));
    adjusted[i] = running;
  });
  return adjusted;
}

// The mean of paired differences and how well it is known (results/paired.py, estimate): ratio is Nadeau and Bengio's
// test rows / training rows, byRow the variance of the mean over `rows` fixed test rows, if others had been drawn, and
// least what the deviation over seeds is at least.
function estimate(d, ratio, byRow, rows, least) {
  const n = d.length, centre = n ? mean(d) : NaN;
  if (n < 2) return {mean: centre, error: NaN, df: NaN};
  const bySeed = spreadOf(d, least) ** 2 * (1 / n + ratio);
  const total = bySeed + byRow;
  if (total === 0) return {mean: centre, error: NaN, df: NaN};
  const df = total ** 2 / (bySeed ** 2 / (n - 1) + (byRow ? byRow ** 2 / (rows - 1) : 0));
  return {mean: centre, error: Math.sqrt(total), df};
}

function intervalOf({mean: centre, error, df}, level = LEVEL) {
  const half = Number.isNaN(error) ? NaN : error * tQuantile(level, df);
  return [centre - half, centre + half];
}

function pOf({mean: centre, error, df}) { // two-sided, of the true mean being 0
  return Number.isNaN(error) ? NaN : tTails(centre / error, df);
}

// The sequential p of the p at the looks so far: the smallest alpha at which one of them rejects (results/sequential.py).
function sequentialP(ps, {alphas, levels}) {
  const logs = alphas.map(Math.log);
  const alphaOf = (p, nominal) => {
    if (p > nominal.at(-1)) return 1;
    const x = Math.log(Math.max(p, 2.2250738585072014e-308)), xs = nominal.map((v) => Math.log(Math.max(v, 2.2250738585072014e-308)));
    const i = xs.findIndex((v) => v >= x);
    return Math.exp(i === 0 ? logs[0] : logs[i - 1] + ((x - xs[i - 1]) / (xs[i] - xs[i - 1])) * (logs[i] - logs[i - 1]));
  };
  const found = ps.map((p, k) => (Number.isNaN(p) ? NaN : alphaOf(p, levels[k]))).filter((alpha) => !Number.isNaN(alpha));
  return found.length ? Math.min(...found) : NaN;
}

function spreadOf(d, least) { // the sample deviation, or `least` where that is more
  return d.length < 2 ? NaN : Math.max(alike(d) ? 0 : Math.sqrt(variance(d)), least);
}

function alike(d) { // whether all are the same, but for rounding
  return Math.max(...d) - Math.min(...d) <= 1e-9 * Math.max(0, ...d.map(Math.abs));
}

const EXACT = 16; // differences, up to which all 2^n signs are looked at

function asExtreme(d) { // share of the sign patterns whose sum is as far from 0, in the order of Gray's code
  const n = d.length, sizes = d.map(Math.abs), total = sizes.reduce((a, b) => a + b, 0);
  const own = Math.abs(d.reduce((a, b) => a + b, 0)) - 1e-9 * total, signs = new Int8Array(n).fill(1);
  let sum = total, found = Math.abs(sum) >= own ? 1 : 0;
  for (let i = 1; i < 2 ** n; i++) {
    const bit = 31 - Math.clz32(i & -i);
    sum -= 2 * signs[bit] * sizes[bit];
    signs[bit] = -signs[bit];
    if (Math.abs(sum) >= own) found++;
  }
  return found / 2 ** n;
}

function signFlip(d) { // NaN beyond EXACT, where the report draws patterns at random
  return d.length && d.length <= EXACT ? asExtreme(d) : NaN;
}

function wilcoxon(d) { // exact, equal ranks too; differences of 0 are left out; NaN beyond EXACT
  const largest = Math.max(0, ...d.map(Math.abs)), unit = 1e-12 * largest;
  const kept = d.filter((v) => Math.abs(v) > unit);
  if (!kept.length || kept.length > EXACT) return NaN;
  const places = ranks(kept.map((v) => Math.round(Math.abs(v) / unit)));
  return asExtreme(kept.map((v, i) => Math.sign(v) * places[i]));
}

function effectSize(d, least) { // d_z
  const spread = spreadOf(d, least);
  return spread > 0 ? mean(d) / spread : NaN;
}

function improvementOf(d) { // the share of differences above 0, ties counting half
  return d.length ? (d.filter((v) => v > 0).length + d.filter((v) => v === 0).length / 2) / d.length : NaN;
}

function errorFunction(x) { // erfc(x) for x >= 0: series below 2.5, continued fraction above
  if (x > 2.5) {
    let f = 0;
    for (let k = 80; k > 0; k--) f = (k / 2) / (x + f);
    return Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + f));
  }
  let term = x, sum = x;
  for (let k = 1; k < 100; k++) {
    term *= (-x * x) / k;
    sum += term / (2 * k + 1);
    if (Math.abs(term) < 1e-17) break;
  }
  return 1 - (2 / Math.sqrt(Math.PI)) * sum;
}

function normalBelow(x) {
  return x < 0 ? errorFunction(-x / Math.SQRT2) / 2 : 1 - errorFunction(x / Math.SQRT2) / 2;
}

function power(effect, n, ratio) { // of the t test of n differences (results/power.py), over the spread s of its error
  if (n < 2) return 0;
  const df = n - 1, at = tQuantile(LEVEL, df), shift = Math.abs(effect) / Math.sqrt(1 / n + ratio);
  const scale = Math.log(2) + (df / 2) * Math.log(df / 2) - logGamma(df / 2);
  const width = 9 / Math.sqrt(df), low = Math.max(0, 1 - width), high = 1 + width, steps = 300;
  let sum = 0;
  for (let i = 0; i <= steps; i++) { // Simpson's rule
    const s = low + ((high - low) * i) / steps;
    if (s <= 0) continue;
    const density = Math.exp(scale + (df - 1) * Math.log(s) - (df * s * s) / 2);
    const outside = 1 - normalBelow(at * s - shift) + normalBelow(-at * s - shift);
    sum += (i === 0 || i === steps ? 1 : i % 2 ? 4 : 2) * density * outside;
  }
  return (sum * (high - low)) / steps / 3;
}

function seedsNeeded(effect, ratio) { // the fewest for a power of 80 %; null where no number has it
  if (!Number.isFinite(effect) || effect === 0) return null;
  const z = 1.959963984540054 + 0.8416212335729143, room = (effect / z) ** 2 - ratio;
  if (room <= 1e-6) return null;
  let low = 1, high = Math.max(3, Math.floor(1 / room));
  while (power(effect, high, ratio) < 0.8) {
    low = high;
    high *= 2;
    if (high > 1e6) return null;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (power(effect, middle, ratio) >= 0.8) high = middle;
    else low = middle;
  }
  return high;
}

function rounded(values) { // to 12 digits of the largest: the last bits of a mean are no difference (results/across.py)
  const unit = 1e-12 * Math.max(0, ...values.map(Math.abs));
  return unit ? values.map((v) => Math.round(v / unit)) : values;
}

function ranks(values) { // 1 for the smallest; equal ones share the mean of their places
  const order = values.map((v, i) => i).sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let i = 0; i < order.length;) {
    let end = i;
    while (end + 1 < order.length && values[order[end + 1]] === values[order[i]]) end++;
    for (let j = i; j <= end; j++) found[order[j]] = (i + end) / 2 + 1;
    i = end + 1;
  }
  return found;
}
