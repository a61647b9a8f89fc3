//! Locking what a panic does not spoil. Whatever is kept behind a mutex in this crate is whole after every statement, so one
//! that was poisoned elsewhere is as good as any.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
