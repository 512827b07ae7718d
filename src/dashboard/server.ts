import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { asUserError } from '../pipeline/database'
import { UserError } from '../errors'
import type { Config } from '../config'
import { windowId } from '../contract/ids'
import { logger } from '../log'
import { openDatabase, type Db, type Transaction } from '../postgres/database'
import type { Live, WindowDetail } from './messages'
import { pageFiles } from './page-files'
import { workflowLinks, type WorkflowLink } from './pipeline-now'
import { reading, tookTooLong } from './reading'
import { BadRequestError, parseNothing, parsePage, parseSelection, parseStart } from './request'
import { isForeign, namesLoopback, SECURITY_HEADERS } from './security'
import { breakdown, timeline } from './traffic'
import { PipelineWatch } from './watch'
import { windowPage, windowResult } from './windows'

export interface DashboardOptions {
  /** Taken as it is, or refused; without one the usual port, or a free one where that is taken. */
  port?: number | undefined
  /** Address of the Temporal Web UI. */
  webUi?: string | undefined
  namespace: string
}

const USUAL_PORT = 8080
const CONNECTIONS = 4
const MOST_WATCHERS = 50
/** Proxies and browsers give up on what is silent. */
const ALIVE_EVERY = 15_000
/** Of one who does not read what is sent. */
const MOST_UNREAD = 1 << 20

/** What a path answers: parameters are judged before Postgres is asked. */
type Answer = (query: URLSearchParams) => (transaction: Transaction) => Promise<object>

/** Serves the page and what it asks for, on the loopback address alone; nothing that it answers changes anything. */
export class Dashboard {
  private readonly server: Server
  private readonly db: Db
  private readonly watch: PipelineWatch
  private readonly link: WorkflowLink
  private readonly files = pageFiles()
  /** Answers under way: who asks for the same at the same time gets the same. */
  private readonly underWay = new Map<string, Promise<string>>()
  private readonly answers: Record<string, Answer> = {
    '/api/timeline': query => timeline(parseSelection(query)),
    '/api/breakdown': query => breakdown(parseSelection(query)),
    '/api/windows': query => windowPage(parsePage(query).before),
    '/api/window': query => this.window(parseStart(query)),
  }

  constructor(
    private readonly config: Config,
    private readonly options: DashboardOptions,
  ) {
    this.db = openDatabase(config.postgres, CONNECTIONS)
    this.link = workflowLinks(options.webUi, options.namespace)
    this.watch = new PipelineWatch(config, this.link)
    this.server = createServer((request, response) => void this.handle(request, response))
  }

  /** Listens; where. */
  async start(): Promise<string> {
    const { port } = this.options
    await this.listen(port ?? USUAL_PORT).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE' && error.code !== 'EACCES') throw error
      if (port !== undefined)
        throw new UserError(`Port ${port} cannot be had (${error.code}): give another --port, or none.`)
      await this.listen(0)
    })
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`
  }

  private async listen(port: number): Promise<void> {
    this.server.listen({ port, host: '127.0.0.1' })
    await once(this.server, 'listening')
  }

  async end(): Promise<void> {
    await this.watch.end()
    this.server.close()
    this.server.closeAllConnections()
    await this.db.destroy()
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value)
    try {
      if (!namesLoopback(request)) return fail(response, 421, 'Ask for it as localhost or 127.0.0.1.')
      if (isForeign(request)) return fail(response, 403, 'Another site may not ask for this.')
      if (request.method !== 'GET') {
        response.setHeader('allow', 'GET')
        return fail(response, 405, 'There is nothing here that can be changed.')
      }
      const [path = '', ...query] = (request.url ?? '').split('?')
      await this.route(path, new URLSearchParams(query.join('?')), response)
    } catch (error) {
      this.failWith(response, error)
    }
  }

  private async route(path: string, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const file = this.files.get(path)
    if (file) {
      response.writeHead(200, { 'content-type': file.type, 'cache-control': 'no-cache' })
      response.end(file.body)
    } else if (path === '/api/live') {
      parseNothing(query)
      this.stream(response)
    } else if (Object.hasOwn(this.answers, path)) {
      const body = await this.answer(path, query)
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(body)
    } else fail(response, 404, 'There is nothing here.')
  }

  private answer(path: string, query: URLSearchParams): Promise<string> {
    const key = `${path}?${query.toString()}`
    const known = this.underWay.get(key)
    if (known) return known
    const answer = reading(this.db, this.answers[path]!(query))
      .then(value => JSON.stringify(value))
      .finally(() => this.underWay.delete(key))
    this.underWay.set(key, answer)
    return answer
  }

  private window(start: number): (transaction: Transaction) => Promise<WindowDetail> {
    const workflow = this.link(windowId(this.config.settings.group, start))
    const read = windowResult(start)
    return async transaction => ({ start, workflow, result: await read(transaction) })
  }

  /** Server-sent events: everything that is known, whenever something new is. */
  private stream(response: ServerResponse): void {
    if (this.watch.watched >= MOST_WATCHERS) return fail(response, 503, 'Too many watch already.')
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write('retry: 1000\n\n')
    const send = (text: string) => {
      if (response.writableLength > MOST_UNREAD) response.destroy()
      else response.write(text)
    }
    const leave = this.watch.join((live: Live) => send(`data: ${JSON.stringify(live)}\n\n`))
    const alive = setInterval(() => send(': alive\n\n'), ALIVE_EVERY)
    response.on('close', () => {
      clearInterval(alive)
      leave()
    })
  }

  private failWith(response: ServerResponse, error: unknown): void {
    if (response.headersSent) {
      response.destroy()
      return
    }
    if (tookTooLong(error)) return fail(response, 504, 'That takes too long: choose a shorter range.')
    const known = asUserError(error, this.config)
    if (known instanceof BadRequestError) return fail(response, 400, known.message)
    if (known instanceof UserError) return fail(response, 503, known.message)
    logger.error({ err: known }, 'The dashboard could not answer.')
    fail(response, 500, 'That went wrong; the log of the dashboard says how.')
  }
}

function fail(response: ServerResponse, status: number, error: string): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(JSON.stringify({ error }))
}
