import type { Observable, OperatorFunction as Op } from 'rxjs'

/**
 * An observable whose `pipe` knows the types of up to 25 operators; RxJS's own stops at nine. The same at runtime.
 */
// prettier-ignore
export interface StreamOf<T> extends Observable<T> {
  pipe<A, B, C, D, E, F, G, H, I, J>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>
  ): Observable<J>
  pipe<A, B, C, D, E, F, G, H, I, J, K>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>
  ): Observable<K>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>
  ): Observable<L>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>
  ): Observable<M>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>
  ): Observable<N>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>
  ): Observable<O>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>
  ): Observable<P>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>
  ): Observable<Q>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>
  ): Observable<R>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>
  ): Observable<S>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>
  ): Observable<U>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>
  ): Observable<V>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>, w: Op<V, W>
  ): Observable<W>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>, w: Op<V, W>, x: Op<W, X>
  ): Observable<X>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>, w: Op<V, W>, x: Op<W, X>, y: Op<X, Y>
  ): Observable<Y>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>, w: Op<V, W>, x: Op<W, X>, y: Op<X, Y>, z: Op<Y, Z>
  ): Observable<Z>
  // As many, and in that order, as RxJS has: where a type is inferred from an observable, the overloads are compared from the last one up.
  pipe(): Observable<T>
  pipe<A>(a: Op<T, A>): Observable<A>
  pipe<A, B>(a: Op<T, A>, b: Op<A, B>): Observable<B>
  pipe<A, B, C>(a: Op<T, A>, b: Op<A, B>, c: Op<B, C>): Observable<C>
  pipe<A, B, C, D>(a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>): Observable<D>
  pipe<A, B, C, D, E>(a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>): Observable<E>
  pipe<A, B, C, D, E, F>(a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>): Observable<F>
  pipe<A, B, C, D, E, F, G>(a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>): Observable<G>
  pipe<A, B, C, D, E, F, G, H>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>
  ): Observable<H>
  pipe<A, B, C, D, E, F, G, H, I>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>
  ): Observable<I>
  pipe<A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z>(
    a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>, j: Op<I, J>,
    k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>, u: Op<S, U>,
    v: Op<U, V>, w: Op<V, W>, x: Op<W, X>, y: Op<X, Y>, z: Op<Y, Z>, ...more: Op<never, unknown>[]
  ): Observable<unknown>
}

/** One operator made of up to 25, the name first. */
// prettier-ignore
export interface Compose {
  <T, A>(name: string, a: Op<T, A>): Op<T, A>
  <T, A, B>(name: string, a: Op<T, A>, b: Op<A, B>): Op<T, B>
  <T, A, B, C>(name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>): Op<T, C>
  <T, A, B, C, D>(name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>): Op<T, D>
  <T, A, B, C, D, E>(name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>): Op<T, E>
  <T, A, B, C, D, E, F>(name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>): Op<T, F>
  <T, A, B, C, D, E, F, G>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>
  ): Op<T, G>
  <T, A, B, C, D, E, F, G, H>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>
  ): Op<T, H>
  <T, A, B, C, D, E, F, G, H, I>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>
  ): Op<T, I>
  <T, A, B, C, D, E, F, G, H, I, J>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>
  ): Op<T, J>
  <T, A, B, C, D, E, F, G, H, I, J, K>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>
  ): Op<T, K>
  <T, A, B, C, D, E, F, G, H, I, J, K, L>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>
  ): Op<T, L>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>
  ): Op<T, M>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>
  ): Op<T, N>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>
  ): Op<T, O>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>
  ): Op<T, P>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>
  ): Op<T, Q>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>
  ): Op<T, R>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>
  ): Op<T, S>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>
  ): Op<T, U>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>, v: Op<U, V>
  ): Op<T, V>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>, v: Op<U, V>, w: Op<V, W>
  ): Op<T, W>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>, v: Op<U, V>, w: Op<V, W>, x: Op<W, X>
  ): Op<T, X>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>, v: Op<U, V>, w: Op<V, W>, x: Op<W, X>, y: Op<X, Y>
  ): Op<T, Y>
  <T, A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, U, V, W, X, Y, Z>(
    name: string, a: Op<T, A>, b: Op<A, B>, c: Op<B, C>, d: Op<C, D>, e: Op<D, E>, f: Op<E, F>, g: Op<F, G>, h: Op<G, H>, i: Op<H, I>,
    j: Op<I, J>, k: Op<J, K>, l: Op<K, L>, m: Op<L, M>, n: Op<M, N>, o: Op<N, O>, p: Op<O, P>, q: Op<P, Q>, r: Op<Q, R>, s: Op<R, S>,
    u: Op<S, U>, v: Op<U, V>, w: Op<V, W>, x: Op<W, X>, y: Op<X, Y>, z: Op<Y, Z>
  ): Op<T, Z>
}
