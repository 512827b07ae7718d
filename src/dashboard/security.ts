import type { IncomingMessage } from 'node:http'

/**
 * The page may run its own script and style, and talk to its own server; nothing else. What strangers sent is shown on
 * it, so nothing of that could run or call home even if it were taken for markup.
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

const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?$/i

/**
 * Whether a request names this machine itself. A page of a stranger whose name was pointed at the loopback address (DNS
 * rebinding) names itself. The port may be another one: that of a tunnel.
 */
export function namesLoopback({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  return LOOPBACK.test(headers.host ?? '')
}

/** Whether another site's page made the request, where the browser says so. */
export function isForeign({ headers }: Pick<IncomingMessage, 'headers'>): boolean {
  const site = headers['sec-fetch-site']
  if (site === 'same-origin' || site === 'none' || site === undefined) return false
  // A link on another page may lead here.
  return !(headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document')
}
