import { TimelineStore } from '../../state/timeline-store.js'
import { OpenValues, type StoredValue } from './stored-value.js'

/** Values of user code by key and time. */
export class TimedStore<V> extends TimelineStore<StoredValue<V>> {
  readonly opened = new OpenValues<V>()

  protected override reveal(value: StoredValue<V>): V {
    return value.copy()
  }

  override seal(): void {
    super.seal()
    this.opened.close()
  }

  override rollback(): void {
    super.rollback()
    this.opened.close()
  }
}
