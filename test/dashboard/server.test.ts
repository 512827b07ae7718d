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

/** Unlike `fetch`, sends any method and header, even `Host`. */
async function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Answer> {
  const asked = request({ host: '127.0.0.1', port, path, method, headers }).end()
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }
}

const problem = ({ body }: Answer) => (JSON.parse(body) as { error: string }).error

describe('access control', () => {
  test.each(['localhost', 'localhost:9999', '127.0.0.1:1', '[::1]:80', 'LOCALHOST'])(
    'accepts the host name %s',
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
  ])('refuses the host name "%s", which DNS rebinding could send', async host => {
    for (const path of ['/', '/main.js', '/api/timeline', '/api/live', '/nothing']) {
      const answer = await ask(path, { host })
      expect(answer.status).toBe(421)
      expect(answer.body).not.toContain('<')
    }
  })

  test('refuses requests from another site, except a link', async () => {
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

  test('does not listen on other addresses of the machine', async () => {
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

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('refuses the method %s', async method => {
    expect((await ask('/api/timeline', {}, method)).status).toBe(405)
  })
})

test.each(['/', '/main.js', '/main.css', '/favicon.svg', '/api/timeline', '/nothing'])(
  'the headers of %s forbid foreign scripts, framing and content sniffing',
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

test('a query that takes too long is cancelled with an error message, and does not delay other queries', async () => {
  const blocker = await database.pool.connect()
  try {
    await blocker.query('begin; lock table aggregated_web_traffic in access exclusive mode')
    const start = new Date(T0)
    await database.rows(`insert into window_results values ($1, $2, 'closed', 1, 1, 1, now(), '[]')`, [
      start,
      new Date(T0 + WINDOW),
    ])
    const startedAt = Date.now()
    const blocked = ask('/api/breakdown')
    expect((await ask('/api/timeline')).status).toBe(200)
    expect(Date.now() - startedAt).toBeLessThan(3_000)
    const answer = await blocked
    expect(answer.status).toBe(504)
    expect(problem(answer)).toBe('The query took longer than 10 s. Choose a shorter range.')
  } finally {
    await blocker.query('rollback')
    blocker.release()
    await database.rows('delete from window_results')
  }
  expect((await ask('/api/breakdown')).status).toBe(200)
})

test('the page has no inline script or style, and no external URL', async () => {
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
  ])('%s is refused, and the error names the parameter', async (path, message) => {
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
  ])('%s is answered from an empty database', async path => {
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
  ])('%s is not found', async path => expect((await ask(path)).status).toBe(404))
})
