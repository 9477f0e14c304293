import type { PageState } from '../src/serve/page/state.js'

/** What the page knows, and how it stands with the server. */
export interface News {
  readonly connection: 'connecting' | 'connected' | 'unreachable' | 'token'
  /** A token was given and refused. */
  readonly refused: boolean
  readonly state: PageState | undefined
}

const EVERY_MS = 1_000
const TOKEN = 'millrace-token'

/** The one place that talks to the server. */
export class Feed {
  private news: News = { connection: 'connecting', refused: false, state: undefined }
  private readonly listeners = new Set<(news: News) => void>()
  private timer: number | undefined
  /** For as long as the tab is there; never in the address. */
  private token = sessionStorage.getItem(TOKEN) ?? undefined

  start(): void {
    document.addEventListener('visibilitychange', () => {
      // Nobody looks: nothing is asked for.
      window.clearTimeout(this.timer)
      if (document.visibilityState === 'visible') void this.look()
    })
    void this.look()
  }

  subscribe(listener: (news: News) => void): () => void {
    this.listeners.add(listener)
    listener(this.news)
    return () => void this.listeners.delete(listener)
  }

  useToken(token: string): void {
    this.token = token
    sessionStorage.setItem(TOKEN, token)
    window.clearTimeout(this.timer)
    void this.look()
  }

  async ask<T>(path: string, query: Readonly<Record<string, string>> = {}): Promise<T> {
    const search = new URLSearchParams(query).toString()
    return answerOf<T>(await this.fetch(search === '' ? path : `${path}?${search}`, {}))
  }

  async tell<T>(path: string, body: object): Promise<T> {
    const headers = { 'content-type': 'application/json' }
    const answer = await answerOf<T>(await this.fetch(path, { method: 'POST', headers, body: JSON.stringify(body) }))
    window.clearTimeout(this.timer)
    void this.look()
    return answer
  }

  private async look(): Promise<void> {
    window.clearTimeout(this.timer)
    try {
      const response = await this.fetch('page/state', {})
      if (response.status === 401) {
        this.put({ connection: 'token', refused: this.token !== undefined })
        return
      }
      this.put({ connection: 'connected', refused: false, state: await answerOf<PageState>(response) })
    } catch {
      this.put({ connection: 'unreachable' })
    }
    window.clearTimeout(this.timer)
    if (document.visibilityState === 'visible') this.timer = window.setTimeout(() => void this.look(), EVERY_MS)
  }

  private fetch(path: string, init: RequestInit): Promise<Response> {
    const headers = { ...(init.headers as Record<string, string>), ...(this.token && { authorization: `Bearer ${this.token}` }) }
    return fetch(path, { ...init, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' })
  }

  private put(news: Partial<News>): void {
    this.news = { ...this.news, ...news }
    for (const listener of this.listeners) listener(this.news)
  }
}

async function answerOf<T>(response: Response): Promise<T> {
  const body = (await response.json()) as T & { readonly error?: string }
  if (!response.ok) throw new Error(body.error ?? `the server answered ${response.status}`)
  return body
}
