// The peer: Fastify with the service's duties. ../README.md has the table of who does what.
'use strict'

const { randomUUID } = require('node:crypto')
const fastify = require('fastify')
const pino = require('pino')
const postgres = require('postgres')
const prometheus = require('prom-client')

const BODY_LIMIT_BYTES = 1024 * 1024
const CLIENT_WAIT_MS = 30_000
const KEEP_ALIVE_MS = 75_000
const CONNECT_SECONDS = 10
const STATEMENT_MS = 10_000
const MOST_TASKS = '1000'
const SAFE_ID = /^[A-Za-z0-9._-]{1,128}$/
const TIMESTAMPTZ = 1184

const COLUMNS = 'id, user_id, title, description, completed, created_at, updated_at'
const GET = `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 AND id = $2`
const LIST = `SELECT ${COLUMNS} FROM tasks WHERE user_id = $1 ORDER BY id DESC LIMIT $2`
const CREATE = `INSERT INTO tasks (id, user_id, title, description) VALUES ($1, $2, $3, $4) RETURNING ${COLUMNS}`
const TOGGLE = `UPDATE tasks SET completed = NOT completed, updated_at = now() WHERE user_id = $1 AND id = $2
  RETURNING ${COLUMNS}`

const TEXT = { type: 'string' }
const TASK = {
  type: 'object',
  properties: {
    id: TEXT,
    user_id: TEXT,
    title: TEXT,
    description: { type: 'string', nullable: true },
    completed: { type: 'boolean' },
    created_at: TEXT,
    updated_at: TEXT
  }
}
const USER_ID = { type: 'string', minLength: 1, maxLength: 255 }
const OF_USER = { type: 'object', properties: { user_id: USER_ID } }
const OF_TASK = { type: 'object', properties: { user_id: USER_ID, task_id: { type: 'string', format: 'uuid' } } }
const PAGE = { type: 'object', properties: { limit: { type: 'string', pattern: '^([1-9]\\d{0,2}|1000)$' } } }
// PostgreSQL's text cannot hold the character 0.
const NEW_TASK = {
  type: 'object',
  required: ['title'],
  properties: {
    title: { type: 'string', maxLength: 200, pattern: '^[^\\0]*\\S[^\\0]*$' },
    description: { type: 'string', maxLength: 1000, pattern: '^[^\\0]*$', nullable: true }
  }
}

const sql = postgres(process.env.DATABASE_URL, {
  max: Number(process.env.DATABASE_POOL_SIZE),
  connect_timeout: CONNECT_SECONDS,
  fetch_types: false,
  connection: { TimeZone: 'UTC', statement_timeout: STATEMENT_MS },
  types: {
    // PostgreSQL writes `2026-01-02 03:04:05.678901+00`. A Date would lose the microseconds.
    moment: {
      to: TIMESTAMPTZ,
      from: [TIMESTAMPTZ],
      serialize: String,
      parse: (value) => `${value.slice(0, 10)}T${value.slice(11, -3)}Z`
    }
  }
})
// Each connection prepares a statement once. It sends a statement without waiting for the answers to earlier ones.
const query = (statement, values) => sql.unsafe(statement, values, { prepare: true })

const app = fastify({
  loggerInstance: pino({
    base: undefined,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => ({ level }) }
  }),
  // The hook below writes one line for each request. Fastify's own log would have two.
  disableRequestLogging: true,
  bodyLimit: BODY_LIMIT_BYTES,
  requestTimeout: CLIENT_WAIT_MS,
  keepAliveTimeout: KEEP_ALIVE_MS,
  requestIdLogLabel: 'request_id',
  genReqId: (request) => {
    const given = request.headers['x-request-id']
    return given !== undefined && SAFE_ID.test(given) ? given : randomUUID()
  },
  ajv: { customOptions: { coerceTypes: false } }
})
app.removeContentTypeParser('text/plain')

const seconds = new prometheus.Histogram({
  name: 'http_request_duration_seconds',
  help: 'How long requests took.',
  labelNames: ['method', 'route', 'status'],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
})
const inFlight = new prometheus.Gauge({ name: 'http_requests_in_flight', help: 'Requests without an answer yet.' })

app.addHook('onRequest', (request, reply, done) => {
  inFlight.inc()
  reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' })
  done()
})
app.addHook('onResponse', (request, reply, done) => {
  const { method } = request
  const { statusCode: status, elapsedTime } = reply
  const route = request.routeOptions.url ?? ''
  inFlight.dec()
  seconds.observe({ method, route, status }, elapsedTime / 1000)
  // The request's logger adds its id.
  request.log.info({ method, route, status, duration_ms: Math.round(elapsedTime * 100) / 100 }, 'request')
  done()
})

function problem (reply, status, title, detail, errors) {
  reply.code(status).type('application/problem+json')
  return reply.send(JSON.stringify({ type: 'about:blank', title, status, detail, errors }))
}

const noTask = (reply) => problem(reply, 404, 'Not Found', 'Task not found.')

function databaseIsAway (code) {
  // A statement that took too long, or what postgres.js and the operating system call a lost connection.
  return code === '57014' || /^(CONNECT|ECONN)/.test(code)
}

app.setNotFoundHandler((request, reply) => problem(reply, 404, 'Not Found', 'There is nothing at this path.'))
app.setErrorHandler((error, request, reply) => {
  if (error.validation) {
    const errors = error.validation.map(({ instancePath, message, keyword }) => ({
      loc: [error.validationContext, ...instancePath.split('/').slice(1)],
      msg: message,
      type: keyword
    }))
    return problem(reply, 400, 'Bad Request', 'The request is not valid; see errors.', errors)
  }
  if (error.statusCode < 500) return problem(reply, error.statusCode, error.name, error.message)
  request.log.error({ err: error }, 'unhandled error')
  if (databaseIsAway(error.code)) {
    reply.header('retry-after', '1')
    return problem(reply, 503, 'Service Unavailable', 'The database does not answer; try again.')
  }
  return problem(reply, 500, 'Internal Server Error', 'The request failed; the log tells the reason.')
})

// A UUIDv7: 48 bits of milliseconds, then random bits.
function newId () {
  const time = Date.now().toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`
}

const TASKS = '/api/:user_id/tasks'

app.get(TASKS, { schema: { params: OF_USER, querystring: PAGE, response: { 200: { type: 'array', items: TASK } } } },
  async ({ params, query: { limit } }) => query(LIST, [params.user_id, limit ?? MOST_TASKS]))

app.post(TASKS, { schema: { params: OF_USER, body: NEW_TASK, response: { 201: TASK } } }, async (request, reply) => {
  const { title, description } = request.body
  const [task] = await query(CREATE, [newId(), request.params.user_id, title.trim(), description ?? null])
  reply.code(201).header('location', `${request.url}/${task.id}`)
  return task
})

app.get(`${TASKS}/:task_id`, { schema: { params: OF_TASK, response: { 200: TASK } } }, async ({ params }, reply) => {
  const [task] = await query(GET, [params.user_id, params.task_id])
  return task ?? noTask(reply)
})

app.patch(`${TASKS}/:task_id/complete`, { schema: { params: OF_TASK, response: { 200: TASK } } },
  async ({ params }, reply) => {
    const [task] = await query(TOGGLE, [params.user_id, params.task_id])
    return task ?? noTask(reply)
  })

app.get('/health/live', async () => ({ status: 'ok' }))
app.get('/metrics', async (request, reply) => {
  reply.type(prometheus.register.contentType)
  return prometheus.register.metrics()
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await app.close()
    await sql.end()
  })
}
app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
