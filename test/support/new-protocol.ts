import { once } from 'node:events'
import { connect } from 'node:net'

const HEARTBEAT = 68
export const JOIN = 0
export const LEAVE = -1

interface Heartbeat {
  group: string
  topic: string
  /** Empty to join. */
  member: string
  epoch: typeof JOIN | typeof LEAVE
}

/**
 * Joins or leaves a consumer group by the protocol of KIP-848, which kafkajs lacks: one ConsumerGroupHeartbeat request,
 * version 0. Returns the member's id.
 */
export async function heartbeatOnce(broker: string, heartbeat: Heartbeat): Promise<string> {
  const [host, port] = broker.split(':') as [string, string]
  const socket = connect(Number(port), host)
  try {
    socket.write(encode(heartbeat))
    const [answer] = (await once(socket, 'data')) as [Buffer]
    // Size, correlation id, tags and throttle time come first.
    const error = answer.readInt16BE(13)
    if (error !== 0) throw new Error(`ConsumerGroupHeartbeat failed with error ${error}`)
    const length = answer.readUInt8(16) - 1
    return answer.toString('utf8', 17, 17 + length)
  } finally {
    socket.destroy()
  }
}

function encode({ group, topic, member, epoch }: Heartbeat): Buffer {
  const none = Buffer.from([0])
  const body = Buffer.concat([
    ...[int16(HEARTBEAT), int16(0), int32(1), int16(-1), none],
    ...[text(group), text(member), int32(epoch), none, none, int32(60_000)],
    // One topic; no assignor; no partitions yet.
    ...[Buffer.from([2]), text(topic), none, Buffer.from([1]), none],
  ])
  return Buffer.concat([int32(body.length), body])
}

function int16(value: number): Buffer {
  const buffer = Buffer.alloc(2)
  buffer.writeInt16BE(value)
  return buffer
}

function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value)
  return buffer
}

/** Shorter than 127 bytes. */
function text(value: string): Buffer {
  return Buffer.concat([Buffer.from([value.length + 1]), Buffer.from(value)])
}
