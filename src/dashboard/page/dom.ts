type Content = Node | string | null

interface Properties {
  class?: string
  /** Attributes by name; those that are undefined are left out. */
  attributes?: Record<string, string | undefined>
}

/** A new element. Texts become text, whatever they hold: there is no way to markup here. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  properties: Properties = {},
  ...content: Content[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag)
  if (properties.class !== undefined) element.className = properties.class
  for (const [name, value] of Object.entries(properties.attributes ?? {}))
    if (value !== undefined) element.setAttribute(name, value)
  element.append(...content.filter(part => part !== null))
  return element
}

/** An element of the page; that it is there, and of that kind, is the page's own doing. */
export function select<T extends Element = HTMLElement>(selector: string): T {
  const element = document.querySelector<T>(selector)
  if (!element) throw new Error(`The page has no ${selector}.`)
  return element
}

/** Changes a text only where it differs, so that nothing is read out or selected anew for nothing. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

/** A link to another program's page; plain text where the address is none of the web. */
export function outward(text: string, address: string | null, label?: string): HTMLElement | null {
  if (address === null || !/^https?:\/\//.test(address)) return null
  const attributes = { href: address, target: '_blank', rel: 'noopener noreferrer', 'aria-label': label }
  return make('a', { class: 'outward', attributes }, text)
}

/**
 * Makes the children of a container those of a list, keeping the elements of items that stay: what has the focus keeps
 * it.
 */
export class Keyed<Item, Key> {
  private readonly rows = new Map<Key, { element: HTMLElement; update: (item: Item) => void }>()

  constructor(
    private readonly container: Element,
    private readonly keyOf: (item: Item) => Key,
    private readonly create: (item: Item) => { element: HTMLElement; update: (item: Item) => void },
  ) {}

  show(items: Item[]): void {
    const wanted = new Set(items.map(this.keyOf))
    for (const [key, { element }] of this.rows) {
      if (wanted.has(key)) continue
      element.remove()
      this.rows.delete(key)
    }
    items.forEach((item, i) => {
      const key = this.keyOf(item)
      let row = this.rows.get(key)
      if (!row) this.rows.set(key, (row = this.create(item)))
      row.update(item)
      const at = this.container.children[i]
      if (at !== row.element) this.container.insertBefore(row.element, at ?? null)
    })
  }
}
