import { render } from 'preact'
import 'uplot/dist/uPlot.min.css'
import './page.css'
import { App } from './app.js'
import { Feed } from './feed.js'

const feed = new Feed()
render(<App feed={feed} />, document.getElementById('app') as HTMLElement)
feed.start()
