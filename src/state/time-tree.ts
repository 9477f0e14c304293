/** What stands in a tree, in order of its time and, within that, of its number. */
export interface TreeNode<N> {
  readonly time: number
  /** Tells those of one time apart. */
  readonly seq: number
  left: N | undefined
  right: N | undefined
  /** What the tree under it comes to; undefined until it is asked for. */
  sum: unknown
}

/** Nobody can choose times that make the tree deep. */
const SEED = Math.floor(Math.random() * 0x7fff_ffff)

/**
 * A balanced search tree (a treap whose priorities are made of the times), whose nodes are the items themselves: what one thing costs goes
 * with the logarithm of what is held.
 */
export class TimeTree<N extends TreeNode<N>> {
  private root: N | undefined
  private summed = false

  get isEmpty(): boolean {
    return this.root === undefined
  }

  find(time: number, seq = 0): N | undefined {
    let node = this.root
    while (node !== undefined && (node.time !== time || node.seq !== seq))
      node = time < node.time || (time === node.time && seq < node.seq) ? node.left : node.right
    return node
  }

  /** The last one not after `time`. */
  last(time: number): N | undefined {
    let node = this.root
    let found: N | undefined
    while (node !== undefined) {
      if (node.time > time) node = node.left
      else {
        found = node
        node = node.right
      }
    }
    return found
  }

  /** The first one not before `time`. */
  first(time: number): N | undefined {
    let node = this.root
    let found: N | undefined
    while (node !== undefined) {
      if (node.time < time) node = node.right
      else {
        found = node
        node = node.left
      }
    }
    return found
  }

  /** Calls with all from `from` to `to`, both included, in order. */
  each(from: number, to: number, visit: (node: N) => void): void {
    eachOf(this.root, from, to, visit)
  }

  /** There must be none of its time and number. */
  add(node: N): void {
    this.root = added(this.root, node)
  }

  remove(node: N): void {
    this.root = removed(this.root, node)
  }

  /** What all from `from` to `to` come to, in order; undefined for none. It may be what a node stands for, and is not to be changed. */
  fold<S>(from: number, to: number, folding: Folding<N, S>): S | undefined {
    this.summed = true
    const parts: S[] = []
    partsOf(this.root, from, to, folding, parts)
    return summed(parts, folding)
  }

  /** What it stands for is about to change. */
  changed(node: N): void {
    if (!this.summed) return
    let at = this.root
    while (at !== undefined) {
      at.sum = undefined
      if (at === node) return
      at = isBefore(node, at) ? at.left : at.right
    }
  }
}

/** How items of a tree come to one. */
export interface Folding<N, S> {
  of(node: N): S
  /** One of two, which are copies: the first may be changed in place, and parts of the other put into it. */
  merge(earlier: S, later: S): S
  copy(sum: S): S
}

function isBefore(a: { readonly time: number; readonly seq: number }, b: { readonly time: number; readonly seq: number }): boolean {
  return a.time < b.time || (a.time === b.time && a.seq < b.seq)
}

function rankOf({ time, seq }: { readonly time: number; readonly seq: number }): number {
  let hash = SEED ^ (time | 0)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b)
  hash = Math.imul(hash ^ ((time / 0x1_0000_0000) | 0) ^ seq, 0xc2b2_ae35)
  hash = Math.imul(hash ^ (hash >>> 13), 0x27d4_eb2f)
  return hash ^ (hash >>> 15)
}

function added<N extends TreeNode<N>>(root: N | undefined, node: N): N {
  if (root === undefined) return node
  root.sum = undefined
  if (rankOf(node) > rankOf(root)) {
    const [left, right] = split(root, node)
    node.left = left
    node.right = right
    return node
  }
  if (isBefore(node, root)) root.left = added(root.left, node)
  else root.right = added(root.right, node)
  return root
}

/** What stands before `at`, and what after it. */
function split<N extends TreeNode<N>>(root: N | undefined, at: N): [N | undefined, N | undefined] {
  if (root === undefined) return [undefined, undefined]
  root.sum = undefined
  if (isBefore(root, at)) {
    const parts = split(root.right, at)
    root.right = parts[0]
    parts[0] = root
    return parts
  }
  const parts = split(root.left, at)
  root.left = parts[1]
  parts[1] = root
  return parts
}

function joined<N extends TreeNode<N>>(left: N | undefined, right: N | undefined): N | undefined {
  if (left === undefined) return right
  if (right === undefined) return left
  if (rankOf(left) > rankOf(right)) {
    left.sum = undefined
    left.right = joined(left.right, right)
    return left
  }
  right.sum = undefined
  right.left = joined(left, right.left)
  return right
}

function removed<N extends TreeNode<N>>(root: N | undefined, node: N): N | undefined {
  if (root === undefined) return undefined
  if (root === node) {
    const rest = joined(node.left, node.right)
    node.left = node.right = node.sum = undefined
    return rest
  }
  root.sum = undefined
  if (isBefore(node, root)) root.left = removed(root.left, node)
  else root.right = removed(root.right, node)
  return root
}

function eachOf<N extends TreeNode<N>>(node: N | undefined, from: number, to: number, visit: (node: N) => void): void {
  if (node === undefined) return
  const { time, left, right } = node
  if (time >= from) eachOf(left, from, to, visit)
  if (time >= from && time <= to) visit(node)
  if (time <= to) eachOf(right, from, to, visit)
}

function partsOf<N extends TreeNode<N>, S>(node: N | undefined, from: number, to: number, folding: Folding<N, S>, parts: S[]): void {
  if (node === undefined) return
  // Whole trees are taken as they stand.
  if (from === Number.NEGATIVE_INFINITY && to === Number.POSITIVE_INFINITY) {
    parts.push(sumOf(node, folding))
    return
  }
  const { time } = node
  if (time >= from) partsOf(node.left, from, time <= to ? Number.POSITIVE_INFINITY : to, folding, parts)
  if (time >= from && time <= to) parts.push(folding.of(node))
  if (time <= to) partsOf(node.right, time >= from ? Number.NEGATIVE_INFINITY : from, to, folding, parts)
}

function sumOf<N extends TreeNode<N>, S>(node: N, folding: Folding<N, S>): S {
  if (node.sum === undefined) {
    const parts: S[] = []
    if (node.left !== undefined) parts.push(sumOf(node.left, folding))
    parts.push(folding.of(node))
    if (node.right !== undefined) parts.push(sumOf(node.right, folding))
    node.sum = summed(parts, folding)
  }
  return node.sum as S
}

function summed<N, S>(parts: readonly S[], { merge, copy }: Folding<N, S>): S | undefined {
  if (parts.length < 2) return parts[0]
  let sum = copy(parts[0] as S)
  for (let i = 1; i < parts.length; i++) sum = merge(sum, copy(parts[i] as S))
  return sum
}
