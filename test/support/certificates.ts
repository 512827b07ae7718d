import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { generate } from 'selfsigned'

interface Issued {
  /** PEM. */
  cert: string
  key: string
}

/** An authority of a test, and what it has signed, as PEM files in one folder. */
export class Authority {
  /** The file that those need who are to trust it. */
  readonly file: string

  private constructor(
    private readonly folder: string,
    private readonly name: string,
    readonly own: Issued,
  ) {
    this.file = this.write(name, own.cert)
  }

  static async create(folder: string, name: string): Promise<Authority> {
    const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
      ...KIND,
      extensions: [
        { name: 'basicConstraints', cA: true, critical: true },
        { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
      ],
    })
    return new Authority(folder, name, { cert, key })
  }

  /** Of a server at the loopback address, which has no other name; or of a client, who has `name`. */
  async issue(name: string): Promise<{ cert: string; key: string; both: string }> {
    const { cert, private: key } = await generate([{ name: 'commonName', value: name }], {
      ...KIND,
      ca: this.own,
      extensions: [
        { name: 'basicConstraints', cA: false, critical: true },
        { name: 'keyUsage', digitalSignature: true, critical: true },
        { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
        { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
      ],
    })
    const file = (kind: string, text: string) => this.write(`${this.name}-${name}-${kind}`, text)
    return { cert: file('cert', cert), key: file('key', key), both: file('both', `${key}\n${cert}`) }
  }

  private write(name: string, pem: string): string {
    const file = join(this.folder, `${name}.pem`)
    writeFileSync(file, `${pem}\n`, { mode: 0o600 })
    return file
  }
}

const KIND = { keyType: 'ec', algorithm: 'sha256' } as const
