import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from '@jest/globals'
import { buildFolder } from '../../../src/dev/cluster/install'
import { tryLock } from '../../../src/dev/cluster/lock'
import { anyFreePort, PortReservations } from '../../../src/dev/cluster/ports'
import { identify, isAlive, signalProcess } from '../../../src/dev/cluster/process-identity'

const folder = mkdtempSync(join(tmpdir(), 'web-traffic-cluster-'))

afterAll(() => rmSync(folder, { recursive: true }))

describe('the identity of a process', () => {
  it('differs from that of an earlier process with the same pid, which is not signalled', () => {
    const self = identify(process.pid)!
    expect(isAlive(self)).toBe(true)
    const earlier = { pid: process.pid, started: 'earlier' }
    expect(isAlive(earlier)).toBe(false)
    signalProcess(earlier, 'SIGKILL')
  })

  it('is dead after the process has ended', async () => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
    const identity = identify(child.pid!)!
    expect(isAlive(identity)).toBe(true)
    const exited = new Promise(resolve => child.once('exit', resolve))
    signalProcess(identity, 'SIGKILL')
    await exited
    expect(isAlive(identity)).toBe(false)
  })
})

describe('a lock', () => {
  const path = join(folder, 'lock')

  it('returns its living holder, and is free after its release', () => {
    const release = tryLock(path)
    expect(tryLock(path)).toMatchObject({ pid: process.pid })
    if (typeof release === 'function') release()
    const again = tryLock(path)
    expect(again).toBeInstanceOf(Function)
    if (typeof again === 'function') again()
  })

  it.each([
    ['of a dead process', JSON.stringify({ pid: process.pid, started: 'earlier', token: 'dead' })],
    ['that is incomplete', '{"pid":'],
  ])('%s is taken over', (_, content) => {
    writeFileSync(path, content)
    const release = tryLock(path)
    expect(release).toBeInstanceOf(Function)
    if (typeof release === 'function') release()
    expect(readdirSync(folder)).toEqual([])
  })
})

describe('a port', () => {
  it('is not chosen twice before its server listens, nor while it is in use', async () => {
    const [mine, theirs] = [new PortReservations(), new PortReservations()]
    const reported: string[] = []
    const report = (line: string) => void reported.push(line)
    const usual = await anyFreePort()
    const request = { purpose: 'Kafka', usual }
    expect(await mine.choose(request, report)).toBe(usual)
    const other = await theirs.choose(request, report)
    expect(other).not.toBe(usual)
    expect(reported).toEqual([`port ${usual} is in use; Kafka uses ${other}`])
    mine.release()

    const server = createServer().listen(usual, '127.0.0.1')
    expect(await mine.choose(request, report)).not.toBe(usual)
    await expect(mine.choose({ purpose: 'Kafka', required: usual }, report)).rejects.toThrow(/is in use/)
    server.close()
    mine.release()
    theirs.release()
  })
})

describe('building a folder', () => {
  const target = join(folder, 'built')

  it('leaves nothing behind if it fails', async () => {
    await expect(buildFolder(target, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(readdirSync(folder)).toEqual([])
  })

  it('keeps the folder that was finished first', async () => {
    const build = (text: string) =>
      buildFolder(target, draft => Promise.resolve(writeFileSync(join(draft, 'file'), text)))
    await build('first')
    await build('second')
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('first')
    expect(readdirSync(folder)).toEqual(['built'])
  })
})
