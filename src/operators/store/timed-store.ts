import { TimelineStore } from '../../state/timeline-store.js'
import { OpenValues, type Sealed } from './sealed.js'

/** Values of user code by key and time. */
export class TimedStore<V> extends TimelineStore<Sealed<V>> {
  readonly opened = new OpenValues<V>()

  protected override reveal(value: Sealed<V>): V {
    return value.copy()
  }

  override commit(): void {
    super.commit()
    this.opened.close()
  }

  override rollback(): void {
    super.rollback()
    this.opened.close()
  }
}
