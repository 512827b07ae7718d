/*
 * Imported before anything else: under LANG=C, a browser reports a language that Intl rejects (`en-US@posix`), and uPlot
 * passes it to Intl while it loads.
 */
try {
  new Intl.NumberFormat(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-US' })
}
