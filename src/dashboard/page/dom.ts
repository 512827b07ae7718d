/** @throws if index.html has no such element */
export function select<T extends Element = HTMLElement>(selector: string): T {
  const element = document.querySelector<T>(selector)
  if (!element) throw new Error(`The page has no ${selector}.`)
  return element
}

/** Leaves an equal text alone, so that screen readers do not repeat it and a selection in it stays. */
export function setText(selector: string, text: string): void {
  const element = select(selector)
  if (element.textContent !== text) element.textContent = text
}
