/*
 * First of all: a browser under LANG=C names a language that Intl refuses (`en-US@posix`), and the plots' library asks
 * Intl for it as it loads.
 */
try {
  new Intl.NumberFormat(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US' })
}
