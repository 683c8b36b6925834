//! A pool of exactly N threads for short parallel loops: decode enters about 150 of them a token.
//!
//! Workers spin for some tens of microseconds between loops before they sleep, chunks are handed out one at
//! a time, and the caller waits only for workers that have taken one: a descheduled worker delays nobody.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

/// Polls before a waiting worker sleeps: about 30 us, longer than the serial work between two loops.
const SPINS: u32 = 1500;

type Job = *const (dyn Fn(usize, usize) + Sync);

struct Shared {
    /// The open job and its number of chunks; written by the caller only while nobody is `active`.
    job: UnsafeCell<Option<(Job, usize)>>,
    next: AtomicUsize,
    open: AtomicBool,
    active: AtomicUsize,
    epoch: AtomicUsize,
    stop: AtomicBool,
    panicked: AtomicBool,
    sleeping: Vec<AtomicBool>,
}

// SAFETY: `job` is the only field that is not Sync by itself. It is written in `Pool::run` while `open` is
// false and `active` is 0, and read only by a worker that raised `active` and then saw `open`.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is never used after `run` returns.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes part in the open job, if there is one.
    fn join(&self, thread: usize) {
        self.active.fetch_add(1, SeqCst);
        if self.open.load(SeqCst) {
            // SAFETY: `active` was raised before `open` was seen, both sequentially consistent, so the caller
            // is still in `run`: it neither rewrites `job` nor lets the closure go until `active` is 0 again.
            if let Some((job, chunks)) = unsafe { *self.job.get() } {
                // SAFETY: as above, the closure outlives this block.
                let job = unsafe { &*job };
                self.work(job, chunks, thread);
            }
        }
        self.active.fetch_sub(1, SeqCst);
    }

    fn work(&self, job: &(dyn Fn(usize, usize) + Sync), chunks: usize, thread: usize) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let i = self.next.fetch_add(1, SeqCst);
                if i >= chunks {
                    break;
                }
                job(i, thread);
            }
        }));
        if done.is_err() {
            self.panicked.store(true, SeqCst);
        }
    }

    fn worker(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let mut spins = 0;
            while self.epoch.load(SeqCst) == seen {
                if self.stop.load(SeqCst) {
                    return;
                }
                if spins < SPINS {
                    spins += 1;
                    std::hint::spin_loop();
                } else {
                    self.sleeping[thread].store(true, SeqCst);
                    if self.epoch.load(SeqCst) == seen && !self.stop.load(SeqCst) {
                        thread::park();
                    }
                    self.sleeping[thread].store(false, SeqCst);
                }
            }
            seen = self.epoch.load(SeqCst);
            self.join(thread);
        }
    }
}

/// `threads` threads: the caller and `threads - 1` workers, which end when the pool is dropped.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Fails where the system gives no more threads.
    pub(super) fn new(threads: usize) -> std::io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            open: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            epoch: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            sleeping: (0..threads).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut pool = Self { shared, workers: Vec::with_capacity(threads - 1) };
        for thread in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name(format!("candle-{thread}"));
            pool.workers.push(builder.spawn(move || shared.worker(thread))?);
        }
        Ok(pool)
    }

    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(chunk, thread)` for every chunk in `0..chunks`, each once, and returns when all are done.
    /// `&mut self`: loops do not nest.
    ///
    /// # Panics
    /// Where `f` panicked on any thread.
    pub(super) fn run(&mut self, chunks: usize, f: &(dyn Fn(usize, usize) + Sync)) {
        if self.workers.is_empty() || chunks <= 1 {
            (0..chunks).for_each(|i| f(i, 0));
            return;
        }
        let s = &*self.shared;
        // SAFETY: only the lifetime changes; `close` below waits until no thread holds the pointer.
        let job: Job = unsafe { std::mem::transmute(f as *const (dyn Fn(usize, usize) + Sync)) };
        // A worker that raised `active` without seeing `open` is about to lower it again.
        while s.active.load(SeqCst) != 0 {
            std::hint::spin_loop();
        }
        // SAFETY: `open` is false since the last `run` and nobody reads `job` without having seen it true.
        unsafe { *s.job.get() = Some((job, chunks)) };
        s.next.store(0, SeqCst);
        s.open.store(true, SeqCst);
        s.epoch.fetch_add(1, SeqCst);
        for (sleeping, worker) in s.sleeping.iter().skip(1).zip(&self.workers) {
            if sleeping.load(SeqCst) {
                worker.thread().unpark();
            }
        }
        s.work(f, chunks, 0);
        s.open.store(false, SeqCst);
        let mut spins = 0u32;
        while s.active.load(SeqCst) != 0 {
            spins += 1;
            // The last chunk's owner may have lost its core to someone else: give ours.
            if spins.is_multiple_of(SPINS) { thread::yield_now() } else { std::hint::spin_loop() }
        }
        if s.panicked.swap(false, SeqCst) {
            panic!("a compute thread panicked");
        }
    }

    /// Splits `out` into chunks of `len` (the last may be shorter) and calls `f(index, chunk, thread)` on each.
    pub(super) fn chunks_mut<T: Send>(
        &mut self,
        out: &mut [T],
        len: usize,
        f: &(dyn Fn(usize, &mut [T], usize) + Sync),
    ) {
        let (total, base) = (out.len(), Base(out.as_mut_ptr()));
        let len = len.max(1);
        self.run(total.div_ceil(len), &|i, thread| {
            let start = i * len;
            // SAFETY: chunk `i` covers `start..start + len` cut to `total`, within `out`; each `i` is handed
            // out once, so chunks never overlap, and `out` stays borrowed until `run` returns.
            let chunk = unsafe {
                std::slice::from_raw_parts_mut(base.get().add(start), len.min(total - start))
            };
            f(i, chunk, thread);
        });
    }
}

/// A pointer that may cross threads: its user writes disjoint parts only.
pub(super) struct Base<T>(pub(super) *mut T);

impl<T> Base<T> {
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: the pointer is used for disjoint ranges only, and T may be sent.
unsafe impl<T: Send> Sync for Base<T> {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once_for_any_thread_count() {
        for threads in [1, 2, 3, 7] {
            let mut pool = Pool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for round in 0..200 {
                let mut out = vec![0u32; 101 + round];
                pool.chunks_mut(&mut out, 7, &|i, chunk, thread| {
                    assert!(thread < threads);
                    chunk.iter_mut().for_each(|x| *x += 1 + i as u32);
                });
                for (j, &x) in out.iter().enumerate() {
                    assert_eq!(x, 1 + j as u32 / 7);
                }
            }
        }
    }

    #[test]
    fn a_panic_in_a_chunk_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(2).unwrap();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            pool.run(16, &|i, _| assert!(i != 9, "no nines"));
        }));
        assert!(caught.is_err());
        let count = AtomicUsize::new(0);
        pool.run(16, &|_, _| {
            count.fetch_add(1, SeqCst);
        });
        assert_eq!(count.into_inner(), 16);
    }
}
