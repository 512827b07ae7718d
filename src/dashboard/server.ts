import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asUserError } from '../pipeline/database'
import { UserError } from '../errors'
import type { Config } from '../config'
import { windowId } from '../contract/ids'
import { logger } from '../log'
import { openDatabase, type Db, type Transaction } from '../postgres/database'
import type { WindowDetail } from './api'
import { LiveFeed } from './live-feed'
import { parseNone, parsePage, parseSelection, parseWindow, RequestError } from './parameters'
import { workflowUrls, type WorkflowUrl } from './pipeline-summary'
import { isTimeout, readOnly } from './read-only'
import { checkOrigin, SECURITY_HEADERS } from './security'
import { staticFiles } from './static-files'
import { breakdown, timeline } from './traffic'
import { windowPage, windowResult } from './windows'

export interface DashboardOptions {
  /** Undefined for the default port, or a free one if that is taken. */
  port?: number | undefined
  /** URL of the Temporal Web UI. */
  webUi?: string | undefined
  namespace: string
}

const DEFAULT_PORT = 8080
const MAX_DB_CONNECTIONS = 4
const MAX_VIEWERS = 50
/** Keeps proxies and browsers from closing a silent connection, milliseconds. */
const KEEP_ALIVE_INTERVAL = 15_000
/** A viewer with more unread bytes than this is disconnected. */
const MAX_BUFFERED = 1 << 20

const JSON_HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-store' }

/** Parses the parameters, and returns the query to run. */
type Endpoint = (query: URLSearchParams) => (transaction: Transaction) => Promise<object>

/** The HTTP server of the page and its read-only API, on the loopback address only. */
export class Dashboard {
  private readonly server = createServer((request, response) => void this.handle(request, response))
  private readonly db: Db
  private readonly feed: LiveFeed
  private readonly workflowUrl: WorkflowUrl
  private readonly files = staticFiles()
  /** Equal requests at the same time share one answer. */
  private readonly pending = new Map<string, Promise<string>>()
  private readonly endpoints = new Map<string, Endpoint>([
    ['/api/timeline', query => timeline(parseSelection(query))],
    ['/api/breakdown', query => breakdown(parseSelection(query))],
    ['/api/windows', query => windowPage(parsePage(query).before)],
    ['/api/window', query => this.windowDetail(parseWindow(query).start)],
  ])

  constructor(
    private readonly config: Config,
    private readonly options: DashboardOptions,
  ) {
    this.db = openDatabase(config.postgres, MAX_DB_CONNECTIONS)
    this.workflowUrl = workflowUrls(options.webUi, options.namespace)
    this.feed = new LiveFeed(config, this.workflowUrl)
  }

  /** Starts listening; returns the URL. */
  async start(): Promise<string> {
    const { port } = this.options
    await this.listen(port ?? DEFAULT_PORT).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') throw error
      if (port !== undefined)
        throw new UserError(
          `Cannot listen on port ${port} (${error.code}). Choose another --port, or omit it.`,
        )
      await this.listen(0)
    })
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }

  private async listen(port: number): Promise<void> {
    this.server.listen({ port, host: '127.0.0.1' })
    await once(this.server, 'listening')
  }

  async end(): Promise<void> {
    await this.feed.close()
    this.server.close()
    this.server.closeAllConnections()
    await this.db.destroy()
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value)
    try {
      checkOrigin(request)
      const [path = '', ...query] = (request.url ?? '').split('?')
      await this.route(path, new URLSearchParams(query.join('?')), response)
    } catch (error) {
      if (response.headersSent) return void response.destroy()
      const { status, message } = this.requestError(error)
      if (status === 405) response.setHeader('allow', 'GET')
      response.writeHead(status, JSON_HEADERS).end(JSON.stringify({ error: message }))
    }
  }

  private async route(path: string, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const file = this.files.get(path)
    const endpoint = this.endpoints.get(path)
    if (file) {
      response.writeHead(200, { 'content-type': file.type, 'cache-control': 'no-cache' }).end(file.body)
    } else if (endpoint) {
      const body = await this.answer(`${path}?${query.toString()}`, endpoint(query))
      response.writeHead(200, JSON_HEADERS).end(body)
    } else if (path === '/api/live') {
      parseNone(query)
      this.stream(response)
    } else throw new RequestError(404, 'Not found.')
  }

  private answer(key: string, read: ReturnType<Endpoint>): Promise<string> {
    let answer = this.pending.get(key)
    if (!answer) {
      answer = readOnly(this.db, read)
        .then(value => JSON.stringify(value))
        .finally(() => this.pending.delete(key))
      this.pending.set(key, answer)
    }
    return answer
  }

  private windowDetail(start: number): (transaction: Transaction) => Promise<WindowDetail> {
    const workflow = this.workflowUrl(windowId(this.config.settings.group, start))
    const read = windowResult(start)
    return async transaction => ({ start, workflow, result: await read(transaction) })
  }

  /** Sends the live status as server-sent events. */
  private stream(response: ServerResponse): void {
    if (this.feed.subscriberCount >= MAX_VIEWERS)
      throw new RequestError(503, `${MAX_VIEWERS} pages are open already. Close one.`)
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write('retry: 1000\n\n')
    const send = (text: string) => {
      if (response.writableLength > MAX_BUFFERED) response.destroy()
      else response.write(text)
    }
    const unsubscribe = this.feed.subscribe(status => send(`data: ${JSON.stringify(status)}\n\n`))
    const keepAlive = setInterval(() => send(': alive\n\n'), KEEP_ALIVE_INTERVAL)
    response.on('close', () => {
      clearInterval(keepAlive)
      unsubscribe()
    })
  }

  private requestError(error: unknown): Pick<RequestError, 'status' | 'message'> {
    if (isTimeout(error))
      return new RequestError(504, 'The query took longer than 10 s. Choose a shorter range.')
    const explained = asUserError(error, this.config)
    if (explained instanceof RequestError) return explained
    if (explained instanceof UserError) return new RequestError(503, explained.message)
    logger.error({ err: explained }, 'A request to the dashboard failed.')
    return new RequestError(500, 'The dashboard failed to answer. Its log has the cause.')
  }
}
