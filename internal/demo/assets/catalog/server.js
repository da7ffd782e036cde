// catalog of harbor: GET /items lists items.json with the price of each, asked
// from the pricing service. How this version behaves stands in version.json.
'use strict';

const fs = require('node:fs');
const http = require('node:http');

const DRAIN_LIMIT_MS = 25_000;
const IDLE_LIMIT_MS = 120_000; // longer than a caller keeps an idle connection, so the caller closes first
const CALL_LIMIT_MS = 5_000;
const BODY_LIMIT = 64 * 1024;
const PASSED = ['slipway-key', 'traceparent', 'baggage'];

const started = { service: 'catalog', version: '' };

function log(level, msg, more = {}) {
  process.stdout.write(JSON.stringify({ time: new Date().toISOString(), level, msg, ...started, ...more }) + '\n');
}

function giveUp(msg, why) {
  log('ERROR', msg, { error: why });
  process.exit(1);
}

const refuse = (why) => giveUp('cannot start', why);

function readJSON(name) {
  try {
    return JSON.parse(fs.readFileSync(name, 'utf8'));
  } catch (err) {
    return refuse(`${name}: ${err.message}`);
  }
}

const how = { work_ms: 0, fail: 0, status: 503, error: 'no free worker', delay_ms: 0, delay_share: 0, ...readJSON('version.json') };
if (!how.version) refuse('version: must name the version');
started.version = how.version;

const items = readJSON('items.json');
const pricing = (process.env.PRICING_URL || '').replace(/\/$/, '');
if (!pricing) refuse('PRICING_URL: is not set; catalog calls pricing');
if (!/^\d{1,5}$/.test(process.env.PORT || '') || Number(process.env.PORT) > 65535) {
  refuse(`PORT: must be a port from 0 to 65535, not "${process.env.PORT || ''}"`);
}

class Failure extends Error {
  constructor(status, message, cause) {
    super(message);
    this.status = status;
    this.origin = cause;
  }
}

// took draws the time of one operation in milliseconds: lognormal with sigma 0.5, cut at eight medians.
function took() {
  const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const ms = how.work_ms * Math.min(8, Math.exp(0.5 * normal));
  return Math.random() < how.delay_share ? ms + how.delay_ms : ms;
}

// even spreads what happens to a share of operations evenly over them; chance says with which it begins.
function even(share) {
  let owed = Math.random();
  return () => {
    owed += share;
    if (owed < 1) return false;
    owed -= 1;
    return true;
  };
}
const fails = even(how.fail);

const agent = new http.Agent({ keepAlive: true, maxFreeSockets: 32, timeout: 30_000 });

// ask does one GET. An idle connection that the other side closed at the same
// moment is no answer at all, so the request is sent once more.
function ask(target, headers, again = true) {
  return new Promise((resolve, reject) => {
    const req = http.get(target, { agent, headers, timeout: CALL_LIMIT_MS }, (res) => {
      const parts = [];
      res.on('data', (part) => parts.push(part));
      res.on('error', reject);
      res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(parts).toString('utf8') }));
    });
    req.on('timeout', () => req.destroy(new Error(`no answer in ${CALL_LIMIT_MS} ms`)));
    req.on('error', (err) => {
      if (again && req.reusedSocket && err.code === 'ECONNRESET') resolve(ask(target, headers, false));
      else reject(err);
    });
  });
}

async function prices(visit) {
  const query = new URLSearchParams(items.map(({ item }) => ['item', item]));
  const headers = { accept: 'application/json' };
  for (const name of PASSED) if (visit.headers[name]) headers[name] = visit.headers[name];
  let answer;
  let body;
  try {
    answer = await ask(`${pricing}/prices?${query}`, headers);
    body = answer.status === 200 ? JSON.parse(answer.body) : tolerant(answer.body);
  } catch (err) {
    throw new Failure(502, `pricing: ${err.message}`, { service: 'pricing' });
  }
  Object.assign(visit.callees, body.callees);
  if (body.service) visit.callees[body.service] = body.version;
  const why = `pricing: ${body.error || answer.status}`;
  if (answer.status >= 500) throw new Failure(502, why, body.cause || { service: 'pricing', version: body.version });
  if (answer.status !== 200) throw new Failure(answer.status, why);
  for (const { item } of items) {
    if (!(item in (body.prices || {}))) {
      throw new Failure(502, `pricing: its answer has no price for ${item}`, { service: 'pricing', version: body.version });
    }
  }
  return body.prices;
}

function tolerant(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}

async function operate(visit) {
  if (visit.method !== 'GET' || visit.path !== '/items') throw new Failure(404, 'no such path');
  const ms = took();
  if (ms > 0) await new Promise((done) => setTimeout(done, ms));
  if (fails()) throw new Failure(how.status, how.error);
  const known = await prices(visit);
  return { items: items.map(({ item, title }) => ({ item, title, cents: known[item] })) };
}

let inFlight = 0;
let draining = false;

function answer(res, visit, status, body) {
  const whole = { ...body, ...started };
  if (Object.keys(visit.callees).length > 0) whole.callees = visit.callees;
  const text = JSON.stringify(whole);
  const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) };
  if (draining) headers.Connection = 'close';
  res.writeHead(status, headers);
  res.end(text);
}

const server = http.createServer(async (req, res) => {
  let size = 0;
  req.on('data', (part) => {
    size += part.length;
    if (size > BODY_LIMIT) req.destroy();
  });
  const visit = { method: req.method, path: req.url.split('?')[0], headers: req.headers, callees: {} };
  if (visit.path === '/healthz') {
    answer(res, visit, 200, { in_flight: inFlight });
    return;
  }
  inFlight += 1;
  res.on('close', () => { inFlight -= 1; });
  const began = Date.now();
  try {
    answer(res, visit, 200, await operate(visit));
  } catch (err) {
    const status = err.status || 500;
    const body = { error: err.message };
    if (status >= 500) {
      body.cause = err.origin || started;
      log('ERROR', 'request failed', { method: visit.method, path: visit.path, status, error: err.message, took_ms: Date.now() - began });
    }
    answer(res, visit, status, body);
  }
});
server.keepAliveTimeout = IDLE_LIMIT_MS;
server.headersTimeout = IDLE_LIMIT_MS + 10_000;

process.on('SIGTERM', () => {
  if (draining) return;
  draining = true;
  server.close(() => {
    log('INFO', 'drained');
    process.exit(0);
  });
  server.closeIdleConnections();
  setTimeout(() => giveUp('cannot drain', `${inFlight} requests still in flight`), DRAIN_LIMIT_MS).unref();
});

server.on('error', (err) => refuse(err.message));
server.listen(Number(process.env.PORT), '127.0.0.1', () => log('INFO', 'listening', { port: server.address().port }));
