/** Matched against messages, because error codes differ between Node versions and gRPC keeps only the message. */
const FAILURES = {
  otherName: {
    pattern: /does not match certificate's altnames/,
    says: 'presents a certificate for another name',
  },
  clientCertificate: {
    pattern:
      /closed right after the handshake|alert (bad |unknown |expired |unsupported )?certificate|alert unknown ca|certificate required/,
    says: "rejects this client's certificate",
  },
  untrusted: {
    pattern:
      /self[- ]signed certificate|unable to (get|verify)|certificate (has expired|is not yet valid|signature failure|revoked)/,
    says: 'presents a certificate that cannot be verified',
  },
  noTls: {
    pattern: /wrong version number|packet length too long|before secure TLS connection|does not support SSL/,
    says: 'does not use TLS',
  },
}

/** What to do about each failure, as the end of a sentence. */
export type TlsRemedies = Record<keyof typeof FAILURES, string>

/**
 * One line that says why a TLS connection failed and what to do.
 *
 * @param server the subject of the sentence, such as `Kafka at localhost:9092`
 * @returns undefined if the message is not about TLS
 */
export function explainTlsFailure(
  server: string,
  message: string,
  remedies: TlsRemedies,
): string | undefined {
  for (const [kind, { pattern, says }] of Object.entries(FAILURES)) {
    const match = pattern.exec(message)
    if (!match) continue
    const reason = message.slice(match.index).split(/\n|\. |:\.\.\//)[0]
    return `${server} ${says} (${reason}): ${remedies[kind as keyof TlsRemedies]}.`
  }
  return undefined
}
