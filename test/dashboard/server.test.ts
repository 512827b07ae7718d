import { once } from 'node:events'
import { request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { loadConfig } from '../../src/config'
import { Dashboard } from '../../src/dashboard/server'
import { anyFreePort } from '../../src/dev/cluster/ports'
import { T0, TestDatabase, WINDOW } from '../postgres/support'

let database: TestDatabase
let dashboard: Dashboard
let port: number

beforeAll(async () => {
  database = await TestDatabase.migrated()
  port = await anyFreePort()
  const config = { ...loadConfig(), postgres: database.postgres }
  dashboard = new Dashboard(config, { port, namespace: 'default' })
  await dashboard.start()
})
afterAll(async () => {
  await dashboard.end()
  await database.drop()
})

interface Answer {
  status: number
  headers: IncomingHttpHeaders
  body: string
}

/** Asks without what `fetch` puts right: any method, and any header, `Host` included. */
async function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const asked = request({ host: '127.0.0.1', port, path, method, headers }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }
}

const problem = ({ body }: Answer) => (JSON.parse(body) as { error: string }).error

describe('who may ask', () => {
  test.each(['localhost', 'localhost:9999', '127.0.0.1:1', '[::1]:80', 'LOCALHOST'])(
    'one that names this machine as %s',
    async host => {
      expect((await ask('/', { host })).status).toBe(200)
      expect((await ask('/api/timeline', { host })).status).toBe(200)
    },
  )

  test.each([
    'evil.example',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'localhost:80@evil.example',
    '10.0.0.1',
  ])('not one that was led here by the name "%s"', async host => {
    for (const path of ['/', '/main.js', '/api/timeline', '/api/live', '/nothing']) {
      const answer = await ask(path, { host })
      expect(answer.status).toBe(421)
      expect(answer.body).not.toContain('<')
    }
  })

  test('not the page of another site, which may only lead here', async () => {
    const foreign = {
      'sec-fetch-site': 'cross-site',
      'sec-fetch-mode': 'no-cors',
      'sec-fetch-dest': 'script',
    }
    expect((await ask('/api/timeline', foreign)).status).toBe(403)
    expect((await ask('/main.js', foreign)).status).toBe(403)
    const link = { ...foreign, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' }
    expect((await ask('/', link)).status).toBe(200)
    expect((await ask('/', { ...link, 'sec-fetch-dest': 'iframe' })).status).toBe(403)
  })

  test('nobody on another address of the machine', async () => {
    const { networkInterfaces } = await import('node:os')
    const others = Object.values(networkInterfaces())
      .flatMap(addresses => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4')
    for (const { address } of [...others, { address: '127.0.0.2' }]) {
      const asked = request({ host: address, port, path: '/', headers: { host: 'localhost' } }).end()
      const [error] = (await once(asked, 'error')) as [NodeJS.ErrnoException]
      expect(error.code).toBe('ECONNREFUSED')
    }
  })

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('not by %s', async method => {
    expect((await ask('/api/timeline', {}, method)).status).toBe(405)
  })
})

test.each(['/', '/main.js', '/main.css', '/favicon.svg', '/api/timeline', '/nothing'])(
  'what comes from %s may run nothing of others, be framed by nobody, and is no other type than it says',
  async path => {
    const { headers } = await ask(path)
    const policy: Record<string, string> = {}
    for (const part of String(headers['content-security-policy']).split('; ')) {
      const [name, ...sources] = part.split(' ')
      policy[name!] = sources.join(' ')
    }
    expect(policy).toMatchObject({
      'default-src': "'none'",
      'script-src': "'self'",
      'style-src': "'self'",
      'connect-src': "'self'",
      'frame-ancestors': "'none'",
      'base-uri': "'none'",
      'form-action': "'none'",
    })
    expect(Object.values(policy).join(' ')).not.toMatch(/unsafe|\*|https?:|data:|blob:/)
    expect(headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'x-frame-options': 'DENY',
    })
    expect(headers['access-control-allow-origin']).toBeUndefined()
  },
)

test('an answer that takes too long is given up, in a sentence; what does not need it is answered meanwhile', async () => {
  const keeper = await database.pool.connect()
  try {
    await keeper.query('begin; lock table aggregated_web_traffic in access exclusive mode')
    const start = new Date(T0)
    await database.rows(`insert into window_results values ($1, $2, 'closed', 1, 1, 1, now(), '[]')`, [
      start,
      new Date(T0 + WINDOW),
    ])
    const begun = Date.now()
    const kept = ask('/api/breakdown')
    expect((await ask('/api/timeline')).status).toBe(200)
    expect(Date.now() - begun).toBeLessThan(3_000)
    const answer = await kept
    expect(answer.status).toBe(504)
    expect(problem(answer)).toBe('That takes too long: choose a shorter range.')
  } finally {
    await keeper.query('rollback')
    keeper.release()
    await database.rows('delete from window_results')
  }
  expect((await ask('/api/breakdown')).status).toBe(200)
})

test('the page itself holds no script and no style of its own, and names no other place', async () => {
  const { body } = await ask('/')
  expect(body).toContain('<script type="module" src="main.js">')
  expect(body).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?:\/\//i)
})

describe('parameters', () => {
  test.each([
    ['/api/timeline?range=2h', /^range: /],
    ['/api/timeline?range=__proto__', /^range: /],
    ['/api/timeline?range=1h&range=6h', /^range: is given twice/],
    ['/api/timeline?rage=1h', /rage/],
    ['/api/timeline?__proto__=1', /__proto__|nrecognized/],
    ['/api/timeline?from=2026-01-01T00:00:00Z', /both from and to/],
    ['/api/timeline?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z', /from is not before to/],
    ['/api/timeline?from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z', /from is not before to/],
    ['/api/timeline?from=2026-01-01&to=2026-01-02', /^from: .*; to: /],
    ['/api/timeline?from=1960-01-01T00:00:00Z&to=2026-01-02T00:00:00Z', /^from: /],
    ['/api/timeline?range=1h&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z', /give range, or/],
    ['/api/breakdown?host=a%00b', /^host: /],
    [`/api/breakdown?host=${'a'.repeat(5_000)}`, /^host: is longer/],
    ['/api/breakdown?range=', /^range: /],
    ['/api/windows?before=yesterday', /^before: /],
    ['/api/windows?limit=100000000', /limit/],
    ['/api/window', /^start: /],
    ['/api/window?start=99999999999999', /^start: /],
    ['/api/live?since=1', /since/],
  ])('%s is refused, saying which is wrong', async (path, message) => {
    const answer = await ask(path)
    expect(answer.status).toBe(400)
    expect(problem(answer)).toMatch(message)
    expect(answer.headers['content-type']).toBe('application/json')
  })

  test.each([
    '/api/timeline',
    '/api/timeline?range=all',
    '/api/breakdown?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00%2B02:00',
    `/api/timeline?host=${encodeURIComponent(`'; drop table window_results; --`)}`,
    '/api/breakdown?host=%F0%9F%92%A9',
    '/api/windows?before=2026-01-01T00:00:00.123Z',
    '/api/window?start=2026-01-01T00:00:00Z',
  ])('%s is answered, though there is nothing yet', async path => {
    expect((await ask(path)).status).toBe(200)
  })

  test.each([
    '/etc/passwd',
    '/../server.js',
    '/%2e%2e/server.js',
    '/main.js.map',
    '/api',
    '/constructor',
    '//',
  ])('%s is nothing', async path => expect((await ask(path)).status).toBe(404))
})
