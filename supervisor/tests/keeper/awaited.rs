//! A value that tasks wait for. Those that wait are woken in the order in which they came. tokio's `watch` wakes them in a random
//! order, and then two runs with the same seed differ.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct AwaitedValue<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T: Clone> AwaitedValue<T> {
    pub(crate) fn get(&self) -> T {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, value: T) {
        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;
        self.changed.notify_waiters();
    }

    pub(crate) async fn wait_for(&self, is: impl Fn(&T) -> bool) {
        loop {
            // Listens before it looks, so that a change between the two is not slept over.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if is(&self.get()) {
                return;
            }
            changed.await;
        }
    }
}
