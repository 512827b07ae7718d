/** Why an encrypted connection did not come about. */
export interface TlsTrouble {
  kind:
    /** Nobody that is trusted has signed the server's certificate, or it is not valid now. */
    | 'untrusted'
    /** The server's certificate is for another name. */
    | 'other name'
    /** The server asked for a client certificate, and refuses the one it got, or got none. */
    | 'client certificate'
    /** Nobody speaks TLS there. */
    | 'no TLS'
  reason: string
}

/**
 * What Node, OpenSSL and gRPC say of each, in their own words: their codes differ by version, and gRPC keeps the words
 * only.
 */
const WORDS: [TlsTrouble['kind'], RegExp][] = [
  ['other name', /does not match certificate's altnames/],
  [
    'client certificate',
    /closed right after the handshake|alert (bad |unknown |expired |unsupported )?certificate|alert unknown ca|certificate required/,
  ],
  [
    'untrusted',
    /self[- ]signed certificate|unable to (get|verify)|certificate (has expired|is not yet valid|signature failure|revoked)/,
  ],
  ['no TLS', /wrong version number|packet length too long|before secure TLS connection|does not support SSL/],
]

/** @returns undefined where the failure is another one */
export function tlsTrouble(message: string): TlsTrouble | undefined {
  for (const [kind, words] of WORDS) {
    const match = words.exec(message)
    if (match) return { kind, reason: message.slice(match.index).split(/\n|\. |:\.\.\//)[0]! }
  }
  return undefined
}
