import type { IncomingMessage } from 'node:http'
import { RequestError } from './parameters'

/**
 * The page may load scripts and styles from its own server and connect to it, nothing else. The page shows text from
 * untrusted web events: even if that were parsed as markup, it could not run or send anything.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

export const SECURITY_HEADERS = {
  'content-security-policy': POLICY,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
}

/** Any port, because a tunnel may listen on another one. */
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/i

/** @throws RequestError unless this machine's user sent the request, from this page or by following a link */
export function checkOrigin({ headers, method }: IncomingMessage): void {
  // A DNS rebinding attack resolves the attacker's name to the loopback address, but still sends that name.
  if (!LOOPBACK.test(headers.host ?? ''))
    throw new RequestError(421, 'Open the dashboard as localhost or 127.0.0.1.')
  const site = headers['sec-fetch-site'] ?? 'none'
  const isLink = headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document'
  if (site !== 'same-origin' && site !== 'none' && !isLink)
    throw new RequestError(403, 'Requests from other sites are refused.')
  if (method !== 'GET') throw new RequestError(405, 'The dashboard is read-only: use GET.')
}
